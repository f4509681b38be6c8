//! Properties of the session protocol's encoding.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use stentor_client::wire::{
    ClientFrame, Configuration, DaemonFrame, DaemonStatus, Frame, FrameDecoder, GoodbyeCode, LastMessage,
    LinkState, Membership, PeerStatus, RefusalCode, SessionStatus, WireError, encode_message_header,
    encode_multicast,
};
use stentor_membership::{
    Cause, Content, DaemonId, DaemonName, GroupName, GroupViewId, MemberName, Phase, Position, Service,
    SessionName, ViewId,
};

const LIMIT: usize = 1 << 20;

fn daemon() -> impl Strategy<Value = DaemonName> {
    "[a-z0-9]([a-z0-9_-]{0,30}[a-z0-9_])?".prop_map(|n| DaemonName::new(&n).unwrap())
}

fn session() -> impl Strategy<Value = SessionName> {
    "[!-\"$-~]{1,32}".prop_map(|n| SessionName::new(&n).unwrap())
}

fn group() -> impl Strategy<Value = GroupName> {
    "[!-\"$-~][!-~]{0,63}".prop_map(|n| GroupName::new(&n).unwrap())
}

fn member() -> impl Strategy<Value = MemberName> {
    (daemon(), session()).prop_map(|(daemon, session)| MemberName { daemon, session })
}

fn daemon_id() -> impl Strategy<Value = DaemonId> {
    (daemon(), any::<u64>()).prop_map(|(name, incarnation)| DaemonId { name, incarnation })
}

fn service() -> impl Strategy<Value = Service> {
    (0..Service::ALL.len()).prop_map(|i| Service::ALL[i])
}

fn content() -> impl Strategy<Value = Content> {
    (vec(group(), 1..4), any::<u16>(), vec(any::<u8>(), 0..200)).prop_map(|(groups, tag, payload)| {
        let groups: Vec<_> = groups.iter().map(GroupName::as_str).collect();
        Content::new(&groups, tag, &payload).unwrap()
    })
}

fn view() -> impl Strategy<Value = ViewId> {
    (any::<u64>(), daemon_id()).prop_map(|(epoch, proposer)| ViewId { epoch, proposer })
}

fn cause() -> impl Strategy<Value = Cause> {
    prop_oneof![
        member().prop_map(Cause::Join),
        member().prop_map(Cause::Leave),
        member().prop_map(Cause::Disconnect),
        Just(Cause::Network),
    ]
}

fn membership() -> impl Strategy<Value = Membership> {
    let place = (any::<u64>(), any::<u16>(), any::<u32>());
    let place = place.prop_map(|(clock, rank, index)| Position { clock, rank, index });
    let id = (view(), option::of(view()), place);
    let id = id.prop_map(|(view, toward, position)| GroupViewId { view, toward, position });
    let lists = (vec(member(), 0..5), vec(member(), 0..5), vec(vec(member(), 0..3), 0..3));
    (group(), id, cause(), lists).prop_map(|(group, view, cause, (members, stayed, sets))| Membership {
        group,
        view,
        members: members.into(),
        cause,
        stayed: stayed.into(),
        sets: sets.into(),
    })
}

fn client_frame() -> impl Strategy<Value = ClientFrame> {
    prop_oneof![
        option::of(session()).prop_map(|name| ClientFrame::Hello { name }),
        (any::<u32>(), group()).prop_map(|(request, group)| ClientFrame::Join { request, group }),
        (any::<u32>(), group()).prop_map(|(request, group)| ClientFrame::Leave { request, group }),
        (service(), any::<bool>(), content()).prop_map(|(service, discard_self, content)| {
            ClientFrame::Multicast { service, discard_self, content: content.encoded().clone() }
        }),
        (any::<u32>(), option::of(group()))
            .prop_map(|(request, after)| ClientFrame::ListGroups { request, after }),
        (any::<u32>(), group()).prop_map(|(request, group)| ClientFrame::ListMembers { request, group }),
        any::<u32>().prop_map(|request| ClientFrame::Status { request }),
        Just(ClientFrame::Goodbye),
    ]
}

fn daemon_frame() -> impl Strategy<Value = DaemonFrame> {
    prop_oneof![
        (any::<u16>(), any::<String>())
            .prop_map(|(code, text)| DaemonFrame::Goodbye { code: GoodbyeCode::from(code), text }),
        (member(), any::<u64>())
            .prop_map(|(member, max_message)| DaemonFrame::Welcome { member, max_message }),
        (member(), service(), content()).prop_map(|(sender, service, content)| DaemonFrame::Message {
            sender,
            service,
            content
        }),
        membership().prop_map(|m| DaemonFrame::Membership(Box::new(m))),
        group().prop_map(|group| DaemonFrame::Transitional { group }),
        (any::<u32>(), any::<u16>(), any::<String>()).prop_map(|(request, code, text)| {
            DaemonFrame::Failed { request, code: RefusalCode::from(code), text }
        }),
        (any::<u64>(), any::<u16>(), any::<String>()).prop_map(|(ordinal, code, text)| {
            DaemonFrame::Rejected { ordinal, code: RefusalCode::from(code), text }
        }),
        (any::<u32>(), vec((group(), any::<u64>()), 0..5), any::<bool>())
            .prop_map(|(request, groups, more)| DaemonFrame::Groups { request, groups, more }),
        (any::<u32>(), vec(member(), 0..5))
            .prop_map(|(request, members)| DaemonFrame::Members { request, members: members.into() }),
        Just(DaemonFrame::StatusReport { request: 1, status: Box::new(status()) }),
    ]
}

fn status() -> DaemonStatus {
    let name = DaemonName::new("a").unwrap();
    let id = DaemonId { name, incarnation: 7 };
    DaemonStatus {
        daemon: name,
        incarnation: 7,
        version: "0.1.0".to_owned(),
        uptime_ms: 12,
        phase: Phase::Recovering,
        view: "1@a~7".to_owned(),
        members: vec![id],
        primary: true,
        configured: vec![PeerStatus {
            name,
            address: "127.0.0.1:4810".to_owned(),
            link: LinkState::Own,
            trouble: None,
        }],
        history: vec![Configuration {
            unix_ms: 1,
            view: "1@a~7".to_owned(),
            toward: Some("2@a~7".to_owned()),
            members: vec![id],
            primary: false,
        }],
        groups: 1,
        sessions_total: 1,
        sessions: vec![SessionStatus { name: SessionName::new("s").unwrap(), queued_bytes: 0, groups: 1 }],
        counters: vec![("views".to_owned(), 1)],
    }
}

/// All frames of a stream that arrives in pieces of `step` bytes.
fn decode_all<F: Frame>(stream: &[u8], step: usize) -> Result<Vec<F>, WireError> {
    let mut decoder = FrameDecoder::new(LIMIT);
    let mut frames = Vec::new();
    for piece in stream.chunks(step) {
        if step.is_multiple_of(2) {
            decoder.feed(piece);
        } else {
            decoder.space().extend_from_slice(piece);
        }
        while let Some(frame) = decoder.next_frame()? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

fn encode_all<F: Frame>(frames: &[F]) -> BytesMut {
    let mut out = BytesMut::new();
    for frame in frames {
        frame.encode(&mut out).unwrap();
    }
    out
}

proptest! {
    #[test]
    fn client_frames_survive_any_split(frames in vec(client_frame(), 1..6), step in 1..40_usize) {
        let stream = encode_all(&frames);
        prop_assert_eq!(decode_all::<ClientFrame>(&stream, step).unwrap(), frames);
    }

    #[test]
    fn daemon_frames_survive_any_split(frames in vec(daemon_frame(), 1..6), step in 1..40_usize) {
        let stream = encode_all(&frames);
        prop_assert_eq!(decode_all::<DaemonFrame>(&stream, step).unwrap(), frames);
    }

    #[test]
    fn messages_of_few_senders_are_read_as_if_each_were_the_first(
        kinds in vec((member(), service(), content()), 3),
        stream in vec((0..3_usize, 0..3_usize, 0..40_usize), 1..30),
    ) {
        let mut last = LastMessage::default();
        for (head, body, cut) in stream {
            let (sender, service, _) = kinds[head];
            let content = kinds[body].2.clone();
            let frame = encode_all(&[DaemonFrame::Message { sender, service, content }]).freeze().slice(4..);
            // Most are whole.
            let frame = if cut < frame.len() && cut < 20 { frame.slice(..cut) } else { frame };
            prop_assert_eq!(DaemonFrame::decode_next(frame.clone(), &mut last), DaemonFrame::decode(frame));
        }
    }

    #[test]
    fn arbitrary_bytes_are_frames_or_errors(bytes: Vec<u8>, step in 1..40_usize) {
        let _ = decode_all::<ClientFrame>(&bytes, step);
        let _ = decode_all::<DaemonFrame>(&bytes, step);
        let _ = ClientFrame::decode(Bytes::from(bytes.clone()));
        let _ = DaemonFrame::decode(Bytes::from(bytes));
    }

    #[test]
    fn a_damaged_frame_is_a_frame_or_an_error(frame in daemon_frame(), at: prop::sample::Index, value: u8) {
        let mut stream = encode_all(&[frame]);
        let at = at.index(stream.len());
        stream[at] = value;
        let _ = decode_all::<DaemonFrame>(&stream, 16);
    }

    #[test]
    fn a_message_header_goes_before_its_content(sender in member(), service in service(), content in content()) {
        let mut parts = BytesMut::from(&encode_message_header(sender, service, &content).unwrap()[..]);
        parts.extend_from_slice(content.encoded());
        prop_assert_eq!(parts, encode_all(&[DaemonFrame::Message { sender, service, content }]));
    }

    #[test]
    fn a_multicast_is_encoded_in_place(service in service(), discard_self: bool, content in content()) {
        let targets: Vec<_> = content.targets().collect();
        let mut out = BytesMut::from("before");
        encode_multicast(service, discard_self, &targets, content.tag(), &content.payload(), &mut out).unwrap();
        let frame = ClientFrame::Multicast { service, discard_self, content: content.encoded().clone() };
        prop_assert_eq!(&out[6..], encode_all(&[frame]));
    }
}

#[test]
fn a_refused_multicast_leaves_no_bytes() {
    let mut out = BytesMut::from("before");
    let error = encode_multicast(Service::Agreed, false, &["g", ""], 0, b"x", &mut out).unwrap_err();
    assert!(matches!(error, WireError::Content(_)), "{error}");
    assert_eq!(&out[..], b"before");
}

#[test]
fn an_empty_frame_is_no_message_whatever_follows_it() {
    let mut decoder = FrameDecoder::<DaemonFrame>::new(LIMIT);
    // Behind the empty one stands a length that begins like a message.
    decoder.feed(&[0, 0, 0, 0, 2, 0, 0, 0]);
    let mut messages = decoder.next_messages().unwrap_or_default();
    assert!(messages.next(&mut LastMessage::default()).is_none());
    assert!(decoder.next_frame().is_err());
}

#[test]
fn the_limit_is_judged_by_the_length_alone() {
    let mut decoder = FrameDecoder::<ClientFrame>::new(100);
    decoder.feed(&101_u32.to_le_bytes());
    let error = WireError::TooLarge { size: 101, limit: 100 };
    assert_eq!(decoder.next_frame(), Err(error.clone()));
    decoder.feed(&encode_all(&[ClientFrame::Goodbye]));
    assert_eq!(decoder.next_frame(), Err(error), "a broken stream stays broken");
}

#[test]
fn a_claimed_length_allocates_nothing() {
    let mut decoder = FrameDecoder::<DaemonFrame>::new(1 << 30);
    decoder.feed(&(1_u32 << 30).to_le_bytes());
    assert_eq!(decoder.next_frame(), Ok(None));
    assert!(decoder.space().capacity() < 1 << 20);
}

#[test]
fn an_illegal_name_is_quoted() {
    // Join, request 0, a group name of two bytes.
    let body = Bytes::from_static(&[1, 0, 2, b'#', b'x']);
    let error = ClientFrame::decode(body).unwrap_err().to_string();
    assert!(error.contains("group name \"#x\"") && error.contains("64 visible"), "{error}");
}

#[test]
fn the_goodbye_of_every_version_is_the_same() {
    let frame = DaemonFrame::Goodbye { code: GoodbyeCode::Version, text: "x".to_owned() };
    assert_eq!(&encode_all(std::slice::from_ref(&frame))[..], [4, 0, 0, 0, 0, 4, 1, b'x']);
    let members: Arc<[MemberName]> = Arc::new([]);
    assert_ne!(encode_all(&[DaemonFrame::Members { request: 0, members }])[4], 0);
}
