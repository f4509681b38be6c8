//! How a program introduces itself, and why it may get no session.

use std::io;

use stentor_client::wire::{
    self, ClientFrame, FrameDecoder, GoodbyeCode, HELLO_LIMIT, PREAMBLE_LEN, WireError,
};
use stentor_membership::SessionName;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::Context;
use super::goodbye::goodbye_code;
use crate::metrics::Count;

/// Why there is no session.
#[derive(Debug)]
pub(super) enum Refusal {
    Wire(WireError),
    NotHello,
    TimedOut,
    Closed,
}

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<io::Error> for Refusal {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

impl Refusal {
    pub(super) fn code(&self) -> Option<GoodbyeCode> {
        match self {
            Self::Wire(error) => Some(goodbye_code(error)),
            Self::NotHello => Some(GoodbyeCode::Protocol),
            Self::TimedOut => Some(GoodbyeCode::TimedOut),
            Self::Closed => None,
        }
    }

    pub(super) fn text(&self, context: &Context) -> String {
        match self {
            Self::Wire(error) => error.to_string(),
            Self::NotHello => "the first frame must be Hello".to_owned(),
            Self::TimedOut => {
                let limit = humantime::format_duration(context.handshake_timeout);
                format!("no introduction within {limit} ([clients] handshake_timeout)")
            }
            Self::Closed => "closed before it was introduced".to_owned(),
        }
    }

    pub(super) fn count(&self) -> Count {
        match self {
            Self::Wire(WireError::Version(_)) => Count::handshakes_version,
            Self::Wire(WireError::Name(_)) => Count::handshakes_refused,
            Self::Wire(_) | Self::NotHello => Count::handshakes_garbage,
            Self::TimedOut | Self::Closed => Count::handshakes_unfinished,
        }
    }
}

/// Reads the preamble and the hello.
pub(super) async fn introduce(
    read: &mut (impl AsyncRead + Unpin),
) -> Result<(Option<SessionName>, FrameDecoder<ClientFrame>), Refusal> {
    let mut preamble = [0; PREAMBLE_LEN];
    let mut filled = 0;
    while !wire::check_preamble(&preamble[..filled])? {
        match read.read(&mut preamble[filled..]).await? {
            0 => return Err(Refusal::Closed),
            count => filled += count,
        }
    }
    let mut decoder = FrameDecoder::new(HELLO_LIMIT);
    loop {
        match decoder.next_frame()? {
            Some(ClientFrame::Hello { name }) => return Ok((name, decoder)),
            Some(_) => return Err(Refusal::NotHello),
            None => {}
        }
        if read.read_buf(decoder.space()).await? == 0 {
            return Err(Refusal::Closed);
        }
    }
}
