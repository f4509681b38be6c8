//! What the sessions of a round share.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::load::Load;

/// What the threads of a round share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) load: Load,
    /// Times of messages count from here: when all sessions were there.
    origin: OnceLock<Instant>,
    /// Set then.
    pub(super) begun: CancellationToken,
    /// Set when all has arrived.
    pub(super) over: CancellationToken,
    /// Messages of all senders so far.
    pub(super) sent: AtomicU64,
    /// By receiver: messages so far.
    pub(super) received: Vec<AtomicU64>,
    pub(super) stopping: AtomicBool,
}

/// How far flat-out senders may be ahead of the slowest receiver: less than what a session may leave unread.
const AHEAD: usize = 24 << 20;
/// What a message costs in a queue beside its payload.
const OVERHEAD: usize = 64;

impl Shared {
    pub(super) fn new(load: &Load, receivers: usize) -> Self {
        Self {
            load: load.clone(),
            origin: OnceLock::new(),
            begun: CancellationToken::new(),
            over: CancellationToken::new(),
            sent: AtomicU64::new(0),
            received: (0..receivers).map(|_| AtomicU64::new(0)).collect(),
            stopping: AtomicBool::new(false),
        }
    }

    /// All sessions are there.
    pub(super) fn begin(&self) {
        // Only once.
        let _ = self.origin.set(Instant::now());
        self.begun.cancel();
    }

    /// Whether a flat-out sender has to wait.
    pub(super) fn is_ahead(&self) -> bool {
        let slowest = self.received.iter().map(|count| count.load(Ordering::Relaxed)).min().unwrap_or(0);
        let ahead = self.sent.load(Ordering::Relaxed).saturating_sub(slowest);
        usize::try_from(ahead).unwrap_or(usize::MAX).saturating_mul(self.load.size + OVERHEAD) > AHEAD
    }

    /// Nanoseconds since the origin.
    pub(super) fn now(&self) -> u64 {
        self.origin.get().map_or(0, |origin| u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The part of the round that is measured.
    fn window(&self) -> (u64, u64) {
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let from = nanos(self.load.warm_up);
        (from, from.saturating_add(nanos(self.load.duration)))
    }

    /// Whether something at this time is measured.
    pub(super) fn is_measured(&self, nanos: u64) -> bool {
        let (from, to) = self.window();
        (from..to).contains(&nanos)
    }

    /// The names of the groups of the load.
    pub(super) fn groups(&self) -> Vec<String> {
        (0..self.load.groups).map(|number| self.group(&number.to_string())).collect()
    }

    /// The name of a group, which no other round has.
    pub(super) fn group(&self, name: &str) -> String {
        format!("{}-{}-{name}", self.load.name, std::process::id())
    }
}
