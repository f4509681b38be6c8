//! What of a Spread message does not fit elsewhere: it travels in the attributes of the content, from door to door.

use bytes::{BufMut, BytesMut};
use stentor_membership::Content;

use super::MAX_DESTINATIONS;
use super::header::{Hint, NAME};
use super::kind;

/// The first byte of the attributes: those of this door.
const SPREAD: u8 = b'S';
/// The kind byte, the word and the hint.
const FIXED: usize = 9;

/// The word and hint of a message as its sender wrote them, and its destinations if some of them are no names here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks<'a> {
    pub(super) word: u32,
    pub(super) hint: Hint,
    /// Whole names as they go over the wire; empty if the content's own say it all.
    pub(super) destinations: &'a [u8],
}

impl<'a> Marks<'a> {
    /// Whether the level, the tag and the destinations of the content say all of it.
    pub(super) fn are_needless(&self) -> bool {
        self.destinations.is_empty()
            && kind::word(kind::service(self.word)) == self.word
            && Hint::new(self.hint.mark()) == self.hint
    }

    /// Appends the attributes.
    pub(super) fn put(&self, out: &mut BytesMut) {
        out.put_u8(SPREAD);
        out.put_u32_le(self.word);
        out.put_slice(&self.hint.0);
        out.put_slice(self.destinations);
    }

    /// What a delivered message is to look like.
    pub(super) fn of(content: &'a Content, service: stentor_membership::Service) -> Self {
        let plain = Self { word: kind::word(service), hint: Hint::new(content.tag()), destinations: &[] };
        Self::parse(content.attributes()).unwrap_or(plain)
    }

    /// Peers do not lie, but a program of another door can put anything there: what no Spread program could have sent
    /// does not count.
    fn parse(attributes: &'a [u8]) -> Option<Self> {
        let (fixed, destinations) = attributes.split_at_checked(FIXED)?;
        let &[SPREAD, a, b, c, d, e, f, g, h] = fixed else { return None };
        let hint = Hint([e, f, g, h]);
        let whole = destinations.len().is_multiple_of(NAME) && destinations.len() / NAME <= MAX_DESTINATIONS;
        let word = kind::relayed(u32::from_le_bytes([a, b, c, d]))?;
        (whole && hint.is_valid()).then_some(Self { word, hint, destinations })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use stentor_membership::Service;

    use super::*;

    fn content(attributes: &[u8]) -> Content {
        let mut out = BytesMut::new();
        Content::put_head(&mut out, &["g"], 7, attributes).unwrap();
        Content::parse(Bytes::from(out)).unwrap()
    }

    #[test]
    fn what_goes_in_comes_out() {
        let names = [b'x'; 2 * NAME];
        let marks = Marks { word: 0x44, hint: Hint([0, 0, 7, 0]), destinations: &names };
        let mut out = BytesMut::new();
        marks.put(&mut out);
        assert_eq!(Marks::of(&content(&out), Service::Agreed), marks);
        assert!(!marks.are_needless());
    }

    #[test]
    fn the_usual_message_needs_none() {
        for word in [kind::RELIABLE, kind::CAUSAL, kind::AGREED, kind::SAFE] {
            assert!(Marks { word, hint: Hint::new(7), destinations: &[] }.are_needless());
        }
        for word in [kind::FIFO, kind::UNRELIABLE, kind::AGREED | kind::SELF_DISCARD] {
            assert!(!Marks { word, hint: Hint::new(7), destinations: &[] }.are_needless());
        }
        let native = Marks::of(&content(b""), Service::Fifo).word;
        assert_eq!(native, kind::FIFO);
    }

    #[test]
    fn what_no_spread_program_could_have_sent_does_not_count() {
        let native = content(b"");
        let plain = Marks::of(&native, Service::Safe);
        let good = Marks { word: kind::FIFO, hint: Hint([0; 4]), destinations: &[] };
        let mut out = BytesMut::new();
        good.put(&mut out);
        for (at, byte) in [(0, b'X'), (1, 0x14), (2, 0x10), (3, 0x40), (5, 1), (8, 1)] {
            let mut bad = out.clone();
            bad[at] = byte;
            assert_eq!(Marks::of(&content(&bad), Service::Safe), plain, "{bad:?}");
        }
        for bad in [&out[..8], &[&out[..], b"short"].concat()] {
            assert_eq!(Marks::of(&content(bad), Service::Safe), plain);
        }
    }
}
