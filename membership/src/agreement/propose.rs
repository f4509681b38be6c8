//! One daemon proposes a view, the others accept or refuse (PROTOCOL V4).

use std::collections::BTreeMap;

use super::recover::Attempt;
use super::{Agreement, contains};
use crate::error::FrameError;
use crate::id::{DaemonId, ViewId};
use crate::ordering::Ordering;
use crate::wire::{Header, State};

/// A proposal of mine that not all have answered.
#[derive(Debug)]
pub(super) struct Proposal {
    id: ViewId,
    members: Vec<DaemonId>,
    answers: BTreeMap<DaemonId, State>,
}

impl Proposal {
    pub(super) fn id(&self) -> ViewId {
        self.id
    }
}

impl Agreement {
    /// Proposes my candidate (PROTOCOL V4.1).
    pub(super) fn propose(&mut self, ordering: &mut Ordering) {
        let members = self.candidate.clone();
        let epoch = self.seen + u64::from(!mutant!(EpochReused) || self.failures == 0);
        let id = ViewId { epoch, proposer: self.me };
        self.proposal = Some(Proposal { id, members: members.clone(), answers: BTreeMap::new() });
        for &member in &members {
            self.send(member, &Header::Propose { id, members: members.clone() });
        }
        let state = self.accept(id, members, ordering);
        if self.answer(self.me, state, ordering).is_err() {
            self.abandon();
        }
    }

    /// A peer proposed a view: accept or refuse (PROTOCOL V4.2).
    pub(crate) fn handle_propose(
        &mut self,
        peer: DaemonId,
        id: ViewId,
        members: Vec<DaemonId>,
        ordering: &mut Ordering,
    ) -> Result<(), FrameError> {
        if id.proposer != peer {
            return Err(FrameError::Violation("a proposal in the name of another"));
        }
        if !contains(&members, self.me) {
            return Err(FrameError::Violation("a proposal to a daemon that is not in it"));
        }
        let reachable = members.iter().all(|member| *member == self.me || self.board.has_link(*member));
        let old = id.epoch < self.promised + u64::from(!mutant!(EpochReused)) && !mutant!(OldEpochAccepted);
        let torn = !mutant!(ViewsTorn)
            && !self.gathering
            && self.stands(ordering)
            && !ordering.members().iter().all(|&member| contains(&members, member));
        self.see_epoch(id.epoch);
        if old || id.epoch > self.seen || !reachable || torn {
            self.send(peer, &Header::Refuse { id, epoch: self.seen });
            return Ok(());
        }
        let state = self.accept(id, members, ordering);
        self.send(peer, &Header::Accept { id, state });
        Ok(())
    }

    /// A proposed member does not go along.
    pub(crate) fn handle_refuse(&mut self, id: ViewId, epoch: u64) {
        self.see_epoch(epoch);
        if self.proposal.as_ref().is_some_and(|proposal| proposal.id == id) {
            self.abandon();
        }
    }

    /// A proposed member goes along.
    pub(crate) fn handle_accept(
        &mut self,
        peer: DaemonId,
        id: ViewId,
        state: State,
        ordering: &mut Ordering,
    ) -> Result<(), FrameError> {
        let Some(proposal) = self.proposal.as_ref().filter(|proposal| proposal.id == id) else {
            return Ok(());
        };
        if !contains(&proposal.members, peer) {
            return Err(FrameError::Violation("an answer to a proposal that did not ask"));
        }
        let fits = state.heard.len() == ordering.members().len() && ordering.rank_of(peer).is_some();
        if state.view == ordering.view() && !fits {
            return Err(FrameError::Violation("a state of a view that its sender is not in"));
        }
        self.answer(peer, state, ordering)
    }

    /// Collects an answer; with the last one, all answers go to all (PROTOCOL V4.4).
    fn answer(&mut self, peer: DaemonId, state: State, ordering: &mut Ordering) -> Result<(), FrameError> {
        let Some(proposal) = &mut self.proposal else { return Ok(()) };
        proposal.answers.insert(peer, state);
        if proposal.answers.len() < proposal.members.len() {
            return Ok(());
        }
        let Some(Proposal { id, members, answers }) = self.proposal.take() else { return Ok(()) };
        let states: Vec<_> = answers.into_values().collect();
        for &member in &members {
            self.send(member, &Header::Recover { id, states: states.clone() });
        }
        if let Some(attempt) = &mut self.attempt {
            attempt.set_states(states);
        }
        self.level(ordering)
    }

    /// Promises the epoch, drops any other attempt and freezes the view for good (PROTOCOL V4.3).
    fn accept(&mut self, id: ViewId, members: Vec<DaemonId>, ordering: &mut Ordering) -> State {
        if self.attempt.take().is_some() {
            self.failed_attempts += 1;
        }
        if self.proposal.as_ref().is_some_and(|proposal| proposal.id != id) {
            self.proposal = None;
        }
        self.see_epoch(id.epoch);
        self.promised = id.epoch;
        self.gathering = true;
        ordering.freeze();
        self.attempt = Some(Attempt::new(id, members));
        self.give_up_at = None;
        self.touch();
        State {
            view: ordering.view(),
            heard: ordering.clocks().heard().to_vec(),
            stable: ordering.clocks().stable(),
            obliged: self.obliged.iter().copied().collect(),
        }
    }
}
