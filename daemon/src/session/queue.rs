//! What waits for one program to read. The driver fills it and never waits; the session's writer empties it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Outgoing bytes of a session, bounded.
#[derive(Debug)]
pub(crate) struct SessionQueue {
    limit: usize,
    state: Mutex<State>,
    wake: Notify,
    ending: CancellationToken,
    linger: OnceLock<Duration>,
}

#[derive(Debug, Default)]
struct State {
    pieces: VecDeque<Piece>,
    /// Bytes of `pieces`, and of those taken but not written yet.
    bytes: usize,
    /// Nothing is added any more.
    closed: bool,
}

/// Bytes to write; a frame may consist of several pieces.
#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    /// The frame that it ends with goes on in the next piece.
    continues: bool,
}

/// The program does not read what it gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// What a writer does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Write what was taken.
    Write,
    /// Close: everything is written.
    Close,
}

/// What a writer takes at a time. After a cut it still writes this much, so that the last frame is whole.
const TAKE_MAX: usize = 256 << 10;

/// How long a program that was cut off may take to read why.
const CUT_LINGER: Duration = Duration::from_secs(5);

/// How long a program may take to read what it is owed at an orderly end.
const ORDERLY_LINGER: Duration = Duration::from_secs(60);

impl SessionQueue {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            state: Mutex::default(),
            wake: Notify::new(),
            ending: CancellationToken::new(),
            linger: OnceLock::new(),
        }
    }

    /// Adds bytes that the writer gets after [`wake`](Self::wake). With `continues`, the frame at their end goes on in
    /// the next call. What comes when nothing waits fits, however large it is: its receiver is not slow. After the end
    /// nothing is added, and that is no error.
    pub(crate) fn push(&self, bytes: Bytes, continues: bool) -> Result<(), Full> {
        let mut state = self.lock();
        if state.closed {
            return Ok(());
        }
        if state.bytes > 0 && state.bytes.saturating_add(bytes.len()) > self.limit {
            return Err(Full);
        }
        state.bytes += bytes.len();
        state.pieces.push_back(Piece { bytes, continues });
        Ok(())
    }

    /// Tells the writer that there is something to write.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// The orderly end: `last`, which may be empty, follows what waits, then the connection is closed.
    pub(crate) fn finish(&self, last: Bytes) {
        self.end(last, false, ORDERLY_LINGER);
    }

    /// The end of a program that does not read: what waits is dropped, `last` follows the frame that is being
    /// written.
    pub(crate) fn cut(&self, last: Bytes) {
        self.end(last, true, CUT_LINGER);
    }

    /// The program is gone: nothing needs to be written any more.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        state.pieces.clear();
        state.closed = true;
        drop(state);
        let _ = self.linger.set(Duration::ZERO);
        self.ending.cancel();
        self.wake.notify_one();
    }

    fn end(&self, last: Bytes, drop_waiting: bool, linger: Duration) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        if drop_waiting {
            let dropped: usize = state.pieces.drain(..).map(|piece| piece.bytes.len()).sum();
            state.bytes -= dropped;
        }
        if !last.is_empty() {
            state.bytes += last.len();
            state.pieces.push_back(Piece { bytes: last, continues: false });
        }
        state.closed = true;
        drop(state);
        let _ = self.linger.set(linger);
        self.ending.cancel();
        self.wake.notify_one();
    }

    /// Completes when the session ends from this side; nothing it says is of interest any more.
    pub(crate) async fn ended(&self) {
        self.ending.cancelled().await;
    }

    /// Completes when the time is over that a program has to read the last of it.
    pub(crate) async fn out_of_patience(&self) {
        self.ending.cancelled().await;
        tokio::time::sleep(self.linger.get().copied().unwrap_or(CUT_LINGER)).await;
    }

    /// Waits for something to write and moves it to `out`: whole frames, about [`TAKE_MAX`] bytes.
    pub(crate) async fn take(&self, out: &mut VecDeque<Bytes>) -> Next {
        loop {
            {
                let mut state = self.lock();
                let mut taken = 0;
                while let Some(Piece { bytes, continues }) = state.pieces.pop_front() {
                    taken += bytes.len();
                    out.push_back(bytes);
                    if taken >= TAKE_MAX && !continues {
                        break;
                    }
                }
                if !out.is_empty() {
                    return Next::Write;
                }
                if state.closed {
                    return Next::Close;
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn taken(queue: &SessionQueue) -> Vec<Bytes> {
        let mut out = VecDeque::new();
        assert_eq!(queue.take(&mut out).await, Next::Write);
        queue.written(out.iter().map(Bytes::len).sum());
        out.into()
    }

    #[tokio::test]
    async fn the_bound_counts_what_is_not_written_yet() {
        let queue = SessionQueue::new(10);
        queue.push(Bytes::from_static(b"12345678"), false).unwrap();
        let mut out = VecDeque::new();
        queue.take(&mut out).await;
        assert_eq!(queue.push(Bytes::from_static(b"123"), false), Err(Full));
        queue.written(8);
        queue.push(Bytes::from_static(b"123"), false).unwrap();
        assert_eq!(queue.bytes(), 3);
    }

    #[tokio::test]
    async fn one_large_piece_cuts_nobody_off() {
        let queue = SessionQueue::new(3);
        queue.push(Bytes::from_static(b"1234"), false).unwrap();
        assert_eq!(queue.push(Bytes::from_static(b"5"), false), Err(Full));
        assert_eq!(taken(&queue).await, ["1234"]);
        queue.push(Bytes::from_static(b"5678"), false).unwrap();
    }

    #[tokio::test]
    async fn an_orderly_end_writes_everything_and_a_cut_only_the_last_word() {
        let queue = SessionQueue::new(10);
        queue.push(Bytes::from_static(b"a"), false).unwrap();
        queue.finish(Bytes::from_static(b"bye"));
        queue.push(Bytes::from_static(b"late"), false).unwrap();
        assert_eq!(taken(&queue).await, ["a", "bye"]);
        assert_eq!(queue.take(&mut VecDeque::new()).await, Next::Close);

        let queue = SessionQueue::new(10);
        queue.push(Bytes::from_static(b"a"), false).unwrap();
        queue.cut(Bytes::from_static(b"bye"));
        assert_eq!(taken(&queue).await, ["bye"]);
        assert_eq!(queue.take(&mut VecDeque::new()).await, Next::Close);

        let queue = SessionQueue::new(10);
        queue.finish(Bytes::new());
        assert_eq!(queue.take(&mut VecDeque::new()).await, Next::Close, "no last word");
    }

    #[tokio::test]
    async fn what_is_taken_ends_with_a_whole_frame() {
        let queue = SessionQueue::new(usize::MAX);
        let large = Bytes::from(vec![0; TAKE_MAX]);
        queue.push(large.clone(), true).unwrap();
        queue.push(Bytes::from_static(b"rest"), false).unwrap();
        queue.push(Bytes::from_static(b"next"), false).unwrap();
        assert_eq!(taken(&queue).await, [large, Bytes::from_static(b"rest")]);
        assert_eq!(taken(&queue).await, ["next"]);
    }
}
