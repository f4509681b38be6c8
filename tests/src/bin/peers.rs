//! `peers`: Stentor and its peers, measured in turn on this machine.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::Parser;
use stentor_tests::peers::{Kind, Options, Results, SIZE_MIN, run};
use stentor_tests::tool;

/// Measures Stentor beside its peers on this machine, in turn, and prints one table.
///
/// Each system has three nodes, with one sender at the first and one receiver at each; every message is checked. A peer
/// that is not installed is left out, and the table says what to install. Corosync needs root, for network namespaces.
/// Exit code 1 if a measurement failed, or there was nobody to measure; a missed target is no failure.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Bytes of messages.
    #[arg(
        long,
        value_name = "BYTES,..",
        value_delimiter = ',',
        value_parser = size,
        default_value = "64,200,1024,8192,102400"
    )]
    sizes: Vec<usize>,
    /// How long each load is measured.
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "3s")]
    duration: Duration,
    /// How often.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000), default_value_t = 3)]
    rounds: u16,
    /// Only some of them; all by default.
    #[arg(long, value_name = "NAME,..", value_delimiter = ',', value_enum)]
    only: Vec<Kind>,
    /// Measure as well what Stentor has to reach without a peer to compare with: three senders, SAFE, many receivers,
    /// one daemon, open loop.
    #[arg(long)]
    alone: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// The largest message that all of them take.
const SIZE_MAX: usize = 1 << 20;

fn size(text: &str) -> Result<usize> {
    match text.parse() {
        Ok(size) if (SIZE_MIN..=SIZE_MAX).contains(&size) => Ok(size),
        _ => bail!("a message has {SIZE_MIN} to {SIZE_MAX} bytes"),
    }
}

fn span(text: &str) -> Result<Duration> {
    let span = humantime::parse_duration(text)?;
    let allowed = Duration::from_millis(100)..=Duration::from_secs(600);
    ensure!(allowed.contains(&span), "a load is measured for 100ms to 10m");
    Ok(span)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match compare(&arguments) {
        Ok(results) => {
            let text = if arguments.json { format!("{}\n", results.json()) } else { results.text() };
            // Whoever closed the output does not want to know.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            if results.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            // There is nobody else to tell.
            let _ = writeln!(std::io::stderr().lock(), "peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare(arguments: &Arguments) -> Result<Results> {
    let all = [Kind::Stentor, Kind::Nats, Kind::Jetstream, Kind::Corosync, Kind::CorosyncAes256];
    let options = Options {
        kinds: if arguments.only.is_empty() { all.to_vec() } else { arguments.only.clone() },
        sizes: arguments.sizes.clone(),
        span: arguments.duration,
        rounds: arguments.rounds.into(),
        alone: arguments.alone,
    };
    tool::run(async |progress| Ok(run(&options, progress).await))
}
