//! What the peers have in common: three nodes, and processes that end with this one.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::process::{Process, cpu};

/// Nodes of each cluster.
pub(super) const NODES: usize = 3;

/// A command for a program that the system kills when this process ends, however it ends.
pub(super) fn mortal(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

/// The first line that an installed program prints.
///
/// # Errors
/// If it is not there, with what to do.
pub(super) fn first_line(program: &str, arguments: &[&str], hint: &str) -> Result<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{program} cannot be run; {hint}"))?;
    ensure!(output.status.success(), "{program} {arguments:?} ended with {}", output.status);
    let text =
        String::from_utf8_lossy(if output.stdout.is_empty() { &output.stderr } else { &output.stdout });
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// Reads how much time of processors some daemons use.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    pids: Vec<u32>,
}

impl Meter {
    pub(super) fn of(processes: &[Process]) -> Self {
        Self { pids: processes.iter().map(Process::id).collect() }
    }

    /// What all of them have used so far.
    ///
    /// # Errors
    /// If one of them has ended.
    pub(super) fn used(&self) -> Result<Duration> {
        self.pids.iter().map(|pid| cpu(*pid).with_context(|| format!("daemon {pid} has ended"))).sum()
    }
}

/// Seconds of processors for a million messages.
pub(super) fn per_million(used: Duration, messages: f64) -> f64 {
    used.as_secs_f64() * 1e6 / messages.max(1.0)
}

/// The value that so many of a hundred are not above, in microseconds; from nanoseconds.
///
/// # Errors
/// If there are none.
pub(super) fn percentile(nanos: &mut [u64], of_100: usize) -> Result<f64> {
    ensure!(!nanos.is_empty(), "no message came back while it was measured");
    let place = (nanos.len() * of_100).div_ceil(100).saturating_sub(1);
    let (_, value, _) = nanos.select_nth_unstable(place);
    Ok(*value as f64 / 1000.0)
}

/// Nanoseconds since a moment.
pub(super) fn nanos_since(moment: Instant) -> u64 {
    u64::try_from(moment.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut nanos: Vec<u64> = (1..=100).rev().map(|micros| micros * 1000).collect();
        assert_eq!(percentile(&mut nanos, 50).unwrap(), 50.0);
        assert_eq!(percentile(&mut nanos, 99).unwrap(), 99.0);
        assert_eq!(percentile(&mut [7000], 99).unwrap(), 7.0);
        assert!(percentile(&mut [], 50).is_err());
    }

    #[test]
    fn what_is_not_installed_is_said_with_the_package() {
        let said =
            format!("{:#}", first_line("no-such-program", &[], "apt-get install some-package").unwrap_err());
        assert!(said.contains("no-such-program") && said.contains("apt-get install some-package"), "{said}");
        assert_eq!(first_line("echo", &["hello"], "").unwrap(), "hello");
    }

    #[test]
    fn a_meter_sees_a_process_and_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = mortal("sleep");
        let mut process = Process::start(command.arg("600"), &directory.path().join("log")).unwrap();
        let meter = Meter::of(std::slice::from_ref(&process));
        assert!(meter.used().unwrap() < Duration::from_secs(5));
        process.kill().unwrap();
        assert!(meter.used().is_err());
        assert_eq!(per_million(Duration::from_secs(2), 4e6), 0.5);
    }
}
