//! What can be set about a node.

use std::time::Duration;

use thiserror::Error;

use crate::id::DaemonId;
use crate::name::DaemonName;

/// The settings of a [`Node`](crate::Node). Daemons of one cluster should share them; nothing breaks if they differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The names of all daemons of the cluster, this one among them: what a majority is counted from.
    pub daemons: Vec<DaemonName>,
    /// How often a sign of life goes to each linked daemon. At least 1 ms; well below `suspect_after_min`.
    pub heartbeat: Duration,
    /// A silent peer is never suspected sooner than this, however regular its signs of life were.
    /// At least twice `heartbeat`.
    pub suspect_after_min: Duration,
    /// A silent peer is suspected at the latest after this, however irregular its signs of life were.
    /// Not below `suspect_after_min`.
    pub suspect_after_max: Duration,
    /// Bytes of this daemon's own frames that not everybody has confirmed: beyond it, it sends no more data until
    /// others confirm (back-pressure). Each daemon of the cluster may cost every other this much memory.
    /// At least 64 KiB.
    pub window: usize,
    /// Bytes that one session may have waiting to be sent: beyond it, [`Node::multicast`](crate::Node::multicast)
    /// says [`Busy`](crate::CommandError::Busy). A single larger message is taken when nothing else waits.
    pub session_queue: usize,
    /// The largest message, in bytes of its encoded [`Content`](crate::Content). At most 64 MiB.
    pub max_message: usize,
    /// Bytes of a data frame; larger messages are split. 1 KiB to 1 MiB.
    pub frame: usize,
    /// The largest datagram payload that the links carry; larger unreliable messages go as frames.
    pub datagram: usize,
    /// The most sessions at a time.
    pub max_sessions: usize,
    /// The most groups that one session may be in at a time.
    pub max_groups: usize,
    /// Whether a view without a majority refuses ordered messages instead of going on by itself.
    pub require_primary: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            daemons: Vec::new(),
            heartbeat: Duration::from_millis(100),
            suspect_after_min: Duration::from_millis(500),
            suspect_after_max: Duration::from_secs(5),
            window: 8 << 20,
            session_queue: 1 << 20,
            max_message: 16 << 20,
            frame: 64 << 10,
            datagram: 1100,
            max_sessions: 10_000,
            max_groups: 100_000,
            require_primary: false,
        }
    }
}

/// A setting outside its range.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{key} is {value}: {allowed}")]
pub struct ConfigError {
    /// The field.
    pub key: &'static str,
    /// What it was set to.
    pub value: String,
    /// What is allowed.
    pub allowed: &'static str,
}

impl Config {
    /// Whether `members` are a majority of the configured daemons (PROTOCOL V8); without any configured, every view is one.
    pub(crate) fn is_primary(&self, members: &[DaemonId]) -> bool {
        let present = self.daemons.iter().filter(|name| members.iter().any(|member| member.name == **name));
        self.daemons.is_empty()
            || present.count() * 2 + usize::from(mutant!(HalfIsPrimary)) > self.daemons.len()
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`ConfigError`] names the first setting outside its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let rules: [(bool, &'static str, String, &'static str); 10] = [
            (
                self.heartbeat >= Duration::from_millis(1),
                "heartbeat",
                format!("{:?}", self.heartbeat),
                "at least 1ms",
            ),
            (
                self.suspect_after_min >= self.heartbeat * 2,
                "suspect_after_min",
                format!("{:?}", self.suspect_after_min),
                "at least twice the heartbeat",
            ),
            (
                self.suspect_after_max >= self.suspect_after_min,
                "suspect_after_max",
                format!("{:?}", self.suspect_after_max),
                "not below suspect_after_min",
            ),
            (
                (64 << 10..=1 << 30).contains(&self.window),
                "window",
                self.window.to_string(),
                "64 KiB to 1 GiB",
            ),
            (
                (1 << 10..=1 << 30).contains(&self.session_queue),
                "session_queue",
                self.session_queue.to_string(),
                "1 KiB to 1 GiB",
            ),
            (
                (1 << 10..=64 << 20).contains(&self.max_message),
                "max_message",
                self.max_message.to_string(),
                "1 KiB to 64 MiB",
            ),
            ((1 << 10..=1 << 20).contains(&self.frame), "frame", self.frame.to_string(), "1 KiB to 1 MiB"),
            (
                (200..=60_000).contains(&self.datagram),
                "datagram",
                self.datagram.to_string(),
                "200 to 60000 bytes",
            ),
            (
                (1..=1_000_000).contains(&self.max_sessions),
                "max_sessions",
                self.max_sessions.to_string(),
                "1 to 1000000",
            ),
            (
                (1..=10_000_000).contains(&self.max_groups),
                "max_groups",
                self.max_groups.to_string(),
                "1 to 10000000",
            ),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            Some((_, key, value, allowed)) => Err(ConfigError { key, value, allowed }),
            None => Ok(()),
        }
    }
}
