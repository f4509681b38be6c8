//! Being told to stop.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

/// The exit code after a second signal.
const IMPATIENT: i32 = 1;

/// SIGTERM, SIGINT and SIGHUP: the first asks for an orderly stop, a second ends the process.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Takes the signals over from the system's defaults.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the first signal.
    pub(crate) async fn first(&mut self) {
        let name = self.next().await;
        info!(signal = name, "stopping; a second signal stops at once");
    }

    /// Ends the process at the next signal.
    pub(crate) async fn exit_at_second(mut self) {
        let name = self.next().await;
        warn!(signal = name, "stopped at once: the others find out by themselves");
        std::process::exit(IMPATIENT);
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hang_up.recv() => "SIGHUP",
        }
    }
}
