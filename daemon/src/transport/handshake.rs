//! From a QUIC connection to a link: each end introduces itself and checks the other.
//!
//! The dialler speaks first; the acceptor answers only if it agrees, so that a refused dialler never takes the link
//! for up.

use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, WriteError};
use rustls::pki_types::CertificateDer;
use stentor_membership::{DaemonId, DaemonName};
use thiserror::Error;

use super::board::Severity;
use super::explain::{explain, severity};
use super::frames::{Assembler, LENGTH, Oversize};
use super::hello::{HELLO_MAX, Hello, HelloError};
use super::link::{Close, Established, LinkNumber, close_connection};
use super::quic::Context;
use super::tls;

/// How long an authenticated peer may take to introduce itself.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a connection does not become a link.
#[derive(Debug, Error)]
pub(crate) enum HandshakeError {
    #[error("{}", explain(.0))]
    Connection(#[from] ConnectionError),
    #[error("no introduction within {} s", TIMEOUT.as_secs())]
    TimedOut,
    #[error("it ended the connection without an introduction")]
    Ended,
    #[error(transparent)]
    Oversize(#[from] Oversize),
    #[error(transparent)]
    Hello(#[from] HelloError),
    #[error("it belongs to cluster {theirs:?}, this daemon to {ours:?}")]
    Cluster { theirs: String, ours: String },
    #[error("it calls itself {0}, but its certificate is not that of {0}")]
    Certificate(DaemonName),
    #[error("it calls itself {claimed}, but {expected} was dialled: is the address in [daemons] right?")]
    Name { claimed: DaemonName, expected: DaemonName },
    #[error("it calls itself {0}, which is this daemon's own name: each daemon needs its own configuration")]
    OwnName(DaemonName),
    #[error("{0} is not listed in this daemon's [daemons]")]
    Stranger(DaemonName),
    #[error("{0} dialled, but the lower name dials: both need the same names in [daemons]")]
    WrongSide(DaemonName),
}

impl HandshakeError {
    pub(crate) fn severity(&self) -> Severity {
        match self {
            Self::Connection(error) => severity(error),
            Self::TimedOut | Self::Ended => Severity::Passing,
            Self::Oversize(_)
            | Self::Hello(_)
            | Self::Cluster { .. }
            | Self::Certificate(_)
            | Self::Name { .. }
            | Self::OwnName(_)
            | Self::Stranger(_)
            | Self::WrongSide(_) => Severity::Lasting,
        }
    }
}

impl From<ReadError> for HandshakeError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ConnectionLost(error) => Self::Connection(error),
            _ => Self::Ended,
        }
    }
}

impl From<WriteError> for HandshakeError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ConnectionLost(error) => Self::Connection(error),
            _ => Self::Ended,
        }
    }
}

/// The dialler's part: `expected` is whose certificate TLS has checked.
pub(crate) async fn dialled(
    connection: Connection,
    expected: DaemonName,
    context: &Context,
) -> Result<Established, HandshakeError> {
    let exchange = async {
        let send = introduce(&connection, context).await?;
        let (hello, recv, assembler, early) = listen(&connection).await?;
        check_cluster(&hello, context)?;
        let claimed = hello.daemon.name;
        if claimed != expected {
            return Err(HandshakeError::Name { claimed, expected });
        }
        Ok((hello.daemon, send, recv, assembler, early))
    };
    finish(connection.clone(), bounded(exchange).await)
}

/// The acceptor's part. An error comes with the peer's name if the peer has proved it.
pub(crate) async fn accepted(
    connection: Connection,
    context: &Context,
) -> Result<Established, (Option<DaemonName>, HandshakeError)> {
    let mut proved = None;
    let exchange = async {
        let (hello, recv, assembler, early) = listen(&connection).await?;
        let name = hello.daemon.name;
        if !certificate_covers(&connection, name) {
            return Err(HandshakeError::Certificate(name));
        }
        if context.daemons.contains_key(&name) {
            proved = Some(name);
        }
        check_cluster(&hello, context)?;
        let own = context.own.name;
        if name == own {
            return Err(HandshakeError::OwnName(name));
        }
        if !context.daemons.contains_key(&name) {
            return Err(HandshakeError::Stranger(name));
        }
        if name > own {
            return Err(HandshakeError::WrongSide(name));
        }
        let send = introduce(&connection, context).await?;
        Ok((hello.daemon, send, recv, assembler, early))
    };
    let result = bounded(exchange).await;
    finish(connection.clone(), result).map_err(|error| (proved, error))
}

async fn bounded<T>(exchange: impl Future<Output = Result<T, HandshakeError>>) -> Result<T, HandshakeError> {
    tokio::time::timeout(TIMEOUT, exchange).await.unwrap_or(Err(HandshakeError::TimedOut))
}

type Exchanged = (DaemonId, SendStream, RecvStream, Assembler, Vec<Bytes>);

/// Numbers the link, or tells the peer why there is none.
fn finish(
    connection: Connection,
    result: Result<Exchanged, HandshakeError>,
) -> Result<Established, HandshakeError> {
    match result {
        Ok((peer, send, recv, assembler, early)) => {
            Ok(Established { number: LinkNumber::next(), peer, connection, send, recv, assembler, early })
        }
        Err(error) => {
            close_connection(&connection, Close::Refused, &format!("refused: {error}"));
            Err(error)
        }
    }
}

async fn introduce(connection: &Connection, context: &Context) -> Result<SendStream, HandshakeError> {
    let hello = Hello { cluster: context.cluster.clone(), daemon: context.own };
    let body = hello.encode()?;
    let mut send = connection.open_uni().await?;
    let length = u32::try_from(body.len()).map_err(|_| HelloError::Malformed)?;
    let mut frame = Vec::with_capacity(LENGTH + body.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&body);
    send.write_all(&frame).await?;
    Ok(send)
}

async fn listen(
    connection: &Connection,
) -> Result<(Hello, RecvStream, Assembler, Vec<Bytes>), HandshakeError> {
    let mut recv = connection.accept_uni().await?;
    let mut assembler = Assembler::new(HELLO_MAX);
    let mut frames = Vec::new();
    while frames.is_empty() {
        let chunk = recv.read_chunk(HELLO_MAX, true).await?.ok_or(HandshakeError::Ended)?;
        assembler.push(chunk.bytes, &mut frames)?;
    }
    let hello = Hello::decode(frames.remove(0))?;
    Ok((hello, recv, assembler, frames))
}

fn check_cluster(hello: &Hello, context: &Context) -> Result<(), HandshakeError> {
    if hello.cluster == context.cluster {
        return Ok(());
    }
    let theirs = hello.cluster.chars().take(64).collect();
    Err(HandshakeError::Cluster { theirs, ours: context.cluster.clone() })
}

fn certificate_covers(connection: &Connection, name: DaemonName) -> bool {
    let chain =
        connection.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
    chain.is_some_and(|chain| chain.first().is_some_and(|certificate| tls::covers(certificate, name)))
}
