//! The session protocol: the program's side of sending, the daemon's of taking in, and the way back.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use stentor_client::wire::{
    ClientFrame, DaemonFrame, Frame, FrameDecoder, LastMessage, Lent, encode_message_header, encode_multicast,
};
use stentor_client::{Content, MemberName, Message, Service};

use crate::{Body, SIZES, Step, batch, payload};

const GROUP: [&str; 1] = ["orders"];

/// Above all frames here.
const LIMIT: usize = 1 << 20;

const HEADERS: usize = 256;

pub(crate) fn bodies() -> Vec<Body> {
    let mut bodies = Vec::new();
    for size in SIZES {
        let messages = batch(size);
        bodies.push(Body::new(format!("session/multicast-encode/{size}"), messages, move || encode(size)));
        bodies.push(Body::new(format!("session/client-decode/{size}"), messages, move || {
            decode::<ClientFrame>(multicasts(size), |decoder| {
                std::iter::from_fn(|| decoder.next_frame().unwrap()).map(black_box).count()
            })
        }));
        bodies.push(Body::new(format!("session/daemon-decode/{size}"), messages, move || {
            let mut last = LastMessage::default();
            decode::<DaemonFrame>(deliveries(size), move |decoder| {
                let mut messages = decoder.next_messages().unwrap_or_default();
                let event = |(&(sender, service), content): Lent<'_>| Message::new(sender, service, content);
                let next = || messages.next(&mut last).map(|message| message.map(event));
                std::iter::from_fn(next).map(black_box).filter(Result::is_ok).count()
            })
        }));
    }
    bodies.push(Body::new("session/message-header", HEADERS, headers));
    bodies
}

fn multicast(payload: &[u8], out: &mut BytesMut) {
    encode_multicast(Service::Agreed, false, &GROUP, 0, payload, out).unwrap();
}

/// A program multicasts until its writer takes the buffer, and gives it back empty.
fn encode(size: usize) -> Step {
    let (payload, mut out) = (payload(size), BytesMut::new());
    multicast(&payload, &mut out);
    let frame = out.len();
    Box::new(move || {
        out.clear();
        for _ in 0..batch(size) {
            multicast(black_box(&payload), &mut out);
        }
        black_box(&out).len() / frame
    })
}

/// What a program sent.
fn multicasts(size: usize) -> Bytes {
    let mut stream = BytesMut::new();
    for _ in 0..batch(size) {
        multicast(&payload(size), &mut stream);
    }
    stream.freeze()
}

fn sender() -> MemberName {
    "#trader#berlin".parse().unwrap()
}

/// What a daemon sends to a program.
fn deliveries(size: usize) -> Bytes {
    let content = Content::new(&GROUP, 0, &payload(size)).unwrap();
    let header = encode_message_header(sender(), Service::Agreed, &content).unwrap();
    [&header[..], content.encoded()].concat().repeat(batch(size)).into()
}

/// Reads a stream as from a socket; `take` takes all frames that are complete and tells how many.
fn decode<F: Frame + 'static>(
    stream: Bytes,
    mut take: impl FnMut(&mut FrameDecoder<F>) -> usize + 'static,
) -> Step {
    let mut decoder = FrameDecoder::<F>::new(LIMIT);
    Box::new(move || {
        let (mut rest, mut count) = (black_box(&stream[..]), 0);
        while !rest.is_empty() {
            let space = decoder.space();
            let (read, later) = rest.split_at(rest.len().min(space.capacity() - space.len()));
            space.extend_from_slice(read);
            rest = later;
            count += take(&mut decoder);
        }
        count
    })
}

/// A daemon writes what goes in front of a message, once for all its receivers.
fn headers() -> Step {
    let (sender, content) = (sender(), Content::new(&GROUP, 0, &payload(64)).unwrap());
    Box::new(move || {
        for _ in 0..HEADERS {
            black_box(encode_message_header(black_box(sender), Service::Agreed, &content).unwrap());
        }
        HEADERS
    })
}
