//! Whole transports on loopback, and peers that break the rules.

mod driven;
mod failing;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn::{ClientConfig, Connection, Endpoint, TransportConfig};
use stentor_membership::{DaemonId, DaemonName};
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{self, Receiver};

use super::board::Board;
use super::hello::Hello;
use super::link::{Link, LinkEvent};
use super::tls::Identity;
use super::{Settings, Transport};
use crate::cli::init::{self, DaemonAt, Plan};
use crate::config::TlsFiles;
use crate::config::units::HostPort;
use crate::driver::inbox::Input;
use crate::metrics::{Count, Metrics};

const LIMIT: Duration = Duration::from_secs(20);

/// A cluster of a, b and c on paper: keys in a temporary directory.
pub(crate) fn cluster() -> TempDir {
    let dir = TempDir::new().unwrap();
    let daemons = ["a", "b", "c"].iter().zip(1..).map(|(name, port)| DaemonAt {
        name: DaemonName::new(name).unwrap(),
        address: format!("127.0.0.1:{port}").parse().unwrap(),
    });
    let daemons = daemons.collect();
    init::create(&Plan { dir: dir.path().to_owned(), cluster: "test".parse().unwrap(), daemons }).unwrap();
    dir
}

pub(crate) fn files(dir: &Path, name: &str) -> TlsFiles {
    TlsFiles {
        ca: dir.join("ca.pem"),
        certificate: dir.join(format!("{name}.pem")),
        key: dir.join(format!("{name}.key")),
    }
}

fn identity(dir: &Path, name: &str) -> Identity {
    Identity::load(&files(dir, name), DaemonName::new(name).unwrap()).unwrap()
}

fn id(name: &str, incarnation: u64) -> DaemonId {
    DaemonId { name: DaemonName::new(name).unwrap(), incarnation }
}

struct Daemon {
    transport: Transport,
    inbox: Receiver<Input>,
    board: Board,
}

/// Settings of a daemon that knows where `peer` is and accepts a, b and c.
fn settings(dir: &Path, own: DaemonId, listen: SocketAddr, peer: Option<(&str, SocketAddr)>) -> Settings {
    let nowhere: HostPort = "127.0.0.1:9".parse().unwrap();
    let mut daemons: BTreeMap<_, _> = ["a", "b", "c"]
        .iter()
        .map(|name| (DaemonName::new(name).unwrap(), HostPort::clone(&nowhere)))
        .collect();
    daemons.retain(|name, _| *name <= own.name);
    if let Some((peer, address)) = peer {
        daemons.insert(DaemonName::new(peer).unwrap(), address.to_string().parse().unwrap());
    }
    Settings {
        own,
        cluster: "test".to_owned(),
        listen,
        daemons,
        identity: identity(dir, own.name.as_str()),
        queue_limit: 16 << 20,
        idle_timeout: Duration::from_secs(5),
        metrics: Metrics::default(),
    }
}

fn start(settings: Settings) -> Daemon {
    let (sender, inbox) = mpsc::channel(64);
    let board = Board::default();
    Daemon { transport: Transport::start(settings, board.clone(), sender).unwrap(), inbox, board }
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

async fn event(inbox: &mut Receiver<Input>) -> LinkEvent {
    match tokio::time::timeout(LIMIT, inbox.recv()).await.unwrap().unwrap() {
        Input::Link(_, event) => event,
        other => panic!("{other:?}"),
    }
}

async fn up(inbox: &mut Receiver<Input>) -> Link {
    match event(inbox).await {
        LinkEvent::Up(link) => link,
        other => panic!("{other:?}"),
    }
}

async fn down(inbox: &mut Receiver<Input>) -> String {
    loop {
        match event(inbox).await {
            LinkEvent::Down(reason) => return reason,
            LinkEvent::Datagrams(_) | LinkEvent::Frames(_) => {}
            up @ LinkEvent::Up(_) => panic!("{up:?}"),
        }
    }
}

/// Waits until the board says something about `peer` that contains `text`.
async fn trouble(board: &Board, peer: Option<&str>, text: &str) {
    let peer = peer.map(|name| DaemonName::new(name).unwrap());
    let until = Instant::now() + LIMIT;
    while !board.about(peer).is_some_and(|trouble| trouble.contains(text)) {
        assert!(Instant::now() < until, "{peer:?} {text}: {:?}", board.about(peer));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn two_daemons_link_and_exchange_frames_and_datagrams() {
    let dir = cluster();
    let mut b = start(settings(dir.path(), id("b", 2), any_port(), None));
    let address = b.transport.address().unwrap();
    let mut a = start(settings(dir.path(), id("a", 1), any_port(), Some(("b", address))));
    let (to_b, to_a) = (up(&mut a.inbox).await, up(&mut b.inbox).await);
    assert_eq!((to_b.peer, to_a.peer), (id("b", 2), id("a", 1)));

    let frames: Vec<Bytes> = (0..200u8).map(|i| Bytes::from(vec![i; usize::from(i) * 100])).collect();
    for frame in &frames {
        to_b.send(frame.clone()).unwrap();
    }
    to_b.wake();
    to_a.send(Bytes::from_static(b"back")).unwrap();
    to_a.wake();
    let mut received = Vec::new();
    while received.len() < frames.len() {
        if let LinkEvent::Frames(more) = event(&mut b.inbox).await {
            received.extend(more);
        }
    }
    assert_eq!(received, frames);
    assert!(matches!(event(&mut a.inbox).await, LinkEvent::Frames(frames) if frames == ["back"]));

    to_a.send_datagram(Bytes::from_static(b"now"));
    assert!(matches!(event(&mut a.inbox).await, LinkEvent::Datagrams(data) if data == ["now"]));

    // An orderly end delivers everything first.
    to_a.send(Bytes::from_static(b"last")).unwrap();
    to_a.finish();
    assert!(matches!(event(&mut a.inbox).await, LinkEvent::Frames(frames) if frames == ["last"]));
    assert_eq!(down(&mut a.inbox).await, "the peer ended it");

    // Which end of the connection it notices first is chance.
    let reason = down(&mut b.inbox).await;
    assert!(["this daemon leaves", "the peer ended it"].contains(&reason.as_str()), "{reason}");
}

#[tokio::test]
async fn handshakes_that_nobody_goes_on_with_do_not_keep_peers_out() {
    const HALF_OPEN: usize = 100;
    let dir = cluster();
    let settings_of_b = settings(dir.path(), id("b", 2), any_port(), None);
    let metrics = settings_of_b.metrics.clone();
    let mut b = start(settings_of_b);
    let address = b.transport.address().unwrap();
    // The first packets of many connections, that somebody else sends on: no answer ever reaches who began them.
    let between = UdpSocket::bind(any_port()).await.unwrap();
    let client = Endpoint::client(any_port()).unwrap();
    let mut begun = Vec::new();
    let mut packet = [0; 2048];
    for _ in 0..HALF_OPEN {
        let mut config = ClientConfig::new(identity(dir.path(), "c").client);
        config.transport_config(Arc::new(TransportConfig::default()));
        begun.push(client.connect_with(config, between.local_addr().unwrap(), "b").unwrap());
        let len = between.recv(&mut packet).await.unwrap();
        between.send_to(&packet[..len], address).await.unwrap();
    }
    // Long before those are given up.
    let begin = Instant::now();
    let mut a = start(settings(dir.path(), id("a", 1), any_port(), Some(("b", address))));
    let (to_b, to_a) = (up(&mut a.inbox).await, up(&mut b.inbox).await);
    assert_eq!((to_b.peer, to_a.peer), (id("b", 2), id("a", 1)));
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(metrics.get(Count::links_refused_full), 0);
}

#[tokio::test]
async fn a_peer_of_another_authority_is_refused_and_both_sides_say_so() {
    let (ours, foreign) = (cluster(), cluster());
    let b = start(settings(ours.path(), id("b", 2), any_port(), None));
    let address = b.transport.address().unwrap();
    let a = start(settings(foreign.path(), id("a", 1), any_port(), Some(("b", address))));
    trouble(&a.board, Some("b"), "not signed by this cluster's authority").await;
    trouble(&b.board, None, "not signed by the peer's authority").await;
    assert!(a.inbox.is_empty() && b.inbox.is_empty());
}

#[tokio::test]
async fn the_wrong_daemon_at_an_address_is_refused() {
    let dir = cluster();
    let c = start(settings(dir.path(), id("c", 3), any_port(), None));
    let address = c.transport.address().unwrap();
    let a = start(settings(dir.path(), id("a", 1), any_port(), Some(("b", address))));
    trouble(&a.board, Some("b"), "that of another daemon").await;
    assert!(a.inbox.is_empty() && c.inbox.is_empty());
}

#[tokio::test]
async fn another_cluster_with_the_same_authority_is_refused() {
    let dir = cluster();
    let b = start(settings(dir.path(), id("b", 2), any_port(), None));
    let address = b.transport.address().unwrap();
    let mut other = settings(dir.path(), id("a", 1), any_port(), Some(("b", address)));
    other.cluster = "other".to_owned();
    let a = start(other);
    trouble(&a.board, Some("b"), "the peer closed it: refused: it belongs to cluster \"other\"").await;
    trouble(&b.board, Some("a"), "it belongs to cluster \"other\", this daemon to \"test\"").await;
    assert!(a.inbox.is_empty() && b.inbox.is_empty());
}

#[tokio::test]
async fn a_restarted_daemon_is_known_as_new_at_once_by_its_dialler() {
    let dir = cluster();
    // A thread and runtime of its own that can end without a word, like a killed process.
    let (sender, mut b_inbox) = mpsc::channel(64);
    let first = settings(dir.path(), id("b", 2), any_port(), None);
    let (started, wait_for_start) = tokio::sync::oneshot::channel();
    let (kill, killed) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            started.send(Transport::start(first, Board::default(), sender).unwrap()).unwrap();
            killed.await.unwrap();
        });
    });
    let b = wait_for_start.await.unwrap();
    let address = b.address().unwrap();
    let mut a = start(settings(dir.path(), id("a", 1), any_port(), Some(("b", address))));
    let link = up(&mut a.inbox).await;
    up(&mut b_inbox).await;
    kill.send(()).unwrap();
    thread.join().unwrap();
    drop(b);

    let until = Instant::now() + LIMIT;
    let mut b = loop {
        // The old socket closes when the last task is gone.
        let (sender, inbox) = mpsc::channel(64);
        let again = settings(dir.path(), id("b", 22), address, None);
        match Transport::start(again, Board::default(), sender) {
            Ok(transport) => break Daemon { transport, inbox, board: Board::default() },
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let restarted = Instant::now();
    let heartbeats = tokio::spawn(async move {
        loop {
            link.send_datagram(Bytes::from(vec![0; 50]));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let reason = down(&mut a.inbox).await;
    assert!(reason.contains("it was restarted"), "{reason}");
    heartbeats.abort();
    assert_eq!(up(&mut a.inbox).await.peer, id("b", 22));
    assert_eq!(up(&mut b.inbox).await.peer, id("a", 1));
    // Far sooner than the idle timeout.
    assert!(restarted.elapsed() < Duration::from_secs(3), "{:?}", restarted.elapsed());
}

/// A peer with the certificate of `name` that can do whatever it likes.
async fn rogue(dir: &Path, name: &str, target: SocketAddr) -> (Endpoint, Connection) {
    let endpoint = Endpoint::client(any_port()).unwrap();
    let config = ClientConfig::new(identity(dir, name).client);
    let connection = endpoint.connect_with(config, target, "b.stentor").unwrap().await.unwrap();
    (endpoint, connection)
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_le_bytes()[..], body].concat()
}

async fn closed(connection: &Connection, text: &str) {
    let reason = tokio::time::timeout(LIMIT, connection.closed()).await.unwrap().to_string();
    assert!(reason.contains(text), "{reason}");
}

#[tokio::test]
async fn peers_that_break_the_rules_are_told_how_and_the_others_are_served() {
    let dir = cluster();
    let mut b = start(settings(dir.path(), id("b", 2), any_port(), None));
    let target = b.transport.address().unwrap();
    let hello = |name, cluster: &str| {
        framed(&Hello { cluster: cluster.to_owned(), daemon: id(name, 1) }.encode().unwrap())
    };

    let cases = [
        ("a", framed(&[7, 0, 1, 2, 3]), "version 7"),
        ("a", framed(&[1, 0, 0xff, 0xff]), "malformed"),
        ("a", framed(&[0; 2000]), "frame of 2000 bytes"),
        ("a", hello("a", "elsewhere"), "elsewhere"),
        ("c", hello("a", "test"), "its certificate is not that of a"),
        ("b", hello("b", "test"), "own name"),
        ("c", hello("c", "test"), "not listed"),
    ];
    for (certificate, bytes, reason) in cases {
        let (_endpoint, connection) = rogue(dir.path(), certificate, target).await;
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        closed(&connection, reason).await;
    }
    assert!(b.inbox.is_empty());

    // After a proper hello: a frame that is too large.
    let (_endpoint, connection) = rogue(dir.path(), "a", target).await;
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(&hello("a", "test")).await.unwrap();
    up(&mut b.inbox).await;
    stream.write_all(&[0xff; 4]).await.unwrap();
    closed(&connection, "frame of 4294967295 bytes: at most 4194304").await;
    assert!(down(&mut b.inbox).await.contains("protocol violation"));

    // And an honest peer is still welcome.
    let mut a = start(settings(dir.path(), id("a", 1), any_port(), Some(("b", target))));
    up(&mut a.inbox).await;
    up(&mut b.inbox).await;
}

#[tokio::test]
async fn a_socket_in_use_is_named() {
    let dir = cluster();
    let b = start(settings(dir.path(), id("b", 2), any_port(), None));
    let taken = b.transport.address().unwrap();
    let (sender, _inbox) = mpsc::channel(1);
    let again = Transport::start(settings(dir.path(), id("c", 3), taken, None), Board::default(), sender);
    let error = again.unwrap_err().to_string();
    assert!(error.contains(&taken.to_string()) && error.contains("another daemon"), "{error}");
}
