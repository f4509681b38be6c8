//! Messages are nearly all that a daemon sends: they are cut out of the stream in one piece, and decoded as they are
//! taken.

use bytes::{Buf, Bytes};
use stentor_membership::{Content, ContentReader, MemberName, Service};

use super::WireError;
use super::encode::LENGTH;
use super::frame::NOT_OF_DAEMON;

/// How postcard begins the header of a [`DaemonFrame::Message`](super::DaemonFrame::Message): the number of the variant.
pub(super) const MESSAGE: u8 = 2;

/// Sender and level of a message, lent by what remembers them, and its content.
pub type Lent<'a> = (&'a (MemberName, Service), Content);

/// The last message that was decoded: the next one mostly has its sender, level and destinations.
#[derive(Debug, Default)]
pub struct LastMessage {
    from: Option<(MemberName, Service)>,
    /// The bytes of `from`.
    header: Vec<u8>,
    contents: ContentReader,
}

impl LastMessage {
    /// Reads a message from the body of its frame. Sender and level are lent: to copy them now and then again costs more
    /// than all else here.
    #[inline]
    pub(super) fn read(&mut self, mut body: Bytes) -> Result<Lent<'_>, WireError> {
        // No header is the beginning of another one.
        if self.from.is_none() || !body.starts_with(&self.header) {
            self.read_header(&body)?;
        }
        body.advance(self.header.len());
        let content = self.contents.read(body)?;
        Ok((self.from.as_ref().ok_or(NOT_OF_DAEMON)?, content))
    }

    fn read_header(&mut self, body: &[u8]) -> Result<(), WireError> {
        let (from, behind) = postcard::take_from_bytes(&body[1..]).map_err(|_| NOT_OF_DAEMON)?;
        self.from = Some(from);
        self.header.clear();
        self.header.extend_from_slice(&body[..body.len() - behind.len()]);
        Ok(())
    }
}

/// The frames of messages that came together, one behind the other.
#[derive(Debug, Default)]
pub struct Messages {
    /// Whole frames.
    frames: Bytes,
}

impl Messages {
    /// The frames in front of `stream` that are messages and complete: how many bytes they have.
    pub(super) fn measure(stream: &[u8], limit: usize) -> usize {
        let mut end = 0;
        while let Some(size) = claimed(&stream[end..])
            && (1..=limit).contains(&size)
            && stream.len() - end - LENGTH >= size
            && stream.get(end + LENGTH) == Some(&MESSAGE)
        {
            end += LENGTH + size;
        }
        end
    }

    /// What [`measure`](Self::measure) measured.
    pub(super) fn new(frames: Bytes) -> Self {
        Self { frames }
    }

    /// The bytes that are left.
    pub fn size(&self) -> usize {
        self.frames.len()
    }

    /// The next message: its sender, its level and its content, which is a slice of what was read.
    ///
    /// # Errors
    /// [`WireError`] if it is not one; the stream is of no more use.
    #[inline]
    pub fn next<'a>(&mut self, last: &'a mut LastMessage) -> Option<Result<Lent<'a>, WireError>> {
        let end = LENGTH + claimed(&self.frames)?;
        let mut frame = if end == self.frames.len() {
            std::mem::take(&mut self.frames)
        } else {
            self.frames.split_to(end)
        };
        frame.advance(LENGTH);
        Some(last.read(frame))
    }
}

/// The length of the frame in front.
pub(super) fn claimed(stream: &[u8]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(*stream.first_chunk::<LENGTH>()?)).ok()
}
