//! Large messages travel in pieces; here they come together again (PROTOCOL O8).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::outbox::DAEMON_LANE;
use super::retention::Body;
use crate::error::FrameError;
use crate::wire::{MAX_MESSAGE, Piece};

/// Messages of which the last piece is still missing, by sender and lane. A sender has at most one such message
/// of a session and one of its own at a time, so this holds at most two for each member.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    partial: BTreeMap<(u16, bool), Partial>,
}

#[derive(Debug, Default)]
struct Partial {
    lane: u32,
    parts: Vec<Bytes>,
    len: usize,
}

impl Assembly {
    /// Whether all of `pieces`, a frame of `rank`, can be added: of a frame that breaks a rule nothing is used.
    pub(crate) fn check(&self, rank: u16, pieces: &[Piece]) -> Result<(), FrameError> {
        if pieces.iter().all(Piece::is_whole) {
            return Ok(());
        }
        let mut open = [false, true].map(|own| self.open((rank, own)));
        for piece in pieces {
            let open = &mut open[usize::from(piece.lane == DAEMON_LANE)];
            *open = after(*open, piece)?;
        }
        Ok(())
    }

    /// Takes the next piece of `rank`, which stands in `frame`; gives the whole message if it ends here.
    pub(crate) fn add(
        &mut self,
        rank: u16,
        piece: &Piece,
        frame: &Bytes,
    ) -> Result<Option<Body>, FrameError> {
        if piece.is_whole() {
            return Ok(Some(Body::Whole(piece.body)));
        }
        let key = (rank, piece.lane == DAEMON_LANE);
        let open = after(self.open(key), piece)?;
        let partial = self.partial.entry(key).or_default();
        partial.lane = piece.lane;
        partial.len += piece.body.len();
        if piece.first || piece.last || !mutant!(PieceLost) {
            partial.parts.push(piece.body.of(frame));
        }
        if open.is_some() {
            return Ok(None);
        }
        Ok(self.partial.remove(&key).map(|whole| Body::Parts(whole.parts.into())))
    }

    /// Lane and length of the message that is incomplete.
    fn open(&self, key: (u16, bool)) -> Option<(u32, usize)> {
        self.partial.get(&key).map(|partial| (partial.lane, partial.len))
    }
}

/// Lane and length of what is incomplete after `piece`, if it was `open` before.
fn after(open: Option<(u32, usize)>, piece: &Piece) -> Result<Option<(u32, usize)>, FrameError> {
    if piece.is_whole() {
        return Ok(open);
    }
    if piece.first {
        return match open {
            None => Ok(Some((piece.lane, piece.body.len()))),
            Some(_) => Err(FrameError::Violation("a second message in pieces before the first one ended")),
        };
    }
    let open = open.filter(|(lane, _)| *lane == piece.lane);
    let (lane, len) = open.ok_or(FrameError::Violation("a piece of a message that did not begin"))?;
    let len = len + piece.body.len();
    if len > MAX_MESSAGE || piece.body.is_empty() {
        return Err(FrameError::Violation("a message beyond the largest size, or an empty piece"));
    }
    Ok(if piece.last { None } else { Some((lane, len)) })
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::service::Service;
    use crate::wire::{put_piece_head, read_piece};

    /// A piece, and the frame that it stands in.
    fn piece(lane: u32, first: bool, last: bool, body: &'static str) -> (Piece, Bytes) {
        let mut frame = BytesMut::new();
        put_piece_head(&mut frame, lane, Service::Agreed, first, last, body.len());
        frame.extend_from_slice(body.as_bytes());
        (read_piece(&frame, &mut 0).unwrap(), frame.freeze())
    }

    fn add(
        assembly: &mut Assembly,
        rank: u16,
        (piece, frame): (Piece, Bytes),
    ) -> Result<Option<Body>, FrameError> {
        assembly.add(rank, &piece, &frame)
    }

    #[test]
    fn pieces_of_one_message_may_have_others_between_them() {
        let mut assembly = Assembly::default();
        assert!(add(&mut assembly, 0, piece(1, true, false, "ab")).unwrap().is_none());
        assert!(add(&mut assembly, 0, piece(2, true, true, "x")).unwrap().is_some());
        assert!(add(&mut assembly, 1, piece(1, true, false, "other sender")).unwrap().is_none());
        let whole = add(&mut assembly, 0, piece(1, false, true, "cd")).unwrap().unwrap();
        assert_eq!(whole.join(&Bytes::new()), "abcd");
    }

    #[test]
    fn a_frame_is_checked_as_a_whole() {
        let mut assembly = Assembly::default();
        let pieces = |pieces: &[(Piece, Bytes)]| pieces.iter().map(|(piece, _)| *piece).collect::<Vec<_>>();
        let begin = piece(1, true, false, "ab");
        let begins = pieces(&[begin.clone(), piece(2, true, true, "x"), piece(0, true, false, "own")]);
        assert!(assembly.check(0, &begins).is_ok());
        assert!(assembly.check(0, &[&begins[..], &begins[..1]].concat()).is_err());
        add(&mut assembly, 0, begin).unwrap();
        let ends = pieces(&[piece(1, false, true, "cd"), piece(2, true, false, "y")]);
        assert!(assembly.check(0, &ends).is_ok());
        assert!(assembly.check(0, &begins).is_err());
        assert!(assembly.check(1, &begins).is_ok());
    }

    #[test]
    fn pieces_out_of_place_are_violations() {
        let mut assembly = Assembly::default();
        assert!(add(&mut assembly, 0, piece(1, false, true, "tail")).is_err());
        add(&mut assembly, 0, piece(1, true, false, "head")).unwrap();
        assert!(add(&mut assembly, 0, piece(2, true, false, "second head")).is_err());
    }
}
