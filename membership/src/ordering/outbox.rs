//! Messages that sessions submitted and no frame carries yet (PROTOCOL F1, F2).

use std::collections::{BTreeMap, VecDeque};

use bytes::{BufMut, Bytes, BytesMut};

use crate::service::Service;
use crate::wire::{PIECE_OVERHEAD, put_piece_head};

/// A queue with room for more messages is not kept when it is empty.
const SPARE_MAX: usize = 4096;

/// The lane of the daemon itself; sessions have others.
pub(crate) const DAEMON_LANE: u32 = 0;

/// A message on its way into frames. Head and content are one message to the receivers.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) service: Service,
    pub(crate) head: Bytes,
    pub(crate) content: Bytes,
}

impl Outgoing {
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.content.len()
    }

    /// Appends bytes `from..to` of the message.
    fn put(&self, out: &mut BytesMut, from: usize, to: usize) {
        let split = self.head.len();
        out.put_slice(&self.head[from.min(split)..to.min(split)]);
        out.put_slice(&self.content[from.saturating_sub(split)..to.saturating_sub(split)]);
    }
}

/// One session's messages, in the order in which it sent them.
#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<Outgoing>,
    bytes: usize,
    /// Bytes of the first message that are in frames of this view already.
    sent: usize,
    /// Its session was told to wait, at this limit of bytes.
    blocked: Option<usize>,
    /// It must not begin before another lane is empty.
    held: bool,
}

/// What [`Outbox::take`] did.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It wrote a piece of a message into the frame.
    Piece,
    /// An unreliable message that goes by itself.
    Single { lane: u32, message: Outgoing },
    /// Nothing (more) goes into this frame.
    Nothing,
}

/// What may go into a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// What the daemon itself says.
    Daemon,
    /// That, and messages of sessions that fit one frame.
    Small,
    /// Everything.
    All,
}

/// All lanes: the daemon's own first, the others in turn.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    lanes: BTreeMap<u32, Lane>,
    /// Sessions' lanes, except those in `aside` and those held.
    turn: VecDeque<u32>,
    /// Lanes whose first message does not fit a frame and might not go when it was their turn. They do not stay in
    /// `turn`, where each message that may go would have to pass them. `large` is first if it is among them.
    aside: VecDeque<u32>,
    /// The one session whose message is partly sent.
    large: Option<u32>,
    /// By lane, those that wait until it is empty: later sessions of the same name.
    held: BTreeMap<u32, Vec<u32>>,
    /// The memory of the last lane that became empty, for the next one that does not stay so.
    spare: VecDeque<Outgoing>,
    bytes: usize,
    /// How many Unreliable messages wait.
    unreliable: usize,
    unblocked: Vec<u32>,
}

impl Outbox {
    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Whether an Unreliable message waits.
    pub(crate) fn has_unreliable(&self) -> bool {
        self.unreliable > 0
    }

    /// Whether a message that does not fit a frame is partly sent.
    pub(crate) fn has_large(&self) -> bool {
        self.large.is_some()
    }

    pub(crate) fn has_lane(&self, lane: u32) -> bool {
        self.lanes.contains_key(&lane)
    }

    /// Whether `lane` may take `size` more bytes below `limit`; if not, it is reported by
    /// [`take_unblocked`](Self::take_unblocked) when it may.
    pub(crate) fn admit(&mut self, lane: u32, size: usize, limit: usize) -> bool {
        let Some(lane) = self.lanes.get_mut(&lane) else { return true };
        let fits = lane.bytes == 0 || lane.bytes + size <= limit;
        if !fits {
            lane.blocked = Some(limit);
        }
        fits
    }

    pub(crate) fn push(&mut self, number: u32, message: Outgoing) {
        let lane = self.lanes.entry(number).or_insert_with(|| {
            if number != DAEMON_LANE {
                self.turn.push_back(number);
            }
            Lane { queue: std::mem::take(&mut self.spare), ..Lane::default() }
        });
        self.bytes += message.len();
        self.unreliable += usize::from(message.service == Service::Unreliable);
        lane.bytes += message.len();
        lane.queue.push_back(message);
    }

    /// Holds `lane`, which is new, back until `before` is empty.
    pub(crate) fn hold(&mut self, lane: u32, before: u32) {
        if self.has_lane(before) {
            self.lanes.insert(lane, Lane { held: true, ..Lane::default() });
            self.held.entry(before).or_default().push(lane);
        }
    }

    /// Appends the next piece to `out`, which may grow to `capacity` bytes in all; `head` of them are taken by the
    /// frame's header. Messages of at most `single` bytes that are Unreliable are handed out instead.
    pub(crate) fn take(
        &mut self,
        out: &mut BytesMut,
        capacity: usize,
        head: usize,
        single: usize,
        allowed: Allowed,
    ) -> Taken {
        while let Some(number) = self.next_turn(allowed) {
            let session = number != DAEMON_LANE;
            let may_go = !session || self.may_go(number, allowed);
            let Some(lane) = self.lanes.get_mut(&number) else { continue };
            let Some(message) = lane.queue.front() else { continue };
            if message.service == Service::Unreliable && message.len() <= single {
                let message = message.clone();
                self.pop(number);
                return Taken::Single { lane: number, message };
            }
            let room = capacity.saturating_sub(out.len() + PIECE_OVERHEAD);
            let (from, len) = (lane.sent, message.len());
            let whole = len <= capacity.saturating_sub(head + PIECE_OVERHEAD);
            if !whole && !may_go {
                self.set_aside(number);
                continue;
            }
            let to = if len - from <= room {
                len
            } else if whole || room < (capacity - head) / 4 {
                if session {
                    self.turn.push_front(number);
                }
                return Taken::Nothing;
            } else {
                from + room
            };
            put_piece_head(out, number, message.service, from == 0, to == len, to - from);
            message.put(out, from, to);
            if to == len {
                self.pop(number);
            } else {
                lane.sent = to;
                if session {
                    self.large = Some(number);
                    self.turn.push_back(number);
                }
            }
            return Taken::Piece;
        }
        Taken::Nothing
    }

    /// A new view: what was sent in part in the old one begins again (PROTOCOL O8), and the daemon's own messages of
    /// the old view are void.
    pub(crate) fn begin_view(&mut self) {
        if let Some(lane) = self.lanes.remove(&DAEMON_LANE) {
            self.bytes -= lane.bytes;
        }
        self.turn.append(&mut self.aside);
        if let Some(lane) = self.large.take().and_then(|large| self.lanes.get_mut(&large)) {
            lane.sent = 0;
            if mutant!(PartSentLost) {
                self.bytes -= lane.queue.pop_front().map_or(0, |message| message.len());
            }
        }
    }

    /// The lanes that were told to wait and have room again.
    pub(crate) fn take_unblocked(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.unblocked)
    }

    /// The lane to serve next, removed from where it waited. A lane that stood aside is before the others.
    fn next_turn(&mut self, allowed: Allowed) -> Option<u32> {
        if self.lanes.contains_key(&DAEMON_LANE) {
            return Some(DAEMON_LANE);
        }
        if allowed == Allowed::Daemon {
            return None;
        }
        match self.aside.front() {
            Some(&lane) if self.may_go(lane, allowed) => self.aside.pop_front(),
            _ => self.turn.pop_front(),
        }
    }

    /// Whether a session's message that does not fit a frame may go: one at a time.
    fn may_go(&self, lane: u32, allowed: Allowed) -> bool {
        allowed == Allowed::All && self.large.is_none_or(|large| large == lane)
    }

    fn set_aside(&mut self, lane: u32) {
        if self.large == Some(lane) {
            self.aside.push_front(lane);
        } else {
            self.aside.push_back(lane);
        }
    }

    /// Removes the first message of a lane that does not wait for its turn; puts the lane there again if it has more.
    fn pop(&mut self, number: u32) {
        let Some(lane) = self.lanes.get_mut(&number) else { return };
        lane.sent = 0;
        if let Some(message) = lane.queue.pop_front() {
            lane.bytes -= message.len();
            self.bytes -= message.len();
            self.unreliable -= usize::from(message.service == Service::Unreliable);
        }
        if self.large == Some(number) {
            self.large = None;
        }
        if lane.blocked.is_some_and(|limit| lane.bytes <= limit / 2) {
            lane.blocked = None;
            if !mutant!(RoomNotTold) {
                self.unblocked.push(number);
            }
        }
        if lane.queue.is_empty() {
            self.close(number);
        } else if number != DAEMON_LANE {
            self.turn.push_back(number);
        }
    }

    /// Removes an empty lane and lets those that waited for it begin.
    fn close(&mut self, number: u32) {
        if let Some(lane) = self.lanes.remove(&number).filter(|lane| lane.queue.capacity() <= SPARE_MAX) {
            self.spare = lane.queue;
        }
        for next in self.held.remove(&number).unwrap_or_default() {
            let Some(lane) = self.lanes.get_mut(&next) else { continue };
            lane.held = false;
            if lane.queue.is_empty() {
                self.close(next);
            } else {
                self.turn.push_back(next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: usize = 1024;

    fn message(len: usize) -> Outgoing {
        Outgoing {
            service: Service::Agreed,
            head: Bytes::from_static(b"h"),
            content: vec![7; len - 1].into(),
        }
    }

    /// Fills frames until nothing is left; gives how many pieces each had.
    fn frames(outbox: &mut Outbox) -> Vec<usize> {
        let mut frames = Vec::new();
        loop {
            let mut out = BytesMut::new();
            let mut pieces = 0;
            while let Taken::Piece = outbox.take(&mut out, CAPACITY, 0, 0, Allowed::All) {
                pieces += 1;
            }
            assert!(out.len() <= CAPACITY);
            if pieces == 0 {
                return frames;
            }
            frames.push(pieces);
        }
    }

    #[test]
    fn small_messages_share_a_frame() {
        let mut outbox = Outbox::default();
        for lane in [1, 2, 1] {
            outbox.push(lane, message(100));
        }
        assert_eq!(frames(&mut outbox), [3]);
        assert!(outbox.is_empty() && outbox.bytes() == 0);
    }

    #[test]
    fn one_large_message_at_a_time_and_small_ones_pass_it() {
        let mut outbox = Outbox::default();
        outbox.push(1, message(3000));
        outbox.push(2, message(3000));
        outbox.push(3, message(10));
        let mut out = BytesMut::new();
        let mut lanes = Vec::new();
        while !outbox.is_empty() {
            let at = out.len();
            match outbox.take(&mut out, CAPACITY, 0, 0, Allowed::All) {
                Taken::Piece => lanes.push(out[at]),
                _ => out.clear(),
            }
        }
        assert_eq!(lanes, [1, 3, 1, 1, 2, 2, 2]);
    }

    #[test]
    fn a_large_message_waits_where_only_small_ones_may_go() {
        let mut outbox = Outbox::default();
        let mut out = BytesMut::new();
        outbox.push(1, message(3000));
        assert!(matches!(outbox.take(&mut out, CAPACITY, 0, 0, Allowed::All), Taken::Piece));
        outbox.push(2, message(10));
        outbox.push(3, message(3000));
        outbox.push(DAEMON_LANE, message(1500));
        let mut lanes = Vec::new();
        loop {
            out.clear();
            match outbox.take(&mut out, CAPACITY, 0, 0, Allowed::Small) {
                Taken::Piece => lanes.push(u32::from(out[0])),
                _ => break,
            }
        }
        assert_eq!(lanes, [DAEMON_LANE, DAEMON_LANE, 2]);
        assert_eq!(frames(&mut outbox).len(), 5, "they go on when they may");
    }

    #[test]
    fn small_messages_do_not_pass_the_large_ones_again_and_again() {
        const LARGE: u32 = 1000;
        let mut outbox = Outbox::default();
        for lane in 1..=LARGE {
            outbox.push(lane, message(3000));
        }
        for _ in 0..3 {
            outbox.push(LARGE + 1, message(10));
        }
        let mut out = BytesMut::new();
        for left in [1, 1, 0] {
            assert!(matches!(outbox.take(&mut out, CAPACITY, 0, 0, Allowed::Small), Taken::Piece));
            assert_eq!(outbox.turn.len(), left, "the large ones stand aside");
        }
        assert!(matches!(outbox.take(&mut out, CAPACITY, 0, 0, Allowed::Small), Taken::Nothing));
        let pieces = frames(&mut outbox).into_iter().sum::<usize>();
        assert!(
            (3 * LARGE..4 * LARGE).contains(&u32::try_from(pieces).unwrap()),
            "all go when they may: {pieces}"
        );
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_partly_sent_message_begins_again_in_the_next_view() {
        let mut outbox = Outbox::default();
        outbox.push(1, message(1500));
        let mut out = BytesMut::new();
        assert!(matches!(outbox.take(&mut out, CAPACITY, 0, 0, Allowed::All), Taken::Piece));
        outbox.begin_view();
        assert_eq!(frames(&mut outbox), [1, 1]);
    }

    #[test]
    fn a_blocked_lane_is_told_when_half_is_free() {
        let mut outbox = Outbox::default();
        for _ in 0..4 {
            assert!(outbox.admit(1, 100, 400));
            outbox.push(1, message(100));
        }
        assert!(!outbox.admit(1, 100, 400));
        let mut out = BytesMut::new();
        let _ = outbox.take(&mut out, CAPACITY, 0, 0, Allowed::All);
        assert!(outbox.take_unblocked().is_empty());
        let _ = outbox.take(&mut out, CAPACITY, 0, 0, Allowed::All);
        assert_eq!(outbox.take_unblocked(), [1]);
    }

    #[test]
    fn a_held_lane_begins_when_the_earlier_one_is_empty() {
        let mut outbox = Outbox::default();
        outbox.push(1, message(10));
        outbox.hold(2, 1);
        outbox.hold(3, 2);
        outbox.push(3, message(10));
        let mut out = BytesMut::new();
        let _ = outbox.take(&mut out, CAPACITY, 0, 0, Allowed::All);
        assert_eq!(out[0], 1);
        out.clear();
        let _ = outbox.take(&mut out, CAPACITY, 0, 0, Allowed::All);
        assert_eq!(out[0], 3, "an empty lane in between lets it pass");
        assert!(outbox.is_empty());
    }

    #[test]
    fn sessions_wait_while_only_the_daemon_may_send() {
        let mut outbox = Outbox::default();
        outbox.push(1, message(10));
        let mut out = BytesMut::new();
        assert!(matches!(outbox.take(&mut out, CAPACITY, 0, 0, Allowed::Daemon), Taken::Nothing));
        outbox.push(DAEMON_LANE, message(10));
        assert!(matches!(outbox.take(&mut out, CAPACITY, 0, 0, Allowed::Daemon), Taken::Piece));
        assert!(matches!(outbox.take(&mut out, CAPACITY, 0, 0, Allowed::Daemon), Taken::Nothing));
        outbox.begin_view();
        assert_eq!(frames(&mut outbox), [1]);
    }
}
