//! When all proposed members have recovered, the view is installed (PROTOCOL V6).

use bytes::Bytes;

use super::Agreement;
use crate::id::{DaemonId, ViewId};
use crate::ordering::{Ending, Ordering};

/// What the node has to do to enter the next view.
#[derive(Debug)]
pub(crate) struct Install {
    pub(crate) id: ViewId,
    pub(crate) members: Vec<DaemonId>,
    /// Ranks of the old view that move along.
    pub(crate) along: Vec<u16>,
    /// How the old view ends.
    pub(crate) ending: Ending,
    /// Frames of the new view that came before it.
    pub(crate) early: Vec<(DaemonId, Bytes)>,
}

impl Agreement {
    /// Prepares the install once every member recovered.
    pub(super) fn check_install(&mut self) {
        let Some(attempt) = &mut self.attempt else { return };
        let Some(plan) = &attempt.plan else { return };
        if attempt.recovered.len() + usize::from(mutant!(InstallUnrecovered)) < attempt.members.len() {
            return;
        }
        let mut members = attempt.members.clone();
        if mutant!(MemberLeftOut) && members.last() != Some(&self.me) {
            members.pop();
        }
        self.install = Some(Install {
            id: attempt.id,
            members,
            along: plan.along.iter().copied().collect(),
            ending: plan.ending.clone(),
            early: std::mem::take(&mut attempt.early_frames),
        });
    }

    /// The view was installed: `ordering` is the new one (PROTOCOL V6.3).
    pub(crate) fn installed(&mut self, ordering: &Ordering) {
        debug_assert!(self.expects(ordering.view()), "installed what was not agreed");
        self.board.install(ordering.members());
        self.attempt = None;
        self.proposal = None;
        self.gathering = false;
        self.excluded.clear();
        self.obliged.clear();
        self.failures = 0;
        self.give_up_at = None;
        self.propose_at = None;
        self.touch();
    }
}
