//! What goes out: frames, heartbeats, events, timers.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::Node;
use crate::event::{Channel, Event, Transmit};
use crate::id::{DaemonId, SessionId};
use crate::ordering::{Allowed, Outgoing, Urgency};
use crate::time::Timestamp;
use crate::wire::Header;

/// Progress that only memory waits for goes out after this at the latest (PROTOCOL O4.2).
const LAZY_DELAY: Duration = Duration::from_millis(5);
/// Progress that only memory waits for goes out once a daemon's share of this part of the window has come in, or can be
/// confirmed.
const LAZY_PART: usize = 8;
/// In smaller views shares are as small as with so many members: large messages may have to make do with less of the window.
const LAZY_MEMBERS_MIN: usize = 16;
/// The part of the window for large messages while others send small ones (PROTOCOL F4).
const LARGE_PART: usize = 96;
// Progress has to come before large messages reach that bound, or they stop until it is late.
const _: () = assert!(LAZY_PART * LAZY_MEMBERS_MIN > LARGE_PART);
/// It doubles each time that the oldest of what is under way gets older by this: over a long path, all of it is needed.
const LARGE_DOUBLING: Duration = Duration::from_millis(5);
/// Up to this many members, progress that others wait for goes out at once.
const UNPACED_MEMBERS: usize = 12;
/// Above, a daemon leaves this time for each member between two progress frames (PROTOCOL O4.3).
const PACE: Duration = Duration::from_micros(100);
impl Node {
    /// The next bytes to send.
    #[must_use]
    pub fn poll_transmit(&mut self, now: Timestamp) -> Option<Transmit> {
        loop {
            if let Some(transmit) = self.transmits.pop_front() {
                return Some(transmit);
            }
            if self.leaving {
                return None;
            }
            self.now = self.now.max(now);
            if !self.produce() {
                return None;
            }
        }
    }

    /// The next thing that happened.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let Some(delivery) = self.ordering.next_delivery() else { break };
            let rank = delivery.position.rank;
            match self.groups.deliver_as_before(&self.ordering.members()[usize::from(rank)], delivery) {
                // Nearly always: the event passes through no queue.
                Ok(Some(event)) => return Some(event),
                Ok(None) => {}
                Err(delivery) => {
                    self.groups.deliver(self.ordering.member(rank), delivery, None);
                    self.drain_events();
                }
            }
        }
        let live = |lane: &u32| self.groups.sessions.get(SessionId(*lane)).is_some();
        let unblocked = self.outbox.take_unblocked().into_iter().filter(live);
        self.events.extend(unblocked.map(|lane| Event::Unblocked(SessionId(lane))));
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due. May change with every other call.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let (silence, agreement) = (self.detector.next_timeout(), self.agreement.next_timeout());
        [Some(silence), agreement, self.lazy_at, self.larger_at].into_iter().flatten().min()
    }

    /// Makes frames of what has come up; false if there is nothing to say.
    fn produce(&mut self) -> bool {
        self.flush_agreement();
        self.produce_data();
        self.produce_progress();
        !self.transmits.is_empty()
    }

    /// Passes on the frames of the agreement, its status first.
    pub(super) fn flush_agreement(&mut self) {
        if let Some(status) = self.agreement.take_status(&self.ordering) {
            let peers: Vec<_> = self.linked().collect();
            for peer in peers {
                self.transmit(peer, status.clone());
            }
        }
        for (peer, frame) in self.agreement.take_out() {
            if matches!(Header::decode(&frame), Ok((Header::Resend { .. }, _))) {
                self.stats.frames_resent += 1;
            }
            self.transmit(peer, frame);
        }
    }

    /// Data frames, as far as the window allows (PROTOCOL F1).
    fn produce_data(&mut self) {
        self.larger_at = None;
        if self.agreement.is_gathering() {
            return;
        }
        let single = self.config.datagram.saturating_sub(64);
        loop {
            if self.ordering.own_bytes() >= self.config.window && !mutant!(WindowIgnored) {
                self.stats.window_full += u64::from(!self.window_full && !self.outbox.is_empty());
                self.window_full = true;
                return;
            }
            self.window_full = false;
            if self.outbox.has_unreliable() {
                // The own copies come behind what is due.
                self.drain_deliveries(None);
            }
            let allowed = self.allowed();
            let (frame, singles) =
                self.ordering.make_frame(&mut self.outbox, self.config.frame, single, allowed, self.now);
            let idle = frame.is_none() && singles.is_empty();
            for (lane, message) in singles {
                self.send_unreliable(lane, &message);
            }
            if let Some(frame) = frame {
                self.stats.data_frames_sent += 1;
                self.broadcast(&frame);
            }
            self.drain_for_table();
            if idle {
                return;
            }
        }
    }

    /// What may be sent now, if the window has room.
    fn allowed(&mut self) -> Allowed {
        if !self.groups.is_complete() && !mutant!(SendBeforeTable) {
            return Allowed::Daemon;
        }
        self.larger_at = self.large_give_way_until();
        let gives_way = self.larger_at.is_some();
        self.stats.large_held += u64::from(gives_way && !self.large_held);
        self.large_held = gives_way;
        if gives_way { Allowed::Small } else { Allowed::All }
    }

    /// If large messages have to leave room for small ones: until when, at the latest, as then they get more (PROTOCOL F4).
    fn large_give_way_until(&self) -> Option<Timestamp> {
        if !self.outbox.has_large() || !self.ordering.has_small_ones() {
            return None;
        }
        let made = self.ordering.oldest_own().unwrap_or(self.now);
        let doublings = self.now.since(made).as_nanos() / LARGE_DOUBLING.as_nanos();
        let doublings = u32::try_from(doublings).unwrap_or(u32::MAX);
        let part = LARGE_PART.checked_shr(doublings).unwrap_or_default().max(1);
        let room = self.config.window / part;
        (self.ordering.own_bytes() >= room).then(|| made + LARGE_DOUBLING * doublings.saturating_add(1))
    }

    /// Progress, if somebody waits for it (PROTOCOL O4).
    fn produce_progress(&mut self) {
        let paced = self.view.members.len() > UNPACED_MEMBERS;
        let share = self.config.window / LAZY_PART / self.view.members.len().max(LAZY_MEMBERS_MIN);
        match self.ordering.urgency(share) {
            Urgency::Nothing => self.lazy_at = None,
            Urgency::Lazy => {
                let due = *self.lazy_at.get_or_insert(self.now + LAZY_DELAY);
                if self.now >= due {
                    self.announce(paced);
                }
            }
            Urgency::Now if paced && self.now < self.paced_until => {
                let due = self.lazy_at.map_or(self.paced_until, |due| due.min(self.paced_until));
                self.lazy_at = Some(due);
                if self.now >= due {
                    self.announce(paced);
                }
            }
            Urgency::Now => self.announce(paced),
        }
    }

    fn announce(&mut self, paced: bool) {
        self.lazy_at = None;
        if paced {
            let members = u32::try_from(self.view.members.len()).unwrap_or(u32::MAX);
            self.paced_until = self.now + PACE * members;
        }
        let frame = self.ordering.announce();
        self.stats.progress_frames_sent += 1;
        self.broadcast(&frame);
    }

    pub(super) fn send_heartbeats(&mut self) {
        if mutant!(IdleSilent) && self.ordering.retained_bytes() == 0 {
            return;
        }
        let heartbeat = self.ordering.heartbeat().encode();
        let peers: Vec<_> = self.linked().collect();
        for to in peers {
            let payload = heartbeat.clone();
            self.transmits.push_back(Transmit { to, channel: Channel::Datagram, payload });
        }
    }

    /// An unreliable message: one datagram to each member, and my own copy at once.
    fn send_unreliable(&mut self, lane: u32, message: &Outgoing) {
        self.unreliable_sent += 1;
        let header = Header::Unreliable { view: self.view.id, number: self.unreliable_sent, lane };
        let mut out = BytesMut::with_capacity(message.len() + 64);
        header.encode_into(&mut out);
        let head = out.len();
        out.put_slice(&message.head);
        out.put_slice(&message.content);
        let datagram = out.freeze();
        for to in self.ordering.receivers() {
            let payload = datagram.clone();
            self.transmits.push_back(Transmit { to, channel: Channel::Datagram, payload });
        }
        self.groups.deliver_unreliable(self.id, lane, &datagram.slice(head..));
        self.drain_events();
    }

    fn broadcast(&mut self, frame: &Bytes) {
        for to in self.ordering.receivers() {
            self.transmits.push_back(Transmit { to, channel: Channel::Stream, payload: frame.clone() });
        }
    }

    pub(super) fn transmit(&mut self, to: DaemonId, payload: Bytes) {
        self.transmits.push_back(Transmit { to, channel: Channel::Stream, payload });
    }
}
