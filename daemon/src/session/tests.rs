//! A whole daemon without peers, and programs that speak the session protocol by hand, well and badly.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use stentor_client::wire::{
    self, ClientFrame, DaemonFrame, Frame, FrameDecoder, GoodbyeCode, LinkState, RefusalCode,
    encode_multicast,
};
use stentor_membership::{Cause, DaemonId, DaemonName, GroupName, MemberName, Service};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Context, Server, tcp};
use crate::config::Clients;
use crate::config::units::Mode;
use crate::driver::inbox::{self, Input};
use crate::driver::{Driver, Settings};
use crate::metrics::{Count, Metrics};
use crate::transport::board::Board;

const LIMIT: Duration = Duration::from_secs(20);
const MAX_MESSAGE: usize = 1 << 20;
const QUEUE_OUT: usize = 4 << 20;

struct Daemon {
    _dir: TempDir,
    socket: PathBuf,
    inbox: mpsc::Sender<Input>,
    server: Server,
    driver: JoinHandle<mpsc::Receiver<Input>>,
    metrics: Metrics,
}

struct Setup {
    membership: stentor_membership::Config,
    tcp: Option<SocketAddr>,
}

impl Default for Setup {
    fn default() -> Self {
        let membership = stentor_membership::Config { max_message: MAX_MESSAGE, ..Default::default() };
        Self { membership, tcp: None }
    }
}

async fn daemon() -> Daemon {
    daemon_with(Setup::default()).await
}

async fn daemon_with(setup: Setup) -> Daemon {
    let Setup { membership, tcp } = setup;
    let dir = TempDir::new().unwrap();
    let (sender, receiver) = mpsc::channel(inbox::CAPACITY);
    let metrics = Metrics::default();
    let id = DaemonId { name: DaemonName::new("d").unwrap(), incarnation: 1 };
    let clients = Clients {
        socket: dir.path().join("s"),
        socket_is_default: false,
        socket_mode: Mode(0o600),
        tcp,
        session_queue_out: QUEUE_OUT,
        handshake_timeout: Duration::from_millis(300),
    };
    let context = Context {
        inbox: sender.clone(),
        metrics: metrics.clone(),
        handshake_timeout: clients.handshake_timeout,
        max_message: membership.max_message,
        queue_limit: QUEUE_OUT,
        max_sessions: membership.max_sessions,
    };
    let driver = Driver::new(Settings {
        id,
        seed: 1,
        membership,
        configured: vec![(id.name, "(alone)".to_owned())],
        session_queue_out: QUEUE_OUT,
        board: Board::default(),
        metrics: metrics.clone(),
    });
    let driver = tokio::spawn(driver.unwrap().run(receiver));
    let server = Server::start(&clients, context).await.unwrap();
    Daemon { _dir: dir, socket: clients.socket, inbox: sender, server, driver, metrics }
}

/// A program that speaks by hand.
struct Program {
    stream: UnixStream,
    decoder: FrameDecoder<DaemonFrame>,
}

impl Program {
    async fn connect(daemon: &Daemon) -> Self {
        let stream = UnixStream::connect(&daemon.socket).await.unwrap();
        Self { stream, decoder: FrameDecoder::new(wire::DAEMON_FRAME_LIMIT) }
    }

    /// Connects and introduces itself.
    async fn open(daemon: &Daemon, name: &str) -> Self {
        let mut program = Self::connect(daemon).await;
        program.hello(Some(name)).await;
        match program.next().await {
            DaemonFrame::Welcome { member, max_message } => {
                assert_eq!(member, self::member(name));
                assert_eq!(max_message, MAX_MESSAGE as u64);
            }
            other => panic!("{other:?}"),
        }
        program
    }

    async fn hello(&mut self, name: Option<&str>) {
        self.bytes(&wire::preamble()).await;
        self.send(&ClientFrame::Hello { name: name.map(|n| n.parse().unwrap()) }).await;
    }

    async fn bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn send(&mut self, frame: &ClientFrame) {
        let mut out = BytesMut::new();
        frame.encode(&mut out).unwrap();
        self.bytes(&out).await;
    }

    async fn multicast(&mut self, group: &str, payload: &[u8]) {
        let mut out = BytesMut::new();
        encode_multicast(Service::Agreed, false, &[group], 0, payload, &mut out).unwrap();
        self.bytes(&out).await;
    }

    async fn join(&mut self, name: &str) {
        self.send(&ClientFrame::Join { request: 1, group: group(name) }).await;
        match self.next().await {
            DaemonFrame::Membership(event) => assert_eq!(event.group, group(name)),
            other => panic!("{other:?}"),
        }
    }

    async fn next(&mut self) -> DaemonFrame {
        tokio::time::timeout(LIMIT, async {
            loop {
                if let Some(frame) = self.decoder.next_frame().unwrap() {
                    return frame;
                }
                assert_ne!(self.stream.read_buf(self.decoder.space()).await.unwrap(), 0, "closed too early");
            }
        })
        .await
        .unwrap()
    }

    async fn payload(&mut self) -> Bytes {
        self.message().await.2
    }

    async fn message(&mut self) -> (MemberName, Service, Bytes) {
        match self.next().await {
            DaemonFrame::Message { sender, service, content } => (sender, service, content.payload()),
            other => panic!("{other:?}"),
        }
    }

    /// The daemon ends the connection, and says why.
    async fn goodbye(&mut self) -> (GoodbyeCode, String) {
        loop {
            if let DaemonFrame::Goodbye { code, text } = self.next().await {
                let end = tokio::time::timeout(LIMIT, self.stream.read(&mut [0])).await.unwrap();
                assert!(
                    matches!(end, Ok(0)) || end.is_err_and(|e| e.kind() == io::ErrorKind::ConnectionReset)
                );
                return (code, text);
            }
        }
    }
}

fn member(name: &str) -> MemberName {
    format!("#{name}#d").parse().unwrap()
}

fn group(name: &str) -> GroupName {
    name.parse().unwrap()
}

/// Waits until `condition` holds.
async fn until(condition: impl Fn() -> bool) {
    let end = tokio::time::Instant::now() + LIMIT;
    while !condition() {
        assert!(tokio::time::Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

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

    let error = tcp::bind(port).await.unwrap_err().to_string();
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
