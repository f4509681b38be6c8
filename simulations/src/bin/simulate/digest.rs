//! One number for all that happens in many runs, to compare processes and machines.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use stentor_simulations::{Options, Overrides, Trace, fingerprint, run};

/// The number, as a line: of every seed the whole trace counts, in whatever order they run.
pub(crate) fn of(seeds: Range<u64>, overrides: Overrides, threads: usize) -> String {
    let next = AtomicU64::new(seeds.start);
    let all = Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = run(&Options::draw(seed, overrides), Trace::Kept(String::new()));
                    let text = format!("{outcome}\n{}", outcome.trace.as_deref().unwrap_or_default());
                    if let Ok(mut all) = all.lock() {
                        *all ^= fingerprint(text.as_bytes());
                    }
                }
            });
        }
    });
    let all = all.into_inner().unwrap_or_default();
    format!("seeds {}..{}{overrides}: {all:016x}", seeds.start, seeds.end)
}
