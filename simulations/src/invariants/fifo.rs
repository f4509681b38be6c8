//! E7: messages at Fifo and above from one session are delivered in the order of sending, and none is skipped and
//! then followed by a later one of that session in that view.

use std::collections::BTreeMap;

use stentor_membership::{Service, ViewId};

use crate::facts::{Facts, Stay, Told, What};

pub(super) fn check(facts: &Facts<'_>) -> Result<(), String> {
    for told in &facts.told {
        order(facts, told)?;
    }
    let sent = sent_by_session(facts);
    for (process, stays) in facts.stays.iter().enumerate() {
        for stay in stays {
            no_gap(facts, &sent, process, stay)?;
        }
    }
    Ok(())
}

/// What one session gets of another is in order, over all views and groups.
fn order(facts: &Facts<'_>, told: &[Told<'_>]) -> Result<(), String> {
    let mut last: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for told in told {
        let What::Message(message) = told.what else { continue };
        let Some(Some((_, accepted))) = facts.accepted.get(message.send) else { continue };
        if facts.service(message.send) < Service::Fifo {
            continue;
        }
        let session = facts.history.sends[message.send].session;
        if let Some((_, before)) = last.insert(session, (*accepted, message.send)).filter(|l| l.0 > *accepted)
        {
            return Err(format!(
                "{} comes after {}, which its session sent later",
                facts.name(message.send),
                facts.name(before)
            ));
        }
    }
    Ok(())
}

/// By session: what it sent to everybody at Fifo or above, in order.
fn sent_by_session(facts: &Facts<'_>) -> BTreeMap<usize, Vec<usize>> {
    let mut sent: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (send, record) in facts.history.sends.iter().enumerate() {
        if facts.to_everybody[send] && record.service >= Service::Fifo && facts.accepted[send].is_some() {
            sent.entry(record.session).or_default().push(send);
        }
    }
    for sends in sent.values_mut() {
        sends.sort_by_key(|send| facts.accepted[*send]);
    }
    sent
}

fn no_gap(
    facts: &Facts<'_>,
    sent: &BTreeMap<usize, Vec<usize>>,
    process: usize,
    stay: &Stay<'_>,
) -> Result<(), String> {
    let mut got: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for seen in &stay.seen {
        if facts.service(seen.send) >= Service::Fifo {
            got.entry(facts.history.sends[seen.send].session).or_default().push(seen.send);
        }
    }
    for (session, got) in got {
        let Some(sent) = sent.get(&session) else { continue };
        let expected = of_view(facts, sent, stay.view.id);
        if let Some(skipped) = expected.iter().zip(&got).find(|(expected, got)| expected != got) {
            return Err(format!(
                "{} delivers {} in view {} without {} before it",
                facts.id(process),
                facts.name(*skipped.1),
                stay.view.id,
                facts.name(*skipped.0)
            ));
        }
    }
    Ok(())
}

/// The sends of one session that are of a view: those known to be, and all between them.
fn of_view<'s>(facts: &Facts<'_>, sent: &'s [usize], view: ViewId) -> &'s [usize] {
    let is_of_view = |send: &usize| facts.sent_in[*send] == Some(view);
    match (sent.iter().position(is_of_view), sent.iter().rposition(is_of_view)) {
        (Some(first), Some(last)) => &sent[first..=last],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use stentor_membership::Service;

    use super::super::story::Story;

    #[test]
    fn a_prefix_is_right_and_order_between_sessions_does_not_matter() {
        let mut story = Story::together(2);
        let (a, b, c) =
            (story.send(0, Service::Fifo), story.send(0, Service::Fifo), story.send(1, Service::Fifo));
        story.deliver(&[0], a);
        story.deliver(&[0, 1], c);
        story.deliver(&[1], a);
        story.deliver(&[0], b);
        story.begin(2, &[0]);
        story.begin(3, &[1]);
        story.install(2, &[0]);
        story.install(3, &[1]);
        story.is_right();
    }

    #[test]
    fn a_swap_is_seen() {
        let mut story = Story::together(2);
        let (a, b) = (story.send(0, Service::Fifo), story.send(0, Service::Agreed));
        story.deliver(&[0], a);
        story.deliver(&[0, 1], b);
        story.deliver(&[1], a);
        story.breaks("E7 FIFO");
    }

    #[test]
    fn a_gap_is_seen() {
        let mut story = Story::together(2);
        let (a, b) = (story.send(0, Service::Fifo), story.send(0, Service::Fifo));
        story.deliver(&[0], a);
        story.deliver(&[0, 1], b);
        story.move_to(2, &[0]);
        story.move_to(3, &[1]);
        story.breaks("E7 FIFO");
    }

    #[test]
    fn a_gap_that_nobody_else_filled_is_seen() {
        let mut story = Story::together(2);
        let (a, _lost) = (story.send(0, Service::Fifo), story.send(0, Service::Fifo));
        let c = story.send(0, Service::Fifo);
        story.deliver(&[0, 1], a);
        story.deliver(&[0, 1], c);
        story.breaks("E7 FIFO");
    }

    #[test]
    fn reliable_messages_have_no_order() {
        let mut story = Story::together(2);
        let (a, b) = (story.send(0, Service::Reliable), story.send(0, Service::Reliable));
        story.deliver(&[0, 1], b);
        story.deliver(&[0, 1], a);
        story.is_right();
    }
}
