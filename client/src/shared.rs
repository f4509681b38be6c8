//! What the halves of a connection and its two tasks share.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use stentor_membership::MemberName;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, TryAcquireError, watch};

use crate::error::{Disconnected, RequestError, SendError, TrySendError};
use crate::request::{Request, Requests};
use crate::wire::{ClientFrame, Frame};

/// Bytes of messages that wait for the writer. As much again is being written, so that neither waits for the other. A
/// larger message is taken when nothing else waits.
pub(crate) const BUFFER: usize = 256 << 10;

/// Bytes of messages between two that ask for their room: a turn of a sending task is one buffer.
const STEP: usize = BUFFER / 128;
/// What a message counts for at least: a turn has at most 2,048.
const STEP_MESSAGE: usize = STEP / 16;

/// Where a connection stands.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// It works.
    Open,
    /// The goodbye is in the buffer: nothing more is accepted.
    Closing,
    /// Writing failed: the daemon is gone, its last words may still be read.
    Broken,
    /// It is over: all was closed in order.
    Closed,
    /// It is over.
    Failed(Disconnected),
}

impl Stage {
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Self::Closed | Self::Failed(_))
    }
}

/// One connection.
pub(crate) struct Shared {
    pub(crate) member: MemberName,
    pub(crate) max_message: usize,
    state: Mutex<State>,
    /// The free bytes of the outgoing buffer: waiters are served in order, and none is forgotten when another gives
    /// up. Closed as soon as nothing more is accepted.
    room: Semaphore,
    /// Bytes since a message asked for its room.
    step: AtomicUsize,
    /// Tells the writer that the buffer is no longer empty.
    filled: Notify,
    stage: watch::Sender<Stage>,
    /// Senders and receivers that exist: the last one says goodbye.
    handles: AtomicUsize,
}

struct State {
    /// Encoded frames, in order.
    outgoing: BytesMut,
    /// What they took of `room`.
    taken: usize,
    /// Multicasts accepted so far.
    multicasts: u64,
    requests: Requests,
    /// Whether anything more is accepted: the stage is `Open`.
    open: bool,
}

impl Shared {
    pub(crate) fn new(member: MemberName, max_message: usize) -> Arc<Self> {
        let state = State {
            outgoing: BytesMut::new(),
            taken: 0,
            multicasts: 0,
            requests: Requests::default(),
            open: true,
        };
        Arc::new(Self {
            member,
            max_message,
            state: Mutex::new(state),
            room: Semaphore::new(BUFFER),
            step: AtomicUsize::new(0),
            filled: Notify::new(),
            stage: watch::Sender::new(Stage::Open),
            handles: AtomicUsize::new(0),
        })
    }

    /// Waits for room for a message of `size` encoded bytes.
    pub(crate) async fn room(&self, size: usize) -> Result<SemaphorePermit<'_>, Disconnected> {
        if !self.ends_step(size)
            && let Ok(room) = self.try_room(size)
        {
            return Ok(room);
        }
        self.room.acquire_many(share(size)).await.map_err(|_| self.reason())
    }

    /// Whether a message of `size` bytes has to ask for its room even if there is some. A task's turn ends when it has
    /// asked 128 times (tokio's budget): if each message asked, a burst would be cut into pieces of that many, and if none
    /// did, a task that never has to wait would never let others run.
    fn ends_step(&self, size: usize) -> bool {
        let counted = size.max(STEP_MESSAGE);
        let ends = self.step.fetch_add(counted, Ordering::Relaxed) + counted >= STEP;
        if ends {
            self.step.store(0, Ordering::Relaxed);
        }
        ends
    }

    /// Why nothing more is accepted. After a failed write the daemon's last words are waited for: they say more.
    pub(crate) async fn last_reason(&self) -> Disconnected {
        // The stage's sender is here: it does not fail.
        let _ = self.watch().wait_for(|stage| !matches!(stage, Stage::Broken)).await;
        self.reason()
    }

    /// Takes room if there is some.
    pub(crate) fn try_room(&self, size: usize) -> Result<SemaphorePermit<'_>, TrySendError> {
        self.room.try_acquire_many(share(size)).map_err(|error| match error {
            TryAcquireError::NoPermits => TrySendError::Full,
            TryAcquireError::Closed => SendError::from(self.reason()).into(),
        })
    }

    /// Accepts a message: `encode` appends its frame. Returns how many were accepted before it.
    pub(crate) fn push(
        &self,
        permit: SemaphorePermit<'_>,
        size: usize,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), SendError>,
    ) -> Result<u64, SendError> {
        if size < BUFFER {
            return self.append(permit, encode);
        }
        // Copying a large message takes long: not under the lock.
        let mut own = BytesMut::with_capacity(size);
        encode(&mut own)?;
        self.append(permit, |outgoing| {
            if outgoing.is_empty() {
                *outgoing = own;
            } else {
                outgoing.extend_from_slice(&own);
            }
            Ok(())
        })
    }

    fn append(
        &self,
        permit: SemaphorePermit<'_>,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), SendError>,
    ) -> Result<u64, SendError> {
        let mut state = self.lock();
        if !state.open {
            drop(state);
            return Err(self.reason().into());
        }
        let was_empty = state.outgoing.is_empty();
        encode(&mut state.outgoing)?;
        state.taken += permit.num_permits();
        permit.forget();
        let ordinal = state.multicasts;
        state.multicasts += 1;
        drop(state);
        if was_empty {
            self.filled.notify_one();
        }
        Ok(ordinal)
    }

    /// Sends a request, which `frame` makes from its number. Requests take no room: there are few, and they are small.
    pub(crate) fn request(
        &self,
        request: Request,
        frame: impl FnOnce(u32) -> ClientFrame,
    ) -> Result<(), RequestError> {
        let mut state = self.lock();
        if !state.open {
            drop(state);
            return Err(self.reason().into());
        }
        let number = state.requests.add(request)?;
        // A small frame always has an encoding.
        let _ = frame(number).encode(&mut state.outgoing);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Gives the reader the requests to answer.
    pub(crate) fn answer(&self, answer: impl FnOnce(&mut Requests)) {
        answer(&mut self.lock().requests);
    }

    /// Says goodbye behind everything accepted, and accepts no more. Harmless when done before.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        if !std::mem::take(&mut state.open) {
            return;
        }
        let _ = ClientFrame::Goodbye.encode(&mut state.outgoing);
        drop(state);
        self.advance(|stage| matches!(stage, Stage::Open), Stage::Closing);
        self.room.close();
        self.filled.notify_one();
    }

    /// Writing failed. The reader may still find the daemon's reason.
    pub(crate) fn broke(&self) {
        self.lock().open = false;
        self.advance(|stage| matches!(stage, Stage::Open | Stage::Closing), Stage::Broken);
        self.room.close();
    }

    /// The connection is over, in order or for a reason. The first end counts.
    pub(crate) fn end(&self, reason: Disconnected) {
        let over = match &reason {
            Disconnected::Closed => Stage::Closed,
            other => Stage::Failed(other.clone()),
        };
        // Before any waiter learns that it is over, so that it finds the reason.
        self.advance(|stage| !stage.is_over(), over);
        let mut state = self.lock();
        state.open = false;
        state.outgoing = BytesMut::new();
        state.requests.fail_all(&self.reason());
        drop(state);
        self.room.close();
    }

    /// Why nothing more is accepted.
    pub(crate) fn reason(&self) -> Disconnected {
        match &*self.stage.borrow() {
            Stage::Failed(reason) => reason.clone(),
            Stage::Broken => Disconnected::Lost(Arc::new(io::ErrorKind::BrokenPipe.into())),
            Stage::Open | Stage::Closing | Stage::Closed => Disconnected::Closed,
        }
    }

    /// Follows the stage.
    pub(crate) fn watch(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// Waits until the buffer holds something, and swaps it for the empty `buffer`.
    pub(crate) async fn take(&self, buffer: &mut BytesMut) {
        while !self.try_take(buffer) {
            self.filled.notified().await;
        }
    }

    fn try_take(&self, buffer: &mut BytesMut) -> bool {
        let mut state = self.lock();
        if state.outgoing.is_empty() {
            return false;
        }
        std::mem::swap(&mut state.outgoing, buffer);
        let taken = std::mem::take(&mut state.taken);
        drop(state);
        self.room.add_permits(taken);
        true
    }

    /// Whether the goodbye has been handed to the writer.
    pub(crate) fn is_drained(&self) -> bool {
        let state = self.lock();
        !state.open && state.outgoing.is_empty()
    }

    pub(crate) fn add_handle(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn drop_handle(&self) {
        if self.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close();
        }
    }

    /// Enters `next` if the stage is still one that it may follow.
    fn advance(&self, may_follow: impl FnOnce(&Stage) -> bool, next: Stage) {
        self.stage.send_if_modified(|stage| {
            let may = may_follow(stage);
            if may {
                *stage = next;
            }
            may
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a message takes of the room.
fn share(size: usize) -> u32 {
    u32::try_from(size.min(BUFFER)).unwrap_or(u32::MAX)
}
