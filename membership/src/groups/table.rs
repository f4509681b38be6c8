//! Who is in which group: a state machine over delivered messages (PROTOCOL G1).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::id::{DaemonId, MemberName, SessionId};
use crate::name::{GroupName, SessionName};

/// A session as the table knows it. Sorts by daemon and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    pub(crate) daemon: DaemonId,
    pub(crate) name: SessionName,
    /// Tells a session from an earlier one of the same name.
    pub(crate) lane: u32,
}

impl Member {
    pub(crate) fn name(&self) -> MemberName {
        MemberName { daemon: self.daemon.name, session: self.name }
    }
}

/// A group with its members, and what each message to it needs ready at hand.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    members: BTreeSet<Member>,
    names: Arc<[MemberName]>,
    local: Arc<[SessionId]>,
    /// How many of its views there were in the daemons' view, this one included.
    index: u32,
}

impl Group {
    fn new(members: BTreeSet<Member>, me: DaemonId, index: u32) -> Self {
        let names = members.iter().map(Member::name).collect();
        let local = members.iter().filter(|m| m.daemon == me).map(|m| SessionId(m.lane)).collect();
        Self { members, names, local, index }
    }

    pub(crate) fn members(&self) -> &BTreeSet<Member> {
        &self.members
    }

    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// Sorted by daemon and name.
    pub(crate) fn names(&self) -> &Arc<[MemberName]> {
        &self.names
    }

    /// The members at this daemon.
    pub(crate) fn local(&self) -> &Arc<[SessionId]> {
        &self.local
    }
}

/// All groups. A group exists as long as it has members.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    me: DaemonId,
    groups: BTreeMap<GroupName, Group>,
    of_member: BTreeMap<Member, BTreeSet<GroupName>>,
}

impl Table {
    pub(crate) fn new(me: DaemonId) -> Self {
        Self { me, groups: BTreeMap::new(), of_member: BTreeMap::new() }
    }

    /// The table with these memberships.
    pub(crate) fn from_rows(me: DaemonId, rows: impl Iterator<Item = (Member, GroupName)>) -> Self {
        let mut members: BTreeMap<GroupName, BTreeSet<Member>> = BTreeMap::new();
        let mut of_member: BTreeMap<Member, BTreeSet<GroupName>> = BTreeMap::new();
        for (member, group) in rows {
            members.entry(group).or_default().insert(member);
            of_member.entry(member).or_default().insert(group);
        }
        let groups = members.into_iter().map(|(name, members)| (name, Group::new(members, me, 1))).collect();
        Self { me, groups, of_member }
    }

    pub(crate) fn group(&self, group: &GroupName) -> Option<&Group> {
        self.groups.get(group)
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = (&GroupName, &Group)> {
        self.groups.iter()
    }

    /// Those behind `after`, sorted.
    pub(crate) fn groups_behind(
        &self,
        after: Option<GroupName>,
    ) -> impl Iterator<Item = (&GroupName, &Group)> {
        self.groups.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded))
    }

    /// The groups of one session, sorted.
    pub(crate) fn groups_of(&self, member: &Member) -> Vec<GroupName> {
        self.of_member.get(member).into_iter().flatten().copied().collect()
    }

    /// The members at this daemon with their groups: what it tells the others in a new view.
    pub(crate) fn own_rows(&self) -> impl Iterator<Item = (&Member, &BTreeSet<GroupName>)> {
        self.of_member.iter().filter(|(member, _)| member.daemon == self.me)
    }

    /// Adds a member; false if it is one already.
    pub(crate) fn join(&mut self, member: Member, group: GroupName) -> bool {
        let added = self.of_member.entry(member).or_default().insert(group);
        if added {
            self.change(group, |members| members.insert(member));
        }
        added
    }

    /// Removes a member; false if it is none.
    pub(crate) fn leave(&mut self, member: Member, group: GroupName) -> bool {
        let Some(groups) = self.of_member.get_mut(&member) else { return false };
        let removed = groups.remove(&group);
        if groups.is_empty() {
            self.of_member.remove(&member);
        }
        if removed {
            self.change(group, |members| members.remove(&member));
        }
        removed
    }

    fn change(&mut self, name: GroupName, change: impl FnOnce(&mut BTreeSet<Member>) -> bool) {
        let (mut members, index) =
            self.groups.remove(&name).map(|group| (group.members, group.index)).unwrap_or_default();
        change(&mut members);
        if !members.is_empty() {
            self.groups.insert(name, Group::new(members, self.me, index.saturating_add(1)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daemon(name: &str) -> DaemonId {
        DaemonId { name: name.parse().unwrap(), incarnation: 1 }
    }

    fn member(daemon_name: &str, lane: u32) -> Member {
        Member { daemon: daemon(daemon_name), name: format!("s{lane}").parse().unwrap(), lane }
    }

    #[test]
    fn a_group_lives_from_its_first_join_to_its_last_leave() {
        let g: GroupName = "g".parse().unwrap();
        let mut table = Table::new(daemon("a"));
        assert!(table.join(member("b", 1), g));
        assert!(table.join(member("a", 2), g));
        assert!(!table.join(member("a", 2), g), "joined twice");
        let group = table.group(&g).unwrap();
        assert_eq!(group.names().iter().map(ToString::to_string).collect::<Vec<_>>(), ["#s2#a", "#s1#b"]);
        assert_eq!(group.local()[..], [SessionId(2)]);
        assert_eq!(group.index(), 2);
        assert!(table.leave(member("b", 1), g));
        assert!(!table.leave(member("b", 1), g), "left twice");
        assert!(table.leave(member("a", 2), g));
        assert!(table.group(&g).is_none() && table.of_member.is_empty());
    }
}
