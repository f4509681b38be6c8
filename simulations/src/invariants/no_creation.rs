//! E4, first half: what is delivered was sent, and is unaltered.

use crate::facts::Facts;
use crate::history::Entry;

pub(super) fn check(facts: &Facts<'_>) -> Result<(), String> {
    for process in &facts.history.processes {
        for entry in &process.entries {
            let Entry::Message(message) = entry else { continue };
            let name = facts.name(message.send);
            let Some(send) = facts.history.sends.get(message.send) else {
                return Err(format!("{} delivers {name}", process.id));
            };
            if facts.accepted[message.send].is_none() {
                return Err(format!("{} delivers {name}, which was refused to its sender", process.id));
            }
            if send.content != message.content {
                return Err(format!(
                    "{} delivers {name} with other content: {:?} instead of {:?}",
                    process.id, message.content, send.content
                ));
            }
            let sender = facts.history.sessions[send.session].name;
            if (message.sender, message.service) != (sender, send.service) {
                return Err(format!(
                    "{} delivers {name} as {} from {}",
                    process.id, message.service, message.sender
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use stentor_membership::{Content, Service};

    use super::super::story::Story;
    use crate::history::Entry;

    fn story() -> Story {
        let mut story = Story::together(2);
        let m = story.send(0, Service::Fifo);
        story.deliver(&[0, 1], m);
        story.is_right();
        story
    }

    #[test]
    fn a_message_that_nobody_sent_is_seen() {
        let mut story = story();
        story.last_delivery(1).send = 17;
        story.breaks("E4 no creation");
    }

    #[test]
    fn a_refused_message_is_seen() {
        let mut story = story();
        story.entries(0).retain(|entry| !matches!(entry, Entry::Sent(_)));
        story.breaks("E4 no creation");
    }

    #[test]
    fn altered_content_is_seen() {
        let mut story = story();
        story.last_delivery(1).content = Content::new(&["all"], 0, b"tent").unwrap();
        story.breaks("E4 no creation");
    }

    #[test]
    fn a_wrong_level_or_sender_is_seen() {
        let mut wrong = story();
        wrong.last_delivery(1).service = Service::Safe;
        wrong.breaks("E4 no creation");
        let mut wrong = story();
        wrong.last_delivery(0).sender = wrong.history.sessions[1].name;
        wrong.breaks("E4 no creation");
    }
}
