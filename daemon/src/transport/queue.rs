//! What waits to be sent on a link. The driver fills it and never waits; the link's writer empties it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// The frames for one link, bounded in bytes.
#[derive(Debug)]
pub(crate) struct LinkQueue {
    limit: usize,
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Bytes>,
    /// Bytes of `frames`, and of those taken but not written yet.
    bytes: usize,
    finishing: bool,
}

/// The queue is at its limit: the peer takes less than the protocol makes wait for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl LinkQueue {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default(), wake: Notify::new() }
    }

    /// Adds a frame; the writer is woken by [`wake`](Self::wake).
    pub(crate) fn push(&self, frame: Bytes) -> Result<(), Full> {
        let mut state = self.lock();
        if state.bytes.saturating_add(frame.len()) > self.limit {
            return Err(Full);
        }
        state.bytes += frame.len();
        state.frames.push_back(frame);
        Ok(())
    }

    /// Tells the writer that there is something to do.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Ends the stream behind what waits.
    pub(crate) fn finish(&self) {
        self.lock().finishing = true;
        self.wake.notify_one();
    }

    /// Waits for frames and takes them all; `None` at the end.
    pub(crate) async fn take(&self) -> Option<VecDeque<Bytes>> {
        loop {
            {
                let mut state = self.lock();
                if !state.frames.is_empty() {
                    return Some(std::mem::take(&mut state.frames));
                }
                if state.finishing {
                    return None;
                }
            }
            self.wake.notified().await;
        }
    }

    /// `bytes` of what was taken have been written.
    pub(crate) fn written(&self, bytes: usize) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_written_counts_toward_the_limit() {
        let queue = LinkQueue::new(10);
        let frame = |size| Bytes::from(vec![0; size]);
        assert_eq!(queue.push(frame(11)), Err(Full), "never more than the limit");
        assert_eq!((queue.push(frame(6)), queue.push(frame(5))), (Ok(()), Err(Full)));
        assert_eq!(queue.push(frame(4)), Ok(()), "a refused frame leaves no trace");
        // Taken is not written: it still waits for the peer.
        assert_eq!(queue.take().await.unwrap().len(), 2);
        assert_eq!(queue.push(frame(1)), Err(Full));
        queue.written(6);
        assert_eq!((queue.push(frame(6)), queue.push(frame(1))), (Ok(()), Err(Full)));
    }

    #[tokio::test]
    async fn it_ends_behind_what_waits() {
        let queue = LinkQueue::new(10);
        queue.push(Bytes::from_static(b"last")).unwrap();
        queue.finish();
        assert_eq!(queue.take().await.unwrap(), ["last"]);
        assert!(queue.take().await.is_none());
    }
}
