//! E7: what one sender sends as Fifo or stronger is got in sending order, and nothing is skipped and then followed by
//! something later, as long as the daemons stay together.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use stentor_membership::{Cause, GroupName, MemberName, Service};

use super::Findings;
use super::history::{History, Session, Stay};
use crate::log::{MessageId, What};

pub(super) fn check(history: &History<'_>, findings: &mut Findings) {
    let numbering = Numbering::new(history);
    for session in &history.logs {
        increasing(session, findings);
        for stay in &session.stays {
            contiguous(&numbering, session, stay, findings);
        }
    }
}

/// For each message its place among those of its sender to a group.
struct Numbering(HashMap<(GroupName, MessageId), u32>);

impl Numbering {
    fn new(history: &History<'_>) -> Self {
        let mut places = HashMap::new();
        for session in &history.logs {
            let mut next: BTreeMap<GroupName, u32> = BTreeMap::new();
            let accepted = session.log.sent().filter(|sent| !session.log.is_refused(sent.id.number));
            for sent in accepted.filter(|sent| sent.service >= Service::Fifo) {
                // A destination that is named twice still is one.
                for group in BTreeSet::from_iter(&*sent.groups) {
                    let next = next.entry(*group).or_default();
                    places.insert((*group, sent.id), *next);
                    *next += 1;
                }
            }
        }
        Self(places)
    }

    fn place(&self, group: GroupName, id: MessageId) -> Option<u32> {
        self.0.get(&(group, id)).copied()
    }
}

fn increasing(session: &Session<'_>, findings: &mut Findings) {
    let mut last: BTreeMap<u32, u32> = BTreeMap::new();
    for message in session.log.received().filter(|m| m.service >= Service::Fifo) {
        let before = last.insert(message.id.run, message.id.number);
        findings.expect(before.is_none_or(|before| before < message.id.number), || {
            format!("{} got {:?} after number {before:?} of it", session.member(), message.id)
        });
    }
}

/// No holes between two network changes, for senders that are members.
fn contiguous(numbering: &Numbering, session: &Session<'_>, stay: &Stay<'_>, findings: &mut Findings) {
    // The place of the last message of each sender that has been a member since.
    let mut last: BTreeMap<u32, (MemberName, u32)> = BTreeMap::new();
    for span in &stay.spans {
        // A network change that parts from somebody shows only if that is a member.
        last.retain(|_, (sender, _)| span.view.members.contains(sender));
        if span.view.cause == Cause::Network {
            last.clear();
        }
        for (_, message) in session.messages(span.start..span.end, stay.group, Service::Fifo) {
            let Some(place) = numbering.place(stay.group, message.id) else { continue };
            if !span.view.members.contains(&message.sender) {
                continue;
            }
            let before = last.insert(message.id.run, (message.sender, place)).map(|(_, before)| before);
            // Out of order is said elsewhere; a hole may consist of what the receiver itself wanted no copy of.
            let hole = before.is_some_and(|before| before + 1 < place)
                && (message.id.run != session.log.run || wanted(session, stay.group, before, place));
            findings.expect(!hole, || {
                format!("{} skipped something of {} before {:?}", session.member(), stay.group, message.id)
            });
        }
    }
}

/// Whether the session wanted a copy of any of its own messages to the group between two places.
fn wanted(session: &Session<'_>, group: GroupName, after: Option<u32>, before: u32) -> bool {
    let accepted = session.log.entries.iter().filter_map(|entry| match &entry.what {
        What::Send(sent) if !session.log.is_refused(sent.id.number) => Some(sent),
        _ => None,
    });
    let own = accepted.filter(|sent| sent.service >= Service::Fifo && sent.groups.contains(&group));
    let from = after.map_or(0, |after| after + 1);
    let between = (from..before).len();
    own.skip(usize::try_from(from).unwrap_or(usize::MAX)).take(between).any(|sent| !sent.discard_self)
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::super::sample::{Sample, log, together};
    use super::*;
    use crate::log::Log;

    fn violations(logs: &[Log]) -> usize {
        check(logs).violated("fifo")
    }

    fn sender() -> Log {
        let log = log(1).join(1).joined(2, 2, &[1, 2]);
        log.send(0).send(1).send(2).send(3).got(1, 0).got(1, 1).got(1, 2).got(1, 3).done()
    }

    fn receiver() -> Sample {
        log(2).join_with(2, &[1, 2])
    }

    #[test]
    fn in_sending_order() {
        assert_eq!(violations(&together()), 0);
        assert_eq!(violations(&[sender(), receiver().got(1, 0).got(1, 1).done()]), 0);
        assert_eq!(violations(&[sender(), receiver().got(1, 1).got(1, 0).done()]), 1);
    }

    #[test]
    fn without_a_hole() {
        assert_eq!(violations(&[sender(), receiver().got(1, 0).got(1, 2).done()]), 1);
        assert_eq!(violations(&[sender(), receiver().got(1, 1).got(1, 2).done()]), 0, "joined in between");
    }

    #[test]
    fn a_network_change_may_cost_messages() {
        let log = receiver().got(1, 0).network(3, &[2], &[2]).network(4, &[1, 2], &[2]).got(1, 3).done();
        assert_eq!(violations(&[sender(), log]), 0);
    }

    #[test]
    fn who_comes_to_the_group_may_have_been_apart_before() {
        let (one, two) = (log(1).send(0).send(1).join_with(3, &[1, 2]).send(2).got(1, 2), log(2).join(1));
        let two = two.got(1, 0).joined(3, 1, &[1, 2]).got(1, 2);
        assert_eq!(violations(&[one.done(), two.done()]), 0);
    }

    #[test]
    fn what_was_refused_leaves_no_hole() {
        let sender = log(1).join(1).joined(2, 2, &[1, 2]).send(0).send(1).refused(1).send(2);
        let sender = sender.got(1, 0).got(1, 2).done();
        assert_eq!(violations(&[sender, receiver().got(1, 0).got(1, 2).done()]), 0);
    }

    #[test]
    fn unwanted_copies_leave_no_hole_for_their_sender_alone() {
        let sender = || log(1).join(1).joined(2, 2, &[1, 2]).send(0).send_to_others(1).send(2);
        let sender = sender().got(1, 0).got(1, 2).done();
        assert_eq!(violations(&[sender.clone(), receiver().got(1, 0).got(1, 1).got(1, 2).done()]), 0);
        assert_eq!(violations(&[sender, receiver().got(1, 0).got(1, 2).done()]), 1);
    }

    #[test]
    fn weaker_messages_need_no_order() {
        let sender = log(1).join(1).joined(2, 2, &[1, 2]).with(Service::Reliable).send(0).send(1);
        let receiver = receiver().with(Service::Reliable).got(1, 1).got(1, 0);
        assert_eq!(violations(&[sender.got(1, 0).got(1, 1).done(), receiver.done()]), 0);
    }
}
