//! Memory for bytes that gather and are then given away.

use bytes::{Bytes, BytesMut};

/// A run is given away in its memory if that is at most so many times as large, and else copied out of it: a program that
/// reads slowly holds little more than what counts against its bound.
const MEMORY_MAX: usize = 4;

/// Gathers one run of bytes after the other. It expects the next run to be about as long as the last one, so that runs
/// do not grow by copying again and again.
#[derive(Debug, Default)]
pub(super) struct RunBuffer {
    bytes: BytesMut,
    /// Bytes of the last run.
    last: usize,
}

impl RunBuffer {
    /// Where to append.
    pub(super) fn space(&mut self) -> &mut BytesMut {
        if self.bytes.is_empty() {
            self.bytes.reserve(self.last + self.last / 8);
        }
        &mut self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Gives the run away, and begins the next one.
    pub(super) fn take(&mut self) -> Bytes {
        self.last = self.bytes.len();
        if self.bytes.capacity() <= self.bytes.len() * MEMORY_MAX {
            // Not what is left of its memory: that would be held as long as the run.
            return std::mem::take(&mut self.bytes).freeze();
        }
        let run = Bytes::copy_from_slice(&self.bytes);
        self.bytes.clear();
        run
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;

    fn capacity_of(run: Bytes) -> usize {
        run.try_into_mut().unwrap().capacity()
    }

    #[test]
    fn a_run_like_the_one_before_is_not_moved_as_it_grows() {
        let mut buffer = RunBuffer::default();
        buffer.space().put_slice(&[1; 10_000]);
        assert_eq!(buffer.take().len(), 10_000);
        buffer.space().put_u8(1);
        let at = buffer.space().as_ptr();
        buffer.space().put_slice(&[1; 11_000]);
        assert_eq!(buffer.space().as_ptr(), at);
        assert!(capacity_of(buffer.take()) < 20_000);
    }

    #[test]
    fn a_short_run_does_not_hold_the_memory_of_a_long_one() {
        let mut buffer = RunBuffer::default();
        buffer.space().put_slice(&[1; 64 << 10]);
        drop(buffer.take());
        for _ in 0..3 {
            buffer.space().put_slice(b"short");
            let run = buffer.take();
            assert_eq!(run, "short");
            assert!(capacity_of(run) < 64);
        }
    }
}
