//! From a stream of bytes to frames.

use std::fmt;

use bytes::{Buf, BytesMut};

use super::encode::LENGTH;
use super::intake::Intake;
use super::messages::{Messages, claimed};
use super::{DaemonFrame, Frame, WireError};

/// Cuts a stream of bytes into frames.
///
/// Read into [`space`](Self::space), or [`feed`](Self::feed) it, then take frames from [`next_frame`](Self::next_frame)
/// until there are no more. Memory grows with the bytes that arrive, never with the length that a frame claims: it is
/// bounded by the limit and one chunk. After an error the stream is of no more use, and every further call says so
/// again.
pub struct FrameDecoder<F: Frame> {
    intake: Intake,
    limit: usize,
    failed: Option<WireError>,
    memory: F::Memory,
}

impl<F: Frame> FrameDecoder<F> {
    /// A decoder that refuses frame bodies above `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { intake: Intake::default(), limit, failed: None, memory: F::Memory::default() }
    }

    /// Changes the limit for the frames not yet taken.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Where to read to: append to it, and touch nothing that is there. It has room for a good read.
    pub fn space(&mut self) -> &mut BytesMut {
        // Doubling what is there keeps the copying linear for large frames; more is not wanted for a mere claim.
        let claimed = self.claimed().unwrap_or_default().min(self.limit).saturating_add(LENGTH);
        let waiting = self.intake.bytes.len();
        self.intake.space(claimed.saturating_sub(waiting).min(waiting))
    }

    /// Appends bytes that were read elsewhere.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.intake.bytes.extend_from_slice(bytes);
    }

    /// The next complete frame, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// [`WireError`] if the stream holds something else.
    pub fn next_frame(&mut self) -> Result<Option<F>, WireError> {
        match self.failed.clone().map_or_else(|| self.cut(), Err) {
            Ok(frame) => Ok(frame),
            Err(error) => {
                self.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    /// The bytes that wait for the rest of their frame.
    pub fn pending(&self) -> usize {
        self.intake.bytes.len()
    }

    fn cut(&mut self) -> Result<Option<F>, WireError> {
        let Some(size) = self.claimed() else { return Ok(None) };
        if size > self.limit {
            return Err(WireError::TooLarge { size, limit: self.limit });
        }
        if self.intake.bytes.len() - LENGTH < size {
            return Ok(None);
        }
        self.intake.bytes.advance(LENGTH);
        F::decode_next(self.intake.bytes.split_to(size).freeze(), &mut self.memory).map(Some)
    }

    /// The length of the frame in front.
    fn claimed(&self) -> Option<usize> {
        claimed(&self.intake.bytes)
    }
}

impl FrameDecoder<DaemonFrame> {
    /// The complete messages in front, up to the first frame of another kind: not decoded yet, and so not checked.
    pub fn next_messages(&mut self) -> Option<Messages> {
        let size = Messages::measure(&self.intake.bytes, self.limit);
        (size > 0).then(|| Messages::new(self.intake.bytes.split_to(size).freeze()))
    }
}

impl<F: Frame> fmt::Debug for FrameDecoder<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { intake, limit, failed, memory: _ } = self;
        let mut out = f.debug_struct("FrameDecoder");
        out.field("pending", &intake.bytes.len()).field("limit", limit).field("failed", failed).finish()
    }
}
