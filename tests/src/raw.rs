//! A client that speaks the session protocol by hand, right or wrong.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use stentor_client::Address;
use stentor_client::wire::{
    ClientFrame, DAEMON_FRAME_LIMIT, DaemonFrame, Frame, FrameDecoder, GoodbyeCode, preamble,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::wait::PATIENCE;

/// A connection on which anything can be said.
#[derive(Debug)]
pub struct Raw {
    socket: UnixStream,
    decoder: FrameDecoder<DaemonFrame>,
}

impl Raw {
    /// Connects, and says nothing.
    ///
    /// # Errors
    /// If nobody listens.
    pub async fn connect(address: &Address) -> Result<Self> {
        let Address::Unix(path) = address else { bail!("{address} is no unix socket") };
        Ok(Self { socket: UnixStream::connect(path).await?, decoder: FrameDecoder::new(DAEMON_FRAME_LIMIT) })
    }

    /// Connects and opens a session as it should be done.
    ///
    /// # Errors
    /// If the daemon refuses.
    pub async fn open(address: &Address, name: &str) -> Result<Self> {
        let mut raw = Self::connect(address).await?;
        raw.say(&preamble()).await?;
        raw.frame(&ClientFrame::Hello { name: Some(name.parse()?) }).await?;
        let answer = raw.next().await?;
        ensure!(matches!(answer, DaemonFrame::Welcome { .. }), "{answer:?}");
        Ok(raw)
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// If the daemon has closed the connection.
    pub async fn say(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.socket.write_all(bytes).await?)
    }

    /// Sends a frame as it should be.
    ///
    /// # Errors
    /// If the daemon has closed the connection.
    pub async fn frame(&mut self, frame: &ClientFrame) -> Result<()> {
        let mut bytes = bytes::BytesMut::new();
        frame.encode(&mut bytes)?;
        self.say(&bytes).await
    }

    /// Sends a frame with this body.
    ///
    /// # Errors
    /// If the daemon has closed the connection.
    pub async fn body(&mut self, body: &[u8]) -> Result<()> {
        self.say(&u32::try_from(body.len())?.to_le_bytes()).await?;
        self.say(body).await
    }

    /// The next frame from the daemon.
    ///
    /// # Errors
    /// If none comes.
    pub async fn next(&mut self) -> Result<DaemonFrame> {
        let next = async {
            loop {
                if let Some(frame) = self.decoder.next_frame()? {
                    return Ok(frame);
                }
                let count = self.socket.read_buf(self.decoder.space()).await?;
                ensure!(count > 0, "the daemon closed the connection without a word");
            }
        };
        tokio::time::timeout(PATIENCE, next).await.context("the daemon says nothing")?
    }

    /// Waits for the goodbye and the end behind it: the reason and the text.
    ///
    /// # Errors
    /// If the connection does not end so.
    pub async fn goodbye(mut self) -> Result<(GoodbyeCode, String)> {
        let goodbye = loop {
            if let DaemonFrame::Goodbye { code, text } = self.next().await? {
                break (code, text);
            }
        };
        let mut rest = [0; 16];
        let end = tokio::time::timeout(Duration::from_secs(10), self.socket.read(&mut rest)).await;
        let count = end.context("the daemon leaves the connection open")??;
        ensure!(count == 0, "{count} bytes behind the goodbye");
        Ok(goodbye)
    }
}
