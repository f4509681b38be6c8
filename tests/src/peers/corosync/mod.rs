//! Corosync: three daemons that talk by knet, and programs of the closed process group service (CPG) at each.

mod client;
mod daemons;

use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use self::client::{Program, Role};
use self::daemons::Daemons;
use super::load::{Figures, Load, PING_SIZE, Quantity, WARM_UP};
use super::nodes::{NODES, first_line, per_million};

/// What to do if it is not there.
const HINT: &str = "on Debian: apt-get install corosync";

/// A running cluster.
#[derive(Debug)]
pub(super) struct Corosync {
    daemons: Daemons,
    program: Program,
    /// Of the daemons and the programs.
    directory: TempDir,
    /// Loads so far: each has a group of its own.
    loads: u32,
}

/// What the installed daemon says of its version.
///
/// # Errors
/// If there is none, with what to install.
pub(super) fn version() -> Result<String> {
    let line = first_line("corosync", &["-v"], HINT)?;
    Ok(line.replace("Corosync Cluster Engine, version", "corosync").replace('\'', ""))
}

impl Corosync {
    /// Starts daemons, and waits until a group has a member at each.
    pub(super) async fn start(encrypted: bool) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("stentor-peers-corosync-").tempdir()?;
        let program = Program::build(directory.path())?;
        let daemons = Daemons::start(directory.path(), encrypted).await?;
        let mut corosync = Self { daemons, program, directory, loads: 0 };
        let found = corosync.run(Role::Receive, PING_SIZE, Duration::ZERO).await;
        found.with_context(|| format!("the end of the daemons' logs: {}", corosync.daemons.log_end()))?;
        Ok(corosync)
    }

    /// Measures a load.
    pub(super) async fn measure(&mut self, load: Load, span: Duration) -> Result<Figures> {
        match load {
            Load::Flood(size) => self.run(Role::Flood, size, span).await,
            Load::Ping => self.run(Role::Ping, PING_SIZE, span).await,
            Load::Half | Load::HalfUndisturbed | Load::Alone(_) => Ok(Figures::new()),
        }
    }

    /// Starts a program at each node, the first in this role, and sums up what they saw. If the first only receives as
    /// well, it is over once all have found one another.
    async fn run(&mut self, role: Role, size: usize, span: Duration) -> Result<Figures> {
        self.loads += 1;
        let group = format!("load-{}", self.loads);
        let meter = self.daemons.meter();
        let mut clients = Vec::new();
        for node in 0..NODES {
            let role = if node == 0 { role } else { Role::Receive };
            let log = self.directory.path().join(format!("client-{node}"));
            clients.push(self.program.start(self.daemons.enter(node), role, &group, size, span, &log)?);
        }
        for client in &mut clients {
            client.until_ready().await?;
        }
        if role == Role::Receive {
            return Ok(Figures::new());
        }
        // The sender last.
        for client in clients.iter_mut().rev() {
            client.go()?;
        }
        tokio::time::sleep(WARM_UP).await;
        let before = meter.used()?;
        tokio::time::sleep(span).await;
        let used = meter.used()?.saturating_sub(before);
        let mut seen = Vec::new();
        for client in &mut clients {
            seen.push(client.finish().await?);
        }
        match role {
            Role::Flood => {
                let measured = || seen.iter().map(|seen| seen.measured);
                let mean = measured().sum::<u64>() as f64 / NODES as f64;
                let rate = measured().min().unwrap_or(0) as f64 / span.as_secs_f64();
                Ok(vec![(Quantity::Rate, rate), (Quantity::Cpu, per_million(used, mean))])
            }
            Role::Ping | Role::Receive => {
                let (p50, p99) = seen[0].percentiles.context("a ping without a result")?;
                Ok(vec![(Quantity::P50, p50), (Quantity::P99, p99)])
            }
        }
    }
}
