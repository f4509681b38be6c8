//! What a daemon is told: read from a TOML file, checked once, and right from then on.

mod check;
#[cfg(test)]
mod properties;
mod raw;
mod spread;
pub(crate) mod template;
pub(crate) mod units;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use stentor_client::Address;
use stentor_membership::DaemonName;
use thiserror::Error;

pub(crate) use self::raw::RawConfig;
use self::raw::{RawClients, RawMembership, RawTls};
pub(crate) use self::spread::Spread;
use self::units::{HostPort, Mode, Size, Span};

/// The checked configuration of one daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Who this daemon is.
    pub(crate) name: DaemonName,
    /// Which cluster it belongs to: daemons of different clusters refuse each other.
    pub(crate) cluster: ClusterName,
    /// How it reaches the others; none if it is alone.
    pub(crate) network: Option<Network>,
    /// How programs reach it.
    pub(crate) clients: Clients,
    /// How programs of Spread reach it, if they may.
    pub(crate) spread: Option<Spread>,
    /// The settings of the protocol, with the names of all daemons.
    pub(crate) membership: stentor_membership::Config,
}

/// The daemons of the cluster and the proof of belonging to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    /// The UDP socket for all peers.
    pub(crate) listen: SocketAddr,
    /// Where all daemons are reached, this one included.
    pub(crate) daemons: BTreeMap<DaemonName, HostPort>,
    /// The files with the keys.
    pub(crate) tls: TlsFiles,
}

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// The certificate of the cluster's authority: whom it signed belongs to the cluster.
    pub(crate) ca: PathBuf,
    /// This daemon's certificate.
    pub(crate) certificate: PathBuf,
    /// This daemon's private key.
    pub(crate) key: PathBuf,
}

/// The doors for local programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clients {
    /// The path of the unix socket.
    pub(crate) socket: PathBuf,
    /// Whether the path was chosen for want of a setting: then its directory is made as needed.
    pub(crate) socket_is_default: bool,
    /// The permissions of the unix socket.
    pub(crate) socket_mode: Mode,
    /// A loopback TCP socket for programs that cannot use the unix socket.
    pub(crate) tcp: Option<SocketAddr>,
    /// Bytes that may wait for one program before it is cut off as too slow.
    pub(crate) session_queue_out: usize,
    /// How long a new connection may take to introduce itself.
    pub(crate) handshake_timeout: Duration,
}

/// The name of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClusterName(String);

impl ClusterName {
    /// What a valid name looks like, for people.
    pub(crate) const RULE: &'static str = "1 to 64 of a-z, A-Z, 0-9, '-', '_' and '.'";

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ClusterName {
    fn default() -> Self {
        Self("stentor".to_owned())
    }
}

impl FromStr for ClusterName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let valid = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
        if (1..=64).contains(&text.len()) && text.bytes().all(valid) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("cluster name {text:?} is not valid: {}", Self::RULE))
        }
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is wrong with a configuration. The daemon does not start with it.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {error}{}", path.display(), hint(error))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is no TOML, or a key is unknown or has a value of the wrong kind.
    #[error("configuration {}: {text}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        text: String,
    },
    /// A value is out of its range, or does not fit another one.
    #[error("configuration {origin}: {key} = {value}: {allowed}")]
    Value {
        /// The file, or what stands for it.
        origin: String,
        /// The key with its table.
        key: String,
        /// What was found, as it would be written.
        value: String,
        /// What is allowed, and what to do.
        allowed: String,
    },
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound => ": give the path of another, or make one with `stentor init`",
        _ => "",
    }
}

impl Config {
    /// Reads and checks a file. Relative paths in it are relative to its directory.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        Self::parse(&text, path)
    }

    /// Checks what was read from `path`.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, the key, its value and what is allowed.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let raw: RawConfig = toml::from_str(text).map_err(|e| ConfigError::Parse {
            path: path.to_owned(),
            text: e.to_string().trim_end().to_owned(),
        })?;
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let base = absolute.parent().unwrap_or_else(|| Path::new("/"));
        check::config(raw, &path.display().to_string(), base)
    }

    /// The configuration without a file: a cluster of one, named after the host.
    pub(crate) fn alone() -> Result<Self, ConfigError> {
        check::config(RawConfig::default(), "(defaults)", Path::new("/"))
    }

    /// The configuration as TOML that reads back to the same.
    ///
    /// # Errors
    /// None for a configuration that [`parse`](Self::parse) gave.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(&self.to_raw())
    }

    fn to_raw(&self) -> RawConfig {
        let Self { name, cluster, network, clients, spread, membership } = self;
        let span = |duration| Some(Span(duration));
        let size = |bytes| Some(Size(bytes));
        RawConfig {
            name: Some(*name),
            cluster: Some(cluster.as_str().to_owned()),
            listen: network.as_ref().map(|n| n.listen),
            daemons: network.as_ref().map(|n| n.daemons.clone()).unwrap_or_default(),
            tls: network.as_ref().map(|n| RawTls {
                ca: n.tls.ca.clone(),
                certificate: n.tls.certificate.clone(),
                key: n.tls.key.clone(),
            }),
            clients: RawClients {
                socket: Some(clients.socket.clone()),
                socket_mode: Some(clients.socket_mode),
                tcp: clients.tcp,
                session_queue_out: size(clients.session_queue_out),
                max_sessions: Some(membership.max_sessions),
                max_groups: Some(membership.max_groups),
                handshake_timeout: span(clients.handshake_timeout),
            },
            spread: spread.as_ref().map(Spread::to_raw).unwrap_or_default(),
            membership: RawMembership {
                heartbeat: span(membership.heartbeat),
                suspect_after_min: span(membership.suspect_after_min),
                suspect_after_max: span(membership.suspect_after_max),
                window: size(membership.window),
                session_queue: size(membership.session_queue),
                max_message: size(membership.max_message),
                frame: size(membership.frame),
                require_primary: Some(membership.require_primary),
            },
        }
    }
}

/// The unix socket of a daemon without a configured one: where programs look for it.
fn default_socket() -> PathBuf {
    match Address::local() {
        Address::Unix(path) => path,
        _ => PathBuf::from("/run/stentor/stentor.sock"),
    }
}
