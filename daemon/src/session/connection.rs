//! One connection of a program, from its preamble to its end: a reader that hands batches to the driver, one at a
//! time, and a writer that empties the session's queue.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::pin;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use stentor_client::wire::{CLIENT_FRAME_SLACK, ClientFrame, FrameDecoder, GoodbyeCode};
use stentor_membership::{ConnectError, MemberName, SessionName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::debug;

use super::goodbye::{CLOSE_PATIENCE, discard, say_goodbye};
use super::handshake::{Refusal, introduce};
use super::queue::{Next, SessionQueue};
use super::{ConnectionNumber, Context};
use crate::driver::inbox::{Batch, End, Input, Violation};

/// What a session consists of for the driver.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) name: Option<SessionName>,
    pub(crate) queue: Arc<SessionQueue>,
    pub(crate) turns: Turns,
    pub(crate) language: Language,
}

/// What a program speaks.
#[derive(Debug)]
pub(crate) enum Language {
    /// The session protocol.
    Stentor,
    /// Spread's client protocol.
    Spread {
        /// Whether it wants to be told of memberships.
        memberships: bool,
        /// Who waits for the session to be opened or refused.
        answer: oneshot::Sender<Result<MemberName, ConnectError>>,
    },
}

/// Cuts what a program sends into requests.
pub(crate) trait Requests {
    /// The next complete one, or `None` until more bytes arrive.
    fn next(&mut self) -> Result<Option<ClientFrame>, Violation>;

    /// Where to append what is read.
    fn space(&mut self) -> &mut BytesMut;
}

impl Requests for FrameDecoder<ClientFrame> {
    fn next(&mut self) -> Result<Option<ClientFrame>, Violation> {
        Ok(self.next_frame()?)
    }

    fn space(&mut self) -> &mut BytesMut {
        self.space()
    }
}

/// Lets the reader hand over its next batch: it has at most one at the driver, which is the whole back-pressure.
#[derive(Clone, Debug)]
pub(crate) struct Turns(Arc<Semaphore>);

impl Turns {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// The last batch is done with.
    pub(crate) fn next(&self) {
        self.0.add_permits(1);
    }

    async fn wait(&self) {
        // The semaphore is never closed.
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve<R, W>(mut read: R, mut write: W, context: &Context)
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let hello = tokio::time::timeout(context.handshake_timeout, introduce(&mut read)).await;
    let (name, mut decoder) = match hello.unwrap_or(Err(Refusal::TimedOut)) {
        Ok(introduced) => introduced,
        Err(refusal) => {
            context.metrics.count(refusal.count());
            debug!(reason = %refusal.text(context), "connection refused");
            if let Some(code) = refusal.code() {
                say_goodbye(&mut read, &mut write, code, &refusal.text(context)).await;
            }
            return;
        }
    };
    let Some(line) = Line::open(name, Language::Stentor, context).await else {
        let text = "the daemon is shutting down: connect to another";
        return say_goodbye(&mut read, &mut write, GoodbyeCode::ShuttingDown, text).await;
    };
    decoder.set_limit(context.max_message.saturating_add(CLIENT_FRAME_SLACK));
    line.run(read, write, decoder).await;
}

/// A connection that the driver knows.
pub(crate) struct Line<'a> {
    number: ConnectionNumber,
    queue: Arc<SessionQueue>,
    turns: Turns,
    inbox: &'a mpsc::Sender<Input>,
}

impl<'a> Line<'a> {
    /// Asks the driver for a session; none if there is no driver any more.
    pub(crate) async fn open(
        name: Option<SessionName>,
        language: Language,
        context: &'a Context,
    ) -> Option<Self> {
        let number = ConnectionNumber::next();
        let queue = Arc::new(SessionQueue::new(context.queue_limit));
        let turns = Turns::new();
        let opening = Opening { name, queue: queue.clone(), turns: turns.clone(), language };
        context.inbox.send(Input::Open(number, opening)).await.ok()?;
        Some(Self { number, queue, turns, inbox: &context.inbox })
    }

    /// Ends the session without having served it.
    pub(crate) async fn give_up(self) {
        self.hand_over(Batch::end(End::Lost)).await;
    }

    /// Serves the session to its end.
    pub(crate) async fn run<R, W>(self, mut read: R, mut write: W, requests: impl Requests + Send)
    where
        R: AsyncRead + Unpin + Send,
        W: AsyncWrite + Unpin + Send,
    {
        let reading = async {
            tokio::select! {
                () = self.queue.ended() => {}
                () = self.read_batches(&mut read, requests) => {
                    // The driver ends the session once it has come to the last batch.
                    self.queue.ended().await;
                }
            }
        };
        let writing = async {
            tokio::select! {
                result = write_queue(&mut write, &self.queue) => match result {
                    Ok(()) => {
                        // Says that nothing follows, if anybody listens.
                        write.shutdown().await.is_ok()
                    }
                    Err(error) => {
                        debug!(number = ?self.number, %error, "connection lost");
                        self.hand_over(Batch::end(End::Lost)).await;
                        false
                    }
                },
                () = self.queue.out_of_patience() => {
                    debug!(number = ?self.number, "closed with something unread");
                    false
                }
            }
        };
        // Until everything is said, nothing more is read: a program that goes on sending waits, and is not led to
        // believe that somebody listens.
        if said_after(reading, writing).await {
            // TCP would drop the last words if what the program still sends were left unread.
            let _ = tokio::time::timeout(CLOSE_PATIENCE, discard(&mut read)).await;
        }
    }

    async fn hand_over(&self, batch: Batch) {
        // Nobody takes it: the daemon is shutting down, and ends the session by its queue.
        let _ = self.inbox.send(Input::Batch(self.number, batch)).await;
    }

    /// Hands what arrives to the driver, until the end of it.
    async fn read_batches(&self, read: &mut (impl AsyncRead + Unpin), mut requests: impl Requests) {
        // Batches are about as long as the one before.
        let mut expected = 0;
        loop {
            let mut batch = Batch { frames: Vec::with_capacity(expected), end: None };
            while batch.end.is_none() {
                match requests.next() {
                    Ok(Some(ClientFrame::Goodbye)) => batch.end = Some(End::Goodbye),
                    Ok(Some(frame)) => batch.frames.push(frame),
                    Ok(None) => break,
                    Err(violation) => batch.end = Some(End::Violation(violation)),
                }
            }
            if !batch.is_empty() {
                let last = batch.end.is_some();
                expected = batch.frames.len();
                self.turns.wait().await;
                self.hand_over(batch).await;
                if last {
                    return;
                }
            }
            if !matches!(read.read_buf(requests.space()).await, Ok(1..)) {
                self.turns.wait().await;
                return self.hand_over(Batch::end(End::Lost)).await;
            }
        }
    }
}

/// Runs `writing` to its end, and `reading` beside it; tells whether everything was said.
async fn said_after(reading: impl Future<Output = ()>, writing: impl Future<Output = bool>) -> bool {
    let mut writing = pin!(writing);
    tokio::select! {
        said = &mut writing => said,
        () = reading => writing.await,
    }
}

/// The most pieces of one write.
const SLICES: usize = 64;

/// Writes what the queue holds, until its end.
async fn write_queue(write: &mut (impl AsyncWrite + Unpin), queue: &SessionQueue) -> io::Result<()> {
    let mut pieces: VecDeque<Bytes> = VecDeque::new();
    while queue.take(&mut pieces).await == Next::Write {
        while !pieces.is_empty() {
            let slices: [IoSlice<'_>; SLICES] =
                std::array::from_fn(|i| IoSlice::new(pieces.get(i).map_or(&[], |piece| &piece[..])));
            let count = pieces.len().min(SLICES);
            let written = write.write_vectored(&slices[..count]).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            queue.written(written);
            advance(&mut pieces, written);
        }
    }
    Ok(())
}

fn advance(pieces: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(front) = pieces.front_mut() {
        if written < front.len() {
            front.advance(written);
            return;
        }
        written -= front.len();
        pieces.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::BytesMut;
    use stentor_client::wire::{self, Frame};
    use tokio::io::{DuplexStream, duplex};
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;
    use crate::metrics::Metrics;
    use crate::session::goodbye::goodbye;

    /// A connection whose program wrote `bytes`, and the driver's end of it.
    fn connection(capacity: usize) -> (DuplexStream, mpsc::Receiver<Input>, JoinHandle<()>) {
        let (program, daemon) = duplex(capacity);
        let (sender, inbox) = mpsc::channel(4);
        let context = Context {
            inbox: sender,
            metrics: Metrics::default(),
            handshake_timeout: Duration::from_secs(1),
            max_message: 1 << 20,
            queue_limit: 8 << 20,
            max_sessions: 1,
        };
        let (read, write) = tokio::io::split(daemon);
        let serving = tokio::spawn(async move { serve(read, write, &context).await });
        (program, inbox, serving)
    }

    async fn hello(program: &mut DuplexStream, inbox: &mut mpsc::Receiver<Input>) -> Opening {
        let mut bytes = BytesMut::from(&wire::preamble()[..]);
        ClientFrame::Hello { name: None }.encode(&mut bytes).unwrap();
        program.write_all(&bytes).await.unwrap();
        match inbox.recv().await {
            Some(Input::Open(_, opening)) => opening,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_never_reads_again_holds_its_connection_for_a_bounded_time() {
        for (cut, limit) in [(true, 10), (false, 70)] {
            let (mut program, mut inbox, serving) = connection(64);
            let opening = hello(&mut program, &mut inbox).await;
            opening.queue.push(Bytes::from(vec![0; 1 << 20]), false).unwrap();
            opening.queue.wake();
            tokio::task::yield_now().await;
            let begin = Instant::now();
            let last = goodbye(GoodbyeCode::TooSlow, "too slow");
            if cut {
                opening.queue.cut(last);
            } else {
                opening.queue.finish(last);
            }
            serving.await.unwrap();
            assert!(begin.elapsed() < Duration::from_secs(limit), "{:?}", begin.elapsed());
            drop(program);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_reads_what_a_program_sends_after_its_end() {
        let (mut program, mut inbox, serving) = connection(64);
        let opening = hello(&mut program, &mut inbox).await;
        opening.queue.push(Bytes::from(vec![0; 1 << 20]), false).unwrap();
        opening.queue.wake();
        tokio::task::yield_now().await;
        opening.queue.cut(goodbye(GoodbyeCode::TooSlow, "too slow"));
        // More than its pipe and one more read hold: it waits until the connection is closed, and so knows that it was
        // not taken.
        let sent = program.write_all(&[0; 1024]).await;
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        serving.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_batch_waits_until_the_driver_is_done_with_the_last() {
        let (mut program, mut inbox, _serving) = connection(1 << 20);
        let opening = hello(&mut program, &mut inbox).await;
        let mut status = BytesMut::new();
        ClientFrame::Status { request: 1 }.encode(&mut status).unwrap();
        let batch = async |inbox: &mut mpsc::Receiver<Input>| {
            tokio::time::timeout(Duration::from_secs(1), inbox.recv()).await.ok().flatten()
        };
        program.write_all(&status).await.unwrap();
        assert!(matches!(batch(&mut inbox).await, Some(Input::Batch(..))));
        program.write_all(&status).await.unwrap();
        assert!(batch(&mut inbox).await.is_none());
        opening.turns.next();
        assert!(
            matches!(batch(&mut inbox).await, Some(Input::Batch(_, Batch { frames, end: None })) if frames.len() == 1)
        );
        // So does the end.
        drop(program);
        assert!(batch(&mut inbox).await.is_none());
        opening.turns.next();
        assert!(matches!(batch(&mut inbox).await, Some(Input::Batch(_, Batch { end: Some(End::Lost), .. }))));
    }
}
