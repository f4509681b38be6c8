//! How a daemon is: the report behind `stentor status`.

use serde::{Deserialize, Serialize};
use stentor_membership::{DaemonId, DaemonName, Phase, SessionName};

/// A daemon's report of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Its configured name.
    pub daemon: DaemonName,
    /// Distinguishes this run of it.
    pub incarnation: u64,
    /// Its release.
    pub version: String,
    /// Milliseconds since its start.
    pub uptime_ms: u64,
    /// Where it stands in agreeing on views.
    #[serde(with = "PhaseMirror")]
    pub phase: Phase,
    /// The installed view's id.
    pub view: String,
    /// The view's members, sorted.
    pub members: Vec<DaemonId>,
    /// Whether the view holds a majority of the configured daemons.
    pub primary: bool,
    /// The configured daemons, this one among them.
    pub configured: Vec<PeerStatus>,
    /// The last configurations, oldest first, at most [`Self::HISTORY_MAX`].
    pub history: Vec<Configuration>,
    /// The number of groups with members, in the whole cluster.
    pub groups: u64,
    /// The number of sessions of this daemon.
    pub sessions_total: u64,
    /// The first of them by name, at most [`Self::SESSIONS_MAX`].
    pub sessions: Vec<SessionStatus>,
    /// Counters and levels by name.
    pub counters: Vec<(String, u64)>,
}

impl DaemonStatus {
    /// The most configurations that a report lists.
    pub const HISTORY_MAX: usize = 32;
    /// The most sessions that a report lists.
    pub const SESSIONS_MAX: usize = 1000;
}

/// A configured daemon as another sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its name.
    pub name: DaemonName,
    /// Where it is dialled.
    pub address: String,
    /// The link to it.
    pub link: LinkState,
    /// The last trouble with it, if there was any.
    pub trouble: Option<String>,
}

/// The state of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// The reporting daemon itself.
    Own,
    /// Linked.
    Up,
    /// Not linked.
    Down,
}

/// A configuration that was installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// When, in milliseconds since 1970 by the daemon's clock.
    pub unix_ms: u64,
    /// The view's id; for a transitional configuration that of the view that ended.
    pub view: String,
    /// For a transitional configuration: the view that follows.
    pub toward: Option<String>,
    /// Its members, sorted.
    pub members: Vec<DaemonId>,
    /// Whether it is a view with a majority of the configured daemons.
    pub primary: bool,
}

/// A session of the reporting daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// Its name.
    pub name: SessionName,
    /// Bytes that wait for it to read.
    pub queued_bytes: u64,
    /// The number of groups that it is in.
    pub groups: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Phase", rename_all = "lowercase")]
enum PhaseMirror {
    Operational,
    Gathering,
    Recovering,
}
