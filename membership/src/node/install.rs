//! From one view to the next, in the order that PROTOCOL V6 prescribes.

use std::sync::Arc;

use super::Node;
use crate::agreement::Install;
use crate::event::{Event, Transitional};
use crate::id::{DaemonId, ViewId};
use crate::ordering::{DAEMON_LANE, Ordering, Outbox, Outgoing};
use crate::service::Service;
use crate::view::View;

impl Node {
    /// Ends the old view and begins the agreed one.
    pub(super) fn install(&mut self, install: Install) {
        let Install { id, members, along, ending, early } = install;
        let mut along: Arc<[DaemonId]> = along.iter().map(|&rank| self.ordering.member(rank)).collect();
        if mutant!(AlongByName) {
            along = members.iter().filter(|member| self.view.rank(**member).is_some()).copied().collect();
        }

        // V6.1: what is still due in the regular configuration.
        self.ordering.finish_regular(&ending);
        self.drain_deliveries(None);

        // V6.2: the transitional configuration.
        let old = self.view.id;
        self.groups.begin_transitional(&along);
        if mutant!(TransitionalLate) {
            self.ordering.finish_transitional(&ending);
            self.drain_deliveries(Some(id));
        }
        let transitional = Transitional { view: old, toward: id, members: along.clone() };
        self.events.push_back(Event::Transitional(Box::new(transitional)));
        self.drain_events();
        self.ordering.finish_transitional(&ending);
        self.drain_deliveries(Some(id));

        // V6.3: the new view.
        let members: Arc<[DaemonId]> = members.into();
        let primary = self.config.is_primary(&members);
        self.view = View { id, members: members.clone(), came_along: along, primary };
        self.stats.views += 1;
        self.stats.messages_discarded += self.ordering.discarded();
        self.ordering = Ordering::new(id, members, self.id);
        self.agreement.installed(&self.ordering);
        self.unreliable.clear();
        self.unreliable_sent = 0;
        self.lazy_at = None;
        self.outbox.begin_view();
        if mutant!(QueueLost) {
            self.outbox = Outbox::default();
        }
        for body in self.groups.install(&self.view) {
            let sync = Outgoing { service: Service::Agreed, head: body, content: bytes::Bytes::new() };
            self.outbox.push(DAEMON_LANE, sync);
        }
        tracing::debug!(daemon = %self.id, view = %id, members = self.view.members.len(), "installed");
        let mut view = self.view.clone();
        if mutant!(SelfMissing) {
            view.members = view.members.iter().copied().filter(|member| *member != self.id).collect();
        }
        self.events.push_back(Event::View(Box::new(view)));

        for (peer, frame) in early {
            if let Err(error) = self.receive(peer, frame) {
                tracing::debug!(%peer, %error, "early frame refused");
                self.stats.violations += 1;
                self.close_link(peer, crate::event::CloseReason::Violation);
            }
        }
    }

    /// Hands what is due to the groups, and what comes of it to the caller. `toward` is set in the transitional
    /// configuration.
    pub(super) fn drain_deliveries(&mut self, toward: Option<ViewId>) {
        while let Some(delivery) = self.ordering.next_delivery() {
            let from = self.ordering.member(delivery.position.rank);
            self.groups.deliver(from, delivery, toward);
        }
        self.drain_events();
    }

    /// What sessions may send hangs on what is due as long as the table is not complete. Later, what is due waits for
    /// [`poll_event`](Self::poll_event): a whole window can become due at once.
    pub(super) fn drain_for_table(&mut self) {
        if !self.groups.is_complete() || mutant!(ChangeEarly) {
            self.drain_deliveries(None);
        }
    }

    pub(super) fn drain_events(&mut self) {
        self.groups.take_events(&mut self.events);
    }
}
