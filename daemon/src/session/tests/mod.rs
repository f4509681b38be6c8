//! A whole daemon without peers, and programs that speak the session protocol by hand: well ([`sessions`]) and badly
//! ([`abuse`]).

mod abuse;
mod sessions;

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
use crate::spread::names::Aliases;
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
        aliases: Aliases::default(),
        board: Board::default(),
        metrics: metrics.clone(),
    });
    let driver = tokio::spawn(driver.unwrap().run(receiver));
    let server = Server::start(&clients, None, context).await.unwrap();
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
