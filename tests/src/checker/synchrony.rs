//! E6 and E13: members that go together from one view of a group to the next got the same messages in between: of the
//! Causal ones and stronger between any two views, of all but Unreliable ones between two network changes. The end, when
//! everything due has arrived, counts as a view.

use std::collections::{BTreeMap, BTreeSet};

use stentor_client::wire::Membership;
use stentor_membership::{Cause, GroupName, GroupViewId, Service};

use super::Findings;
use super::history::{History, Session, Stay};
use crate::log::MessageId;

pub(super) fn check(history: &History<'_>, findings: &mut Findings) {
    compare(history, Service::Causal, findings, |_| true);
    compare(history, Service::Reliable, findings, |view| view.cause == Cause::Network);
}

/// A session's way from one view to another.
struct Step<'a> {
    session: &'a Session<'a>,
    group: GroupName,
    from: GroupViewId,
    /// None at the end of a log that lacks nothing.
    to: Option<&'a Membership>,
    entries: std::ops::Range<usize>,
}

/// Compares what members got between consecutive views among those that `bounds` picks.
fn compare(
    history: &History<'_>,
    service: Service,
    findings: &mut Findings,
    bounds: impl Fn(&Membership) -> bool,
) {
    let mut steps: BTreeMap<(GroupName, Option<GroupViewId>), Vec<Step<'_>>> = BTreeMap::new();
    for session in &history.logs {
        for step in session.stays.iter().flat_map(|stay| cut(session, stay, &bounds)) {
            steps.entry((step.group, step.to.map(|to| to.view))).or_default().push(step);
        }
    }
    for steps in steps.values() {
        for (index, one) in steps.iter().enumerate() {
            // Companions are so mutually and transitively: the first one stands for all.
            // Between two network changes a join of one of them may lie: they did not share the whole way then.
            let any_way = service == Service::Causal && one.to.is_some();
            let comparable = |two: &&Step<'_>| any_way || two.from == one.from;
            let two = steps.iter().take(index).filter(comparable).find(|two| went_together(one, two));
            if let Some(two) = two {
                same(history, service, one, two, findings);
            }
        }
    }
}

/// A stay's steps between the views that `bounds` picks. A session's leave ends its last step, and binds nobody.
fn cut<'a>(
    session: &'a Session<'a>,
    stay: &'a Stay<'a>,
    bounds: impl Fn(&Membership) -> bool,
) -> Vec<Step<'a>> {
    let mut steps = Vec::new();
    let mut from: Option<(GroupViewId, usize)> = None;
    for span in stay.spans.iter().filter(|span| bounds(span.view)) {
        if let Some((from, start)) = from {
            let entries = start..span.start;
            steps.push(Step { session, group: stay.group, from, to: Some(span.view), entries });
        }
        from = Some((span.view.view, span.start));
    }
    let lasts = session.log.settled && stay.spans.last().is_some_and(|span| span.next.is_none());
    if let Some((from, start)) = from.filter(|_| lasts) {
        let entries = start..session.log.entries.len();
        steps.push(Step { session, group: stay.group, from, to: None, entries });
    }
    steps
}

fn went_together(one: &Step<'_>, two: &Step<'_>) -> bool {
    match (one.to, two.to) {
        (Some(to_one), Some(to_two)) => {
            to_one.stayed.contains(&two.session.member()) && to_two.stayed.contains(&one.session.member())
        }
        // From one view to the end.
        (to_one, to_two) => to_one.is_none() && to_two.is_none(),
    }
}

fn same(history: &History<'_>, service: Service, one: &Step<'_>, two: &Step<'_>, findings: &mut Findings) {
    let (name_one, name_two) = (one.session.member(), two.session.member());
    let to = one.to.map_or_else(|| "the end".to_owned(), |to| to.view.to_string());
    if one.from != two.from {
        findings.wrong(|| {
            let (from_one, from_two) = (one.from, two.from);
            format!("{name_one} and {name_two} came to {to} together, from {from_one} and {from_two}")
        });
        return;
    }
    let got = |step: &Step<'_>| -> BTreeSet<MessageId> {
        let messages = step.session.messages(step.entries.clone(), step.group, service);
        messages.map(|(_, message)| message.id).collect()
    };
    let mut differ: Vec<_> = got(one).symmetric_difference(&got(two)).copied().collect();
    differ.retain(|id| !history.is_discarded(one.session, *id) && !history.is_discarded(two.session, *id));
    findings.expect(differ.is_empty(), || {
        let shown = differ.iter().take(5).collect::<Vec<_>>();
        format!(
            "{name_one} and {name_two} went from {} to {to} together, but only one of them got {shown:?} ({} in all)",
            one.from,
            differ.len()
        )
    });
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::super::sample::{Sample, log, together};
    use super::*;
    use crate::log::Log;

    fn violations(logs: &[Log]) -> usize {
        check(logs).violated("synchrony")
    }

    fn both() -> (Sample, Sample) {
        (log(1).join(1).joined(2, 2, &[1, 2]), log(2).join_with(2, &[1, 2]))
    }

    #[test]
    fn companions_got_the_same() {
        assert_eq!(violations(&together()), 0);
        let (one, two) = both();
        let one = one.got(3, 0).got(3, 1).network(3, &[1, 2], &[1, 2]);
        let logs = [one.done(), two.got(3, 0).got(3, 1).network(3, &[1, 2], &[1, 2]).done()];
        assert_eq!(violations(&logs), 0);
    }

    #[test]
    fn a_missing_message_is_found() {
        let (one, two) = both();
        let one = one.got(3, 0).got(3, 1).network(3, &[1, 2], &[1, 2]);
        assert_eq!(violations(&[one.done(), two.got(3, 0).network(3, &[1, 2], &[1, 2]).done()]), 1);
        let (one, two) = both();
        let one = one.got(3, 0).joined(3, 3, &[1, 2, 3]);
        assert_eq!(violations(&[one.cut(), two.joined(3, 3, &[1, 2, 3]).got(3, 0).cut()]), 1);
    }

    #[test]
    fn at_the_end_all_of_a_view_have_the_same() {
        let (one, two) = both();
        assert_eq!(violations(&[one.got(3, 0).done(), two.done()]), 1);
        let (one, two) = both();
        assert_eq!(violations(&[one.got(3, 0).done(), two.cut()]), 0, "it was not waited for");
        let weak = |run| log(run).join(1).network(3, &[1, 2], &[run]).with(Service::Reliable);
        assert_eq!(violations(&[weak(1).got(3, 0).done(), weak(2).done()]), 1);
    }

    #[test]
    fn who_did_not_come_along_is_not_bound() {
        let (one, two) = both();
        let logs = [one.got(3, 0).network(3, &[1, 2], &[1]).done(), two.network(3, &[1, 2], &[2]).done()];
        assert_eq!(violations(&logs), 0);
    }

    #[test]
    fn companions_come_from_one_view() {
        let (one, two) = both();
        let one = one.network(3, &[1, 2], &[1, 2]).network(4, &[1, 2], &[1, 2]).done();
        assert!(violations(&[one, two.network(4, &[1, 2], &[1, 2]).done()]) > 0);
    }

    #[test]
    fn weaker_messages_count_between_network_changes_only() {
        let weak = || {
            let (one, two) = both();
            let one = one.with(Service::Fifo).network(3, &[1, 2], &[1, 2]);
            (one, two.with(Service::Fifo).network(3, &[1, 2], &[1, 2]))
        };
        let (one, two) = weak();
        let one = one.got(3, 0).joined(4, 3, &[1, 2, 3]).network(5, &[1, 2], &[1, 2]);
        let two = two.joined(4, 3, &[1, 2, 3]).got(3, 0).network(5, &[1, 2], &[1, 2]);
        assert_eq!(violations(&[one.done(), two.done()]), 0);
        let (one, two) = weak();
        let (one, two) = (one.got(3, 0).network(4, &[1, 2], &[1, 2]), two.network(4, &[1, 2], &[1, 2]));
        assert_eq!(violations(&[one.done(), two.done()]), 1);
    }
}
