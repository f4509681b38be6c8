//! E9: any two clients get the Agreed and Safe messages that both get in the same order, across partitions too.

use std::collections::HashMap;

use stentor_membership::Service;

use super::Findings;
use super::history::{History, Session};
use crate::log::MessageId;

pub(super) fn check(history: &History<'_>, findings: &mut Findings) {
    let ordered: Vec<Vec<MessageId>> = history.logs.iter().map(agreed).collect();
    let places: Vec<HashMap<MessageId, usize>> =
        ordered.iter().map(|ids| ids.iter().enumerate().map(|(at, id)| (*id, at)).collect()).collect();
    let all: Vec<_> = history.logs.iter().zip(ordered.iter().zip(&places)).collect();
    for (index, one) in all.iter().enumerate() {
        for two in all.iter().skip(index + 1) {
            // Along the shorter one: there may be hundreds of clients that got a few messages only.
            let ((session, (_, places)), (other, (ids, _))) =
                if one.1.0.len() < two.1.0.len() { (two, one) } else { (one, two) };
            let common = ids.iter().filter_map(|id| places.get(id).map(|at| (*at, *id)));
            let mut last: Option<(usize, MessageId)> = None;
            for (at, id) in common {
                let in_order = last.is_none_or(|(before, _)| before < at);
                findings.expect(in_order, || {
                    let (one, two) = (session.member(), other.member());
                    format!("{one} got {id:?} before {:?}, {two} the other way round", last.map(|(_, id)| id))
                });
                last = Some((at, id));
            }
        }
    }
}

fn agreed(session: &Session<'_>) -> Vec<MessageId> {
    session.log.received().filter(|m| m.service >= Service::Agreed).map(|m| m.id).collect()
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::super::sample::{log, together};
    use super::*;
    use crate::log::Log;

    fn violations(logs: &[Log]) -> usize {
        check(logs).violated("order")
    }

    #[test]
    fn one_order_for_what_both_get() {
        assert_eq!(violations(&together()), 0);
        let one = log(1).join(1).got(1, 0).got(2, 0).got(3, 0).done();
        assert_eq!(violations(&[one.clone(), log(2).join(2).got(1, 0).got(2, 5).got(3, 0).done()]), 0);
        assert_eq!(violations(&[one, log(2).join(2).got(3, 0).got(2, 5).got(1, 0).done()]), 1);
    }

    #[test]
    fn weaker_messages_need_no_order() {
        let causal = |run| log(run).join(1).with(Service::Causal);
        let logs = [causal(1).got(1, 0).got(2, 0).done(), causal(2).got(2, 0).got(1, 0).done()];
        assert_eq!(violations(&logs), 0);
    }
}
