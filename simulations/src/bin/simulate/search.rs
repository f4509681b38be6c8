//! Many seeds at once, with a bar that shows how far it is, until all are done, the time is over, or enough failed.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use stentor_simulations::{Counts, Options, Overrides, Trace, run, shrink};

use crate::say;

/// What to run.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) seeds: Range<u64>,
    pub(crate) time: Option<Duration>,
    pub(crate) overrides: Overrides,
    pub(crate) threads: usize,
    pub(crate) max_failures: u64,
    pub(crate) shrinks: bool,
}

/// What all threads share.
struct Shared {
    next: AtomicU64,
    done: AtomicU64,
    failures: AtomicU64,
    counts: Mutex<Counts>,
    bar: ProgressBar,
    began: Instant,
}

impl Search {
    /// Runs it; gives the number of seeds that failed.
    pub(crate) fn run(self) -> u64 {
        let shared = Shared {
            next: AtomicU64::new(self.seeds.start),
            done: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            counts: Mutex::new(Counts::default()),
            bar: self.bar(),
            began: Instant::now(),
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.threads).map(|_| scope.spawn(|| self.work(&shared))).collect();
            for worker in workers {
                if worker.join().is_err() {
                    shared.failures.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        shared.bar.finish_and_clear();
        let (done, failures, took) =
            (shared.done.into_inner(), shared.failures.into_inner(), shared.began.elapsed());
        if let Ok(counts) = shared.counts.into_inner() {
            say(&format!("{counts}\n{}", counts.faults_by_step()));
            let seconds = took.as_secs_f64().max(1e-3);
            let rate = done_rate(done, seconds);
            let digits = usize::from(rate < 10.0);
            say(&format!(
                "{done} seeds in {took:.1?}, {rate:.digits$} a second, {:.0} virtual seconds a second: {failures} failed",
                counts.virtual_time.as_secs_f64() / seconds
            ));
        }
        failures
    }

    fn bar(&self) -> ProgressBar {
        let (total, what) = match self.time {
            Some(time) => (time.as_secs().max(1), "s"),
            None => (self.seeds.end - self.seeds.start, "seeds"),
        };
        let template = format!("{{elapsed_precise}} {{wide_bar}} {{pos}}/{{len}} {what}, {{msg}}");
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(total).with_style(style)
    }

    fn work(&self, shared: &Shared) {
        let mut counts = Counts::default();
        let late = || self.time.is_some_and(|time| shared.began.elapsed() >= time);
        while shared.failures.load(Ordering::Relaxed) < self.max_failures && !late() {
            let seed = shared.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.seeds.end {
                break;
            }
            let outcome = run(&Options::draw(seed, self.overrides), Trace::Off);
            counts.add(&outcome.counts);
            let done = shared.done.fetch_add(1, Ordering::Relaxed) + 1;
            if !outcome.violations.is_empty() {
                shared.failures.fetch_add(1, Ordering::Relaxed);
                let text = outcome.to_string();
                shared.bar.suspend(|| say(&format!("{text}\n")));
                if self.shrinks {
                    let (small, runs) = shrink(outcome);
                    shared.bar.suspend(|| say(&format!("smaller, after {runs} runs:\n{small}\n")));
                }
            }
            self.show(shared, done);
        }
        if let Ok(mut all) = shared.counts.lock() {
            all.add(&counts);
        }
    }

    fn show(&self, shared: &Shared, done: u64) {
        let elapsed = shared.began.elapsed();
        shared.bar.set_position(if self.time.is_some() { elapsed.as_secs() } else { done });
        let failures = shared.failures.load(Ordering::Relaxed);
        let rate = done_rate(done, elapsed.as_secs_f64().max(1e-3));
        shared.bar.set_message(format!("{rate:.0} seeds a second, {failures} failed"));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn done_rate(done: u64, seconds: f64) -> f64 {
    done as f64 / seconds
}
