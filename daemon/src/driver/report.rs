//! The report behind `stentor status`, and the history that it shows.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use stentor_client::wire::{Configuration, DaemonStatus, LinkState, PeerStatus, SessionStatus};
use stentor_membership::{DaemonId, DaemonName, Node, View, ViewId};

use super::links::Links;
use super::sessions::Sessions;
use crate::metrics::Metrics;
use crate::transport::board::Board;

/// The last configurations, oldest first.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Configuration>);

impl History {
    pub(super) fn view(&mut self, view: &View) {
        self.push(Configuration {
            unix_ms: unix_ms(),
            view: view.id.to_string(),
            toward: None,
            members: view.members.to_vec(),
            primary: view.primary,
        });
    }

    pub(super) fn transitional(&mut self, view: ViewId, toward: ViewId, members: &Arc<[DaemonId]>) {
        self.push(Configuration {
            unix_ms: unix_ms(),
            view: view.to_string(),
            toward: Some(toward.to_string()),
            members: members.to_vec(),
            primary: false,
        });
    }

    fn push(&mut self, configuration: Configuration) {
        if self.0.len() >= DaemonStatus::HISTORY_MAX {
            self.0.pop_front();
        }
        self.0.push_back(configuration);
    }
}

/// What a report is made from.
pub(super) struct Sources<'a> {
    pub(super) node: &'a Node,
    pub(super) links: &'a Links,
    pub(super) sessions: &'a Sessions,
    pub(super) history: &'a History,
    /// The configured daemons and their addresses.
    pub(super) configured: &'a [(DaemonName, String)],
    pub(super) board: &'a Board,
    pub(super) metrics: &'a Metrics,
    pub(super) uptime_ms: u64,
}

/// How the daemon is.
pub(super) fn status(sources: &Sources<'_>) -> DaemonStatus {
    let Sources { node, sessions, history, metrics, .. } = sources;
    let view = node.view();
    let mut listed: Vec<_> = sessions.iter().collect();
    listed.sort_unstable_by_key(|session| session.member.session);
    let listed = listed.into_iter().take(DaemonStatus::SESSIONS_MAX).map(|session| SessionStatus {
        name: session.member.session,
        queued_bytes: to_u64(session.queue.bytes()),
        groups: session.groups,
    });
    let own = metrics.list().into_iter().map(|(name, value)| (name.to_owned(), value));
    DaemonStatus {
        daemon: node.id().name,
        incarnation: node.id().incarnation,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms: sources.uptime_ms,
        phase: node.phase(),
        view: view.id.to_string(),
        members: view.members.to_vec(),
        primary: view.primary,
        configured: sources.configured.iter().map(|(name, address)| peer(sources, *name, address)).collect(),
        history: history.0.iter().cloned().collect(),
        groups: to_u64(node.groups(None).count()),
        sessions_total: to_u64(sessions.len()),
        sessions: listed.collect(),
        counters: core_counters(node).into_iter().chain(own).collect(),
    }
}

fn peer(sources: &Sources<'_>, name: DaemonName, address: &str) -> PeerStatus {
    let link = if name == sources.node.id().name {
        LinkState::Own
    } else if sources.links.to(name).is_some() {
        LinkState::Up
    } else {
        LinkState::Down
    };
    PeerStatus { name, address: address.to_owned(), link, trouble: sources.board.about(Some(name)) }
}

fn core_counters(node: &Node) -> Vec<(String, u64)> {
    let stats = node.stats();
    let counters = [
        ("views", stats.views),
        ("suspicions", stats.suspicions),
        ("failed_attempts", stats.failed_attempts),
        ("data_frames_sent", stats.data_frames_sent),
        ("progress_frames_sent", stats.progress_frames_sent),
        ("frames_resent", stats.frames_resent),
        ("messages_accepted", stats.messages_accepted),
        ("messages_delivered", stats.messages_delivered),
        ("messages_discarded", stats.messages_discarded),
        ("unreliable_dropped", stats.unreliable_dropped),
        ("sessions_blocked", stats.sessions_blocked),
        ("window_full", stats.window_full),
        ("large_held", stats.large_held),
        ("violations", stats.violations),
        ("unstable_bytes", to_u64(stats.unstable_bytes)),
        ("retained_bytes", to_u64(stats.retained_bytes)),
        ("queued_bytes", to_u64(stats.queued_bytes)),
    ];
    counters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
