//! E13 and E2: whoever sees a group view sees the same one, the ids of the views that a session sees increase, and each
//! view follows from the one before by its cause.

use std::collections::{BTreeMap, BTreeSet};

use stentor_client::wire::Membership;
use stentor_membership::{Cause, GroupName, GroupViewId, MemberName};

use super::Findings;
use super::history::{History, Session, Stay};
use crate::log::What;

pub(super) fn check(history: &History<'_>, findings: &mut Findings) {
    agreement(history, findings);
    for session in &history.logs {
        increasing(session, findings);
        for stay in &session.stays {
            succession(session, stay, findings);
        }
    }
}

/// In each group every id is greater than the one before; one change may concern several groups.
fn increasing(session: &Session<'_>, findings: &mut Findings) {
    let mut last: Option<GroupViewId> = None;
    let mut by_group: BTreeMap<GroupName, GroupViewId> = BTreeMap::new();
    for entry in &session.log.entries {
        let What::Membership(view) = &entry.what else { continue };
        let before = by_group.insert(view.group, view.view);
        let right =
            last.is_none_or(|last| last <= view.view) && before.is_none_or(|before| before < view.view);
        findings.expect(right, || {
            let (me, group, id) = (session.member(), view.group, view.view);
            format!("{me} saw view {id} of {group} after {before:?} of it and {last:?} of any group")
        });
        last = Some(view.view);
    }
}

/// Same id, same view; and whom one of its members lists as having come along lists that member too.
fn agreement(history: &History<'_>, findings: &mut Findings) {
    let mut seen: BTreeMap<(GroupName, GroupViewId), Vec<(MemberName, &Membership)>> = BTreeMap::new();
    for session in &history.logs {
        for entry in &session.log.entries {
            let What::Membership(view) = &entry.what else { continue };
            let me = session.member();
            seen.entry((view.group, view.view)).or_default().push((me, view));
        }
    }
    for ((group, id), seen) in seen {
        let Some((first, view)) = seen.first() else { continue };
        for (me, other) in &seen {
            let same = view.members == other.members && view.cause == other.cause && view.sets == other.sets;
            findings.expect(same, || {
                format!(
                    "view {id} of {group}: {first} sees {:?} by {:?} in {:?}, {me} sees {:?} by {:?} in {:?}",
                    view.members, view.cause, view.sets, other.members, other.cause, other.sets
                )
            });
            for (peer, theirs) in &seen {
                // Who joins or leaves is no companion, and is told of those who are.
                let asymmetric =
                    other.stayed.contains(me) && other.stayed.contains(peer) && !theirs.stayed.contains(me);
                findings.expect(!asymmetric, || {
                    format!("view {id} of {group}: {me} says that {peer} came along, {peer} denies it")
                });
            }
        }
    }
}

fn succession(session: &Session<'_>, stay: &Stay<'_>, findings: &mut Findings) {
    let me = session.member();
    let mut before: Option<&Membership> = None;
    let last = stay.spans.last().and_then(|span| span.next);
    for view in stay.spans.iter().map(|span| span.view).chain(last) {
        let left = view.cause == Cause::Leave(me);
        findings.expect(view.members.contains(&me) != left, || format!("{me} in its own view {view:?}"));
        findings.expect(is_plausible(before, view, me), || {
            format!("{me}: view {view:?} does not follow from {before:?}")
        });
        before = Some(view);
    }
}

/// Whether `view` is what its cause makes of the view before it.
fn is_plausible(before: Option<&Membership>, view: &Membership, me: MemberName) -> bool {
    let set = |members: &[MemberName]| members.iter().copied().collect::<BTreeSet<_>>();
    let (now, stayed) = (set(&view.members), set(&view.stayed));
    if now.len() != view.members.len() || !stayed.is_subset(&now) {
        return false;
    }
    let Some(before) = before else {
        return view.cause == Cause::Join(me);
    };
    let before = set(&before.members);
    match view.cause {
        Cause::Join(who) => {
            who != me && stayed == before && !before.contains(&who) && with(before, who) == now
        }
        Cause::Leave(who) | Cause::Disconnect(who) => {
            stayed == now && before.contains(&who) && with(now, who) == before
        }
        Cause::Network => {
            let in_sets: Vec<_> = view.sets.iter().flatten().copied().collect();
            let is_partition = in_sets.len() == now.len() && set(&in_sets) == now;
            let mine = view.sets.iter().find(|set| set.contains(&me));
            // Who came along was there before, and the whole set of companions came along.
            is_partition && stayed.is_subset(&before) && mine.is_some_and(|mine| set(mine) == stayed)
        }
    }
}

fn with(mut members: BTreeSet<MemberName>, who: MemberName) -> BTreeSet<MemberName> {
    members.insert(who);
    members
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::super::sample::{log, member, together};
    use super::*;
    use crate::log::Log;

    fn violations(logs: &[Log]) -> usize {
        check(logs).violated("views")
    }

    #[test]
    fn views_that_follow_from_each_other_are_right() {
        assert_eq!(violations(&together()), 0);
        let one = log(1).join(1).joined(2, 2, &[1, 2]).network(3, &[1], &[1]).network(4, &[1, 2], &[1]);
        let two = log(2).join_with(2, &[1, 2]).network(4, &[1, 2], &[2]);
        assert_eq!(violations(&[one.done(), two.done()]), 0);
    }

    #[test]
    fn one_id_means_one_list_of_members() {
        let one = log(1).join(1).joined(2, 2, &[1, 2]).done();
        assert_eq!(violations(&[one.clone(), log(2).join_with(2, &[1, 2]).done()]), 0);
        assert_eq!(violations(&[one, log(2).join_with(2, &[1, 2, 3]).done()]), 1);
    }

    #[test]
    fn a_view_comes_once() {
        let twice = log(1).join(1).network(2, &[1], &[1]).network(2, &[1], &[1]).done();
        assert_eq!(violations(&[twice]), 1);
        let backwards = log(1).join(1).network(3, &[1], &[1]).network(2, &[1], &[1]).done();
        assert_eq!(violations(&[backwards]), 1);
    }

    #[test]
    fn companions_agree_that_they_are() {
        let one = log(1).join(1).joined(2, 2, &[1, 2]).network(3, &[1, 2], &[1, 2]);
        let two = log(2).join_with(2, &[1, 2]).network(3, &[1, 2], &[2]);
        assert!(violations(&[one.done(), two.done()]) > 0);
    }

    #[test]
    fn a_view_without_its_own_member_is_wrong() {
        assert!(violations(&[log(1).join_with(1, &[2]).done()]) > 0);
        assert!(violations(&[log(1).join(1).network(2, &[2], &[2]).done()]) > 0);
    }

    #[test]
    fn a_view_that_does_not_follow_is_wrong() {
        let start = || log(1).join(1);
        for log in [
            log(1).network(1, &[1], &[1]),                     // begins without a join
            start().joined(2, 2, &[1, 2, 3]),                  // one more than joined
            start().joined(2, 2, &[1, 2]).left(3, 3, &[1, 2]), // left without being there
            start().membership(2, Cause::Disconnect(member(2)), &[1], &[1]), // disconnected likewise
            start().joined(2, 2, &[1, 2]).membership(3, Cause::Join(member(2)), &[1, 2], &[1]), // joined twice
            start().network(2, &[1, 2], &[1, 2]), // came along from nowhere
        ] {
            assert_eq!(violations(&[log.done()]), 1);
        }
    }
}
