//! Whether my view stands, and who could be in the next one (PROTOCOL V2, V3).

use super::{Agreement, GATHER_DELAY, MERGE_DELAY, MERGE_DELAY_MAX, PROPOSER_PATIENCE, contains, leads_to};
use crate::id::{DaemonId, ViewId};
use crate::ordering::Ordering;
use crate::time::Timestamp;
use crate::wire::Status;

impl Agreement {
    /// A peer told its status.
    pub(crate) fn handle_status(&mut self, peer: DaemonId, status: Status) {
        self.see_epoch(status.epoch);
        if let Some(attempt) = &mut self.attempt
            && attempt.is_left_by(peer, &status)
        {
            self.abandon();
        }
        self.statuses.insert(peer, status);
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
            self.failures = 0;
            self.give_up_at = None;
            self.untold = true;
        }
        self.arm(ordering, now);
    }

    /// Whether my view stands (PROTOCOL V2.2).
    pub(super) fn stands(&self, ordering: &Ordering) -> bool {
        let on_board = |member: &DaemonId| {
            self.statuses.get(member).is_none_or(|status| {
                (status.view == ordering.view() && !status.gathering)
                    || status.attempt == Some(ordering.view())
            })
        };
        !ordering.has_lost_links()
            && ordering.members().iter().all(on_board)
            && self.all_linked(ordering.members())
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
        let candidate = self.find_candidate(ordering);
        let before = std::mem::replace(&mut self.candidate, candidate);
        let proposer = self.candidate[0];
        let merge = !self.gathering && self.candidate[..] != ordering.members()[..];
        if proposer == self.me && (self.gathering || merge) {
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
            let latest = self.merge_since.unwrap_or(now) + MERGE_DELAY_MAX;
            return (now + MERGE_DELAY).min(latest);
        }
        let complete = self.links.iter().all(|&peer| contains(&self.candidate, peer));
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
    fn find_candidate(&self, ordering: &Ordering) -> Vec<DaemonId> {
        let mut chosen = if self.gathering { vec![self.me] } else { ordering.members().to_vec() };
        // Standing views that cannot come along: neither can they later, when more are chosen. And broken ones.
        let (mut refused, mut broken) = (Vec::new(), Vec::new());
        for &peer in &self.links {
            let Some(status) = self.statuses.get(&peer) else { continue };
            if contains(&chosen, peer) || self.excluded.contains(&peer) {
                continue;
            }
            let mut single = status.gathering || broken.contains(&status.view);
            if !single && refused.contains(&status.view) {
                continue;
            }
            if !single && self.is_broken(&status.members) {
                broken.push(status.view);
                single = true;
            }
            let newcomers = if single { std::slice::from_ref(&peer) } else { &status.members[..] };
            let mut with = [&chosen, newcomers].concat();
            with.sort_unstable();
            with.dedup();
            // Those that were chosen before are linked with one another.
            let reachable = newcomers.iter().all(|daemon| *daemon == self.me || self.links.contains(daemon));
            let linked = |&a: &DaemonId| newcomers.iter().all(|&b| self.says_linked(a, b));
            if reachable && newcomers.iter().all(|a| self.reaches(*a, &with)) && chosen.iter().all(linked) {
                chosen = with;
            } else if !single {
                refused.push(status.view);
            }
        }
        chosen
    }

    /// Whether all pairs of `daemons`, which are sorted, are linked, as both ends of each say.
    fn all_linked(&self, daemons: &[DaemonId]) -> bool {
        daemons.iter().all(|&daemon| self.reaches(daemon, daemons))
    }

    /// Whether a view is known not to stand: one of its members says that it is not linked to another. Of members that
    /// I am not linked to nothing is known. As long as theirs say nothing else, their view stands, and they refuse to
    /// leave it.
    fn is_broken(&self, members: &[DaemonId]) -> bool {
        let known = |member: &&DaemonId| **member == self.me || self.statuses.contains_key(*member);
        members.iter().filter(known).any(|&member| !self.reaches(member, members))
    }

    /// Whether `daemon` says that it is linked to all of `others`, which are sorted.
    fn reaches(&self, daemon: DaemonId, others: &[DaemonId]) -> bool {
        if daemon == self.me {
            return others.iter().all(|other| *other == daemon || self.links.contains(other));
        }
        // Both are sorted: one walk over both.
        let mut linked = self.statuses.get(&daemon).map_or(&[][..], |status| &status.linked).iter();
        others.iter().all(|other| {
            *other == daemon || linked.find(|linked| *linked >= other).is_some_and(|linked| linked == other)
        })
    }

    fn says_linked(&self, a: DaemonId, b: DaemonId) -> bool {
        self.reaches(a, &[b])
    }

    /// Whether `view` is on its way to be installed here.
    pub(crate) fn expects(&self, view: ViewId) -> bool {
        leads_to(self.attempt.as_ref(), view)
    }
}
