//! Failure detection by signs of life (PROTOCOL D).
//!
//! Anything that arrives from a peer is a sign of life. A peer is suspected when it was silent for longer than its
//! heartbeats' mean gap plus six deviations, plus one heartbeat; never sooner or later than the configured bounds.
//! A mean and a deviation (Jacobson 1988) rather than a full distribution (phi accrual, Hayashibara 2004): what has
//! to be followed is a machine that gets slower as a whole, and for that two numbers do as well as a histogram.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::DaemonId;
use crate::time::Timestamp;

/// Watches the linked peers.
#[derive(Debug)]
pub(crate) struct Detector {
    heartbeat: Duration,
    min: Duration,
    max: Duration,
    peers: BTreeMap<DaemonId, Peer>,
    next_heartbeat: Timestamp,
}

#[derive(Debug)]
struct Peer {
    last: Timestamp,
    last_heartbeat: Option<Timestamp>,
    mean: Duration,
    deviation: Duration,
}

impl Detector {
    pub(crate) fn new(heartbeat: Duration, min: Duration, max: Duration, now: Timestamp) -> Self {
        Self { heartbeat, min, max, peers: BTreeMap::new(), next_heartbeat: now + heartbeat }
    }

    pub(crate) fn watch(&mut self, peer: DaemonId, now: Timestamp) {
        let fresh = Peer { last: now, last_heartbeat: None, mean: self.heartbeat, deviation: Duration::ZERO };
        self.peers.insert(peer, fresh);
    }

    pub(crate) fn forget(&mut self, peer: DaemonId) {
        self.peers.remove(&peer);
    }

    /// Something came from `peer`: a sign of life (PROTOCOL D1).
    pub(crate) fn heard(&mut self, peer: DaemonId, heartbeat: bool, now: Timestamp) {
        let Some(peer) = self.peers.get_mut(&peer) else { return };
        peer.last = now;
        if !heartbeat {
            return;
        }
        if let Some(before) = peer.last_heartbeat.replace(now) {
            let gap = now - before;
            peer.deviation = (peer.deviation * 3 + peer.mean.abs_diff(gap)) / 4;
            peer.mean = (peer.mean * 7 + gap) / 8;
        }
    }

    /// If this daemon itself was stopped (its heartbeat is long overdue), the silence says nothing about the others:
    /// they get a fresh chance (PROTOCOL D3). Call with every input, before it is looked at.
    pub(crate) fn notice_own_pause(&mut self, now: Timestamp) -> bool {
        let paused = now - self.next_heartbeat >= self.min / 2;
        if paused {
            for peer in self.peers.values_mut() {
                peer.last = now;
                peer.last_heartbeat = None;
            }
            self.next_heartbeat = now;
        }
        paused
    }

    /// Whether heartbeats are due; then the next ones are one interval away.
    pub(crate) fn heartbeat_due(&mut self, now: Timestamp) -> bool {
        let due = now >= self.next_heartbeat;
        if due {
            self.next_heartbeat = now + self.heartbeat;
        }
        due
    }

    /// The peers that were silent for too long.
    pub(crate) fn suspects(&self, now: Timestamp) -> Vec<DaemonId> {
        self.peers.iter().filter(|(_, peer)| now >= self.deadline(peer)).map(|(&id, _)| id).collect()
    }

    /// When to look again.
    pub(crate) fn next_timeout(&self) -> Timestamp {
        let deadlines = self.peers.values().map(|peer| self.deadline(peer));
        deadlines.chain([self.next_heartbeat]).min().unwrap_or(self.next_heartbeat)
    }

    /// When a peer's silence becomes suspicious (PROTOCOL D2).
    fn deadline(&self, peer: &Peer) -> Timestamp {
        let patience = peer.mean + peer.deviation * 6 + self.heartbeat;
        peer.last + patience.clamp(self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn peer() -> DaemonId {
        DaemonId { name: "p".parse().unwrap(), incarnation: 1 }
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_nanos(ms * 1_000_000)
    }

    fn detector() -> Detector {
        let mut detector = Detector::new(100 * MS, 500 * MS, 5000 * MS, at(0));
        detector.watch(peer(), at(0));
        detector
    }

    #[test]
    fn a_regular_peer_is_suspected_after_the_floor() {
        let mut detector = detector();
        for beat in 1..50 {
            detector.heard(peer(), true, at(beat * 100));
        }
        assert!(detector.suspects(at(4900 + 499)).is_empty());
        assert_eq!(detector.suspects(at(4900 + 500)), [peer()]);
    }

    #[test]
    fn an_irregular_peer_gets_more_time_up_to_the_ceiling() {
        let mut detector = detector();
        let mut time = 0;
        for beat in 0..40 {
            time += if beat % 4 == 0 { 900 } else { 50 };
            detector.heard(peer(), true, at(time));
        }
        assert!(detector.suspects(at(time + 1000)).is_empty());
        assert_eq!(detector.suspects(at(time + 5000)), [peer()]);
    }

    #[test]
    fn anything_heard_counts_as_life() {
        let mut detector = detector();
        detector.heard(peer(), false, at(400));
        assert!(detector.suspects(at(899)).is_empty());
    }

    #[test]
    fn a_daemon_that_was_stopped_gives_its_peers_a_fresh_chance() {
        let mut detector = detector();
        assert!(!detector.notice_own_pause(at(120)));
        assert!(detector.notice_own_pause(at(3000)));
        assert!(detector.suspects(at(3000)).is_empty());
        assert_eq!(detector.suspects(at(3500)), [peer()]);
    }
}
