//! The members of an old view level what they hold of it (PROTOCOL V5).

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};

use super::{Agreement, contains};
use crate::error::FrameError;
use crate::id::{DaemonId, ViewId};
use crate::ordering::{Ending, Ordering};
use crate::wire::{Header, State, Status};

/// What a frame that came early costs beside its bytes.
const EARLY_OVERHEAD: usize = 128;

/// A proposal that I accepted, until its install or its failure.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) id: ViewId,
    pub(super) members: Vec<DaemonId>,
    /// All answers, not looked at yet.
    states: Option<Vec<State>>,
    /// What follows from the answers.
    pub(super) plan: Option<Plan>,
    pub(super) recovered: BTreeSet<DaemonId>,
    /// Members that said that they are in this attempt.
    confirmed: BTreeSet<DaemonId>,
    /// Resends that overtook the answers (PROTOCOL V5.3).
    early_resends: Vec<(Header, Bytes)>,
    /// Frames of the view to come, from members that installed it before me.
    pub(super) early_frames: Vec<(DaemonId, Bytes)>,
    early_bytes: usize,
}

/// What the answers of the members of my old view say.
#[derive(Debug)]
pub(super) struct Plan {
    /// Ranks of my old view that move along.
    pub(super) along: BTreeSet<u16>,
    pub(super) ending: Ending,
}

impl Attempt {
    pub(super) fn new(id: ViewId, members: Vec<DaemonId>) -> Self {
        Self {
            id,
            members,
            states: None,
            plan: None,
            recovered: BTreeSet::new(),
            confirmed: BTreeSet::new(),
            early_resends: Vec::new(),
            early_frames: Vec::new(),
            early_bytes: 0,
        }
    }

    pub(super) fn id(&self) -> ViewId {
        self.id
    }

    pub(super) fn has_member(&self, daemon: DaemonId) -> bool {
        contains(&self.members, daemon)
    }

    pub(super) fn set_states(&mut self, states: Vec<State>) {
        self.states = Some(states);
    }

    /// Whether a member's status shows that it gave this attempt up (PROTOCOL V7.2).
    pub(super) fn is_left_by(&mut self, peer: DaemonId, status: &Status) -> bool {
        if status.attempt == Some(self.id) {
            self.confirmed.insert(peer);
        }
        self.confirmed.contains(&peer) && status.attempt != Some(self.id) && status.view != self.id
    }
}

impl Agreement {
    /// The proposer sent all answers.
    pub(crate) fn handle_recover(
        &mut self,
        peer: DaemonId,
        id: ViewId,
        states: Vec<State>,
        ordering: &mut Ordering,
    ) -> Result<(), FrameError> {
        let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.id == id) else { return Ok(()) };
        if peer != id.proposer || states.len() != attempt.members.len() || attempt.plan.is_some() {
            return Err(FrameError::Violation(
                "answers that are not the proposer's, not all, or not the first",
            ));
        }
        attempt.set_states(states);
        self.level(ordering)
    }

    /// Works on the answers, once they are here: resends what others lack.
    pub(crate) fn level(&mut self, ordering: &mut Ordering) -> Result<(), FrameError> {
        let Some(attempt) = &mut self.attempt else { return Ok(()) };
        let Some(states) = attempt.states.take() else { return Ok(()) };
        let mut along = BTreeMap::new();
        for (&member, state) in attempt.members.iter().zip(&states) {
            if state.view != ordering.view() {
                continue;
            }
            // Who answers for my view and was not in it does not move along. The proposer is not to blame: it may come
            // from another view, and not know who was in mine.
            if let Some(rank) =
                ordering.rank_of(member).filter(|_| state.heard.len() == ordering.members().len())
            {
                along.insert(rank, state);
            }
        }
        let mine = ordering.rank_of(self.me).and_then(|rank| along.get(&rank).copied());
        if mine.is_none_or(|mine| mine.heard != ordering.clocks().heard() && !mutant!(DataAfterFreeze)) {
            return Err(FrameError::Violation("answers that are not what this daemon answered"));
        }
        let mut plan = Plan::new(&along, ordering.members().len());
        if mutant!(OwnDiscarded) {
            plan.ending.obliged.retain(|rank| ordering.member(*rank) != self.me);
        }
        let (id, out) = (attempt.id, resends(attempt.id, &along, &plan.ending, ordering, self.me));
        attempt.plan = Some(plan);
        self.out.extend(out);
        let early = std::mem::take(&mut attempt.early_resends);
        for (header, frame) in early {
            self.handle_resend(id, header, frame, ordering)?;
        }
        self.check_recovered(ordering);
        Ok(())
    }

    /// A resend, or the end of the resends of a sender.
    pub(crate) fn handle_resend(
        &mut self,
        id: ViewId,
        header: Header,
        frame: Bytes,
        ordering: &mut Ordering,
    ) -> Result<(), FrameError> {
        let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.id == id) else { return Ok(()) };
        let Some(plan) = &attempt.plan else {
            attempt.early_bytes += frame.len() + EARLY_OVERHEAD;
            attempt.early_resends.push((header, frame));
            self.check_early();
            return Ok(());
        };
        let finals = &plan.ending.finals;
        match header {
            Header::Resend { rank, after, .. } => ordering.insert_resent(rank, after, frame, finals)?,
            Header::ResendEnd { rank, after, clock, .. } => {
                ordering.end_resends(rank, after, clock, finals)?;
            }
            _ => return Err(FrameError::Violation("not a resend")),
        }
        self.give_up_at = None;
        self.changed = true;
        self.check_recovered(ordering);
        Ok(())
    }

    /// A member holds all that its old view needs.
    pub(crate) fn handle_recovered(&mut self, peer: DaemonId, id: ViewId) -> Result<(), FrameError> {
        let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.id == id) else { return Ok(()) };
        if !attempt.has_member(peer) {
            return Err(FrameError::Violation("recovered for a proposal that it is not in"));
        }
        attempt.recovered.insert(peer);
        self.check_install();
        Ok(())
    }

    /// Keeps a frame of the view that is on its way.
    pub(crate) fn keep_early(&mut self, peer: DaemonId, frame: Bytes) {
        if let Some(attempt) = &mut self.attempt
            && !mutant!(EarlyFramesDropped)
        {
            attempt.early_bytes += frame.len() + EARLY_OVERHEAD;
            attempt.early_frames.push((peer, frame));
            self.check_early();
        }
    }

    /// An attempt that others overfill is given up.
    fn check_early(&mut self) {
        let limit = self.early_limit;
        if self.attempt.as_ref().is_some_and(|a| a.early_bytes > limit.saturating_mul(a.members.len())) {
            self.abandon();
        }
    }

    /// With all up to `finals` here, takes on the obligation and says so (PROTOCOL V5.4).
    fn check_recovered(&mut self, ordering: &Ordering) {
        let Some(attempt) = &mut self.attempt else { return };
        let Some(plan) = &attempt.plan else { return };
        let complete =
            ordering.clocks().heard().iter().zip(&plan.ending.finals).all(|(heard, end)| heard >= end);
        if !(complete || mutant!(RecoveredUnchecked)) || !attempt.recovered.insert(self.me) {
            return;
        }
        if !mutant!(ObligationSkipped) {
            self.obliged.extend(&plan.ending.obliged);
        }
        let (id, members) = (attempt.id, attempt.members.clone());
        for member in members {
            self.send(member, &Header::Recovered { id });
        }
        self.check_install();
    }
}

impl Plan {
    /// The same at all members of the old view that move along, since they see the same answers (PROTOCOL V5.1).
    fn new(along: &BTreeMap<u16, &State>, members: usize) -> Self {
        let finals: Vec<u64> = (0..members)
            .map(|rank| along.values().map(|state| state.heard[rank]).max().unwrap_or_default())
            .collect();
        let horizon = finals.iter().copied().min().unwrap_or_default();
        let stable = along.values().map(|state| state.stable).max().unwrap_or_default();
        let along_ranks: BTreeSet<u16> = along.keys().copied().collect();
        let mut obliged = along_ranks.clone();
        if !mutant!(OthersObligationsIgnored) {
            obliged.extend(along.values().flat_map(|state| &state.obliged));
        }
        Self { along: along_ranks, ending: Ending { finals, horizon, stable, obliged } }
    }
}

/// What I have to resend: for each sender, the lowest holder of the longest prefix serves the others (PROTOCOL V5.2).
fn resends(
    id: ViewId,
    along: &BTreeMap<u16, &State>,
    ending: &Ending,
    ordering: &Ordering,
    me: DaemonId,
) -> Vec<(DaemonId, Bytes)> {
    let mut out = Vec::new();
    for (rank, &end) in (0u16..).zip(&ending.finals) {
        let index = usize::from(rank);
        let holder = along.iter().find(|(_, state)| state.heard[index] == end);
        if holder.is_none_or(|(&holder, _)| ordering.member(holder) != me) {
            continue;
        }
        for (&lacking, state) in along {
            let mut after = state.heard[index];
            if after >= end {
                continue;
            }
            let to = ordering.member(lacking);
            for (clock, frame) in ordering.frames_between(rank, after, end) {
                if mutant!(ResendLost) && clock == end {
                    continue;
                }
                let mut bytes = BytesMut::with_capacity(frame.len() + 64);
                Header::Resend { id, rank, after }.encode_into(&mut bytes);
                bytes.put_slice(frame);
                out.push((to, bytes.freeze()));
                after = clock;
            }
            out.push((to, Header::ResendEnd { id, rank, after, clock: end }.encode()));
        }
    }
    out
}
