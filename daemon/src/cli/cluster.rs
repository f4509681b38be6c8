//! A cluster to throw away: real daemons of this executable, with keys and sockets in a directory of their own.

use std::fs::File;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use stentor_client::{Address, Connection, Sender};
use stentor_membership::DaemonName;
use tempfile::TempDir;

use super::init::{DaemonAt, Plan, create};
use crate::config::units::HostPort;

/// How often something is looked at that does not report by itself.
const LOOK: Duration = Duration::from_millis(10);

/// How long a daemon may take to start, or to stop.
const DAEMON_PATIENCE: Duration = Duration::from_secs(20);

/// The last lines of a daemon's log, for an error.
const LOG_LINES: usize = 12;

/// Some daemons. Dropping it kills what runs and removes the directory.
pub(crate) struct Cluster {
    daemons: Vec<Daemon>,
    directory: TempDir,
}

struct Daemon {
    name: String,
    config: PathBuf,
    process: Option<Process>,
}

/// A process that does not outlive this value.
struct Process(Child);

impl Cluster {
    /// Makes keys and configurations for daemons with these names, on ports that are free now. `purpose` is a part of
    /// the directory's name.
    pub(crate) fn make(purpose: &str, names: &[&str]) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix(&format!("stentor-{purpose}-"))
            .tempdir()
            .context("cannot make a temporary directory: set TMPDIR to one that can be written")?;
        // All are held until the last is found, so that they differ.
        let sockets: Vec<_> = names
            .iter()
            .map(|_| UdpSocket::bind(("127.0.0.1", 0)))
            .collect::<Result<_, _>>()
            .context("cannot open UDP sockets on 127.0.0.1")?;
        let mut daemons = Vec::new();
        for (name, socket) in names.iter().zip(&sockets) {
            let address = HostPort { host: "127.0.0.1".to_owned(), port: socket.local_addr()?.port() };
            daemons.push(DaemonAt { name: DaemonName::new(name)?, address });
        }
        let cluster = purpose.parse().map_err(anyhow::Error::msg)?;
        let configs = create(&Plan { dir: directory.path().to_owned(), cluster, daemons })?;
        let daemon = |(name, config): (&&str, _)| Daemon { name: (*name).to_owned(), config, process: None };
        Ok(Self { daemons: names.iter().zip(configs).map(daemon).collect(), directory })
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts a daemon.
    pub(crate) fn start(&mut self, daemon: usize) -> anyhow::Result<()> {
        let daemon = &mut self.daemons[daemon];
        let log = File::options().create(true).append(true).open(daemon.config.with_extension("log"))?;
        let executable = std::env::current_exe().context("cannot find this executable")?;
        let child = Command::new(executable)
            .args(["daemon", "--log", "info", "--config"])
            .arg(&daemon.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start a daemon")?;
        daemon.process = Some(Process(child));
        Ok(())
    }

    /// Opens a session at a daemon that is starting.
    pub(crate) async fn connect(&mut self, daemon: usize, name: &str) -> anyhow::Result<Connection> {
        let daemon = &mut self.daemons[daemon];
        let (door, address) = (daemon.name.clone(), daemon.address());
        let connect = async {
            loop {
                match Connection::builder().name(name)?.connect(&address).await {
                    Ok(connection) => return Ok(connection),
                    Err(error) => daemon.check_alive().context(error)?,
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(DAEMON_PATIENCE, connect)
            .await
            .unwrap_or_else(|_| bail!("daemon {door} did not start within {DAEMON_PATIENCE:?}"))
    }

    /// Waits until a program's daemon is in one view with all others.
    pub(crate) async fn wait_until_whole(&self, sender: &Sender) -> anyhow::Result<()> {
        let wait = async {
            while sender.status().await?.members.len() < self.daemons.len() {
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        };
        tokio::time::timeout(DAEMON_PATIENCE, wait)
            .await
            .unwrap_or_else(|_| bail!("the daemons did not find together within {DAEMON_PATIENCE:?}"))
    }

    /// The doors of the daemons.
    pub(crate) fn addresses(&self) -> Vec<Address> {
        self.daemons.iter().map(Daemon::address).collect()
    }

    /// The numbers of the processes that run.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.daemons.iter().filter_map(|daemon| Some(daemon.process.as_ref()?.0.id())).collect()
    }

    /// Ends a daemon without a word.
    pub(crate) fn kill(&mut self, daemon: usize) -> anyhow::Result<()> {
        let daemon = &mut self.daemons[daemon];
        daemon.check_alive()?;
        // Dropping it does just that.
        daemon.process = None;
        Ok(())
    }

    /// Ends all daemons in order.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        for daemon in &mut self.daemons {
            daemon.ask_to_stop()?;
        }
        for daemon in &mut self.daemons {
            daemon.await_end().await?;
        }
        Ok(())
    }
}

impl Daemon {
    fn address(&self) -> Address {
        Address::Unix(self.config.with_extension("sock"))
    }

    /// Fails if the daemon has ended.
    fn check_alive(&mut self) -> anyhow::Result<()> {
        match self.process.as_mut().map(|process| process.0.try_wait()) {
            Some(Ok(None)) => Ok(()),
            _ => bail!("daemon {} ended; the end of its log:\n{}", self.name, self.log_end()),
        }
    }

    fn ask_to_stop(&self) -> anyhow::Result<()> {
        let Some(process) = &self.process else { return Ok(()) };
        let pid = i32::try_from(process.0.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("a process without a number")?;
        kill_process(pid, Signal::TERM).with_context(|| format!("cannot stop daemon {}", self.name))
    }

    async fn await_end(&mut self) -> anyhow::Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let wait = async {
            loop {
                if let Some(status) = process.0.try_wait()? {
                    return anyhow::Ok(status);
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let status = tokio::time::timeout(DAEMON_PATIENCE, wait)
            .await
            .with_context(|| format!("daemon {} did not stop within {DAEMON_PATIENCE:?}", self.name))??;
        if !status.success() {
            bail!("daemon {} stopped with {status}; the end of its log:\n{}", self.name, self.log_end());
        }
        self.process = None;
        Ok(())
    }

    fn log_end(&self) -> String {
        let log = std::fs::read_to_string(self.config.with_extension("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
