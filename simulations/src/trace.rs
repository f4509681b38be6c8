//! A text of all that happens in a run, for people who look for a cause. The same seed gives the same text.

use std::fmt::{Arguments, Write};
use std::io::Write as _;

use bytes::Bytes;
use stentor_membership::Timestamp;

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

/// Bytes in short: their number and a hash (FNV-1a).
pub(crate) fn digest(bytes: &Bytes) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{} bytes {:08x}", bytes.len(), hash >> 32)
}
