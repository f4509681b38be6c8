//! Names that people choose: daemons, sessions and groups. Parsed once, cheap to copy, never wrong after.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// Why a text is not a name. Nothing changed; choose another name.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{kind} name {name:?} is not valid: {rule}")]
pub struct NameError {
    kind: &'static str,
    name: String,
    rule: &'static str,
}

/// A text of at most `CAP` bytes, stored in place so that names are `Copy`. Bytes behind `len` are zero, so
/// that the derived order is the order of the texts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Text<const CAP: usize> {
    bytes: [u8; CAP],
    len: u8,
}

impl<const CAP: usize> Text<CAP> {
    fn new(text: &str) -> Option<Self> {
        let len = u8::try_from(text.len()).ok()?;
        let mut bytes = [0; CAP];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { bytes, len })
    }

    fn as_str(&self) -> &str {
        // Only ever built from a whole `&str`.
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $Name:ident, $kind:literal, $cap:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $Name(Text<$cap>);

        impl $Name {
            /// The longest name, in bytes.
            pub const MAX_LEN: usize = $cap;
            /// What a valid name looks like, for people.
            pub const RULE: &'static str = $rule;

            /// Checks `name` against [`Self::RULE`].
            ///
            /// # Errors
            /// [`NameError`] if it breaks the rule.
            pub fn new(name: &str) -> Result<Self, NameError> {
                let valid: fn(&[u8]) -> bool = $valid;
                if name.is_empty() || !valid(name.as_bytes()) {
                    return Err(Self::error(name));
                }
                Text::new(name).map(Self).ok_or_else(|| Self::error(name))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            fn error(name: &str) -> NameError {
                NameError { kind: $kind, name: name.chars().take(80).collect(), rule: $rule }
            }
        }

        impl FromStr for $Name {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $Name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $Name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $Name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("a ", $kind, " name: ", $rule))
                    }

                    fn visit_str<E: de::Error>(self, name: &str) -> Result<$Name, E> {
                        $Name::new(name).map_err(E::custom)
                    }
                }
                d.deserialize_str(Visitor)
            }
        }
    };
}

name!(
    /// The configured name of a daemon. It is also the name in the daemon's certificate, as a label of a DNS name: that
    /// is why it does not end in `-`.
    DaemonName,
    "daemon",
    32,
    "1 to 32 of a-z, 0-9, '-' and '_', beginning with a letter or a digit and not ending in '-'",
    |b| !matches!(b[0], b'-' | b'_')
        && !b.ends_with(b"-")
        && b.iter().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
);

name!(
    /// The name of a session, unique among the live sessions of its daemon.
    SessionName,
    "session",
    32,
    "1 to 32 visible ASCII characters without '#'",
    |b| b.iter().all(|c| c.is_ascii_graphic() && *c != b'#')
);

name!(
    /// The name of a group, the same everywhere.
    GroupName,
    "group",
    64,
    "1 to 64 visible ASCII characters, not beginning with '#'",
    |b| b[0] != b'#' && b.iter().all(u8::is_ascii_graphic)
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_is_wrong_with_it() {
        let error = DaemonName::new("Ä").unwrap_err().to_string();
        assert!(error.contains("daemon name \"Ä\"") && error.contains("a-z"), "{error}");
        for name in ["-a", "_a", "a-", "-", "a b", "A"] {
            assert!(DaemonName::new(name).is_err(), "{name}");
        }
        assert!(DaemonName::new("a-_").is_ok() && DaemonName::new("0--1").is_ok());
        assert!(GroupName::new(&"g".repeat(64)).is_ok());
        assert!(GroupName::new(&"g".repeat(65)).is_err());
        assert!(GroupName::new("").is_err());
        assert!(GroupName::new("#s#d").is_err());
        assert!(SessionName::new("a#b").is_err());
    }

    #[test]
    fn names_sort_like_their_texts() {
        let mut names: Vec<_> = ["b", "a-c", "ab", "a"].iter().map(|n| DaemonName::new(n).unwrap()).collect();
        names.sort();
        assert_eq!(names.iter().map(DaemonName::as_str).collect::<Vec<_>>(), ["a", "a-c", "ab", "b"]);
    }
}
