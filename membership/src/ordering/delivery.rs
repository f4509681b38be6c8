//! What is delivered when: on receipt, at the horizon, at stable, and at the end of a view (PROTOCOL O5, V6).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::retention::{Body, Entry, EntryState, Retention, Stored};
use crate::event::IDLE_EVENTS;
use crate::id::Position;
use crate::service::Service;

/// A message that is due.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) lane: u32,
    pub(crate) service: Service,
    pub(crate) body: Bytes,
    /// Its rank is the sender's.
    pub(crate) position: Position,
}

/// How a view ends, the same at all daemons that move along (PROTOCOL V5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// For each rank, up to where its frames are delivered at all.
    pub(crate) finals: Vec<u64>,
    /// Up to where everything of everybody is there.
    pub(crate) horizon: u64,
    /// Up to where Safe messages are known to be at every member of the view.
    pub(crate) stable: u64,
    /// Ranks of which nothing may be discarded: those that move along and those with an obligation.
    pub(crate) obliged: BTreeSet<u16>,
}

/// The place up to which the total order is done, and what may go ahead of it.
#[derive(Debug, Default)]
pub(crate) struct Delivering {
    /// Nothing before it is left to deliver.
    cursor: Position,
    /// For each lane, the place of its latest message that was not delivered on receipt.
    held: BTreeMap<(u16, u32), Position>,
    /// `held` is tidied when it has grown to this.
    tidy_at: usize,
    due: VecDeque<Delivery>,
    discarded: u64,
}

impl Delivering {
    /// The next message that is due.
    pub(crate) fn next(&mut self) -> Option<Delivery> {
        self.due.pop_front()
    }

    /// Gives back the memory of a burst.
    pub(crate) fn shrink(&mut self) {
        self.due.shrink_to(IDLE_EVENTS);
    }

    /// Messages discarded at the end of the view.
    pub(crate) fn discarded(&self) -> u64 {
        self.discarded
    }

    /// A message that is complete came in: below Causal it is due at once, unless an earlier one of its lane still waits
    /// (PROTOCOL O5.1).
    pub(crate) fn receive(&mut self, entry: &mut Entry, frame: &Bytes, position: Position) {
        let EntryState::Waiting(body) = &entry.state else { return };
        let (key, service) = ((position.rank, entry.lane), entry.service);
        let ordered = service.is_ordered() && !(mutant!(CausalOnReceipt) && service == Service::Causal);
        let overtakes = || self.held.get(&key).is_some_and(|&held| held >= self.cursor);
        if ordered || (overtakes() && !mutant!(WaitingOvertaken)) {
            self.held.insert(key, position);
            if self.held.len() >= self.tidy_at.max(64) {
                self.held.retain(|_, held| *held >= self.cursor);
                self.tidy_at = self.held.len() * 2;
            }
        } else if mutant!(DeliveredAgain) {
            self.deliver(entry.lane, service, body.clone(), frame, position);
        } else {
            self.deliver_entry(entry, frame, position);
        }
    }

    /// Delivers in order up to `horizon`; the first Safe message beyond `stable` ends it (PROTOCOL O5.2, O5.3).
    pub(crate) fn advance(&mut self, frames: &mut Retention, horizon: u64, stable: u64) {
        for (clock, rank, frame) in frames.from(self.cursor.clock, self.cursor.rank) {
            if clock > horizon {
                break;
            }
            let begin =
                if (clock, rank) == (self.cursor.clock, self.cursor.rank) { self.cursor.index } else { 0 };
            let Stored { bytes, entries } = frame;
            for (index, entry) in (0u32..).zip(entries).skip(begin as usize) {
                let position = Position { clock, rank, index };
                if entry.service == Service::Safe
                    && clock > stable
                    && !mutant!(SafeAtHorizon)
                    && matches!(entry.state, EntryState::Waiting(_))
                {
                    self.cursor = position;
                    return;
                }
                self.deliver_entry(entry, bytes, position);
            }
            self.cursor = Position { clock, rank, index: u32::MAX };
        }
        // No frame at or below the horizon can still come.
        self.cursor = self.cursor.max(Position { clock: horizon + 1, rank: 0, index: 0 });
    }

    /// Own messages go in front of those with the same clock.
    #[cfg(stentor_mutants)]
    pub(crate) fn break_ties(&mut self, own: u16) {
        self.due.make_contiguous().sort_by_key(|due| (due.position.clock, due.position.rank != own));
    }

    /// In the transitional configuration: delivers the rest up to the horizon, then what is not discarded
    /// (PROTOCOL V6.2).
    pub(crate) fn finish(&mut self, frames: &mut Retention, ending: &Ending) {
        let mut cut_off = BTreeSet::new();
        for (clock, rank, frame) in frames.from(0, 0) {
            if clock > ending.finals[usize::from(rank)] {
                continue;
            }
            let kept = clock <= ending.horizon || ending.obliged.contains(&rank) || mutant!(NothingDiscarded);
            let Stored { bytes, entries } = frame;
            for (index, entry) in (0u32..).zip(entries) {
                let lane = (rank, entry.lane);
                if matches!(entry.state, EntryState::Waiting(_)) && !kept {
                    if entry.service.is_ordered() {
                        cut_off.insert(lane);
                    }
                    let spared = mutant!(DiscardedOvertaken) && !entry.service.is_ordered();
                    if cut_off.contains(&lane) && !spared {
                        entry.state = EntryState::Done;
                        self.discarded += 1;
                    }
                }
                self.deliver_entry(entry, bytes, Position { clock, rank, index });
            }
        }
    }

    fn deliver_entry(&mut self, entry: &mut Entry, frame: &Bytes, position: Position) {
        if !matches!(entry.state, EntryState::Waiting(_)) {
            return;
        }
        if let EntryState::Waiting(body) = std::mem::replace(&mut entry.state, EntryState::Done) {
            self.deliver(entry.lane, entry.service, body, frame, position);
        }
    }

    fn deliver(&mut self, lane: u32, service: Service, body: Body, frame: &Bytes, position: Position) {
        self.due.push_back(Delivery { lane, service, body: body.join(frame), position });
    }
}
