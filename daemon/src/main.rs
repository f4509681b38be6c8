//! The `stentor` binary.

mod cli;
mod config;
mod driver;
mod metrics;
mod session;
mod signals;
mod spread;
mod transport;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a standard error there is only the exit code.
            let _ = writeln!(std::io::stderr(), "stentor: {error:#}");
            ExitCode::FAILURE
        }
    }
}
