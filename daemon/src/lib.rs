//! The insides of the `stentor` binary. Its interface is the command line; the library is there so that what
//! reads untrusted text can be driven without starting a process.

mod cli;
pub mod config;
mod driver;
mod metrics;
mod session;
mod signals;
mod spread;
mod transport;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

/// Does what the command line of this process says.
#[must_use]
pub fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a standard error there is only the exit code.
            let _ = writeln!(std::io::stderr(), "stentor: {error:#}");
            ExitCode::FAILURE
        }
    }
}
