//! The daemons of a chaos run: what is done to them, and what they must not do by themselves.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use stentor_client::Address;
use tokio::net::UnixStream;

use super::schedule::{Daemon, Fault};
use crate::cluster::{Cluster, Plan};
use crate::process::Signal;
use crate::wait::{PATIENCE, until};

/// A message that is much larger than a frame must fit, and what may wait for a client.
const MAX_MESSAGE: &str = "1600KiB";
const CLIENT_QUEUE: &str = "2MiB";

/// What a daemon may hold: its own and the others' windows, what waits for links and clients, and room for a heap that
/// was once fuller.
pub(crate) const MEMORY: u64 = 400 << 20;

/// How long a daemon may take to stop when asked to.
const STOP: Duration = Duration::from_secs(30);

/// How a daemon is at present, by the test's doing.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Up,
    Paused,
    Leaving(Instant),
    Down,
}

/// The cluster, with what was done to it.
#[derive(Debug)]
pub(crate) struct Daemons {
    pub(crate) cluster: Cluster,
    names: Vec<String>,
    states: Vec<State>,
    /// Those whose clients may have lost their connections without a word since the last [`rest`](Self::rest).
    killed: BTreeSet<Daemon>,
    /// Those that stopped in order since then: a client that does not read may miss their goodbye.
    stopped: BTreeSet<Daemon>,
    peak: u64,
}

impl Daemons {
    /// Starts them.
    pub(crate) async fn start(count: usize, seed: u64) -> Result<Self> {
        let names: Vec<String> = ('a'..='z').take(count).map(String::from).collect();
        let plan = Plan::new(&names.iter().map(String::as_str).collect::<Vec<_>>()).proxied_by(seed);
        let plan = plan.set("membership", "max_message", MAX_MESSAGE);
        let cluster = plan.set("clients", "session_queue_out", CLIENT_QUEUE).start().await?;
        let states = vec![State::Up; count];
        Ok(Self { cluster, names, states, killed: BTreeSet::new(), stopped: BTreeSet::new(), peak: 0 })
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn name(&self, daemon: Daemon) -> &str {
        self.names.get(daemon).map_or("", String::as_str)
    }

    pub(crate) fn address(&self, daemon: Daemon) -> Address {
        self.cluster.address(self.name(daemon))
    }

    /// The most memory that any daemon was seen to hold, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.peak
    }

    /// Does to a daemon or the network what the schedule says; false if that makes no sense now.
    pub(crate) async fn apply(&mut self, fault: &Fault) -> Result<bool> {
        match *fault {
            Fault::Kill(daemon) => self.kill(daemon)?,
            Fault::Stop(daemon) => return self.stop(daemon).await,
            Fault::Start(daemon) => self.run(daemon).await?,
            Fault::Pause(daemon) => {
                self.process(daemon)?.pause().await?;
                self.set(daemon, State::Paused);
            }
            Fault::Resume(daemon) => {
                self.process(daemon)?.resume()?;
                self.set(daemon, State::Up);
            }
            Fault::Split(ref parts) => {
                let parts: Vec<Vec<&str>> = parts.iter().map(|part| self.names_of(part)).collect();
                let parts: Vec<&[&str]> = parts.iter().map(Vec::as_slice).collect();
                self.cluster.network()?.heal();
                self.cluster.network()?.split(&parts);
            }
            Fault::OneWay(from, to) => {
                self.cluster.network()?.heal();
                self.cluster.network()?.cut(&[self.name(from)], &[self.name(to)]);
            }
            Fault::NonTransitive(one, two) => {
                self.cluster.network()?.heal();
                self.cluster.network()?.split(&[&[self.name(one)], &[self.name(two)]]);
            }
            Fault::Weather(path) => self.cluster.network()?.set_all(path),
            Fault::BadPath(from, to, path) => {
                self.cluster.network()?.set(self.name(from), self.name(to), path);
            }
            Fault::Heal => self.cluster.network()?.heal(),
            Fault::SlowClient(..) | Fault::Storm(..) => return Ok(false),
        }
        Ok(true)
    }

    /// Looks whether a daemon ended by itself or grew too large.
    pub(crate) fn look(&mut self) -> Result<()> {
        for daemon in 0..self.names.len() {
            let name = self.name(daemon).to_owned();
            let ended = self.process(daemon)?.ended()?;
            match (self.state(daemon), ended) {
                (State::Down, _) => {}
                (State::Leaving(_), Some(status)) => {
                    ensure!(status.success(), "{name} was asked to stop, and ended with {status}");
                    self.set(daemon, State::Down);
                }
                (State::Leaving(since), None) => {
                    ensure!(
                        since.elapsed() < STOP,
                        "{name} was asked to stop, and still runs after {STOP:?}"
                    );
                }
                (State::Up | State::Paused, Some(status)) => {
                    self.set(daemon, State::Down);
                    anyhow::bail!("{name} ended by itself: {status}");
                }
                (State::Up | State::Paused, None) => {
                    let resident = self.process(daemon)?.resident()?;
                    self.peak = self.peak.max(resident);
                    let (is, limit) = (resident >> 20, MEMORY >> 20);
                    ensure!(resident < MEMORY, "{name} holds {is} MiB of memory, more than {limit}");
                }
            }
        }
        Ok(())
    }

    /// Puts everything right, and waits until all are in one view. Gives the time that this took.
    pub(crate) async fn rest(&mut self) -> Result<Duration> {
        let begin = Instant::now();
        self.cluster.network()?.heal();
        for daemon in 0..self.names.len() {
            match self.state(daemon) {
                State::Up => {}
                State::Paused => {
                    self.apply(&Fault::Resume(daemon)).await?;
                }
                State::Leaving(_) | State::Down => self.run(daemon).await?,
            }
        }
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        self.cluster.until_view(&names).await?;
        self.look()?;
        Ok(begin.elapsed())
    }

    /// Waits until no daemon knows of any group.
    pub(crate) async fn until_empty(&self) -> Result<()> {
        until(PATIENCE, "no daemon holds anything of clients that are gone", async || {
            for name in &self.names {
                let status = self.cluster.status(name).await?;
                let (groups, sessions) = (status.groups, status.sessions_total);
                ensure!(groups == 0 && sessions <= 1, "{name} has {groups} groups, {sessions} sessions");
            }
            Ok(())
        })
        .await
    }

    /// Those that were killed since the last call.
    pub(crate) fn take_killed(&mut self) -> BTreeSet<Daemon> {
        std::mem::take(&mut self.killed)
    }

    /// Those that were told to stop since the last call.
    pub(crate) fn take_stopped(&mut self) -> BTreeSet<Daemon> {
        std::mem::take(&mut self.stopped)
    }

    fn kill(&mut self, daemon: Daemon) -> Result<()> {
        self.look()?;
        let name = self.name(daemon).to_owned();
        self.process(daemon)?.kill().with_context(|| format!("cannot kill {name}"))?;
        self.killed.insert(daemon);
        self.set(daemon, State::Down);
        Ok(())
    }

    /// Not one that has only just begun: it would die of the signal.
    async fn stop(&mut self, daemon: Daemon) -> Result<bool> {
        let Address::Unix(socket) = self.address(daemon) else { return Ok(false) };
        if UnixStream::connect(socket).await.is_err() {
            return Ok(false);
        }
        self.process(daemon)?.signal(Signal::TERM)?;
        self.stopped.insert(daemon);
        self.set(daemon, State::Leaving(Instant::now()));
        Ok(true)
    }

    async fn run(&mut self, daemon: Daemon) -> Result<()> {
        if matches!(self.state(daemon), State::Up | State::Paused) {
            // Its stop made no sense.
            return Ok(());
        }
        if matches!(self.state(daemon), State::Leaving(_)) {
            self.process(daemon)?.wait(STOP).await?;
            self.look()?;
        }
        let name = self.name(daemon).to_owned();
        self.cluster.start(&name)?;
        self.set(daemon, State::Up);
        Ok(())
    }

    fn process(&mut self, daemon: Daemon) -> Result<&mut crate::process::Process> {
        let name = self.names.get(daemon).context("no such daemon")?;
        self.cluster.daemon(name)
    }

    fn names_of(&self, daemons: &[Daemon]) -> Vec<&str> {
        daemons.iter().map(|daemon| self.name(*daemon)).collect()
    }

    fn state(&self, daemon: Daemon) -> State {
        self.states.get(daemon).copied().unwrap_or(State::Down)
    }

    fn set(&mut self, daemon: Daemon, state: State) {
        if let Some(old) = self.states.get_mut(daemon) {
            *old = state;
        }
    }
}
