//! A text of all that happens in a run, for people who look for a cause. The same seed gives the same text.

use std::fmt::{Arguments, Write};
use std::io::Write as _;

use bytes::Bytes;
use stentor_membership::Timestamp;
use stentor_membership::wire::Header;

/// Where the text goes.
#[derive(Debug, Default)]
pub enum Trace {
    /// Nowhere.
    #[default]
    Off,
    /// Into memory.
    Kept(String),
    /// To standard output, line by line, so that it mixes with the logs of the core.
    Printed,
}

impl Trace {
    pub(crate) fn is_on(&self) -> bool {
        !matches!(self, Self::Off)
    }

    pub(crate) fn line(&mut self, now: Timestamp, text: Arguments<'_>) {
        match self {
            Self::Off => {}
            Self::Kept(lines) => {
                // Writing to a string cannot fail.
                let _ = writeln!(lines, "{now} {text}");
            }
            Self::Printed => {
                // A reader that went away wants no more of it.
                let _ = writeln!(std::io::stdout().lock(), "{now} {text}");
            }
        }
    }

    /// What was kept.
    pub fn into_text(self) -> Option<String> {
        if let Self::Kept(lines) = self { Some(lines) } else { None }
    }
}

/// A number for bytes (FNV-1a): the same on every machine.
pub fn fingerprint(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A frame or datagram in short: its header, its length and a fingerprint.
pub(crate) fn digest(bytes: &Bytes) -> String {
    let mark = format!("{} bytes {:08x}", bytes.len(), fingerprint(bytes) >> 32);
    match Header::decode(bytes) {
        Ok((header, _)) => format!("{mark} {header:?}"),
        Err(_) => mark,
    }
}
