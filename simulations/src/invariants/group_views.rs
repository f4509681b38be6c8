//! E13: members that see the same id of a group view see the same members and cause; a member's views of a group
//! begin with its join, follow one another by their causes, and end with its leave.

use std::collections::{BTreeMap, BTreeSet};

use stentor_membership::{Cause, GroupName, MemberName};

use crate::facts::{Facts, What};
use crate::history::Change;

pub(super) fn check(facts: &Facts<'_>) -> Result<(), String> {
    agreement(facts)?;
    for (session, told) in facts.told.iter().enumerate() {
        let me = facts.history.sessions[session].name;
        let mut current: BTreeMap<GroupName, &Change> = BTreeMap::new();
        for told in told {
            let What::Change(change) = told.what else { continue };
            let next = Step { me, from: current.get(&change.group).copied(), to: change };
            next.check().map_err(|why| {
                format!(
                    "{me} at {} gets view {} of group {} ({:?}) with {:?}, stayed {:?}: {why}",
                    facts.id(facts.history.sessions[session].process),
                    change.view,
                    change.group,
                    change.cause,
                    change.members,
                    change.stayed
                )
            })?;
            if change.cause == Cause::Leave(me) {
                current.remove(&change.group);
            } else {
                current.insert(change.group, change);
            }
        }
    }
    Ok(())
}

fn agreement(facts: &Facts<'_>) -> Result<(), String> {
    let mut known: BTreeMap<_, (usize, &Change)> = BTreeMap::new();
    for (session, told) in facts.told.iter().enumerate() {
        for told in told {
            let What::Change(change) = told.what else { continue };
            let (first, other) = known.entry((change.group, change.view)).or_insert((session, change));
            if (&change.members, change.cause, &change.sets) != (&other.members, other.cause, &other.sets) {
                let at = |session: usize| facts.id(facts.history.sessions[session].process);
                return Err(format!(
                    "view {} of group {} is {:?} {:?} {:?} at {} and {:?} {:?} {:?} at {}",
                    change.view,
                    change.group,
                    other.cause,
                    other.members,
                    other.sets,
                    at(*first),
                    change.cause,
                    change.members,
                    change.sets,
                    at(session)
                ));
            }
        }
    }
    Ok(())
}

/// From one view of a group to the next, at one member.
struct Step<'a> {
    me: MemberName,
    from: Option<&'a Change>,
    to: &'a Change,
}

impl Step<'_> {
    fn check(&self) -> Result<(), String> {
        let (to, members) = (self.to, set(&self.to.members));
        if members.len() != to.members.len() || !to.members.is_sorted() {
            return Err("its members are not sorted or doubled".to_owned());
        }
        if members.contains(&self.me) == (to.cause == Cause::Leave(self.me)) {
            return Err("a member must be in it, one that left must not".to_owned());
        }
        self.sets()?;
        let Some(from) = self.from else {
            let own_join = to.cause == Cause::Join(self.me);
            return if own_join { Ok(()) } else { Err("it is not a member".to_owned()) };
        };
        if from.view >= to.view {
            return Err(format!("it does not follow view {}", from.view));
        }
        self.change(&set(&from.members), &members)?;
        self.stayed(&set(&from.members), &members)
    }

    fn change(&self, before: &BTreeSet<MemberName>, after: &BTreeSet<MemberName>) -> Result<(), String> {
        let mut expected = before.clone();
        let changed = match self.to.cause {
            Cause::Join(who) => expected.insert(who),
            Cause::Leave(who) | Cause::Disconnect(who) => expected.remove(&who),
            Cause::Network => return Ok(()),
        };
        if !changed || expected != *after {
            return Err(format!("that does not follow from {before:?}"));
        }
        Ok(())
    }

    fn stayed(&self, before: &BTreeSet<MemberName>, after: &BTreeSet<MemberName>) -> Result<(), String> {
        let stayed = set(&self.to.stayed);
        if !stayed.iter().all(|who| before.contains(who) && after.contains(who)) {
            return Err(format!("who stayed was not in both: before {before:?}"));
        }
        if self.to.cause != Cause::Leave(self.me) && !stayed.contains(&self.me) {
            return Err("it stayed itself".to_owned());
        }
        Ok(())
    }

    fn sets(&self) -> Result<(), String> {
        let all: Vec<MemberName> = self.to.sets.iter().flatten().copied().collect();
        let whole = set(&all);
        if self.to.cause != Cause::Network {
            return if all.is_empty() { Ok(()) } else { Err("only a network change has sets".to_owned()) };
        }
        if whole.len() != all.len() || whole != set(&self.to.members) {
            return Err(format!("the sets are not a partition of its members: {:?}", self.to.sets));
        }
        let mine = self.to.sets.iter().find(|set| set.contains(&self.me));
        if !mine.is_some_and(|mine| self.to.stayed.iter().all(|who| mine.contains(who))) {
            return Err(format!("who stayed is not in the own set: {:?}", self.to.sets));
        }
        Ok(())
    }
}

fn set(members: &[MemberName]) -> BTreeSet<MemberName> {
    members.iter().copied().collect()
}

#[cfg(test)]
mod tests {
    use stentor_membership::Cause;

    use super::super::story::Story;

    fn story() -> (Story, usize) {
        let mut story = Story::together(2);
        let s = story.connect(0, "s");
        story.join(&[0, 1], s, "all", &[0, 1, s]);
        story.is_right();
        (story, s)
    }

    #[test]
    fn one_id_with_two_memberships_is_seen() {
        let (mut story, _) = story();
        let two = [story.history.sessions[0].name, story.history.sessions[1].name];
        story.last_change(1).members = two.into();
        story.breaks("E13 group views");
    }

    #[test]
    fn a_change_that_does_not_follow_from_its_cause_is_seen() {
        let (mut story, s) = story();
        let t = story.connect(1, "t");
        story.join(&[0, 1], t, "all", &[0, 1, s, t]);
        story.is_right();
        let gone = story.history.sessions[s].name;
        for daemon in [0, 1] {
            let change = story.last_change(daemon);
            change.members = change.members.iter().copied().filter(|who| *who != gone).collect();
        }
        story.breaks("E13 group views");
    }

    #[test]
    fn a_view_that_comes_again_is_seen() {
        let (mut story, s) = story();
        let first = story.last_change(1).view;
        story.leave(&[0, 1], s, "all", &[0, 1, s]);
        story.is_right();
        for daemon in [0, 1] {
            story.last_change(daemon).view = first;
        }
        story.breaks("E13 group views");
    }

    #[test]
    fn a_stranger_that_hears_of_a_group_is_seen() {
        let (mut story, _) = story();
        let t = story.connect(1, "t");
        story.join(&[0, 1], t, "g", &[t]);
        story.is_right();
        let cause = Cause::Join(story.history.sessions[0].name);
        story.last_change(1).cause = cause;
        story.breaks("E13 group views");
    }

    #[test]
    fn one_that_stayed_without_having_been_there_is_seen() {
        let (mut story, s) = story();
        let name = story.history.sessions[s].name;
        let change = story.last_change(1);
        change.stayed = change.stayed.iter().copied().chain([name]).collect();
        story.breaks("E13 group views");
    }

    #[test]
    fn sets_that_do_not_cover_the_members_are_seen() {
        let mut story = Story::together(2);
        story.move_to(2, &[0, 1]);
        story.is_right();
        for daemon in [0, 1] {
            let change = story.last_change(daemon);
            change.sets = change.sets.iter().take(1).map(|set| set[..1].to_vec()).collect();
        }
        story.breaks("E13 group views");
    }
}
