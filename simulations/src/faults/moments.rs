//! Faults at the moments that hurt: just after a view fell, in the middle of a recovery, when some have installed
//! the next view and others have not.

use super::{Fault, FaultKind};
use crate::cluster::{Cluster, Task};

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

impl Cluster {
    /// A daemon went to another phase or installed a view: perhaps a fault follows at once, there or elsewhere.
    pub(crate) fn observe_change(&mut self, host: usize) {
        let permille = self.faults.options.moment_permille;
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
