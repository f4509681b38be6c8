//! E10: in a regular view, a daemon that delivers a message has delivered every ordered message before it. In a
//! transitional configuration only messages from daemons outside it may be missing.

use std::collections::BTreeMap;

use crate::facts::{Facts, Stay};

pub(super) fn check(facts: &Facts<'_>) -> Result<(), String> {
    for (view, stays) in facts.by_view() {
        for (process, mine) in &stays {
            let place: BTreeMap<usize, bool> =
                mine.seen.iter().map(|seen| (seen.send, seen.transitional)).collect();
            for (other, theirs) in stays.iter().filter(|(other, _)| other != process) {
                let missing = missing(facts, &place, mine, theirs);
                if let Some((missing, later)) = missing {
                    return Err(format!(
                        "{} delivers {} in view {view} without {}, which {} has before it",
                        facts.id(*process),
                        facts.name(later),
                        facts.name(missing),
                        facts.id(*other),
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Something that the other has in front of what both have, and that I lack without an excuse.
fn missing(
    facts: &Facts<'_>,
    place: &BTreeMap<usize, bool>,
    mine: &Stay<'_>,
    theirs: &Stay<'_>,
) -> Option<(usize, usize)> {
    let along = |send: usize| {
        let sender = facts.id(facts.sender(send));
        mine.transitional.is_some_and(|(_, members)| members.contains(&sender))
    };
    let ordered: Vec<usize> =
        theirs.seen.iter().map(|seen| seen.send).filter(|send| facts.service(*send).is_ordered()).collect();
    let last = |wanted: &dyn Fn(bool) -> bool| {
        ordered.iter().rposition(|send| place.get(send).is_some_and(|transitional| wanted(*transitional)))
    };
    let (regular, any) = (last(&|transitional| !transitional), last(&|_| true));
    for (at, send) in ordered.iter().enumerate() {
        if place.contains_key(send) {
            continue;
        }
        if let Some(later) = regular.filter(|later| at < *later) {
            return Some((*send, ordered[later]));
        }
        if let Some(later) = any.filter(|later| at < *later && along(*send)) {
            return Some((*send, ordered[later]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use stentor_membership::Service;

    use super::super::story::Story;
    use crate::history::Fate;

    fn story() -> (Story, usize, usize) {
        story_of(Service::Agreed)
    }

    fn story_of(service: Service) -> (Story, usize, usize) {
        let mut story = Story::together(3);
        let (a, b) = (story.send(0, service), story.send(1, Service::Agreed));
        story.deliver(&[0], a);
        story.deliver(&[0], b);
        story.history.processes[0].fate = Fate::Crashed;
        story.history.processes[1].fate = Fate::Crashed;
        (story, a, b)
    }

    #[test]
    fn a_hole_in_a_regular_view_is_seen() {
        for service in [Service::Causal, Service::Agreed, Service::Safe] {
            let (mut story, _, b) = story_of(service);
            story.deliver(&[2], b);
            story.breaks("E10 no holes");
        }
    }

    #[test]
    fn a_message_from_outside_may_be_missing_in_a_transitional_configuration() {
        let (mut story, _, b) = story();
        story.begin(2, &[1, 2]);
        story.deliver(&[2], b);
        story.is_right();
    }

    #[test]
    fn a_message_from_inside_may_not() {
        let (mut story, _, b) = story();
        story.begin(2, &[0, 2]);
        story.deliver(&[2], b);
        story.breaks("E10 no holes");
    }
}
