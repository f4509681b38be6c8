//! A socket that fails while the daemon works.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime as _, TokioRuntime, UdpPoller};

use super::*;

/// Works until it is told to fail.
struct Failing {
    socket: Arc<dyn AsyncUdpSocket>,
    fails: Arc<AtomicBool>,
}

impl AsyncUdpSocket for Failing {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.socket.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        if self.fails.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::Error::other("out of order")));
        }
        self.socket.poll_recv(cx, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

impl fmt::Debug for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Failing")
    }
}

#[tokio::test]
async fn a_daemon_whose_socket_fails_ends_its_links_and_stops() {
    let dir = cluster();
    let mut b = start(settings(dir.path(), id("b", 2), any_port(), None));
    let address = b.transport.address().unwrap();

    let socket = std::net::UdpSocket::bind(any_port()).unwrap();
    let fails = Arc::new(AtomicBool::new(false));
    let socket = TokioRuntime.wrap_udp_socket(socket).unwrap();
    let socket = Arc::new(Failing { socket, fails: fails.clone() });
    let (sender, mut inbox) = mpsc::channel(64);
    let own = settings(dir.path(), id("a", 1), any_port(), Some(("b", address)));
    let a = Transport::start_on(socket, own, Board::default(), sender).unwrap();
    up(&mut inbox).await;
    let link = up(&mut b.inbox).await;
    assert!(!a.has_failed());

    fails.store(true, Ordering::Relaxed);
    // Something arrives, and is not read.
    link.send_datagram(Bytes::from_static(b"are you there?"));
    let (mut ended, mut stops) = (false, false);
    while !(ended && stops) {
        match tokio::time::timeout(LIMIT, inbox.recv()).await.unwrap().unwrap() {
            Input::Link(_, LinkEvent::Down(_)) => ended = true,
            Input::Shutdown => stops = true,
            other => panic!("{other:?}"),
        }
    }
    assert!(a.has_failed());
    tokio::time::timeout(LIMIT, a.close(Duration::from_secs(2))).await.unwrap();
}
