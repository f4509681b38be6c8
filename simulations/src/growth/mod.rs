//! What a message and a view change cost as the daemons grow: measured in virtual time, in a calm network.
//!
//! [`measure`] brings a cluster up, lets its programs send, lets a daemon crash, return and leave, and notes what each
//! took and what was sent for it. [`table()`] shows clusters of several sizes side by side.

mod meter;
mod table;

use std::time::Duration;

use self::meter::Meter;
pub use self::table::table;
use crate::invariants::Violation;
use crate::panics;
use crate::traffic::Traffic;

/// The sizes that are worth a column.
pub const SIZES: [usize; 8] = [2, 3, 5, 7, 16, 32, 64, 128];

/// What a cluster of one size costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growth {
    /// The number of daemons.
    pub daemons: usize,
    /// All daemons start at once.
    pub start: Change,
    /// What is sent in a second in which nothing happens.
    pub rest: Traffic,
    /// A message when nothing else happens, until everybody knows that everybody has it.
    pub alone: Message,
    /// A message of many, each sent when the one before has been delivered everywhere.
    pub in_turn: Message,
    /// The same when nobody but its sender has sent for a while; not measured in large clusters.
    pub listened_to: Option<Message>,
    /// Messages that one program sends, one every millisecond.
    pub steady: Share,
    /// Messages that one program sends at once.
    pub from_one: Share,
    /// Messages that a program at each daemon sends its part of, all at once.
    pub from_all: Share,
    /// The last daemon crashes.
    pub crash: Change,
    /// It starts again.
    pub back: Change,
    /// It leaves in order.
    pub leave: Change,
}

/// How long a message takes, and what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The mean time until its sender has delivered it.
    pub own: Duration,
    /// The mean time until everybody has.
    pub everywhere: Duration,
    /// What was sent for it.
    pub share: Share,
}

/// What was sent for a number of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// How many messages.
    pub of: u32,
    /// What was sent for all of them.
    pub traffic: Traffic,
}

/// What a view change takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The time until the first daemon knows of it.
    pub noticed: Duration,
    /// The time until all that run are in one view of exactly them.
    pub installed: Duration,
    /// What was sent for it, the exchange of the groups included.
    pub traffic: Traffic,
}

/// Measures a cluster of so many daemons, two at least; the same each time.
///
/// # Errors
/// [`Violation`] if the cluster broke a guarantee, or did not do in a minute what takes less in a calm network: then the
/// figures would mean nothing.
pub fn measure(daemons: usize) -> Result<Growth, Violation> {
    if daemons < 2 {
        let text = format!("{daemons} daemons have nobody to send to: 2 at least");
        return Err(Violation { promise: "simulator", text });
    }
    panics::catch(|| Meter::new(daemons)?.measure())
        .unwrap_or_else(|text| Err(Violation { promise: "no panic", text }))
}
