//! A daemon's end of the session protocol, for tests of the client's end: it does what it is told, and no more.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(dead_code, reason = "each test file uses its own part of it")]

use std::time::Duration;

use bytes::BytesMut;
use stentor_client::wire::{
    ClientFrame, DaemonFrame, Frame, FrameDecoder, GoodbyeCode, Membership, PREAMBLE_LEN, check_preamble,
};
use stentor_client::{
    Address, Builder, Cause, Connection, Content, DaemonName, MemberName, Service, SessionName,
};
use stentor_membership::{DaemonId, GroupName, GroupViewId, Position, ViewId};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

pub(crate) const MAX_MESSAGE: usize = 4 << 20;

/// Waits for something that must come soon.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it did not come")
}

/// Whether a future is still waiting after everything else that can run has run.
pub(crate) async fn waits<T>(future: &mut (impl Future<Output = T> + Unpin)) -> bool {
    for _ in 0..100 {
        tokio::select! {
            biased;
            _ = &mut *future => return false,
            () = tokio::task::yield_now() => {}
        }
    }
    true
}

pub(crate) struct FakeDaemon {
    pub(crate) address: Address,
    listener: UnixListener,
    _directory: TempDir,
}

pub(crate) fn fake_daemon() -> FakeDaemon {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    FakeDaemon { address: Address::Unix(path), listener, _directory: directory }
}

impl FakeDaemon {
    /// A connection, straight from the socket.
    pub(crate) async fn accept(&self) -> UnixStream {
        self.listener.accept().await.unwrap().0
    }

    /// Accepts a session, checks how it begins, and welcomes it.
    pub(crate) async fn welcome(&self) -> Peer {
        let mut peer = self.greet().await;
        peer.send(&welcome()).await;
        peer
    }

    /// Accepts a session and checks how it begins.
    pub(crate) async fn greet(&self) -> Peer {
        let mut socket = self.accept().await;
        let mut start = [0; PREAMBLE_LEN];
        socket.read_exact(&mut start).await.unwrap();
        assert_eq!(check_preamble(&start), Ok(true));
        let mut peer = Peer { socket, decoder: FrameDecoder::new(64 << 20) };
        assert!(matches!(peer.recv().await, Some(ClientFrame::Hello { .. })));
        peer
    }

    /// A connected pair.
    pub(crate) async fn pair(&self) -> (Connection, Peer) {
        self.pair_of(&Connection::builder()).await
    }

    pub(crate) async fn pair_of(&self, builder: &Builder) -> (Connection, Peer) {
        let (connection, peer) =
            soon(async { tokio::join!(builder.connect(&self.address), self.welcome()) }).await;
        (connection.unwrap(), peer)
    }
}

pub(crate) struct Peer {
    pub(crate) socket: UnixStream,
    pub(crate) decoder: FrameDecoder<ClientFrame>,
}

impl Peer {
    /// The next frame, or `None` at the end of the stream.
    pub(crate) async fn recv(&mut self) -> Option<ClientFrame> {
        soon(async {
            loop {
                if let Some(frame) = self.decoder.next_frame().unwrap() {
                    return Some(frame);
                }
                if self.socket.read_buf(self.decoder.space()).await.unwrap() == 0 {
                    return None;
                }
            }
        })
        .await
    }

    /// The payload of the next frame, which must be a multicast.
    pub(crate) async fn recv_payload(&mut self) -> bytes::Bytes {
        match self.recv().await {
            Some(ClientFrame::Multicast { content, .. }) => Content::parse(content).unwrap().payload(),
            other => panic!("{other:?} instead of a multicast"),
        }
    }

    pub(crate) async fn send(&mut self, frame: &DaemonFrame) {
        soon(self.socket.write_all(&encoded(frame))).await.unwrap();
    }

    /// Confirms an orderly close.
    pub(crate) async fn confirm(&mut self) {
        let code = GoodbyeCode::Closed;
        self.send(&DaemonFrame::Goodbye { code, text: "closed".to_owned() }).await;
    }
}

pub(crate) fn encoded(frame: &DaemonFrame) -> BytesMut {
    let mut out = BytesMut::new();
    frame.encode(&mut out).unwrap();
    out
}

pub(crate) fn welcome() -> DaemonFrame {
    DaemonFrame::Welcome { member: me(), max_message: MAX_MESSAGE as u64 }
}

pub(crate) fn me() -> MemberName {
    MemberName { daemon: DaemonName::new("a").unwrap(), session: SessionName::new("me").unwrap() }
}

pub(crate) fn message(text: &[u8]) -> DaemonFrame {
    let content = Content::new(&["g"], 0, text).unwrap();
    DaemonFrame::Message { sender: me(), service: Service::Agreed, content }
}

pub(crate) fn membership(group: &str, cause: Cause) -> DaemonFrame {
    let proposer = DaemonId { name: me().daemon, incarnation: 1 };
    let view = ViewId { epoch: 1, proposer };
    DaemonFrame::Membership(Box::new(Membership {
        group: GroupName::new(group).unwrap(),
        view: GroupViewId { view, toward: None, position: Position::default() },
        members: [me()].into(),
        cause,
        stayed: [].into(),
        sets: [].into(),
    }))
}
