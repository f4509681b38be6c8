//! The two halves of a connection's socket.
//!
//! The runtime's own sockets are registered for reading and writing at once: whenever the peer reads, the process that
//! wrote is woken and finds nothing to do. These halves ask for room only while there is none.

use std::io::{self, IoSlice, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;
use tokio::task::coop;
use tokio::time::{Sleep, sleep};

/// What a connection reads from.
#[derive(Debug)]
pub struct ReadHalf {
    /// To the runtime, the reading end of a pipe is a descriptor that is registered for reading alone.
    socket: Arc<pipe::Receiver>,
}

/// What a connection writes to. When it is dropped, the peer reads the end.
#[derive(Debug)]
pub struct WriteHalf {
    socket: Arc<pipe::Receiver>,
    /// From when the socket was full.
    watch: Option<Watch>,
    /// So many writes found room since it was full.
    taken: u32,
}

/// How a writer learns that there is room.
#[derive(Debug)]
enum Watch {
    /// By the same socket under another descriptor, registered for writing.
    Told(pipe::Sender),
    /// By looking again then: the process has no descriptor left.
    Looks(Pin<Box<Sleep>>),
}

/// How long a writer that is not told waits before it looks again.
const LOOK: Duration = Duration::from_millis(2);

/// After so many writes that found room, nobody is told of it any more: sockets that are full again and again stay
/// registered.
const TAKEN_MAX: u32 = 64;

/// Splits a connected stream socket that does not block. To be called inside a runtime with timers. While the socket is
/// full, it takes one more descriptor of the process, if there is one.
///
/// # Errors
/// If the runtime cannot watch the socket.
pub fn split(socket: impl Into<OwnedFd>) -> io::Result<(ReadHalf, WriteHalf)> {
    let socket = Arc::new(pipe::Receiver::from_owned_fd_unchecked(socket.into())?);
    let write = WriteHalf { socket: socket.clone(), watch: None, taken: 0 };
    Ok((ReadHalf { socket }, write))
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            let (room, mut read) = (buffer.remaining(), None);
            let done = self.socket.try_io(|| {
                let count = *read.insert(self.socket.try_read_buf(buffer)?);
                // That was all: asking again would only tell so. What came since the call makes it ready again.
                if (1..room).contains(&count) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match (read, done) {
                (Some(_), _) => return Poll::Ready(Ok(())),
                (None, Err(error)) if !is_passing(&error) => return Poll::Ready(Err(error)),
                (None, _) => {}
            }
        }
    }
}

impl WriteHalf {
    /// Writes as soon as there is room.
    fn poll_with<R>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl Fn(SockRef<'_>) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let turn = ready!(coop::poll_proceed(cx));
        loop {
            let written = match &mut self.watch {
                None => write(SockRef::from(&*self.socket)),
                Some(Watch::Told(room)) => {
                    ready!(room.poll_write_ready(cx))?;
                    room.try_io(|| write(SockRef::from(&*room)))
                }
                Some(Watch::Looks(again)) => {
                    ready!(again.as_mut().poll(cx));
                    self.watch = None;
                    continue;
                }
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.taken = 0;
                    let socket = &self.socket;
                    self.watch.get_or_insert_with(|| Watch::start(socket));
                }
                Err(error) if is_passing(&error) => {}
                written => {
                    self.taken = self.taken.saturating_add(1);
                    if self.taken >= TAKEN_MAX {
                        self.watch = None;
                    }
                    turn.made_progress();
                    return Poll::Ready(written);
                }
            }
        }
    }
}

impl Watch {
    fn start(socket: &pipe::Receiver) -> Self {
        let again = socket.as_fd().try_clone_to_owned().and_then(pipe::Sender::from_owned_fd_unchecked);
        again.map_or_else(|_| Self::Looks(Box::pin(sleep(LOOK))), Self::Told)
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_with(cx, |socket| (&*socket).write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_with(cx, |socket| (&*socket).write_vectored(pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&*self.socket).shutdown(Shutdown::Write))
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        // It may be closed already.
        let _ = SockRef::from(&*self.socket).shutdown(Shutdown::Write);
    }
}

/// Whether trying again helps.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinSet;

    use super::*;

    fn pair() -> [(ReadHalf, WriteHalf); 2] {
        let (one, other) = UnixStream::pair().unwrap();
        [one, other].map(|socket| {
            socket.set_nonblocking(true).unwrap();
            split(socket).unwrap()
        })
    }

    #[tokio::test]
    async fn what_does_not_fit_waits_until_the_peer_reads() {
        let [(mut read, _), (_open, mut write)] = pair();
        let sent: Vec<u8> = (0..4_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
        let writing = async {
            write.write_all(&sent).await.unwrap();
            drop(write);
        };
        let reading = async {
            let mut got = Vec::new();
            read.read_to_end(&mut got).await.unwrap();
            got
        };
        assert!(tokio::join!(writing, reading).1 == sent, "it arrives whole and in order, then the end");
    }

    #[tokio::test]
    async fn it_is_registered_for_writing_only_from_when_it_is_full_until_it_has_had_room_for_long() {
        let [(mut read, _open), (_, mut write)] = pair();
        write.write_all(b"fits").await.unwrap();
        assert!(write.watch.is_none());
        let more = vec![0; 1 << 20];
        let mut got = vec![0; 4 + more.len()];
        tokio::try_join!(write.write_all(&more), read.read_exact(&mut got)).unwrap();
        assert!(matches!(write.watch, Some(Watch::Told(_))));
        for _ in 0..TAKEN_MAX {
            write.write_all(b"fits").await.unwrap();
            read.read_exact(&mut got[..4]).await.unwrap();
        }
        assert!(write.watch.is_none());
    }

    /// Many peers, so that a thread is often stopped right behind a read: what comes in that moment was overlooked once.
    const PEERS: usize = 16;
    const ROUNDS: u32 = 30_000;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nothing_is_overlooked_that_comes_right_behind_what_is_read() {
        let mut peers = JoinSet::new();
        for _ in 0..PEERS {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            theirs.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let (mut read, mut write) = split(ours).unwrap();
            tokio::spawn(async move {
                let mut buffer = [0; 64];
                while let Ok(count @ 1..) = read.read(&mut buffer).await {
                    write.write_all(&buffer[..count]).await.unwrap();
                }
            });
            peers.spawn_blocking(move || {
                for round in 0..ROUNDS {
                    let mut back = [0; 2];
                    theirs.write_all(&[1]).unwrap();
                    theirs.write_all(&[2]).unwrap();
                    theirs.read_exact(&mut back).unwrap_or_else(|error| panic!("round {round}: {error}"));
                }
            });
        }
        peers.join_all().await;
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_ends_both_halves() {
        let [(mut read, mut write), other] = pair();
        // Full, so that the writer waits.
        let fill = tokio::spawn(async move {
            let result = write.write_all(&vec![0; 8 << 20]).await;
            (write, result)
        });
        tokio::task::yield_now().await;
        drop(other);
        let (_write, result) = fill.await.unwrap();
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        // What the peer did not read may show as an error instead.
        assert!(!matches!(read.read(&mut [0]).await, Ok(1..)));
    }
}
