//! Stentor itself, by the load generator that users get: `stentor bench`.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, getrlimit};
use serde_json::Value;

use super::load::{Figures, Load, Quantity, WARM_UP};
use super::nodes::first_line;
use crate::bench::{Bench, number};
use crate::binary::stentor;

/// How long a bench may take beside warm-up and span.
const LIMIT: Duration = Duration::from_secs(60);

/// It starts daemons for each load anew.
#[derive(Debug)]
pub(super) struct Stentor {
    bench: Bench,
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
        Ok(Self { bench: Bench::new()? })
    }

    /// Measures a load.
    pub(super) async fn measure(&self, load: Load, rate: Option<u64>, span: Duration) -> Result<Figures> {
        let mut arguments = load.bench_arguments(rate);
        arguments.extend(["--repeat".to_owned(), "1".to_owned()]);
        for (option, span) in [("--warm-up", WARM_UP), ("--duration", span)] {
            arguments.extend([option.to_owned(), humantime::format_duration(span).to_string()]);
        }
        figures(load, &self.bench.run(&arguments, WARM_UP + span + LIMIT).await?)
    }
}

/// The capability to have any priority (`CAP_SYS_NICE`), by its number in Linux.
const SYS_NICE: u32 = 23;

/// Whether the system lets who runs this have a real-time priority: what [`Load::HalfUndisturbed`] needs.
pub fn lets_go_first() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = capabilities.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0);
    let limit = getrlimit(Resource::Rtprio).current;
    capabilities & 1 << SYS_NICE != 0 || limit.is_none_or(|limit| limit > 0)
}

/// The figures of a load in what a bench printed.
fn figures(load: Load, report: &Value) -> Result<Figures> {
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
        figures.push((*quantity, number(report, place)?));
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_bench_prints_is_understood() {
        let printed = json!({"msgs_per_s": 5.0, "latency_us": {"p50": 1.0, "p99": 2.0},
            "cpu_s_per_million_messages": {"daemons": 3.0, "clients": 4.0}});
        let flood = figures(Load::Flood(64), &printed).unwrap();
        assert_eq!(flood, [(Quantity::Rate, 5.0), (Quantity::Cpu, 3.0)]);
        assert_eq!(figures(Load::Ping, &printed).unwrap(), [(Quantity::P50, 1.0), (Quantity::P99, 2.0)]);
        assert!(figures(Load::Ping, &json!({})).unwrap_err().to_string().contains("latency_us/p50"));
    }
}
