//! Chaos: real daemons and clients under faults drawn from a seed, for as long as one likes.
//!
//! A run is a row of epochs. In each, a `schedule` of faults hits the `daemons`, the network between them and their
//! clients (`worker`, `storm`), which do all that clients can do; at its end all faults are over, the daemons must come
//! to one view and deliver what they accepted, and the [`checker`](crate::checker) judges what the clients saw. So the
//! memory of a run is that of an epoch, and what is left over from one epoch shows in the next as a message that
//! nobody sent.
//!
//! The seed decides what is done and when. What the machine makes of it differs from run to run.

mod daemons;
mod epoch;
mod keep;
mod progress;
mod schedule;
mod storm;
mod tapes;
mod worker;

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};

use self::daemons::Daemons;
use self::epoch::Epoch;
pub use self::progress::Totals;
use crate::log::Log;

/// How long an epoch is at most.
const EPOCH: Duration = Duration::from_secs(25);

/// What is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// How long it goes on; the end of the last epoch may take a little longer.
    pub time: Duration,
    /// How many daemons there may be; the seed decides.
    pub daemons: RangeInclusive<usize>,
}

/// How a run went.
#[derive(Debug)]
pub struct Outcome {
    /// How much happened.
    pub totals: Totals,
    /// What the clients saw in the last epoch.
    pub last: Vec<Log>,
}

/// Runs chaos; `tell` gets a line now and then.
///
/// # Errors
/// Which promise was broken, and where everything about it is kept.
pub async fn run(options: &Options, mut tell: impl FnMut(&str)) -> Result<Outcome> {
    let mut random = ChaCha12Rng::seed_from_u64(options.seed);
    let count = random.random_range(options.daemons.clone());
    let mut daemons = Daemons::start(count, random.random()).await?;
    let begin = Instant::now();
    let mut totals = Totals::new(count);
    let mut last = Vec::new();
    for number in 0.. {
        let left = options.time.saturating_sub(begin.elapsed());
        if left < Duration::from_secs(1) {
            break;
        }
        let length = EPOCH.mul_f64(random.random_range(0.3..1.0)).min(left);
        let mut epoch = Epoch::begin(&daemons, number, random.random(), length);
        let mut report = totals.reporter(begin);
        let chaos =
            epoch.chaos(&mut daemons, length, |epoch, daemons| report.tick(epoch, daemons, &mut tell));
        let chaos = chaos.await;
        let (epoch, judgement) = epoch.judge(&mut daemons, chaos).await;
        totals.add(&epoch, &judgement, daemons.peak());
        tell(&totals.line(begin.elapsed()));
        if let Err(wrong) = judgement.ensure() {
            let wrong = format!("seed {}, epoch {number}: {wrong}", options.seed);
            let dir = keep::keep(&mut daemons, &epoch, &judgement, &wrong)?;
            let command = options.command();
            bail!("{wrong}\nlogs and histories are in {}\nagain: {command}", dir.display());
        }
        last = judgement.logs;
    }
    daemons.cluster.finish().await?;
    Ok(Outcome { totals, last })
}

impl Options {
    /// The command that runs the same.
    pub fn command(&self) -> String {
        let (from, to) = (self.daemons.start(), self.daemons.end());
        format!(
            "cargo run --release -p stentor-tests --bin chaos -- --seed {} --time {}s --daemons {from}..{to}",
            self.seed,
            self.time.as_secs()
        )
    }
}
