//! Daemons: they crash, come back as new ones, stop for a while, or leave in order.

use crate::chronicle::Moment;
use crate::cluster::{Cluster, Task};
use crate::daemon::Input;

impl Cluster {
    /// A running daemon, `host` if it runs.
    fn some_running(&mut self, host: Option<usize>) -> Option<usize> {
        let running: Vec<usize> = (0..self.hosts.len()).filter(|h| self.hosts[*h].daemon.is_some()).collect();
        host.filter(|host| running.contains(host)).or_else(|| self.faults.dice.pick(&running).copied())
    }

    pub(super) fn crash_some(&mut self, host: Option<usize>) {
        let Some(host) = self.some_running(host) else { return };
        self.crash(host);
        if self.faults.dice.chance(self.faults.options.restart_permille) {
            let span = self.faults.dice.exponential(self.options.node.suspect_after_max);
            self.schedule.after(span, Task::Start { host });
        }
    }

    pub(super) fn restart_some(&mut self) {
        let down: Vec<usize> = (0..self.hosts.len()).filter(|h| self.hosts[*h].daemon.is_none()).collect();
        if let Some(host) = self.faults.dice.pick(&down).copied() {
            self.start(host);
        }
    }

    pub(super) fn pause_some(&mut self, host: Option<usize>) {
        let Some(host) = self.some_running(host) else { return };
        let mean = if self.faults.dice.chance(500) {
            self.options.node.suspect_after_max * 2
        } else {
            self.options.node.suspect_after_min
        };
        let span = self.faults.dice.exponential(mean);
        if let Some(daemon) = self.hosts[host].daemon.as_mut().filter(|daemon| !daemon.paused) {
            daemon.paused = true;
            self.chronicle.note(self.schedule.now(), || Moment::Paused { host, paused: true });
            let process = daemon.number;
            self.schedule.after(span, Task::Resume { process });
        }
    }

    pub(super) fn leave_some(&mut self, host: Option<usize>) {
        let Some(host) = self.some_running(host) else { return };
        let patience = if self.faults.dice.chance(500) { 100 } else { 0 };
        self.give(host, Input::Leave(patience));
        if let Some(daemon) = &mut self.hosts[host].daemon {
            daemon.leaving = true;
        }
        if self.faults.dice.chance(self.faults.options.restart_permille) {
            let span = self.faults.dice.exponential(self.options.node.suspect_after_max);
            self.schedule.after(span, Task::Start { host });
        }
    }
}
