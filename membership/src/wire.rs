//! Frames between daemons: a postcard-encoded [`Header`], then raw bytes where the header says so (PROTOCOL W1).
//!
//! A caller of [`Node`](crate::Node) carries frames and need not look into them. This module is public for those that
//! read frames to show them, or write frames to see what a node makes of them.

use bytes::{BufMut, Bytes, BytesMut};
use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

use crate::error::FrameError;
pub use crate::groups::{Body, Origin, SyncPart};
use crate::id::{DaemonId, ViewId};
use crate::service::Service;

/// The largest message, its group header included, that a peer may send in pieces (PROTOCOL W4).
pub(crate) const MAX_MESSAGE: usize = (64 << 20) + 1024;
/// Clocks and epochs beyond this are lies: no honest run counts so far.
pub(crate) const MAX_COUNT: u64 = 1 << 62;
/// A peer's clock beyond this is a lie. Who believed one below it can still count on, and be recovered from.
pub(crate) const MAX_CLOCK: u64 = MAX_COUNT / 2;
/// The most members of a view.
pub(crate) const MAX_MEMBERS: usize = 1024;

/// What a frame is about. [`Header::Data`], [`Header::Resend`] and [`Header::Unreliable`] are followed by raw bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Header {
    /// Pieces of messages follow.
    Data {
        /// The view that they are sent in.
        view: ViewId,
        /// The sender's clock: their place in the order.
        clock: u64,
        /// The sender's horizon.
        horizon: u64,
    },
    /// The sender's clock and horizon, without data.
    Progress {
        /// The view that they belong to.
        view: ViewId,
        /// The sender's clock.
        clock: u64,
        /// The sender's horizon.
        horizon: u64,
    },
    /// What the sender's next view depends on.
    Status(Status),
    /// A proposed view.
    Propose {
        /// Its id.
        id: ViewId,
        /// Its members, sorted.
        members: Vec<DaemonId>,
    },
    /// The answer of a daemon that does not go along.
    Refuse {
        /// The proposed view.
        id: ViewId,
        /// The highest epoch that the daemon knows.
        epoch: u64,
    },
    /// The answer of a daemon that goes along.
    Accept {
        /// The proposed view.
        id: ViewId,
        /// What the daemon holds of its old view.
        state: State,
    },
    /// The answers of all proposed members.
    Recover {
        /// The proposed view.
        id: ViewId,
        /// The answers, in the members' order.
        states: Vec<State>,
    },
    /// A data frame of the old view follows as it was sent.
    Resend {
        /// The proposed view.
        id: ViewId,
        /// Who sent the frame first, by its rank in the old view.
        rank: u16,
        /// The receiver held everything of it up to here before.
        after: u64,
    },
    /// No more resends of this sender.
    ResendEnd {
        /// The proposed view.
        id: ViewId,
        /// The sender's rank in the old view.
        rank: u16,
        /// The receiver held everything of it up to here before.
        after: u64,
        /// Its frames are complete up to here.
        clock: u64,
    },
    /// The sender holds all that the members of its old view need.
    Recovered {
        /// The proposed view.
        id: ViewId,
    },
    /// The sender stops in order.
    Leave,
    /// A sign of life, with the sender's progress.
    Heartbeat {
        /// The sender's view.
        view: ViewId,
        /// Its clock there.
        clock: u64,
        /// Its horizon there.
        horizon: u64,
        /// How many data frames it has sent there.
        sent: u64,
    },
    /// An unreliable message follows.
    Unreliable {
        /// The view that it is sent in.
        view: ViewId,
        /// How many unreliable messages its sender has sent there, with it.
        number: u64,
        /// The lane of its session.
        lane: u32,
    },
}

/// What others need to know about a daemon to agree on views (PROTOCOL V2.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Whom it has links to, itself included; sorted.
    pub linked: Vec<DaemonId>,
    /// Its view.
    pub view: ViewId,
    /// The members of its view; sorted.
    pub members: Vec<DaemonId>,
    /// Whether its view fell.
    pub gathering: bool,
    /// The proposal that it accepted.
    pub attempt: Option<ViewId>,
    /// The highest epoch that it knows.
    pub epoch: u64,
}

/// What a daemon holds of its old view when it accepts a proposal (PROTOCOL V4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The old view.
    pub view: ViewId,
    /// For each rank of the old view, how far its frames are complete.
    pub heard: Vec<u64>,
    /// How far everybody holds everything.
    pub stable: u64,
    /// Ranks of the old view whose messages must not be discarded.
    pub obliged: Vec<u16>,
}

impl Header {
    fn carries_bytes(&self) -> bool {
        matches!(self, Self::Data { .. } | Self::Resend { .. } | Self::Unreliable { .. })
    }

    /// Encodes a frame without raw bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(SHORT_HEADER);
        self.encode_into(&mut out);
        out.freeze()
    }

    /// Appends the header to `out`.
    pub fn encode_into(&self, out: &mut BytesMut) {
        // Headers have an encoding, and the buffer grows.
        let _ = append(self, out);
    }

    /// Splits a frame into its header and what follows.
    ///
    /// # Errors
    /// [`FrameError`] if it does not parse, or breaks a rule that holds whatever its receiver knows.
    pub fn decode(frame: &Bytes) -> Result<(Self, Bytes), FrameError> {
        let (header, rest) =
            postcard::take_from_bytes::<Self>(frame).map_err(|_| FrameError::Malformed("header"))?;
        if !rest.is_empty() && !header.carries_bytes() {
            return Err(FrameError::Malformed("bytes behind a header that takes none"));
        }
        header.check()?;
        let at = frame.len() - rest.len();
        Ok((header, frame.slice(at..)))
    }

    /// Bounds that every frame keeps, whatever state its receiver is in (PROTOCOL W3).
    fn check(&self) -> Result<(), FrameError> {
        let counts: &[u64] = match self {
            Self::Data { view, clock, horizon } | Self::Progress { view, clock, horizon } => {
                &[view.epoch, *clock, *horizon]
            }
            Self::Heartbeat { view, clock, horizon, sent } => &[view.epoch, *clock, *horizon, *sent],
            Self::Status(status) => {
                check_members(&status.linked)?;
                check_members(&status.members)?;
                &[status.epoch, status.view.epoch]
            }
            Self::Propose { id, members } => {
                check_members(members)?;
                if members.binary_search(&id.proposer).is_err() {
                    return Err(FrameError::Violation("a proposal without its proposer"));
                }
                &[id.epoch]
            }
            Self::Refuse { id, epoch } => &[id.epoch, *epoch],
            Self::Accept { id, state } => {
                state.check()?;
                &[id.epoch]
            }
            Self::Recover { id, states } => {
                if states.len() > MAX_MEMBERS {
                    return Err(FrameError::Violation("more states than members"));
                }
                states.iter().try_for_each(State::check)?;
                &[id.epoch]
            }
            Self::ResendEnd { id, after, clock, .. } => &[id.epoch, *after, *clock],
            Self::Resend { id, after, .. } => &[id.epoch, *after],
            Self::Recovered { id } => &[id.epoch],
            Self::Unreliable { view, number, .. } => &[view.epoch, *number],
            Self::Leave => &[],
        };
        if counts.iter().any(|&count| count > MAX_COUNT) {
            return Err(FrameError::Violation("a clock or an epoch beyond reason"));
        }
        Ok(())
    }
}

impl State {
    fn check(&self) -> Result<(), FrameError> {
        let in_range = |rank: &u16| usize::from(*rank) < self.heard.len();
        if self.heard.len() > MAX_MEMBERS || !self.obliged.iter().all(in_range) {
            return Err(FrameError::Violation("a state with ranks out of range"));
        }
        if self.heard.iter().any(|&clock| clock > MAX_COUNT || clock < self.stable) {
            return Err(FrameError::Violation("a state that heard less than what is stable"));
        }
        Ok(())
    }
}

fn check_members(members: &[DaemonId]) -> Result<(), FrameError> {
    if members.is_empty() || members.len() > MAX_MEMBERS {
        return Err(FrameError::Violation("a list of no or too many daemons"));
    }
    if !members.is_sorted_by(|a, b| a < b) {
        return Err(FrameError::Violation("a list of daemons that is not sorted"));
    }
    Ok(())
}

/// What most headers fit into.
const SHORT_HEADER: usize = 96;

/// Appends the postcard encoding of a value to `out`, without anything in between.
///
/// # Errors
/// [`postcard::Error`] if the value has no encoding; `out` then ends with a part of it.
pub fn append(value: &impl Serialize, out: &mut BytesMut) -> postcard::Result<()> {
    postcard::serialize_with_flavor(value, Appender(out))
}

struct Appender<'a>(&'a mut BytesMut);

impl Flavor for Appender<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.put_u8(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.put_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// A message, or a part of one, inside a data frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Whose message: a session of the sending daemon, or 0 for the daemon itself.
    pub lane: u32,
    /// The level of the message.
    pub service: Service,
    /// Whether the message begins here.
    pub first: bool,
    /// Whether the message ends here.
    pub last: bool,
    /// Where the bytes of the message that are in this piece stand in the frame.
    pub body: Span,
}

impl Piece {
    /// Whether it is a whole message, as nearly all are.
    #[inline]
    pub fn is_whole(&self) -> bool {
        self.first && self.last
    }
}

/// A place inside a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    begin: u32,
    end: u32,
}

impl Span {
    /// The number of bytes.
    pub fn len(self) -> usize {
        (self.end - self.begin) as usize
    }

    /// Whether there are no bytes.
    pub fn is_empty(self) -> bool {
        self.begin == self.end
    }

    /// The bytes of this place in `frame`, the one that it was found in. Not a copy.
    #[inline]
    pub fn of(self, frame: &Bytes) -> Bytes {
        frame.slice(self.begin as usize..self.end as usize)
    }
}

/// Bytes that a piece takes in a frame beside its body, at most.
pub(crate) const PIECE_OVERHEAD: usize = 5 + 1 + 5;

const FIRST: u8 = 0x10;
const LAST: u8 = 0x20;

/// Appends the head of a piece; its body follows (PROTOCOL W2).
pub fn put_piece_head(out: &mut BytesMut, lane: u32, service: Service, first: bool, last: bool, len: usize) {
    put_varint(out, u64::from(lane));
    let level = Service::ALL.iter().position(|&s| s == service).unwrap_or_default();
    let level = u8::try_from(level).unwrap_or_default();
    out.put_u8(level | if first { FIRST } else { 0 } | if last { LAST } else { 0 });
    put_varint(out, len as u64);
}

/// Reads the piece that begins at `at` and moves `at` behind it.
///
/// # Errors
/// [`FrameError`] if there is none.
#[inline]
pub fn read_piece(frame: &[u8], at: &mut usize) -> Result<Piece, FrameError> {
    const SHORT: FrameError = FrameError::Malformed("a piece that ends too early");
    let lane = u32::try_from(read_varint(frame, at)?).map_err(|_| FrameError::Malformed("lane"))?;
    let flags = *frame.get(*at).ok_or(SHORT)?;
    *at += 1;
    let service = Service::ALL.get(usize::from(flags & 0x0f)).ok_or(FrameError::Malformed("service"))?;
    if flags & !(FIRST | LAST | 0x0f) != 0 {
        return Err(FrameError::Malformed("piece flags"));
    }
    let len = usize::try_from(read_varint(frame, at)?).map_err(|_| SHORT)?;
    let begin = *at;
    let end = begin.checked_add(len).filter(|end| *end <= frame.len()).ok_or(SHORT)?;
    *at = end;
    let place = |at| u32::try_from(at).map_err(|_| FrameError::Malformed("a frame beyond 4 GiB"));
    let body = Span { begin: place(begin)?, end: place(end)? };
    Ok(Piece { lane, service: *service, first: flags & FIRST != 0, last: flags & LAST != 0, body })
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8((value & 0x7f) as u8);
}

#[inline]
fn read_varint(bytes: &[u8], at: &mut usize) -> Result<u64, FrameError> {
    // Most lanes and many lengths.
    if let Some(&byte) = bytes.get(*at).filter(|byte| **byte < 0x80) {
        *at += 1;
        return Ok(u64::from(byte));
    }
    read_long_varint(bytes, at)
}

fn read_long_varint(bytes: &[u8], at: &mut usize) -> Result<u64, FrameError> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let byte = *bytes.get(*at).ok_or(FrameError::Malformed("a number that ends too early"))?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(FrameError::Malformed("a number that is too long"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_come_out_as_they_went_in(lane: u32, level in 0usize..6, first: bool, last: bool, body: Vec<u8>) {
            let mut out = BytesMut::new();
            put_piece_head(&mut out, lane, Service::ALL[level], first, last, body.len());
            prop_assert!(out.len() <= PIECE_OVERHEAD);
            out.put_slice(&body);
            let (frame, mut at) = (out.freeze(), 0);
            let piece = read_piece(&frame, &mut at).unwrap();
            prop_assert_eq!(piece, Piece { lane, service: Service::ALL[level], first, last, body: piece.body });
            prop_assert_eq!(piece.body.of(&frame), body);
            prop_assert_eq!(at, frame.len());
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            if let Ok((header, _)) = Header::decode(&bytes) {
                let again = header.encode();
                prop_assert_eq!(Header::decode(&again).unwrap().0, header);
            }
            let mut at = 0;
            while at < bytes.len() && read_piece(&bytes, &mut at).is_ok() {}
            prop_assert!(at <= bytes.len());
        }
    }
}
