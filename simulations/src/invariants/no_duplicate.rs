//! E4, second half: a message is delivered at most once at a daemon.

use std::collections::BTreeSet;

use crate::facts::Facts;
use crate::history::Entry;

pub(super) fn check(facts: &Facts<'_>) -> Result<(), String> {
    for process in &facts.history.processes {
        let mut seen = BTreeSet::new();
        for entry in &process.entries {
            let Entry::Message(message) = entry else { continue };
            if !seen.insert(message.send) {
                return Err(format!("{} delivers {} twice", process.id, facts.name(message.send)));
            }
            let receivers: BTreeSet<_> = message.receivers.iter().collect();
            if receivers.len() != message.receivers.len() {
                return Err(format!(
                    "{} delivers {} twice to one session: {:?}",
                    process.id,
                    facts.name(message.send),
                    message.receivers
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

    #[test]
    fn a_second_delivery_is_seen() {
        let mut story = Story::together(2);
        let m = story.send(0, Service::Unreliable);
        story.deliver(&[1, 0], m);
        story.is_right();
        story.deliver(&[1], m);
        story.breaks("E4 no duplicate");
    }

    #[test]
    fn a_receiver_named_twice_is_seen() {
        let mut story = Story::together(2);
        let m = story.send(0, Service::Agreed);
        story.deliver(&[0, 1], m);
        story.last_delivery(1).receivers = vec![1, 1];
        story.breaks("E4 no duplicate");
    }
}
