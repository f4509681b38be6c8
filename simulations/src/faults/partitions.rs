//! Partitions: whole, one-way, and such that not everybody reaches whom its peers reach.

use crate::cluster::Cluster;
use crate::network::Side;

impl Cluster {
    /// The daemons fall into two parts. If it stalls, links hold what is sent and may survive; else they break.
    pub(super) fn split(&mut self, stall: bool) {
        let side: Vec<bool> = self.hosts.iter().map(|_| self.faults.dice.chance(500)).collect();
        for a in 0..side.len() {
            for b in 0..a {
                if side[a] != side[b] {
                    self.part(a, b, stall);
                }
            }
        }
    }

    pub(super) fn isolate(&mut self, host: Option<usize>) {
        let count = self.hosts.len();
        let host = host.unwrap_or_else(|| self.faults.dice.index(count));
        let stall = self.faults.dice.chance(500);
        for other in (0..count).filter(|other| *other != host) {
            self.part(host, other, stall);
        }
    }

    /// One direction stalls: what flows the other way arrives.
    pub(super) fn one_way(&mut self, host: Option<usize>) {
        let count = self.hosts.len();
        let from = host.unwrap_or_else(|| self.faults.dice.index(count));
        let to = self.faults.dice.index(count);
        if from != to {
            self.network.block(from, to);
        }
    }

    /// Some pairs lose each other for good, whomever else they reach.
    pub(super) fn non_transitive(&mut self) {
        let count = self.hosts.len();
        for a in 0..count {
            for b in 0..a {
                if self.faults.dice.chance(300) {
                    let stall = self.faults.dice.chance(300);
                    self.part(a, b, stall);
                }
            }
        }
    }

    fn part(&mut self, a: usize, b: usize, stall: bool) {
        if stall {
            self.network.block(a, b);
            self.network.block(b, a);
            return;
        }
        self.network.forbid(a, b);
        for link in self.network.open_links() {
            let hosts = [self.network.host(link, Side::Dialer), self.network.host(link, Side::Acceptor)];
            if hosts.contains(&a) && hosts.contains(&b) {
                let planned = self.network.break_link(link, self.schedule.now());
                self.plan(planned);
            }
        }
    }

    /// Everybody reaches everybody again.
    pub(crate) fn heal(&mut self) {
        let planned = self.network.heal(self.schedule.now());
        self.plan(planned);
    }
}
