//! E4 and E13 at the sessions: an event reaches exactly the local sessions that it concerns. A message reaches the
//! local members of its groups, each once; its sender too, unless it asked not to. A change of a group reaches the
//! local members, and the one that left.

use std::collections::{BTreeMap, BTreeSet};

use stentor_membership::{Cause, GroupName};

use crate::facts::Facts;
use crate::history::{Change, Delivery, Entry};

pub(super) fn check(facts: &Facts<'_>) -> Result<(), String> {
    for number in 0..facts.history.processes.len() {
        let mut local = Local { facts, number, sessions: BTreeSet::new(), groups: BTreeMap::new() };
        for entry in &facts.history.processes[number].entries {
            local.follow(entry)?;
        }
    }
    Ok(())
}

/// The sessions of one daemon, and the groups that they are members of by what they were told.
struct Local<'a, 'b> {
    facts: &'a Facts<'b>,
    number: usize,
    sessions: BTreeSet<usize>,
    groups: BTreeMap<GroupName, BTreeSet<usize>>,
}

impl Local<'_, '_> {
    fn follow(&mut self, entry: &Entry) -> Result<(), String> {
        match entry {
            Entry::Connected(session) => {
                self.sessions.insert(*session);
            }
            Entry::Disconnected(session) => {
                self.sessions.remove(session);
                for members in self.groups.values_mut() {
                    members.remove(session);
                }
            }
            Entry::Message(message) => self.message(message)?,
            Entry::Membership(change) => self.change(change)?,
            Entry::GroupTransitional { group, receivers } => {
                let expected = self.groups.get(group).cloned().unwrap_or_default();
                self.compare(format!("the transitional event of group {group}"), &expected, receivers)?;
            }
            Entry::Transitional { .. }
            | Entry::View(_)
            | Entry::Join(..)
            | Entry::Leave(..)
            | Entry::Sent(_) => {}
        }
        Ok(())
    }

    fn message(&self, message: &Delivery) -> Result<(), String> {
        let Some(send) = self.facts.history.sends.get(message.send) else { return Ok(()) };
        let mut expected = BTreeSet::new();
        for target in send.content.targets() {
            match GroupName::new(target) {
                Ok(group) => expected.extend(self.groups.get(&group).into_iter().flatten().copied()),
                Err(_) => {
                    let named = |s: &usize| self.facts.history.sessions[*s].name.to_string() == target;
                    expected.extend(self.sessions.iter().copied().filter(named));
                }
            }
        }
        if send.discard_self {
            expected.remove(&send.session);
        }
        self.compare(self.facts.name(message.send), &expected, &message.receivers)
    }

    fn change(&mut self, change: &Change) -> Result<(), String> {
        let what = || format!("group view {} of {} ({:?})", change.view, change.group, change.cause);
        let members = self.groups.entry(change.group).or_default();
        let mut expected = members.clone();
        match change.cause {
            // An earlier session may have had the same name: the receivers show which one it is.
            Cause::Join(who) => {
                let named = |s: &&usize| self.facts.history.sessions[**s].name == who;
                if let Some(joined) = change.receivers.iter().filter(named).find(|s| !members.contains(s)) {
                    members.insert(*joined);
                    expected.insert(*joined);
                }
            }
            Cause::Leave(who) => members.retain(|s| self.facts.history.sessions[*s].name != who),
            Cause::Disconnect(_) | Cause::Network => {}
        }
        self.compare(what(), &expected, &change.receivers)
    }

    fn compare(&self, what: String, expected: &BTreeSet<usize>, receivers: &[usize]) -> Result<(), String> {
        let id = self.facts.id(self.number);
        if receivers.is_empty() {
            return Err(format!("{id} reports {what} for no session"));
        }
        let told: BTreeSet<usize> = receivers.iter().copied().collect();
        if told == *expected {
            return Ok(());
        }
        let names = |sessions: &BTreeSet<usize>| -> Vec<String> {
            let name = |s: &usize| format!("{} (session {s})", self.facts.history.sessions[*s].name);
            sessions.iter().map(name).collect()
        };
        Err(format!("{id} gives {what} to {:?} instead of {:?}", names(&told), names(expected)))
    }
}

#[cfg(test)]
mod tests {
    use stentor_membership::Service;

    use super::super::story::Story;
    use crate::history::{EVERYBODY, Entry};

    /// Daemon 0 with its observer and one more session in group `g`, which daemon 1's observer is in as well.
    fn story() -> (Story, usize) {
        let mut story = Story::together(2);
        let s = story.connect(0, "s");
        story.join(&[0], s, "g", &[s]);
        story.join(&[0, 1], 1, "g", &[s, 1]);
        story.is_right();
        (story, s)
    }

    #[test]
    fn members_of_any_target_get_a_message_once() {
        let (mut story, s) = story();
        let m = story.send_to(1, Service::Agreed, &["g", EVERYBODY, "#s#a", "nobody"]);
        story.deliver_to(0, m, &[0, s]);
        story.deliver_to(1, m, &[1]);
        story.is_right();
        story.last_delivery(0).receivers = vec![0];
        story.breaks("E4 receivers");
    }

    #[test]
    fn a_message_for_strangers_is_seen() {
        let (mut story, s) = story();
        let m = story.send(0, Service::Agreed);
        story.deliver_to(0, m, &[0, s]);
        story.deliver_to(1, m, &[1]);
        story.breaks("E4 receivers");
    }

    #[test]
    fn a_copy_that_its_sender_did_not_want_is_seen() {
        let (mut story, s) = story();
        let m = story.send_to(s, Service::Agreed, &["g"]);
        story.history.sends[m].discard_self = true;
        story.deliver_to(1, m, &[1]);
        story.is_right();
        story.deliver_to(0, m, &[s]);
        story.breaks("E4 receivers");
    }

    #[test]
    fn who_left_hears_of_it_and_no_more() {
        let (mut story, s) = story();
        story.leave(&[0, 1], s, "g", &[s, 1]);
        story.is_right();
        let m = story.send_to(1, Service::Agreed, &["g"]);
        story.deliver_to(1, m, &[1]);
        story.is_right();
        story.deliver_to(0, m, &[s]);
        story.breaks("E4 receivers");
    }

    #[test]
    fn an_event_for_a_closed_session_is_seen() {
        let (mut story, s) = story();
        story.add(0, Entry::Disconnected(s));
        let m = story.send_to(1, Service::Agreed, &["g"]);
        story.deliver_to(0, m, &[s]);
        story.deliver_to(1, m, &[1]);
        story.breaks("E4 receivers");
    }

    #[test]
    fn a_change_that_a_member_does_not_hear_of_is_seen() {
        let (mut story, s) = story();
        let other = story.connect(0, "t");
        story.join(&[0, 1], other, "g", &[s, other, 1]);
        story.is_right();
        story.last_change(0).receivers = vec![other];
        story.breaks("E4 receivers");
    }
}
