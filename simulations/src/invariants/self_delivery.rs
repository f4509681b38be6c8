//! E5: a daemon that sends a message at Reliable or above and does not crash delivers it.

use stentor_membership::{Cause, GroupName, Service};

use crate::facts::{Facts, What};
use crate::history::Entry;

pub(super) fn check(facts: &Facts<'_>) -> Result<(), String> {
    if !facts.history.settled {
        return Ok(());
    }
    for (send, accepted) in facts.accepted.iter().enumerate() {
        let Some((process, at)) = *accepted else { continue };
        if !facts.is_live(process) || facts.service(send) == Service::Unreliable {
            continue;
        }
        if facts.to_everybody[send] && facts.seen_at[process][send].is_none() {
            return Err(format!("{} never delivers its own {}", facts.id(process), facts.name(send)));
        }
        let session = facts.history.sends[send].session;
        if wants_it(facts, send, at) && !was_told(facts, session, send) {
            return Err(format!("{} is never given to its own sender", facts.name(send)));
        }
    }
    Ok(())
}

/// Whether the sender was a member of one of the groups and stays, or named itself, and wants a copy.
fn wants_it(facts: &Facts<'_>, send: usize, accepted: usize) -> bool {
    let record = &facts.history.sends[send];
    let (session, name) = (record.session, facts.history.sessions[record.session].name);
    let entries = &facts.history.processes[facts.history.sessions[session].process].entries;
    let stays_connected =
        !entries[accepted..].iter().any(|entry| matches!(entry, Entry::Disconnected(s) if *s == session));
    if record.discard_self || !stays_connected {
        return false;
    }
    if record.targets(&name.to_string()) {
        return true;
    }
    record.content.targets().any(|group| {
        let is_own = |s: &usize, g: &GroupName| *s == session && g.as_str() == group;
        let joins = entries.iter().filter(|entry| matches!(entry, Entry::Join(s, g) if is_own(s, g)));
        let last = entries.iter().rposition(|entry| match entry {
            Entry::Join(s, g) | Entry::Leave(s, g) => is_own(s, g),
            _ => false,
        });
        let effective = facts.told[session].iter().filter(|told| {
            let What::Change(change) = told.what else { return false };
            told.at < accepted && change.group.as_str() == group && change.cause == Cause::Join(name)
        });
        // The last that it ever asked for was to join, and that took effect before it sent.
        last.is_some_and(|at| matches!(entries[at], Entry::Join(..))) && joins.count() == effective.count()
    })
}

fn was_told(facts: &Facts<'_>, session: usize, send: usize) -> bool {
    facts.told[session].iter().any(|told| matches!(told.what, What::Message(message) if message.send == send))
}

#[cfg(test)]
mod tests {
    use stentor_membership::Service;

    use super::super::story::Story;
    use crate::history::Fate;

    #[test]
    fn a_lost_own_message_is_seen() {
        let mut story = Story::together(2);
        let m = story.send(0, Service::Reliable);
        story.breaks("E5 self-delivery");
        story.deliver(&[0, 1], m);
        story.is_right();
    }

    #[test]
    fn an_unreliable_message_or_one_of_a_crashed_daemon_may_be_lost() {
        let mut story = Story::together(2);
        story.send(0, Service::Unreliable);
        story.is_right();
        story.send(1, Service::Safe);
        story.history.processes[1].fate = Fate::Crashed;
        story.is_right();
    }

    #[test]
    fn a_member_that_does_not_get_its_own_message_is_seen() {
        let mut story = Story::together(2);
        let s = story.connect(0, "s");
        story.join(&[0], s, "g", &[s]);
        let m = story.send_to(s, Service::Agreed, &["g"]);
        story.breaks("E5 self-delivery");
        story.deliver_to(0, m, &[s]);
        story.is_right();
        story.leave(&[0], s, "g", &[s]);
        story.send_to(s, Service::Agreed, &["g"]);
        story.is_right();
    }
}
