//! The command line: one file for each subcommand.

mod bench;
mod chat;
mod cluster;
mod daemon;
mod demo;
mod heap;
mod import_spread;
pub(crate) mod init;
mod input;
mod join;
mod open_files;
mod output;
mod send;
mod session;
mod spread_password;
mod status;

use anyhow::Context;
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
    /// Join groups and print what happens in them.
    Join(join::JoinArgs),
    /// Send a message, or each line of the input, to groups.
    Send(send::SendArgs),
    /// Talk in a group.
    Chat(chat::ChatArgs),
    /// Show how a daemon is: its view, groups, sessions and history.
    Status(status::StatusArgs),
    /// Measure throughput and latency, of daemons that it starts or of a cluster that runs.
    Bench(bench::BenchArgs),
    /// Make a configuration from one of the Spread toolkit.
    ImportSpread(import_spread::ImportSpreadArgs),
    /// Make a line for the passwords of programs of Spread.
    SpreadPassword(spread_password::SpreadPasswordArgs),
    /// Run a whole cluster for a few seconds, with a crash in the middle, and check what everybody saw.
    Demo(demo::DemoArgs),
}

impl Cli {
    /// Does what was asked.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Init(args) => init::run(args),
            Command::Daemon(args) => daemon::run(args),
            Command::Join(args) => block_on(join::run(args)),
            Command::Send(args) => block_on(send::run(args)),
            Command::Chat(args) => block_on(chat::run(args)),
            Command::Status(args) => block_on(status::run(args)),
            Command::Bench(args) => block_on(bench::run(args)),
            Command::ImportSpread(args) => import_spread::run(&args),
            Command::SpreadPassword(args) => spread_password::run(&args),
            Command::Demo(args) => block_on(demo::run(args)),
        }
    }
}

/// Runs a program of a daemon on this thread.
fn block_on(program: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    runtime.block_on(program)
}
