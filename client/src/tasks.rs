//! The two tasks of a connection: one writes, one reads.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use stentor_membership::Cause;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tracing::{debug, warn};

use crate::error::Disconnected;
use crate::event::{Event, Message};
use crate::shared::{BUFFER, Shared, Stage};
use crate::wire::{DaemonFrame, FrameDecoder, GoodbyeCode, LastMessage, Messages, WireError};

/// Bytes of events that wait for the program. A larger event is taken when nothing else waits.
pub(crate) const INBOX: usize = 1 << 20;

/// How long a closing connection waits for a program that does not receive.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

/// How long the daemon's last words are looked for after writing failed.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Events that were read together, and the part of the inbox that they hold until they are all taken.
pub(crate) struct Batch {
    /// Those in front of `behind`.
    messages: Messages,
    behind: std::vec::IntoIter<Read>,
    _room: Option<OwnedSemaphorePermit>,
}

/// What was read.
enum Read {
    /// Messages that came one behind the other.
    Messages(Messages),
    /// Any other event.
    Event(Event),
}

impl Batch {
    /// The next event; `last` remembers the message before.
    #[inline]
    pub(crate) fn next(&mut self, last: &mut LastMessage) -> Option<Result<Event, WireError>> {
        loop {
            if let Some(message) = self.messages.next(last) {
                let event =
                    |(from, content): (&(_, _), _)| Event::Message(Message::new(from.0, from.1, content));
                return Some(message.map(event));
            }
            match self.behind.next()? {
                Read::Messages(messages) => self.messages = messages,
                Read::Event(event) => return Some(Ok(event)),
            }
        }
    }
}

/// Writes what is accepted, everything that waits at once, until the goodbye is written or the connection is over.
pub(crate) async fn write(shared: Arc<Shared>, mut socket: impl AsyncWrite + Unpin) {
    let mut stage = shared.watch();
    let work = async {
        let mut buffer = BytesMut::new();
        loop {
            shared.take(&mut buffer).await;
            if let Err(error) = socket.write_all(&buffer).await {
                shared.broke();
                // The reader now has a moment to find out why.
                tokio::time::sleep(LAST_WORDS).await;
                return shared.end(Disconnected::Lost(Arc::new(error)));
            }
            if shared.is_drained() {
                // The socket stays open for the daemon's answer.
                return std::future::pending().await;
            }
            buffer.clear();
            if buffer.capacity() > 2 * BUFFER {
                // A large message is no reason to keep so much.
                buffer = BytesMut::new();
            }
        }
    };
    tokio::select! {
        () = work => {}
        _ = stage.wait_for(Stage::is_over) => {}
    }
}

/// Reads until the connection is over: hands events to the program and answers to who asked.
pub(crate) async fn read(
    shared: Arc<Shared>,
    socket: impl AsyncRead + Unpin,
    decoder: FrameDecoder<DaemonFrame>,
    inbox: mpsc::UnboundedSender<Batch>,
    room: Arc<Semaphore>,
) {
    let mut stage = shared.watch();
    let mut reader =
        Reader { shared: shared.clone(), decoder, inbox, room, stage: stage.clone(), behind: false };
    let reason = tokio::select! {
        reason = reader.run(socket) => reason,
        _ = stage.wait_for(Stage::is_over) => return,
    };
    debug!(reason = %reason, "connection over");
    shared.end(reason);
    // Only now does `reader` let go of the inbox: the program finds the reason behind the last event.
    drop(reader);
}

struct Reader {
    shared: Arc<Shared>,
    decoder: FrameDecoder<DaemonFrame>,
    /// Bounded by `room`: a batch in it holds its part.
    inbox: mpsc::UnboundedSender<Batch>,
    room: Arc<Semaphore>,
    stage: watch::Receiver<Stage>,
    /// The connection broke while events waited that the program did not receive.
    behind: bool,
}

impl Reader {
    async fn run(&mut self, mut socket: impl AsyncRead + Unpin) -> Disconnected {
        loop {
            let mut read = Vec::new();
            let (size, end) = match self.decode(&mut read) {
                Ok(decoded) => decoded,
                Err(error) => (0, Some(Disconnected::Protocol(error))),
            };
            if !read.is_empty()
                && let Err(reason) = self.hand_over(read, size).await
            {
                return reason;
            }
            if let Some(end) = end {
                return end;
            }
            match socket.read_buf(self.decoder.space()).await {
                Ok(0) => {
                    let error = io::Error::new(io::ErrorKind::UnexpectedEof, "it ended without a goodbye");
                    return self.lost(error);
                }
                Ok(_) => {}
                Err(error) => return self.lost(error),
            }
        }
    }

    /// The end without a word. The daemon's would not have fitted behind what the program did not receive.
    fn lost(&self, error: io::Error) -> Disconnected {
        let error = if self.behind {
            let text = format!(
                "{error}, while events waited that this program did not receive: a daemon cuts off programs that receive \
                 too slowly"
            );
            io::Error::new(error.kind(), text)
        } else {
            error
        };
        Disconnected::Lost(Arc::new(error))
    }

    /// Takes all complete frames: gives their size, and the reason if one of them is the last.
    fn decode(&mut self, read: &mut Vec<Read>) -> Result<(usize, Option<Disconnected>), WireError> {
        let mut size = 0;
        loop {
            if let Some(messages) = self.decoder.next_messages() {
                size += messages.size();
                read.push(Read::Messages(messages));
            }
            let Some(frame) = self.decoder.next_frame()? else { return Ok((size, None)) };
            let event = match frame {
                // `next_messages` leaves none of them.
                DaemonFrame::Message { sender, service, content } => {
                    Event::Message(Message::new(sender, service, content))
                }
                DaemonFrame::Membership(membership) => {
                    size += size_of_val(&*membership.members) + size_of_val(&*membership.stayed);
                    let me = self.shared.member;
                    match membership.cause {
                        Cause::Join(who) if who == me => {
                            self.shared.answer(|requests| requests.changed(true, &membership));
                        }
                        Cause::Leave(who) if who == me => {
                            self.shared.answer(|requests| requests.changed(false, &membership));
                        }
                        Cause::Join(_) | Cause::Leave(_) | Cause::Disconnect(_) | Cause::Network => {}
                    }
                    Event::Membership(membership)
                }
                DaemonFrame::Transitional { group } => Event::Transitional { group },
                DaemonFrame::Rejected { ordinal, code, text } => {
                    size += text.len();
                    if self.inbox.is_closed() {
                        warn!(ordinal, text, "the daemon refused a message, and nobody receives events");
                    }
                    Event::Rejected { ordinal, code, text }
                }
                frame @ (DaemonFrame::Failed { .. }
                | DaemonFrame::Groups { .. }
                | DaemonFrame::Members { .. }
                | DaemonFrame::StatusReport { .. }) => {
                    self.shared.answer(|requests| requests.answered(frame));
                    continue;
                }
                DaemonFrame::Goodbye { code: GoodbyeCode::Closed, .. } => {
                    return Ok((size, Some(Disconnected::Closed)));
                }
                DaemonFrame::Goodbye { code, text } => {
                    return Ok((size, Some(Disconnected::Goodbye { code, text })));
                }
                DaemonFrame::Welcome { .. } => return Err(WireError::Malformed("a second welcome")),
            };
            size += size_of::<Event>();
            read.push(Read::Event(event));
        }
    }

    /// Gives events to the program once there is room for them.
    async fn hand_over(&mut self, read: Vec<Read>, size: usize) -> Result<(), Disconnected> {
        if self.inbox.is_closed() {
            return Ok(());
        }
        let size = size.min(INBOX);
        let acquire = self.room.clone().acquire_many_owned(u32::try_from(size).unwrap_or(u32::MAX));
        let (mut stage, mut closing) = (self.stage.clone(), self.stage.clone());
        let room = tokio::select! {
            biased;
            // Fails when the receiver is gone.
            room = acquire => room.ok(),
            // The daemon is gone: what is left is what the socket's buffer holds.
            _ = stage.wait_for(|stage| matches!(stage, Stage::Broken)) => {
                self.behind = true;
                None
            }
            () = async {
                let _ = closing.wait_for(|stage| matches!(stage, Stage::Closing)).await;
                tokio::time::sleep(CLOSE_PATIENCE).await;
            } => return Err(Disconnected::NotReceiving(CLOSE_PATIENCE)),
        };
        let batch = Batch { messages: Messages::default(), behind: read.into_iter(), _room: room };
        // Nobody to give it to, if it fails.
        let _ = self.inbox.send(batch);
        Ok(())
    }
}
