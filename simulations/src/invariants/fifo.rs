//! E7: messages at Fifo and above from one session are delivered in the order of sending, and none is skipped and
//! then followed by a later one of that session in that view. What a session sends after a join or leave of its own
//! comes after that, from Reliable on; what it sent before comes before, from Fifo on.

use std::collections::BTreeMap;

use stentor_membership::{Cause, GroupName, GroupViewId, Service, ViewId};

use crate::facts::{Facts, Stay, Told, What};
use crate::history::Entry;

pub(super) fn check(facts: &Facts<'_>) -> Result<(), String> {
    for told in &facts.told {
        order(facts, told)?;
    }
    let sent = sent_by_session(facts);
    for (process, stays) in facts.stays.iter().enumerate() {
        for stay in stays {
            no_gap(facts, &sent, process, stay)?;
        }
    }
    around_own_changes(facts)
}

/// When a session asked for a change of a group, by the group view that came of it.
type Asked = BTreeMap<(GroupName, GroupViewId), (usize, usize)>;

/// The n-th join that a session was told of is the n-th that it asked for; so with leaves.
fn asked_for(facts: &Facts<'_>) -> Asked {
    let mut asked = Asked::new();
    for (session, told) in facts.told.iter().enumerate() {
        let (me, process) = (facts.history.sessions[session].name, facts.history.sessions[session].process);
        let mut joins: BTreeMap<GroupName, Vec<usize>> = BTreeMap::new();
        let mut leaves: BTreeMap<GroupName, Vec<usize>> = BTreeMap::new();
        for (at, entry) in facts.history.processes[process].entries.iter().enumerate().rev() {
            match entry {
                Entry::Join(s, group) if *s == session => joins.entry(*group).or_default().push(at),
                Entry::Leave(s, group) if *s == session => leaves.entry(*group).or_default().push(at),
                _ => {}
            }
        }
        for told in told {
            let What::Change(change) = told.what else { continue };
            let list = match change.cause {
                Cause::Join(who) if who == me => &mut joins,
                Cause::Leave(who) if who == me => &mut leaves,
                _ => continue,
            };
            if let Some(at) = list.get_mut(&change.group).and_then(Vec::pop) {
                asked.insert((change.group, change.view), (session, at));
            }
        }
    }
    asked
}

/// A session's messages keep to their side of its own joins and leaves, at every daemon.
fn around_own_changes(facts: &Facts<'_>) -> Result<(), String> {
    let asked = asked_for(facts);
    for process in &facts.history.processes {
        // By session: its last message and its last change so far, by when it asked for them.
        let mut messages: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        let mut changes: BTreeMap<usize, usize> = BTreeMap::new();
        for entry in &process.entries {
            match entry {
                Entry::Message(message) => {
                    let Some(Some((_, accepted))) = facts.accepted.get(message.send).copied() else {
                        continue;
                    };
                    let session = facts.history.sends[message.send].session;
                    if facts.service(message.send) >= Service::Fifo
                        && changes.get(&session).is_some_and(|change| *change > accepted)
                    {
                        let name = facts.name(message.send);
                        return Err(format!(
                            "{} delivers {name} after a later change of its session",
                            process.id
                        ));
                    }
                    let last = messages.entry(session).or_insert((accepted, message.send));
                    if facts.service(message.send) >= Service::Reliable {
                        *last = (*last).max((accepted, message.send));
                    }
                }
                Entry::Membership(change) => {
                    let Some((session, at)) = asked.get(&(change.group, change.view)).copied() else {
                        continue;
                    };
                    let overtaken = messages.get(&session).filter(|(accepted, send)| {
                        *accepted > at && facts.service(*send) >= Service::Reliable
                    });
                    if let Some((_, send)) = overtaken {
                        return Err(format!(
                            "{} delivers {} before {:?} of group {}, which its session asked for earlier",
                            process.id,
                            facts.name(*send),
                            change.cause,
                            change.group
                        ));
                    }
                    let last = changes.entry(session).or_insert(at);
                    *last = (*last).max(at);
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// What one session gets of another is in order, over all views and groups.
fn order(facts: &Facts<'_>, told: &[Told<'_>]) -> Result<(), String> {
    let mut last: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for told in told {
        let What::Message(message) = told.what else { continue };
        let Some(Some((_, accepted))) = facts.accepted.get(message.send) else { continue };
        if facts.service(message.send) < Service::Fifo {
            continue;
        }
        let session = facts.history.sends[message.send].session;
        if let Some((_, before)) = last.insert(session, (*accepted, message.send)).filter(|l| l.0 > *accepted)
        {
            return Err(format!(
                "{} comes after {}, which its session sent later",
                facts.name(message.send),
                facts.name(before)
            ));
        }
    }
    Ok(())
}

/// By session: what it sent to everybody at Fifo or above, in order.
fn sent_by_session(facts: &Facts<'_>) -> BTreeMap<usize, Vec<usize>> {
    let mut sent: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (send, record) in facts.history.sends.iter().enumerate() {
        if facts.to_everybody[send] && record.service >= Service::Fifo && facts.accepted[send].is_some() {
            sent.entry(record.session).or_default().push(send);
        }
    }
    for sends in sent.values_mut() {
        sends.sort_by_key(|send| facts.accepted[*send]);
    }
    sent
}

fn no_gap(
    facts: &Facts<'_>,
    sent: &BTreeMap<usize, Vec<usize>>,
    process: usize,
    stay: &Stay<'_>,
) -> Result<(), String> {
    let mut got: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for seen in &stay.seen {
        if facts.service(seen.send) >= Service::Fifo {
            got.entry(facts.history.sends[seen.send].session).or_default().push(seen.send);
        }
    }
    for (session, got) in got {
        let Some(sent) = sent.get(&session) else { continue };
        let expected = of_view(facts, sent, stay.view.id);
        if let Some(skipped) = expected.iter().zip(&got).find(|(expected, got)| expected != got) {
            return Err(format!(
                "{} delivers {} in view {} without {} before it",
                facts.id(process),
                facts.name(*skipped.1),
                stay.view.id,
                facts.name(*skipped.0)
            ));
        }
    }
    Ok(())
}

/// The sends of one session that are of a view: those known to be, and all between them.
fn of_view<'s>(facts: &Facts<'_>, sent: &'s [usize], view: ViewId) -> &'s [usize] {
    let is_of_view = |send: &usize| facts.sent_in[*send] == Some(view);
    match (sent.iter().position(is_of_view), sent.iter().rposition(is_of_view)) {
        (Some(first), Some(last)) => &sent[first..=last],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use stentor_membership::Service;

    use super::super::story::Story;

    #[test]
    fn a_prefix_is_right_and_order_between_sessions_does_not_matter() {
        let mut story = Story::together(2);
        let (a, b, c) =
            (story.send(0, Service::Fifo), story.send(0, Service::Fifo), story.send(1, Service::Fifo));
        story.deliver(&[0], a);
        story.deliver(&[0, 1], c);
        story.deliver(&[1], a);
        story.deliver(&[0], b);
        story.begin(2, &[0]);
        story.begin(3, &[1]);
        story.install(2, &[0]);
        story.install(3, &[1]);
        story.is_right();
    }

    #[test]
    fn a_swap_is_seen() {
        let mut story = Story::together(2);
        let (a, b) = (story.send(0, Service::Fifo), story.send(0, Service::Agreed));
        story.deliver(&[0], a);
        story.deliver(&[0, 1], b);
        story.deliver(&[1], a);
        story.breaks("E7 FIFO");
    }

    #[test]
    fn a_gap_is_seen() {
        let mut story = Story::together(2);
        let (a, b) = (story.send(0, Service::Fifo), story.send(0, Service::Fifo));
        story.deliver(&[0], a);
        story.deliver(&[0, 1], b);
        story.move_to(2, &[0]);
        story.move_to(3, &[1]);
        story.breaks("E7 FIFO");
    }

    #[test]
    fn a_gap_that_nobody_else_filled_is_seen() {
        let mut story = Story::together(2);
        let (a, _lost) = (story.send(0, Service::Fifo), story.send(0, Service::Fifo));
        let c = story.send(0, Service::Fifo);
        story.deliver(&[0, 1], a);
        story.deliver(&[0, 1], c);
        story.breaks("E7 FIFO");
    }

    /// A session of daemon 0 that joins a group in which there is a session of daemon 1.
    fn newcomer() -> (Story, usize, usize) {
        let mut story = Story::together(2);
        let t = story.connect(1, "t");
        story.join(&[1], t, "g", &[t]);
        let s = story.connect(0, "s");
        (story, s, t)
    }

    #[test]
    fn a_message_in_front_of_an_earlier_join_of_its_session_is_seen() {
        for (service, wrong) in [(Service::Reliable, true), (Service::Unreliable, false)] {
            let (mut story, s, t) = newcomer();
            story.join(&[0, 1], s, "g", &[s, t]);
            let m = story.send_to(s, service, &["g"]);
            story.deliver_to(0, m, &[s]);
            story.deliver_to(1, m, &[t]);
            story.is_right();
            let entries = story.entries(1);
            let last = entries.len() - 1;
            entries.swap(last - 1, last);
            if wrong {
                story.breaks("E7 FIFO");
            } else {
                story.is_right();
            }
        }
    }

    #[test]
    fn a_message_behind_a_later_join_of_its_session_is_seen() {
        for (service, wrong) in [(Service::Fifo, true), (Service::Reliable, false)] {
            let (mut story, s, t) = newcomer();
            let m = story.send_to(s, service, &["g"]);
            story.join(&[0, 1], s, "g", &[s, t]);
            story.deliver_to(1, m, &[t]);
            if wrong {
                story.breaks("E7 FIFO");
            } else {
                story.is_right();
            }
        }
    }

    #[test]
    fn reliable_messages_have_no_order() {
        let mut story = Story::together(2);
        let (a, b) = (story.send(0, Service::Reliable), story.send(0, Service::Reliable));
        story.deliver(&[0, 1], b);
        story.deliver(&[0, 1], a);
        story.is_right();
    }
}
