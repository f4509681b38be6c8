//! E2, second half: daemons that install the same view id install the same members. It is primary if they are a
//! majority of the configured daemons.

use std::collections::BTreeMap;

use crate::facts::Facts;
use crate::history::Entry;

pub(super) fn check(facts: &Facts<'_>) -> Result<(), String> {
    let mut known = BTreeMap::new();
    for process in &facts.history.processes {
        for entry in &process.entries {
            let Entry::View(view) = entry else { continue };
            let (first, members) = known.entry(view.id).or_insert((process.id, &view.members));
            if **members != view.members {
                return Err(format!(
                    "view {} has members {members:?} at {first} and {:?} at {}",
                    view.id, view.members, process.id
                ));
            }
            let majority = 2 * view.members.len() > facts.history.configured;
            if view.primary != majority {
                return Err(format!(
                    "view {} with {} of {} daemons is {}primary at {}",
                    view.id,
                    view.members.len(),
                    facts.history.configured,
                    if view.primary { "" } else { "not " },
                    process.id
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::story::Story;

    #[test]
    fn one_id_with_two_memberships_is_seen() {
        let mut story = Story::together(3);
        story.is_right();
        let two = [story.id(0), story.id(1)];
        story.last_view(1).members = two.into();
        story.breaks("E2 view agreement");
    }

    #[test]
    fn a_wrong_primary_is_seen() {
        let mut story = Story::together(3);
        story.move_to(2, &[0]);
        story.is_right();
        story.last_view(0).primary = true;
        story.breaks("E2 view agreement");
    }
}
