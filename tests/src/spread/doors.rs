//! Clusters whose daemons have a door for Spread programs.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::client::{Client, Raw};
use crate::cluster::{Cluster, Plan, free_address};

/// Where Spread programs are let in.
#[derive(Clone, Debug)]
pub enum Place {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP socket.
    Tcp(SocketAddr),
}

/// A cluster with doors: one unix and one TCP socket for each daemon.
#[derive(Debug)]
pub struct Doors {
    cluster: Cluster,
    tcp: Vec<(String, SocketAddr)>,
}

impl Doors {
    /// Lays out a cluster and opens the doors, with more settings of `[spread]`; starts no daemon.
    ///
    /// # Errors
    /// If there are no ports, or files cannot be written.
    pub async fn lay_out(plan: &Plan, names: &[&str], settings: &str) -> Result<Self> {
        let cluster = plan.lay_out().await?;
        let mut tcp = Vec::new();
        for daemon in names {
            let address = free_address()?;
            tcp.push(((*daemon).to_owned(), address));
            let mut spread: Table = toml::from_str(settings)?;
            let listen = [format!("unix:{daemon}.spread"), address.to_string()];
            spread.insert("listen".to_owned(), listen.to_vec().into());
            cluster.edit_config(daemon, |config| {
                config.insert("spread".to_owned(), Value::Table(spread));
                Ok(())
            })?;
        }
        Ok(Self { cluster, tcp })
    }

    /// A cluster of these daemons, all in one view.
    ///
    /// # Errors
    /// If they do not get there.
    pub async fn start(names: &[&str]) -> Result<Self> {
        Self::start_with(&Plan::new(names), names, "").await
    }

    /// The same with other settings.
    ///
    /// # Errors
    /// If they do not get there.
    pub async fn start_with(plan: &Plan, names: &[&str], settings: &str) -> Result<Self> {
        let mut doors = Self::lay_out(plan, names, settings).await?;
        for daemon in names {
            doors.cluster.start(daemon)?;
        }
        doors.cluster.until_view(names).await?;
        Ok(doors)
    }

    /// A daemon's unix socket.
    pub fn unix(&self, daemon: &str) -> Place {
        Place::Unix(self.cluster.dir().join(format!("{daemon}.spread")))
    }

    /// A daemon's TCP socket.
    ///
    /// # Errors
    /// If there is no such daemon.
    pub fn tcp(&self, daemon: &str) -> Result<Place> {
        let found = self.tcp.iter().find(|(name, _)| name == daemon);
        Ok(Place::Tcp(found.with_context(|| format!("no daemon {daemon}"))?.1))
    }

    /// A connection on which nothing was said.
    ///
    /// # Errors
    /// If nobody listens.
    pub async fn raw(&self, daemon: &str) -> Result<Raw> {
        Raw::connect(&self.unix(daemon)).await
    }

    /// A session with memberships.
    ///
    /// # Errors
    /// If the daemon refuses.
    pub async fn client(&self, daemon: &str, name: &str) -> Result<Client> {
        Client::connect(&self.unix(daemon), name, true).await
    }

    /// Ends the test as [`Cluster::finish`] does.
    ///
    /// # Errors
    /// As that.
    pub async fn finish(self) -> Result<()> {
        self.cluster.finish().await
    }
}

impl Deref for Doors {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl DerefMut for Doors {
    fn deref_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }
}
