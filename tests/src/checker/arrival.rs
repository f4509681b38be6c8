//! L1 and E5: what a client sent arrives at every other one that was a member by then, if their daemons have not been
//! apart since. Clients of one daemon never are, and what they sent arrives after they have closed, too.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use stentor_membership::{Cause, GroupName, GroupViewId, Service};

use super::Findings;
use super::history::{History, Session, Stay};
use crate::log::{MessageId, Sent, What};

pub(super) fn check(history: &History<'_>, findings: &mut Findings) {
    let lasting = history.logs.iter().filter(|session| session.log.settled || session.log.closed);
    let senders: Vec<_> = lasting.filter_map(Standing::new).collect();
    for sender in &senders {
        for receiver in senders.iter().filter(|receiver| receiver.session.log.settled) {
            let Some(since) = together_since(sender, receiver) else { continue };
            for entry in &sender.session.log.entries {
                let What::Send(sent) = &entry.what else { continue };
                if entry.at > since && receiver.is_due(sender, sent, entry.at) {
                    findings.expect(receiver.got.contains(&sent.id), || {
                        let [sender, receiver] = [sender, receiver].map(|standing| standing.session.member());
                        format!("{:?} of {sender} did not arrive at {receiver}", sent.id)
                    });
                }
            }
        }
    }
}

/// Where a client stands at its end.
struct Standing<'a> {
    session: &'a Session<'a>,
    /// When it saw the first sign of life.
    begin: Instant,
    /// Its groups.
    groups: BTreeMap<GroupName, Membership>,
    got: HashSet<MessageId>,
}

/// A membership that lasts.
struct Membership {
    /// When the client knew of it.
    since: Instant,
    /// The last view, and when the last network change or the own join was seen.
    view: GroupViewId,
    connected: Instant,
}

impl<'a> Standing<'a> {
    fn new(session: &'a Session<'a>) -> Option<Self> {
        let begin = session.log.entries.first()?.at;
        let groups = session.stays.iter().filter_map(|stay| Some((stay.group, lasting(session, stay)?)));
        let groups = groups.collect();
        let got = session.log.received().map(|message| message.id).collect();
        Some(Self { session, begin, groups, got })
    }

    /// Whether this client has to get what another sent at some time.
    fn is_due(&self, sender: &Self, sent: &Sent, at: Instant) -> bool {
        let own = sender.session.log.run == self.session.log.run;
        let member = |group| self.groups.get(group).is_some_and(|membership| membership.since < at);
        let addressed = sent.sessions.contains(&self.session.member()) || sent.groups.iter().any(member);
        let refused = sender.session.log.is_refused(sent.id.number);
        addressed && sent.service >= Service::Reliable && !refused && !(own && sent.discard_self)
    }
}

/// A stay as a membership, unless the client left or meant to.
fn lasting(session: &Session<'_>, stay: &Stay<'_>) -> Option<Membership> {
    let (first, last) = (stay.spans.first()?, stay.spans.last()?);
    let entries = &session.log.entries;
    let mut later = entries.get(first.start..)?.iter();
    if last.next.is_some()
        || later.any(|entry| matches!(entry.what, What::Leave(group) if group == stay.group))
    {
        return None;
    }
    // The view stands in front of its span.
    let seen = |start: usize| Some(entries.get(start.checked_sub(1)?)?.at);
    let change = stay.spans.iter().rev().find(|span| span.view.cause == Cause::Network).unwrap_or(first);
    Some(Membership { since: seen(first.start)?, view: last.view.view, connected: seen(change.start)? })
}

/// Since when what one sends has to reach the other.
fn together_since(sender: &Standing<'_>, receiver: &Standing<'_>) -> Option<Instant> {
    if sender.session.member().daemon == receiver.session.member().daemon {
        return Some(receiver.begin);
    }
    if !sender.session.log.settled {
        return None;
    }
    // Who is in the last view of a group with another was connected to it since the last network change there.
    let common = sender.groups.iter().filter_map(|(group, mine)| {
        let theirs = receiver.groups.get(group).filter(|theirs| theirs.view == mine.view)?;
        Some(mine.connected.max(theirs.connected))
    });
    common.min().map(|connected| connected.max(receiver.begin))
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::super::sample::{Sample, log, together};
    use crate::log::Log;

    fn violations(logs: &[Log]) -> usize {
        check(logs).violated("arrival")
    }

    /// Two members that know of each other, and a message of the second.
    fn both() -> (Sample, Sample) {
        let (one, two) = (log(1).join(1).joined(2, 2, &[1, 2]), log(2).join_with(2, &[1, 2]));
        (one, two.send(0).got(2, 0))
    }

    #[test]
    fn what_was_sent_arrives() {
        assert_eq!(violations(&together()), 0);
        let (one, two) = both();
        assert_eq!(violations(&[one.got(2, 0).done(), two.done()]), 0);
        let (one, two) = both();
        assert_eq!(violations(&[one.done(), two.done()]), 1);
        let (one, two) = both();
        assert_eq!(violations(&[one.done(), two.refused(0).done()]), 0);
    }

    #[test]
    fn not_at_those_that_crash_leave_or_come_later() {
        let (one, two) = both();
        assert_eq!(violations(&[one.cut(), two.done()]), 0);
        let (one, two) = both();
        assert_eq!(violations(&[one.leaving().done(), two.done()]), 0);
        let two = log(2).join(1).send(0).got(2, 0).joined(2, 1, &[1, 2]);
        let one = log(1).join_with(2, &[1, 2]);
        assert_eq!(violations(&[one.done(), two.done()]), 0);
    }

    #[test]
    fn who_was_apart_misses_what_was_sent_meanwhile() {
        let (one, two) = both();
        let (one, two) = (one.network(3, &[1, 2], &[1]), two.network(3, &[1, 2], &[2]));
        assert_eq!(violations(&[one.done(), two.done()]), 0);
        let (one, two) = both();
        let (one, two) = (one.network(3, &[1, 2], &[1]), two.network(3, &[1, 2], &[2]));
        assert_eq!(violations(&[one.done(), two.send(1).got(2, 1).done()]), 1);
    }

    #[test]
    fn what_was_sent_before_closing_arrives_at_the_same_daemon() {
        let both = || (log(1).join(1), log(2).at_daemon_of(1).send(0));
        let (one, two) = both();
        assert_eq!(violations(&[one.got(2, 0).done(), two.closed()]), 0);
        let (one, two) = both();
        assert_eq!(violations(&[one.done(), two.closed()]), 1);
        let (one, two) = both();
        assert_eq!(violations(&[one.done(), two.cut()]), 0, "it broke off");
        assert_eq!(violations(&[log(1).join(1).done(), log(2).send(0).closed()]), 0, "of another daemon");
    }

    #[test]
    fn clients_of_one_daemon_are_never_apart() {
        let (one, two) = (log(1).join(1).joined(2, 2, &[1, 2]), log(2).at_daemon_of(1).join_with(2, &[1, 2]));
        let (one, two) = (one.network(3, &[1, 2], &[1]), two.send(0).got(2, 0).network(3, &[1, 2], &[2]));
        assert!(violations(&[one.done(), two.done()]) > 0);
    }
}
