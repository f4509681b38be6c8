//! A link: two ends, and what is under way toward each.

use std::collections::VecDeque;

use bytes::Bytes;
use stentor_membership::Timestamp;

/// A link, by number: a later one has a higher number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkId(pub(super) usize);

/// One of the two ends of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Dialer,
    Acceptor,
}

/// What reaches an end of a link.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// The link is up at this end.
    Up,
    /// A frame of the stream, with its number in its direction.
    Frame(u64, Bytes),
    Datagram(Bytes),
    /// The transport noticed that the link ended.
    Down,
}

/// An item under way.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) link: LinkId,
    pub(crate) to: Side,
    /// When it set off.
    pub(crate) sent: Timestamp,
    pub(crate) item: Item,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The end does not know of the link yet.
    Opening,
    Up,
    Closed,
}

/// One end, and the direction toward it.
#[derive(Debug)]
pub(super) struct End {
    pub(super) host: usize,
    pub(super) process: usize,
    pub(super) state: State,
    /// Frames sent toward this end.
    pub(super) sent: u64,
    /// Frames that arrived here.
    pub(super) arrived: u64,
    /// Frames from this number on are lost.
    pub(super) lost_from: u64,
    /// When the last frame toward this end arrives: links keep the order.
    pub(super) last_arrival: Timestamp,
    /// Frames that wait for a blocked direction.
    pub(super) held: VecDeque<(u64, Bytes)>,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) dialer: End,
    pub(super) acceptor: End,
}

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Acceptor,
            Self::Acceptor => Self::Dialer,
        }
    }
}

impl Link {
    pub(super) fn end(&self, side: Side) -> &End {
        match side {
            Side::Dialer => &self.dialer,
            Side::Acceptor => &self.acceptor,
        }
    }

    pub(super) fn end_mut(&mut self, side: Side) -> &mut End {
        match side {
            Side::Dialer => &mut self.dialer,
            Side::Acceptor => &mut self.acceptor,
        }
    }
}

impl End {
    pub(super) fn new(host: usize, process: usize, now: Timestamp) -> Self {
        Self {
            host,
            process,
            state: State::Opening,
            sent: 0,
            arrived: 0,
            lost_from: u64::MAX,
            last_arrival: now,
            held: VecDeque::new(),
        }
    }
}
