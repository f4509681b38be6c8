//! `simulate`: runs seeds and tells what they broke.

mod digest;
mod growth;
mod search;

use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use stentor_simulations::{
    Chronicle, Options, Overrides, Part, Scenario, Timestamp, Trace, Without, draw, run_and_tell,
};

use crate::search::Search;

/// Simulates clusters, each drawn from a seed, and checks all guarantees.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Seeds to run, the last one excluded.
    #[arg(long, value_name = "A..B", value_parser = range, default_value = "0..1000")]
    seeds: Range<u64>,
    /// Run seeds for so long instead, from the first of `--seeds` on.
    #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
    /// One seed to run instead.
    #[arg(long, conflicts_with_all = ["seeds", "time"])]
    seed: Option<u64>,
    /// Print all that happens in the run of one seed, with the logs of the core (`RUST_LOG` chooses).
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Draw the run of one seed as a space-time diagram into this file.
    #[arg(long, requires = "seed", value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Draw only what happens from this time on.
    #[arg(long, requires = "svg", value_name = "SPAN", value_parser = humantime::parse_duration)]
    from: Option<Duration>,
    /// Draw only what happens before this time.
    #[arg(long, requires = "svg", value_name = "SPAN", value_parser = humantime::parse_duration)]
    until: Option<Duration>,
    /// Print one number that stands for all that happens in all runs: the same on every machine.
    #[arg(long, conflicts_with_all = ["seed", "time"])]
    digest: bool,
    /// The number of daemons, instead of 3 to 7.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=256))]
    daemons: Option<u64>,
    /// What the runs are about.
    #[arg(long, value_name = "NAME", value_parser = scenario())]
    scenario: Option<Scenario>,
    /// Leave out all faults after this many.
    #[arg(long)]
    max_faults: Option<u64>,
    /// Leave out these faults, counted from 0.
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(..64))]
    without_faults: Vec<u64>,
    /// Let clients do only this many things.
    #[arg(long)]
    max_actions: Option<u64>,
    /// Leave out these parts of the runs.
    #[arg(long, value_name = "PART", value_delimiter = ',', value_parser = part())]
    without: Vec<Part>,
    /// Run cores with deliberate faults, all or those with these names, until each is caught.
    #[arg(long, value_name = "NAME", num_args = 0.., value_delimiter = ',', conflicts_with_all = ["seeds", "seed", "time", "digest"])]
    mutants: Option<Vec<String>>,
    /// Measure what messages and view changes cost in clusters of these sizes, or of 2 to 128 daemons, and print a table.
    #[arg(long, value_name = "DAEMONS", num_args = 0.., value_delimiter = ',', value_parser = clap::value_parser!(u64).range(2..=256), exclusive = true)]
    growth: Option<Vec<u64>>,
    /// Stop after this many failed seeds.
    #[arg(long, default_value_t = 5)]
    max_failures: u64,
    /// Tell of a failed run as it is, and do not look for a smaller one that fails in the same way.
    #[arg(long)]
    no_shrink: bool,
    /// So many seeds at a time; as many as there are cores, if not given.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1024))]
    threads: Option<u64>,
}

fn range(text: &str) -> anyhow::Result<Range<u64>> {
    let (from, to) =
        text.split_once("..").context("two numbers with .. between them are wanted, as 0..1000")?;
    let (from, to) = (from.parse()?, to.parse()?);
    if from >= to {
        bail!("the first seed must be below the last");
    }
    Ok(from..to)
}

/// One of several things, by its name.
fn named<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.iter().map(|one| name(*one)))
        .try_map(move |text| all.iter().copied().find(|one| name(*one) == text).ok_or("no such name"))
}

fn scenario() -> impl TypedValueParser<Value = Scenario> {
    named(&Scenario::ALL, Scenario::name)
}

fn part() -> impl TypedValueParser<Value = Part> {
    named(&Part::ALL, Part::name)
}

impl Arguments {
    fn overrides(&self) -> Overrides {
        Overrides {
            daemons: self.daemons.and_then(|daemons| usize::try_from(daemons).ok()),
            scenario: self.scenario,
            max_faults: self.max_faults,
            without_faults: self.without_faults.iter().fold(0, |set, number| set | 1 << number),
            max_actions: self.max_actions,
            without: self.without.iter().fold(Without::default(), |set, part| set.and(*part)),
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(names) = arguments.mutants {
        return mutants(&names);
    }
    if let Some(sizes) = arguments.growth {
        return growth::print(&sizes);
    }
    let overrides = arguments.overrides();
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = arguments.threads.and_then(|threads| usize::try_from(threads).ok()).unwrap_or_else(cores);
    if let Some(seed) = arguments.seed {
        return one(&Options::draw(seed, overrides), &arguments);
    }
    if arguments.digest {
        say(&digest::of(arguments.seeds, overrides, threads));
        return ExitCode::SUCCESS;
    }
    let seeds = match arguments.time {
        Some(_) => arguments.seeds.start..u64::MAX,
        None => arguments.seeds,
    };
    let search = Search {
        seeds,
        time: arguments.time,
        overrides,
        threads,
        max_failures: arguments.max_failures,
        shrinks: !arguments.no_shrink,
    };
    if search.run() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn mutants(names: &[String]) -> ExitCode {
    match stentor_simulations::mutants::table(names, &mut std::io::stdout()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) {
    // Whoever closed the output does not want to know.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn one(options: &Options, arguments: &Arguments) -> ExitCode {
    if arguments.trace {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("debug"));
        tracing_subscriber::fmt().with_env_filter(filter).without_time().with_ansi(false).init();
    }
    let trace = if arguments.trace { Trace::Printed } else { Trace::Off };
    let chronicle = if arguments.svg.is_some() { Chronicle::wanted() } else { Chronicle::default() };
    let (outcome, chronicle) = run_and_tell(options, trace, chronicle);
    if let Some(file) = &arguments.svg {
        let at = |span: Duration| Timestamp::ZERO + span;
        let window = arguments.from.map_or(Timestamp::ZERO, at)..at(arguments.until.unwrap_or(Duration::MAX));
        if let Err(error) = std::fs::write(file, draw(&outcome, &chronicle, &window)) {
            let _ = writeln!(std::io::stderr(), "cannot write the drawing to {}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    }
    say(&format!("{outcome}\n{}\n{}", outcome.counts, outcome.counts.faults_by_step()));
    if outcome.violations.is_empty() {
        say("no violation");
        return ExitCode::SUCCESS;
    }
    say("VIOLATED");
    ExitCode::FAILURE
}
