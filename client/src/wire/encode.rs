//! From headers to bytes.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use stentor_membership::wire::append;
use stentor_membership::{Content, MemberName, Service};

use super::frame::{ClientHeader, DaemonHeader};
use super::{DAEMON_FRAME_LIMIT, WireError};

/// The bytes of a frame's length.
pub(super) const LENGTH: usize = 4;

/// What goes in front of a message's content, length included: written once for all receivers, who get the same two
/// buffers one behind the other.
///
/// # Errors
/// [`WireError::TooLarge`] if the whole does not fit the protocol.
pub fn encode_message_header(
    sender: MemberName,
    service: Service,
    content: &Content,
) -> Result<Bytes, WireError> {
    let mut out = BytesMut::with_capacity(80);
    encode_header(&DaemonHeader::Message { sender, service }, content.encoded().len(), &mut out)?;
    Ok(out.freeze())
}

/// Appends a whole multicast frame to `out`, copying `payload` once. Nothing is allocated beside what `out` has to
/// grow. Leaves `out` as it was on an error.
///
/// # Errors
/// [`WireError::Content`] for bad destinations, [`WireError::TooLarge`] if the whole does not fit the protocol.
pub fn encode_multicast<S: AsRef<str>>(
    service: Service,
    discard_self: bool,
    targets: &[S],
    tag: u16,
    payload: &[u8],
    out: &mut BytesMut,
) -> Result<(), WireError> {
    let start = out.len();
    encode_header(&ClientHeader::Multicast { service, discard_self }, 0, out)?;
    if let Err(error) = Content::encode_into(out, targets, tag, payload) {
        out.truncate(start);
        return Err(error.into());
    }
    set_length(start, 0, out)
}

pub(super) fn encode_frame(
    header: &impl Serialize,
    behind: &[u8],
    out: &mut BytesMut,
) -> Result<(), WireError> {
    encode_header(header, behind.len(), out)?;
    out.put_slice(behind);
    Ok(())
}

/// Appends the length of a frame and its header; `behind` bytes will follow.
fn encode_header(header: &impl Serialize, behind: usize, out: &mut BytesMut) -> Result<(), WireError> {
    let start = out.len();
    out.put_u32_le(0);
    if append(header, out).is_err() {
        out.truncate(start);
        return Err(WireError::Malformed("a header that has no encoding"));
    }
    set_length(start, behind, out)
}

/// Fills in the length of the frame that begins at `start`.
fn set_length(start: usize, behind: usize, out: &mut BytesMut) -> Result<(), WireError> {
    let size = out.len() - start - LENGTH + behind;
    // The daemon's limit is the wider one; the narrower one of clients is for the receiving daemon to judge.
    match u32::try_from(size) {
        Ok(length) if size <= DAEMON_FRAME_LIMIT => {
            out[start..start + LENGTH].copy_from_slice(&length.to_le_bytes());
            Ok(())
        }
        Ok(_) | Err(_) => {
            out.truncate(start);
            Err(WireError::TooLarge { size, limit: DAEMON_FRAME_LIMIT })
        }
    }
}
