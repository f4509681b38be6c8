//! E5: a daemon that sends a message at Reliable or above and does not crash delivers it.

use std::collections::{BTreeMap, BTreeSet};

use stentor_membership::{Cause, Service};

use crate::facts::{Facts, What};
use crate::history::Entry;

pub(super) fn check(facts: &Facts<'_>) -> Result<(), String> {
    if !facts.history.settled && !facts.history.overdue {
        return Ok(());
    }
    let sessions: Vec<Stay<'_>> = (0..facts.history.sessions.len()).map(|s| Stay::new(facts, s)).collect();
    let asked = asked(facts);
    for (send, accepted) in facts.accepted.iter().enumerate() {
        let Some((process, at)) = *accepted else { continue };
        if !facts.is_live(process) || facts.service(send) == Service::Unreliable {
            continue;
        }
        if facts.to_everybody[send] && facts.seen_at[process][send].is_none() {
            return Err(format!("{} never delivers its own {}", facts.id(process), facts.name(send)));
        }
        let session = facts.history.sends[send].session;
        if !sessions[session].told.contains(&send) && wants_it(facts, &sessions[session], &asked, send, at) {
            return Err(format!("{} is never given to its own sender", facts.name(send)));
        }
    }
    Ok(())
}

/// What one session was told.
struct Stay<'a> {
    /// The messages that it got.
    told: BTreeSet<usize>,
    /// By group: the places at which it was told that it had joined.
    joined: BTreeMap<&'a str, Vec<usize>>,
}

impl<'a> Stay<'a> {
    fn new(facts: &Facts<'a>, session: usize) -> Self {
        let name = facts.history.sessions[session].name;
        let mut stay = Self { told: BTreeSet::new(), joined: BTreeMap::new() };
        for told in &facts.told[session] {
            match told.what {
                What::Message(message) => {
                    stay.told.insert(message.send);
                }
                What::Change(change) if change.cause == Cause::Join(name) => {
                    stay.joined.entry(change.group.as_str()).or_default().push(told.at);
                }
                What::Change(_) => {}
            }
        }
        stay
    }
}

/// What sessions asked of groups.
#[derive(Default)]
struct Asked<'a> {
    /// By session and group: how often it asked to join, and whether that was the last that it asked for.
    joins: BTreeMap<(usize, &'a str), (usize, bool)>,
    /// Sessions that closed.
    closed: BTreeSet<usize>,
}

fn asked<'a>(facts: &Facts<'a>) -> Asked<'a> {
    let mut asked = Asked::default();
    for entry in facts.history.processes.iter().flat_map(|process| &process.entries) {
        match entry {
            Entry::Join(session, group) => {
                let (joins, last) = asked.joins.entry((*session, group.as_str())).or_default();
                (*joins, *last) = (*joins + 1, true);
            }
            Entry::Leave(session, group) => {
                asked.joins.entry((*session, group.as_str())).or_default().1 = false;
            }
            Entry::Disconnected(session) => {
                asked.closed.insert(*session);
            }
            Entry::View(_)
            | Entry::Transitional { .. }
            | Entry::Message(_)
            | Entry::Membership(_)
            | Entry::GroupTransitional { .. }
            | Entry::Connected(_)
            | Entry::Sent(_) => {}
        }
    }
    asked
}

/// Whether the sender was a member of one of the groups and stays, or named itself, and wants a copy.
fn wants_it(facts: &Facts<'_>, stay: &Stay<'_>, asked: &Asked<'_>, send: usize, accepted: usize) -> bool {
    let record = &facts.history.sends[send];
    if record.discard_self || asked.closed.contains(&record.session) {
        return false;
    }
    if record.targets(&facts.history.sessions[record.session].name.to_string()) {
        return true;
    }
    record.content.targets().any(|group| {
        // The last that it ever asked for was to join, and that took effect before it sent.
        let before = |places: &Vec<usize>| places.partition_point(|at| *at < accepted);
        let effective = stay.joined.get(group).map_or(0, before);
        asked.joins.get(&(record.session, group)).is_some_and(|(joins, last)| *last && *joins == effective)
    })
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
    fn a_run_that_ends_too_early_shows_nothing_and_one_that_took_too_long_does() {
        let mut story = Story::together(2);
        story.send(0, Service::Reliable);
        story.history.settled = false;
        story.is_right();
        story.history.overdue = true;
        story.breaks("E5 self-delivery");
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
