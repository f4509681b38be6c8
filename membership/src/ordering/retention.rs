//! Frames that are not known to be everywhere: kept for delivery and for recovery (PROTOCOL O6).

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound::{Excluded, Included};

use bytes::Bytes;

use crate::service::Service;
use crate::time::Timestamp;
use crate::wire::{Piece, Span};

/// A received or sent data frame.
#[derive(Debug)]
pub(crate) struct Stored {
    /// The whole frame as it was sent, for those that will lack it.
    pub(crate) bytes: Bytes,
    pub(crate) entries: Vec<Entry>,
}

/// A piece of a stored frame.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) lane: u32,
    pub(crate) service: Service,
    pub(crate) state: EntryState,
}

impl Entry {
    /// Of a piece that is a whole message.
    pub(crate) fn of_whole(piece: &Piece) -> Self {
        Self { lane: piece.lane, service: piece.service, state: EntryState::Waiting(Body::Whole(piece.body)) }
    }
}

/// What is left to do about a piece.
#[derive(Debug)]
pub(crate) enum EntryState {
    /// Its message ends in a later piece.
    Partial,
    /// Its message is complete and waits for its place.
    Waiting(Body),
    /// Delivered or discarded.
    Done,
}

/// A complete message.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// It stands in the frame that it ends in.
    Whole(Span),
    /// It came in several frames.
    Parts(Box<[Bytes]>),
}

impl Body {
    /// The message in one piece, which ends in `frame`; copies only what came in several.
    #[inline]
    pub(crate) fn join(self, frame: &Bytes) -> Bytes {
        match self {
            Self::Whole(span) => span.of(frame),
            Self::Parts(parts) => parts.concat().into(),
        }
    }
}

/// All frames of a view above `stable`, by place in the total order.
#[derive(Debug, Default)]
pub(crate) struct Retention {
    frames: BTreeMap<(u64, u16), Stored>,
    bytes: usize,
    own: u16,
    own_bytes: usize,
    /// The own frames of them: clock, and when it was made.
    own_made: VecDeque<(u64, Timestamp)>,
}

impl Retention {
    pub(crate) fn new(own: u16) -> Self {
        Self { own, ..Self::default() }
    }

    /// Bytes of all kept frames.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of this daemon's own kept frames.
    pub(crate) fn own_bytes(&self) -> usize {
        self.own_bytes
    }

    /// When the oldest of this daemon's own kept frames was made.
    pub(crate) fn oldest_own(&self) -> Option<Timestamp> {
        self.own_made.front().map(|&(_, made)| made)
    }

    /// The own frame with `clock` was made now.
    pub(crate) fn note_own(&mut self, clock: u64, now: Timestamp) {
        self.own_made.push_back((clock, now));
    }

    pub(crate) fn insert(&mut self, clock: u64, rank: u16, frame: Stored) {
        self.bytes += frame.bytes.len();
        if rank == self.own {
            self.own_bytes += frame.bytes.len();
        }
        let before = self.frames.insert((clock, rank), frame);
        debug_assert!(before.is_none(), "frame {clock}.{rank} was here");
    }

    /// Frames from `clock` and `rank` on, in order.
    pub(crate) fn from(&mut self, clock: u64, rank: u16) -> impl Iterator<Item = (u64, u16, &mut Stored)> {
        self.frames.range_mut((clock, rank)..).map(|(&(clock, rank), frame)| (clock, rank, frame))
    }

    /// The frames of `rank` with `after < clock <= upto`, in order.
    pub(crate) fn between(&self, rank: u16, after: u64, upto: u64) -> impl Iterator<Item = (u64, &Bytes)> {
        self.range(after, upto)
            .filter(move |((_, r), _)| *r == rank)
            .map(|((clock, _), frame)| (*clock, &frame.bytes))
    }

    /// Bytes of the frames of others with `after < clock <= upto`.
    pub(crate) fn bytes_of_others(&self, after: u64, upto: u64) -> usize {
        let others = self.range(after, upto).filter(|((_, rank), _)| *rank != self.own);
        others.map(|(_, frame)| frame.bytes.len()).sum()
    }

    fn range(&self, after: u64, upto: u64) -> impl Iterator<Item = (&(u64, u16), &Stored)> {
        self.frames.range((Excluded((after, u16::MAX)), Included((upto.max(after), u16::MAX))))
    }

    /// Drops what is everywhere. Delivery must be past it.
    pub(crate) fn forget(&mut self, stable: u64) {
        while self.own_made.pop_front_if(|(clock, _)| *clock <= stable).is_some() {}
        while let Some(first) = self.frames.first_entry() {
            let (clock, rank) = *first.key();
            let done = || first.get().entries.iter().all(|entry| matches!(entry.state, EntryState::Done));
            if clock > stable && !(mutant!(DeliveredForgotten) && done()) {
                break;
            }
            let size = first.remove().bytes.len();
            self.bytes -= size;
            if rank == self.own {
                self.own_bytes -= size;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(size: usize) -> Stored {
        Stored { bytes: vec![0; size].into(), entries: Vec::new() }
    }

    #[test]
    fn own_and_all_bytes_are_counted_until_stable() {
        let mut kept = Retention::new(1);
        kept.insert(1, 0, frame(10));
        kept.insert(2, 1, frame(20));
        kept.insert(3, 0, frame(30));
        kept.note_own(2, Timestamp::from_nanos(5));
        assert_eq!((kept.bytes(), kept.own_bytes()), (60, 20));
        assert_eq!(kept.between(0, 1, 3).map(|(clock, _)| clock).collect::<Vec<_>>(), [3]);
        assert_eq!(kept.between(0, 3, 3).count(), 0);
        assert_eq!(
            (kept.bytes_of_others(0, 3), kept.bytes_of_others(1, 3), kept.bytes_of_others(3, 3)),
            (40, 30, 0)
        );
        kept.forget(1);
        assert_eq!(kept.oldest_own(), Some(Timestamp::from_nanos(5)));
        kept.forget(2);
        assert_eq!(kept.oldest_own(), None);
        assert_eq!((kept.bytes(), kept.own_bytes()), (30, 0));
    }
}
