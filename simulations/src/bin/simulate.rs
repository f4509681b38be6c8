//! `simulate`: runs seeds and tells what they broke.

use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use stentor_simulations::{Counts, Options, Overrides, Trace, run};

/// Simulates clusters, each drawn from a seed, and checks all guarantees.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Seeds to run, the last one excluded.
    #[arg(long, value_name = "A..B", value_parser = range, default_value = "0..1000")]
    seeds: Range<u64>,
    /// One seed to run instead.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Print all that happens in the run of one seed, with the logs of the core (`RUST_LOG` chooses).
    #[arg(long, requires = "seed")]
    trace: bool,
    /// The number of daemons, instead of 2 to 5.
    #[arg(long)]
    daemons: Option<usize>,
    /// Leave out all faults after this many.
    #[arg(long)]
    max_faults: Option<u64>,
    /// Stop after this many failed seeds.
    #[arg(long, default_value_t = 5)]
    max_failures: u64,
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

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let overrides = Overrides { daemons: arguments.daemons, max_faults: arguments.max_faults, ..Overrides::default() };
    let failures = match arguments.seed {
        Some(seed) => one(seed, overrides, arguments.trace),
        None => many(arguments.seeds, overrides, arguments.max_failures),
    };
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(text: &str) {
    // Whoever closed the output does not want to know.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn one(seed: u64, overrides: Overrides, trace: bool) -> u64 {
    if trace {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("debug"));
        tracing_subscriber::fmt().with_env_filter(filter).without_time().with_ansi(false).init();
    }
    let outcome = run(&Options::draw(seed, overrides), if trace { Trace::Printed } else { Trace::Off });
    say(&format!("{outcome}\n{}", outcome.counts));
    say(if outcome.violations.is_empty() { "no violation" } else { "VIOLATED" });
    u64::from(!outcome.violations.is_empty())
}

/// What all threads share.
struct Progress {
    next: AtomicU64,
    done: AtomicU64,
    failures: AtomicU64,
    finished: AtomicBool,
    counts: Mutex<Counts>,
}

fn many(seeds: Range<u64>, overrides: Overrides, max_failures: u64) -> u64 {
    let progress = Progress {
        next: AtomicU64::new(seeds.start),
        done: AtomicU64::new(0),
        failures: AtomicU64::new(0),
        finished: AtomicBool::new(false),
        counts: Mutex::new(Counts::default()),
    };
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| work(&progress, seeds.end, overrides, max_failures)))
            .collect();
        let watcher = scope.spawn(|| watch(&progress, began, seeds.end - seeds.start));
        for worker in workers {
            if worker.join().is_err() {
                progress.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
        progress.finished.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
    });
    let (done, failures) = (progress.done.into_inner(), progress.failures.into_inner());
    if let Ok(counts) = progress.counts.into_inner() {
        say(&counts.to_string());
    }
    say(&format!("{done} seeds in {:.1?}, {failures} failed", began.elapsed()));
    failures
}

fn work(progress: &Progress, end: u64, overrides: Overrides, max_failures: u64) {
    let mut counts = Counts::default();
    while progress.failures.load(Ordering::Relaxed) < max_failures {
        let seed = progress.next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            break;
        }
        let outcome = run(&Options::draw(seed, overrides), Trace::Off);
        counts.add(&outcome.counts);
        progress.done.fetch_add(1, Ordering::Relaxed);
        if !outcome.violations.is_empty() {
            progress.failures.fetch_add(1, Ordering::Relaxed);
            say(&format!("{outcome}\n"));
        }
    }
    if let Ok(mut all) = progress.counts.lock() {
        all.add(&counts);
    }
}

/// A line on standard error now and then: on a terminal often, in a log seldom.
fn watch(progress: &Progress, began: Instant, total: u64) {
    let terminal = std::io::stderr().is_terminal();
    let pause = if terminal { Duration::from_millis(500) } else { Duration::from_secs(30) };
    loop {
        std::thread::park_timeout(pause);
        if progress.finished.load(Ordering::Relaxed) {
            return;
        }
        let done = progress.done.load(Ordering::Relaxed);
        let failures = progress.failures.load(Ordering::Relaxed);
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let end = if terminal { '\r' } else { '\n' };
        let text =
            format!("{done} of {total} seeds, {} a second, {failures} failed {end}", done * 1000 / millis);
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}
