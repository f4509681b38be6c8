//! After a view change every daemon tells the others its sessions' groups (PROTOCOL G3).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::table::{Member, Table};
use crate::id::{DaemonId, MemberName, ViewId};
use crate::name::{GroupName, SessionName};

/// A sync goes in several messages above this many memberships, so that none becomes large.
const ROWS_A_MESSAGE: usize = 10_000;

/// Where a daemon's table comes from. Daemons with equal origins moved together ever since, and delivered the same
/// (PROTOCOL G4).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// The last view in which the table was complete.
    pub complete: ViewId,
    /// Its members that moved along through all views since; sorted.
    pub companions: Vec<DaemonId>,
}

/// A part of what a daemon says of its sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncPart {
    /// Where the daemon's table comes from.
    pub origin: Origin,
    /// Sessions, their lanes and their groups.
    pub rows: Vec<(SessionName, u32, Vec<GroupName>)>,
    /// Whether this is the last part.
    pub last: bool,
}

/// The parts that this daemon sends.
pub(crate) fn parts(origin: &Origin, table: &Table) -> Vec<SyncPart> {
    let empty = || SyncPart { origin: origin.clone(), rows: Vec::new(), last: false };
    let mut parts = vec![empty()];
    let mut count = 0;
    for (member, groups) in table.own_rows() {
        let groups: Vec<_> = groups.iter().copied().collect();
        for chunk in groups.chunks(ROWS_A_MESSAGE) {
            if count + chunk.len() > ROWS_A_MESSAGE {
                parts.push(empty());
                count = 0;
            }
            count += chunk.len();
            if let Some(part) = parts.last_mut() {
                part.rows.push((member.name, member.lane, chunk.to_vec()));
            }
        }
    }
    if let Some(part) = parts.last_mut() {
        part.last = true;
    }
    parts
}

/// What came of the syncs of a view so far.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// Who has not sent its last part.
    missing: BTreeSet<DaemonId>,
    origins: BTreeMap<DaemonId, Origin>,
    rows: Vec<(Member, GroupName)>,
}

impl Exchange {
    pub(crate) fn new(members: &[DaemonId]) -> Self {
        Self { missing: members.iter().copied().collect(), origins: BTreeMap::new(), rows: Vec::new() }
    }

    /// Takes a part; true when it was the last one of all.
    pub(crate) fn add(&mut self, daemon: DaemonId, part: SyncPart) -> bool {
        if !self.missing.contains(&daemon) {
            return false;
        }
        for (name, lane, groups) in part.rows {
            let member = Member { daemon, name, lane };
            let listed = if mutant!(ListShortened) { 1 } else { groups.len() };
            self.rows.extend(groups.into_iter().take(listed).map(|group| (member, group)));
        }
        let mut origin = part.origin;
        if mutant!(SetsSplit) {
            origin.companions = vec![daemon];
        }
        self.origins.insert(daemon, origin);
        if part.last {
            self.missing.remove(&daemon);
        }
        self.missing.len() <= usize::from(mutant!(TableWithoutOne))
    }

    /// The table and the origins, once complete.
    pub(crate) fn finish(self, me: DaemonId) -> (Table, BTreeMap<DaemonId, Origin>) {
        (Table::from_rows(me, self.rows.into_iter()), self.origins)
    }
}

/// The members by origin: the virtual synchrony sets, sorted.
pub(crate) fn virtual_synchrony_sets(
    members: &BTreeSet<Member>,
    origins: &BTreeMap<DaemonId, Origin>,
) -> Vec<Vec<MemberName>> {
    let mut sets: BTreeMap<Option<&Origin>, Vec<MemberName>> = BTreeMap::new();
    for member in members {
        sets.entry(origins.get(&member.daemon)).or_default().push(member.name());
    }
    let mut sets: Vec<_> = sets.into_values().collect();
    sets.sort();
    sets
}

/// What a message of the group layer is; a multicast's content follows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// For the sessions that the content names.
    Multicast {
        /// The session that sent it.
        sender: SessionName,
        /// Whether it wants no copy.
        discard_self: bool,
    },
    /// A session joins a group.
    Join {
        /// The session.
        session: SessionName,
        /// The group.
        group: GroupName,
    },
    /// A session leaves a group.
    Leave {
        /// The session.
        session: SessionName,
        /// The group.
        group: GroupName,
    },
    /// A session ended, and leaves all its groups.
    Disconnect {
        /// The session.
        session: SessionName,
    },
    /// What the daemon says of its sessions when a view begins.
    Sync(SyncPart),
}

impl Body {
    /// The encoded body.
    pub fn encode(&self) -> Bytes {
        // Encoding into a vector cannot fail.
        postcard::to_allocvec(self).unwrap_or_default().into()
    }

    /// The body and the content behind it.
    pub fn decode(bytes: &Bytes) -> Option<(Self, Bytes)> {
        let (body, rest) = postcard::take_from_bytes::<Self>(bytes).ok()?;
        let at = bytes.len() - rest.len();
        Some((body, bytes.slice(at..)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daemon(name: &str) -> DaemonId {
        DaemonId { name: name.parse().unwrap(), incarnation: 1 }
    }

    fn origin() -> Origin {
        Origin { complete: ViewId { epoch: 1, proposer: daemon("a") }, companions: vec![daemon("a")] }
    }

    #[test]
    fn many_memberships_go_in_several_parts() {
        let mut table = Table::new(daemon("a"));
        for lane in 0..3 {
            let member = Member { daemon: daemon("a"), name: format!("s{lane}").parse().unwrap(), lane };
            for group in 0..ROWS_A_MESSAGE / 2 {
                table.join(member, format!("g{group}").parse().unwrap());
            }
        }
        let parts = parts(&origin(), &table);
        assert_eq!(parts.iter().map(|part| part.last).collect::<Vec<_>>(), [false, true]);
        let mut exchange = Exchange::new(&[daemon("a")]);
        let done: Vec<_> = parts.into_iter().map(|part| exchange.add(daemon("a"), part)).collect();
        assert_eq!(done, [false, true]);
        let (again, _) = exchange.finish(daemon("a"));
        assert!(again.groups().all(|(_, group)| group.members().len() == 3));
    }

    #[test]
    fn the_exchange_is_complete_with_the_last_daemon() {
        let mut exchange = Exchange::new(&[daemon("a"), daemon("b")]);
        let part = SyncPart { origin: origin(), rows: Vec::new(), last: true };
        assert!(!exchange.add(daemon("b"), part.clone()));
        assert!(!exchange.add(daemon("b"), part.clone()), "said twice");
        assert!(exchange.add(daemon("a"), part));
    }
}
