//! One running daemon as the simulator drives it: a node, what waits to be handed to it, and its sessions.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use stentor_membership::{Config, DaemonId, DaemonName, Node, Timestamp};

use crate::clients::Clients;
use crate::network::{Arrival, LinkId};
use crate::options::Options;

/// Something that a daemon's process has to do next.
#[derive(Debug)]
pub(crate) enum Input {
    /// Something came over a link.
    Arrival(Arrival),
    /// Its timer fired.
    Timer,
    /// One of its clients does something.
    Work,
    /// A session that was told to wait has room again.
    Retry(usize),
    /// A session left too much unread: the daemon closes it.
    Cut(usize),
    /// Its clients show that they can be heard.
    Probe,
    /// Its observer sends so many messages of so many bytes to everybody, at once.
    Send { count: u64, size: u64 },
    /// The daemon is stopped in order; it may wait so many times until nothing is under way.
    Leave(u32),
}

/// One running daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// The index of the process in the history.
    pub(crate) number: usize,
    pub(crate) host: usize,
    pub(crate) node: Node,
    pub(crate) inbox: VecDeque<Input>,
    /// When it will look into its inbox.
    pub(crate) wake: Option<Timestamp>,
    /// When its timer fires, and which setting of the timer that is.
    pub(crate) timer: Option<Timestamp>,
    pub(crate) timer_setting: u64,
    /// How many times in a row it was due at once again.
    pub(crate) spins: u32,
    pub(crate) paused: bool,
    /// How many frames it had resent when it last went to another phase.
    pub(crate) resent_before: u64,
    /// It is being stopped: its clients do nothing more.
    pub(crate) leaving: bool,
    /// The link to each peer that the node was told of.
    pub(crate) links: BTreeMap<DaemonId, LinkId>,
    pub(crate) clients: Clients,
}

/// What all nodes of a run are set to.
pub(crate) fn config(options: &Options, names: &[DaemonName]) -> Config {
    let node = &options.node;
    Config {
        daemons: names.to_vec(),
        heartbeat: node.heartbeat,
        suspect_after_min: node.suspect_after_min,
        suspect_after_max: node.suspect_after_max,
        window: node.window,
        session_queue: node.session_queue,
        max_message: node.max_message,
        frame: node.frame,
        datagram: node.datagram,
        max_sessions: options.workload.sessions_max.max(10) * 10,
        // More than there are in any run.
        max_groups: 10_000,
        require_primary: node.require_primary,
    }
}

impl Daemon {
    pub(crate) fn id(&self) -> DaemonId {
        self.node.id()
    }

    /// Where it stands, on one line.
    pub(crate) fn status(&self, now: Timestamp) -> String {
        let view = self.node.view();
        let linked: Vec<String> = self.node.linked().map(|peer| peer.to_string()).collect();
        let timer = self.node.poll_timeout().map(|at| at.since(now));
        format!(
            "{} {:?} in view {} of {:?}, linked to [{}], timer in {:?}, {} inputs wait, {:?}",
            self.id(),
            self.node.phase(),
            view.id,
            view.members,
            linked.join(" "),
            timer.map(|span: Duration| span),
            self.inbox.len(),
            self.node.stats()
        )
    }
}
