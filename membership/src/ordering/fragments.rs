//! Large messages travel in pieces; here they come together again (PROTOCOL O8).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::retention::Body;
use crate::error::FrameError;
use crate::wire::{MAX_MESSAGE, Piece};

/// Messages of which the last piece is still missing, by sender and lane. A sender has at most one such message
/// of a session and one of its own at a time, so this holds at most two for each member.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    partial: BTreeMap<(u16, bool), Partial>,
}

#[derive(Debug)]
struct Partial {
    lane: u32,
    parts: Vec<Bytes>,
    len: usize,
}

impl Assembly {
    /// Takes the next piece of `rank`; gives the whole message if it ends here.
    pub(crate) fn add(&mut self, rank: u16, piece: &Piece) -> Result<Option<Body>, FrameError> {
        if piece.first && piece.last {
            return Ok(Some(Body::Whole(piece.body.clone())));
        }
        let key = (rank, piece.lane == 0);
        if piece.first {
            let begun = Partial { lane: piece.lane, parts: vec![piece.body.clone()], len: piece.body.len() };
            return match self.partial.insert(key, begun) {
                None => Ok(None),
                Some(_) => {
                    Err(FrameError::Violation("a second message in pieces before the first one ended"))
                }
            };
        }
        let partial = self.partial.get_mut(&key).filter(|partial| partial.lane == piece.lane);
        let partial = partial.ok_or(FrameError::Violation("a piece of a message that did not begin"))?;
        partial.len += piece.body.len();
        if partial.len > MAX_MESSAGE || piece.body.is_empty() {
            return Err(FrameError::Violation("a message beyond the largest size, or an empty piece"));
        }
        if piece.last || !mutant!(PieceLost) {
            partial.parts.push(piece.body.clone());
        }
        if !piece.last {
            return Ok(None);
        }
        Ok(self.partial.remove(&key).map(|whole| Body::Parts(whole.parts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Service;

    fn piece(lane: u32, first: bool, last: bool, body: &'static str) -> Piece {
        Piece { lane, service: Service::Agreed, first, last, body: body.into() }
    }

    #[test]
    fn pieces_of_one_message_may_have_others_between_them() {
        let mut assembly = Assembly::default();
        assert!(assembly.add(0, &piece(1, true, false, "ab")).unwrap().is_none());
        assert!(assembly.add(0, &piece(2, true, true, "x")).unwrap().is_some());
        assert!(assembly.add(1, &piece(1, true, false, "other sender")).unwrap().is_none());
        let whole = assembly.add(0, &piece(1, false, true, "cd")).unwrap().unwrap();
        assert_eq!(whole.join(), "abcd");
    }

    #[test]
    fn pieces_out_of_place_are_violations() {
        let mut assembly = Assembly::default();
        assert!(assembly.add(0, &piece(1, false, true, "tail")).is_err());
        assembly.add(0, &piece(1, true, false, "head")).unwrap();
        assert!(assembly.add(0, &piece(2, true, false, "second head")).is_err());
    }
}
