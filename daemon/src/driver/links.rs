//! The links that are up, by peer and by number.

use std::collections::BTreeMap;

use stentor_membership::{Channel, DaemonId, DaemonName, Transmit};

use crate::metrics::{Count, Metrics};
use crate::transport::link::{Close, Link, LinkNumber};

/// At most one link to each daemon name.
#[derive(Debug)]
pub(super) struct Links {
    by_name: BTreeMap<DaemonName, Link>,
    /// Links that got something to send since the last [`wake`](Self::wake).
    dirty: Vec<DaemonName>,
    metrics: Metrics,
}

impl Links {
    /// None yet; it counts those that come and go.
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { by_name: BTreeMap::new(), dirty: Vec::new(), metrics }
    }

    /// The peer at the other end of a link, if the link is the current one.
    pub(super) fn peer(&self, number: LinkNumber) -> Option<DaemonId> {
        // A handful of links: looking is as quick as a table.
        self.by_name.values().find(|link| link.number == number).map(|link| link.peer)
    }

    pub(super) fn to(&self, name: DaemonName) -> Option<&Link> {
        self.by_name.get(&name)
    }

    /// Takes a new link; gives the one whose place it took.
    pub(super) fn insert(&mut self, link: Link) -> Option<Link> {
        self.metrics.count(Count::links_up);
        let old = self.by_name.insert(link.peer.name, link);
        self.count_down(old)
    }

    pub(super) fn remove(&mut self, peer: DaemonId) -> Option<Link> {
        if self.by_name.get(&peer.name)?.peer != peer {
            return None;
        }
        let link = self.by_name.remove(&peer.name);
        self.count_down(link)
    }

    fn count_down(&self, link: Option<Link>) -> Option<Link> {
        link.inspect(|_| self.metrics.count(Count::links_down))
    }

    /// Queues what the node wants sent. Gives back the peer if its queue is full.
    pub(super) fn send(&mut self, transmit: Transmit) -> Result<(), DaemonId> {
        let Transmit { to, channel, payload } = transmit;
        let Some(link) = self.by_name.get(&to.name).filter(|link| link.peer == to) else { return Ok(()) };
        match channel {
            Channel::Datagram => link.send_datagram(payload),
            Channel::Stream => {
                link.send(payload).map_err(|_full| to)?;
                if self.dirty.last() != Some(&to.name) && !self.dirty.contains(&to.name) {
                    self.dirty.push(to.name);
                }
            }
        }
        Ok(())
    }

    /// Sends what was queued.
    pub(super) fn wake(&mut self) {
        for name in self.dirty.drain(..) {
            if let Some(link) = self.by_name.get(&name) {
                link.wake();
            }
        }
    }

    /// Ends all links behind what is queued.
    pub(super) fn finish(&self) {
        for link in self.by_name.values() {
            link.finish();
        }
    }

    /// Closes the link to a peer that the node gave up or that cannot be served.
    pub(super) fn close(&mut self, peer: DaemonId, close: Close, reason: &str) {
        if let Some(link) = self.remove(peer) {
            link.close(close, reason);
        }
    }
}
