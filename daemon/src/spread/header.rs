//! The 48 bytes in front of every message, and the byte order that they say they have.

use bytes::{BufMut, BytesMut};

use super::kind::ENDIAN;

/// The bytes of a header.
pub(super) const HEADER: usize = 48;
/// The bytes of a name: up to 31, and zeros behind them.
pub(super) const NAME: usize = 32;
/// Where the length of the payload stands.
pub(super) const LENGTH_AT: usize = 44;

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The type word, without the bits of its byte order.
    pub(super) word: u32,
    /// The private group of the sender, or the group of a membership message.
    pub(super) name: [u8; NAME],
    /// How many names follow.
    pub(super) names: i32,
    /// The sender's mark in the sender's own byte order, passed on as it came.
    pub(super) hint: Hint,
    /// The bytes behind the names.
    pub(super) length: i32,
}

impl Header {
    /// Reads a header in either byte order.
    pub(super) fn read(bytes: &[u8; HEADER]) -> Self {
        let word = four(bytes, 0);
        let little = is_little(word);
        let number = |at| {
            if little { i32::from_le_bytes(four(bytes, at)) } else { i32::from_be_bytes(four(bytes, at)) }
        };
        let mut name = [0; NAME];
        name.copy_from_slice(&bytes[4..4 + NAME]);
        Self {
            word: integer(word) & !ENDIAN,
            name,
            names: number(36),
            hint: Hint(four(bytes, 40)),
            length: number(LENGTH_AT),
        }
    }

    /// Appends the header, little-endian.
    pub(super) fn put(&self, out: &mut BytesMut) {
        out.put_u32_le(self.word | ENDIAN);
        out.put_slice(&self.name);
        out.put_i32_le(self.names);
        out.put_slice(&self.hint.0);
        out.put_i32_le(self.length);
    }
}

/// The word that carries the sender's 16-bit mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hint(pub(super) [u8; 4]);

impl Hint {
    /// The mark of a message that did not come from a Spread program, and of the daemon's own messages.
    pub(super) fn new(mark: u16) -> Self {
        Self((u32::from(mark) << 8 | ENDIAN).to_le_bytes())
    }

    /// Whether nothing but the mark and the byte order is set.
    pub(super) const fn is_valid(self) -> bool {
        self.0[0] & 0x7f == 0 && self.0[3] & 0x7f == 0
    }

    /// The mark.
    pub(super) fn mark(self) -> u16 {
        let [_, high, low, _] = (integer(self.0) & !ENDIAN).to_be_bytes();
        u16::from_be_bytes([high, low])
    }
}

fn is_little(word: [u8; 4]) -> bool {
    u32::from_ne_bytes(word) & u32::from_ne_bytes(ENDIAN.to_le_bytes())
        == u32::from_ne_bytes(ENDIAN.to_le_bytes())
}

/// A word in the byte order that it says it has.
fn integer(word: [u8; 4]) -> u32 {
    if is_little(word) { u32::from_le_bytes(word) } else { u32::from_be_bytes(word) }
}

fn four(bytes: &[u8; HEADER], at: usize) -> [u8; 4] {
    [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(word: [u8; 4], names: [u8; 4], hint: [u8; 4], length: [u8; 4]) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&word);
        bytes[4..7].copy_from_slice(b"#a#");
        bytes[36..40].copy_from_slice(&names);
        bytes[40..44].copy_from_slice(&hint);
        bytes[44..].copy_from_slice(&length);
        bytes
    }

    #[test]
    fn both_byte_orders_are_read_and_little_endian_is_written() {
        let little = bytes([0x90, 0, 0, 0x80], [1, 0, 0, 0], [0x80, 0x2a, 0, 0x80], [5, 0, 0, 0]);
        let header = Header::read(&little);
        assert_eq!((header.word, header.names, header.length), (0x10, 1, 5));
        assert_eq!(header.hint.mark(), 42);
        let mut out = BytesMut::new();
        header.put(&mut out);
        assert_eq!(out, little[..]);

        let big = bytes([0, 0, 0, 4], [0, 0, 0, 1], [0, 0x12, 0x34, 0], [0, 0, 0, 2]);
        let header = Header::read(&big);
        assert_eq!((header.word, header.names, header.length), (4, 1, 2));
        assert_eq!(header.hint.mark(), 0x1234);
        out.clear();
        header.put(&mut out);
        assert_eq!(out, bytes([0x84, 0, 0, 0x80], [1, 0, 0, 0], [0, 0x12, 0x34, 0], [2, 0, 0, 0])[..]);
    }

    #[test]
    fn a_mark_survives_and_other_bits_of_a_hint_are_not_valid() {
        for mark in [0, 1, 0x1234, 0xffff] {
            assert_eq!(Hint::new(mark).mark(), mark);
            assert!(Hint::new(mark).is_valid());
        }
        assert_eq!(Hint::new(42).0, [0x80, 0x2a, 0, 0x80]);
        assert!(Hint([0, 0, 0, 0]).is_valid());
        assert!(!Hint([1, 0, 0, 0]).is_valid() && !Hint([0, 0, 0, 0x40]).is_valid());
    }

    #[test]
    fn negative_numbers_stay_negative() {
        let header = Header::read(&bytes([0x90, 0, 0, 0x80], [0xff; 4], [0; 4], [0xff; 4]));
        assert_eq!((header.names, header.length), (-1, -1));
    }
}
