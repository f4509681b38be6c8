//! The doors for programs: a unix socket and, if wanted, loopback TCP and those for programs of Spread.
//!
//! Each connection has a reader and a writer ([`connection`]). The reader hands what arrives to the driver in
//! batches, the next one only when the driver is done with the last; the driver puts what it has for the program into a
//! bounded queue ([`queue`]) and never waits for it.

pub(crate) mod connection;
pub(crate) mod goodbye;
mod handshake;
pub(crate) mod queue;
pub(crate) mod tcp;
#[cfg(test)]
mod tests;
mod unix;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stentor_client::wire::{GoodbyeCode, split};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use self::connection::serve;
use self::goodbye::say_goodbye;
use crate::config::{Clients, Spread};
use crate::driver::inbox::Input;
use crate::metrics::{Count, Metrics};
use crate::spread::auth::Peer;
use crate::spread::listen::Listen;
use crate::spread::{self, Door};

/// Distinguishes the connections of this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionNumber(u64);

impl ConnectionNumber {
    pub(crate) fn next() -> Self {
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

/// The settings that name sockets.
const CLIENTS_SOCKET: &str = "[clients] socket";
const SPREAD_LISTEN: &str = "[spread] listen";

/// What can be known about the doors without opening them: their directories exist, and their names are not taken by
/// something that is no socket.
pub(crate) fn check(clients: &Clients, spread: Option<&Spread>) -> Result<(), ServerError> {
    unix::check(CLIENTS_SOCKET, &clients.socket, clients.socket_is_default)?;
    for place in spread.iter().flat_map(|spread| &spread.listen) {
        if let Listen::Unix(path) = place {
            unix::check(SPREAD_LISTEN, path, false)?;
        }
    }
    Ok(())
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
    files: Vec<unix::SocketFile>,
}

impl Server {
    /// Opens the doors and serves who comes, until [`stop`](Self::stop).
    pub(crate) async fn start(
        clients: &Clients,
        spread: Option<(&Spread, Door)>,
        context: Context,
    ) -> Result<Self, ServerError> {
        let (mut listeners, mut files) = (Vec::new(), Vec::new());
        let (path, mode) = (&clients.socket, clients.socket_mode.0);
        let unix::Socket { listener, file } =
            unix::bind(CLIENTS_SOCKET, path, mode, clients.socket_is_default).await?;
        listeners.push((Listener::Unix(listener), Host::Stentor));
        files.push(file);
        if let Some(address) = clients.tcp {
            listeners.push((Listener::Tcp(tcp::bind("[clients] tcp", address).await?), Host::Stentor));
        }
        info!(socket = %clients.socket.display(), tcp = ?clients.tcp, "listening for programs");
        if let Some((spread, door)) = spread {
            let host = Host::Spread(Arc::new(door));
            for place in &spread.listen {
                let listener = match place {
                    Listen::Tcp(address) => Listener::Tcp(tcp::bind(SPREAD_LISTEN, *address).await?),
                    Listen::Unix(path) => {
                        let unix::Socket { listener, file } =
                            unix::bind(SPREAD_LISTEN, path, spread.socket_mode.0, false).await?;
                        files.push(file);
                        Listener::Unix(listener)
                    }
                };
                listeners.push((listener, host.clone()));
                info!(%place, "listening for programs of Spread");
            }
        }

        let (stop, connections) = (CancellationToken::new(), TaskTracker::new());
        // Connections that introduce themselves, or say their last words, come on top of the sessions.
        let slots = Arc::new(Semaphore::new(context.max_sessions.saturating_add(EXTRA_CONNECTIONS)));
        let places = Arc::new(Semaphore::new(TURNED_AWAY));
        let context = Arc::new(context);
        for (listener, host) in listeners {
            let (context, slots, connections) = (context.clone(), slots.clone(), connections.clone());
            let accepting =
                Doors { context, slots, places: places.clone(), connections, host }.accept(listener);
            let until = stop.clone();
            tokio::spawn(async move { until.run_until_cancelled(accepting).await });
        }
        Ok(Self { stop, connections, files })
    }

    /// Accepts nobody any more.
    pub(crate) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Waits until all connections are closed, at most `patience`.
    pub(crate) async fn close(self, patience: Duration) {
        self.stop.cancel();
        drop(self.files);
        self.connections.close();
        if tokio::time::timeout(patience, self.connections.wait()).await.is_err() {
            info!(left = self.connections.len(), "connections that did not close in time");
        }
    }
}

/// Connections beyond the sessions, so that those too many can be told so.
const EXTRA_CONNECTIONS: usize = 64;

/// Connections beyond those that are told why they are turned away. Any more are closed without a word.
const TURNED_AWAY: usize = 64;

/// The most connections that are no sessions.
pub(crate) const CONNECTIONS_BESIDE: usize = EXTRA_CONNECTIONS + TURNED_AWAY;

/// What programs are expected to speak.
#[derive(Clone, Debug)]
enum Host {
    Stentor,
    Spread(Arc<Door>),
}

/// Where programs come from.
enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// What an accept loop needs.
#[derive(Debug)]
struct Doors {
    context: Arc<Context>,
    slots: Arc<Semaphore>,
    /// For those that get no slot.
    places: Arc<Semaphore>,
    connections: TaskTracker,
    host: Host,
}

impl Doors {
    async fn accept(self, listener: Listener) {
        loop {
            let accepted = match &listener {
                Listener::Unix(listener) => listener
                    .accept()
                    .await
                    .and_then(|(stream, _)| Ok((split(stream.into_std()?)?, Peer::Unix))),
                Listener::Tcp(listener) => listener.accept().await.and_then(|(stream, address)| {
                    tcp::prepare(&stream);
                    Ok((split(stream.into_std()?)?, Peer::Tcp(address.ip())))
                }),
            };
            match accepted {
                Ok(((read, write), peer)) => self.admit(read, write, peer),
                Err(error) => pause(&error).await,
            }
        }
    }

    fn admit<R, W>(&self, read: R, write: W, peer: Peer)
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (context, host) = (self.context.clone(), self.host.clone());
        match self.slots.clone().try_acquire_owned() {
            Ok(slot) => {
                self.connections.spawn(async move {
                    match host {
                        Host::Stentor => serve(read, write, &context).await,
                        Host::Spread(door) => spread::serve(read, write, peer, &context, &door).await,
                    }
                    drop(slot);
                });
            }
            Err(_) => {
                context.metrics.count(Count::handshakes_refused);
                // Without a place for it, it is closed here.
                if let Ok(place) = self.places.clone().try_acquire_owned() {
                    self.connections.spawn(async move {
                        turn_away(read, write, host, context).await;
                        drop(place);
                    });
                }
            }
        }
    }
}

/// Tells a program that there are too many of them.
async fn turn_away(
    mut read: impl AsyncRead + Unpin,
    mut write: impl AsyncWrite + Unpin,
    host: Host,
    context: Arc<Context>,
) {
    match host {
        Host::Stentor => {
            let text = format!(
                "all {} sessions are in use: close one or raise [clients] max_sessions",
                context.max_sessions
            );
            say_goodbye(&mut read, &mut write, GoodbyeCode::TooManySessions, &text).await;
        }
        Host::Spread(_) => spread::turn_away(read, write).await,
    }
}

/// After a failed accept, which happens above all when there are no file descriptors left.
async fn pause(error: &io::Error) {
    const PAUSE: Duration = Duration::from_millis(200);
    warn!(%error, "cannot accept a program: is the limit of open files too low?");
    tokio::time::sleep(PAUSE).await;
}
