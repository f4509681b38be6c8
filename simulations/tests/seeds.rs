//! A block of seeds keeps all guarantees, and reaches the states that matter.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use stentor_simulations::{Counts, Options, Overrides, Step, Trace, run};

const SEEDS: u64 = 400;

#[test]
fn seeds_keep_all_guarantees() {
    let next = AtomicU64::new(0);
    let all = Mutex::new((Counts::default(), Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SEEDS {
                        return;
                    }
                    let outcome = run(&Options::draw(seed, Overrides::default()), Trace::Off);
                    let mut all = all.lock().unwrap();
                    all.0.add(&outcome.counts);
                    if !outcome.violations.is_empty() {
                        all.1.push(outcome.to_string());
                    }
                }
            });
        }
    });
    let (counts, failed) = all.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {SEEDS} seeds failed:\n{}", failed.len(), failed.join("\n\n"));
    println!("{counts}");
    let stats = &counts.stats;
    for (what, count) in [
        ("views", stats.views),
        ("failed attempts", stats.failed_attempts),
        ("suspicions", stats.suspicions),
        ("resends", stats.frames_resent),
        ("discarded messages", stats.messages_discarded),
        ("full windows", stats.window_full),
        ("large messages that wait", stats.large_held),
        ("blocked sessions", stats.sessions_blocked),
        ("transitional deliveries", counts.transitional),
        ("group views", counts.memberships),
        ("faults", counts.faults),
        ("slow sessions", counts.cut),
    ] {
        assert!(count > SEEDS / 20, "the runs hardly reach {what}: {count}");
    }
    for step in Step::ALL {
        assert!(counts.struck_at(step) > SEEDS / 10, "hardly a fault strikes while {step:?}");
    }
    assert_eq!(stats.violations, 0, "a correct peer was cut off");
}
