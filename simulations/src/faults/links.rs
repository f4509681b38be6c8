//! Single links: they break, one end gives them up, or nothing comes through for a while.

use crate::cluster::Cluster;
use crate::network::{LinkId, Side};

impl Cluster {
    /// An open link, at `host` if that has any.
    fn some_link(&mut self, host: Option<usize>) -> Option<LinkId> {
        let all = self.network.open_links();
        let at = |link: &LinkId| {
            let hosts = [self.network.host(*link, Side::Dialer), self.network.host(*link, Side::Acceptor)];
            host.is_none_or(|host| hosts.contains(&host))
        };
        let here: Vec<LinkId> = all.iter().copied().filter(at).collect();
        self.faults.dice.pick(if here.is_empty() { &all } else { &here }).copied()
    }

    pub(super) fn break_some_link(&mut self, host: Option<usize>) {
        if let Some(link) = self.some_link(host) {
            let planned = self.network.break_link(link, self.schedule.now());
            self.plan(planned);
        }
    }

    /// One end hears that its link ended, for no reason that the network knows; the other end hears later.
    pub(super) fn drop_some_link(&mut self, host: Option<usize>) {
        let Some(link) = self.some_link(host) else { return };
        let side = if self.faults.dice.chance(500) { Side::Dialer } else { Side::Acceptor };
        self.drop_end(link, side);
    }

    pub(super) fn clog(&mut self, host: Option<usize>) {
        let hosts = self.hosts.len();
        let from = host.unwrap_or_else(|| self.faults.dice.index(hosts));
        let to = self.faults.dice.index(hosts);
        let longest = self.options.node.suspect_after_max;
        let span = self.faults.dice.exponential(longest / 2);
        self.network.clog(from, to, self.schedule.now() + span);
    }
}
