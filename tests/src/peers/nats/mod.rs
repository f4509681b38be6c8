//! NATS: three servers and a load on them, by subjects alone or by a replicated stream (`JetStream`).

mod connection;
mod flood;
mod ping;
mod receiver;
mod servers;
mod shared;
mod steady;
mod wire;
mod words;

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::spawn_blocking;

use self::servers::Servers;
pub(super) use self::servers::version;
use self::wire::Wire;
use super::load::{Figures, Load};

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// By subjects alone.
    Core,
    /// By a stream with a replica in the memory of each server.
    JetStream,
}

/// A running cluster.
#[derive(Debug)]
pub(super) struct Nats {
    style: Style,
    servers: Servers,
    /// Loads so far: each has its own subjects.
    loads: u32,
}

impl Nats {
    /// Starts servers, and waits until a message reaches all of them.
    pub(super) async fn start(style: Style) -> Result<Self> {
        let mut nats = Self { style, servers: Servers::start(style)?, loads: 0 };
        let wired = nats.wire(false).await;
        wired.with_context(|| format!("the end of the servers' logs: {}", nats.servers.log_end()))?;
        Ok(nats)
    }

    /// Measures a load.
    pub(super) async fn measure(&mut self, load: Load, rate: Option<u64>, span: Duration) -> Result<Figures> {
        let meter = self.servers.meter();
        match load {
            Load::Flood(size) => {
                let wire = self.wire(false).await?;
                spawn_blocking(move || flood::run(wire, size, span, &meter)).await?
            }
            Load::Ping => {
                let wire = self.wire(true).await?;
                spawn_blocking(move || ping::run(wire, span)).await?
            }
            Load::Half => {
                let rate = rate.context("how fast it is was not measured")?;
                let wire = self.wire(false).await?;
                spawn_blocking(move || steady::run(wire, rate, span)).await?
            }
            Load::HalfUndisturbed | Load::Alone(_) => Ok(Figures::new()),
        }
    }

    /// Connects everybody who takes part in the next load.
    async fn wire(&mut self, echo: bool) -> Result<Wire> {
        self.loads += 1;
        let plan =
            wire::Plan { style: self.style, servers: self.servers.addresses(), number: self.loads, echo };
        spawn_blocking(move || plan.connect()).await?
    }
}
