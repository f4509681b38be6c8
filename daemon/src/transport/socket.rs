//! The UDP socket of all links.
//!
//! The runtime's own is registered for reading and writing at once: each packet that leaves the send buffer wakes the
//! daemon, and on loopback that is every packet. This one asks for room only when there was none.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::net::unix::pipe;
use tokio::time::{Sleep, sleep};

/// A socket that wakes its daemon when packets arrive, and for nothing else.
#[derive(Debug)]
pub(super) struct LinkSocket {
    socket: UdpSocket,
    /// The same socket. To the runtime, the reading end of a pipe is a descriptor that is registered for reading alone.
    arrivals: pipe::Receiver,
    state: UdpSocketState,
    /// A packet found no room in the send buffer, and nobody has seen any since.
    full: AtomicBool,
}

impl LinkSocket {
    /// Takes a socket that is bound and does not block. To be called inside a runtime.
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        let arrivals = pipe::Receiver::from_owned_fd_unchecked(socket.try_clone()?.into())?;
        Ok(Self { socket, arrivals, state, full: AtomicBool::new(false) })
    }
}

impl AsyncUdpSocket for LinkSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Room { socket: self, waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.state.send((&self.socket).into(), transmit);
        if sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.full.store(true, Ordering::Relaxed);
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.arrivals.poll_read_ready(cx))?;
            let mut received = None;
            let done = self.arrivals.try_io(|| {
                let count = *received.insert(self.state.recv((&self.socket).into(), bufs, meta)?);
                // Those were all: asking again would only tell so. What came since the call makes it ready again.
                if count < bufs.len() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match (received, done) {
                (Some(count), _) => return Poll::Ready(Ok(count)),
                (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                (None, _) => {}
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }
}

/// Waits for room in the send buffer.
#[derive(Debug)]
struct Room {
    socket: Arc<LinkSocket>,
    /// While there is none.
    waiting: Option<Wait>,
}

#[derive(Debug)]
enum Wait {
    /// For word of room, by the same socket under another descriptor, registered for writing.
    Told(pipe::Sender),
    /// For a while: the process has no descriptor left, which must not cost it its links.
    Looks(Pin<Box<Sleep>>),
}

/// How long who is not told waits before it tries again.
const LOOK: Duration = Duration::from_millis(2);

impl Wait {
    fn start(socket: &UdpSocket) -> Self {
        let again = socket.try_clone().and_then(|again| pipe::Sender::from_owned_fd_unchecked(again.into()));
        again.map_or_else(|_| Self::Looks(Box::pin(sleep(LOOK))), Self::Told)
    }
}

impl UdpPoller for Room {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, waiting } = self.get_mut();
        if waiting.is_none() && !socket.full.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        match waiting.get_or_insert_with(|| Wait::start(&socket.socket)) {
            Wait::Told(room) => ready!(room.poll_write_ready(cx))?,
            Wait::Looks(again) => ready!(again.as_mut().poll(cx)),
        }
        *waiting = None;
        socket.full.store(false, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn bound() -> Arc<LinkSocket> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        Arc::new(LinkSocket::new(socket).unwrap())
    }

    fn packet<'a>(to: &LinkSocket, contents: &'a [u8]) -> Transmit<'a> {
        let destination = to.local_addr().unwrap();
        Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None }
    }

    /// The sizes of the packets that arrived together.
    async fn receive(socket: &LinkSocket) -> Vec<usize> {
        let (mut first, mut second) = ([0; 100], [0; 100]);
        let mut bufs = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        let mut meta = [RecvMeta::default(); 2];
        let count = poll_fn(|cx| socket.poll_recv(cx, &mut bufs, &mut meta)).await.unwrap();
        meta[..count].iter().map(|packet| packet.len).collect()
    }

    #[tokio::test]
    async fn every_packet_arrives_whether_they_fill_what_is_read_at_a_time_or_not() {
        let (a, b) = (bound(), bound());
        for together in [1, 2, 1, 3, 4, 1] {
            for size in 0..together {
                a.try_send(&packet(&b, &vec![0; size + 1])).unwrap();
            }
            let mut got = Vec::new();
            while got.len() < together {
                got.extend(receive(&b).await);
            }
            assert_eq!(got, (1..=together).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn who_found_no_room_waits_until_there_is_some() {
        let socket = bound();
        let mut rooms = [socket.clone().create_io_poller(), socket.clone().create_io_poller()];
        socket.full.store(true, Ordering::Relaxed);
        for room in &mut rooms {
            poll_fn(|cx| room.as_mut().poll_writable(cx)).await.unwrap();
        }
        assert!(!socket.full.load(Ordering::Relaxed));
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_be_told_of_room_looks_again_after_a_while() {
        let socket = bound();
        socket.full.store(true, Ordering::Relaxed);
        let mut room = Room { socket: socket.clone(), waiting: Some(Wait::Looks(Box::pin(sleep(LOOK)))) };
        let begin = tokio::time::Instant::now();
        poll_fn(|cx| Pin::new(&mut room).poll_writable(cx)).await.unwrap();
        assert!(begin.elapsed() >= LOOK);
        assert!(room.waiting.is_none() && !socket.full.load(Ordering::Relaxed));
    }
}
