//! A program of Spread: right by default, and wrong in any byte on demand.

use std::fmt::Debug;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::doors::Place;
use super::frame::{HEADER, Message, Order, Request, follow, kind};
use super::membership::View;
use crate::wait::PATIENCE;

trait Stream: AsyncRead + AsyncWrite + Debug + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Debug + Send + Unpin> Stream for S {}

/// A connection on which anything can be said.
#[derive(Debug)]
pub struct Raw(Box<dyn Stream>);

/// The list of methods that a daemon offers by default.
pub const OFFER: &[u8] = b"\x05NULL ";

/// The choice of one method: 90 bytes.
pub fn choice(methods: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0; 90];
    for (slot, method) in bytes.chunks_exact_mut(30).zip(methods) {
        slot[..method.len()].copy_from_slice(method.as_bytes());
    }
    bytes
}

/// What a program says first.
pub fn hello(version: [u8; 3], flags: u8, name: &str) -> Vec<u8> {
    let mut bytes = version.to_vec();
    bytes.extend([flags, u8::try_from(name.len()).unwrap_or(u8::MAX)]);
    bytes.extend(name.bytes());
    bytes
}

impl Raw {
    /// Connects, and says nothing.
    ///
    /// # Errors
    /// If nobody listens.
    pub async fn connect(place: &Place) -> Result<Self> {
        Ok(match place {
            Place::Unix(path) => Self(Box::new(UnixStream::connect(path).await?)),
            Place::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Self(Box::new(stream))
            }
        })
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// If the daemon has closed the connection.
    pub async fn say(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.0.write_all(bytes).await?)
    }

    /// Says that nothing more will be said.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn shut(&mut self) -> Result<()> {
        Ok(self.0.shutdown().await?)
    }

    /// Reads so many bytes.
    ///
    /// # Errors
    /// If they do not come.
    pub async fn read(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        let read = tokio::time::timeout(PATIENCE, self.0.read_exact(&mut bytes)).await;
        read.with_context(|| format!("waited for {count} bytes"))?
            .with_context(|| format!("{count} bytes"))?;
        Ok(bytes)
    }

    /// Checks that exactly these bytes come.
    ///
    /// # Errors
    /// If others do.
    pub async fn expect(&mut self, bytes: &[u8]) -> Result<()> {
        let is = self.read(bytes.len()).await?;
        ensure!(is == bytes, "{is:02x?} instead of {bytes:02x?}");
        Ok(())
    }

    /// Everything up to the end of the connection.
    ///
    /// # Errors
    /// If it does not end.
    pub async fn rest(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let end = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut bytes)).await;
        match end.context("the daemon leaves the connection open")? {
            // Bytes that the daemon has not read make the end a reset.
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => Err(error.into()),
            Ok(_) | Err(_) => Ok(bytes),
        }
    }

    /// Checks that these bytes are the last.
    ///
    /// # Errors
    /// If they are not.
    pub async fn last(mut self, bytes: &[u8]) -> Result<()> {
        let is = self.rest().await?;
        ensure!(is == bytes, "{is:02x?} instead of {bytes:02x?} and the end");
        Ok(())
    }

    /// The next message.
    ///
    /// # Errors
    /// If none comes.
    pub async fn message(&mut self) -> Result<Message> {
        let mut raw = self.read(HEADER).await?;
        let header: &[u8; HEADER] = raw.first_chunk().context("no header")?;
        let (names, body) = follow(header)?;
        raw.extend(self.read(names + body).await?);
        Message::parse(raw)
    }

    /// Shakes hands as version 5.0.1 does with the default method, and gives the private group.
    ///
    /// # Errors
    /// If the daemon refuses.
    pub async fn enter(&mut self, name: &str, memberships: bool) -> Result<String> {
        self.say(&hello([5, 0, 1], u8::from(memberships), name)).await?;
        self.expect(OFFER).await?;
        self.say(&choice(&["NULL"])).await?;
        self.accepted().await
    }

    /// Reads the accept block, and gives the private group.
    ///
    /// # Errors
    /// If it is a reject.
    pub async fn accepted(&mut self) -> Result<String> {
        self.expect(&[1, 5, 0, 1]).await?;
        let length = self.read(1).await?;
        Ok(String::from_utf8(self.read(usize::from(length[0])).await?)?)
    }
}

/// A session.
#[derive(Debug)]
pub struct Client {
    /// The connection.
    pub raw: Raw,
    /// Its private group.
    pub name: String,
    /// The byte order in which it writes.
    pub order: Order,
}

impl Client {
    /// Opens a session.
    ///
    /// # Errors
    /// If the daemon refuses.
    pub async fn connect(place: &Place, name: &str, memberships: bool) -> Result<Self> {
        let mut raw = Raw::connect(place).await?;
        let name = raw.enter(name, memberships).await?;
        Ok(Self { raw, name, order: Order::Little })
    }

    /// With another byte order.
    #[must_use]
    pub fn writes(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// A message in its name.
    pub fn request(&self, word: u32, names: &[&str], payload: &[u8]) -> Request {
        Request::new(self.order, word, &self.name, names, payload)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn send(&mut self, request: &Request) -> Result<()> {
        self.raw.say(&request.bytes()).await
    }

    /// Sends a message to groups.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn multicast(&mut self, word: u32, groups: &[&str], payload: &[u8]) -> Result<()> {
        self.send(&self.request(word, groups, payload)).await
    }

    /// Asks to join, and does not wait.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn ask_join(&mut self, group: &str) -> Result<()> {
        self.multicast(kind::JOIN, &[group], b"").await
    }

    /// Joins, and waits for the view with it.
    ///
    /// # Errors
    /// If another message comes first.
    pub async fn join(&mut self, group: &str) -> Result<Vec<String>> {
        self.ask_join(group).await?;
        let joined = self.view(kind::BY_JOIN, group).await?;
        ensure!(joined.1.sets == [[self.name.clone()]], "{joined:?}");
        Ok(joined.0)
    }

    /// Asks to leave, and does not wait.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn ask_leave(&mut self, group: &str) -> Result<()> {
        self.multicast(kind::LEAVE, &[group], b"").await
    }

    /// Ends the session, and waits for the end.
    ///
    /// # Errors
    /// If the daemon says something more, or does not close.
    pub async fn kill(mut self) -> Result<()> {
        let own = self.name.clone();
        self.multicast(kind::KILL, &[&own], b"").await?;
        self.raw.last(b"").await
    }

    /// The next message.
    ///
    /// # Errors
    /// If none comes.
    pub async fn next(&mut self) -> Result<Message> {
        self.raw.message().await
    }

    /// The next message, which must be a view of a group with this cause: its members and body.
    ///
    /// # Errors
    /// If it is something else.
    pub async fn view(&mut self, cause: u32, group: &str) -> Result<(Vec<String>, View)> {
        let message = self.next().await?;
        ensure!(message.word == cause && message.name == group, "{message:?} instead of {cause:#x} {group}");
        ensure!(message.hint == Order::Little.hint(0), "{message:?}");
        let view = View::of(&message)?;
        Ok((message.names, view))
    }

    /// The payload of the next message, which must be one to groups.
    ///
    /// # Errors
    /// If it is something else.
    pub async fn payload(&mut self) -> Result<Vec<u8>> {
        let message = self.next().await?;
        ensure!(message.word & 0x3f != 0, "{message:?} is no message of a program");
        Ok(message.body)
    }

    /// Checks that nothing waits to be read: what it sends to itself is the next message that it gets.
    ///
    /// # Errors
    /// If something else comes.
    pub async fn hears_nothing(&mut self) -> Result<()> {
        let own = self.name.clone();
        self.multicast(kind::AGREED, &[&own], b"nothing before this").await?;
        let message = self.next().await?;
        ensure!(message.body == b"nothing before this", "{message:?}");
        Ok(())
    }

    /// Checks that the daemon ends the session without another word.
    ///
    /// # Errors
    /// If it does not.
    pub async fn ended(self) -> Result<()> {
        self.raw.last(b"").await
    }

    /// Checks that the daemon ends the session, whatever it had to say before.
    ///
    /// # Errors
    /// If it does not, or the last message is not whole.
    pub async fn ends(mut self) -> Result<()> {
        let rest = self.raw.rest().await?;
        let mut rest = &rest[..];
        while let Some(header) = rest.first_chunk::<HEADER>() {
            let (names, body) = follow(header)?;
            let length = HEADER + names + body;
            if rest.len() < length {
                break;
            }
            rest = &rest[length..];
        }
        if rest.is_empty() { Ok(()) } else { bail!("{} bytes of a message that is not whole", rest.len()) }
    }
}
