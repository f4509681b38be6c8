//! `stentor bench`, run as people run it, and what it prints for programs.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::binary::stentor;
use crate::process::{Process, Signal};

/// How long it may take to stop its daemons, told to.
const STOP: Duration = Duration::from_secs(5);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Where the load generator writes to.
#[derive(Debug)]
pub struct Bench {
    directory: TempDir,
}

impl Bench {
    /// Makes a directory for what it prints.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn new() -> Result<Self> {
        Ok(Self { directory: tempfile::Builder::new().prefix("stentor-bench-").tempdir()? })
    }

    /// Runs it with these arguments, for no longer than `limit`, and gives the object that it prints.
    ///
    /// # Errors
    /// If it fails, with what it says.
    pub async fn run(&self, arguments: &[String], limit: Duration) -> Result<Value> {
        let out = self.directory.path().join("out");
        let mut command = Command::new(stentor()?);
        command.args(["bench", "--json"]).args(arguments);
        command.stdin(Stdio::null()).stdout(File::create(&out)?);
        let log = self.directory.path().join("err");
        // Errors are those of this run alone.
        File::create(&log)?;
        let mut running = Running(Process::start(&mut command, &log)?);
        let status = running.0.wait(limit).await?;
        if !status.success() {
            bail!("stentor bench ended with {status}: {}", running.0.log().trim());
        }
        let printed = fs::read_to_string(&out)?;
        serde_json::from_str(&printed).with_context(|| format!("stentor bench printed {printed:?}"))
    }
}

/// A number in what it printed.
///
/// # Errors
/// If there is none at this place.
pub fn number(report: &Value, place: &str) -> Result<f64> {
    let value = report.pointer(place).and_then(Value::as_f64);
    value.with_context(|| format!("stentor bench printed no {place}: {report}"))
}

/// A running bench. It is told to stop when dropped, as it has daemons to stop.
struct Running(Process);

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.0.ended(), Ok(None)) {
            return;
        }
        // It may have ended since.
        let _ = self.0.signal(Signal::TERM);
        let deadline = Instant::now() + STOP;
        while matches!(self.0.ended(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
    }
}
