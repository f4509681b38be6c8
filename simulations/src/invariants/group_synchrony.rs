//! E13: members that move together between the same two views of a group are given the same messages of the group
//! (Causal and above) in between. When the run has come to rest, this holds for the last views as if all had moved.

use std::collections::{BTreeMap, BTreeSet};

use stentor_membership::{Cause, GroupName, GroupViewId, MemberName, Service};

use crate::facts::{Facts, What, list};
use crate::history::Entry;

/// What one member got between two views of a group.
struct Between {
    session: usize,
    /// Who moved along; nobody knows it for the last view of a run, where all did.
    stayed: Option<Vec<MemberName>>,
    got: BTreeSet<usize>,
}

type Ways = BTreeMap<(GroupName, GroupViewId, Option<GroupViewId>), Vec<Between>>;

pub(super) fn check(facts: &Facts<'_>) -> Result<(), String> {
    let mut ways = Ways::new();
    for session in 0..facts.told.len() {
        collect(facts, session, &mut ways);
    }
    for ((group, from, to), members) in &ways {
        for (i, one) in members.iter().enumerate() {
            for other in &members[..i] {
                let (a, b) =
                    (facts.history.sessions[one.session].name, facts.history.sessions[other.session].name);
                let moved = |who: &Between, with: MemberName| {
                    who.stayed.as_ref().is_none_or(|stayed| stayed.contains(&with))
                };
                if !moved(one, b) || !moved(other, a) {
                    continue;
                }
                let wanted = |send: &&usize| {
                    let send = &facts.history.sends[**send];
                    !(send.discard_self && [one.session, other.session].contains(&send.session))
                };
                let lacks = |x: &Between, y: &Between| -> Vec<usize> {
                    x.got.difference(&y.got).filter(wanted).copied().collect()
                };
                let (left, right) = (lacks(one, other), lacks(other, one));
                if !left.is_empty() || !right.is_empty() {
                    return Err(format!(
                        "{a} and {b} move from view {from} of group {group} to {}, but only the first got {} \
                         and only the second {}",
                        to.map_or_else(|| "the end".to_owned(), |to| to.to_string()),
                        list(left),
                        list(right),
                    ));
                }
            }
        }
    }
    Ok(())
}

fn collect(facts: &Facts<'_>, session: usize, ways: &mut Ways) {
    let me = facts.history.sessions[session].name;
    let mut open: BTreeMap<GroupName, (GroupViewId, BTreeSet<usize>)> = BTreeMap::new();
    for told in &facts.told[session] {
        match told.what {
            What::Message(message) => {
                let Some(send) = facts.history.sends.get(message.send) else { continue };
                if send.service < Service::Causal {
                    continue;
                }
                for (group, (_, got)) in &mut open {
                    if send.targets(group.as_str()) {
                        got.insert(message.send);
                    }
                }
            }
            What::Change(change) => {
                let left = change.cause == Cause::Leave(me);
                let next = (change.view, BTreeSet::new());
                let last = if left { open.remove(&change.group) } else { open.insert(change.group, next) };
                if let Some((from, got)) = last.filter(|_| !left) {
                    let stayed = Some(change.stayed.to_vec());
                    let way = ways.entry((change.group, from, Some(change.view))).or_default();
                    way.push(Between { session, stayed, got });
                }
            }
        }
    }
    let process = &facts.history.sessions[session].process;
    let gone = |entry: &Entry| matches!(entry, Entry::Disconnected(s) if *s == session);
    if !facts.history.settled
        || !facts.is_live(*process)
        || facts.history.processes[*process].entries.iter().any(gone)
    {
        return;
    }
    for (group, (from, got)) in open {
        ways.entry((group, from, None)).or_default().push(Between { session, stayed: None, got });
    }
}

#[cfg(test)]
mod tests {
    use stentor_membership::Service;

    use super::super::story::Story;

    fn story() -> (Story, usize, usize) {
        let mut story = Story::together(2);
        let (s, t) = (story.connect(0, "s"), story.connect(1, "t"));
        story.join(&[0], s, "g", &[s]);
        story.join(&[0, 1], t, "g", &[s, t]);
        story.is_right();
        (story, s, t)
    }

    #[test]
    fn a_difference_between_two_group_views_is_seen() {
        let (mut story, s, t) = story();
        let m = story.send_to(s, Service::Causal, &["g"]);
        story.deliver_to(0, m, &[s]);
        let u = story.connect(0, "u");
        story.join(&[0, 1], u, "g", &[s, t, u]);
        story.breaks("E13 group synchrony");
    }

    #[test]
    fn fifo_messages_may_fall_on_either_side_of_a_join() {
        let (mut story, s, t) = story();
        let m = story.send_to(s, Service::Fifo, &["g"]);
        let u = story.connect(1, "u");
        story.deliver_to(0, m, &[s]);
        story.join(&[0, 1], u, "g", &[s, t, u]);
        story.deliver_to(1, m, &[t, u]);
        story.is_right();
    }

    #[test]
    fn a_difference_at_the_end_is_seen() {
        let (mut story, s, _) = story();
        let m = story.send_to(s, Service::Agreed, &["g"]);
        story.deliver_to(0, m, &[s]);
        story.breaks("E13 group synchrony");
    }

    #[test]
    fn a_discarded_own_copy_is_no_difference() {
        let (mut story, s, t) = story();
        let m = story.send_to(s, Service::Agreed, &["g"]);
        story.history.sends[m].discard_self = true;
        story.deliver_to(1, m, &[t]);
        story.is_right();
    }
}
