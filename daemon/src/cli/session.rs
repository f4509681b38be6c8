//! What all commands that are programs of a daemon have in common.

use anyhow::Context;
use clap::Args;
use stentor_client::{Address, Connection, SessionName};
use tracing::debug;

use crate::signals::Signals;

/// Which daemon to use.
#[derive(Args, Debug)]
pub(crate) struct ConnectArgs {
    /// The daemon's door for programs [default: what the environment variable `STENTOR_CONNECT` says, or the socket of
    /// a daemon without a configuration file].
    #[arg(long, value_name = "unix:PATH|tcp:HOST:PORT")]
    connect: Option<Address>,
}

/// Which daemon to use, and as whom.
#[derive(Args, Debug)]
pub(crate) struct SessionArgs {
    #[command(flatten)]
    daemon: ConnectArgs,
    /// The name of this session, which no other session of the daemon has [default: one that the daemon chooses].
    #[arg(long)]
    name: Option<SessionName>,
}

impl ConnectArgs {
    /// Opens a session under a name of the daemon's choice.
    pub(crate) async fn open(&self) -> anyhow::Result<Connection> {
        Ok(Connection::connect(&self.address()?).await?)
    }

    /// Where the daemon is.
    pub(crate) fn address(&self) -> anyhow::Result<Address> {
        match &self.connect {
            Some(address) => Ok(address.clone()),
            None => Address::from_env().with_context(|| format!("${}", Address::VARIABLE)),
        }
    }
}

impl SessionArgs {
    /// Opens a session.
    pub(crate) async fn open(&self) -> anyhow::Result<Connection> {
        let mut builder = Connection::builder();
        if let Some(name) = &self.name {
            builder = builder.name(name.as_str())?;
        }
        Ok(builder.connect(&self.daemon.address()?).await?)
    }
}

/// Waits until the process is asked to stop; if it is asked again, it ends at once.
pub(crate) async fn stop() -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    signals.first().await;
    debug!("stopping");
    tokio::spawn(signals.exit_at_second());
    Ok(())
}
