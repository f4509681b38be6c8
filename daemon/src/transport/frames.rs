//! From a stream of bytes to the frames of a link: a length (`u32`, little-endian) and as many bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

/// The bytes of a frame's length.
pub(crate) const LENGTH: usize = 4;

/// The largest frame of a link. Data frames are far smaller; what daemons tell each other when they agree on a view
/// grows with their number, and stays below this for thousands.
pub(crate) const FRAME_MAX: usize = 4 << 20;

/// A frame above the limit, known from its length: nothing of it is allocated.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("frame of {size} bytes: at most {limit} are allowed here")]
pub(crate) struct Oversize {
    size: usize,
    limit: usize,
}

/// Cuts chunks of a stream into frames. A frame inside one chunk is a slice of it; others are put together.
#[derive(Debug)]
pub(crate) struct Assembler {
    limit: usize,
    /// The beginning of the frame that is not complete yet, its length included.
    partial: BytesMut,
}

impl Assembler {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, partial: BytesMut::new() }
    }

    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes the next chunk and appends the frames that it completes to `out`.
    ///
    /// # Errors
    /// [`Oversize`]: the stream is of no more use.
    pub(crate) fn push(&mut self, mut chunk: Bytes, out: &mut Vec<Bytes>) -> Result<(), Oversize> {
        while !chunk.is_empty() {
            if self.partial.is_empty() {
                match self.claimed(&chunk)? {
                    Some(size) if chunk.len() >= LENGTH + size => {
                        chunk.advance(LENGTH);
                        out.push(chunk.split_to(size));
                        continue;
                    }
                    Some(size) => self.partial.reserve(LENGTH + size),
                    None => {}
                }
                self.partial.extend_from_slice(&chunk);
                return Ok(());
            }
            if self.partial.len() < LENGTH {
                self.fill_to(LENGTH, &mut chunk);
            }
            let Some(size) = self.claimed(&self.partial)? else { return Ok(()) };
            self.fill_to(LENGTH + size, &mut chunk);
            if self.partial.len() == LENGTH + size {
                let mut frame = self.partial.split().freeze();
                frame.advance(LENGTH);
                out.push(frame);
            }
        }
        Ok(())
    }

    fn fill_to(&mut self, length: usize, chunk: &mut Bytes) {
        let missing = length.saturating_sub(self.partial.len()).min(chunk.len());
        self.partial.reserve(length.saturating_sub(self.partial.len()));
        self.partial.extend_from_slice(&chunk.split_to(missing));
    }

    fn claimed(&self, bytes: &[u8]) -> Result<Option<usize>, Oversize> {
        let Some(length) = bytes.first_chunk::<LENGTH>() else { return Ok(None) };
        let size = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if size > self.limit { Err(Oversize { size, limit: self.limit }) } else { Ok(Some(size)) }
    }
}

/// Frames below this are copied together: the copy costs less than a chunk of its own.
const COPY_MAX: usize = 4 << 10;

/// Writes `frames` as chunks of a stream. Large ones are shared, not copied.
///
/// # Errors
/// [`Oversize`] if a frame is larger than any peer takes.
pub(crate) fn join(frames: impl Iterator<Item = Bytes>, out: &mut Vec<Bytes>) -> Result<(), Oversize> {
    let mut copied = BytesMut::new();
    for frame in frames {
        let length = u32::try_from(frame.len()).ok().filter(|_| frame.len() <= FRAME_MAX);
        let length = length.ok_or(Oversize { size: frame.len(), limit: FRAME_MAX })?;
        let is_small = frame.len() <= COPY_MAX;
        copied.reserve(LENGTH + if is_small { frame.len() } else { 0 });
        copied.put_u32_le(length);
        if is_small {
            copied.extend_from_slice(&frame);
        } else {
            out.push(copied.split().freeze());
            out.push(frame);
        }
    }
    if !copied.is_empty() {
        out.push(copied.freeze());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Vec<Bytes> {
        [0, 1, 3, 4, 5, 100, COPY_MAX, COPY_MAX + 1, 70_000, 2]
            .iter()
            .enumerate()
            .map(|(i, len)| Bytes::from(vec![u8::try_from(i).unwrap(); *len]))
            .collect()
    }

    #[test]
    fn frames_survive_any_cut_of_their_stream() {
        let mut chunks = Vec::new();
        join(sample().into_iter(), &mut chunks).unwrap();
        let stream = Bytes::from(chunks.concat());
        for step in [1, 2, 3, 5, 7, 64, 1200, 4096, 65_536, stream.len()] {
            let mut assembler = Assembler::new(FRAME_MAX);
            let mut frames = Vec::new();
            for at in (0..stream.len()).step_by(step) {
                assembler.push(stream.slice(at..stream.len().min(at + step)), &mut frames).unwrap();
            }
            assert_eq!(frames, sample(), "step {step}");
        }
    }

    proptest! {
        #[test]
        fn any_stream_in_any_chunks_gives_the_same_frames_or_is_refused(
            chunks in vec(vec(any::<u8>().prop_map(|b| b % 8), 0..40), 0..20),
        ) {
            let read = |chunks: &[Vec<u8>]| {
                let (mut assembler, mut frames) = (Assembler::new(1 << 10), Vec::new());
                let mut push = |chunk: &Vec<u8>| assembler.push(Bytes::copy_from_slice(chunk), &mut frames);
                let result = chunks.iter().try_for_each(&mut push);
                (result, frames, assembler.partial.len())
            };
            let (result, frames, waiting) = read(&chunks);
            let whole = read(&[chunks.concat()]);
            prop_assert_eq!(&frames, &whole.1);
            prop_assert_eq!(&result, &whole.0);
            let taken: usize = frames.iter().map(|frame| LENGTH + frame.len()).sum();
            prop_assert!(result.is_err() || taken + waiting == chunks.concat().len(), "nothing is lost");
        }
    }

    #[test]
    fn a_frame_inside_a_chunk_is_not_copied() {
        let chunk = Bytes::from([&[3, 0, 0, 0][..], b"abc", &[1, 0, 0, 0], b"d"].concat());
        let mut frames = Vec::new();
        Assembler::new(8).push(chunk.clone(), &mut frames).unwrap();
        assert_eq!(frames, ["abc", "d"]);
        assert_eq!(frames[0].as_ptr(), chunk[4..].as_ptr());
    }

    #[test]
    fn a_claim_above_the_limit_is_refused_before_anything_is_allocated() {
        for cut in 1..=5 {
            let mut assembler = Assembler::new(FRAME_MAX);
            let stream = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0]);
            let first = assembler.push(stream.slice(..cut), &mut Vec::new());
            let result = first.and_then(|()| assembler.push(stream.slice(cut..), &mut Vec::new()));
            let error = result.unwrap_err().to_string();
            assert!(error.contains("4294967295") && error.contains("4194304"), "{error}");
            assert!(assembler.partial.capacity() < 1024);
        }
    }
}
