//! E10: in the regular part of a group view, the ordered messages that two members get are the same up to where one
//! of them ends: nobody gets a message without those ordered before it.

use std::collections::BTreeMap;

use stentor_membership::{GroupName, GroupViewId, Service};

use super::Findings;
use super::history::{History, Session, Span};
use crate::log::MessageId;

pub(super) fn check(history: &History<'_>, findings: &mut Findings) {
    let mut by_view: BTreeMap<(GroupName, GroupViewId), Vec<(usize, &Span<'_>)>> = BTreeMap::new();
    for (index, group, span) in history.spans().filter(|(.., span)| !span.is_transitional()) {
        by_view.entry((group, span.view.view)).or_default().push((index, span));
    }
    for ((group, view), spans) in by_view {
        let sequences = spans.iter().filter_map(|&(index, span)| {
            let session = history.logs.get(index)?;
            Some((session, sequence(history, session, group, span)))
        });
        // All are prefixes of the longest if they are prefixes of each other.
        let mut sequences: Vec<_> = sequences.collect();
        sequences.sort_by_key(|(_, sequence)| std::cmp::Reverse(sequence.len()));
        let Some((longest, rest)) = sequences.split_first() else { continue };
        for (session, sequence) in rest {
            let (longest, all) = longest;
            let place = sequence.iter().zip(all).position(|(one, two)| one != two);
            findings.expect(place.is_none(), || {
                let at = place.unwrap_or_default();
                format!(
                    "view {view} of {group}: as number {at} {} got {:?}, {} got {:?}",
                    session.member(),
                    sequence.get(at),
                    longest.member(),
                    all.get(at)
                )
            });
        }
    }
}

/// The ordered messages in the regular part of a view. Those of which their sender wanted no copy do not count.
fn sequence(
    history: &History<'_>,
    session: &Session<'_>,
    group: GroupName,
    span: &Span<'_>,
) -> Vec<MessageId> {
    let for_all = |id: &MessageId| history.sent.get(id).is_none_or(|origin| !origin.sent.discard_self);
    let messages = session.messages(span.start..span.regular_end(), group, Service::Agreed);
    messages.map(|(_, message)| message.id).filter(for_all).collect()
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::super::sample::{Sample, log, together};
    use crate::log::Log;

    fn violations(logs: &[Log]) -> usize {
        check(logs).violated("prefix")
    }

    fn both() -> (Sample, Sample) {
        (log(1).join(1).joined(2, 2, &[1, 2]), log(2).join_with(2, &[1, 2]))
    }

    #[test]
    fn one_may_end_earlier() {
        assert_eq!(violations(&together()), 0);
        let (one, two) = both();
        assert_eq!(violations(&[one.got(1, 0).got(2, 0).done(), two.got(1, 0).done()]), 0);
    }

    #[test]
    fn nobody_skips_a_message() {
        let (one, two) = both();
        let logs = [one.got(1, 0).got(2, 0).got(1, 1).done(), two.got(1, 0).got(1, 1).done()];
        assert_eq!(violations(&logs), 1);
    }

    #[test]
    fn behind_the_transitional_signal_messages_may_be_missing() {
        let (one, two) = both();
        let logs = [one.got(1, 0).got(2, 0).got(1, 1).done(), two.got(1, 0).transitional().got(1, 1).done()];
        assert_eq!(violations(&logs), 0);
    }
}
