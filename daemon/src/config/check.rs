//! From what is written to what is meant: defaults, ranges, and what must fit together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stentor_membership::DaemonName;

use super::raw::{RawClients, RawConfig, RawMembership, RawTls};
use super::units::{HostPort, Mode, Size, Span};
use super::{Clients, ClusterName, Config, ConfigError, Network, TlsFiles, default_socket};
use crate::transport::tls::certificate_name;

const DEFAULT_CLUSTER: &str = "stentor";
const DEFAULT_SOCKET_MODE: Mode = Mode(0o660);
const DEFAULT_QUEUE_OUT: usize = 64 << 20;
const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

const QUEUE_OUT_MAX: usize = 16 << 30;
const HANDSHAKE_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(600);
/// What a message may weigh beside its content when it waits for a program.
const MESSAGE_OVERHEAD: usize = 64 << 10;
/// The kernel's `sun_path` less its closing zero.
const SOCKET_PATH_MAX: usize = 107;

/// Checks `raw`, which came from `origin`; relative paths start at `base`.
pub(super) fn config(raw: RawConfig, origin: &str, base: &Path) -> Result<Config, ConfigError> {
    let at = Origin(origin);
    let name = daemon_name(raw.name, &raw.daemons, &at)?;
    let cluster = match &raw.cluster {
        Some(text) => text.parse().map_err(|e: String| at.wrong("cluster", text, e))?,
        None => ClusterName(DEFAULT_CLUSTER.to_owned()),
    };
    let mut membership = membership(&raw.membership, raw.clients.max_sessions, &at)?;
    membership.daemons =
        if raw.daemons.is_empty() { vec![name] } else { raw.daemons.keys().copied().collect() };
    let clients = clients(&raw.clients, membership.max_message, base, &at)?;
    let network = network(name, raw.listen, raw.daemons, raw.tls, base, &at)?;
    Ok(Config { name, cluster, network, clients, membership })
}

struct Origin<'a>(&'a str);

impl Origin<'_> {
    fn wrong(&self, key: &str, value: impl std::fmt::Display, allowed: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            origin: self.0.to_owned(),
            key: key.to_owned(),
            value: value.to_string(),
            allowed: allowed.into(),
        }
    }

    fn missing(&self, key: &str, allowed: impl Into<String>) -> ConfigError {
        self.wrong(key, "(missing)", allowed)
    }
}

fn daemon_name(
    name: Option<DaemonName>,
    daemons: &BTreeMap<DaemonName, HostPort>,
    at: &Origin<'_>,
) -> Result<DaemonName, ConfigError> {
    let all = || daemons.keys().map(DaemonName::as_str).collect::<Vec<_>>().join(", ");
    match name {
        Some(name) if daemons.is_empty() || daemons.contains_key(&name) => Ok(name),
        Some(name) => {
            Err(at.wrong("name", name, format!("must be one of the names in [daemons]: {}", all())))
        }
        None if daemons.is_empty() => host_name(at),
        None => Err(at.missing("name", format!("say which of [daemons] this one is: {}", all()))),
    }
}

/// A daemon name made from the host's, or `local`.
fn host_name(at: &Origin<'_>) -> Result<DaemonName, ConfigError> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let label = host.trim().split('.').next().unwrap_or_default().to_ascii_lowercase();
    DaemonName::new(&label)
        .or_else(|_| DaemonName::new("local"))
        .map_err(|e| at.wrong("name", label, e.to_string()))
}

fn network(
    name: DaemonName,
    listen: Option<SocketAddr>,
    daemons: BTreeMap<DaemonName, HostPort>,
    tls: Option<RawTls>,
    base: &Path,
    at: &Origin<'_>,
) -> Result<Option<Network>, ConfigError> {
    let Some(own) = daemons.get(&name) else {
        return match (listen, tls) {
            (Some(listen), _) => Err(at.wrong("listen", listen, "useful with peers only: list [daemons]")),
            (None, Some(tls)) => {
                Err(at.wrong("[tls] ca", tls.ca.display(), "useful with peers only: list [daemons]"))
            }
            (None, None) => Ok(None),
        };
    };
    let mut seen = BTreeMap::new();
    for (daemon, address) in &daemons {
        let key = format!("[daemons] {daemon}");
        if let Some(other) = seen.insert(address, daemon) {
            return Err(at.wrong(&key, address, format!("{other} has the same address: each needs its own")));
        }
        if rustls::pki_types::ServerName::try_from(certificate_name(*daemon)).is_err() {
            let rule = "the name goes into a certificate as a DNS name: it must not end in '-'";
            return Err(at.wrong(&key, address, rule));
        }
    }
    let listen = match listen {
        Some(listen) if listen.port() == 0 => {
            return Err(at.wrong("listen", listen, "peers must know the port: 1 to 65535"));
        }
        Some(listen) => listen,
        None => own.to_string().parse().map_err(|_| {
            let allowed = format!(
                "needed because this daemon's address {own} is a host name: for example \"0.0.0.0:{}\"",
                own.port
            );
            at.missing("listen", allowed)
        })?,
    };
    let tls = tls.ok_or_else(|| {
        at.missing("[tls]", "ca, certificate and key are needed with [daemons]; `stentor init` makes them")
    })?;
    let tls =
        TlsFiles { ca: base.join(tls.ca), certificate: base.join(tls.certificate), key: base.join(tls.key) };
    Ok(Some(Network { listen, daemons, tls }))
}

fn clients(
    raw: &RawClients,
    max_message: usize,
    base: &Path,
    at: &Origin<'_>,
) -> Result<Clients, ConfigError> {
    let socket = raw.socket.as_ref().map_or_else(default_socket, |socket| base.join(socket));
    socket_path(&socket, at)?;
    if let Some(tcp) = raw.tcp {
        let key = "[clients] tcp";
        if !tcp.ip().is_loopback() {
            let why = "must be a loopback address (127.0.0.1:PORT or [::1]:PORT), because sessions are neither \
                       encrypted nor authenticated; run a daemon on each machine instead";
            return Err(at.wrong(key, tcp, why));
        }
        if tcp.port() == 0 {
            return Err(at.wrong(key, tcp, "programs must know the port: 1 to 65535"));
        }
    }
    let session_queue_out = raw.session_queue_out.map_or(DEFAULT_QUEUE_OUT, |size| size.0);
    let least = max_message + MESSAGE_OVERHEAD;
    if !(least..=QUEUE_OUT_MAX).contains(&session_queue_out) {
        let allowed = format!(
            "{} (max_message and 64KiB) to {}, or one large message would cut its receivers off",
            Size(least),
            Size(QUEUE_OUT_MAX)
        );
        return Err(at.wrong("[clients] session_queue_out", Size(session_queue_out), allowed));
    }
    let handshake_timeout = raw.handshake_timeout.map_or(DEFAULT_HANDSHAKE_TIMEOUT, |span| span.0);
    if !HANDSHAKE_TIMEOUT.contains(&handshake_timeout) {
        let allowed = format!("{} to {}", Span(*HANDSHAKE_TIMEOUT.start()), Span(*HANDSHAKE_TIMEOUT.end()));
        return Err(at.wrong("[clients] handshake_timeout", Span(handshake_timeout), allowed));
    }
    Ok(Clients {
        socket,
        socket_is_default: raw.socket.is_none(),
        socket_mode: raw.socket_mode.unwrap_or(DEFAULT_SOCKET_MODE),
        tcp: raw.tcp,
        session_queue_out,
        handshake_timeout,
    })
}

fn socket_path(socket: &PathBuf, at: &Origin<'_>) -> Result<(), ConfigError> {
    let length = socket.as_os_str().len();
    if length > SOCKET_PATH_MAX {
        let allowed = format!(
            "{length} bytes, but the path of a unix socket has at most {SOCKET_PATH_MAX}: use a shorter one"
        );
        return Err(at.wrong("[clients] socket", socket.display(), allowed));
    }
    if socket.file_name().is_none() {
        return Err(at.wrong(
            "[clients] socket",
            socket.display(),
            "must name a file, for example \"a.sock\"",
        ));
    }
    Ok(())
}

fn membership(
    raw: &RawMembership,
    max_sessions: Option<usize>,
    at: &Origin<'_>,
) -> Result<stentor_membership::Config, ConfigError> {
    let default = stentor_membership::Config::default();
    let span = |raw: Option<Span>, default| raw.map_or(default, |span| span.0);
    let size = |raw: Option<Size>, default| raw.map_or(default, |size| size.0);
    let config = stentor_membership::Config {
        heartbeat: span(raw.heartbeat, default.heartbeat),
        suspect_after_min: span(raw.suspect_after_min, default.suspect_after_min),
        suspect_after_max: span(raw.suspect_after_max, default.suspect_after_max),
        window: size(raw.window, default.window),
        session_queue: size(raw.session_queue, default.session_queue),
        max_message: size(raw.max_message, default.max_message),
        frame: size(raw.frame, default.frame),
        max_sessions: max_sessions.unwrap_or(default.max_sessions),
        require_primary: raw.require_primary.unwrap_or(default.require_primary),
        ..default
    };
    config.check().map_err(|e| {
        let table = if e.key == "max_sessions" { "clients" } else { "membership" };
        at.wrong(&format!("[{table}] {}", e.key), e.value, e.allowed)
    })?;
    let largest = stentor_client::wire::DAEMON_FRAME_LIMIT - MESSAGE_OVERHEAD;
    if config.max_message > largest {
        let allowed = format!("at most {}, what fits the session protocol", Size(largest));
        return Err(at.wrong("[membership] max_message", Size(config.max_message), allowed));
    }
    if config.suspect_after_max > Duration::from_secs(3600) {
        let value = Span(config.suspect_after_max);
        return Err(at.wrong("[membership] suspect_after_max", value, "at most 1h"));
    }
    Ok(config)
}
