//! E11: if a daemon delivers a Safe message in a configuration, every member of it delivers the message unless it
//! crashes. This needs the end of the run to be waited for.

use stentor_membership::{DaemonId, Service};

use crate::facts::{Facts, Stay};

pub(super) fn check(facts: &Facts<'_>) -> Result<(), String> {
    if !facts.history.settled {
        return Ok(());
    }
    for (process, stays) in facts.stays.iter().enumerate() {
        for stay in stays {
            for seen in stay.seen.iter().filter(|seen| facts.service(seen.send) == Service::Safe) {
                let members = members(stay, seen.transitional);
                if let Some(other) = members.iter().find(|other| lacks(facts, **other, stay, seen.send)) {
                    return Err(format!(
                        "{} delivers {} in the {} configuration {members:?} of view {}, but {other} never does",
                        facts.id(process),
                        facts.name(seen.send),
                        if seen.transitional { "transitional" } else { "regular" },
                        stay.view.id,
                    ));
                }
            }
        }
    }
    Ok(())
}

fn members<'a>(stay: &Stay<'a>, transitional: bool) -> &'a [DaemonId] {
    match stay.transitional {
        Some((_, members)) if transitional => members,
        _ => &stay.view.members,
    }
}

fn lacks(facts: &Facts<'_>, other: DaemonId, stay: &Stay<'_>, send: usize) -> bool {
    let Some(number) = facts.process(other).filter(|number| facts.is_live(*number)) else { return false };
    let watched = facts.stays[number].first().is_some_and(|first| first.view.id <= stay.view.id);
    watched && facts.seen_at[number][send].is_none()
}

#[cfg(test)]
mod tests {
    use stentor_membership::Service;

    use super::super::story::Story;
    use crate::history::Fate;

    #[test]
    fn a_member_that_never_delivers_is_seen() {
        let mut story = Story::together(2);
        let m = story.send(0, Service::Safe);
        story.deliver(&[0], m);
        story.move_to(2, &[0]);
        story.move_to(3, &[1]);
        story.breaks("E11 safe");
        story.history.processes[1].fate = Fate::Crashed;
        story.is_right();
    }

    #[test]
    fn a_transitional_delivery_binds_those_who_move_along() {
        let mut story = Story::together(3);
        let m = story.send(0, Service::Safe);
        story.begin(2, &[0, 1]);
        story.begin(3, &[2]);
        story.deliver(&[0, 1], m);
        story.install(2, &[0, 1]);
        story.install(3, &[2]);
        story.is_right();
    }

    #[test]
    fn one_that_moved_along_and_never_delivers_is_seen() {
        let mut story = Story::together(3);
        let m = story.send(0, Service::Safe);
        story.begin(2, &[0, 1]);
        story.deliver(&[0], m);
        story.move_to(3, &[1, 2]);
        story.breaks("E11 safe");
    }
}
