//! The session protocol: what a client and its local daemon say to each other over a unix socket or loopback TCP.
//!
//! Programs use [the library](crate) instead; this module is public because the daemon is its other user, and for
//! tests that speak it by hand. Both sides use the same code, so that there is one definition of every byte.
//!
//! A connection begins with the client's [`preamble`]: [`MAGIC`] and [`VERSION`]. Then frames go both ways, each a
//! length (`u32`, little-endian, counting what follows) and a body. A body is a [`ClientFrame`] or [`DaemonFrame`]
//! header in postcard encoding; behind the header of a multicast or a message comes the encoded
//! [`Content`](stentor_membership::Content), which neither side copies or changes.
//!
//! The first frame of the client is [`ClientFrame::Hello`], that of the daemon [`DaemonFrame::Welcome`] or
//! [`DaemonFrame::Goodbye`]. `Goodbye` keeps its encoding in all versions.

mod code;
mod decoder;
mod encode;
mod frame;
mod intake;
mod messages;
mod socket;
mod status;

use stentor_membership::{ContentError, NameError};
use thiserror::Error;

pub use code::{GoodbyeCode, RefusalCode};
pub use decoder::FrameDecoder;
pub use encode::{encode_message_header, encode_multicast};
pub use frame::{ClientFrame, DaemonFrame, Frame, Membership};
pub use intake::Intake;
pub use messages::{LastMessage, Lent, Messages};
pub use socket::{ReadHalf, WriteHalf, split};
pub use status::{Configuration, DaemonStatus, LinkState, PeerStatus, SessionStatus};

/// What every connection begins with.
pub const MAGIC: [u8; 8] = *b"STENTOR\0";

/// The version of the protocol that this code speaks; it follows [`MAGIC`] as a little-endian `u16`.
pub const VERSION: u16 = 1;

/// The bytes of a preamble: [`MAGIC`] and a version.
pub const PREAMBLE_LEN: usize = MAGIC.len() + 2;

/// The largest frame body that a daemon takes before it sent [`DaemonFrame::Welcome`].
pub const HELLO_LIMIT: usize = 4 << 10;

/// What a frame body of a client may be larger than the daemon's `max_message`.
pub const CLIENT_FRAME_SLACK: usize = 64 << 10;

/// The largest frame body of a daemon.
pub const DAEMON_FRAME_LIMIT: usize = 1 << 30;

/// The first bytes that a client sends.
pub fn preamble() -> [u8; PREAMBLE_LEN] {
    let mut bytes = [0; PREAMBLE_LEN];
    bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    bytes[MAGIC.len()..].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

/// Checks the first bytes of a connection as far as they have arrived; `Ok(true)` once the preamble is complete.
///
/// # Errors
/// [`WireError::NotStentor`] at the first wrong byte, [`WireError::Version`] for another version.
pub fn check_preamble(received: &[u8]) -> Result<bool, WireError> {
    let magic = received.len().min(MAGIC.len());
    if received[..magic] != MAGIC[..magic] {
        return Err(WireError::NotStentor);
    }
    let Some(&[low, high]) = received.get(MAGIC.len()..PREAMBLE_LEN) else { return Ok(false) };
    match u16::from_le_bytes([low, high]) {
        VERSION => Ok(true),
        other => Err(WireError::Version(other)),
    }
}

/// Bytes that are not this protocol. The connection is of no more use.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// The other end does not begin with [`MAGIC`]: it is some other program.
    #[error("the peer does not speak Stentor's session protocol: connect with a Stentor client")]
    NotStentor,
    /// The other end speaks another version.
    #[error("session protocol version {0} is not supported, only version {VERSION}: use matching releases")]
    Version(u16),
    /// A frame above the limit, known from its length: nothing of it was read.
    #[error("frame of {size} bytes: at most {limit} are allowed here")]
    TooLarge {
        /// The size of its body.
        size: usize,
        /// The limit in force.
        limit: usize,
    },
    /// A frame that does not parse.
    #[error("malformed frame: {0}")]
    Malformed(&'static str),
    /// A message whose destinations are wrong.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A frame with a name that breaks the rules.
    #[error(transparent)]
    Name(#[from] NameError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preamble_is_known_as_soon_as_it_can_be() {
        let good = preamble();
        for len in 0..PREAMBLE_LEN {
            assert_eq!(check_preamble(&good[..len]), Ok(false));
        }
        assert_eq!(check_preamble(&good), Ok(true));
        assert_eq!(check_preamble(b"G"), Err(WireError::NotStentor));
        assert_eq!(check_preamble(b"STENTOR\0\x02\x01"), Err(WireError::Version(0x102)));
    }
}
