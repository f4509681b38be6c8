//! Agreeing on the next view: gather, propose, recover, install (PROTOCOL V).
//!
//! One file for each phase. Everything here works on statuses, proposals and states; what a view holds is asked of its
//! [`Ordering`]. When all is agreed, [`Agreement::take_install`] tells the node what to do.

mod board;
mod gather;
mod install;
mod propose;
mod recover;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};

use self::board::Board;
pub(crate) use self::install::Install;
use self::propose::Proposal;
use self::recover::Attempt;
use crate::id::{DaemonId, ViewId};
use crate::ordering::Ordering;
use crate::time::Timestamp;
use crate::wire::{Header, Status};

/// How long a merge waits for more newcomers, since the last change and in all.
const MERGE_DELAY: Duration = Duration::from_millis(50);
const MERGE_DELAY_MAX: Duration = Duration::from_millis(500);
/// How long a gathering proposer waits for links and statuses that are on their way.
const GATHER_DELAY: Duration = Duration::from_millis(10);
/// How long a gathering daemon waits for its proposer before it goes on without.
const PROPOSER_PATIENCE: Duration = Duration::from_millis(300);
/// How long an attempt may go without progress.
const ATTEMPT_PATIENCE: Duration = Duration::from_secs(1);
/// No honest daemon knows of so many more views than another.
const EPOCH_STEP: u64 = 1 << 32;
/// Patience doubles with each failure up to about this. Rivals that do not hear each other may want the same others: in
/// the end they must leave one another the time that an attempt takes, however slow the links are.
const PATIENCE_MAX: Duration = Duration::from_secs(8);

/// The part of a daemon that decides on its next view.
#[derive(Debug)]
pub(crate) struct Agreement {
    me: DaemonId,
    rng: ChaCha12Rng,
    board: Board,
    /// The highest epoch heard of: my next proposal is above it.
    seen: u64,
    /// The epoch of my last accepted proposal: no other at or below it is accepted.
    promised: u64,
    gathering: bool,
    /// Proposers that I gave up on in this gathering.
    excluded: BTreeSet<DaemonId>,
    /// What I proposed and wait for answers to.
    proposal: Option<Proposal>,
    /// What I accepted.
    attempt: Option<Attempt>,
    /// Ranks of my view whose messages I must not discard (PROTOCOL V5.4).
    obliged: BTreeSet<u16>,
    /// My status changed and was not told yet.
    untold: bool,
    /// Something changed that the candidate or the timers depend on.
    changed: bool,
    candidate: Vec<DaemonId>,
    propose_at: Option<Timestamp>,
    give_up_at: Option<Timestamp>,
    merge_since: Option<Timestamp>,
    /// Failures since my view was installed, or a link changed: mine, or one that a peer told of.
    failures: u32,
    failed_attempts: u64,
    /// The most bytes kept for the view to come.
    early_limit: usize,
    out: Vec<(DaemonId, Bytes)>,
    install: Option<Install>,
}

impl Agreement {
    pub(crate) fn new(me: DaemonId, seed: u64, early_limit: usize) -> Self {
        Self {
            me,
            rng: ChaCha12Rng::seed_from_u64(seed),
            board: Board::new(me),
            seen: 0,
            promised: 0,
            gathering: false,
            excluded: BTreeSet::new(),
            proposal: None,
            attempt: None,
            obliged: BTreeSet::new(),
            untold: true,
            changed: true,
            candidate: vec![me],
            propose_at: None,
            give_up_at: None,
            merge_since: None,
            failures: 0,
            failed_attempts: 0,
            early_limit,
            out: Vec::new(),
            install: None,
        }
    }

    /// My links, and what peers told of theirs.
    pub(crate) fn board(&self) -> &Board {
        &self.board
    }

    pub(crate) fn is_gathering(&self) -> bool {
        self.gathering
    }

    pub(crate) fn is_recovering(&self) -> bool {
        self.attempt.is_some()
    }

    pub(crate) fn failed_attempts(&self) -> u64 {
        self.failed_attempts
    }

    /// Frames for peers, in order.
    pub(crate) fn take_out(&mut self) -> Vec<(DaemonId, Bytes)> {
        std::mem::take(&mut self.out)
    }

    /// The next view, when all its members are ready for it.
    pub(crate) fn take_install(&mut self) -> Option<Install> {
        self.install.take()
    }

    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        [self.propose_at, self.give_up_at].into_iter().flatten().min()
    }

    pub(crate) fn handle_link_up(&mut self, peer: DaemonId) {
        self.board.link_up(peer);
        self.hope();
        self.touch();
    }

    /// The caller tells the ordering, too.
    pub(crate) fn handle_link_down(&mut self, peer: DaemonId) {
        if !self.board.link_down(peer) {
            return;
        }
        self.out.retain(|(to, _)| *to != peer);
        self.hope();
        self.touch();
        if self.attempt.as_ref().is_some_and(|attempt| attempt.has_member(peer)) {
            self.abandon();
        }
    }

    /// The status to tell all linked peers, if it changed since the last call.
    pub(crate) fn take_status(&mut self, ordering: &Ordering) -> Option<Bytes> {
        if !std::mem::take(&mut self.untold) || self.board.links().next().is_none() {
            return None;
        }
        let mut linked: Vec<_> = self.board.links().chain([self.me]).collect();
        linked.sort_unstable();
        let status = Status {
            linked,
            view: ordering.view(),
            members: ordering.members().to_vec(),
            gathering: self.gathering,
            attempt: self.attempt.as_ref().map(Attempt::id),
            epoch: self.seen,
        };
        Some(Header::Status(status).encode())
    }

    pub(crate) fn handle_timeout(&mut self, ordering: &mut Ordering, now: Timestamp) {
        self.update(ordering, now);
        if self.propose_at.is_some_and(|at| now >= at) {
            self.propose_at = None;
            self.changed = true;
            self.propose(ordering);
        } else if self.give_up_at.is_some_and(|at| now >= at) {
            self.give_up_at = None;
            self.give_up();
        }
        self.update(ordering, now);
    }

    /// Panics if the state contradicts itself.
    pub(crate) fn check_invariants(&self, ordering: &Ordering) {
        if self.attempt.is_some() {
            assert!(self.gathering && ordering.is_frozen(), "an attempt without a frozen view");
        }
        if let Some(proposal) = &self.proposal {
            assert!(
                self.attempt.as_ref().is_some_and(|attempt| attempt.id() == proposal.id()),
                "a proposal that its proposer does not take part in"
            );
        }
        assert!(!ordering.is_frozen() || self.gathering, "a frozen view in operation");
    }

    /// What failed on other links may succeed now.
    fn hope(&mut self) {
        if self.failures > 0 {
            self.failures = 0;
            self.propose_at = None;
        }
    }

    /// My status is to be told, and what depends on it to be computed again.
    fn touch(&mut self) {
        self.untold = true;
        self.changed = true;
    }

    /// One lie must not use up all epochs: what is far beyond the rest counts in part (PROTOCOL V4.2).
    fn see_epoch(&mut self, epoch: u64) {
        self.seen = self.seen.max(epoch.min(self.seen.saturating_add(EPOCH_STEP)));
    }

    /// Queues a frame for a linked peer; for anybody else, me among them, it is nothing.
    fn send(&mut self, peer: DaemonId, header: &Header) {
        if self.board.has_link(peer) {
            self.out.push((peer, header.encode()));
        }
    }

    /// Gives the attempt up. The view stays frozen, with what was recovered and the obligations (PROTOCOL V7.1).
    fn abandon(&mut self) {
        if mutant!(ObligationForgotten) {
            self.obliged.clear();
        }
        self.attempt = None;
        self.proposal = None;
        self.install = None;
        self.excluded.clear();
        self.gathering = true;
        self.failures += 1;
        self.failed_attempts += 1;
        self.give_up_at = None;
        self.propose_at = None;
        self.touch();
    }

    /// A random time between one and two times `base`, doubled with each failure.
    fn patience(&mut self, base: Duration) -> Duration {
        let doubled = 1u32.checked_shl(self.failures).and_then(|times| base.checked_mul(times));
        let base = doubled.unwrap_or(PATIENCE_MAX).min(PATIENCE_MAX);
        base + base.mul_f64(self.rng.random::<f64>())
    }
}

/// Whether `ids`, which is sorted, contains `id`.
fn contains(ids: &[DaemonId], id: DaemonId) -> bool {
    ids.binary_search(&id).is_ok()
}

/// Whether `view` is the one that `attempt` would install.
fn leads_to(attempt: Option<&Attempt>, view: ViewId) -> bool {
    attempt.is_some_and(|attempt| attempt.id() == view)
}
