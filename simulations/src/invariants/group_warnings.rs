//! G5: at a transitional configuration, the local members of groups that have members outside it are told, once
//! until the group's next view, and no others are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stentor_membership::{DaemonId, GroupName, ViewId};

use crate::facts::Facts;
use crate::history::{Change, Entry, Process};

pub(super) fn check(facts: &Facts<'_>) -> Result<(), String> {
    facts.history.processes.iter().try_for_each(|process| follow(facts, process))
}

/// A group as its local members know it.
struct Group<'a> {
    last: &'a Change,
    local: BTreeSet<usize>,
    /// The view at the end of which they were told, and who moved along.
    warned: Option<(ViewId, &'a Arc<[DaemonId]>)>,
}

impl<'a> Group<'a> {
    /// The warning is of the views of daemons since the last change, not of earlier ones.
    fn warning(&self) -> Option<&'a Arc<[DaemonId]>> {
        self.warned.filter(|(view, _)| self.last.view.view <= *view).map(|(_, along)| along)
    }

    /// A second warning is wrong as long as members are there of whom the first one told. When they are gone, nobody
    /// can see whether the table was complete since, and the warning with it void.
    fn must_not_be_warned(&self, facts: &Facts<'_>) -> bool {
        self.warning().is_some_and(|along| self.loses(facts, along).is_some())
    }

    /// A daemon with members that do not move along. Who is in a group is in the view of its last change.
    fn loses(&self, facts: &Facts<'_>, along: &[DaemonId]) -> Option<DaemonId> {
        let view = facts.views.get(&self.last.view.view)?;
        let has_members = |id: &&DaemonId| self.last.members.iter().any(|member| member.daemon == id.name);
        view.members.iter().filter(has_members).find(|id| !along.contains(id)).copied()
    }
}

fn follow(facts: &Facts<'_>, process: &Process) -> Result<(), String> {
    let mut groups: BTreeMap<GroupName, Group<'_>> = BTreeMap::new();
    let mut ending: Option<(ViewId, &Arc<[DaemonId]>)> = None;
    for entry in &process.entries {
        if let (Some((view, along)), false) = (ending, matches!(entry, Entry::GroupTransitional { .. })) {
            all_warned(facts, process, &groups, view, along)?;
            ending = None;
        }
        match entry {
            Entry::Transitional { view, members, .. } => ending = Some((*view, members)),
            Entry::GroupTransitional { group, .. } => {
                let lost = ending.and_then(|(view, along)| {
                    let group = groups.get_mut(group).filter(|group| !group.must_not_be_warned(facts))?;
                    group.warned = Some((view, along));
                    group.loses(facts, along)
                });
                if lost.is_none() {
                    let what = format!("group {group} of a transitional configuration");
                    return Err(format!("{} tells {what} that does not concern it, or again", process.id));
                }
            }
            Entry::Membership(change) => {
                let stays = |s: &usize| change.members.contains(&facts.history.sessions[*s].name);
                let local = change.receivers.iter().copied().filter(stays).collect();
                let warned = groups.get(&change.group).and_then(|group| group.warned);
                groups.insert(change.group, Group { last: change, local, warned });
            }
            Entry::Disconnected(session) => {
                for group in groups.values_mut() {
                    group.local.remove(session);
                }
            }
            Entry::View(_)
            | Entry::Message(_)
            | Entry::Connected(_)
            | Entry::Join(..)
            | Entry::Leave(..)
            | Entry::Sent(_) => {}
        }
    }
    Ok(())
}

fn all_warned(
    facts: &Facts<'_>,
    process: &Process,
    groups: &BTreeMap<GroupName, Group<'_>>,
    view: ViewId,
    along: &[DaemonId],
) -> Result<(), String> {
    for (name, group) in
        groups.iter().filter(|(_, group)| !group.local.is_empty() && group.warning().is_none())
    {
        if let Some(lost) = group.loses(facts, along) {
            return Err(format!(
                "{} does not tell group {name} at the end of view {view} that members at {lost} do not move along",
                process.id
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::story::Story;
    use crate::history::Entry;

    fn parted() -> Story {
        let mut story = Story::together(2);
        story.move_to(2, &[0]);
        story.is_right();
        story
    }

    fn warning(story: &mut Story) -> usize {
        let mut entries = story.entries(0).iter();
        entries.position(|entry| matches!(entry, Entry::GroupTransitional { .. })).unwrap()
    }

    #[test]
    fn a_missing_warning_is_seen() {
        let mut story = parted();
        let at = warning(&mut story);
        story.entries(0).remove(at);
        story.breaks("G5 group warnings");
    }

    #[test]
    fn a_second_warning_is_seen() {
        let mut story = parted();
        let at = warning(&mut story);
        let again = story.entries(0)[at].clone();
        story.entries(0).insert(at, again);
        story.breaks("G5 group warnings");
    }

    #[test]
    fn a_warning_without_a_loss_is_seen() {
        let mut story = parted();
        let at = warning(&mut story);
        let warning = story.entries(0)[at].clone();
        story.begin(3, &[0]);
        story.add(0, warning);
        story.install(3, &[0]);
        story.breaks("G5 group warnings");
    }
}
