//! Names in 32 bytes, and what stands for those that do not fit.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::{BufMut, BytesMut};
use stentor_membership::{GroupName, SessionName, Target};

use super::header::NAME;

/// The longest name of a group or private group.
pub(super) const NAME_MAX: usize = NAME - 1;
/// The longest name that a program may ask for.
pub(super) const PRIVATE_MAX: usize = 10;
/// The longest daemon name: `#`, the longest private name and `#` fit in front of it.
pub(crate) const DAEMON_MAX: usize = 19;

/// The characters of names.
const fn is_legal(byte: u8) -> bool {
    matches!(byte, 0x24..=0x7e)
}

/// The text of a name as it came: up to the first zero, and never all 32 bytes.
pub(super) fn text(field: &[u8]) -> &[u8] {
    let field = &field[..field.len().min(NAME_MAX)];
    field.iter().position(|byte| *byte == 0).map_or(field, |end| &field[..end])
}

/// A private name that a program asks for.
pub(super) fn private(bytes: &[u8]) -> Option<SessionName> {
    let legal = (1..=PRIVATE_MAX).contains(&bytes.len()) && bytes.iter().all(|b| is_legal(*b));
    std::str::from_utf8(bytes).ok().filter(|_| legal).and_then(|name| SessionName::new(name).ok())
}

/// A group that a program wants to join or leave.
pub(super) fn group(field: &[u8]) -> Option<GroupName> {
    let bytes = text(field);
    let name = std::str::from_utf8(bytes).ok().filter(|_| bytes.iter().all(|b| is_legal(*b)))?;
    GroupName::new(name).ok()
}

/// A name with its zeros.
pub(super) fn padded(name: &str) -> [u8; NAME] {
    let mut field = [0; NAME];
    let length = name.len().min(NAME_MAX);
    field[..length].copy_from_slice(&name.as_bytes()[..length]);
    field
}

/// Whether Spread programs can be told a name as it is.
fn fits(name: &str) -> bool {
    let parts = name.strip_prefix('#').map_or((name, None), |private| {
        private.split_once('#').map_or((private, None), |(session, daemon)| (session, Some(daemon)))
    });
    let legal = |part: &str| !part.is_empty() && part.bytes().all(is_legal);
    name.len() <= NAME_MAX && legal(parts.0) && parts.1.is_none_or(legal)
}

/// Marks an alias: no Spread program can have it in its own name or join a group with it.
const ALIAS: char = '!';
/// So many aliases are kept, the latest ones.
const ALIASES_MAX: usize = 10_000;

/// Stands in for names that Spread programs cannot be told: the alias is the same everywhere, and a program that
/// answers to one it was told reaches whom it stands for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Aliases(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    by_alias: HashMap<String, String>,
    oldest_first: VecDeque<String>,
}

impl Aliases {
    /// Appends a destination or member as Spread programs are told it.
    pub(super) fn put(&self, name: &str, out: &mut BytesMut) {
        out.put_slice(&self.field(name));
    }

    /// A destination or member as Spread programs are told it.
    pub(super) fn field(&self, name: &str) -> [u8; NAME] {
        if fits(name) {
            return padded(name);
        }
        let alias = alias(name);
        self.remember(&alias, name);
        padded(&alias)
    }

    /// A destination that a program wrote; none if it is no name and nobody's alias.
    pub(super) fn resolve(&self, field: &[u8]) -> Option<String> {
        let name = std::str::from_utf8(text(field)).ok()?;
        if name.contains(ALIAS)
            && let Some(known) = self.lock().by_alias.get(name)
        {
            return Some(known.clone());
        }
        Target::parse(name).is_ok().then(|| name.to_owned())
    }

    fn remember(&self, alias: &str, name: &str) {
        let mut known = self.lock();
        if known.by_alias.insert(alias.to_owned(), name.to_owned()).is_some() {
            return;
        }
        known.oldest_first.push_back(alias.to_owned());
        if known.oldest_first.len() > ALIASES_MAX
            && let Some(oldest) = known.oldest_first.pop_front()
        {
            known.by_alias.remove(&oldest);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What stands for a name: how it begins, then characters of its hash.
fn alias(name: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
    let hash = BASE64_URL_SAFE_NO_PAD.encode(digest);
    let begin = |text: &str, length| {
        text.chars().filter(|c| u8::try_from(*c).is_ok_and(is_legal)).take(length).collect::<String>()
    };
    match name.strip_prefix('#').and_then(|private| private.split_once('#')) {
        Some((session, daemon)) => format!("#{}{ALIAS}{}#{daemon}", begin(session, 3), &hash[..6]),
        None => format!("{}{ALIAS}{}", begin(name, 20), &hash[..10]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_at_its_first_zero_or_after_31_bytes() {
        assert_eq!(text(b"room\0garbage"), b"room");
        assert_eq!(text(&[b'x'; 32]).len(), 31);
        assert_eq!(padded("room")[..6], *b"room\0\0");
    }

    #[test]
    fn private_names_and_groups_are_checked() {
        for good in [&b"a"[..], b"0123456789", b"$~", b"!a".strip_prefix(b"!").unwrap()] {
            assert!(private(good).is_some(), "{good:?}");
        }
        for bad in [&b""[..], b"01234567890", b"a b", b"a#b", b"!a", b"\"", b"\x7f", b"\xc3\xa4"] {
            assert!(private(bad).is_none(), "{bad:?}");
        }
        assert!(group(&[b'g'; 31]).is_some());
        for bad in [&b""[..], b"#g", b"a b", b"a#b", b"\xff", b"g!"] {
            assert!(group(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn names_that_fit_stay_and_others_get_an_alias_that_leads_back() {
        let aliases = Aliases::default();
        for name in ["room", "#alice#d1", &"g".repeat(31), "#server-0123456789#daemon-1"] {
            assert_eq!(text(&aliases.field(name)), name.as_bytes());
        }
        for name in ["g".repeat(32).as_str(), "g!", "a#b", "#a!#d", "#012345678901234567890123456789#d"] {
            let field = aliases.field(name);
            let shown = std::str::from_utf8(text(&field)).unwrap().to_owned();
            assert!(shown.contains('!') && shown.len() <= NAME_MAX && shown != name, "{shown}");
            assert_eq!(shown.starts_with('#'), name.starts_with('#'));
            assert_eq!(aliases.resolve(&field).as_deref(), Some(name));
            assert_eq!(aliases.field(name), field, "always the same");
        }
        assert_eq!(aliases.resolve(b"room\0").as_deref(), Some("room"));
        for bad in [&b"#bogus\0"[..], b"a b", b"", b"#a#b#c", b"\xff"] {
            assert_eq!(aliases.resolve(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_number_of_aliases_is_bounded() {
        let aliases = Aliases::default();
        let name = |number| format!("{number:040}");
        for number in 0..=ALIASES_MAX {
            aliases.field(&name(number));
        }
        let known = aliases.lock();
        assert_eq!((known.by_alias.len(), known.oldest_first.len()), (ALIASES_MAX, ALIASES_MAX));
        drop(known);
        assert!(aliases.resolve(padded(&alias(&name(0))).as_slice()).is_some_and(|is| is != name(0)));
        assert_eq!(aliases.resolve(&aliases.field(&name(ALIASES_MAX))), Some(name(ALIASES_MAX)));
    }
}
