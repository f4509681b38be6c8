//! Programs that break the rules, and daemons that serve on.

use super::*;
use crate::session::{EXTRA_CONNECTIONS, TURNED_AWAY};

#[tokio::test]
async fn what_is_no_session_protocol_is_told_so_and_the_others_are_served() {
    let daemon = daemon().await;
    let mut honest = Program::open(&daemon, "honest").await;
    honest.join("g").await;

    let hello = |name: &str| {
        let mut out = BytesMut::from(&wire::preamble()[..]);
        ClientFrame::Hello { name: Some(name.parse().unwrap()) }.encode(&mut out).unwrap();
        out.to_vec()
    };
    let then = |name: &str, more: &[u8]| [&hello(name), more].concat();
    let mut status = BytesMut::new();
    ClientFrame::Status { request: 1 }.encode(&mut status).unwrap();
    let bad_name = [&wire::preamble()[..], &[6, 0, 0, 0, 0, 1, 3, b'a', b'#', b'b']].concat();
    let newer = [&wire::MAGIC[..], &2u16.to_le_bytes(), &[0; 100]].concat();
    let older = [&wire::MAGIC[..], &0u16.to_le_bytes()].concat();
    let oversize = u32::try_from(MAX_MESSAGE + wire::CLIENT_FRAME_SLACK + 1).unwrap().to_le_bytes();
    let cases: [(&str, Vec<u8>, GoodbyeCode, &str); 10] = [
        ("http", b"GET / HTTP/1.1\r\n\r\n".to_vec(), GoodbyeCode::Protocol, "Stentor client"),
        ("newer", newer, GoodbyeCode::Version, "version 2"),
        ("older", older, GoodbyeCode::Version, "version 0"),
        ("no hello", [&wire::preamble()[..], &status].concat(), GoodbyeCode::Protocol, "must be Hello"),
        (
            "large hello",
            [&wire::preamble()[..], &[0, 0x10, 1, 0]].concat(),
            GoodbyeCode::TooLarge,
            "at most 4096",
        ),
        ("illegal name", bad_name, GoodbyeCode::NameInvalid, "without '#'"),
        ("taken name", hello("honest"), GoodbyeCode::NameTaken, "is taken"),
        ("oversize", then("x", &oversize), GoodbyeCode::TooLarge, "at most 1114112"),
        ("garbage", then("y", &[3, 0, 0, 0, 0xff, 0xff, 0xff]), GoodbyeCode::Protocol, "malformed"),
        ("hello twice", then("z", &hello("z")[wire::PREAMBLE_LEN..]), GoodbyeCode::Protocol, "once"),
    ];
    for (what, bytes, code, text) in cases {
        let mut program = Program::connect(&daemon).await;
        program.bytes(&bytes).await;
        let goodbye = program.goodbye().await;
        assert_eq!(goodbye.0, code, "{what}: {goodbye:?}");
        assert!(goodbye.1.contains(text), "{what}: {goodbye:?}");
    }
    // Silence, and a connection that ends in the middle of its hello.
    let mut silent = Program::connect(&daemon).await;
    let (code, text) = silent.goodbye().await;
    assert_eq!(code, GoodbyeCode::TimedOut);
    assert!(text.contains("300ms") && text.contains("handshake_timeout"), "{text}");
    let mut truncated = Program::connect(&daemon).await;
    truncated.bytes(&hello("x")[..12]).await;
    drop(truncated);
    until(|| daemon.metrics.get(Count::handshakes_unfinished) == 2).await;
    // And one that ends in the middle of a frame.
    let mut truncated = Program::open(&daemon, "t").await;
    truncated.bytes(&[100, 0, 0, 0, 1]).await;
    drop(truncated);

    honest.multicast("g", b"still here").await;
    assert_eq!(honest.payload().await, "still here");
    assert_eq!(daemon.metrics.get(Count::handshakes_version), 2);
    assert_eq!(daemon.metrics.get(Count::handshakes_garbage), 3);
    assert_eq!(daemon.metrics.get(Count::session_violations), 3);
}

#[tokio::test]
async fn one_byte_at_a_time_is_a_session_like_any_other() {
    let daemon = daemon().await;
    let mut slow = Program::connect(&daemon).await;
    let mut bytes = BytesMut::from(&wire::preamble()[..]);
    ClientFrame::Hello { name: None }.encode(&mut bytes).unwrap();
    ClientFrame::Join { request: 1, group: group("g") }.encode(&mut bytes).unwrap();
    encode_multicast(Service::Safe, false, &["g"], 3, b"slowly", &mut bytes).unwrap();
    for byte in bytes {
        slow.bytes(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert!(matches!(slow.next().await, DaemonFrame::Welcome { .. }));
    assert!(matches!(slow.next().await, DaemonFrame::Membership(_)));
    assert_eq!(slow.payload().await, "slowly");
}

#[tokio::test]
async fn a_flood_of_costly_requests_lets_others_pass() {
    let daemon = daemon().await;
    let mut curious = Program::open(&daemon, "curious").await;
    let mut other = Program::open(&daemon, "other").await;
    let count = 3000;
    let mut flood = BytesMut::new();
    for request in 0..count {
        ClientFrame::ListGroups { request, after: None }.encode(&mut flood).unwrap();
    }
    curious.bytes(&flood).await;
    assert!(matches!(curious.next().await, DaemonFrame::Groups { groups, .. } if groups.is_empty()));
    // The flood was one batch; a join that comes after its beginning takes effect before its end.
    other.join("late").await;
    for request in 1..count {
        match curious.next().await {
            DaemonFrame::Groups { request: number, groups, .. } => {
                assert_eq!(number, request);
                assert!(request < count - 1 || !groups.is_empty());
            }
            frame => panic!("{frame:?}"),
        }
    }
}

#[tokio::test]
async fn more_sessions_than_allowed_are_told_so() {
    let membership =
        stentor_membership::Config { max_sessions: 1, max_message: MAX_MESSAGE, ..Default::default() };
    let daemon = daemon_with(Setup { membership, tcp: None }).await;
    let _first = Program::open(&daemon, "a").await;
    let mut second = Program::connect(&daemon).await;
    second.hello(None).await;
    let (code, text) = second.goodbye().await;
    assert_eq!(code, GoodbyeCode::TooManySessions);
    assert!(text.contains("max_sessions"), "{text}");
}

#[tokio::test]
async fn a_crowd_at_the_door_is_closed_without_a_word_beyond_a_bound() {
    const CROWD: usize = 300;
    let membership =
        stentor_membership::Config { max_sessions: 1, max_message: MAX_MESSAGE, ..Default::default() };
    let daemon = daemon_with(Setup { membership, tcp: None }).await;
    let mut first = Program::open(&daemon, "a").await;
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(Program::connect(&daemon).await);
    }
    let (mut told, mut closed) = (0, 0);
    for mut program in crowd.drain(EXTRA_CONNECTIONS..) {
        let mut bytes = Vec::new();
        program.stream.read_to_end(&mut bytes).await.unwrap();
        *if bytes.is_empty() { &mut closed } else { &mut told } += 1;
    }
    assert!(told >= TURNED_AWAY && closed > 0, "{told} are told why, {closed} closed");
    assert!(daemon.metrics.get(Count::handshakes_refused) >= (told + closed) as u64);
    // Who is in is served.
    first.join("g").await;
}

#[tokio::test]
async fn a_program_that_does_not_read_is_cut_off_and_told_why_and_others_are_not_slowed() {
    let daemon = daemon().await;
    let mut deaf = Program::open(&daemon, "deaf").await;
    deaf.join("g").await;
    let mut reader = Program::open(&daemon, "reader").await;
    reader.join("g").await;
    let mut sender = Program::open(&daemon, "sender").await;
    let total = 3 * QUEUE_OUT;
    let payload = vec![1; 50_000];
    let count = total / payload.len();
    let sending = tokio::spawn(async move {
        for _ in 0..count {
            sender.multicast("g", &payload).await;
        }
        sender
    });
    let mut received = 0;
    let mut left = false;
    while received < count || !left {
        match reader.next().await {
            DaemonFrame::Message { .. } => received += 1,
            DaemonFrame::Membership(event) => left = event.cause == Cause::Disconnect(member("deaf")),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(daemon.metrics.get(Count::sessions_cut_slow), 1);
    let _sender = sending.await.unwrap();
    // It reads at last: whole frames, and the reason behind them.
    let (code, text) = deaf.goodbye().await;
    assert_eq!(code, GoodbyeCode::TooSlow);
    assert!(text.contains("4MiB") && text.contains("session_queue_out"), "{text}");
}
