//! E3: a message is sent in one view and delivered only in it or in the transitional configuration right after it.

use stentor_membership::ViewId;

use crate::facts::Facts;
use crate::history::{Delivery, Entry, Process};

pub(super) fn check(facts: &Facts<'_>) -> Result<(), String> {
    for process in &facts.history.processes {
        let (mut current, mut transitional) = (None, false);
        for entry in &process.entries {
            match entry {
                Entry::View(view) => (current, transitional) = (Some(view.id), false),
                Entry::Transitional { .. } => transitional = true,
                Entry::Message(message) => {
                    if Some(message.view) != current || message.transitional != transitional {
                        let name = facts.name(message.send);
                        return Err(format!(
                            "{} delivers {name} of view {} ({}) in view {current:?} ({})",
                            process.id,
                            message.view,
                            configuration(message.transitional),
                            configuration(transitional),
                        ));
                    }
                    one_view(facts, message)?;
                }
                Entry::Membership(_)
                | Entry::GroupTransitional { .. }
                | Entry::Connected(_)
                | Entry::Disconnected(_)
                | Entry::Join(..)
                | Entry::Leave(..)
                | Entry::Sent(_) => {}
            }
        }
    }
    sent_there(facts)
}

fn configuration(transitional: bool) -> &'static str {
    if transitional { "transitional" } else { "regular" }
}

/// All deliveries name the same view, and its sender is in it.
fn one_view(facts: &Facts<'_>, message: &Delivery) -> Result<(), String> {
    let Some(Some(first)) = facts.sent_in.get(message.send) else { return Ok(()) };
    if *first != message.view {
        let name = facts.name(message.send);
        return Err(format!("{name} is delivered in view {first} and in view {}", message.view));
    }
    Ok(())
}

/// Its sender installed that view, and had not left it when its client asked.
fn sent_there(facts: &Facts<'_>) -> Result<(), String> {
    let views: Vec<Vec<(usize, ViewId)>> = facts.history.processes.iter().map(views_of).collect();
    for (send, sent_in) in facts.sent_in.iter().enumerate() {
        let (Some(sent_in), Some((process, accepted))) = (sent_in, facts.accepted[send]) else { continue };
        let mut views = views[process].iter();
        if !views.any(|(_, id)| id == sent_in) {
            return Err(format!(
                "{} is said to be of view {sent_in}, which {} never installed",
                facts.name(send),
                facts.id(process)
            ));
        }
        if let Some((_, next)) = views.next().filter(|(at, _)| *at < accepted) {
            return Err(format!(
                "{} is said to be of view {sent_in}, but {} was already in {next}",
                facts.name(send),
                facts.id(process)
            ));
        }
    }
    Ok(())
}

/// The views that a process installed, with their places.
fn views_of(process: &Process) -> Vec<(usize, ViewId)> {
    let view_at =
        |(at, entry): (usize, &Entry)| if let Entry::View(view) = entry { Some((at, view.id)) } else { None };
    process.entries.iter().enumerate().filter_map(view_at).collect()
}

#[cfg(test)]
mod tests {
    use stentor_membership::Service;

    use super::super::story::Story;

    #[test]
    fn a_delivery_after_the_next_view_is_seen() {
        let mut story = Story::together(2);
        let (id, m) = (story.view(0).id, story.send(0, Service::Agreed));
        story.deliver(&[0, 1], m);
        story.is_right();
        story.move_to(2, &[0, 1]);
        let late = story.send(1, Service::Agreed);
        story.deliver(&[0, 1], late);
        story.is_right();
        story.last_delivery(0).view = id;
        story.breaks("E3 sending view");
    }

    #[test]
    fn a_message_of_two_views_is_seen() {
        let mut story = Story::together(2);
        let m = story.send(0, Service::Unreliable);
        story.deliver(&[0], m);
        story.move_to(2, &[0, 1]);
        story.deliver(&[1], m);
        story.breaks("E3 sending view");
    }

    #[test]
    fn a_wrong_configuration_is_seen() {
        let mut story = Story::together(2);
        let m = story.send(0, Service::Agreed);
        story.deliver(&[0, 1], m);
        story.last_delivery(1).transitional = true;
        story.breaks("E3 sending view");
    }

    #[test]
    fn a_view_that_its_sender_had_left_is_seen() {
        let mut story = Story::together(2);
        story.move_to(2, &[0]);
        let m = story.send(0, Service::Agreed);
        story.deliver(&[1], m);
        story.breaks("E3 sending view");
    }
}
