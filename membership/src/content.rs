//! What a client multicasts: where to, a tag, and the payload. Encoded once by the sending client and passed
//! on unchanged to every receiver.

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::id::MemberName;
use crate::name::{GroupName, NameError};

/// Destinations, tag and payload of a multicast, checked.
///
/// Layout: a count byte; for each destination a length byte and its name; the tag in two bytes, little-endian;
/// the payload up to the end.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    encoded: Bytes,
    /// Where the tag begins.
    tag_at: u32,
}

/// One destination of a multicast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Every member of a group.
    Group(GroupName),
    /// One session, by its private group.
    Private(MemberName),
}

impl Target {
    /// Reads a destination as people write it: a group, or `#session#daemon`.
    ///
    /// # Errors
    /// [`NameError`] if it is neither.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.starts_with('#') {
            text.parse().map(Self::Private)
        } else {
            GroupName::new(text).map(Self::Group)
        }
    }
}

/// Why bytes or arguments are not a [`Content`]. Nothing was sent.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContentError {
    /// No destination, or more than [`Content::MAX_TARGETS`].
    #[error("{0} destinations: a multicast goes to 1 to 100 groups")]
    Targets(usize),
    /// A destination that is neither a group nor a private group.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A destination that is not even text, or the end came too early.
    #[error("malformed multicast: it ends inside its destinations or one of them is not text")]
    Malformed,
}

impl Content {
    /// The most destinations of one multicast.
    pub const MAX_TARGETS: usize = 100;

    /// Encodes a multicast.
    ///
    /// # Errors
    /// [`ContentError`] if a destination is not valid or there are none or too many.
    pub fn new<S: AsRef<str>>(targets: &[S], tag: u16, payload: &[u8]) -> Result<Self, ContentError> {
        let mut encoded = BytesMut::with_capacity(payload.len() + 3 + targets.len() * 24);
        Self::encode_into(&mut encoded, targets, tag, payload)?;
        Self::parse(encoded.freeze())
    }

    /// Appends the encoding of a multicast to `out`; leaves `out` as it was on an error.
    ///
    /// # Errors
    /// As [`Content::new`].
    pub fn encode_into<S: AsRef<str>>(
        out: &mut BytesMut,
        targets: &[S],
        tag: u16,
        payload: &[u8],
    ) -> Result<(), ContentError> {
        let count =
            u8::try_from(targets.len()).ok().filter(|c| (1..=Self::MAX_TARGETS).contains(&(*c).into()));
        let count = count.ok_or(ContentError::Targets(targets.len()))?;
        for target in targets {
            Target::parse(target.as_ref())?;
        }
        out.reserve(payload.len() + 3 + targets.len() * 24);
        out.put_u8(count);
        for name in targets.iter().map(AsRef::as_ref) {
            // A valid name is at most 66 bytes: `#`, 32, `#`, 32.
            out.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
            out.put_slice(name.as_bytes());
        }
        out.put_u16_le(tag);
        out.put_slice(payload);
        Ok(())
    }

    /// Checks bytes that came from elsewhere.
    ///
    /// # Errors
    /// [`ContentError`] if they are not what [`Content::new`] makes.
    pub fn parse(encoded: Bytes) -> Result<Self, ContentError> {
        let count = usize::from(*encoded.first().ok_or(ContentError::Malformed)?);
        if !(1..=Self::MAX_TARGETS).contains(&count) {
            return Err(ContentError::Targets(count));
        }
        let mut at = 1;
        for _ in 0..count {
            let name = target_at(&encoded, at).ok_or(ContentError::Malformed)?;
            Target::parse(name)?;
            at += 1 + name.len();
        }
        if encoded.len() < at + 2 {
            return Err(ContentError::Malformed);
        }
        let tag_at = u32::try_from(at).map_err(|_| ContentError::Malformed)?;
        Ok(Self { encoded, tag_at })
    }

    /// Bytes whose first `targets_len` are known to be valid destinations.
    pub(crate) fn with_known_targets(encoded: Bytes, targets_len: usize) -> Option<Self> {
        let tag_at = u32::try_from(targets_len).ok()?;
        (encoded.len() >= targets_len + 2).then_some(Self { encoded, tag_at })
    }

    /// The bytes of the destinations.
    pub(crate) fn targets_len(&self) -> usize {
        self.tag_at()
    }

    /// The destinations as they were written, in order.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        let mut at = 1;
        std::iter::from_fn(move || {
            if at >= self.tag_at() {
                return None;
            }
            let name = target_at(&self.encoded, at)?;
            at += 1 + name.len();
            Some(name)
        })
    }

    /// The sender's own 16-bit mark.
    pub fn tag(&self) -> u16 {
        let at = self.tag_at();
        u16::from_le_bytes([self.encoded[at], self.encoded[at + 1]])
    }

    /// What the sender sent.
    pub fn payload(&self) -> Bytes {
        self.encoded.slice(self.tag_at() + 2..)
    }

    /// The whole in its encoded form.
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }

    fn tag_at(&self) -> usize {
        self.tag_at as usize
    }
}

fn target_at(encoded: &[u8], at: usize) -> Option<&str> {
    let len = usize::from(*encoded.get(at)?);
    std::str::from_utf8(encoded.get(at + 1..at + 1 + len)?).ok()
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let targets: Vec<_> = self.targets().collect();
        write!(f, "Content {{ {targets:?}, {} bytes }}", self.encoded.len() - self.tag_at() - 2)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let content = Content::new(&["g", "#s#d"], 7, b"hello").unwrap();
        let again = Content::parse(content.encoded().clone()).unwrap();
        assert_eq!(again.targets().collect::<Vec<_>>(), ["g", "#s#d"]);
        assert_eq!((again.tag(), again.payload().as_ref()), (7, b"hello".as_ref()));
    }

    #[test]
    fn destinations_are_counted_and_checked() {
        assert_eq!(Content::new::<&str>(&[], 0, b""), Err(ContentError::Targets(0)));
        assert_eq!(Content::new(&["g"; 101], 0, b""), Err(ContentError::Targets(101)));
        assert!(matches!(Content::new(&["#g"], 0, b""), Err(ContentError::Name(_))));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_or_read_within_bounds(bytes: Vec<u8>) {
            if let Ok(content) = Content::parse(Bytes::from(bytes)) {
                prop_assert!(content.targets().count() <= Content::MAX_TARGETS);
                let _ = (content.tag(), content.payload());
            }
        }
    }
}
