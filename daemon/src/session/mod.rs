//! The doors for local programs: a unix socket and, if wanted, loopback TCP.
//!
//! Each connection has a reader and a writer ([`connection`]). The reader hands what arrives to the driver in
//! batches, the next one only when the driver is done with the last; the driver puts what it has for the program into a
//! bounded queue ([`queue`]) and never waits for it.

pub(crate) mod connection;
pub(crate) mod goodbye;
mod handshake;
pub(crate) mod queue;
mod tcp;
#[cfg(test)]
mod tests;
mod unix;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stentor_client::wire::GoodbyeCode;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use self::connection::serve;
use self::goodbye::say_goodbye;
use crate::config::Clients;
use crate::driver::inbox::Input;
use crate::metrics::{Count, Metrics};

/// Distinguishes the connections of this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionNumber(u64);

impl ConnectionNumber {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What connections need to know.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) inbox: mpsc::Sender<Input>,
    pub(crate) metrics: Metrics,
    pub(crate) handshake_timeout: Duration,
    pub(crate) max_message: usize,
    /// Bytes that may wait for one program.
    pub(crate) queue_limit: usize,
    pub(crate) max_sessions: usize,
}

/// A door cannot be opened. The daemon does not start.
#[derive(Debug, Error)]
pub(crate) enum ServerError {
    #[error(transparent)]
    Unix(#[from] unix::SocketError),
    #[error(transparent)]
    Tcp(#[from] tcp::TcpError),
}

/// The open doors.
#[derive(Debug)]
pub(crate) struct Server {
    stop: CancellationToken,
    connections: TaskTracker,
    /// Removed with the server.
    file: unix::SocketFile,
}

impl Server {
    /// Opens the doors and serves who comes, until [`stop`](Self::stop).
    pub(crate) async fn start(clients: &Clients, context: Context) -> Result<Self, ServerError> {
        let unix::Socket { listener, file } =
            unix::bind(&clients.socket, clients.socket_mode.0, clients.socket_is_default).await?;
        let tcp = match clients.tcp {
            Some(address) => Some(tcp::bind(address).await?),
            None => None,
        };
        info!(socket = %clients.socket.display(), tcp = ?clients.tcp, "listening for programs");

        let (stop, connections) = (CancellationToken::new(), TaskTracker::new());
        // Connections that introduce themselves, or say their last words, come on top of the sessions.
        let slots = Arc::new(Semaphore::new(context.max_sessions.saturating_add(EXTRA_CONNECTIONS)));
        let doors = Doors { context: Arc::new(context), slots, connections: connections.clone() };
        let on_unix = accept_unix(listener, doors.clone());
        let until = stop.clone();
        tokio::spawn(async move { until.run_until_cancelled(on_unix).await });
        if let Some(listener) = tcp {
            let on_tcp = accept_tcp(listener, doors);
            let until = stop.clone();
            tokio::spawn(async move { until.run_until_cancelled(on_tcp).await });
        }
        Ok(Self { stop, connections, file })
    }

    /// Accepts nobody any more.
    pub(crate) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Waits until all connections are closed, at most `patience`.
    pub(crate) async fn close(self, patience: Duration) {
        self.stop.cancel();
        drop(self.file);
        self.connections.close();
        if tokio::time::timeout(patience, self.connections.wait()).await.is_err() {
            info!(left = self.connections.len(), "connections that did not close in time");
        }
    }
}

/// Connections beyond the sessions, so that those too many can be told so.
const EXTRA_CONNECTIONS: usize = 64;

/// What the accept loops share.
#[derive(Clone, Debug)]
struct Doors {
    context: Arc<Context>,
    slots: Arc<Semaphore>,
    connections: TaskTracker,
}

impl Doors {
    fn admit<R, W>(&self, mut read: R, mut write: W)
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let context = self.context.clone();
        match self.slots.clone().try_acquire_owned() {
            Ok(slot) => {
                self.connections.spawn(async move {
                    serve(read, write, &context).await;
                    drop(slot);
                });
            }
            Err(_) => {
                context.metrics.count(Count::handshakes_refused);
                // Short-lived: it ends within the patience for a last word.
                self.connections.spawn(async move {
                    let text = format!(
                        "all {} sessions are in use: close one or raise [clients] max_sessions",
                        context.max_sessions
                    );
                    say_goodbye(&mut read, &mut write, GoodbyeCode::TooManySessions, &text).await;
                });
            }
        }
    }
}

async fn accept_unix(listener: UnixListener, doors: Doors) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (read, write) = stream.into_split();
                doors.admit(read, write);
            }
            Err(error) => pause(&error).await,
        }
    }
}

async fn accept_tcp(listener: TcpListener, doors: Doors) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    warn!(%error, "small messages may be late on this connection");
                }
                let (read, write) = stream.into_split();
                doors.admit(read, write);
            }
            Err(error) => pause(&error).await,
        }
    }
}

/// After a failed accept, which happens above all when there are no file descriptors left.
async fn pause(error: &io::Error) {
    const PAUSE: Duration = Duration::from_millis(200);
    warn!(%error, "cannot accept a program: is the limit of open files too low?");
    tokio::time::sleep(PAUSE).await;
}
