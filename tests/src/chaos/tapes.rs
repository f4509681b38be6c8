//! The records of all sessions of an epoch.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::log::What;
use crate::tape::Tape;

/// Where every session's record is put. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tapes(Arc<Mutex<Vec<Tape>>>);

/// How much happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Amount {
    pub(crate) sessions: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Group views that were seen.
    pub(crate) views: u64,
}

impl Tapes {
    pub(crate) fn add(&self, tape: Tape) {
        self.lock().push(tape);
    }

    /// Takes all of them.
    pub(crate) fn take(&self) -> Vec<Tape> {
        std::mem::take(&mut self.lock())
    }

    /// What is on record so far.
    pub(crate) fn amount(&self) -> Amount {
        let mut amount = Amount::default();
        for tape in self.lock().iter() {
            amount.sessions += 1;
            tape.look(|log| {
                for entry in &log.entries {
                    match entry.what {
                        What::Send(_) => amount.sent += 1,
                        What::Message(_) => amount.received += 1,
                        What::Membership(_) => amount.views += 1,
                        What::Leave(_) | What::Foreign { .. } | What::Transitional(_) => {}
                    }
                }
            });
        }
        amount
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Tape>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
