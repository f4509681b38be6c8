//! E8: nobody delivers a message (Causal or above) without having delivered its causes before. What a daemon had
//! delivered when one of its clients sent is a cause of what it sent.

use std::collections::BTreeMap;

use stentor_membership::{Service, ViewId};

use crate::facts::{Facts, Told, What};

pub(super) fn check(facts: &Facts<'_>) -> Result<(), String> {
    at_daemons(facts)?;
    at_sessions(facts)
}

/// Among messages to everybody of one view: causes are there, and in front.
fn at_daemons(facts: &Facts<'_>) -> Result<(), String> {
    let mut orders: BTreeMap<(usize, ViewId), Vec<usize>> = BTreeMap::new();
    for (process, stays) in facts.stays.iter().enumerate() {
        for stay in stays {
            let sends = stay.seen.iter().map(|seen| seen.send);
            let ordered = sends.filter(|send| facts.service(*send).is_ordered()).collect();
            orders.insert((process, stay.view.id), ordered);
        }
    }
    for ((process, view), delivered) in &orders {
        let place: BTreeMap<usize, usize> =
            delivered.iter().enumerate().map(|(i, send)| (*send, i)).collect();
        // By sender: how many of its deliveries were looked at, and the last place of them here.
        let mut looked: BTreeMap<usize, Vec<Option<usize>>> = BTreeMap::new();
        for send in delivered {
            let Some((sender, accepted)) = facts.accepted[*send] else { continue };
            let Some(theirs) = orders.get(&(sender, *view)) else { continue };
            let causes =
                theirs.partition_point(|c| facts.seen_at[sender][*c].is_some_and(|at| at < accepted));
            let latest = looked.entry(sender).or_insert_with(|| latest_places(theirs, &place));
            if causes > 0 && latest[causes - 1].is_none_or(|latest| latest > place[send]) {
                let missing = theirs[..causes].iter().find(|c| place.get(c).is_none_or(|p| *p > place[send]));
                return Err(format!(
                    "{} delivers {} in view {view} before its cause, {}",
                    facts.id(*process),
                    facts.name(*send),
                    missing.map_or_else(String::new, |cause| facts.name(*cause)),
                ));
            }
        }
    }
    Ok(())
}

/// For each prefix of another daemon's deliveries: the last place of any of them here, or none if one is missing.
fn latest_places(theirs: &[usize], place: &BTreeMap<usize, usize>) -> Vec<Option<usize>> {
    let mut latest = Some(0);
    let step = |send: &usize| {
        latest = latest.and_then(|latest| place.get(send).map(|place| latest.max(*place)));
        latest
    };
    theirs.iter().map(step).collect()
}

/// Whatever the groups: a session that gets both gets the cause first.
fn at_sessions(facts: &Facts<'_>) -> Result<(), String> {
    let ordered: Vec<Vec<(usize, usize)>> =
        facts.told.iter().map(|told| ordered_sends(facts, told)).collect();
    for (receiver, mine) in ordered.iter().enumerate() {
        let place: BTreeMap<usize, usize> =
            mine.iter().enumerate().map(|(i, (_, send))| (*send, i)).collect();
        let mut looked: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (_, send) in mine {
            let (Some((_, accepted)), session) = (facts.accepted[*send], facts.history.sends[*send].session)
            else {
                continue;
            };
            let theirs = &ordered[session];
            let causes = theirs.partition_point(|(at, _)| *at < accepted);
            let latest = looked.entry(session).or_insert_with(|| latest_known(theirs, &place));
            if causes > 0 && latest[causes - 1] > place[send] {
                let late =
                    theirs[..causes].iter().find(|(_, c)| place.get(c).is_some_and(|p| *p > place[send]));
                return Err(format!(
                    "{} gets {} before its cause, {}",
                    facts.history.sessions[receiver].name,
                    facts.name(*send),
                    late.map_or_else(String::new, |(_, cause)| facts.name(*cause)),
                ));
            }
        }
    }
    Ok(())
}

fn ordered_sends(facts: &Facts<'_>, told: &[Told<'_>]) -> Vec<(usize, usize)> {
    let ordered = told.iter().filter_map(|told| match told.what {
        What::Message(message) => {
            facts.history.sends.get(message.send).map(|s| (told.at, message.send, s.service))
        }
        What::Change(_) => None,
    });
    ordered.filter(|(_, _, service)| *service >= Service::Causal).map(|(at, send, _)| (at, send)).collect()
}

fn latest_known(theirs: &[(usize, usize)], place: &BTreeMap<usize, usize>) -> Vec<usize> {
    let mut latest = 0;
    let step = |(_, send): &(usize, usize)| {
        latest = latest.max(place.get(send).copied().unwrap_or(0));
        latest
    };
    theirs.iter().map(step).collect()
}

#[cfg(test)]
mod tests {
    use stentor_membership::Service;

    use super::super::story::Story;
    use crate::history::{Entry, Fate};

    #[test]
    fn an_answer_before_its_question_is_seen() {
        let mut story = Story::together(3);
        let question = story.send(0, Service::Causal);
        story.deliver(&[0, 1], question);
        let answer = story.send(1, Service::Agreed);
        story.deliver(&[0, 1, 2], answer);
        story.deliver(&[2], question);
        story.breaks("E8 causal");
    }

    #[test]
    fn an_answer_without_its_question_is_seen() {
        let mut story = Story::together(3);
        let question = story.send(0, Service::Causal);
        story.deliver(&[0, 1], question);
        let answer = story.send(1, Service::Agreed);
        story.deliver(&[0, 1, 2], answer);
        story.history.processes[2].fate = Fate::Crashed;
        story.breaks("E8 causal");
    }

    #[test]
    fn an_answer_in_another_group_is_seen() {
        let mut story = Story::together(2);
        story.join(&[0], 0, "g", &[0]);
        story.join(&[0, 1], 1, "g", &[0, 1]);
        let question = story.send_to(0, Service::Causal, &["g"]);
        story.deliver_to(0, question, &[0]);
        let answer = story.send(0, Service::Causal);
        story.deliver(&[0, 1], answer);
        story.deliver_to(1, question, &[1]);
        story.breaks("E8 causal");
        let entries = story.entries(1);
        let last = entries.len() - 1;
        entries.swap(last - 1, last);
        assert!(matches!(entries[last], Entry::Message(_)));
        story.is_right();
    }
}
