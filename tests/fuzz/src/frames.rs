//! Frames between daemons.

use bytes::{Bytes, BytesMut};
use stentor_membership::wire::{Body, Header, Piece, put_piece_head, read_piece};
use stentor_membership::{Config, Content, DaemonId, Node, Timestamp};

/// Bytes that a peer sent, as a frame and as a datagram: what can be read is written again as it means, and a node
/// survives it.
pub fn peer_frames(data: &[u8]) {
    let frame = Bytes::copy_from_slice(data);
    if let Ok((header, rest)) = Header::decode(&frame) {
        let mut again = BytesMut::new();
        header.encode_into(&mut again);
        again.extend_from_slice(&rest);
        let again = Header::decode(&again.freeze());
        assert_eq!(again, Ok((header.clone(), rest.clone())), "read, written and read");
        pieces(&rest);
    }
    pieces(&frame);
    give(frame);
}

/// Bytes as the pieces of a data frame.
fn pieces(rest: &Bytes) {
    let mut at = 0;
    while at < rest.len()
        && let Ok(piece) = read_piece(rest, &mut at)
    {
        let Piece { lane, service, first, last, body } = piece;
        let body = body.of(rest);
        let mut again = BytesMut::new();
        put_piece_head(&mut again, lane, service, first, last, body.len());
        again.extend_from_slice(&body);
        let (again, mut end) = (again.freeze(), 0);
        let read = read_piece(&again, &mut end).unwrap();
        assert_eq!(read.body.of(&again), body, "read, written and read");
        assert_eq!((Piece { body: piece.body, ..read }, end), (piece, again.len()), "read, written and read");
        if let Some((body, content)) = Body::decode(&body) {
            assert_eq!(Body::decode(&body.encode()).map(|(body, _)| body), Some(body));
            if let Ok(content) = Content::parse(content) {
                let targets: Vec<_> = content.targets().collect();
                let again = Content::new(&targets, content.tag(), &content.payload());
                assert_eq!(again.as_ref(), Ok(&content), "read, written and read");
            }
        }
    }
}

fn give(frame: Bytes) {
    let Ok((me, peer)) = "a".parse().and_then(|a| "b".parse().map(|b| (a, b))) else { return };
    let (me, peer) = (DaemonId { name: me, incarnation: 1 }, DaemonId { name: peer, incarnation: 1 });
    let now = Timestamp::ZERO;
    let Ok(mut node) = Node::new(me, Config::default(), 0, now) else { return };
    for datagram in [false, true] {
        node.handle_link_up(peer, now);
        let _ = match datagram {
            false => node.handle_frame(peer, frame.clone(), now),
            true => node.handle_datagram(peer, frame.clone(), now),
        };
        while node.poll_transmit(now).is_some() {}
        while node.poll_event().is_some() {}
        node.check_invariants();
    }
}
