//! Stentor beside its peers: everything that is installed is started, measured with the same loads in turn, and
//! compared.
//!
//! Absolute figures say as much about the machine as about the program, so what counts is how figures of one round
//! compare. All clusters run for the whole time, and for each load all are measured one right after the other: those that
//! have nothing to do take one or two percent of the machine together.

mod content;
mod corosync;
mod json;
mod kind;
mod load;
mod machine;
mod nats;
mod nodes;
mod results;
mod stentor;
mod table;
mod targets;

use std::time::Duration;

use anyhow::Result;

pub use self::content::SIZE_MIN;
pub use self::kind::Kind;
use self::kind::System;
pub use self::load::{Alone, Load, PING_SIZE, Quantity, Row};
use self::machine::Pauses;
pub use self::results::{Results, Spread};
pub use self::targets::{TARGETS, Target, Verdict};
use crate::tool::Progress;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whom.
    pub kinds: Vec<Kind>,
    /// Bytes of messages.
    pub sizes: Vec<usize>,
    /// How long each load.
    pub span: Duration,
    /// How often.
    pub rounds: usize,
    /// Also what Stentor alone has to reach.
    pub alone: bool,
}

impl Options {
    fn loads(&self) -> Vec<Load> {
        let mut loads: Vec<Load> = self.sizes.iter().map(|size| Load::Flood(*size)).collect();
        loads.sort_unstable();
        loads.dedup();
        loads.push(Load::Ping);
        if loads.contains(&Load::Flood(PING_SIZE)) {
            loads.extend([Load::Half, Load::HalfPinned]);
        }
        if self.alone {
            loads.extend(Alone::ALL.map(Load::Alone));
        }
        loads
    }
}

/// Measures. What fails is in the results, and what can still be measured is.
pub async fn run(options: &Options, progress: Progress<'_>) -> Results {
    let loads = options.loads();
    let mut results = Results::new(options.span, load_average());
    let mut systems = Vec::new();
    let mut kinds = options.kinds.clone();
    kinds.sort_unstable();
    kinds.dedup();
    let steps = options.rounds * loads.iter().map(|load| takers(*load, &kinds).count()).sum::<usize>();
    for kind in kinds.iter().copied() {
        progress(0, steps, &format!("{kind} starts"));
        match begin(kind).await {
            Ok((version, system)) => {
                results.versions.insert(kind, version);
                systems.push((kind, Some(system)));
            }
            Err(why) => results.left_out.push((kind, format!("{why:#}"))),
        }
    }
    let mut done = 0;
    for round in 1..=options.rounds {
        progress(done, steps, &format!("round {round}: the machine alone"));
        results.next_round();
        results.pauses.extend(pauses(options.span).await);
        for load in loads.iter().copied() {
            for kind in takers(load, &kinds) {
                progress(done, steps, &format!("round {round}: {kind}, {load}"));
                done += 1;
                let Some((_, place)) = systems.iter_mut().find(|(other, _)| *other == kind) else { continue };
                let Some(system) = place else { continue };
                let rate = results.half_of_most(kind).filter(|_| load.is_half());
                if load.is_half() && rate.is_none() {
                    // It failed flat out, which is noted.
                    continue;
                }
                match system.measure(load, rate, options.span).await {
                    Ok(figures) => results.add(kind, load, figures),
                    Err(why) => {
                        results.failures.push((kind, format!("{load}, round {round}: {why:#}")));
                        // What failed may be in any state.
                        *place = None;
                        match kind.start().await {
                            Ok(system) => *place = Some(system),
                            Err(why) => results.failures.push((kind, format!("given up: {why:#}"))),
                        }
                    }
                }
            }
        }
    }
    progress(steps, steps, "");
    results
}

/// What the machine takes away while nobody is measured; nothing where it does not let it be watched.
async fn pauses(span: Duration) -> Option<Pauses> {
    tokio::task::spawn_blocking(move || Pauses::measure(span)).await.ok()?.ok()
}

/// How busy the machine is; nothing where it does not tell.
fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or_default()
}

async fn begin(kind: Kind) -> Result<(String, System)> {
    Ok((kind.version()?, kind.start().await?))
}

/// Who is measured with a load.
fn takers(load: Load, kinds: &[Kind]) -> impl Iterator<Item = Kind> {
    kinds.iter().copied().filter(move |kind| match load {
        Load::Flood(_) | Load::Ping => true,
        Load::Half => matches!(kind, Kind::Stentor | Kind::Nats),
        Load::HalfPinned | Load::Alone(_) => *kind == Kind::Stentor,
    })
}
