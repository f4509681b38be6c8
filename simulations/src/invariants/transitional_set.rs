//! E12: the members of a transitional configuration that install the next view all came from the same view, and
//! all report the same transitional set. Each view but the first follows a transitional configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use stentor_membership::{DaemonId, View, ViewId};

use crate::facts::Facts;
use crate::history::{Entry, Process};

/// One daemon's way from a view to the next.
struct Move<'a> {
    who: DaemonId,
    from: ViewId,
    to: ViewId,
    along: &'a Arc<[DaemonId]>,
}

pub(super) fn check(facts: &Facts<'_>) -> Result<(), String> {
    let mut moves = Vec::new();
    for process in &facts.history.processes {
        follow(process, &mut moves)?;
    }
    let mut to: BTreeMap<ViewId, Vec<&Move<'_>>> = BTreeMap::new();
    for one in &moves {
        to.entry(one.to).or_default().push(one);
    }
    for together in to.values() {
        for one in together {
            for other in together {
                agree(one, other)?;
            }
        }
    }
    Ok(())
}

fn agree(one: &Move<'_>, other: &Move<'_>) -> Result<(), String> {
    let same_way = one.from == other.from;
    if one.along.contains(&other.who) != same_way || (same_way && one.along != other.along) {
        return Err(format!(
            "{} goes from {} to {} with {:?}, {} from {} with {:?}",
            one.who, one.from, one.to, one.along, other.who, other.from, other.along
        ));
    }
    Ok(())
}

/// Collects the moves of a daemon; each must make sense by itself.
fn follow<'a>(process: &'a Process, moves: &mut Vec<Move<'a>>) -> Result<(), String> {
    let mut current: Option<&View> = None;
    let mut begun: Option<(ViewId, ViewId, &Arc<[DaemonId]>)> = None;
    for entry in &process.entries {
        match entry {
            Entry::Transitional { view, toward, members } => {
                if Some(*view) != current.map(|view| view.id) || begun.is_some() {
                    return Err(format!(
                        "{} begins a transitional configuration of {view} in {:?}, after {begun:?}",
                        process.id,
                        current.map(|view| view.id)
                    ));
                }
                begun = Some((*view, *toward, members));
            }
            Entry::View(view) => {
                match (begun.take(), current) {
                    (Some((from, toward, along)), Some(last)) => {
                        makes_sense(process.id, toward, along, last, view)?;
                        moves.push(Move { who: process.id, from, to: view.id, along });
                    }
                    (None, None) => {}
                    _ => {
                        let id = view.id;
                        return Err(format!("{} installs {id} without a transitional event", process.id));
                    }
                }
                current = Some(view);
            }
            _ => {}
        }
    }
    Ok(())
}

fn makes_sense(
    me: DaemonId,
    toward: ViewId,
    along: &Arc<[DaemonId]>,
    last: &View,
    next: &View,
) -> Result<(), String> {
    let inside = along.iter().all(|who| last.members.contains(who) && next.members.contains(who));
    if toward != next.id || !along.contains(&me) || !inside || *along != next.came_along {
        return Err(format!(
            "{me} goes from {last:?} to {next:?}, but reported a way to {toward} together with {along:?}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::story::Story;
    use crate::history::Entry;

    #[test]
    fn splits_and_merges_are_right() {
        let mut story = Story::together(4);
        story.move_to(2, &[0, 1]);
        story.move_to(3, &[2, 3]);
        story.move_to(4, &[0, 1, 2, 3]);
        story.is_right();
    }

    fn along(story: &mut Story, daemon: usize, with: &[usize]) {
        let members: Vec<_> = with.iter().map(|d| story.id(*d)).collect();
        for entry in story.entries(daemon).iter_mut().rev() {
            if let Entry::Transitional { members: along, .. } = entry {
                *along = members.into();
                break;
            }
        }
        let members: Vec<_> = with.iter().map(|d| story.id(*d)).collect();
        story.last_view(daemon).came_along = members.into();
    }

    #[test]
    fn two_reports_are_seen() {
        let mut story = Story::together(3);
        story.move_to(2, &[0, 1, 2]);
        story.is_right();
        along(&mut story, 2, &[1, 2]);
        story.breaks("E12 transitional agreement");
    }

    #[test]
    fn a_member_that_came_another_way_is_seen() {
        let mut story = Story::together(3);
        story.move_to(2, &[2]);
        story.move_to(3, &[0, 1, 2]);
        story.is_right();
        for daemon in [0, 1] {
            along(&mut story, daemon, &[0, 1, 2]);
        }
        story.breaks("E12 transitional agreement");
    }

    #[test]
    fn a_view_without_a_transitional_event_is_seen() {
        let mut story = Story::together(2);
        story.entries(0).retain(|entry| !matches!(entry, Entry::Transitional { .. }));
        story.breaks("E12 transitional agreement");
    }
}
