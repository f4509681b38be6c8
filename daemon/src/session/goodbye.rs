//! The last words to a program: why its connection ends.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use stentor_client::wire::{DaemonFrame, Frame, GoodbyeCode, WireError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How long a closed connection waits for the program to close its end, so that it can read the last words.
pub(crate) const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Tells a program why it gets no session, and closes.
pub(crate) async fn say_goodbye(
    read: &mut (impl AsyncRead + Unpin),
    write: &mut (impl AsyncWrite + Unpin),
    code: GoodbyeCode,
    text: &str,
) {
    let last_words = async {
        if write.write_all(&goodbye(code, text)).await.is_ok() {
            // There is nothing to do about a connection that is gone already.
            let _ = write.shutdown().await;
        }
        discard(read).await;
    };
    let _ = tokio::time::timeout(CLOSE_PATIENCE, last_words).await;
}

/// The code that goes with an error in what a program sent.
pub(crate) fn goodbye_code(error: &WireError) -> GoodbyeCode {
    match error {
        WireError::Version(_) => GoodbyeCode::Version,
        WireError::TooLarge { .. } => GoodbyeCode::TooLarge,
        WireError::Name(_) => GoodbyeCode::NameInvalid,
        _ => GoodbyeCode::Protocol,
    }
}

/// An encoded goodbye.
pub(crate) fn goodbye(code: GoodbyeCode, text: &str) -> Bytes {
    encoded(&DaemonFrame::Goodbye { code, text: text.to_owned() })
}

/// An encoded frame; nothing if it does not fit the protocol, which is logged.
pub(crate) fn encoded(frame: &DaemonFrame) -> Bytes {
    let mut out = BytesMut::new();
    if let Err(error) = frame.encode(&mut out) {
        tracing::error!(%error, "a frame for a program has no encoding");
    }
    out.freeze()
}

/// Reads to the end without a use for it.
pub(crate) async fn discard(read: &mut (impl AsyncRead + Unpin)) {
    let mut sink = [0; 4096];
    while matches!(read.read(&mut sink).await, Ok(1..)) {}
}
