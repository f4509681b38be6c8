//! `scale`: what a message costs as there is more of everything.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use stentor_tests::scale::{Axis, Options, run, text};
use stentor_tests::tool;

/// Measures how the cost of a message grows with the number of daemons, of groups, of sessions, and of members of a group,
/// and prints tables of Markdown.
///
/// Each point is a cluster of three daemons on this machine, but for the first table, with one sender and one receiver at
/// each daemon, messages of 64 bytes, Agreed; every message is checked. Best on a machine that does nothing else.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Only some of the tables; all by default.
    #[arg(long, value_name = "NAME,..", value_delimiter = ',', value_enum)]
    only: Vec<Axis>,
    /// No point with more than so many.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), default_value_t = u32::MAX)]
    most: u32,
    /// How long each measurement takes, beside the opening of sessions.
    #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration, default_value = "1s")]
    duration: Duration,
    /// How often each is done.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000), default_value_t = 3)]
    rounds: u16,
}

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(text) => {
            // Whoever closed the output does not want to know.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            // There is nobody else to tell.
            let _ = writeln!(std::io::stderr().lock(), "scale: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<String> {
    let options = Options {
        axes: if arguments.only.is_empty() { Axis::ALL.to_vec() } else { arguments.only.clone() },
        most: arguments.most,
        span: arguments.duration,
        rounds: arguments.rounds.into(),
    };
    Ok(text(&tool::run(async |progress| run(&options, progress).await)?))
}
