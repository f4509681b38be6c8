//! [`Node`]: the one public state machine.

use std::sync::Arc;

use bytes::Bytes;

use crate::config::{Config, ConfigError};
use crate::content::Content;
use crate::error::{CommandError, ConnectError, FrameError};
use crate::event::{Event, Transmit};
use crate::id::{DaemonId, MemberName, SessionId};
use crate::name::{GroupName, SessionName};
use crate::service::Service;
use crate::time::Timestamp;
use crate::view::View;

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

/// Counters since the start, and levels now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Views installed.
    pub views: u64,
    /// Peers suspected by the failure detector.
    pub suspicions: u64,
    /// Attempts at a next view that were given up.
    pub failed_attempts: u64,
    /// Data frames sent, each counted once for all peers.
    pub data_frames_sent: u64,
    /// Progress frames sent, each counted once for all peers.
    pub progress_frames_sent: u64,
    /// Frames resent to members that lacked them.
    pub frames_resent: u64,
    /// Client messages accepted.
    pub messages_accepted: u64,
    /// Messages delivered to this daemon (whether or not a session wanted them).
    pub messages_delivered: u64,
    /// Messages discarded by the rules of a view change: nobody who moves along delivers them.
    pub messages_discarded: u64,
    /// Unreliable messages dropped: late, doubled, or while no view was complete.
    pub unreliable_dropped: u64,
    /// Times that a session was told to wait.
    pub sessions_blocked: u64,
    /// Times that sending paused because the window was full.
    pub window_full: u64,
    /// Peers cut off for breaking the protocol.
    pub violations: u64,
    /// Bytes of own frames that not everybody has confirmed.
    pub unstable_bytes: usize,
    /// Bytes of all frames kept for recovery.
    pub retained_bytes: usize,
    /// Bytes that sessions have waiting to be sent.
    pub queued_bytes: usize,
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
/// shares frames, which is all the batching there is.
pub struct Node {}

impl Node {
    /// A node alone in its first view, which [`poll_event`](Self::poll_event) reports.
    ///
    /// `seed` decides its random choices (back-off); the same inputs and seed give the same outputs.
    ///
    /// # Errors
    /// [`ConfigError`] names a setting outside its range.
    pub fn new(id: DaemonId, config: Config, seed: u64, now: Timestamp) -> Result<Self, ConfigError> {
        let _ = (id, seed, now);
        config.check()?;
        Ok(Self {})
    }

    /// This daemon.
    pub fn id(&self) -> DaemonId {
        unimplemented!()
    }

    /// The installed view.
    pub fn view(&self) -> &View {
        unimplemented!()
    }

    /// Whether messages flow.
    pub fn phase(&self) -> Phase {
        unimplemented!()
    }

    /// Counters and levels.
    pub fn stats(&self) -> Stats {
        unimplemented!()
    }

    /// The peers with a link, sorted.
    pub fn linked(&self) -> impl Iterator<Item = DaemonId> {
        std::iter::empty()
    }

    /// All groups with members that this daemon knows of, sorted, with the number of members.
    pub fn groups(&self) -> impl Iterator<Item = (GroupName, usize)> {
        std::iter::empty()
    }

    /// The members of a group, sorted; empty if there is no such group.
    pub fn members(&self, group: GroupName) -> Arc<[MemberName]> {
        let _ = group;
        unimplemented!()
    }

    /// Whether something accepted from a session is still on its way to other members: false means that
    /// [`leave_cluster`](Self::leave_cluster) loses nothing.
    pub fn has_unfinished_sends(&self) -> bool {
        unimplemented!()
    }

    /// A link to `peer` is up in both directions. A link lasts until [`handle_link_down`](Self::handle_link_down) or
    /// [`Event::CloseLink`]; frames of an ended link must not be handed in any more. If there is one already, this
    /// ends it and begins another.
    pub fn handle_link_up(&mut self, peer: DaemonId, now: Timestamp) {
        let _ = (peer, now);
        unimplemented!()
    }

    /// The link to `peer` ended; what was in flight on it may be lost.
    pub fn handle_link_down(&mut self, peer: DaemonId, now: Timestamp) {
        let _ = (peer, now);
        unimplemented!()
    }

    /// A frame arrived on the stream of the link from `from`.
    ///
    /// # Errors
    /// [`FrameError`] if the peer breaks the protocol. The link is then given up ([`Event::CloseLink`] follows).
    pub fn handle_frame(&mut self, from: DaemonId, frame: Bytes, now: Timestamp) -> Result<(), FrameError> {
        let _ = (from, frame, now);
        unimplemented!()
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
        let _ = (from, datagram, now);
        unimplemented!()
    }

    /// Time passed. Always safe to call, due or not.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let _ = now;
        unimplemented!()
    }

    /// Opens a session; without a name the node chooses a free one (see [`session_name`](Self::session_name)).
    ///
    /// # Errors
    /// [`ConnectError`]: the name is taken, or there are too many sessions.
    pub fn connect(&mut self, name: Option<SessionName>) -> Result<SessionId, ConnectError> {
        let _ = name;
        unimplemented!()
    }

    /// The name of a live session.
    pub fn session_name(&self, session: SessionId) -> Option<MemberName> {
        let _ = session;
        unimplemented!()
    }

    /// Closes a session: what it sent before is still sent, then its groups are told. No event names it after this.
    /// Its name is free again at once.
    pub fn disconnect(&mut self, session: SessionId) {
        let _ = session;
        unimplemented!()
    }

    /// Adds a session to a group. Effective with the [`Event::Membership`] that has it as its cause; from then on,
    /// whatever anybody sends to the group reaches the session.
    ///
    /// # Errors
    /// [`CommandError`]: no such session, already a member, or busy.
    pub fn join(&mut self, session: SessionId, group: GroupName) -> Result<(), CommandError> {
        let _ = (session, group);
        unimplemented!()
    }

    /// Removes a session from a group. Effective with the [`Event::Membership`] that has it as its cause, which the
    /// session itself gets as well.
    ///
    /// # Errors
    /// [`CommandError`]: no such session, not a member, or busy.
    pub fn leave(&mut self, session: SessionId, group: GroupName) -> Result<(), CommandError> {
        let _ = (session, group);
        unimplemented!()
    }

    /// Sends a message to one or several groups. With `discard_self` the sending session gets no copy.
    ///
    /// # Errors
    /// [`CommandError`]; after [`CommandError::Busy`] the same message may be tried again on [`Event::Unblocked`].
    pub fn multicast(
        &mut self,
        session: SessionId,
        service: Service,
        discard_self: bool,
        content: Content,
    ) -> Result<(), CommandError> {
        let _ = (session, service, discard_self, content);
        unimplemented!()
    }

    /// Says `Leave` to all peers and stops: they need no timeout. Drain [`poll_transmit`](Self::poll_transmit) once
    /// more, then drop the node.
    pub fn leave_cluster(&mut self, now: Timestamp) {
        let _ = now;
        unimplemented!()
    }

    /// The next bytes to send.
    #[must_use]
    pub fn poll_transmit(&mut self, now: Timestamp) -> Option<Transmit> {
        let _ = now;
        unimplemented!()
    }

    /// The next thing that happened.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        unimplemented!()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due. May change with every other call.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        unimplemented!()
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").finish()
    }
}
