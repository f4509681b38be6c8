//! E8: nobody gets a message (Causal or stronger) before one that its sender had got or sent before it.

use std::collections::{BTreeSet, HashMap};

use stentor_membership::Service;

use super::Findings;
use super::history::{History, Session};
use crate::log::{MessageId, What};

pub(super) fn check(history: &History<'_>, findings: &mut Findings) {
    for receiver in &history.logs {
        let received = receiver.log.received().enumerate();
        let places = received.filter(|(_, m)| m.service >= Service::Causal).map(|(at, m)| (m.id, at));
        let places: HashMap<MessageId, usize> = places.collect();
        let senders: BTreeSet<usize> =
            places.keys().filter_map(|id| Some(history.sent.get(id)?.log)).collect();
        for sender in senders.into_iter().filter_map(|index| history.logs.get(index)) {
            precedence(receiver, &places, sender, findings);
        }
    }
}

/// Walks along what `sender` did: whatever it sends comes behind all that it knew.
fn precedence(
    receiver: &Session<'_>,
    places: &HashMap<MessageId, usize>,
    sender: &Session<'_>,
    findings: &mut Findings,
) {
    // The message that the receiver got last of all those that the sender knew so far.
    let mut latest: Option<(usize, MessageId)> = None;
    for entry in &sender.log.entries {
        let (id, is_sent) = match &entry.what {
            What::Send(sent) if sent.service >= Service::Causal => (sent.id, true),
            What::Message(message) if message.service >= Service::Causal => (message.id, false),
            _ => continue,
        };
        let Some(&at) = places.get(&id) else { continue };
        if is_sent {
            findings.expect(latest.is_none_or(|(before, _)| before < at), || {
                format!(
                    "{} got {id:?} before {:?}, which {} knew when it sent",
                    receiver.member(),
                    latest.map(|(_, id)| id),
                    sender.member()
                )
            });
        }
        if latest.is_none_or(|(before, _)| before < at) {
            latest = Some((at, id));
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
        check(logs).violated("causal")
    }

    fn question_and_answer(service: Service) -> [Log; 2] {
        let question = log(1).with(service).join(1).joined(2, 2, &[1, 2]).send(0).got(1, 0).got(2, 0);
        let answer = log(2).with(service).join_with(2, &[1, 2]).got(1, 0).send(0).got(2, 0);
        [question.done(), answer.done()]
    }

    fn third(service: Service) -> Sample {
        log(3).with(service).join_with(3, &[1, 2, 3])
    }

    #[test]
    fn an_answer_comes_behind_its_question() {
        assert_eq!(violations(&together()), 0);
        let [one, two] = question_and_answer(Service::Causal);
        let right = third(Service::Causal).got(1, 0).got(2, 0).done();
        assert_eq!(violations(&[one.clone(), two.clone(), right]), 0);
        let wrong = third(Service::Causal).got(2, 0).got(1, 0).done();
        assert_eq!(violations(&[one, two, wrong]), 1);
    }

    #[test]
    fn weaker_messages_have_no_causes() {
        let [one, two] = question_and_answer(Service::Fifo);
        assert_eq!(violations(&[one, two, third(Service::Fifo).got(2, 0).got(1, 0).done()]), 0);
    }

    #[test]
    fn what_was_got_after_the_sending_is_no_cause() {
        let one = log(1).join(1).joined(2, 2, &[1, 2]).send(0).got(2, 0).got(1, 0).done();
        let two = log(2).join_with(2, &[1, 2]).send(0).got(2, 0).got(1, 0).done();
        assert_eq!(violations(&[one, two]), 0);
    }
}
