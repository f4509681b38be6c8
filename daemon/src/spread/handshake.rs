//! How a Spread program introduces itself, and how it is answered: single bytes, no byte order.

use std::io;

use stentor_membership::{MemberName, SessionName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::VERSION;
use super::auth::{Auth, Method, Peer};
use super::names::{self, PRIVATE_MAX};
use super::passwords::PASSWORD_MAX;

/// Why a program is turned away. It is told a byte, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// As many sessions as there may be.
    Quota,
    /// The name breaks the rules.
    IllegalName,
    /// Another session has the name.
    NotUnique,
    /// Older than any version that the protocol is known of.
    Version,
    /// It did not prove who it is.
    Auth,
    /// It did not say enough in time, or closed.
    Silent,
}

impl Refusal {
    /// What the program reads instead of an answer.
    pub(super) const fn byte(self) -> Option<u8> {
        Some(match self {
            Self::Quota => 0xfd,
            Self::IllegalName => 0xfb,
            Self::NotUnique => 0xfa,
            Self::Version => 0xf9,
            Self::Auth => 0xf7,
            Self::Silent => return None,
        })
    }

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Quota => "all sessions are in use",
            Self::IllegalName => "a private name is 1 to 10 characters between '$' and '~'",
            Self::NotUnique => "another session has the name",
            Self::Version => "versions before 3.1 are not supported",
            Self::Auth => "it did not prove who it is",
            Self::Silent => "no introduction in time",
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(_: io::Error) -> Self {
        Self::Silent
    }
}

/// A version of Spread's client library, comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u32);

impl Version {
    /// The first that is served.
    const OLDEST: Self = Self::new(3, 1, 0);
    /// The first that says, and is told, a patch level.
    const WITH_PATCH: Self = Self::new(3, 15, 0);
    /// The first that is asked who it is.
    const WITH_AUTH: Self = Self::new(3, 16, 0);

    const fn new(major: u8, minor: u8, patch: u8) -> Self {
        Self(major as u32 * 10_000 + minor as u32 * 100 + patch as u32)
    }
}

/// What a program says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) version: Version,
    /// Whether it wants to be told of memberships.
    pub(super) memberships: bool,
    /// None if the daemon is to choose.
    pub(super) name: Option<SessionName>,
}

/// Reads what a program says first, in however many pieces it comes.
pub(super) async fn hello(read: &mut (impl AsyncRead + Unpin)) -> Result<Hello, Refusal> {
    let (major, minor) = (read.read_u8().await?, read.read_u8().await?);
    let version = Version::new(major, minor, 0);
    let patch = if version >= Version::WITH_PATCH { read.read_u8().await? } else { 0 };
    let flags = read.read_u8().await?;
    let length = usize::from(read.read_u8().await?);
    if version < Version::OLDEST {
        return Err(Refusal::Version);
    }
    if length > PRIVATE_MAX {
        return Err(Refusal::IllegalName);
    }
    let mut name = [0; PRIVATE_MAX];
    if read.read_exact(&mut name[..length]).await.is_err() {
        return Err(Refusal::IllegalName);
    }
    let name = match &name[..length] {
        [] => None,
        bytes => Some(names::private(bytes).ok_or(Refusal::IllegalName)?),
    };
    Ok(Hello { version: Version::new(major, minor, patch), memberships: flags & 1 != 0, name })
}

/// The bytes of a method's name in a choice.
const SLOT: usize = 30;
/// How many a choice has.
const SLOTS: usize = 3;
/// The bytes of a user name.
const USER: usize = 32;

/// Lets a program prove who it is.
pub(super) async fn authenticate(
    version: Version,
    peer: Peer,
    auth: &Auth,
    read: &mut (impl AsyncRead + Unpin),
    write: &mut (impl AsyncWrite + Unpin),
) -> Result<(), Refusal> {
    if version < Version::WITH_AUTH {
        return if auth.rules.admits_unasked(peer) { Ok(()) } else { Err(Refusal::Auth) };
    }
    let offer = auth.rules.offer();
    let mut bytes = vec![u8::try_from(offer.len()).unwrap_or(0)];
    bytes.extend_from_slice(offer.as_bytes());
    write.write_all(&bytes).await?;
    if offer.is_empty() {
        return Err(Refusal::Auth);
    }
    let mut choice = [0; SLOTS * SLOT];
    read.read_exact(&mut choice).await?;
    let chosen: Vec<_> = choice.chunks_exact(SLOT).map(until_zero).collect();
    for method in auth.rules.chosen(&chosen).ok_or(Refusal::Auth)? {
        let passed = match method {
            Method::Null => true,
            Method::Ip => auth.rules.admits(peer),
            Method::Pword => password(auth, read, write).await?,
        };
        if !passed {
            return Err(Refusal::Auth);
        }
    }
    Ok(())
}

async fn password(
    auth: &Auth,
    read: &mut (impl AsyncRead + Unpin),
    write: &mut (impl AsyncWrite + Unpin),
) -> Result<bool, Refusal> {
    let mut secret = [0; USER + PASSWORD_MAX];
    read.read_exact(&mut secret).await?;
    let (user, password) = secret.split_at(USER);
    let passed = auth.passwords.admit(until_zero(user), until_zero(password)).await;
    write.write_all(&[u8::from(passed)]).await?;
    Ok(passed)
}

fn until_zero(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Tells a program that it is in, and its private group.
pub(super) fn accept(version: Version, member: MemberName) -> Vec<u8> {
    let group = member.to_string();
    let mut bytes = vec![1, VERSION[0], VERSION[1]];
    if version >= Version::WITH_PATCH {
        bytes.push(VERSION[2]);
    }
    bytes.push(u8::try_from(group.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(group.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn said(bytes: &[u8]) -> Result<Hello, Refusal> {
        hello(&mut &bytes[..]).await
    }

    #[tokio::test]
    async fn a_hello_has_a_patch_level_from_3_15_on() {
        let new = said(b"\x05\x00\x01\x01\x05alice").await.unwrap();
        assert!(new.memberships && new.name.unwrap().as_str() == "alice");
        assert_eq!(new.version, Version::new(5, 0, 1));
        let old = said(b"\x03\x0e\x10\x00").await.unwrap();
        assert_eq!((old.version, old.memberships, old.name), (Version::new(3, 14, 0), false, None));
        assert_eq!(said(b"\x03\x0f\x09\x11\x01x").await.unwrap().version, Version::new(3, 15, 9));
        assert!(said(b"\x09\x09\x09\x01\x00").await.is_ok(), "newer ones are welcome");
    }

    #[tokio::test]
    async fn what_is_wrong_has_its_byte() {
        assert_eq!(said(b"\x03\x00\x01\x00").await, Err(Refusal::Version));
        assert_eq!(said(b"\x02\x09\x01\x00").await, Err(Refusal::Version));
        assert_eq!(said(b"\x05\x00\x01\x01\x0babcdefghijk").await, Err(Refusal::IllegalName));
        assert_eq!(said(b"\x05\x00\x01\x01\xffx").await, Err(Refusal::IllegalName));
        assert_eq!(said(b"\x05\x00\x01\x01\x03ab").await, Err(Refusal::IllegalName));
        assert_eq!(said(b"\x05\x00\x01\x01\x03a#b").await, Err(Refusal::IllegalName));
        assert_eq!(said(b"\x05\x00\x01\x01\x03a b").await, Err(Refusal::IllegalName));
        assert_eq!(said(b"\x05\x00\x01").await, Err(Refusal::Silent));
        assert_eq!(said(b"").await, Err(Refusal::Silent));
        let bytes =
            [Refusal::Quota, Refusal::IllegalName, Refusal::NotUnique, Refusal::Version, Refusal::Auth];
        assert_eq!(bytes.map(|refusal| refusal.byte().unwrap().cast_signed()), [-3, -5, -6, -7, -9]);
    }

    #[test]
    fn an_accept_has_a_patch_level_from_3_15_on() {
        let member: MemberName = "#o#d1".parse().unwrap();
        assert_eq!(accept(Version::new(3, 14, 0), member), b"\x01\x05\x00\x05#o#d1");
        assert_eq!(accept(Version::new(3, 15, 9), member), b"\x01\x05\x00\x01\x05#o#d1");
    }
}
