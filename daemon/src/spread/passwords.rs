//! The users of the method PWORD: a file of names and salted hashes, never of passwords.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use ring::pbkdf2::{PBKDF2_HMAC_SHA256, derive, verify};
use thiserror::Error;
use tokio::sync::Semaphore;

/// The longest user name: the last byte of its field is zero.
pub(crate) const USER_MAX: usize = 31;
/// The longest password: what the wire has room for.
pub(crate) const PASSWORD_MAX: usize = 8;

/// Rounds for new hashes: about a fifth of a second for each guess.
const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).unwrap();
/// Rounds that a file may ask for: fewer protect nothing, more let programs wait for ever.
const ROUNDS_ALLOWED: std::ops::RangeInclusive<u32> = 100_000..=10_000_000;
const SALT: usize = 16;
const HASH: usize = 32;

/// How a hash begins.
const SCHEME: &str = "pbkdf2-sha256";

/// Why there are no users.
#[derive(Debug, Error)]
pub(crate) enum PasswordError {
    /// The file cannot be read.
    #[error("cannot read [spread] passwords {}: {error}", path.display())]
    Read { path: PathBuf, error: std::io::Error },
    /// A line is wrong.
    #[error("[spread] passwords {}, line {line}: {rule}", path.display())]
    Line { path: PathBuf, line: usize, rule: &'static str },
}

const RULE: &str = "write USER:HASH as `stentor spread-password USER` prints it: user names are 1 to 31 visible \
                    characters without ':', hashes begin with $pbkdf2-sha256$ (those of other programs cannot be used)";

/// A password's hash with its salt.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hashed {
    rounds: NonZeroU32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Hashed {
    fn new(password: &[u8], salt: [u8; SALT]) -> Self {
        let mut hash = vec![0; HASH];
        derive(PBKDF2_HMAC_SHA256, ROUNDS, &salt, password, &mut hash);
        Self { rounds: ROUNDS, salt: salt.into(), hash }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix('$')?.split('$');
        let (scheme, rounds, salt, hash) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let rounds: u32 = rounds.strip_prefix("i=")?.parse().ok()?;
        let bytes = |text| BASE64_STANDARD_NO_PAD.decode(text).ok();
        let (salt, hash) = (bytes(salt)?, bytes(hash)?);
        let right = scheme == SCHEME
            && parts.next().is_none()
            && ROUNDS_ALLOWED.contains(&rounds)
            && (SALT..=64).contains(&salt.len())
            && hash.len() == HASH;
        Some(Self { rounds: NonZeroU32::new(rounds)?, salt, hash }).filter(|_| right)
    }

    fn text(&self) -> String {
        let encode = |bytes: &[u8]| BASE64_STANDARD_NO_PAD.encode(bytes);
        format!("${SCHEME}$i={}${}${}", self.rounds, encode(&self.salt), encode(&self.hash))
    }

    fn is_of(&self, password: &[u8]) -> bool {
        verify(PBKDF2_HMAC_SHA256, self.rounds, &self.salt, password, &self.hash).is_ok()
    }
}

/// The users.
#[derive(Clone, Debug)]
pub(crate) struct Passwords {
    users: Arc<BTreeMap<Vec<u8>, Hashed>>,
    /// Compared for users that do not exist, so that they cannot be told from wrong passwords.
    nobody: Arc<Hashed>,
    /// One check at a time: they cost a processor, which others need as well.
    turn: Arc<Semaphore>,
}

impl Default for Passwords {
    /// Without users.
    fn default() -> Self {
        let nobody = Hashed { rounds: ROUNDS, salt: vec![0; SALT], hash: vec![0; HASH] };
        Self { users: Arc::default(), nobody: Arc::new(nobody), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Passwords {
    /// Reads a file.
    pub(crate) fn load(path: &Path) -> Result<Self, PasswordError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| PasswordError::Read { path: path.to_owned(), error })?;
        Self::parse(&text).map_err(|(line, rule)| PasswordError::Line { path: path.to_owned(), line, rule })
    }

    fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let mut users = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |rule| (index + 1, rule);
            let (user, hash) = line.split_once(':').ok_or_else(|| wrong(RULE))?;
            let hash = Hashed::parse(hash).filter(|_| is_user(user)).ok_or_else(|| wrong(RULE))?;
            if users.insert(user.as_bytes().to_vec(), hash).is_some() {
                return Err(wrong("this user stands in an earlier line as well: remove one of them"));
            }
        }
        Ok(Self { users: Arc::new(users), ..Self::default() })
    }

    /// Whether a user has this password. Takes its time, beside everything else.
    pub(super) async fn admit(&self, user: &[u8], password: &[u8]) -> bool {
        let known = self.users.contains_key(user);
        let hashed = self.users.get(user).unwrap_or(&self.nobody).clone();
        // The semaphore is never closed.
        let Ok(turn) = self.turn.clone().acquire_owned().await else { return false };
        let password = password.to_vec();
        let check = tokio::task::spawn_blocking(move || {
            // Held until the work is done, also if nobody waits for it any more.
            let _turn = turn;
            hashed.is_of(&password)
        });
        check.await.unwrap_or(false) && known
    }
}

fn is_user(user: &str) -> bool {
    (1..=USER_MAX).contains(&user.len()) && user.bytes().all(|c| c.is_ascii_graphic() && c != b':')
}

/// A line for the file.
///
/// # Errors
/// Says what is wrong with the name or the password.
pub(crate) fn line(user: &str, password: &str, salt: [u8; SALT]) -> Result<String, String> {
    if !is_user(user) {
        return Err(format!(
            "user name {user:?}: 1 to {USER_MAX} visible ASCII characters without ':' are allowed"
        ));
    }
    if !(1..=PASSWORD_MAX).contains(&password.len()) || password.contains('\0') {
        let length = password.len();
        return Err(format!("a password of {length} bytes: Spread's protocol takes 1 to {PASSWORD_MAX}"));
    }
    Ok(format!("{user}:{}", Hashed::new(password.as_bytes(), salt).text()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_lets_its_user_in_and_nobody_else() {
        let line = line("alice", "secret", [7; SALT]).unwrap();
        assert!(!line.contains("secret") && line.starts_with("alice:$pbkdf2-sha256$i=600000$"), "{line}");
        let passwords = Passwords::parse(&format!("# users\n\n{line}\n")).unwrap();
        assert!(passwords.admit(b"alice", b"secret").await);
        assert!(!passwords.admit(b"alice", b"secreT").await);
        assert!(!passwords.admit(b"alice", b"").await);
        assert!(!passwords.admit(b"bob", b"secret").await);
        assert!(!Passwords::default().admit(b"", b"").await);
    }

    #[test]
    fn lines_that_are_wrong_are_named() {
        let good = line("a", "p", [0; SALT]).unwrap();
        let fewer = good.replace("i=600000", "i=1");
        let long = format!("{}:{}", "u".repeat(32), &good[2..]);
        for bad in
            ["alice", "alice:abJnggxhB/yWI", "a:$pbkdf2-sha256$i=600000$AA$AA", &fewer, &long, &good[1..]]
        {
            let (line, rule) = Passwords::parse(&format!("\n{bad}\n")).unwrap_err();
            assert!(line == 2 && rule.contains("spread-password"), "{bad}");
        }
        let (line, rule) = Passwords::parse(&format!("{good}\n{good}\n")).unwrap_err();
        assert!(line == 2 && rule.contains("earlier"), "{rule}");
        let error = Passwords::load(Path::new("/nowhere/p")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/p") && error.contains("[spread] passwords"), "{error}");
    }

    #[test]
    fn names_and_passwords_have_to_fit_the_wire() {
        assert!(line("a:b", "p", [0; SALT]).unwrap_err().contains("':'"));
        assert!(line("", "p", [0; SALT]).is_err());
        assert!(line("a", "123456789", [0; SALT]).unwrap_err().contains("1 to 8"));
        assert!(line("a", "", [0; SALT]).is_err());
    }
}
