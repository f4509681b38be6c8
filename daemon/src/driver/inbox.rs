//! What reaches the driver.

use bytes::Bytes;
use stentor_client::wire::{ClientFrame, GoodbyeCode, WireError};

use crate::session::ConnectionNumber;
use crate::session::connection::Opening;
use crate::session::goodbye::goodbye_code;
use crate::transport::link::{LinkEvent, LinkNumber};

/// How many inputs may wait. What is behind them waits in the sockets.
pub(crate) const CAPACITY: usize = 256;

/// Something for the driver to handle, in the order of arrival.
#[derive(Debug)]
pub(crate) enum Input {
    /// From a link to a peer.
    Link(LinkNumber, LinkEvent),
    /// A program introduced itself.
    Open(ConnectionNumber, Opening),
    /// A program said something.
    Batch(ConnectionNumber, Batch),
    /// The daemon is to leave in order.
    Shutdown,
}

impl Input {
    /// About how many bytes of messages it brings.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Link(_, LinkEvent::Frames(frames)) => frames.iter().map(Bytes::len).sum(),
            Self::Batch(_, batch) => batch.frames.iter().map(weight).sum(),
            Self::Link(..) | Self::Open(..) | Self::Shutdown => 0,
        }
    }
}

fn weight(frame: &ClientFrame) -> usize {
    match frame {
        ClientFrame::Multicast { content, .. } => content.len(),
        _ => 0,
    }
}

/// What a program sent since its last batch.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// In order.
    pub(crate) frames: Vec<ClientFrame>,
    /// Set if these were the last ones.
    pub(crate) end: Option<End>,
}

impl Batch {
    /// The end alone.
    pub(crate) fn end(end: End) -> Self {
        Self { frames: Vec::new(), end: Some(end) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.end.is_none()
    }
}

/// How a program ends.
#[derive(Debug)]
pub(crate) enum End {
    /// It said goodbye.
    Goodbye,
    /// Its connection broke.
    Lost,
    /// It sent what is not its protocol.
    Violation(Violation),
}

/// What a program sent against its protocol.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// For the program.
    pub(crate) code: GoodbyeCode,
    /// For people: what it was and what is allowed.
    pub(crate) text: String,
}

impl From<WireError> for Violation {
    fn from(error: WireError) -> Self {
        Self { code: goodbye_code(&error), text: error.to_string() }
    }
}
