//! E6: two daemons that go from one view to the same next view deliver the same set of messages in between
//! (Reliable and above). When the run has come to rest, this holds for the last view as if all had moved on.

use std::collections::{BTreeMap, BTreeSet};

use stentor_membership::Service;

use crate::facts::{Facts, Stay, list};

pub(super) fn check(facts: &Facts<'_>) -> Result<(), String> {
    let mut moves = BTreeMap::new();
    for (process, stays) in facts.stays.iter().enumerate() {
        for stay in stays {
            if stay.next.is_none() && !(facts.history.settled && facts.is_live(process)) {
                continue;
            }
            let delivered = delivered(facts, stay);
            let (first, expected) =
                moves.entry((stay.view.id, stay.next)).or_insert_with(|| (process, delivered.clone()));
            if delivered != *expected {
                return Err(format!(
                    "{} and {} go from view {} to {}, but only the first delivered {} and only the second {}",
                    facts.id(*first),
                    facts.id(process),
                    stay.view.id,
                    stay.next.map_or_else(|| "the end".to_owned(), |next| next.to_string()),
                    list(expected.difference(&delivered).copied()),
                    list(delivered.difference(expected).copied()),
                ));
            }
        }
    }
    Ok(())
}

fn delivered(facts: &Facts<'_>, stay: &Stay<'_>) -> BTreeSet<usize> {
    let sends = stay.seen.iter().map(|seen| seen.send);
    sends.filter(|send| facts.service(*send) > Service::Unreliable).collect()
}

#[cfg(test)]
mod tests {
    use stentor_membership::Service;

    use super::super::story::Story;
    use crate::history::Fate;

    #[test]
    fn daemons_that_move_together_deliver_the_same() {
        let mut story = Story::together(3);
        let m = story.send(0, Service::Reliable);
        story.deliver(&[0, 1], m);
        story.begin(2, &[1, 2]);
        story.begin(3, &[0]);
        story.deliver(&[2], m);
        story.install(2, &[1, 2]);
        story.install(3, &[0]);
        story.is_right();
    }

    #[test]
    fn a_difference_between_two_views_is_seen() {
        let mut story = Story::together(3);
        let m = story.send(0, Service::Reliable);
        story.deliver(&[0, 1], m);
        story.move_to(2, &[1, 2]);
        story.breaks("E6 virtual synchrony");
    }

    #[test]
    fn a_difference_at_the_end_is_seen() {
        let mut story = Story::together(2);
        let m = story.send(0, Service::Agreed);
        story.deliver(&[0], m);
        story.breaks("E6 virtual synchrony");
        story.history.processes[1].fate = Fate::Crashed;
        story.is_right();
    }

    #[test]
    fn unreliable_messages_may_differ() {
        let mut story = Story::together(2);
        let m = story.send(0, Service::Unreliable);
        story.deliver(&[0], m);
        story.is_right();
    }
}
