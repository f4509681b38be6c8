//! Whether my view stands, and who could be in the next one (PROTOCOL V2, V3).

use super::board::{ME, Reach, Set};
use super::{Agreement, GATHER_DELAY, MERGE_DELAY, MERGE_DELAY_MAX, PROPOSER_PATIENCE, contains, leads_to};
use crate::id::{DaemonId, ViewId};
use crate::ordering::Ordering;
use crate::time::Timestamp;
use crate::wire::Status;

impl Agreement {
    /// A peer told its status.
    pub(crate) fn handle_status(&mut self, peer: DaemonId, status: Status) {
        self.see_epoch(status.epoch);
        if self.board.status(peer).is_some_and(|before| before.linked != status.linked) {
            self.hope();
        }
        if let Some(attempt) = &mut self.attempt
            && attempt.is_left_by(peer, &status)
        {
            self.abandon();
        }
        self.board.tell(peer, status);
        self.changed = true;
    }

    /// Takes in what changed: does my view still stand, what would I propose, when.
    pub(crate) fn update(&mut self, ordering: &Ordering, now: Timestamp) {
        if !self.changed {
            return;
        }
        self.changed = false;
        if !self.gathering && !self.stands(ordering) {
            // PROTOCOL V3.1: the node makes no data frames while this is set.
            self.gathering = true;
            self.excluded.clear();
            self.give_up_at = None;
            self.untold = true;
        }
        self.arm(ordering, now);
    }

    /// Whether my view stands (PROTOCOL V2.2).
    pub(super) fn stands(&self, ordering: &Ordering) -> bool {
        let on_board = |member: &DaemonId| {
            self.board.status(*member).is_none_or(|status| {
                (status.view == ordering.view() && !status.gathering)
                    || status.attempt == Some(ordering.view())
            })
        };
        !ordering.has_lost_links()
            && ordering.members().iter().all(on_board)
            && self.board.reach().all_linked(self.board.my_view())
    }

    /// Sets the timers for the phase that I am in.
    fn arm(&mut self, ordering: &Ordering, now: Timestamp) {
        if self.attempt.is_some() {
            self.propose_at = None;
            if self.give_up_at.is_none() {
                self.give_up_at = Some(now + self.patience(super::ATTEMPT_PATIENCE));
            }
            return;
        }
        let candidate = self.find_candidate();
        let before = std::mem::replace(&mut self.candidate, candidate);
        let proposer = self.candidate[0];
        let merge = !self.gathering && self.candidate[..] != ordering.members()[..] && !mutant!(NoMerge);
        let mute = mutant!(NoSecondProposal) && self.failures > 0;
        if proposer == self.me && (self.gathering || merge) && !mute {
            self.give_up_at = None;
            if self.propose_at.is_none() || (self.candidate != before && merge) {
                self.propose_at = Some(self.proposal_time(now));
            }
        } else {
            self.propose_at = None;
            if self.gathering && self.give_up_at.is_none() {
                self.give_up_at = Some(now + self.patience(PROPOSER_PATIENCE));
            }
        }
        self.merge_since = if merge { self.merge_since.or(Some(now)) } else { None };
        if !self.gathering {
            self.give_up_at = None;
        }
    }

    /// When to propose the candidate: at once if nobody is missing, else when more may have come.
    fn proposal_time(&mut self, now: Timestamp) -> Timestamp {
        if !self.gathering {
            return (now + MERGE_DELAY).min(self.merge_since.unwrap_or(now) + MERGE_DELAY_MAX);
        }
        let complete = self.board.links().all(|peer| contains(&self.candidate, peer));
        if complete && self.failures == 0 { now } else { now + self.patience(GATHER_DELAY) }
    }

    /// Waited in vain: for an attempt, or for the proposer of my candidate (PROTOCOL V3.5).
    pub(super) fn give_up(&mut self) {
        if self.attempt.is_some() {
            self.abandon();
        } else if self.gathering {
            let proposer = self.candidate[0];
            if proposer == self.me {
                self.excluded.clear();
            } else {
                self.excluded.insert(proposer);
            }
            self.changed = true;
        }
    }

    /// The view that I would propose: whole standing views and single gathering daemons, all linked with one another
    /// (PROTOCOL V3.4).
    fn find_candidate(&self) -> Vec<DaemonId> {
        let reach = self.board.reach();
        let mut chosen = if self.gathering { Set::of(ME) } else { self.board.my_view().clone() };
        // Whom all that are chosen reach.
        let mut reached = reach.reached_by_all(&chosen);
        for peer in self.board.candidates() {
            if chosen.contains(peer.number) || self.excluded.contains(&peer.id) {
                continue;
            }
            let single = peer.status.gathering || is_broken(&reach, peer.members) || mutant!(ViewsTorn);
            let newcomers = if single { &Set::of(peer.number) } else { peer.members };
            let with = chosen.with(newcomers);
            if newcomers.is_within(&reached) && newcomers.numbers().all(|daemon| reach.reaches(daemon, &with))
            {
                reached = reached.and(&reach.reached_by_all(newcomers));
                chosen = with;
            }
        }
        self.board.ids(&chosen)
    }

    /// Whether `view` is on its way to be installed here.
    pub(crate) fn expects(&self, view: ViewId) -> bool {
        leads_to(self.attempt.as_ref(), view)
    }
}

/// Whether a view is known not to stand: one of its members says that it is not linked to another. Of members that I am
/// not linked to nothing is known. As long as theirs say nothing else, their view stands, and they refuse to leave it.
fn is_broken(reach: &Reach<'_>, members: &Set) -> bool {
    members.numbers().any(|member| reach.knows(member) && !reach.reaches(member, members))
}
