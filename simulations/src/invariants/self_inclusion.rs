//! E1: a daemon is a member of every view that it installs.

use crate::facts::Facts;
use crate::history::Entry;

pub(super) fn check(facts: &Facts<'_>) -> Result<(), String> {
    for process in &facts.history.processes {
        for entry in &process.entries {
            let Entry::View(view) = entry else { continue };
            if !view.members.contains(&process.id) {
                return Err(format!(
                    "{} installs view {} without being in it: {:?}",
                    process.id, view.id, view.members
                ));
            }
            if !view.members.is_sorted_by(|a, b| a < b) {
                return Err(format!("the members of view {} are not sorted: {:?}", view.id, view.members));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::story::Story;

    #[test]
    fn a_view_without_oneself_is_seen() {
        let mut story = Story::together(3);
        story.is_right();
        let others = [story.id(1), story.id(2)];
        story.last_view(0).members = others.into();
        story.breaks("E1 self-inclusion");
    }

    #[test]
    fn unsorted_members_are_seen() {
        let mut story = Story::together(2);
        let reversed = [story.id(1), story.id(0)];
        story.last_view(0).members = reversed.into();
        story.breaks("E1 self-inclusion");
    }
}
