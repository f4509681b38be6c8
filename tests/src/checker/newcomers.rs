//! PROTOCOL G6: from the moment that a client is told of its join, whatever anybody then sends to the group is ordered
//! behind the join, so that the newcomer gets it.

use std::collections::BTreeMap;
use std::time::Instant;

use stentor_membership::{Cause, GroupName, GroupViewId, Service};

use super::Findings;
use super::history::History;

pub(super) fn check(history: &History<'_>, findings: &mut Findings) {
    // When the newcomer was told of its join, by the view that this made.
    let mut told: BTreeMap<(GroupName, GroupViewId), Instant> = BTreeMap::new();
    for (index, group, span) in history.spans() {
        let Some(session) = history.logs.get(index) else { continue };
        let entry = span.start.checked_sub(1).and_then(|at| session.log.entries.get(at));
        if let Some(entry) = entry.filter(|_| span.view.cause == Cause::Join(session.member())) {
            told.insert((group, span.view.view), entry.at);
        }
    }
    for (index, group, span) in history.spans() {
        let (Some(session), Some(next)) = (history.logs.get(index), span.next) else { continue };
        let Some(told) = told.get(&(group, next.view)) else { continue };
        for (_, message) in session.messages(span.start..span.end, group, Service::Causal) {
            let Some(origin) = history.sent.get(&message.id) else { continue };
            findings.expect(origin.at < *told, || {
                let (me, id) = (session.member(), message.id);
                format!(
                    "{me} got {id:?} before view {} of {group}, which began before it was sent",
                    next.view
                )
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::super::sample::{log, together};
    use crate::log::Log;

    fn violations(logs: &[Log]) -> usize {
        check(logs).violated("newcomers")
    }

    #[test]
    fn what_was_sent_after_a_join_is_behind_it() {
        assert_eq!(violations(&together()), 0);
        let one = log(1).join(1).send(0).got(1, 0);
        let two = log(2).join_with(2, &[1, 2]).done();
        assert_eq!(violations(&[one.joined(2, 2, &[1, 2]).done(), two]), 0);
    }

    #[test]
    fn what_was_sent_after_a_join_is_not_in_front_of_it() {
        let two = log(2).join_with(2, &[1, 2]).done();
        let one = log(1).join(1).send(0).got(1, 0).joined(2, 2, &[1, 2]).done();
        assert_eq!(violations(&[one, two]), 1);
    }
}
