//! The command line: one file for each subcommand.

mod daemon;
pub(crate) mod init;

use clap::{Parser, Subcommand};

/// Fault-tolerant group messaging: programs join named groups and multicast to them; all members see the same
/// messages and membership changes in the same order, through crashes, partitions and merges.
#[derive(Debug, Parser)]
#[command(name = "stentor", version, propagate_version = true)]
#[command(
    after_help = "Begin with `stentor demo`, or with a cluster of one: `stentor daemon`, and in other \
    terminals `stentor chat GROUP`.\nExit codes: 0 all is well, 1 it failed, 2 the command line is wrong."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the keys and configurations of a new cluster.
    Init(init::InitArgs),
    /// Run a daemon.
    Daemon(daemon::DaemonArgs),
}

impl Cli {
    /// Does what was asked.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Init(args) => init::run(args),
            Command::Daemon(args) => daemon::run(args),
        }
    }
}
