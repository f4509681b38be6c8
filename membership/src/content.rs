//! What a client multicasts: where to, a tag, and the payload. Encoded once by the sending client and passed
//! on unchanged to every receiver.

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::id::MemberName;
use crate::name::{GroupName, NameError};

/// Destinations, tag and payload of a multicast, checked.
///
/// Layout: a count byte; for each destination a length byte and its name; the tag in two bytes, little-endian;
/// the payload up to the end. If the highest bit of the count byte is set, attributes stand between tag and payload:
/// their length in two bytes, little-endian, and the bytes. They carry what one kind of door needs to hand a message
/// over exactly as it was taken; programs of other doors do not see them.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    encoded: Bytes,
    /// Where the tag begins.
    tag_at: u32,
    payload_at: u32,
}

/// Set in the count byte if there are attributes.
const WITH_ATTRIBUTES: u8 = 0x80;

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
    #[error("malformed multicast: it ends before its payload or one of its destinations is not text")]
    Malformed,
    /// More attributes than [`Content::MAX_ATTRIBUTES`].
    #[error("{0} bytes of attributes: at most 4096 are allowed")]
    Attributes(usize),
}

impl Content {
    /// The most destinations of one multicast.
    pub const MAX_TARGETS: usize = 100;
    /// The most bytes of attributes.
    pub const MAX_ATTRIBUTES: usize = 4096;

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
        out.reserve(payload.len() + 3 + targets.len() * 24);
        Self::put_head(out, targets, tag, &[])?;
        out.put_slice(payload);
        Ok(())
    }

    /// Appends what stands in front of the payload to `out`; leaves `out` as it was on an error.
    ///
    /// # Errors
    /// As [`Content::new`], and [`ContentError::Attributes`].
    pub fn put_head<S: AsRef<str>>(
        out: &mut BytesMut,
        targets: &[S],
        tag: u16,
        attributes: &[u8],
    ) -> Result<(), ContentError> {
        let count =
            u8::try_from(targets.len()).ok().filter(|c| (1..=Self::MAX_TARGETS).contains(&(*c).into()));
        let count = count.ok_or(ContentError::Targets(targets.len()))?;
        for target in targets {
            Target::parse(target.as_ref())?;
        }
        let length = u16::try_from(attributes.len()).ok().filter(|l| usize::from(*l) <= Self::MAX_ATTRIBUTES);
        let length = length.ok_or(ContentError::Attributes(attributes.len()))?;
        out.put_u8(if length == 0 { count } else { count | WITH_ATTRIBUTES });
        for name in targets.iter().map(AsRef::as_ref) {
            // A valid name is at most 66 bytes: `#`, 32, `#`, 32.
            out.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
            out.put_slice(name.as_bytes());
        }
        out.put_u16_le(tag);
        if length > 0 {
            out.put_u16_le(length);
            out.put_slice(attributes);
        }
        Ok(())
    }

    /// Checks bytes that came from elsewhere.
    ///
    /// # Errors
    /// [`ContentError`] if they are not what [`Content::new`] makes.
    pub fn parse(encoded: Bytes) -> Result<Self, ContentError> {
        let (count, _) = Self::count(*encoded.first().ok_or(ContentError::Malformed)?);
        if !(1..=Self::MAX_TARGETS).contains(&count) {
            return Err(ContentError::Targets(count));
        }
        let mut at = 1;
        for _ in 0..count {
            let name = target_at(&encoded, at).ok_or(ContentError::Malformed)?;
            Target::parse(name)?;
            at += 1 + name.len();
        }
        Self::with_known_targets(encoded, at)
    }

    /// What the first byte says: how many destinations follow, and whether there are attributes.
    pub(crate) fn count(first: u8) -> (usize, bool) {
        (usize::from(first & !WITH_ATTRIBUTES), first & WITH_ATTRIBUTES != 0)
    }

    /// Bytes whose first `tag_at` are known to be a count and as many valid destinations.
    ///
    /// # Errors
    /// [`ContentError`] if what follows them is not what [`Content::new`] makes.
    #[inline]
    pub(crate) fn with_known_targets(encoded: Bytes, tag_at: usize) -> Result<Self, ContentError> {
        let mut payload_at = tag_at + 2;
        if encoded.first().is_some_and(|first| Self::count(*first).1) {
            let length = encoded.get(payload_at..payload_at + 2).ok_or(ContentError::Malformed)?;
            let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
            if length > Self::MAX_ATTRIBUTES {
                return Err(ContentError::Attributes(length));
            }
            payload_at += 2 + length;
        }
        if encoded.len() < payload_at {
            return Err(ContentError::Malformed);
        }
        let position = |at| u32::try_from(at).map_err(|_| ContentError::Malformed);
        let (tag_at, payload_at) = (position(tag_at)?, position(payload_at)?);
        Ok(Self { encoded, tag_at, payload_at })
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
        self.encoded.slice(self.payload_at as usize..)
    }

    /// What the sender's door noted for doors of its kind; empty for most messages.
    pub fn attributes(&self) -> &[u8] {
        let from = self.tag_at() + 4;
        self.encoded.get(from..self.payload_at as usize).unwrap_or_default()
    }

    /// Everything in front of the payload, encoded: equal for messages that differ in their payload alone.
    pub fn head(&self) -> &[u8] {
        &self.encoded[..self.payload_at as usize]
    }

    /// The whole in its encoded form.
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }

    fn tag_at(&self) -> usize {
        self.tag_at as usize
    }
}

/// Reads contents one after the other. Most have the destinations of the one before, which are then not checked again.
#[derive(Clone, Debug, Default)]
pub struct ContentReader {
    /// The count and the destinations of the last one.
    targets: Vec<u8>,
}

impl ContentReader {
    /// As [`Content::parse`].
    ///
    /// # Errors
    /// As [`Content::parse`].
    #[inline]
    pub fn read(&mut self, encoded: Bytes) -> Result<Content, ContentError> {
        // The count comes first, so what begins like the last one has the same destinations, and no more.
        if !self.targets.is_empty() && encoded.starts_with(&self.targets) {
            return Content::with_known_targets(encoded, self.targets.len());
        }
        self.read_other(encoded)
    }

    /// One with destinations that have to be checked.
    fn read_other(&mut self, encoded: Bytes) -> Result<Content, ContentError> {
        let content = Content::parse(encoded)?;
        self.targets.clear();
        self.targets.extend_from_slice(&content.encoded[..content.targets_len()]);
        Ok(content)
    }
}

fn target_at(encoded: &[u8], at: usize) -> Option<&str> {
    let len = usize::from(*encoded.get(at)?);
    std::str::from_utf8(encoded.get(at + 1..at + 1 + len)?).ok()
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let targets: Vec<_> = self.targets().collect();
        write!(f, "Content {{ {targets:?}, {} bytes }}", self.encoded.len() - self.payload_at as usize)
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

    #[test]
    fn attributes_stand_beside_the_payload_and_change_nothing_else() {
        let mut encoded = BytesMut::new();
        Content::put_head(&mut encoded, &["g", "h"], 7, b"as it came").unwrap();
        let head = encoded.clone();
        encoded.put_slice(b"hello");
        let content = Content::parse(encoded.freeze()).unwrap();
        assert_eq!(content.targets().collect::<Vec<_>>(), ["g", "h"]);
        assert_eq!((content.tag(), content.payload().as_ref()), (7, b"hello".as_ref()));
        assert_eq!((content.attributes(), content.head()), (b"as it came".as_ref(), head.as_ref()));
        for length in 0..head.len() {
            let cut = content.encoded().slice(..length);
            assert_eq!(Content::parse(cut), Err(ContentError::Malformed), "cut at {length}");
        }
        let plain = Content::new(&["g"], 7, b"hello").unwrap();
        assert_eq!(plain.attributes(), b"");
        let mut out = BytesMut::new();
        let long = Content::put_head(&mut out, &["g"], 0, &[0; Content::MAX_ATTRIBUTES + 1]);
        assert_eq!((long, out.len()), (Err(ContentError::Attributes(4097)), 0));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_or_read_within_bounds(bytes: Vec<u8>) {
            if let Ok(content) = Content::parse(Bytes::from(bytes)) {
                prop_assert!(content.targets().count() <= Content::MAX_TARGETS);
                let _ = (content.tag(), content.payload(), content.attributes());
            }
        }

        /// Contents with much in common, some of them damaged.
        #[test]
        fn a_reader_reads_as_if_each_content_were_the_first(
            some in prop::collection::vec(("[gh]{1,2}", "[gh]{0,2}", 0usize..12, any::<bool>()), 1..20),
        ) {
            let mut reader = ContentReader::default();
            for (first, second, cut, damaged) in some {
                let targets: Vec<_> = [first, second].into_iter().filter(|name| !name.is_empty()).collect();
                let content = Content::new(&targets, 7, b"x").unwrap();
                let length = content.encoded().len();
                let encoded = content.encoded().slice(..if damaged { cut.min(length) } else { length });
                prop_assert_eq!(reader.read(encoded.clone()), Content::parse(encoded));
            }
        }
    }
}
