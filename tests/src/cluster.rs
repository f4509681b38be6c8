//! Clusters of real daemons on loopback, with everything they need in a directory of their own.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use stentor_client::{Address, Connection, DaemonStatus};
use stentor_membership::{DaemonName, Phase};
use tempfile::TempDir;
use toml::{Table, Value};

use crate::binary::stentor;
use crate::process::{Process, Signal, run};
use crate::proxy::Network;
use crate::recorder::Recorder;
use crate::scenario::say;
use crate::wait::{PATIENCE, until_every};

/// Lines of each daemon's log that are shown when a test fails.
const SHOWN: usize = 60;

/// Names a directory where the whole logs of a failed test are put.
const KEPT_LOGS: &str = "STENTOR_TEST_LOGS";

/// What a cluster is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    names: Vec<String>,
    settings: Vec<(String, String, Value)>,
    /// The seed of the network between them.
    proxied: Option<u64>,
}

/// Running daemons. Dropped, they are killed; their logs are shown then unless [`finish`](Self::finish) was reached.
#[derive(Debug)]
pub struct Cluster {
    dir: TempDir,
    daemons: BTreeMap<String, Option<Process>>,
    network: Option<Network>,
    finished: bool,
}

impl Plan {
    /// A cluster of daemons with these names and default settings.
    pub fn new(names: &[&str]) -> Self {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Self { names, settings: Vec::new(), proxied: None }
    }

    /// With a setting in all configuration files, such as `membership`, `window`, `"1MiB"`.
    #[must_use]
    pub fn set(mut self, table: &str, key: &str, value: impl Into<Value>) -> Self {
        self.settings.push((table.to_owned(), key.to_owned(), value.into()));
        self
    }

    /// With a network between the daemons that can be spoiled.
    #[must_use]
    pub fn proxied(self) -> Self {
        self.proxied_by(1)
    }

    /// As [`proxied`](Self::proxied), with a seed that decides which packets are lost.
    #[must_use]
    pub fn proxied_by(self, seed: u64) -> Self {
        Self { proxied: Some(seed), ..self }
    }

    /// Makes keys and configurations, and starts no daemon.
    ///
    /// # Errors
    /// If `stentor init` fails, or there are no ports.
    pub async fn lay_out(&self) -> Result<Cluster> {
        let dir = tempfile::Builder::new().prefix("stentor-").tempdir()?;
        let mut addresses = BTreeMap::new();
        let mut init = Command::new(stentor()?);
        init.arg("init").arg(dir.path());
        for name in &self.names {
            let address = free_address()?;
            init.args(["--daemon", &format!("{name}={address}")]);
            addresses.insert(name.clone(), address);
        }
        let output = run(&mut init, b"", PATIENCE).await?;
        ensure!(output.status.success(), "init failed: {}", String::from_utf8_lossy(&output.stderr));
        let network = self.proxied.map(|seed| Network::start(&addresses, seed)).transpose()?;
        let daemons = self.names.iter().map(|name| (name.clone(), None)).collect();
        let cluster = Cluster { dir, daemons, network, finished: false };
        for name in &self.names {
            self.configure(&cluster, name)?;
        }
        Ok(cluster)
    }

    /// Starts all daemons, and waits until they are one view.
    ///
    /// # Errors
    /// If they do not get there.
    pub async fn start(&self) -> Result<Cluster> {
        let mut cluster = self.lay_out().await?;
        for name in &self.names {
            cluster.start(name)?;
        }
        let names: Vec<_> = self.names.iter().map(String::as_str).collect();
        cluster.until_view(&names).await?;
        Ok(cluster)
    }

    fn configure(&self, cluster: &Cluster, name: &str) -> Result<()> {
        if self.settings.is_empty() && self.proxied.is_none() {
            return Ok(());
        }
        cluster.edit_config(name, |config| {
            for (table, key, value) in &self.settings {
                let table = config.entry(table).or_insert_with(|| Value::Table(Table::new()));
                table.as_table_mut().context("not a table")?.insert(key.clone(), value.clone());
            }
            let daemons = config.get_mut("daemons").and_then(Value::as_table_mut).context("no daemons")?;
            for (peer, address) in daemons.iter_mut().filter(|(peer, _)| *peer != name) {
                if let Some(network) = &cluster.network {
                    *address = network.entrance(name, peer)?.to_string().into();
                }
            }
            Ok(())
        })
    }
}

impl Cluster {
    /// Starts a daemon that does not run. Does not wait until it serves.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&mut self, name: &str) -> Result<()> {
        let mut command = self.command(name)?;
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let process = Process::start(&mut command, &self.log_path(name))?;
        *self.daemons.get_mut(name).with_context(|| format!("no daemon {name}"))? = Some(process);
        Ok(())
    }

    /// The command that starts a daemon.
    ///
    /// # Errors
    /// If there is no binary.
    pub fn command(&self, name: &str) -> Result<Command> {
        let mut command = Command::new(stentor()?);
        command.arg("daemon").arg("--config").arg(self.config(name));
        Ok(command)
    }

    /// The directory with all files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A daemon's configuration file.
    pub fn config(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.toml"))
    }

    /// Changes a daemon's configuration; it takes effect at the next start.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn edit_config(&self, name: &str, edit: impl FnOnce(&mut Table) -> Result<()>) -> Result<()> {
        let path = self.config(name);
        let mut config: Table = toml::from_str(&fs::read_to_string(&path)?)?;
        edit(&mut config)?;
        Ok(fs::write(path, toml::to_string(&config)?)?)
    }

    /// Where a daemon takes clients.
    pub fn address(&self, name: &str) -> Address {
        Address::Unix(self.dir.path().join(format!("{name}.sock")))
    }

    /// The network between the daemons, if it was planned.
    ///
    /// # Errors
    /// If it was not.
    pub fn network(&self) -> Result<&Network> {
        self.network.as_ref().context("this cluster has no proxies")
    }

    /// A running daemon.
    ///
    /// # Errors
    /// If it does not run.
    pub fn daemon(&mut self, name: &str) -> Result<&mut Process> {
        let daemon = self.daemons.get_mut(name).and_then(Option::as_mut);
        daemon.with_context(|| format!("no daemon {name} runs"))
    }

    /// What a daemon logged, over all its runs since [`turn_log`](Self::turn_log).
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.log_path(name)).unwrap_or_default()
    }

    /// Begins a new log for a daemon; of the old ones, the last is kept beside it.
    ///
    /// # Errors
    /// If the files cannot be written.
    pub fn turn_log(&self, name: &str) -> Result<()> {
        let path = self.log_path(name);
        fs::copy(&path, self.dir.path().join(format!("{name}.before.log")))?;
        // The daemon goes on at the new end, as it appends.
        fs::File::options().write(true).truncate(true).open(&path)?;
        Ok(())
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.log"))
    }

    /// Keeps the directory with all files when the cluster is gone, and says where it is.
    pub fn keep(&mut self) -> PathBuf {
        self.dir.disable_cleanup(true);
        self.dir.path().to_owned()
    }

    /// Kills a daemon without a warning.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&mut self, name: &str) -> Result<()> {
        self.daemon(name)?.kill()?;
        self.daemons.insert(name.to_owned(), None);
        Ok(())
    }

    /// Asks a daemon to leave, and waits until it has.
    ///
    /// # Errors
    /// If it stays.
    pub async fn terminate(&mut self, name: &str) -> Result<ExitStatus> {
        let daemon = self.daemon(name)?;
        daemon.signal(Signal::TERM)?;
        let status = daemon.wait(PATIENCE).await?;
        self.daemons.insert(name.to_owned(), None);
        Ok(status)
    }

    /// Opens a recorded session.
    ///
    /// # Errors
    /// If the daemon does not serve.
    pub async fn connect(&self, daemon: &str, session: &str) -> Result<Recorder> {
        Recorder::connect(&self.address(daemon), session).await
    }

    /// A daemon's report of itself.
    ///
    /// # Errors
    /// If it does not answer soon.
    pub async fn status(&self, name: &str) -> Result<DaemonStatus> {
        let limit = Duration::from_secs(2);
        let connection = Connection::builder().timeout(limit).connect(&self.address(name)).await?;
        let status = tokio::time::timeout(limit, connection.sender.status()).await;
        Ok(status.with_context(|| format!("{name} does not report"))??)
    }

    /// One of a daemon's counters.
    ///
    /// # Errors
    /// If there is no such counter, or no answer.
    pub async fn counter(&self, daemon: &str, counter: &str) -> Result<u64> {
        let status = self.status(daemon).await?;
        let found = status.counters.iter().find(|(name, _)| name == counter);
        found.map(|(_, value)| *value).with_context(|| format!("no counter {counter}: {:?}", status.counters))
    }

    /// Waits until these daemons are in one view that holds exactly them.
    ///
    /// # Errors
    /// What the last look showed instead.
    pub async fn until_view(&self, names: &[&str]) -> Result<()> {
        // Each look is a session: not too many of them.
        let pause = Duration::from_millis(50);
        until_every(pause, PATIENCE, &format!("{names:?} are one view"), async || {
            let mut view = None;
            for name in names {
                let status = self.status(name).await?;
                let members: Vec<DaemonName> = status.members.iter().map(|member| member.name).collect();
                let right = members.iter().map(DaemonName::as_str).eq(names.iter().copied());
                ensure!(right, "{name} is with {members:?} in {}", status.view);
                ensure!(status.phase == Phase::Operational, "{name} is {:?}", status.phase);
                let view = view.get_or_insert_with(|| status.view.clone());
                ensure!(*view == status.view, "{name} is in {}, not {view}", status.view);
            }
            Ok(())
        })
        .await
    }

    /// Ends the test in order: all daemons that run leave, and none of them had trouble.
    ///
    /// # Errors
    /// If one had died, does not exit with 0, or panicked.
    pub async fn finish(mut self) -> Result<()> {
        for (name, daemon) in &mut self.daemons {
            let Some(daemon) = daemon else { continue };
            if let Some(status) = daemon.ended()? {
                bail!("{name} has died: {status}");
            }
            daemon.signal(Signal::TERM)?;
        }
        for (name, daemon) in &mut self.daemons {
            if let Some(daemon) = daemon {
                let status = daemon.wait(PATIENCE).await?;
                ensure!(status.success(), "{name} left with {status}");
            }
        }
        for name in self.daemons.keys() {
            ensure!(!self.log(name).contains("panicked"), "{name} panicked");
        }
        self.finished = true;
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        for name in self.daemons.keys() {
            let log = self.log(name);
            if let Some(dir) = std::env::var_os(KEPT_LOGS) {
                // For whoever debugs; the last lines are shown anyway.
                let _ = fs::write(PathBuf::from(dir).join(format!("{name}.log")), &log);
            }
            let lines: Vec<_> = log.lines().collect();
            let from = lines.len().saturating_sub(SHOWN);
            say(&format!("--- the last of {} lines of {name}:", lines.len()));
            for line in lines.get(from..).unwrap_or_default() {
                say(line);
            }
        }
    }
}

/// A free UDP address on loopback. Below the range that the system gives out by itself, and different for processes
/// that run at the same time, so that nobody takes it before the daemon does.
///
/// # Errors
/// If there is none.
pub fn free_address() -> Result<SocketAddr> {
    const FIRST: u16 = 10_000;
    const RANGE: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % u32::from(RANGE))?;
    for _ in 0..RANGE {
        // Far apart for processes with neighbouring ids.
        let offset = start.wrapping_mul(101).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % RANGE;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + offset));
        if UdpSocket::bind(address).is_ok() && std::net::TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port between {FIRST} and {}", FIRST + RANGE)
}
