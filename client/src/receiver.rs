//! The receiving half.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use stentor_membership::MemberName;
use tokio::sync::{Semaphore, mpsc};

use crate::error::{Disconnected, TryRecvError};
use crate::event::Event;
use crate::shared::{Shared, Stage};
use crate::tasks::Batch;
use crate::wire::{LastMessage, WireError};

/// The receiving half of a connection: what happens to this session, in order.
///
/// Also a [`Stream`], which ends after an orderly close, or behind the error that says why the connection ended.
///
/// **Go on receiving.** About a megabyte of events is kept for a program that is busy. Then the connection is not read
/// any more: answers to requests wait as well, the daemon queues up what the session gets, and at its bound
/// (`session_queue_out`) it ends the connection, so that others are not slowed down. A program that only sends drops its
/// receiver instead: events are then read and forgotten.
pub struct Receiver {
    shared: Arc<Shared>,
    inbox: mpsc::UnboundedReceiver<Batch>,
    room: Arc<Semaphore>,
    batch: Option<Batch>,
    last: LastMessage,
    /// Whether the stream has given the reason for its end.
    explained: bool,
}

impl Receiver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        inbox: mpsc::UnboundedReceiver<Batch>,
        room: Arc<Semaphore>,
    ) -> Self {
        shared.add_handle();
        Self { shared, inbox, room, batch: None, last: LastMessage::default(), explained: false }
    }

    /// The name of this session.
    pub fn member(&self) -> MemberName {
        self.shared.member
    }

    /// Waits for the next event; `None` after an orderly close. Safe to cancel: no event is lost.
    ///
    /// # Errors
    /// [`Disconnected`] says why the connection ended, behind the last event that it brought.
    pub async fn recv(&mut self) -> Result<Option<Event>, Disconnected> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next event if there is one already.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`] if there is none yet; also after the connection's end, then with the reason.
    pub fn try_recv(&mut self) -> Result<Event, TryRecvError> {
        loop {
            if let Some(event) = self.next_of_batch() {
                return Ok(event?);
            }
            match self.inbox.try_recv() {
                Ok(batch) => self.batch = Some(batch),
                Err(mpsc::error::TryRecvError::Empty) => return Err(TryRecvError::Empty),
                Err(mpsc::error::TryRecvError::Disconnected) => return Err(self.shared.reason().into()),
            }
        }
    }

    /// As [`recv`](Self::recv), for hand-written futures.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Event>, Disconnected>> {
        loop {
            if let Some(event) = self.next_of_batch() {
                return Poll::Ready(event.map(Some));
            }
            match ready!(self.inbox.poll_recv(cx)) {
                Some(batch) => self.batch = Some(batch),
                None => return Poll::Ready(self.over()),
            }
        }
    }

    /// The next event that was read; gives the room of the batch back behind its last one.
    #[inline]
    fn next_of_batch(&mut self) -> Option<Result<Event, Disconnected>> {
        match self.batch.as_mut()?.next(&mut self.last) {
            Some(Ok(event)) => Some(Ok(event)),
            Some(Err(error)) => Some(Err(self.give_up(error))),
            None => {
                self.batch = None;
                None
            }
        }
    }

    /// What the daemon sent is not a message. What came behind it is of no more use.
    fn give_up(&mut self, error: WireError) -> Disconnected {
        let reason = Disconnected::Protocol(error);
        self.shared.end(reason.clone());
        self.batch = None;
        self.inbox.close();
        while self.inbox.try_recv().is_ok() {}
        reason
    }

    fn over(&self) -> Result<Option<Event>, Disconnected> {
        match &*self.shared.watch().borrow() {
            Stage::Failed(reason) => Err(reason.clone()),
            Stage::Open | Stage::Closing | Stage::Broken | Stage::Closed => Ok(None),
        }
    }
}

impl Stream for Receiver {
    type Item = Result<Event, Disconnected>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.explained {
            return Poll::Ready(None);
        }
        let next = ready!(self.poll_recv(cx)).transpose();
        self.explained = matches!(next, Some(Err(_)));
        Poll::Ready(next)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // In this order: the reader may wait for room, and then finds the inbox closed.
        self.inbox.close();
        self.room.close();
        self.shared.drop_handle();
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("member", &self.member()).finish_non_exhaustive()
    }
}
