//! Order inside one view: no token and no sequencer, only clocks (PROTOCOL O).

mod clock;
mod delivery;
mod fragments;
mod outbox;
mod retention;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use self::clock::Clocks;
use self::delivery::Delivering;
pub(crate) use self::delivery::{Delivery, Ending};
use self::fragments::Assembly;
pub(crate) use self::outbox::{Allowed, DAEMON_LANE, Outbox, Outgoing, Taken};
use self::retention::{Entry, EntryState, Retention, Stored};
use crate::error::FrameError;
use crate::id::{DaemonId, Position, ViewId};
use crate::service::Service;
use crate::time::Timestamp;
use crate::wire::{Header, MAX_CLOCK, Piece, read_piece};

/// The ordering of one view: from its install to the install of the next one.
#[derive(Debug)]
pub(crate) struct Ordering {
    view: ViewId,
    members: Arc<[DaemonId]>,
    me: u16,
    clocks: Clocks,
    frames: Retention,
    delivering: Delivering,
    assembly: Assembly,
    /// Data frames from each rank.
    received: Vec<u64>,
    /// The last frame that is here from each rank.
    latest: Vec<u64>,
    /// Ranks whose link broke since the install: nothing they say on a later link counts here (PROTOCOL V3.2).
    lost: BTreeSet<u16>,
    /// The view was given up for good (PROTOCOL V3.3).
    frozen: bool,
    /// The highest clocks of frames with ordered and with Safe messages.
    ordered_to: u64,
    safe_to: u64,
    /// Bytes received since my last frame.
    unanswered: usize,
    /// Bytes of others that came in before my last frame, and under my horizon after it.
    unconfirmed: usize,
    /// The horizon up to which they are counted.
    counted_to: u64,
    /// The highest clock of a data frame when I sent my last frame.
    answered_to: u64,
    /// Data frames since the last one with a message that fits a frame.
    since_small: u64,
    /// The pieces of the frame that is taken in: empty in between, so that its memory serves the next one.
    pieces: Vec<Piece>,
}

/// A larger frame's memory for pieces is given back.
const PIECES_KEPT: usize = 4096;

/// A message that fits a frame is remembered for so many data frames.
const SMALL_REMEMBERED: u64 = 4096;

/// Whether the others wait for my clock and horizon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// They know all.
    Nothing,
    /// Only their memory waits for it (PROTOCOL O4.2).
    Lazy,
    /// Deliveries wait for it (PROTOCOL O4.1).
    Now,
}

impl Ordering {
    pub(crate) fn new(view: ViewId, members: Arc<[DaemonId]>, me: DaemonId) -> Self {
        let rank = members.binary_search(&me).unwrap_or_default();
        let count = members.len();
        let rank = narrow(rank);
        Self {
            view,
            me: rank,
            clocks: Clocks::new(count, usize::from(rank)),
            frames: Retention::new(rank),
            delivering: Delivering::default(),
            assembly: Assembly::default(),
            received: vec![0; count],
            latest: vec![0; count],
            lost: BTreeSet::new(),
            frozen: false,
            ordered_to: 0,
            safe_to: 0,
            unanswered: 0,
            unconfirmed: 0,
            counted_to: 0,
            answered_to: 0,
            since_small: u64::MAX,
            pieces: Vec::new(),
            members,
        }
    }

    pub(crate) fn view(&self) -> ViewId {
        self.view
    }

    pub(crate) fn members(&self) -> &Arc<[DaemonId]> {
        &self.members
    }

    pub(crate) fn rank_of(&self, daemon: DaemonId) -> Option<u16> {
        self.members.binary_search(&daemon).ok().map(narrow)
    }

    pub(crate) fn member(&self, rank: u16) -> DaemonId {
        self.members[usize::from(rank)]
    }

    pub(crate) fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen
    }

    pub(crate) fn has_lost_links(&self) -> bool {
        !self.lost.is_empty()
    }

    pub(crate) fn own_bytes(&self) -> usize {
        self.frames.own_bytes()
    }

    /// Whether somebody sends messages that fit a frame: large ones then leave them room (PROTOCOL F4).
    pub(crate) fn has_small_ones(&self) -> bool {
        self.since_small < SMALL_REMEMBERED
    }

    /// When the oldest own frame was made that not everybody has confirmed.
    pub(crate) fn oldest_own(&self) -> Option<Timestamp> {
        self.frames.oldest_own()
    }

    pub(crate) fn retained_bytes(&self) -> usize {
        self.frames.bytes()
    }

    pub(crate) fn discarded(&self) -> u64 {
        self.delivering.discarded()
    }

    /// The link to a member broke: a later one begins behind a hole (PROTOCOL V3.2).
    pub(crate) fn lose_link(&mut self, daemon: DaemonId) {
        if let Some(rank) = self.rank_of(daemon).filter(|&rank| rank != self.me && !mutant!(BrokenLinkReused))
        {
            self.lost.insert(rank);
        }
    }

    /// From now on only resends change what is here (PROTOCOL V3.3).
    pub(crate) fn freeze(&mut self) {
        self.frozen = true;
    }

    /// What must never happen.
    #[cfg(stentor_mutants)]
    pub(crate) fn thaw(&mut self) {
        self.frozen = false;
    }

    /// The members that data and progress of this view go to.
    pub(crate) fn receivers(&self) -> impl Iterator<Item = DaemonId> {
        let ranks =
            (0..narrow(self.members.len())).filter(|rank| *rank != self.me && !self.lost.contains(rank));
        ranks.map(|rank| self.member(rank))
    }

    /// Gives back the memory of a burst.
    pub(crate) fn shrink(&mut self) {
        self.delivering.shrink();
    }

    /// The next message that is due.
    pub(crate) fn next_delivery(&mut self) -> Option<Delivery> {
        self.delivering.next()
    }

    /// A data frame came on the link from `from`; its pieces begin at `head`.
    pub(crate) fn receive(
        &mut self,
        from: DaemonId,
        clock: u64,
        horizon: u64,
        frame: Bytes,
        head: usize,
    ) -> Result<(), FrameError> {
        let Some(rank) = self.open_link(from, clock)? else { return Ok(()) };
        if clock <= self.clocks.heard()[usize::from(rank)] {
            return Err(FrameError::Violation("a data frame with a clock that is not above the last one"));
        }
        self.check_horizon(horizon)?;
        self.store(rank, clock, frame, head)?;
        self.received[usize::from(rank)] += 1;
        self.clocks.receive(usize::from(rank), clock);
        self.clocks.see(usize::from(rank), horizon);
        self.advance();
        Ok(())
    }

    /// A member announced its clock and horizon. `sent`, if known, is how many data frames it sent before: if some
    /// are not here yet, its clock does not count yet (PROTOCOL O4.4).
    pub(crate) fn progress(
        &mut self,
        from: DaemonId,
        clock: u64,
        horizon: u64,
        sent: Option<u64>,
    ) -> Result<(), FrameError> {
        let broken = || self.rank_of(from).filter(|_| mutant!(ClockAfterBreak) && !self.frozen);
        let Some(rank) = self.open_link(from, clock)?.or_else(broken) else { return Ok(()) };
        self.check_horizon(horizon)?;
        let stale = mutant!(ClockAfterBreak) && self.lost.contains(&rank);
        let rank = usize::from(rank);
        let all_here = |sent| sent <= self.received[rank] || mutant!(HeartbeatBelieved);
        if stale || sent.is_none_or(all_here) {
            self.clocks.hear(rank, clock);
        }
        self.clocks.see(rank, horizon);
        self.advance();
        Ok(())
    }

    /// Packs what waits into one data frame. Unreliable messages of at most `single` bytes come out beside it.
    pub(crate) fn make_frame(
        &mut self,
        outbox: &mut Outbox,
        capacity: usize,
        single: usize,
        allowed: Allowed,
        now: Timestamp,
    ) -> (Option<Bytes>, Vec<(u32, Outgoing)>) {
        let mut singles = Vec::new();
        if self.frozen || outbox.is_empty() {
            return (None, singles);
        }
        let mut out = BytesMut::with_capacity(capacity.min(outbox.bytes() + 256));
        let (clock, horizon) = (self.clocks.next(), self.horizon_after_tick());
        Header::Data { view: self.view, clock, horizon }.encode_into(&mut out);
        let head = out.len();
        loop {
            match outbox.take(&mut out, capacity, head, single, allowed) {
                Taken::Piece => {}
                Taken::Single { lane, message } => singles.push((lane, message)),
                Taken::Nothing => break,
            }
        }
        if out.len() == head {
            return (None, singles);
        }
        self.clocks.tick();
        let frame = out.freeze();
        let stored = self.store(self.me, clock, frame.clone(), head);
        debug_assert!(stored.is_ok(), "an own frame must parse: {stored:?}");
        self.frames.note_own(clock, now);
        self.clocks.announce();
        self.received[usize::from(self.me)] += 1;
        self.advance();
        self.note_told();
        (Some(frame), singles)
    }

    /// A frame of mine goes out, with clock and horizon.
    fn note_told(&mut self) {
        (self.unanswered, self.unconfirmed, self.answered_to) = (0, 0, self.clocks.newest());
    }

    /// How urgently the others wait for [`announce`](Self::announce) (PROTOCOL O4).
    pub(crate) fn urgency(&self, lazy_bytes: usize) -> Urgency {
        let ((clock, horizon), (told_clock, told_horizon)) = (self.clocks.news(), self.clocks.announced());
        if self.frozen || self.members.len() == 1 || (clock == told_clock && horizon == told_horizon) {
            return Urgency::Nothing;
        }
        let clock_waited = told_clock < self.ordered_to && clock > told_clock;
        let horizon_waited = told_horizon < self.safe_to && horizon > told_horizon;
        if clock_waited || horizon_waited || self.unanswered + self.unconfirmed >= lazy_bytes {
            return Urgency::Now;
        }
        Urgency::Lazy
    }

    /// A frame with clock and horizon, to all.
    pub(crate) fn announce(&mut self) -> Bytes {
        self.clocks.go_ahead();
        let (clock, horizon) = self.clocks.announce();
        self.note_told();
        Header::Progress { view: self.view, clock, horizon }.encode()
    }

    /// Clock, horizon and number of own data frames, for a heartbeat.
    pub(crate) fn heartbeat(&self) -> Header {
        // What a frozen view holds is the business of its recovery alone (PROTOCOL V3.3).
        let (clock, horizon) = if self.frozen { self.clocks.announced() } else { self.clocks.news() };
        let sent = self.received[usize::from(self.me)];
        Header::Heartbeat { view: self.view, clock, horizon, sent }
    }

    /// The frames of `rank` beyond `after`, up to `upto`, each with its clock.
    pub(crate) fn frames_between(
        &self,
        rank: u16,
        after: u64,
        upto: u64,
    ) -> impl Iterator<Item = (u64, &Bytes)> {
        self.frames.between(rank, after, upto)
    }

    /// A frame of `rank` that another member resent; the sender of the resend knows everything up to `after` to be here
    /// (PROTOCOL V5.2). `finals` is, for each rank, up to where anybody holds its frames.
    pub(crate) fn insert_resent(
        &mut self,
        rank: u16,
        after: u64,
        frame: Bytes,
        finals: &[u64],
    ) -> Result<(), FrameError> {
        let (header, pieces) = Header::decode(&frame)?;
        let head = frame.len() - pieces.len();
        let Header::Data { view, clock, .. } = header else {
            return Err(FrameError::Violation("a resend of something else than data"));
        };
        let heard = self.heard_of(rank)?;
        if view != self.view || clock <= after || after > heard || clock > finals[usize::from(rank)] {
            return Err(FrameError::Violation("a resend that does not fit what is here"));
        }
        if clock > heard {
            match self.store(rank, clock, frame, head) {
                // It fits at the one that passes it on and not here: its first sender said different things to different
                // daemons. It counts as empty, so that this costs the others nothing.
                Err(FrameError::Violation(_)) => {}
                stored => stored?,
            }
            self.clocks.fill(usize::from(rank), clock);
        }
        Ok(())
    }

    /// The resends of `rank` are complete up to `clock`.
    pub(crate) fn end_resends(
        &mut self,
        rank: u16,
        after: u64,
        clock: u64,
        finals: &[u64],
    ) -> Result<(), FrameError> {
        if after > self.heard_of(rank)? || clock > finals[usize::from(rank)] {
            return Err(FrameError::Violation("an end of resends that does not fit what is here"));
        }
        self.clocks.fill(usize::from(rank), clock);
        Ok(())
    }

    /// Delivers what regular configuration allows at the end (PROTOCOL V6.1).
    pub(crate) fn finish_regular(&mut self, ending: &Ending) {
        let stable = if mutant!(SafeAtEnd) { ending.horizon } else { ending.stable };
        self.delivering.advance(&mut self.frames, ending.horizon, stable);
    }

    /// Delivers what the transitional configuration allows (PROTOCOL V6.2).
    pub(crate) fn finish_transitional(&mut self, ending: &Ending) {
        self.delivering.finish(&mut self.frames, ending);
    }

    /// Panics if the numbers contradict each other.
    pub(crate) fn check_invariants(&self) {
        let stable = self.clocks.stable();
        assert!(stable <= self.clocks.horizon(), "stable beyond the horizon");
        assert!(self.clocks.horizon() <= self.clocks.clock(), "horizon beyond the clock");
        let (told_clock, told_horizon) = self.clocks.announced();
        assert!(
            told_clock <= self.clocks.clock() && told_horizon <= self.clocks.horizon(),
            "announced the future"
        );
        for (latest, heard) in self.latest.iter().zip(self.clocks.heard()) {
            assert!(latest <= heard, "a frame beyond what was heard");
        }
    }

    /// The rank behind a link, if what it says of this view counts.
    fn open_link(&self, from: DaemonId, clock: u64) -> Result<Option<u16>, FrameError> {
        if clock > MAX_CLOCK {
            return Err(FrameError::Violation("a clock beyond reason"));
        }
        let rank = self.rank_of(from).ok_or(FrameError::Violation("data of a view without its sender"))?;
        Ok(((!self.frozen || mutant!(DataAfterFreeze)) && !self.lost.contains(&rank)).then_some(rank))
    }

    fn check_horizon(&self, horizon: u64) -> Result<(), FrameError> {
        if horizon > self.clocks.clock() {
            return Err(FrameError::Violation("a horizon beyond what was sent"));
        }
        Ok(())
    }

    fn heard_of(&self, rank: u16) -> Result<u64, FrameError> {
        let heard = self.clocks.heard().get(usize::from(rank)).copied();
        heard.ok_or(FrameError::Violation("a rank beyond the view"))
    }

    fn horizon_after_tick(&self) -> u64 {
        let others = self.clocks.heard().iter().enumerate().filter(|(rank, _)| *rank != usize::from(self.me));
        others.map(|(_, &heard)| heard).fold(self.clocks.next(), u64::min)
    }

    /// Takes a frame in: its pieces, from `head` on, wait or are due.
    fn store(&mut self, rank: u16, clock: u64, frame: Bytes, head: usize) -> Result<(), FrameError> {
        let mut pieces = std::mem::take(&mut self.pieces);
        let stored = read_pieces(&frame, head, &mut pieces)
            .and_then(|()| self.assembly.check(rank, &pieces))
            .and_then(|()| self.store_pieces(rank, clock, frame, &pieces));
        pieces.clear();
        pieces.shrink_to(PIECES_KEPT);
        self.pieces = pieces;
        stored
    }

    fn store_pieces(
        &mut self,
        rank: u16,
        clock: u64,
        frame: Bytes,
        pieces: &[Piece],
    ) -> Result<(), FrameError> {
        let mut entries: Vec<_> = pieces.iter().map(Entry::of_whole).collect();
        self.since_small = self.since_small.saturating_add(1);
        for (index, (piece, entry)) in (0u32..).zip(pieces.iter().zip(&mut entries)) {
            if !piece.is_whole() {
                entry.state = match self.assembly.add(rank, piece, &frame)? {
                    Some(body) => EntryState::Waiting(body),
                    None => EntryState::Partial,
                };
            } else if piece.lane != DAEMON_LANE {
                self.since_small = 0;
            }
            self.delivering.receive(entry, &frame, Position { clock, rank, index });
            if matches!(entry.state, EntryState::Waiting(_)) {
                self.ordered_to = self.ordered_to.max(clock);
                if entry.service == Service::Safe {
                    self.safe_to = self.safe_to.max(clock);
                }
            }
        }
        self.unanswered += frame.len();
        self.latest[usize::from(rank)] = clock;
        self.frames.insert(clock, rank, Stored { bytes: frame, entries });
        Ok(())
    }

    fn advance(&mut self) {
        self.clocks.advance();
        let horizon = self.clocks.horizon();
        if horizon > self.counted_to {
            self.unconfirmed += self.frames.bytes_of_others(self.counted_to, horizon.min(self.answered_to));
            self.counted_to = horizon;
        }
        self.delivering.advance(&mut self.frames, horizon, self.clocks.stable());
        #[cfg(stentor_mutants)]
        if mutant!(TieByArrival) {
            self.delivering.break_ties(self.me);
        }
        if !mutant!(NothingForgotten) {
            self.frames.forget(self.clocks.stable());
        }
    }
}

fn read_pieces(frame: &[u8], head: usize, out: &mut Vec<Piece>) -> Result<(), FrameError> {
    let mut at = head;
    while at < frame.len() {
        out.push(read_piece(frame, &mut at)?);
    }
    if out.is_empty() {
        return Err(FrameError::Malformed("a data frame without data"));
    }
    Ok(())
}

/// A rank or a count of members; views have at most [`MAX_MEMBERS`](crate::wire::MAX_MEMBERS).
fn narrow(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}
