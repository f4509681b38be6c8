//! One connection of a Spread program: the handshake, then a session like any other.

use rand::RngExt;
use stentor_membership::{ConnectError, MemberName, SessionName};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use super::auth::{Auth, Peer};
use super::handshake::{Hello, Refusal, accept, authenticate, hello};
use super::names::Aliases;
use super::requests::Decoder;
use crate::metrics::Count;
use crate::session::Context;
use crate::session::connection::{Language, Line};
use crate::session::goodbye::{CLOSE_PATIENCE, discard};

/// What the connections of this door share.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) auth: Auth,
    pub(crate) aliases: Aliases,
}

/// Serves a connection to its end.
pub(crate) async fn serve<R, W>(mut read: R, mut write: W, peer: Peer, context: &Context, door: &Door)
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    match enter(&mut read, &mut write, peer, context, door).await {
        Ok((line, member)) => line.run(read, write, Decoder::new(member, door.aliases.clone())).await,
        Err(refusal) => {
            context.metrics.count(match refusal {
                Refusal::Silent => Count::handshakes_unfinished,
                Refusal::Version => Count::handshakes_version,
                _ => Count::handshakes_refused,
            });
            debug!(?peer, reason = refusal.text(), "Spread program refused");
            say(&mut read, &mut write, refusal).await;
        }
    }
}

/// Tells a program that there are too many of them.
pub(crate) async fn turn_away(mut read: impl AsyncRead + Unpin, mut write: impl AsyncWrite + Unpin) {
    say(&mut read, &mut write, Refusal::Quota).await;
}

async fn say(read: &mut (impl AsyncRead + Unpin), write: &mut (impl AsyncWrite + Unpin), refusal: Refusal) {
    let last = async {
        let byte = refusal.byte();
        if write.write_all(byte.as_slice()).await.is_ok() {
            // There is nothing to do about a connection that is gone already.
            let _ = write.shutdown().await;
        }
        discard(read).await;
    };
    let _ = timeout(CLOSE_PATIENCE, last).await;
}

/// The handshake. The name is taken before the program proves who it is: a taken one is said at this place.
async fn enter<'a>(
    read: &mut (impl AsyncRead + Unpin),
    write: &mut (impl AsyncWrite + Unpin),
    peer: Peer,
    context: &'a Context,
    door: &Door,
) -> Result<(Line<'a>, MemberName), Refusal> {
    let deadline = Instant::now() + context.handshake_timeout;
    let Hello { version, memberships, name } =
        timeout_at(deadline, hello(read)).await.unwrap_or(Err(Refusal::Silent))?;
    let (line, member) = open(name, memberships, context).await?;
    let proof = async {
        authenticate(version, peer, &door.auth, read, write).await?;
        Ok(write.write_all(&accept(version, member)).await?)
    };
    match timeout_at(deadline, proof).await.unwrap_or(Err(Refusal::Silent)) {
        Ok(()) => Ok((line, member)),
        Err(refusal) => {
            line.give_up().await;
            Err(refusal)
        }
    }
}

/// How often a name is chosen anew that turns out to be taken.
const CHOICES: usize = 16;

/// Opens the session, under a name of this daemon's choice if the program has none.
async fn open(
    name: Option<SessionName>,
    memberships: bool,
    context: &Context,
) -> Result<(Line<'_>, MemberName), Refusal> {
    let mut refusal = Refusal::Silent;
    for _ in 0..CHOICES {
        let (answer, answered) = oneshot::channel();
        let language = Language::Spread { memberships, answer };
        let wanted = name.or_else(choose);
        let line = Line::open(wanted, language, context).await.ok_or(Refusal::Silent)?;
        refusal = match answered.await {
            Ok(Ok(member)) => return Ok((line, member)),
            Ok(Err(ConnectError::NameTaken(_))) => Refusal::NotUnique,
            Ok(Err(ConnectError::TooMany(_))) => return Err(Refusal::Quota),
            Ok(Err(_)) | Err(_) => return Err(Refusal::Silent),
        };
        if name.is_some() {
            break;
        }
    }
    Err(refusal)
}

/// A name that is hardly ever taken.
fn choose() -> Option<SessionName> {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghijkmnpqrstuvwx";
    let mut random: u64 = rand::rng().random();
    let mut name = String::from("r");
    while name.len() < super::names::PRIVATE_MAX {
        name.push(char::from(DIGITS[usize::try_from(random % 32).unwrap_or_default()]));
        random /= 32;
    }
    SessionName::new(&name).ok()
}
