//! The same seed gives the same run, to the last byte.

use stentor_simulations::{Options, Overrides, Trace, run};

fn trace(seed: u64) -> String {
    let outcome = run(&Options::draw(seed, Overrides::default()), Trace::Kept(String::new()));
    outcome.trace.unwrap_or_default()
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..20 {
        let (first, second) = (trace(seed), trace(seed));
        let differs = first.lines().zip(second.lines()).find(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first.len(), second.len(), "seed {seed}");
        assert!(first.lines().count() > 100, "seed {seed}: next to nothing happens");
    }
}

#[test]
fn another_seed_gives_another_run() {
    assert_ne!(trace(1), trace(2));
}
