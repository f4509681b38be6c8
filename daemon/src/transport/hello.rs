//! The first frame of each end of a link: who it is.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use stentor_membership::DaemonId;
use thiserror::Error;

/// The version of the protocol between daemons. It stands in front of the hello in all versions.
pub(crate) const VERSION: u16 = 1;

/// The largest hello frame.
pub(crate) const HELLO_MAX: usize = 1 << 10;

/// An introduction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The name of the cluster.
    pub(crate) cluster: String,
    /// Who speaks.
    pub(crate) daemon: DaemonId,
}

/// Why a hello is none.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum HelloError {
    #[error(
        "it speaks version {0} of the protocol between daemons, we speak {VERSION}: use matching releases"
    )]
    Version(u16),
    #[error("its introduction is malformed")]
    Malformed,
}

impl Hello {
    /// The frame without its length.
    pub(crate) fn encode(&self) -> Result<Bytes, HelloError> {
        let mut out = BytesMut::new();
        out.put_u16_le(VERSION);
        let body = postcard::to_allocvec(self).map_err(|_| HelloError::Malformed)?;
        out.extend_from_slice(&body);
        Ok(out.freeze())
    }

    pub(crate) fn decode(mut frame: Bytes) -> Result<Self, HelloError> {
        if frame.len() < 2 {
            return Err(HelloError::Malformed);
        }
        match frame.get_u16_le() {
            VERSION => postcard::from_bytes(&frame).map_err(|_| HelloError::Malformed),
            other => Err(HelloError::Version(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stentor_membership::DaemonName;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_hello_or_refused(version in prop::bool::ANY, bytes: Vec<u8>) {
            let head: &[u8] = if version { &VERSION.to_le_bytes() } else { &[] };
            if let Ok(hello) = Hello::decode([head, &bytes].concat().into()) {
                prop_assert_eq!(Hello::decode(hello.encode().unwrap()), Ok(hello));
            }
        }
    }

    #[test]
    fn a_hello_is_read_as_it_was_written_and_other_versions_are_named() {
        let daemon = DaemonId { name: DaemonName::new("a").unwrap(), incarnation: 7 };
        let hello = Hello { cluster: "c".to_owned(), daemon };
        let frame = hello.encode().unwrap();
        assert_eq!(Hello::decode(frame.clone()), Ok(hello));
        for len in 0..frame.len() {
            assert_eq!(Hello::decode(frame.slice(..len)), Err(HelloError::Malformed));
        }
        assert_eq!(Hello::decode(Bytes::from_static(&[9, 1, 77])), Err(HelloError::Version(0x109)));
    }
}
