//! The UDP socket with its QUIC endpoint, and the acceptor.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::CubicConfig;
use quinn::{
    AckFrequencyConfig, AsyncUdpSocket, ClientConfig, Endpoint, EndpointConfig, IdleTimeout, Incoming,
    MtuDiscoveryConfig, ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};
use stentor_membership::{DaemonId, DaemonName};
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info};

use super::board::{Board, Severity};
use super::explain::{explain, severity};
use super::link::Close;
use super::socket::LinkSocket;
use super::tls::Identity;
use super::{dial, handshake, link};
use crate::config::units::HostPort;
use crate::driver::inbox::Input;
use crate::metrics::{Count, Metrics};

/// What links need to know.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) own: DaemonId,
    pub(crate) cluster: String,
    pub(crate) listen: SocketAddr,
    /// All daemons with their addresses, this one among them.
    pub(crate) daemons: BTreeMap<DaemonName, HostPort>,
    pub(crate) identity: Identity,
    /// Bytes that may wait for one peer.
    pub(crate) queue_limit: usize,
    /// A connection on which nothing arrives for this long is lost; longer than the protocol ever waits.
    pub(crate) idle_timeout: Duration,
    pub(crate) metrics: Metrics,
}

/// The socket cannot be opened. The daemon does not start.
#[derive(Debug, Error)]
#[error("cannot listen on UDP {address}: {error}{hint}")]
pub(crate) struct ListenError {
    address: SocketAddr,
    error: io::Error,
    hint: &'static str,
}

/// Shared by the acceptor and the diallers.
pub(crate) struct Context {
    pub(crate) own: DaemonId,
    pub(crate) cluster: String,
    pub(crate) daemons: BTreeMap<DaemonName, HostPort>,
    pub(crate) endpoint: Endpoint,
    pub(crate) board: Board,
    pub(crate) inbox: mpsc::Sender<Input>,
    pub(crate) stop: CancellationToken,
    /// Set when the socket does not work any more.
    failed: CancellationToken,
    identity: Identity,
    queue_limit: usize,
    metrics: Metrics,
    near: Arc<TransportConfig>,
    far: Arc<TransportConfig>,
}

/// All links of a daemon.
#[derive(Debug)]
pub(crate) struct Transport {
    endpoint: Endpoint,
    stop: CancellationToken,
    failed: CancellationToken,
    tasks: TaskTracker,
}

impl Transport {
    /// Opens the socket, accepts the peers with lower names and dials those with higher ones, until [`close`](Self::close).
    pub(crate) fn start(
        settings: Settings,
        board: Board,
        inbox: mpsc::Sender<Input>,
    ) -> Result<Self, ListenError> {
        let socket = open(settings.listen).and_then(LinkSocket::new);
        let socket = socket.map_err(|error| listen_error(settings.listen, error))?;
        Self::start_on(Arc::new(socket), settings, board, inbox)
    }

    /// As [`start`](Self::start), with a socket that is open.
    pub(crate) fn start_on(
        socket: Arc<dyn AsyncUdpSocket>,
        settings: Settings,
        board: Board,
        inbox: mpsc::Sender<Input>,
    ) -> Result<Self, ListenError> {
        let Settings { own, cluster, listen, daemons, identity, queue_limit, idle_timeout, metrics } =
            settings;
        let near = Arc::new(transport_config(idle_timeout, true));
        let far = Arc::new(transport_config(idle_timeout, false));
        let server = server_config(&identity, far.clone());
        let (config, runtime) = (endpoint_config(&identity), Arc::new(TokioRuntime));
        let endpoint = Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime)
            .map_err(|error| listen_error(listen, error))?;
        info!(address = %endpoint.local_addr().unwrap_or(listen), "listening for peers");

        let (stop, failed, tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        let context = Arc::new(Context {
            own,
            cluster,
            daemons,
            endpoint: endpoint.clone(),
            board,
            inbox,
            stop: stop.clone(),
            failed: failed.clone(),
            identity,
            queue_limit,
            metrics,
            near,
            far,
        });
        for (peer, address) in context.daemons.range(own.name..).filter(|(peer, _)| **peer != own.name) {
            tasks.spawn(dial::keep_linked(context.clone(), *peer, address.clone()));
        }
        tasks.spawn(accept(context, tasks.clone()));
        Ok(Self { endpoint, stop, failed, tasks })
    }

    /// Where the socket listens, if the system chose the port.
    #[cfg(test)]
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Whether the socket failed, and with it all links.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_cancelled()
    }

    /// Waits until the links have ended, at most `patience`, then closes what is left of them.
    pub(crate) async fn close(self, patience: Duration) {
        self.stop.cancel();
        self.tasks.close();
        let ended = tokio::time::timeout(patience, self.tasks.wait()).await;
        debug!(in_time = ended.is_ok(), "links ended");
        self.endpoint.close(VarInt::from_u32(Close::Leaving as u32), b"this daemon stops");
        // What must arrive has arrived: this is a courtesy to peers that would have to notice by themselves.
        let _ = tokio::time::timeout(COURTESY, self.endpoint.wait_idle()).await;
    }
}

impl Context {
    /// The settings for a connection that this daemon opens.
    pub(crate) fn client_config(&self, remote: SocketAddr) -> ClientConfig {
        let mut config = ClientConfig::new(self.identity.client.clone());
        config.transport_config(self.transport_for(remote));
        config
    }

    fn transport_for(&self, remote: SocketAddr) -> Arc<TransportConfig> {
        let near = remote.ip().to_canonical().is_loopback();
        if near { self.near.clone() } else { self.far.clone() }
    }

    /// Serves a link to its end.
    pub(crate) async fn run(&self, established: link::Established) -> String {
        let (peer, number) = (established.peer, established.number);
        let address = established.connection.remote_address();
        info!(%peer, %address, "linked");
        self.board.linked(peer.name);
        let reason = link::run(established, &self.inbox, self.queue_limit).await;
        info!(%peer, ?number, reason, "link ended");
        reason
    }
}

/// How long a closing endpoint stays to tell its peers.
const COURTESY: Duration = Duration::from_millis(100);

/// The most connections that may be in their handshake at a time.
const HANDSHAKES: usize = 64;

/// How long a peer may take for the cryptographic handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

async fn accept(context: Arc<Context>, tasks: TaskTracker) {
    let slots = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let incoming = tokio::select! {
            incoming = context.endpoint.accept() => incoming,
            () = context.stop.cancelled() => return,
        };
        let Some(incoming) = incoming else {
            if !context.stop.is_cancelled() {
                error!(
                    "the UDP socket failed: this daemon stops, as it would be cut off from all others for good"
                );
                context.failed.cancel();
                // The driver is gone: then it stops already.
                let _ = context.inbox.send(Input::Shutdown).await;
            }
            return;
        };
        if slots.available_permits() < HANDSHAKES / 2 && !incoming.remote_address_validated() {
            // Many do not go on: who comes now first has to show that packets reach it, and takes no slot for that. It
            // fails only for those who have.
            let _ = incoming.retry();
            continue;
        }
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            context.metrics.count(Count::links_refused_full);
            let text = format!("connection refused: {HANDSHAKES} handshakes are under way");
            context.board.trouble(None, Severity::Passing, text);
            incoming.refuse();
            continue;
        };
        let context = context.clone();
        tasks.spawn(async move {
            let handshake = welcome(incoming, &context).await;
            drop(slot);
            if let Some(established) = handshake {
                context.run(established).await;
            }
        });
    }
}

async fn welcome(incoming: Incoming, context: &Context) -> Option<link::Established> {
    let address = incoming.remote_address();
    let trouble = |peer, severity, reason: &dyn std::fmt::Display| {
        context.board.trouble(peer, severity, format!("connection from {address}: {reason}"));
    };
    let server = Arc::new(server_config(&context.identity, context.transport_for(address)));
    let connecting = match incoming.accept_with(server) {
        Ok(connecting) => connecting,
        Err(error) => {
            trouble(None, severity(&error), &explain(&error));
            return None;
        }
    };
    let connection = match tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            trouble(None, severity(&error), &explain(&error));
            return None;
        }
        Err(_) => {
            trouble(None, Severity::Passing, &"no handshake in time");
            return None;
        }
    };
    match handshake::accepted(connection, context).await {
        Ok(established) => Some(established),
        Err((peer, error)) => {
            trouble(peer, error.severity(), &error);
            None
        }
    }
}

fn listen_error(address: SocketAddr, error: io::Error) -> ListenError {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => ": is another daemon running? `listen` sets the port",
        io::ErrorKind::AddrNotAvailable => {
            ": this machine has no such address; `listen` sets it, 0.0.0.0 takes all"
        }
        io::ErrorKind::PermissionDenied => ": ports below 1024 need privileges; `listen` sets the port",
        _ => "",
    };
    ListenError { address, error, hint }
}

/// Room for bursts: the kernel drops what does not fit.
const SOCKET_BUFFER: usize = 8 << 20;

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // Where the system allows it, one socket serves both families.
        let _ = socket.set_only_v6(false);
    }
    // With the privilege beyond the system's limit, else up to it. Either is good enough.
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    }
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    debug!(receive = socket.recv_buffer_size().ok(), send = socket.send_buffer_size().ok(), "socket buffers");
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn endpoint_config(identity: &Identity) -> EndpointConfig {
    let mut config = EndpointConfig::new(identity.reset_key.clone());
    // Both follow from the private key: a restarted daemon knows the connection ids of its former run as its own, and
    // tells peers that these connections are gone, instead of leaving them to time out.
    let id_key = identity.id_key;
    config.cid_generator(move || Box::new(quinn_proto::HashedConnectionIdGenerator::from_key(id_key)));
    // What peers on loopback may send; buffers grow only as far as they are used.
    if config.max_udp_payload_size(LOOPBACK_MTU).is_err() {
        error!("the transport refuses datagrams of {LOOPBACK_MTU} bytes and uses smaller ones");
    }
    config
}

fn server_config(identity: &Identity, transport: Arc<TransportConfig>) -> ServerConfig {
    let mut config = ServerConfig::with_crypto(identity.server.clone());
    config.transport_config(transport).max_incoming(HANDSHAKES * 2).migration(false);
    config
}

/// The largest UDP payload to try on loopback, near the largest there is: the fewer packets, the less is spent on each.
const LOOPBACK_MTU: u16 = 65_000;

/// The largest to try elsewhere: what Ethernet carries.
const LAN_MTU: u16 = 1452;

/// Bytes of a stream on their way: enough for the window of the protocol on a long path.
const STREAM_WINDOW: u32 = 16 << 20;

/// Bytes of datagrams that wait on either side; beyond it the oldest are dropped.
const DATAGRAM_BUFFER: usize = 1 << 20;

/// What a new connection takes for the time to its peer and back until it knows: daemons are rarely far apart, and lost
/// first packets are repeated sooner.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// Bytes that a new connection may send before the first is acknowledged. On loopback it must hold the probes for the
/// largest packets, or they keep everything else waiting.
const LOOPBACK_INITIAL_WINDOW: u64 = 1 << 20;
const LAN_INITIAL_WINDOW: u64 = 64 << 10;

/// A peer acknowledges so many packets at a time, unless some are missing or no more come: who mostly listens would answer
/// every other packet.
const PACKETS_AN_ACK: u32 = 10;

fn transport_config(idle_timeout: Duration, near: bool) -> TransportConfig {
    let mut congestion = CubicConfig::default();
    congestion.initial_window(if near { LOOPBACK_INITIAL_WINDOW } else { LAN_INITIAL_WINDOW });
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(if near { LOOPBACK_MTU } else { LAN_MTU });
    let idle = IdleTimeout::try_from(idle_timeout).unwrap_or_else(|_| VarInt::from_u32(60_000).into());
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(PACKETS_AN_ACK));
    let mut config = TransportConfig::default();
    config
        .ack_frequency_config(Some(acks))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .max_idle_timeout(Some(idle))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(STREAM_WINDOW))
        .send_window(u64::from(STREAM_WINDOW))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER))
        .datagram_send_buffer_size(DATAGRAM_BUFFER)
        // Ten packets that leave together would not fit one system call if they are that large.
        .enable_segmentation_offload(!near)
        .congestion_controller_factory(Arc::new(congestion))
        .initial_rtt(INITIAL_RTT)
        .mtu_discovery_config(Some(discovery));
    config
}
