//! Who is measured.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use super::corosync::{self, Corosync};
use super::load::{Figures, Load};
use super::nats::{self, Nats, Style};
use super::stentor::{self, Stentor};

/// A system that is measured: a column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// Stentor, by its own `stentor bench`
    Stentor,
    /// NATS, subjects alone
    Nats,
    /// NATS with a stream that has three replicas
    Jetstream,
    /// Corosync
    Corosync,
    /// Corosync, encrypted
    CorosyncAes256,
}

impl Kind {
    /// What it is, for those who read the table.
    pub fn about(self) -> &'static str {
        match self {
            Self::Stentor => "AGREED; encrypted, members authenticated by certificates",
            Self::Nats => "core; plain TCP, promises neither delivery nor an order among publishers",
            Self::Jetstream => {
                "JetStream, one stream with three replicas in memory, pushed to each receiver; plain TCP"
            }
            Self::Corosync => "CPG over knet, plain; MTU 1500, network namespaces",
            Self::CorosyncAes256 => "CPG over knet, aes256 and sha256; MTU 1500, network namespaces",
        }
    }

    /// What is installed.
    ///
    /// # Errors
    /// If nothing is, with what to install.
    pub(super) fn version(self) -> Result<String> {
        match self {
            Self::Stentor => stentor::version(),
            Self::Nats | Self::Jetstream => nats::version(),
            Self::Corosync | Self::CorosyncAes256 => corosync::version(),
        }
    }

    pub(super) async fn start(self) -> Result<System> {
        Ok(match self {
            Self::Stentor => System::Stentor(Stentor::start()?),
            Self::Nats => System::Nats(Nats::start(Style::Core).await?),
            Self::Jetstream => System::Nats(Nats::start(Style::JetStream).await?),
            Self::Corosync => System::Corosync(Corosync::start(false).await?),
            Self::CorosyncAes256 => System::Corosync(Corosync::start(true).await?),
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stentor => "stentor",
            Self::Nats => "nats",
            Self::Jetstream => "jetstream",
            Self::Corosync => "corosync",
            Self::CorosyncAes256 => "corosync-aes256",
        })
    }
}

/// A system that runs. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub(super) enum System {
    Stentor(Stentor),
    Nats(Nats),
    Corosync(Corosync),
}

impl System {
    /// Measures a load; `rate` in messages a second, if it needs one.
    pub(super) async fn measure(&mut self, load: Load, rate: Option<u64>, span: Duration) -> Result<Figures> {
        match self {
            Self::Stentor(stentor) => stentor.measure(load, rate, span).await,
            Self::Nats(nats) => nats.measure(load, rate, span).await,
            Self::Corosync(corosync) => corosync.measure(load, span).await,
        }
    }
}
