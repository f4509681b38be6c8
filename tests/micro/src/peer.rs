//! Frames between daemons, without a node.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use stentor_membership::wire::{Body as Words, Header, put_piece_head, read_piece};
use stentor_membership::{Content, DaemonId, Service, ViewId};

use crate::{Body, Step, batch, payload};

const SIZE: usize = 64;

pub(crate) fn bodies() -> Vec<Body> {
    vec![Body::new("peer/write/64", batch(SIZE), write), Body::new("peer/read/64", batch(SIZE), read)]
}

/// A message of a session as its daemon puts it into frames.
pub(crate) fn message(group: &str, size: usize) -> Bytes {
    let words = Words::Multicast { sender: "trader".parse().unwrap(), discard_self: false };
    let content = Content::new(&[group], 0, &payload(size)).unwrap();
    [&words.encode()[..], content.encoded()].concat().into()
}

/// Appends a whole message as one piece.
pub(crate) fn put_message(out: &mut BytesMut, lane: u32, service: Service, message: &[u8]) {
    put_piece_head(out, lane, service, true, true, message.len());
    out.extend_from_slice(message);
}

fn header(clock: u64) -> Header {
    let proposer = DaemonId { name: "berlin".parse().unwrap(), incarnation: 0x5eed_0fb6_e4a1_9c03 };
    Header::Data { view: ViewId { epoch: 300, proposer }, clock, horizon: clock - 1 }
}

fn frame(clock: u64, message: &[u8], out: &mut BytesMut) {
    header(clock).encode_into(out);
    for _ in 0..batch(SIZE) {
        put_message(out, 1, Service::Agreed, black_box(message));
    }
}

fn write() -> Step {
    let (message, mut out, mut clock) = (message("orders", SIZE), BytesMut::new(), 1_000_000);
    put_message(&mut out, 1, Service::Agreed, &message);
    let piece = out.len();
    Box::new(move || {
        out.clear();
        clock += 1;
        frame(clock, &message, &mut out);
        // The frame's header is shorter than a piece.
        black_box(&out).len() / piece
    })
}

fn read() -> Step {
    let mut bytes = BytesMut::new();
    frame(1_000_000, &message("orders", SIZE), &mut bytes);
    let frame = bytes.freeze();
    Box::new(move || {
        let (header, pieces) = Header::decode(black_box(&frame)).unwrap();
        black_box(header);
        let (mut at, mut count) = (0, 0);
        while at < pieces.len() {
            let piece = read_piece(&pieces, &mut at).unwrap();
            let (words, content) = Words::decode(&piece.body.of(&pieces)).unwrap();
            black_box((words, Content::parse(content).unwrap()));
            count += 1;
        }
        count
    })
}
