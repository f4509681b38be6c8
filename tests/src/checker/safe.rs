//! E11: what one member gets as Safe before any transitional signal, every member of that view gets, unless it crashes.

use std::collections::{BTreeMap, HashSet};

use stentor_membership::{GroupName, GroupViewId, Service};

use super::Findings;
use super::history::History;
use crate::log::MessageId;

pub(super) fn check(history: &History<'_>, findings: &mut Findings) {
    // Who saw a view, and lived on: only these can fail to get something.
    let mut bound: BTreeMap<(GroupName, GroupViewId), Vec<usize>> = BTreeMap::new();
    for (index, group, span) in history.spans() {
        if history.logs.get(index).is_some_and(|session| session.log.settled) {
            bound.entry((group, span.view.view)).or_default().push(index);
        }
    }
    let got = history.logs.iter().map(|session| session.log.received().map(|message| message.id).collect());
    let got: Vec<HashSet<MessageId>> = got.collect();

    let mut done = HashSet::new();
    for (index, group, span) in history.spans().filter(|(.., span)| !span.is_transitional()) {
        let Some(session) = history.logs.get(index) else { continue };
        for (_, message) in session.messages(span.start..span.regular_end(), group, Service::Safe) {
            if !done.insert((group, message.id)) {
                continue;
            }
            for &other in bound.get(&(group, span.view.view)).map(Vec::as_slice).unwrap_or_default() {
                let (Some(peer), Some(got)) = (history.logs.get(other), got.get(other)) else { continue };
                let has = got.contains(&message.id) || history.is_discarded(peer, message.id);
                findings.expect(has, || {
                    let (me, peer) = (session.member(), peer.member());
                    format!("{me} got {:?} as safe in view {}, {peer} never", message.id, span.view.view)
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::super::sample::{Sample, log, together};
    use super::*;
    use crate::log::Log;

    fn violations(logs: &[Log]) -> usize {
        check(logs).violated("safe")
    }

    fn both() -> (Sample, Sample) {
        let (one, two) = (log(1).join(1).joined(2, 2, &[1, 2]), log(2).join_with(2, &[1, 2]));
        (one.with(Service::Safe), two.with(Service::Safe))
    }

    #[test]
    fn safe_means_everybody() {
        assert_eq!(violations(&together()), 0);
        let (one, two) = both();
        assert_eq!(violations(&[one.got(1, 0).done(), two.done()]), 1);
        let (one, two) = both();
        assert_eq!(violations(&[one.got(1, 0).done(), two.transitional().got(1, 0).done()]), 0);
    }

    #[test]
    fn the_crashed_are_excused() {
        let (one, two) = both();
        assert_eq!(violations(&[one.got(1, 0).done(), two.cut()]), 0);
    }

    #[test]
    fn behind_the_signal_the_promise_is_smaller() {
        let (one, two) = both();
        assert_eq!(violations(&[one.transitional().got(1, 0).done(), two.done()]), 0);
    }
}
