//! The frame of every test that starts daemons.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Runs a test on a runtime of its own, one at a time in a process, and never for longer than `limit`.
///
/// # Errors
/// Those of the test, or that it took too long.
pub fn scenario(limit: Duration, test: impl Future<Output = Result<()>>) -> Result<()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // Built before the clock starts.
    crate::binary::stentor()?;
    let begin = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(async {
        let outcome = tokio::time::timeout(limit, test).await;
        outcome.with_context(|| format!("the test was given up after {limit:?}"))?
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    say(&format!("took {:.1} s", begin.elapsed().as_secs_f64()));
    outcome
}

/// Tells who runs the test something about it.
#[expect(clippy::print_stderr, reason = "the harness shows it for failed tests and on demand")]
pub fn say(text: &str) {
    eprintln!("{text}");
}
