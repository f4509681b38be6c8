//! One link: a QUIC connection with a stream each way and datagrams, from the hello to its end.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use quinn::{Connection, ReadError, RecvStream, SendStream, VarInt, WriteError};
use stentor_membership::DaemonId;
use tokio::sync::mpsc;
use tracing::trace;

use super::explain::explain;
use super::frames::{Assembler, FRAME_MAX, Oversize, join};
use super::queue::{Full, LinkQueue};
use crate::driver::inbox::Input;

/// Distinguishes the links of this run, also those to the same peer one after the other. Later links have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkNumber(u64);

impl LinkNumber {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Something that happened on a link.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// It is up in both directions. Always first.
    Up(Link),
    /// Frames of its stream, in order.
    Frames(Vec<Bytes>),
    /// Datagrams.
    Datagrams(Vec<Bytes>),
    /// It ended, with the reason for people. Always last.
    Down(String),
}

/// Why this end closes a connection; the number is the QUIC application error code that the peer sees beside the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Close {
    /// This daemon leaves.
    Leaving = 0,
    /// A newer link to the same peer took its place.
    Replaced = 1,
    /// The protocol gave the peer up.
    GivenUp = 2,
    /// The peer's introduction is not acceptable.
    Refused = 3,
    /// The peer broke the protocol.
    Violation = 4,
    /// Too much waits for the peer.
    TooSlow = 5,
}

/// The driver's end of a link.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) number: LinkNumber,
    pub(crate) peer: DaemonId,
    connection: Connection,
    queue: Arc<LinkQueue>,
}

impl Link {
    /// Queues a frame for the stream; it leaves after [`wake`](Self::wake).
    pub(crate) fn send(&self, frame: Bytes) -> Result<(), Full> {
        self.queue.push(frame)
    }

    /// Sends what was queued.
    pub(crate) fn wake(&self) {
        self.queue.wake();
    }

    /// Sends a datagram, perhaps.
    pub(crate) fn send_datagram(&self, datagram: Bytes) {
        if let Err(error) = self.connection.send_datagram(datagram) {
            trace!(peer = %self.peer, %error, "datagram not sent");
        }
    }

    /// Ends the stream behind what is queued; the peer gets all of it unless the link breaks.
    pub(crate) fn finish(&self) {
        self.queue.finish();
    }

    /// Closes the connection at once.
    pub(crate) fn close(&self, close: Close, reason: &str) {
        close_connection(&self.connection, close, reason);
    }
}

pub(crate) fn close_connection(connection: &Connection, close: Close, reason: &str) {
    connection.close(VarInt::from_u32(close as u32), reason.as_bytes());
}

/// A connection whose ends know each other.
pub(crate) struct Established {
    pub(crate) number: LinkNumber,
    pub(crate) peer: DaemonId,
    pub(crate) connection: Connection,
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
    /// What came behind the hello.
    pub(crate) assembler: Assembler,
    pub(crate) early: Vec<Bytes>,
}

/// Serves a link until it ends, and returns the reason.
pub(crate) async fn run(
    mut established: Established,
    inbox: &mpsc::Sender<Input>,
    queue_limit: usize,
) -> String {
    let number = established.number;
    let queue = Arc::new(LinkQueue::new(queue_limit));
    let link = Link {
        number,
        peer: established.peer,
        connection: established.connection.clone(),
        queue: queue.clone(),
    };
    let driver = Driver { number, inbox };
    if !driver.tell(LinkEvent::Up(link)).await {
        return STOPS.to_owned();
    }
    established.assembler.set_limit(FRAME_MAX);
    let Established { connection, send, recv, assembler, early, .. } = established;
    let reason = tokio::select! {
        reason = read_stream(recv, assembler, early, &connection, &driver) => reason,
        reason = read_datagrams(&connection, &driver) => reason,
        reason = write(send, &queue, &connection) => reason,
    };
    driver.tell(LinkEvent::Down(reason.clone())).await;
    reason
}

const STOPS: &str = "this daemon stops";

/// Where a link's events go.
struct Driver<'a> {
    number: LinkNumber,
    inbox: &'a mpsc::Sender<Input>,
}

impl Driver<'_> {
    /// False if there is nobody to tell any more.
    async fn tell(&self, event: LinkEvent) -> bool {
        self.inbox.send(Input::Link(self.number, event)).await.is_ok()
    }
}

/// The most chunks of a stream to take at a time.
const CHUNKS: usize = 64;

/// Bytes to hand over at a time: little enough for the driver to look up in between, even on a starved machine.
const BATCH: usize = 256 << 10;

async fn read_stream(
    mut recv: RecvStream,
    mut assembler: Assembler,
    early: Vec<Bytes>,
    connection: &Connection,
    driver: &Driver<'_>,
) -> String {
    let mut frames = early;
    let mut chunks = [const { Bytes::new() }; CHUNKS];
    loop {
        if !frames.is_empty() && !driver.tell(LinkEvent::Frames(std::mem::take(&mut frames))).await {
            return STOPS.to_owned();
        }
        let count = match recv.read_chunks(&mut chunks).await {
            Ok(Some(count)) => count,
            Ok(None) => return "the peer ended it".to_owned(),
            Err(ReadError::ConnectionLost(error)) => return explain(&error),
            Err(error) => return error.to_string(),
        };
        let mut size = 0;
        for chunk in &mut chunks[..count] {
            size += chunk.len();
            if size > BATCH && !frames.is_empty() {
                size = chunk.len();
                if !driver.tell(LinkEvent::Frames(std::mem::take(&mut frames))).await {
                    return STOPS.to_owned();
                }
            }
            if let Err(error) = assembler.push(std::mem::take(chunk), &mut frames) {
                let reason = format!("protocol violation: {error}");
                close_connection(connection, Close::Violation, &reason);
                return reason;
            }
        }
    }
}

/// The most datagrams to hand over at a time.
const DATAGRAMS: usize = 64;

async fn read_datagrams(connection: &Connection, driver: &Driver<'_>) -> String {
    loop {
        let mut datagrams = match connection.read_datagram().await {
            Ok(datagram) => vec![datagram],
            Err(error) => return explain(&error),
        };
        // Those that have arrived as well go along.
        while datagrams.len() < DATAGRAMS {
            let next = pin!(connection.read_datagram());
            match next.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(datagram)) => datagrams.push(datagram),
                Poll::Ready(Err(_)) | Poll::Pending => break,
            }
        }
        if !driver.tell(LinkEvent::Datagrams(datagrams)).await {
            return STOPS.to_owned();
        }
    }
}

async fn write(mut send: SendStream, queue: &LinkQueue, connection: &Connection) -> String {
    let mut chunks = Vec::new();
    while let Some(frames) = queue.take().await {
        let bytes = frames.iter().map(Bytes::len).sum();
        chunks.clear();
        let written = match join(frames.into_iter(), &mut chunks) {
            Ok(()) => send.write_all_chunks(&mut chunks).await,
            Err(error) => return too_large(connection, &error),
        };
        match written {
            Ok(()) => queue.written(bytes),
            Err(WriteError::ConnectionLost(error)) => return explain(&error),
            Err(error) => return error.to_string(),
        }
    }
    // This daemon leaves: wait until the peer has all.
    if send.finish().is_ok() {
        // However it ends, there is nothing more to do for it.
        let _ = send.stopped().await;
    }
    close_connection(connection, Close::Leaving, "this daemon leaves the cluster");
    "this daemon leaves".to_owned()
}

fn too_large(connection: &Connection, error: &Oversize) -> String {
    let reason = format!("cannot send: {error}");
    close_connection(connection, Close::GivenUp, &reason);
    reason
}
