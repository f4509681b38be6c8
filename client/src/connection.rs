//! Opening a connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use stentor_membership::{NameError, SessionName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Semaphore, mpsc};

use crate::address::Address;
use crate::error::ConnectError;
use crate::receiver::Receiver;
use crate::sender::Sender;
use crate::shared::Shared;
use crate::tasks::{INBOX, read, write};
use crate::wire::{
    ClientFrame, DAEMON_FRAME_LIMIT, DaemonFrame, Frame, FrameDecoder, WireError, preamble, split,
};

/// A session with a local daemon, as two halves that can be used apart.
#[derive(Debug)]
pub struct Connection {
    /// Joins, leaves, sends and asks.
    pub sender: Sender,
    /// Receives what happens.
    pub receiver: Receiver,
}

impl Connection {
    /// Opens a session under a name of the daemon's choice.
    ///
    /// # Errors
    /// As [`Builder::connect`].
    pub async fn connect(address: &Address) -> Result<Self, ConnectError> {
        Self::builder().connect(address).await
    }

    /// Opens a session with settings.
    pub fn builder() -> Builder {
        Builder { name: None, timeout: Builder::TIMEOUT }
    }

    /// The two halves.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

/// Settings for a new session.
#[derive(Clone, Debug)]
pub struct Builder {
    name: Option<SessionName>,
    timeout: Duration,
}

impl Builder {
    /// How long connecting may take unless set otherwise.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// The session's name, which no other live session of the daemon has. Without one, the daemon chooses.
    ///
    /// # Errors
    /// [`NameError`] if the name breaks the rule.
    pub fn name(self, name: &str) -> Result<Self, NameError> {
        Ok(Self { name: Some(SessionName::new(name)?), ..self })
    }

    /// How long connecting may take; 10 s by default.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Opens the session. To be called inside a tokio runtime, which also runs the connection.
    ///
    /// # Errors
    /// [`ConnectError`] says why there is no session.
    pub async fn connect(&self, address: &Address) -> Result<Connection, ConnectError> {
        let connect = async {
            let unreachable =
                |error| ConnectError::Unreachable { address: address.clone(), error: Arc::new(error) };
            match address {
                Address::Unix(path) => {
                    let socket = UnixStream::connect(path).await.map_err(unreachable)?;
                    let (read, write) = socket.into_std().and_then(split).map_err(unreachable)?;
                    self.open(address, read, write).await
                }
                Address::Tcp { host, port } => {
                    let socket = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
                    socket.set_nodelay(true).map_err(unreachable)?;
                    let (read, write) = socket.into_std().and_then(split).map_err(unreachable)?;
                    self.open(address, read, write).await
                }
            }
        };
        let after = self.timeout;
        tokio::time::timeout(after, connect)
            .await
            .unwrap_or_else(|_| Err(ConnectError::TimedOut { address: address.clone(), after }))
    }

    /// Introduces the session on a fresh socket, and starts the connection's tasks.
    async fn open(
        &self,
        address: &Address,
        mut from: impl AsyncRead + Unpin + Send + 'static,
        mut to: impl AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Connection, ConnectError> {
        let protocol = |error| ConnectError::Protocol { address: address.clone(), error };
        let mut hello = BytesMut::from(&preamble()[..]);
        ClientFrame::Hello { name: self.name }.encode(&mut hello).map_err(protocol)?;
        // A daemon that refuses may close at once, with its reason in the socket: if this fails, reading says more.
        let _ = to.write_all(&hello).await;
        let mut decoder = FrameDecoder::new(DAEMON_FRAME_LIMIT);
        let answer = loop {
            if let Some(frame) = decoder.next_frame().map_err(protocol)? {
                break frame;
            }
            let end = match from.read_buf(decoder.space()).await {
                Ok(0) => {
                    io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection without a word")
                }
                Ok(_) => continue,
                Err(error) => error,
            };
            return Err(ConnectError::Unreachable { address: address.clone(), error: Arc::new(end) });
        };
        let (member, max_message) = match answer {
            DaemonFrame::Welcome { member, max_message } => (member, max_message),
            DaemonFrame::Goodbye { code, text } => {
                return Err(ConnectError::Refused { address: address.clone(), code, text });
            }
            _ => return Err(protocol(WireError::Malformed("the first frame is no welcome"))),
        };
        let shared = Shared::new(member, usize::try_from(max_message).unwrap_or(usize::MAX));
        // Its bound is the semaphore's.
        let (inbox, events) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(INBOX));
        let connection = Connection {
            sender: Sender::new(shared.clone()),
            receiver: Receiver::new(shared.clone(), events, room.clone()),
        };
        tokio::spawn(write(shared.clone(), to));
        tokio::spawn(read(shared, from, decoder, inbox, room));
        Ok(connection)
    }
}
