//! Stentor itself, by the load generator that users get: `stentor bench`.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use super::load::{Figures, Load, Quantity, WARM_UP};
use super::nodes::first_line;
use crate::binary::stentor;
use crate::process::{Process, Signal};

/// How long a bench may take beside warm-up and span.
const LIMIT: Duration = Duration::from_secs(60);
/// How long it may take to stop its daemons, told to.
const STOP: Duration = Duration::from_secs(5);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Where the bench writes to. It starts daemons for each load anew.
#[derive(Debug)]
pub(super) struct Stentor {
    directory: TempDir,
}

/// What the program says of its version.
///
/// # Errors
/// If there is none, and it cannot be built.
pub(super) fn version() -> Result<String> {
    let program = stentor()?.to_str().context("a path that is not UTF-8")?;
    first_line(program, &["--version"], "build it")
}

impl Stentor {
    pub(super) fn start() -> Result<Self> {
        Ok(Self { directory: tempfile::Builder::new().prefix("stentor-peers-").tempdir()? })
    }

    /// Measures a load.
    pub(super) async fn measure(&self, load: Load, span: Duration) -> Result<Figures> {
        let out = self.directory.path().join("out");
        let mut command = Command::new(stentor()?);
        command.args(["bench", "--json", "--repeat", "1"]).args(load.bench_arguments());
        for (option, span) in [("--warm-up", WARM_UP), ("--duration", span)] {
            command.args([option, &humantime::format_duration(span).to_string()]);
        }
        command.stdin(Stdio::null()).stdout(File::create(&out)?);
        let mut bench = Bench::start(&mut command, self.directory.path())?;
        let status = bench.0.wait(WARM_UP + span + LIMIT).await?;
        if !status.success() {
            bail!("stentor bench ended with {status}: {}", bench.0.log().trim());
        }
        figures(load, &fs::read_to_string(&out)?)
    }
}

/// A running bench. It is told to stop when dropped, as it has daemons to stop.
struct Bench(Process);

impl Bench {
    fn start(command: &mut Command, directory: &Path) -> Result<Self> {
        let log = directory.join("err");
        // Errors are those of this run alone.
        File::create(&log)?;
        Ok(Self(Process::start(command, &log)?))
    }
}

impl Drop for Bench {
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

/// The figures of a load in what a bench printed.
fn figures(load: Load, printed: &str) -> Result<Figures> {
    let report: Value =
        serde_json::from_str(printed).with_context(|| format!("stentor bench printed {printed:?}"))?;
    let mut figures = Figures::new();
    for quantity in load.quantities() {
        let place = match quantity {
            Quantity::Rate => "/msgs_per_s",
            Quantity::Cpu => "/cpu_s_per_million_messages/daemons",
            Quantity::P50 => "/latency_us/p50",
            Quantity::P99 => "/latency_us/p99",
            // It would have been an error.
            Quantity::Lost => continue,
        };
        let value = report.pointer(place).and_then(Value::as_f64);
        figures.push((
            *quantity,
            value.with_context(|| format!("stentor bench printed no {place}: {printed}"))?,
        ));
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_bench_prints_is_understood() {
        let printed = r#"{"msgs_per_s": 5.0, "latency_us": {"p50": 1.0, "p99": 2.0},
            "cpu_s_per_million_messages": {"daemons": 3.0, "clients": 4.0}}"#;
        let flood = figures(Load::Flood(64), printed).unwrap();
        assert_eq!(flood, [(Quantity::Rate, 5.0), (Quantity::Cpu, 3.0)]);
        assert_eq!(figures(Load::Ping, printed).unwrap(), [(Quantity::P50, 1.0), (Quantity::P99, 2.0)]);
        assert!(figures(Load::Ping, "{}").unwrap_err().to_string().contains("latency_us/p50"));
        assert!(figures(Load::Ping, "no JSON").is_err());
    }
}
