//! Where bytes of a stream are read to.

use bytes::BytesMut;

/// What is allocated for reads at first, and at most at a time.
const CHUNK_FIRST: usize = 4 << 10;
const CHUNK_MAX: usize = 128 << 10;

/// How much more is allocated than the last time, if a read filled all that there was.
const GROWTH: usize = 4;

/// A read asks for at least one of so many parts of a chunk.
const PARTS: usize = 16;

/// Bytes that were read and not yet taken, with room for the next read: little for those who say little, more for those
/// who fill it. What is cut out of a chunk shares it: it lives until the last of that is dropped.
#[derive(Debug, Default)]
pub struct Intake {
    /// What was read and not yet taken.
    pub bytes: BytesMut,
    chunk: usize,
}

impl Intake {
    /// Where to read to: append to it, and touch nothing that is there. It has room for a good read, and if it has to grow
    /// for that, for at least `missing` bytes.
    pub fn space(&mut self, missing: usize) -> &mut BytesMut {
        let free = self.bytes.capacity() - self.bytes.len();
        if self.chunk == 0 || free < self.chunk / PARTS {
            if free == 0 {
                self.chunk = (self.chunk * GROWTH).clamp(CHUNK_FIRST, CHUNK_MAX);
            }
            self.bytes.reserve(missing.max(self.chunk));
        }
        &mut self.bytes
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;

    /// Reads so many bytes, and takes them.
    fn read(intake: &mut Intake, count: usize) -> usize {
        let space = intake.space(0);
        let room = space.capacity() - space.len();
        space.put_bytes(0, count.min(room));
        drop(intake.bytes.split().freeze());
        room
    }

    #[test]
    fn who_says_little_gets_little() {
        let mut intake = Intake::default();
        for _ in 0..1_000 {
            let room = read(&mut intake, 100);
            assert!((CHUNK_FIRST / PARTS..=CHUNK_FIRST).contains(&room), "{room}");
        }
    }

    #[test]
    fn who_fills_it_gets_more() {
        let mut intake = Intake::default();
        let rooms: Vec<usize> = (0..6).map(|_| read(&mut intake, usize::MAX)).collect();
        assert_eq!(rooms[..4], [4 << 10, 16 << 10, 64 << 10, CHUNK_MAX]);
        // The buffer may give more than it is asked for.
        assert!(rooms[4..].iter().all(|room| (CHUNK_MAX..4 * CHUNK_MAX).contains(room)), "{rooms:?}");
        // From then on a good read has room, however little came last.
        for count in [1, 100 << 10, 20 << 10, 7 << 10, 1] {
            assert!(read(&mut intake, count) >= CHUNK_MAX / PARTS, "{count}");
        }
    }

    #[test]
    fn what_is_known_to_come_has_room() {
        let mut intake = Intake::default();
        let space = intake.space(1 << 20);
        assert!(space.capacity() >= 1 << 20);
    }
}
