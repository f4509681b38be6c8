//! Faults at the moments that hurt: just after a view fell, in the middle of a recovery, when some have installed
//! the next view and others have not.

use std::collections::BTreeSet;

use stentor_membership::Phase;

use super::{Fault, FaultKind};
use crate::cluster::{Cluster, Task};
use crate::daemon::Daemon;

/// How far a view change is, at one of the daemons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// It is not: every view stands.
    Standing,
    /// A daemon looks for the members of its next view.
    Gathering,
    /// A daemon accepted a proposal, and has resent nothing yet.
    Accepted,
    /// A daemon resent what others lack.
    Resending,
    /// A daemon installed the view, another of its members did not.
    Installing,
    /// The view is installed, the groups are being exchanged.
    Exchanging,
}

impl Step {
    /// All steps, in the order of a view change.
    pub const ALL: [Self; 6] = [
        Self::Standing,
        Self::Gathering,
        Self::Accepted,
        Self::Resending,
        Self::Installing,
        Self::Exchanging,
    ];
}

/// What can strike at such a moment.
const KINDS: [(FaultKind, u32); 9] = [
    (FaultKind::BreakLink, 4),
    (FaultKind::DropLink, 3),
    (FaultKind::Crash, 3),
    (FaultKind::Pause, 2),
    (FaultKind::Isolate, 1),
    (FaultKind::OneWay, 1),
    (FaultKind::Split, 1),
    (FaultKind::Clog, 2),
    (FaultKind::Heal, 1),
];

impl Daemon {
    /// What of its state makes a moment.
    pub(crate) fn moment(&self) -> (Phase, u64, bool, bool) {
        let (node, stats) = (&self.node, self.node.stats());
        (node.phase(), stats.views, node.knows_groups(), stats.frames_resent > self.resent_before)
    }
}

impl Cluster {
    /// Where the daemons are in the view changes under way.
    pub(super) fn steps(&self) -> BTreeSet<Step> {
        let daemons: Vec<&Daemon> = self.hosts.iter().filter_map(|host| host.daemon.as_deref()).collect();
        let mut steps = BTreeSet::new();
        for daemon in &daemons {
            let step = match daemon.moment() {
                (Phase::Gathering, ..) => Some(Step::Gathering),
                (Phase::Recovering, _, _, false) => Some(Step::Accepted),
                (Phase::Recovering, _, _, true) => Some(Step::Resending),
                (Phase::Operational, _, false, _) => Some(Step::Exchanging),
                (Phase::Operational, _, true, _) => None,
            };
            steps.extend(step);
            let (id, view) = (daemon.id(), daemon.node.view().id);
            let ahead = |other: &&Daemon| {
                let theirs = other.node.view();
                theirs.id > view && theirs.members.contains(&id)
            };
            if step.is_some() && daemons.iter().any(ahead) {
                steps.insert(Step::Installing);
            }
        }
        if steps.is_empty() {
            steps.insert(Step::Standing);
        }
        steps
    }

    /// A daemon went to another phase or installed a view: perhaps a fault follows at once, there or elsewhere.
    pub(crate) fn observe_change(&mut self, host: usize) {
        // Resends are rare and over soon: most of them get their fault.
        let resending = self.hosts[host].daemon.as_ref().is_some_and(|daemon| daemon.moment().3);
        let permille = self.faults.options.moment_permille * if resending { 6 } else { 1 };
        if self.faults.over || permille == 0 || !self.faults.dice.chance(permille) {
            return;
        }
        let dice = &mut self.faults.dice;
        let Some(kind) = dice.weighted(&KINDS) else { return };
        let target = if dice.chance(500) { host } else { dice.index(self.hosts.len()) };
        let mean = match dice.index(3) {
            0 => self.options.network.latency / 4,
            1 => self.options.network.latency * 2,
            _ => self.options.node.heartbeat / 2,
        };
        let span = dice.exponential(mean);
        self.schedule.after(span, Task::Strike(Fault { kind, host: Some(target) }));
    }
}
