//! E2, first half: the ids of the views that a daemon installs strictly increase.

use crate::facts::Facts;
use crate::history::Entry;

pub(super) fn check(facts: &Facts<'_>) -> Result<(), String> {
    for process in &facts.history.processes {
        let mut last = None;
        for entry in &process.entries {
            let Entry::View(view) = entry else { continue };
            if let Some(last) = last.filter(|last| *last >= view.id) {
                return Err(format!("{} installs view {} after view {last}", process.id, view.id));
            }
            last = Some(view.id);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::story::Story;

    #[test]
    fn a_view_that_comes_again_is_seen() {
        let mut story = Story::together(2);
        story.move_to(2, &[0, 1]);
        story.is_right();
        story.move_to(2, &[0, 1]);
        story.breaks("E2 monotone views");
    }

    #[test]
    fn a_step_back_is_seen() {
        let mut story = Story::together(2);
        story.move_to(3, &[0]);
        story.move_to(2, &[0, 1]);
        story.breaks("E2 monotone views");
    }
}
