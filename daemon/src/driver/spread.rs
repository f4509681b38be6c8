//! What programs of Spread are told of their groups.

use std::collections::HashMap;

use stentor_membership::{Cause, GroupName, Membership, Node};

use super::Driver;
use super::sessions::Speaks;
use crate::spread::words::{self, GroupId};

/// The ids that groups with members here were last told: a transitional signal repeats them.
#[derive(Debug, Default)]
pub(super) struct GroupIds {
    ids: HashMap<GroupName, GroupId>,
    /// So many are kept before those of groups without members here are looked for.
    sweep_at: usize,
}

impl GroupIds {
    /// Sweeps are not worth it for fewer.
    const FEW: usize = 1024;

    fn insert(&mut self, group: GroupName, id: GroupId, node: &Node) {
        self.ids.insert(group, id);
        if self.ids.len() > self.sweep_at.max(Self::FEW) {
            let own = node.id().name;
            self.ids.retain(|group, _| node.members(*group).iter().any(|member| member.daemon == own));
            self.sweep_at = 2 * self.ids.len();
        }
    }
}

impl Driver {
    /// A new view of a group; the frame for other programs is on its way already.
    pub(super) fn tell_spread_of_membership(&mut self, event: &Membership) {
        let receivers = self.fanout.spread();
        if receivers.is_empty() {
            return;
        }
        let id = GroupId::new(&event.view, event.index);
        self.group_ids.insert(event.group, id, &self.node);
        let leaver = match event.cause {
            Cause::Leave(leaver) => Some(leaver),
            Cause::Join(_) | Cause::Disconnect(_) | Cause::Network => None,
        };
        let mut view = None;
        for receiver in receivers {
            let Some(session) = self.sessions.get(receiver) else { continue };
            if session.speaks != (Speaks::Spread { memberships: true }) {
                continue;
            }
            let bytes = if leaver == Some(session.member) {
                words::self_leave(event.group)
            } else {
                view.get_or_insert_with(|| words::membership(event, &self.aliases)).clone()
            };
            self.fanout.flush(&mut self.sessions);
            self.sessions.push(receiver, bytes, false);
        }
    }

    /// The view of a group ends; the frame for other programs is on its way already.
    pub(super) fn tell_spread_of_transition(&mut self, group: GroupName) {
        // Whoever is in a group was told of its view.
        let Some(id) = self.group_ids.ids.get(&group).copied() else { return };
        let bytes = words::transitional(group, id);
        for receiver in self.fanout.spread() {
            let speaks = self.sessions.get(receiver).map(|session| session.speaks);
            if speaks == Some(Speaks::Spread { memberships: true }) {
                self.fanout.flush(&mut self.sessions);
                self.sessions.push(receiver, bytes.clone(), false);
            }
        }
    }
}
