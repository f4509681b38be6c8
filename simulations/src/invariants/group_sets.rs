//! G4: when a group changes with the network, two of its members are in one virtual synchrony set exactly if their
//! daemons moved together all the way since the view of the group that both had before.

use std::collections::BTreeMap;
use std::sync::Arc;

use stentor_membership::{Cause, DaemonId, GroupName, GroupViewId, ViewId};

use crate::facts::{Facts, What};
use crate::history::{Change, Entry};

/// The transitional configurations between two views of a group: from where, to where, together with whom.
type Way<'a> = Vec<(ViewId, ViewId, &'a Arc<[DaemonId]>)>;

/// How one member came to a view of its group.
struct Arrival<'a> {
    session: usize,
    change: &'a Change,
    from: GroupViewId,
    way: Way<'a>,
}

pub(super) fn check(facts: &Facts<'_>) -> Result<(), String> {
    let mut arrivals: BTreeMap<(GroupName, GroupViewId), Vec<Arrival<'_>>> = BTreeMap::new();
    for session in 0..facts.told.len() {
        collect(facts, session, &mut arrivals);
    }
    for members in arrivals.values() {
        for (i, one) in members.iter().enumerate() {
            for other in &members[..=i] {
                agree(facts, one, other)?;
            }
        }
    }
    Ok(())
}

fn agree(facts: &Facts<'_>, one: &Arrival<'_>, other: &Arrival<'_>) -> Result<(), String> {
    let [a, b] = [one, other].map(|arrival| &facts.history.sessions[arrival.session]);
    let [p, q] = [a, b].map(|session| facts.id(session.process));
    let together = one.from == other.from
        && one.way == other.way
        && one.way.iter().all(|(_, _, along)| along.contains(&p) && along.contains(&q));
    let set = one.change.sets.iter().find(|set| set.contains(&a.name));
    let is_said = set.is_some_and(|set| set.contains(&b.name));
    if is_said != together || one.change.stayed.contains(&b.name) != together {
        return Err(format!(
            "{} and {} come to view {} of group {} from {} and {}, {}together, but the first is told that {:?} \
             stayed, and that the sets are {:?}",
            a.name,
            b.name,
            one.change.view,
            one.change.group,
            one.from,
            other.from,
            if together { "" } else { "not " },
            one.change.stayed,
            one.change.sets,
        ));
    }
    Ok(())
}

fn collect<'a>(
    facts: &Facts<'a>,
    session: usize,
    arrivals: &mut BTreeMap<(GroupName, GroupViewId), Vec<Arrival<'a>>>,
) {
    let entries = &facts.history.processes[facts.history.sessions[session].process].entries;
    let mut before: BTreeMap<GroupName, (usize, GroupViewId)> = BTreeMap::new();
    for told in &facts.told[session] {
        let What::Change(change) = told.what else { continue };
        let last = before.insert(change.group, (told.at, change.view));
        if let (Some((since, from)), Cause::Network) = (last, change.cause) {
            let steps = entries[since..told.at].iter().filter_map(|entry| match entry {
                Entry::Transitional { view, toward, members } => Some((*view, *toward, members)),
                _ => None,
            });
            let arrival = Arrival { session, change, from, way: steps.collect() };
            arrivals.entry((change.group, change.view)).or_default().push(arrival);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::Story;

    fn merged() -> Story {
        let mut story = Story::together(3);
        story.move_to(2, &[0, 1]);
        story.move_to(3, &[0, 1, 2]);
        story.is_right();
        story
    }

    #[test]
    fn sets_that_are_too_large_are_seen() {
        let mut story = merged();
        for daemon in 0..3 {
            let change = story.last_change(daemon);
            change.sets = [change.members.to_vec()].into();
            change.stayed = change.members.clone();
        }
        story.breaks("G4 group sets");
    }

    #[test]
    fn sets_that_are_too_small_are_seen() {
        let mut story = merged();
        for daemon in 0..3 {
            let own = story.history.sessions[daemon].name;
            let change = story.last_change(daemon);
            change.sets = change.members.iter().map(|member| vec![*member]).collect();
            change.stayed = [own].into();
        }
        story.breaks("G4 group sets");
    }
}
