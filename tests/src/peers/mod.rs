//! Stentor beside its peers: everything that is installed is started, measured with the same loads in turn, and
//! compared.
//!
//! Absolute figures say as much about the machine as about the program, so what counts is how figures of one round
//! compare. All clusters run at the same time, and for each load all are measured one right after the other. Those that
//! have nothing to do take a core away for some 4 % of the time together, which messages notice: how soon Stentor alone
//! delivers under load is measured first, before the others are there.

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

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};

pub use self::content::SIZE_MIN;
pub use self::kind::Kind;
use self::kind::System;
use self::load::Figures;
pub use self::load::{Alone, Load, PING_SIZE, Quantity, Row};
use self::machine::Pauses;
use self::results::half;
pub use self::results::{Results, Spread};
pub use self::stentor::lets_go_first;
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
            loads.push(Load::Half);
            if lets_go_first() {
                loads.push(Load::HalfUndisturbed);
            }
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
    let mut kinds = options.kinds.clone();
    kinds.sort_unstable();
    kinds.dedup();
    let mut run = Run {
        span: options.span,
        systems: BTreeMap::new(),
        results: Results::new(options.span, load_average()),
        progress,
        done: 0,
        steps: options.rounds * loads.iter().map(|load| takers(*load, &kinds).count()).sum::<usize>(),
    };
    let (quiet, together): (Vec<_>, Vec<_>) = loads.into_iter().partition(|load| load.wants_quiet());
    for loads in [quiet, together].into_iter().filter(|loads| !loads.is_empty()) {
        for kind in loads.iter().flat_map(|load| takers(*load, &kinds)) {
            run.start(kind).await;
        }
        let watches = run.results.pauses.is_empty();
        for round in 0..options.rounds {
            run.results.turn_to(round);
            if watches {
                run.tell(&format!("round {}: the machine alone", round + 1));
                run.results.pauses.extend(pauses(options.span).await);
            }
            for load in loads.iter().copied() {
                for kind in takers(load, &kinds) {
                    run.tell(&format!("round {}: {kind}, {load}", round + 1));
                    run.done += 1;
                    run.measure(kind, load).await;
                }
            }
        }
    }
    run.tell("");
    run.results
}

/// What there is while it is measured.
struct Run<'a> {
    span: Duration,
    /// Who was started; none in place of who could not be.
    systems: BTreeMap<Kind, Option<System>>,
    results: Results,
    progress: Progress<'a>,
    done: usize,
    steps: usize,
}

impl Run<'_> {
    fn tell(&self, what: &str) {
        (self.progress)(self.done, self.steps, what);
    }

    /// Starts who has not been.
    async fn start(&mut self, kind: Kind) {
        if self.systems.contains_key(&kind) {
            return;
        }
        self.tell(&format!("{kind} starts"));
        let system = match begin(kind).await {
            Ok((version, system)) => {
                self.results.versions.insert(kind, version);
                Some(system)
            }
            Err(why) => {
                self.results.left_out.push((kind, format!("{why:#}")));
                None
            }
        };
        self.systems.insert(kind, system);
    }

    /// Measures one load in this round.
    async fn measure(&mut self, kind: Kind, load: Load) {
        let Some(Some(system)) = self.systems.get_mut(&kind) else { return };
        let measured = match load {
            Load::Half => match self.results.half_of_most(kind) {
                Some(rate) => system.measure(load, Some(rate), self.span).await,
                // It failed flat out, which is noted.
                None => return,
            },
            Load::HalfUndisturbed => half_of_most_now(system, load, self.span).await,
            _ => system.measure(load, None, self.span).await,
        };
        match measured {
            Ok(figures) => self.results.add(kind, load, figures),
            Err(why) => {
                let round = self.results.round + 1;
                self.results.failures.push((kind, format!("{load}, round {round}: {why:#}")));
                // What failed may be in any state.
                self.systems.insert(kind, None);
                match kind.start().await {
                    Ok(system) => drop(self.systems.insert(kind, Some(system))),
                    Err(why) => self.results.failures.push((kind, format!("given up: {why:#}"))),
                }
            }
        }
    }
}

/// Half of what it takes flat out right before: what it took with the others there is of another moment.
async fn half_of_most_now(system: &mut System, load: Load, span: Duration) -> Result<Figures> {
    let most = system.measure(Load::Flood(PING_SIZE), None, span).await?;
    let rate = most.iter().find(|(quantity, _)| *quantity == Quantity::Rate);
    let rate = rate.and_then(|(_, rate)| half(*rate)).context("nothing arrived flat out")?;
    system.measure(load, Some(rate), span).await
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
        Load::HalfUndisturbed | Load::Alone(_) => *kind == Kind::Stentor,
    })
}
