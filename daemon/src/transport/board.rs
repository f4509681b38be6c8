//! What is known about each peer's reachability, for the log and the status report.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use stentor_membership::DaemonName;
use tracing::{info, warn};

/// The same trouble is logged again after this.
const REPEAT_AFTER: Duration = Duration::from_secs(60);

/// Other trouble with the same peer is not logged sooner than this.
const PAUSE: Duration = Duration::from_secs(2);

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// It comes and goes by itself: a peer that is not there.
    Passing,
    /// Somebody should look at it: a wrong certificate, cluster or version.
    Lasting,
}

/// The last trouble with each peer. Shared by all who talk to peers; says each thing once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board(Arc<Mutex<BTreeMap<Option<DaemonName>, Entry>>>);

#[derive(Debug, Default)]
struct Entry {
    trouble: Option<String>,
    logged: Option<(Instant, String)>,
    /// How many were not logged since.
    silent: u64,
}

impl Board {
    /// Notes what went wrong with `peer`; `None` stands for all who did not say, or cannot prove, who they are.
    pub(crate) fn trouble(&self, peer: Option<DaemonName>, severity: Severity, text: String) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(peer).or_default();
        let now = Instant::now();
        let due = entry.logged.as_ref().is_none_or(|(at, last)| {
            let pause = if *last == text { REPEAT_AFTER } else { PAUSE };
            now.duration_since(*at) >= pause
        });
        if due {
            let name = peer.map_or_else(|| "(unknown)".to_owned(), |name| name.to_string());
            let unlogged = std::mem::take(&mut entry.silent);
            match severity {
                Severity::Passing => info!(peer = name, unlogged, reason = text, "no link"),
                Severity::Lasting => warn!(peer = name, unlogged, reason = text, "no link"),
            }
            entry.logged = Some((now, text.clone()));
        } else {
            entry.silent += 1;
        }
        entry.trouble = Some(text);
    }

    /// The link to `peer` is up: its trouble is over.
    pub(crate) fn linked(&self, peer: DaemonName) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // When it was logged stays known: a link that comes and goes must not fill the log.
        if let Some(entry) = entries.get_mut(&Some(peer)) {
            entry.trouble = None;
        }
    }

    /// The last trouble with `peer`, or with strangers, if it is not over.
    pub(crate) fn about(&self, peer: Option<DaemonName>) -> Option<String> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(&peer).and_then(|entry| entry.trouble.clone())
    }
}
