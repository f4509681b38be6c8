//! [`Node`]: the one public state machine. It hands frames and commands to the layers and takes what they give.

mod install;
mod output;
mod session;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::agreement::Agreement;
use crate::config::{Config, ConfigError};
use crate::detector::Detector;
use crate::error::FrameError;
use crate::event::{CloseReason, Event, IDLE_EVENTS, Transmit};
use crate::groups::Groups;
use crate::id::{DaemonId, MemberName, ViewId};
use crate::name::GroupName;
use crate::ordering::{Ordering, Outbox};
use crate::stats::Stats;
use crate::time::Timestamp;
use crate::unreliable::Window;
use crate::view::View;
use crate::wire::Header;

/// Where a node stands in agreeing on views (PROTOCOL V1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its view stands: messages flow.
    Operational,
    /// Its view fell: it looks for the members of the next one. Sends queue up.
    Gathering,
    /// It accepted a proposal: the members of the old view level what they hold.
    Recovering,
}

/// One daemon's protocol state machine: membership, order and groups.
///
/// Getters: [`id`](Self::id), [`view`](Self::view), [`phase`](Self::phase), [`stats`](Self::stats),
/// [`linked`](Self::linked), [`groups`](Self::groups), [`members`](Self::members),
/// [`has_unfinished_sends`](Self::has_unfinished_sends).
/// Network: `handle_*`. Sessions: [`connect`](Self::connect), [`disconnect`](Self::disconnect),
/// [`join`](Self::join), [`leave`](Self::leave), [`multicast`](Self::multicast). Output: `poll_*`.
///
/// After one or several calls of the first kinds the caller drains [`poll_transmit`](Self::poll_transmit) until
/// `None`, then [`poll_event`](Self::poll_event) until `None`, then arms one timer for
/// [`poll_timeout`](Self::poll_timeout). Frames are made in `poll_transmit`: what was submitted between two drains
/// shares frames, which is all the batching there is (PROTOCOL F3).
pub struct Node {
    id: DaemonId,
    config: Config,
    /// The latest time that any call brought.
    now: Timestamp,
    view: View,
    ordering: Ordering,
    agreement: Agreement,
    groups: Groups,
    outbox: Outbox,
    detector: Detector,
    /// Unreliable messages of this view, by sender, and the number of my own.
    unreliable: BTreeMap<DaemonId, Window>,
    unreliable_sent: u64,
    /// When lazy progress is announced.
    lazy_at: Option<Timestamp>,
    /// No progress without data before this: views of many members take it easier (PROTOCOL O4.3).
    paced_until: Timestamp,
    /// The window was found full since it last had room.
    window_full: bool,
    /// A large message was held back since large ones last had room.
    large_held: bool,
    /// When large messages that are held back get more room.
    larger_at: Option<Timestamp>,
    leaving: bool,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    stats: Stats,
}

impl Node {
    /// A node alone in its first view, which [`poll_event`](Self::poll_event) reports.
    ///
    /// `seed` decides its random choices (back-off); the same inputs and seed give the same outputs.
    ///
    /// # Errors
    /// [`ConfigError`] names a setting outside its range.
    pub fn new(id: DaemonId, config: Config, seed: u64, now: Timestamp) -> Result<Self, ConfigError> {
        config.check()?;
        let view_id = ViewId { epoch: 0, proposer: id };
        let members: Arc<[DaemonId]> = [id].into();
        let primary = config.is_primary(&members);
        let view = View { id: view_id, members: members.clone(), came_along: Arc::default(), primary };
        let detector =
            Detector::new(config.heartbeat, config.suspect_after_min, config.suspect_after_max, now);
        Ok(Self {
            id,
            now,
            ordering: Ordering::new(view_id, members, id),
            agreement: Agreement::new(id, seed, config.window.saturating_add(1 << 20)),
            groups: Groups::new(id, view_id),
            outbox: Outbox::default(),
            detector,
            unreliable: BTreeMap::new(),
            unreliable_sent: 0,
            lazy_at: None,
            paced_until: now,
            window_full: false,
            large_held: false,
            larger_at: None,
            leaving: false,
            transmits: VecDeque::new(),
            events: [Event::View(Box::new(view.clone()))].into(),
            stats: Stats { views: 1, ..Stats::default() },
            view,
            config,
        })
    }

    /// This daemon.
    pub fn id(&self) -> DaemonId {
        self.id
    }

    /// The installed view.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Whether messages flow.
    pub fn phase(&self) -> Phase {
        if self.agreement.is_recovering() {
            Phase::Recovering
        } else if self.agreement.is_gathering() {
            Phase::Gathering
        } else {
            Phase::Operational
        }
    }

    /// Counters and levels.
    pub fn stats(&self) -> Stats {
        Stats {
            failed_attempts: self.agreement.failed_attempts(),
            messages_delivered: self.groups.delivered(),
            messages_discarded: self.stats.messages_discarded + self.ordering.discarded(),
            unreliable_dropped: self.stats.unreliable_dropped + self.groups.dropped_unreliable(),
            unstable_bytes: self.ordering.own_bytes(),
            retained_bytes: self.ordering.retained_bytes(),
            queued_bytes: self.outbox.bytes(),
            ..self.stats.clone()
        }
    }

    /// The peers with a link, sorted.
    pub fn linked(&self) -> impl Iterator<Item = DaemonId> {
        self.agreement.board().links()
    }

    /// Whether the groups of this view are known: until the members have exchanged them, what sessions send queues up
    /// (PROTOCOL G3.2).
    pub fn knows_groups(&self) -> bool {
        self.groups.is_complete()
    }

    /// The groups with members that this daemon knows of, sorted, with the number of members: all, or those behind
    /// `after`.
    pub fn groups(&self, after: Option<GroupName>) -> impl Iterator<Item = (GroupName, usize)> {
        self.groups.list(after)
    }

    /// The members of a group, sorted; empty if there is no such group.
    pub fn members(&self, group: GroupName) -> Arc<[MemberName]> {
        self.groups.members(group)
    }

    /// Whether something accepted from a session is still on its way to other members: false means that
    /// [`leave_cluster`](Self::leave_cluster) loses nothing.
    pub fn has_unfinished_sends(&self) -> bool {
        (!self.outbox.is_empty() || self.ordering.own_bytes() > 0) && !mutant!(LeavesEarly)
    }

    /// A link to `peer` is up in both directions. A link lasts until [`handle_link_down`](Self::handle_link_down) or
    /// [`Event::CloseLink`]; frames of an ended link must not be handed in any more. If there is one already, this
    /// ends it and begins another. A link of a daemon to itself is ignored.
    pub fn handle_link_up(&mut self, peer: DaemonId, now: Timestamp) {
        self.enter(now);
        if peer == self.id || self.leaving {
            return;
        }
        self.lose_link(peer);
        self.detector.watch(peer, self.now);
        self.agreement.handle_link_up(peer);
        self.settle();
    }

    /// The link to `peer` ended; what was in flight on it may be lost.
    pub fn handle_link_down(&mut self, peer: DaemonId, now: Timestamp) {
        self.enter(now);
        self.lose_link(peer);
        self.settle();
    }

    /// A frame arrived on the stream of the link from `from`.
    ///
    /// # Errors
    /// [`FrameError`] if the peer breaks the protocol. The link is then given up ([`Event::CloseLink`] follows).
    pub fn handle_frame(&mut self, from: DaemonId, frame: Bytes, now: Timestamp) -> Result<(), FrameError> {
        self.enter(now);
        if !self.agreement.board().has_link(from) {
            return Ok(());
        }
        self.detector.heard(from, false, self.now);
        let result = self.receive(from, frame);
        if result.is_err() {
            self.stats.violations += 1;
            self.close_link(from, CloseReason::Violation);
        }
        self.settle();
        result
    }

    /// A datagram arrived from `from`.
    ///
    /// # Errors
    /// As [`handle_frame`](Self::handle_frame).
    pub fn handle_datagram(
        &mut self,
        from: DaemonId,
        datagram: Bytes,
        now: Timestamp,
    ) -> Result<(), FrameError> {
        self.enter(now);
        if !self.agreement.board().has_link(from) {
            return Ok(());
        }
        let result = self.receive_datagram(from, &datagram);
        if result.is_err() {
            self.stats.violations += 1;
            self.close_link(from, CloseReason::Violation);
        }
        self.settle();
        result
    }

    /// Time passed. Always safe to call, due or not.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.enter(now);
        for peer in self.detector.suspects(self.now) {
            tracing::debug!(%peer, view = %self.view.id, "suspected");
            self.stats.suspicions += 1;
            self.close_link(peer, CloseReason::Silent);
        }
        if self.detector.heartbeat_due(self.now) {
            self.send_heartbeats();
            // Now and then, and not after every burst: under load the next one needs it again.
            self.events.shrink_to(IDLE_EVENTS);
            self.groups.shrink();
            self.ordering.shrink();
        }
        self.agreement.handle_timeout(&mut self.ordering, self.now);
        self.settle();
    }

    /// Says `Leave` to all peers and stops: they need no timeout. Drain [`poll_transmit`](Self::poll_transmit) once
    /// more, then drop the node.
    pub fn leave_cluster(&mut self, now: Timestamp) {
        self.enter(now);
        self.flush_agreement();
        self.leaving = true;
        let leave = Header::Leave.encode();
        let peers: Vec<_> = self.linked().collect();
        for peer in peers {
            self.transmit(peer, leave.clone());
        }
    }

    /// Panics if the state contradicts itself: for tests and simulations, after any step.
    pub fn check_invariants(&self) {
        self.ordering.check_invariants();
        self.agreement.check_invariants(&self.ordering);
        assert_eq!(self.view.id, self.ordering.view(), "two views at a time");
        assert!(self.view.rank(self.id).is_some(), "not in the own view");
        let bound = self.config.window + self.config.frame;
        assert!(
            self.ordering.own_bytes() <= bound || mutant!(WindowIgnored),
            "own unstable bytes beyond the window"
        );
    }

    /// Every call that brings the time begins here.
    fn enter(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        if self.detector.notice_own_pause(self.now) {
            tracing::debug!(daemon = %self.id, "was stopped for a while: peers get a fresh chance");
        }
    }

    /// Hands a frame to the layer that it is for. What cannot be right is an error (PROTOCOL W3).
    fn receive(&mut self, from: DaemonId, frame: Bytes) -> Result<(), FrameError> {
        let (header, rest) = Header::decode(&frame)?;
        match header {
            Header::Data { view, clock, horizon } => {
                if view == self.view.id {
                    let head = frame.len() - rest.len();
                    self.ordering.receive(from, clock, horizon, frame, head)?;
                } else if self.agreement.expects(view) {
                    self.agreement.keep_early(from, frame);
                }
            }
            Header::Progress { view, clock, horizon } => {
                if view == self.view.id {
                    self.ordering.progress(from, clock, horizon, None)?;
                } else if self.agreement.expects(view) {
                    self.agreement.keep_early(from, frame);
                }
            }
            Header::Status(status) => {
                if status.members.binary_search(&from).is_err() {
                    return Err(FrameError::Violation("a status of a view without its sender"));
                }
                self.agreement.handle_status(from, status);
            }
            Header::Propose { id, members } => {
                self.agreement.handle_propose(from, id, members, &mut self.ordering)?;
            }
            Header::Refuse { id, epoch } => self.agreement.handle_refuse(id, epoch),
            Header::Accept { id, state } => {
                self.agreement.handle_accept(from, id, state, &mut self.ordering)?;
            }
            Header::Recover { id, states } => {
                self.agreement.handle_recover(from, id, states, &mut self.ordering)?;
            }
            Header::Resend { id, .. } | Header::ResendEnd { id, .. } => {
                self.agreement.handle_resend(id, header, rest, &mut self.ordering)?;
            }
            Header::Recovered { id } => self.agreement.handle_recovered(from, id)?,
            Header::Leave => self.close_link(from, CloseReason::Left),
            Header::Heartbeat { .. } | Header::Unreliable { .. } => {
                return Err(FrameError::Violation("a datagram's frame on the stream"));
            }
        }
        Ok(())
    }

    fn receive_datagram(&mut self, from: DaemonId, datagram: &Bytes) -> Result<(), FrameError> {
        let (header, rest) = Header::decode(datagram)?;
        match header {
            Header::Heartbeat { view, clock, horizon, sent } => {
                self.detector.heard(from, true, self.now);
                if view == self.view.id {
                    self.ordering.progress(from, clock, horizon, Some(sent))?;
                }
                Ok(())
            }
            Header::Unreliable { view, number, lane } => {
                self.detector.heard(from, false, self.now);
                let current = view == self.view.id && !self.ordering.is_frozen() || mutant!(DatagramStrayed);
                if current && self.unreliable.entry(from).or_default().is_new(number) {
                    self.drain_deliveries(None);
                    self.groups.deliver_unreliable(from, lane, &rest);
                    self.drain_events();
                } else {
                    self.stats.unreliable_dropped += 1;
                }
                Ok(())
            }
            _ => Err(FrameError::Violation("a stream's frame in a datagram")),
        }
    }

    /// Takes in what the last input changed, in all layers.
    fn settle(&mut self) {
        loop {
            self.drain_for_table();
            if let Some(install) = self.agreement.take_install() {
                self.install(install);
                continue;
            }
            #[cfg(stentor_mutants)]
            if mutant!(FailureThaws) && !self.agreement.is_recovering() {
                self.ordering.thaw();
            }
            self.agreement.update(&self.ordering, self.now);
            break;
        }
    }

    /// The link to `peer` is gone, whoever ended it. A close that was not reported yet is of no use any more: reported
    /// later, it would be taken for the next link.
    fn lose_link(&mut self, peer: DaemonId) {
        self.detector.forget(peer);
        self.events
            .retain(|event| !matches!(event, Event::CloseLink { peer: closed, .. } if *closed == peer));
        if self.agreement.board().has_link(peer) {
            self.ordering.lose_link(peer);
            self.agreement.handle_link_down(peer);
            self.transmits.retain(|transmit| transmit.to != peer);
        }
    }

    fn close_link(&mut self, peer: DaemonId, reason: CloseReason) {
        // What was due before is told before.
        self.drain_deliveries(None);
        self.lose_link(peer);
        self.events.push_back(Event::CloseLink { peer, reason });
    }
}

/// One line; with `{:#?}`, all that the layers hold as well.
impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let layers = f.alternate();
        let mut text = f.debug_struct("Node");
        text.field("id", &self.id).field("view", &self.view.id).field("phase", &self.phase());
        if layers {
            text.field("agreement", &self.agreement).field("ordering", &self.ordering);
            text.field("groups", &self.groups).field("outbox", &self.outbox);
            text.field("unreliable", &self.unreliable).field("detector", &self.detector);
        }
        text.finish()
    }
}
