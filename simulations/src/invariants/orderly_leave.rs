//! A daemon that leaves when nothing of its clients is under way takes nothing with it: what it had accepted in its
//! last view is delivered by every member of that view that does not crash.

use stentor_membership::Service;

use crate::facts::Facts;
use crate::history::Fate;

pub(super) fn check(facts: &Facts<'_>) -> Result<(), String> {
    if !facts.history.settled {
        return Ok(());
    }
    for (send, accepted) in facts.accepted.iter().enumerate() {
        let Some((process, at)) = *accepted else { continue };
        let left = facts.history.processes[process].fate == Fate::Left;
        if !left || !facts.to_everybody[send] || facts.service(send) == Service::Unreliable {
            continue;
        }
        if facts.sent_in[send].is_none() {
            return Err(format!(
                "{} left in order, but nobody ever delivers {}",
                facts.id(process),
                facts.name(send)
            ));
        }
        // Earlier views may have ended without some of their members.
        let Some(last) = facts.stays[process].last().filter(|stay| Some(stay.view.id) == facts.sent_in[send])
        else {
            continue;
        };
        for member in last.view.members.iter().filter_map(|member| facts.process(*member)) {
            let watched = facts.stays[member].iter().any(|stay| stay.view.id == last.view.id);
            if facts.is_live(member) && watched && facts.seen_at[member][send].is_none() {
                return Err(format!(
                    "{} left in order, but {} never delivers {} of view {} (entry {at})",
                    facts.id(process),
                    facts.id(member),
                    facts.name(send),
                    last.view.id
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use stentor_membership::Service;

    use super::super::story::Story;
    use crate::history::Fate;

    #[test]
    fn what_a_daemon_took_with_it_is_seen() {
        let mut story = Story::together(2);
        let m = story.send(0, Service::Agreed);
        story.deliver(&[0], m);
        story.history.processes[0].fate = Fate::LeftUnfinished;
        story.is_right();
        story.history.processes[0].fate = Fate::Left;
        story.breaks("orderly leave");
        story.begin(2, &[1]);
        story.deliver(&[1], m);
        story.is_right();
    }
}
