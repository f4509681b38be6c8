//! The driver: the one task that owns the node.
//!
//! Everything that happens reaches it through one bounded [`inbox`]; what the node says goes into the queues of links and
//! sessions, for which it never waits. After each handful of inputs it drains the node: transmits, then events, then
//! the timer.

mod events;
mod fanout;
pub(crate) mod inbox;
mod links;
mod report;
mod requests;
mod run_buffer;
mod sessions;
mod spread;

use std::collections::VecDeque;
use std::pin::pin;
use std::time::{Duration, Instant};

use stentor_client::wire::GoodbyeCode;
use stentor_membership::{ConfigError, DaemonId, DaemonName, Node, SessionId, Timestamp};
use tokio::sync::mpsc::Receiver;
use tokio::time::Sleep;
use tracing::{debug, info, warn};

use self::fanout::Fanout;
use self::inbox::Input;
use self::links::Links;
use self::report::History;
use self::sessions::Sessions;
use self::spread::GroupIds;
use crate::metrics::{Count, Metrics};
use crate::spread::names::Aliases;
use crate::transport::board::{Board, Severity};
use crate::transport::link::{Close, LinkEvent, LinkNumber};

/// How long inputs are handled before what follows from them goes out, and others get their turn: everything else waits
/// meanwhile, signs of life to peers among it.
const SLICE: Duration = Duration::from_millis(5);

/// The same when a timer was late.
const LATE_SLICE: Duration = Duration::from_millis(50);

/// Bytes of messages after which the node is drained: what it says about them must not pile up.
const DRAIN_AFTER: usize = 256 << 10;

/// A timer that fires this much too late shows that the whole daemon had to wait.
const LATE: Duration = Duration::from_millis(20);

/// How often the driver then lets the others run: what is in the UDP socket passes three tasks on its way to the inbox.
const CATCH_UP: u32 = 4;

/// How long a leaving daemon waits until what its sessions sent has reached the others.
const LEAVE_PATIENCE: Duration = Duration::from_secs(2);

/// What a driver is told.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) id: DaemonId,
    /// Decides the node's random choices.
    pub(crate) seed: u64,
    pub(crate) membership: stentor_membership::Config,
    /// The configured daemons and their addresses, for reports.
    pub(crate) configured: Vec<(DaemonName, String)>,
    /// The bound of a session's outgoing queue, for the text that a slow program gets.
    pub(crate) session_queue_out: usize,
    /// Shared with the door for programs of Spread.
    pub(crate) aliases: Aliases,
    pub(crate) board: Board,
    pub(crate) metrics: Metrics,
}

/// Owns the node and moves it.
#[derive(Debug)]
pub(crate) struct Driver {
    start: Instant,
    node: Node,
    links: Links,
    sessions: Sessions,
    fanout: Fanout,
    history: History,
    /// Sessions that have room again for what they have under way.
    unblocked: Vec<SessionId>,
    /// Sessions that go on with their batch after what others have waiting.
    deferred: VecDeque<SessionId>,
    /// The last protocol violation, until the node says that it closed the link.
    violation: Option<(DaemonId, String)>,
    /// Set while leaving: until when to wait for the others.
    leaving: Option<Timestamp>,
    max_message: u64,
    configured: Vec<(DaemonName, String)>,
    session_queue_out: usize,
    group_ids: GroupIds,
    aliases: Aliases,
    board: Board,
    metrics: Metrics,
}

impl Driver {
    /// A daemon alone in its first view.
    pub(crate) fn new(settings: Settings) -> Result<Self, ConfigError> {
        let Settings { id, seed, membership, configured, session_queue_out, aliases, board, metrics } =
            settings;
        let max_message = u64::try_from(membership.max_message).unwrap_or(u64::MAX);
        Ok(Self {
            start: Instant::now(),
            node: Node::new(id, membership, seed, Timestamp::ZERO)?,
            links: Links::new(metrics.clone()),
            sessions: Sessions::default(),
            fanout: Fanout::new(aliases.clone(), metrics.clone()),
            history: History::default(),
            unblocked: Vec::new(),
            deferred: VecDeque::new(),
            violation: None,
            leaving: None,
            max_message,
            configured,
            session_queue_out,
            group_ids: GroupIds::default(),
            aliases,
            board,
            metrics,
        })
    }

    /// Runs until the daemon has left the cluster. The links then still write their last; their inputs are of no
    /// interest any more, but somebody must take them: the inbox is given back for that.
    pub(crate) async fn run(mut self, mut inbox: Receiver<Input>) -> Receiver<Input> {
        let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
        loop {
            self.drain();
            if self.is_done() {
                return inbox;
            }
            // Under load the timer may be late, so the clock decides.
            let due = self.deadline();
            let now = self.now();
            if let Some(due) = due.filter(|due| *due <= now) {
                self.be_due(now.since(due), &mut inbox).await;
            } else if !self.deferred.is_empty() {
                tokio::task::yield_now().await;
                self.take_waiting(&mut inbox, SLICE);
                self.work_deferred();
            } else {
                arm(timer.as_mut(), self.start, due);
                tokio::select! {
                    biased;
                    input = inbox.recv() => {
                        let Some(input) = input else { return inbox };
                        self.handle(input, self.now());
                        if self.take_waiting(&mut inbox, SLICE) {
                            self.drain();
                            tokio::task::yield_now().await;
                        }
                    }
                    () = timer.as_mut() => {}
                }
            }
        }
    }

    /// Time has come for something in the node, `late` ago.
    async fn be_due(&mut self, late: Duration, inbox: &mut Receiver<Input>) {
        // What arrived meanwhile counts first: a daemon that had to wait for the processor must not suspect peers
        // whose signs of life it has not looked at.
        if late > LATE {
            for _ in 0..CATCH_UP {
                tokio::task::yield_now().await;
            }
        }
        self.take_waiting(inbox, LATE_SLICE);
        self.node.handle_timeout(self.now());
        // Others get their turn even if this goes on for long.
        tokio::task::consume_budget().await;
    }

    /// Handles what is in the inbox already; true if it stopped because that took so long.
    fn take_waiting(&mut self, inbox: &mut Receiver<Input>, slice: Duration) -> bool {
        let begin = self.now();
        let (mut now, mut brought) = (begin, 0);
        for _ in 0..inbox::CAPACITY {
            let Ok(input) = inbox.try_recv() else { return false };
            brought += input.weight();
            self.handle(input, now);
            if brought >= DRAIN_AFTER {
                brought = 0;
                self.drain();
            }
            now = self.now();
            if now.since(begin) > slice {
                return true;
            }
        }
        true
    }

    fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.start.elapsed()
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.node.poll_timeout().into_iter().chain(self.leaving).min()
    }

    fn handle(&mut self, input: Input, now: Timestamp) {
        match input {
            Input::Link(number, event) => self.handle_link(number, event, now),
            Input::Open(connection, opening) => self.open_session(connection, opening),
            Input::Batch(connection, batch) => self.take_batch(connection, batch),
            Input::Shutdown => self.begin_leaving(now),
        }
    }

    fn handle_link(&mut self, number: LinkNumber, event: LinkEvent, now: Timestamp) {
        if let LinkEvent::Up(link) = event {
            let peer = link.peer;
            if self.links.to(peer.name).is_some_and(|current| current.number > number) {
                link.close(Close::Replaced, "a newer link is up");
                return;
            }
            if let Some(old) = self.links.insert(link) {
                debug!(peer = %old.peer, by = %peer, "link replaced");
                old.close(Close::Replaced, "a newer link took its place");
                self.node.handle_link_down(old.peer, now);
            }
            self.node.handle_link_up(peer, now);
            return;
        }
        // What comes from a link that ended must not reach the node.
        let Some(peer) = self.links.peer(number) else { return };
        match event {
            LinkEvent::Up(_) => {}
            LinkEvent::Frames(frames) => {
                for frame in frames {
                    let result = self.node.handle_frame(peer, frame, now);
                    if !self.note_violation(peer, result) {
                        return;
                    }
                }
            }
            LinkEvent::Datagrams(datagrams) => {
                for datagram in datagrams {
                    let result = self.node.handle_datagram(peer, datagram, now);
                    if !self.note_violation(peer, result) {
                        return;
                    }
                }
            }
            LinkEvent::Down(reason) => {
                debug!(%peer, reason, "link down");
                self.links.remove(peer);
                self.node.handle_link_down(peer, now);
            }
        }
    }

    /// True if there was none.
    fn note_violation(&mut self, peer: DaemonId, result: Result<(), stentor_membership::FrameError>) -> bool {
        let Err(error) = result else { return true };
        self.board.trouble(Some(peer.name), Severity::Lasting, error.to_string());
        self.violation = Some((peer, error.to_string()));
        false
    }

    /// Takes everything out of the node and passes it on.
    fn drain(&mut self) {
        loop {
            self.drain_transmits();
            self.drain_events();
            let (unblocked, slow) = (std::mem::take(&mut self.unblocked), self.sessions.take_slow());
            if unblocked.is_empty() && slow.is_empty() {
                break;
            }
            for session in slow {
                self.cut_slow(session);
            }
            for session in unblocked {
                self.work(session);
            }
        }
        self.links.wake();
        self.sessions.wake();
    }

    fn drain_transmits(&mut self) {
        loop {
            let now = self.now();
            let mut full = None;
            while let Some(transmit) = self.node.poll_transmit(now) {
                if let Err(peer) = self.links.send(transmit) {
                    full = Some(peer);
                    break;
                }
            }
            let Some(peer) = full else { return };
            warn!(%peer, "link closed: too much waits for the peer");
            self.metrics.count(Count::links_cut_full);
            self.links.close(peer, Close::TooSlow, "too much waits for you");
            self.node.handle_link_down(peer, now);
        }
    }

    /// Tells the sessions and stops taking new ones; the daemon leaves when what they sent has reached the others.
    fn begin_leaving(&mut self, now: Timestamp) {
        if self.leaving.is_some() {
            return;
        }
        info!(sessions = self.sessions.len(), "leaving the cluster");
        self.leaving = Some(now + LEAVE_PATIENCE);
        for id in self.sessions.ids() {
            if let Some(session) = self.close_session(id) {
                let text = "the daemon is shutting down: connect to another";
                session.queue.finish(session.speaks.goodbye(GoodbyeCode::ShuttingDown, text));
            }
        }
    }

    /// Whether the daemon is leaving and nothing is left to wait for: then it has left.
    fn is_done(&mut self) -> bool {
        let Some(until) = self.leaving else { return false };
        let now = self.now();
        let unfinished = self.node.has_unfinished_sends();
        if unfinished && now < until {
            return false;
        }
        if unfinished {
            warn!("left before everything that was sent had reached the others");
        }
        self.node.leave_cluster(now);
        self.drain_transmits();
        self.links.wake();
        self.links.finish();
        true
    }
}

/// Sets the timer for a deadline.
fn arm(mut timer: std::pin::Pin<&mut Sleep>, start: Instant, due: Option<Timestamp>) {
    /// Without a deadline the timer is of no interest.
    const NEVER: Duration = Duration::from_secs(86_400);
    let at = match due {
        Some(due) => start + due.since(Timestamp::ZERO),
        None => Instant::now() + NEVER,
    };
    let at = tokio::time::Instant::from_std(at);
    if timer.deadline() != at {
        timer.as_mut().reset(at);
    }
}
