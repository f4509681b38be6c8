//! What commands that measure for long share: a bar on a terminal, and an end by signals.

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

/// How far a command is: steps that are done, of so many, and what comes next.
pub type Progress<'a> = &'a dyn Fn(usize, usize, &str);

/// Runs `work` to its end, or until a signal tells to stop: then it is dropped, and with it what it has started.
///
/// # Errors
/// Those of `work`, or the signal.
pub fn run<T>(work: impl AsyncFnOnce(Progress<'_>) -> Result<T>) -> Result<T> {
    // Seen on a terminal alone.
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{elapsed_precise} {bar:30} {pos}/{len} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let progress = |done: usize, steps: usize, next: &str| {
        bar.set_length(steps as u64);
        bar.set_position(done as u64);
        bar.set_message(next.to_owned());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let outcome = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        tokio::select! {
            outcome = work(&progress) => outcome,
            _ = terminate.recv() => bail!("stopped by SIGTERM"),
            _ = interrupt.recv() => bail!("stopped by SIGINT"),
            _ = hang_up.recv() => bail!("stopped by SIGHUP"),
        }
    });
    bar.finish_and_clear();
    // What was given up may go on in a thread, but what it talked to is gone.
    runtime.shutdown_background();
    outcome
}
