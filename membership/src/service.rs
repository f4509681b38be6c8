//! Service levels.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What the system promises for a message; each level includes those below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// May be lost or reordered, never duplicated, never delivered outside the view it was sent in.
    Unreliable,
    /// Delivered to every member that moves along, in no particular order (E4 to E6).
    Reliable,
    /// In the order in which its session sent (E7).
    Fifo,
    /// After everything that its sender had seen when it sent (E8).
    Causal,
    /// In one order for everybody, across all groups (E9, E10).
    #[default]
    Agreed,
    /// Agreed, and delivered only when every member of the configuration has it (E11).
    Safe,
}

impl Service {
    /// All levels, lowest first.
    pub const ALL: [Self; 6] =
        [Self::Unreliable, Self::Reliable, Self::Fifo, Self::Causal, Self::Agreed, Self::Safe];

    /// The level's name in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreliable => "unreliable",
            Self::Reliable => "reliable",
            Self::Fifo => "fifo",
            Self::Causal => "causal",
            Self::Agreed => "agreed",
            Self::Safe => "safe",
        }
    }

    /// Whether the message has a place in the total order of its view.
    pub const fn is_ordered(self) -> bool {
        matches!(self, Self::Causal | Self::Agreed | Self::Safe)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no service level.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("unknown service {0:?}: one of unreliable, reliable, fifo, causal, agreed, safe")]
pub struct UnknownService(String);

impl FromStr for Service {
    type Err = UnknownService;

    fn from_str(text: &str) -> Result<Self, UnknownService> {
        let found = Self::ALL.into_iter().find(|s| s.as_str() == text);
        found.ok_or_else(|| UnknownService(text.chars().take(40).collect()))
    }
}
