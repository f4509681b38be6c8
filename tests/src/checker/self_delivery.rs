//! E5: a member that sends to its group gets its own message, unless it wanted no copy, left, or crashed.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use stentor_membership::{Cause, GroupName, Service};

use super::Findings;
use super::history::{History, Session};
use crate::log::{MessageId, What};

pub(super) fn check(history: &History<'_>, findings: &mut Findings) {
    for session in history.logs.iter().filter(|session| session.log.settled) {
        let got: HashSet<MessageId> = session.log.received().map(|message| message.id).collect();
        for id in owed(session) {
            findings.expect(got.contains(&id), || format!("{} did not get its own {id:?}", session.member()));
        }
    }
}

/// What a session sent while it was in one of the groups and did not mean to leave.
fn owed(session: &Session<'_>) -> Vec<MessageId> {
    let log = session.log;
    let mut member_of: BTreeSet<GroupName> = BTreeSet::new();
    // Leaves that were asked for, and have not been seen. A join that is seen meanwhile came before them.
    let mut leaving: BTreeMap<GroupName, u32> = BTreeMap::new();
    let mut owed = Vec::new();
    for entry in &log.entries {
        match &entry.what {
            What::Membership(view) if view.cause == Cause::Join(log.member) => {
                if leaving.get(&view.group).is_none_or(|leaves| *leaves == 0) {
                    member_of.insert(view.group);
                }
            }
            What::Membership(view) if view.cause == Cause::Leave(log.member) => {
                if let Some(leaves) = leaving.get_mut(&view.group) {
                    *leaves = leaves.saturating_sub(1);
                }
            }
            What::Leave(group) => {
                member_of.remove(group);
                *leaving.entry(*group).or_default() += 1;
            }
            What::Send(sent) => {
                let is_member = sent.groups.iter().any(|group| member_of.contains(group));
                let is_owed = is_member && !sent.discard_self && sent.service >= Service::Reliable;
                if is_owed && !log.is_refused(sent.id.number) {
                    owed.push(sent.id);
                }
            }
            What::Membership(_) | What::Message(_) | What::Foreign { .. } | What::Transitional(_) => {}
        }
    }
    owed
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::super::sample::{log, together};
    use super::*;
    use crate::log::Log;

    fn violations(logs: &[Log]) -> usize {
        check(logs).violated("self_delivery")
    }

    #[test]
    fn a_sender_gets_its_own() {
        assert_eq!(violations(&together()), 0);
        assert_eq!(violations(&[log(1).join(1).send(0).send(1).got(1, 0).done()]), 1);
    }

    #[test]
    fn who_comes_again_counts_again() {
        let log = log(1).leaving().join(1).leave(2, &[]).join(3).send(0).done();
        assert_eq!(violations(&[log]), 1);
    }

    #[test]
    fn not_if_it_could_not_expect_it() {
        for log in [
            log(1).join(1).send(0).cut(),
            log(1).send(0).done(),
            log(1).join(1).leaving().send(0).leave(2, &[]).done(),
            log(1).leaving().join(1).send(0).leave(2, &[]).done(),
            log(1).join(1).send_to_others(0).done(),
            log(1).join(1).send(0).refused(0).done(),
            log(1).join(1).with(Service::Unreliable).send(0).done(),
        ] {
            assert_eq!(violations(&[log]), 0);
        }
    }
}
