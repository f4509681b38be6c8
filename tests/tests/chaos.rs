//! A minute of chaos, with another seed each time: the command of the same name goes on for as long as one likes.

use std::time::Duration;

use anyhow::{Result, ensure};
use stentor_tests::chaos::{Options, run};
use stentor_tests::scenario::{say, scenario};

/// Chooses a seed.
const SEED: &str = "STENTOR_CHAOS_SEED";

#[test]
fn a_minute_of_chaos_breaks_no_promise() -> Result<()> {
    const TIME: Duration = Duration::from_secs(60);
    scenario(TIME * 5, async {
        let seed = match std::env::var(SEED) {
            Ok(seed) => seed.parse()?,
            Err(_) => rand::random(),
        };
        say(&format!("seed {seed}"));
        let outcome = run(&Options { seed, time: TIME, daemons: 3..=5 }, say).await?;
        let totals = outcome.totals;
        ensure!(totals.sent > 1000 && totals.received > 1000, "hardly anything was sent");
        ensure!(totals.views > 10, "the faults had hardly an effect");
        for (property, checked) in totals.checked {
            ensure!(checked > 0, "the logs say nothing about {property}");
        }
        Ok(())
    })
}
