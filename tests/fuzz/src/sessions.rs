//! Frames between a client and its daemon, from both sides.

use bytes::{Bytes, BytesMut};
use stentor_client::wire::{ClientFrame, DaemonFrame, Frame, FrameDecoder, LastMessage, check_preamble};

/// The largest frame that the decoders under test take.
const LIMIT: usize = 1 << 16;

/// Bytes that a client sent, as the daemon reads them.
pub fn frames_of_clients(data: &[u8]) {
    let _ = check_preamble(data);
    stream::<ClientFrame>(data);
}

/// Bytes that a daemon sent, as the client reads them: messages in one piece, the same that come one by one.
pub fn frames_of_daemons(data: &[u8]) {
    stream::<DaemonFrame>(data);
    assert_eq!(in_one_piece(data), frames::<DaemonFrame>(data, data.len().max(1)));
}

fn in_one_piece(data: &[u8]) -> (Vec<DaemonFrame>, Result<(), String>) {
    let (mut decoder, mut last) = (FrameDecoder::<DaemonFrame>::new(LIMIT), LastMessage::default());
    let mut frames = Vec::new();
    decoder.feed(data);
    loop {
        let mut messages = decoder.next_messages().unwrap_or_default();
        while let Some(message) = messages.next(&mut last) {
            match message {
                Ok((&(sender, service), content)) => {
                    frames.push(DaemonFrame::Message { sender, service, content });
                }
                Err(error) => return (frames, Err(error.to_string())),
            }
        }
        match decoder.next_frame() {
            Ok(Some(frame)) => {
                assert!(!matches!(frame, DaemonFrame::Message { .. }), "a message that was left behind");
                frames.push(frame);
            }
            Ok(None) => return (frames, Ok(())),
            Err(error) => return (frames, Err(error.to_string())),
        }
    }
}

/// However a stream is cut, the same frames come out of it, until the same error; a frame that is read is written as
/// bytes that mean the same; and what waits is not more than a frame and what came.
fn stream<F: Frame + PartialEq + std::fmt::Debug>(data: &[u8]) {
    let (whole, outcome) = frames::<F>(data, data.len().max(1));
    let step = usize::from(data.first().copied().unwrap_or_default()) % 40 + 1;
    assert_eq!(frames::<F>(data, step), (whole, outcome), "cut into {step} bytes");
    if let Ok(frame) = F::decode(Bytes::copy_from_slice(data)) {
        let mut out = BytesMut::new();
        if frame.encode(&mut out).is_ok() {
            let mut decoder = FrameDecoder::<F>::new(usize::MAX);
            decoder.feed(&out);
            assert_eq!(decoder.next_frame(), Ok(Some(frame)), "read, written and read");
            assert_eq!(decoder.pending(), 0, "and nothing more");
        }
    }
}

fn frames<F: Frame>(data: &[u8], step: usize) -> (Vec<F>, Result<(), String>) {
    let mut decoder = FrameDecoder::<F>::new(LIMIT);
    let mut frames = Vec::new();
    for piece in data.chunks(step) {
        decoder.space().extend_from_slice(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error.to_string())),
            }
        }
        assert!(decoder.pending() <= LIMIT + 4, "a frame above the limit is refused by its length");
    }
    (frames, Ok(()))
}
