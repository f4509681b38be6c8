//! What programs may expect.

use super::*;

#[tokio::test]
async fn programs_join_talk_list_leave_and_part() {
    let daemon = daemon().await;
    let mut a = Program::open(&daemon, "a").await;
    let mut b = Program::open(&daemon, "b").await;
    a.join("g").await;
    b.join("g").await;
    match a.next().await {
        DaemonFrame::Membership(event) => {
            assert_eq!(*event.members, [member("a"), member("b")]);
            assert_eq!(event.cause, Cause::Join(member("b")));
            assert_eq!(*event.stayed, [member("a")]);
        }
        other => panic!("{other:?}"),
    }
    a.multicast("g", b"hello").await;
    assert_eq!(a.payload().await, "hello");
    assert_eq!(b.payload().await, "hello");
    // Larger than what is copied, and private.
    let large = vec![7; 300_000];
    a.multicast("#b#d", &large).await;
    a.multicast("#b#d", b"after").await;
    assert_eq!(b.payload().await, large);
    assert_eq!(b.payload().await, "after");

    b.send(&ClientFrame::ListGroups { request: 5, after: None }).await;
    let groups = DaemonFrame::Groups { request: 5, groups: vec![(group("g"), 2)], more: false };
    assert_eq!(b.next().await, groups);
    b.send(&ClientFrame::ListMembers { request: 6, group: group("g") }).await;
    let members = [member("a"), member("b")].into();
    assert_eq!(b.next().await, DaemonFrame::Members { request: 6, members });
    b.send(&ClientFrame::Status { request: 7 }).await;
    match b.next().await {
        DaemonFrame::StatusReport { request: 7, status } => {
            assert_eq!((status.groups, status.sessions_total, status.primary), (1, 2, true));
            assert_eq!(status.configured[0].link, LinkState::Own);
            assert_eq!(status.history.len(), 1);
            let names: Vec<_> = status.sessions.iter().map(|s| (s.name.as_str(), s.groups)).collect();
            assert_eq!(names, [("a", 1), ("b", 1)]);
            assert!(status.counters.contains(&("sessions_opened".to_owned(), 2)));
            assert!(status.counters.contains(&("messages_accepted".to_owned(), 3)));
        }
        other => panic!("{other:?}"),
    }

    b.send(&ClientFrame::Leave { request: 8, group: group("g") }).await;
    for program in [&mut a, &mut b] {
        match program.next().await {
            DaemonFrame::Membership(event) => assert_eq!(event.cause, Cause::Leave(member("b"))),
            other => panic!("{other:?}"),
        }
    }
    // What was sent before the goodbye still counts, even if the program then closes its end.
    b.multicast("g", b"last").await;
    b.send(&ClientFrame::Goodbye).await;
    b.stream.shutdown().await.unwrap();
    assert_eq!(b.goodbye().await.0, GoodbyeCode::Closed);
    assert_eq!(a.payload().await, "last");
    // The name is free again.
    Program::open(&daemon, "b").await;
}

#[tokio::test]
async fn each_message_says_who_sent_it_and_how() {
    let daemon = daemon().await;
    let mut a = Program::open(&daemon, "a").await;
    let mut b = Program::open(&daemon, "b").await;
    a.join("g").await;
    let plan = [
        ("a", Service::Agreed, "1"),
        ("a", Service::Safe, "2"),
        ("b", Service::Agreed, "3"),
        ("a", Service::Agreed, "4"),
        ("b", Service::Agreed, "5"),
    ];
    for (name, service, payload) in plan {
        let mut out = BytesMut::new();
        encode_multicast(service, false, &["g"], 0, payload.as_bytes(), &mut out).unwrap();
        let program = if name == "a" { &mut a } else { &mut b };
        program.bytes(&out).await;
        assert_eq!(a.message().await, (member(name), service, Bytes::from(payload)));
    }
    // All at once: one batch, written together.
    let mut out = BytesMut::new();
    for (_, service, payload) in plan {
        encode_multicast(service, false, &["g"], 0, payload.as_bytes(), &mut out).unwrap();
    }
    b.bytes(&out).await;
    for (_, service, payload) in plan {
        assert_eq!(a.message().await, (member("b"), service, Bytes::from(payload)));
    }
}

#[tokio::test]
async fn a_full_queue_makes_the_program_wait_and_loses_nothing() {
    let membership =
        stentor_membership::Config { session_queue: 1 << 10, max_message: MAX_MESSAGE, ..Default::default() };
    let daemon = daemon_with(Setup { membership, tcp: None }).await;
    let mut a = Program::open(&daemon, "a").await;
    a.join("g").await;
    let count: u32 = 300;
    let mut out = BytesMut::new();
    for number in 0..count {
        let payload = [&number.to_le_bytes()[..], &[0; 500]].concat();
        encode_multicast(Service::Agreed, false, &["g"], 0, &payload, &mut out).unwrap();
    }
    // What comes behind waits its turn as well.
    ClientFrame::Leave { request: 1, group: group("g") }.encode(&mut out).unwrap();
    ClientFrame::Status { request: 2 }.encode(&mut out).unwrap();
    a.bytes(&out).await;
    let (mut numbers, mut blocked) = (Vec::new(), None);
    loop {
        match a.next().await {
            DaemonFrame::Message { content, .. } => numbers.push(content.payload().slice(..4)),
            // The report says how it is now, with the last messages perhaps still on their way.
            DaemonFrame::StatusReport { status, .. } => {
                blocked = status.counters.into_iter().find(|(name, _)| name == "sessions_blocked");
            }
            DaemonFrame::Membership(event) if event.cause == Cause::Leave(member("a")) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!((0..count).eq(numbers.iter().map(|bytes| u32::from_le_bytes(bytes[..].try_into().unwrap()))));
    assert!(blocked.is_some_and(|(_, times)| times > 0));
}

#[tokio::test]
async fn loopback_tcp_is_a_door_like_the_socket() {
    // A free port; if another takes it meanwhile, the bind below says so.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let setup = Setup { tcp: Some(port), ..Setup::default() };
    let daemon = daemon_with(setup).await;
    let mut stream = tokio::net::TcpStream::connect(port).await.unwrap();
    let mut hello = BytesMut::from(&wire::preamble()[..]);
    ClientFrame::Hello { name: None }.encode(&mut hello).unwrap();
    ClientFrame::Goodbye.encode(&mut hello).unwrap();
    stream.write_all(&hello).await.unwrap();
    let mut decoder = FrameDecoder::<DaemonFrame>::new(wire::DAEMON_FRAME_LIMIT);
    while stream.read_buf(decoder.space()).await.unwrap() > 0 {}
    assert!(matches!(decoder.next_frame(), Ok(Some(DaemonFrame::Welcome { .. }))));
    let goodbye = decoder.next_frame().unwrap();
    assert!(matches!(goodbye, Some(DaemonFrame::Goodbye { code: GoodbyeCode::Closed, .. })), "{goodbye:?}");

    let error = tcp::bind("[clients] tcp", port).await.unwrap_err().to_string();
    assert!(error.contains(&port.to_string()) && error.contains("set another one"), "{error}");
    drop(daemon);
}

#[tokio::test]
async fn a_program_that_dies_leaves_its_groups() {
    let daemon = daemon().await;
    let mut a = Program::open(&daemon, "a").await;
    let mut b = Program::open(&daemon, "b").await;
    a.join("g").await;
    b.join("g").await;
    a.next().await;
    b.multicast("g", b"before").await;
    drop(b);
    assert_eq!(a.payload().await, "before");
    match a.next().await {
        DaemonFrame::Membership(event) => assert_eq!(event.cause, Cause::Disconnect(member("b"))),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn refused_requests_and_messages_are_answered_and_the_session_goes_on() {
    let daemon = daemon().await;
    let mut a = Program::open(&daemon, "a").await;
    a.send(&ClientFrame::Leave { request: 4, group: group("g") }).await;
    match a.next().await {
        DaemonFrame::Failed { request: 4, code: RefusalCode::NotMember, text } => {
            assert!(text.contains("join it first"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    a.join("g").await;
    a.send(&ClientFrame::Join { request: 5, group: group("g") }).await;
    assert!(matches!(
        a.next().await,
        DaemonFrame::Failed { request: 5, code: RefusalCode::AlreadyMember, .. }
    ));
    a.multicast("g", b"0").await;
    a.multicast("g", &vec![0; MAX_MESSAGE]).await;
    let content = Bytes::from_static(&[0, 0]);
    a.send(&ClientFrame::Multicast { service: Service::Fifo, discard_self: false, content }).await;
    a.multicast("g", b"3").await;
    assert_eq!(a.payload().await, "0");
    let mut refused = Vec::new();
    for _ in 0..2 {
        match a.next().await {
            DaemonFrame::Rejected { ordinal, code, text } => refused.push((ordinal, code, text)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((refused[0].0, refused[0].1), (1, RefusalCode::TooLarge));
    assert!(refused[0].2.contains("1048576"), "{refused:?}");
    assert_eq!((refused[1].0, refused[1].1), (2, RefusalCode::Invalid));
    assert_eq!(a.payload().await, "3");
}

#[tokio::test]
async fn without_a_majority_ordered_messages_can_be_refused() {
    let daemons = ["d", "e", "f"].map(|name| DaemonName::new(name).unwrap()).into();
    let membership = stentor_membership::Config {
        daemons,
        require_primary: true,
        max_message: MAX_MESSAGE,
        ..Default::default()
    };
    let daemon = daemon_with(Setup { membership, tcp: None }).await;
    let mut a = Program::open(&daemon, "a").await;
    a.multicast("g", b"x").await;
    match a.next().await {
        DaemonFrame::Rejected { ordinal: 0, code: RefusalCode::NotPrimary, text } => {
            assert!(text.contains("majority"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_stopping_daemon_tells_its_programs_after_what_they_are_owed() {
    let daemon = daemon().await;
    let mut a = Program::open(&daemon, "a").await;
    a.join("g").await;
    a.multicast("g", b"owed").await;
    a.send(&ClientFrame::ListMembers { request: 1, group: group("g") }).await;
    // One of the two answers shows that the daemon has taken both; the other one is owed.
    let first = a.next().await;
    daemon.inbox.send(Input::Shutdown).await.unwrap();
    let second = a.next().await;
    let is_message = |frame: &DaemonFrame| matches!(frame, DaemonFrame::Message { .. });
    assert_ne!(is_message(&first), is_message(&second), "{first:?} {second:?}");
    let (code, text) = a.goodbye().await;
    assert_eq!(code, GoodbyeCode::ShuttingDown);
    assert!(text.contains("connect to another"), "{text}");
    drop(a);
    tokio::time::timeout(LIMIT, daemon.driver).await.unwrap().unwrap();
    tokio::time::timeout(LIMIT, daemon.server.close(LIMIT)).await.unwrap();
    assert!(!daemon.socket.exists());
}
