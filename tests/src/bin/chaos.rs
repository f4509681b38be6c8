//! `chaos`: real daemons and clients under random faults, for minutes or for days.

use std::io::Write;
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use stentor_tests::binary::stentor;
use stentor_tests::chaos::{Options, run};

/// Runs real daemons and clients under faults drawn from a seed, and checks what the clients see.
///
/// It ends with exit code 1 at the first violation, and says where the logs and histories are kept then.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// How long.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "60s")]
    time: Duration,
    /// Decides which faults there are and when; another one each time by default.
    #[arg(long)]
    seed: Option<u64>,
    /// The number of daemons, or a range from which the seed chooses.
    #[arg(long, value_name = "N or A..B", value_parser = daemons, default_value = "3..5")]
    daemons: RangeInclusive<usize>,
}

fn daemons(text: &str) -> anyhow::Result<RangeInclusive<usize>> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let number =
        |text: &str| text.parse().with_context(|| format!("{text:?} is no number of daemons, as 3 or 3..5"));
    let (from, to) = (number(from)?, number(to)?);
    if !(2..=26).contains(&from) || !(from..=26).contains(&to) {
        bail!("there can be 2 to 26 daemons, the lower number first");
    }
    Ok(from..=to)
}

fn main() -> ExitCode {
    let Arguments { time, seed, daemons } = Arguments::parse();
    let options = Options { seed: seed.unwrap_or_else(rand::random), time, daemons };
    say(&format!("seed {}", options.seed));
    match chaos(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("VIOLATION: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn chaos(options: &Options) -> anyhow::Result<()> {
    // Built before the clock starts.
    stentor()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(run(options, say))?;
    say(&format!("no violation; put to the test: {:?}", outcome.totals.checked));
    Ok(())
}

fn say(text: &str) {
    // Whoever closed the output does not want to know.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
