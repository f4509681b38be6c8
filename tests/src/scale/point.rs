//! One point: a load flat out, and a ping.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::Options;
use crate::bench::{Bench, number};

/// How long a bench may take beside what it measures: 100,000 groups take their time to join.
const LIMIT: Duration = Duration::from_secs(300);

/// What came out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    /// Messages a second at the slowest receiver.
    pub(super) rate: Median,
    /// Seconds of processors that all daemons together take for a million messages.
    pub(super) cpu: f64,
    /// Microseconds until the sender of a single message sees it.
    pub(super) ping: Median,
    /// Seconds until all sessions were open and in their groups.
    pub(super) opening: f64,
    /// MB of the largest daemon.
    pub(super) memory: f64,
}

/// Of several rounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Median {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Median {
    fn of(report: &Value, place: &str) -> Result<Self> {
        let of = |what| number(report, &format!("/spread/{place}/{what}"));
        Ok(Self { median: of("median")?, min: of("min")?, max: of("max")? })
    }
}

impl Point {
    pub(super) async fn measure(bench: &Bench, arguments: &[String], options: &Options) -> Result<Self> {
        let span = humantime::format_duration(options.span).to_string();
        let mut arguments = arguments.to_vec();
        arguments.extend(["--duration".to_owned(), span, "--repeat".to_owned(), options.rounds.to_string()]);
        let limit = LIMIT + options.span * u32::try_from(options.rounds)?;
        let flood = bench.run(&arguments, limit).await?;
        arguments.extend(["--in-flight".to_owned(), "1".to_owned()]);
        let ping = bench.run(&arguments, limit).await?;
        Ok(Self {
            rate: Median::of(&flood, "msgs_per_s")?,
            cpu: number(&flood, "/cpu_s_per_million_messages/daemons")?,
            ping: Median::of(&ping, "latency_us/p50")?,
            opening: number(&ping, "/opening_s")?,
            memory: number(&ping, "/rss_mb_of_largest_daemon")?,
        })
    }
}
