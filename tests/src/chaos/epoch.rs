//! A stretch of chaos that ends in peace: then everything that was accepted must be there, and what the clients saw
//! is judged.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};
use stentor_client::{Disconnected, GoodbyeCode};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::daemons::Daemons;
use super::schedule::{Daemon, Fault, Step, draw};
use super::storm::storm;
use super::tapes::Tapes;
use super::worker::{EVERYBODY, Mode, Place, Role, Worker};
use crate::checker::{Report, check};
use crate::log::Log;
use crate::recorder::Recorder;
use crate::tape::{End, Tape};
use crate::verdict::settle;
use crate::wait::{PATIENCE, PAUSE, until};

/// Between two looks at the daemons.
pub(crate) const TICK: Duration = Duration::from_millis(500);

/// How long it may take after the end of all faults and the first view of all daemons until all clients are back, and
/// everything that was accepted is delivered.
const DELIVERED: Duration = Duration::from_secs(60);

/// The part of it that clients may take to come back.
const BACK: Duration = Duration::from_secs(40);

/// One epoch.
#[derive(Debug)]
pub(crate) struct Epoch {
    pub(crate) number: u64,
    pub(crate) seed: u64,
    pub(crate) began: SystemTime,
    pub(crate) begin: Instant,
    schedule: Vec<Step>,
    /// What was done so far, when, and whether it made sense.
    pub(crate) done: Vec<(Duration, Fault, bool)>,
    pub(crate) tapes: Tapes,
    mode: watch::Sender<Mode>,
    workers: JoinSet<()>,
    places: Vec<(Daemon, Place)>,
    storms: Vec<JoinHandle<()>>,
    slow: JoinSet<()>,
    random: ChaCha12Rng,
}

/// How an epoch ended.
#[derive(Debug)]
pub(crate) struct Judgement {
    /// What all clients saw.
    pub(crate) logs: Vec<Log>,
    pub(crate) report: Report,
    /// What else was wrong.
    pub(crate) trouble: Option<anyhow::Error>,
    /// Clients that were cut off because they read too slowly.
    pub(crate) slow: u64,
    /// From the end of the faults to one view, and from there until everything was delivered.
    pub(crate) rest: [Duration; 2],
}

impl Judgement {
    /// Passes if nothing was wrong.
    pub(crate) fn ensure(&self) -> Result<()> {
        let violated = self.report.ensure(&[]);
        match (&self.trouble, violated) {
            (None, violated) => violated,
            (Some(trouble), Ok(())) => bail!("{trouble:#}"),
            (Some(trouble), Err(violated)) => bail!("{trouble:#}\n{violated:#}"),
        }
    }
}

impl Epoch {
    /// Draws an epoch, and lets its clients begin.
    pub(crate) fn begin(daemons: &Daemons, number: u64, seed: u64, length: Duration) -> Self {
        let mut random = ChaCha12Rng::seed_from_u64(seed);
        let count = daemons.names().len();
        let schedule = draw(random.random(), count, length);
        let (mode, modes) = watch::channel(Mode::Busy);
        let (tapes, mut workers, mut places) = (Tapes::default(), JoinSet::new(), Vec::new());
        let clients = random.random_range(2..=4);
        let cast: Vec<(Daemon, String)> = (0..count)
            .flat_map(|daemon| (0..clients).map(move |client| (daemon, format!("w{client}"))))
            .collect();
        let everybody: Arc<[String]> =
            cast.iter().map(|(daemon, name)| format!("#{name}#{}", daemons.name(*daemon))).collect();
        // Hundreds of messages a second in all.
        let pace =
            Duration::from_millis(if random.random_bool(0.15) { 2 } else { random.random_range(5..60) });
        for (daemon, name) in cast {
            let worker = Worker::new(Role {
                name,
                address: daemons.address(daemon),
                seed: random.random(),
                everybody: everybody.clone(),
                pace,
                mode: modes.clone(),
                tapes: tapes.clone(),
            });
            places.push((daemon, worker.place()));
            workers.spawn(worker.run());
        }
        Self {
            number,
            seed,
            began: SystemTime::now(),
            begin: Instant::now(),
            schedule,
            done: Vec::new(),
            tapes,
            mode,
            workers,
            places,
            storms: Vec::new(),
            slow: JoinSet::new(),
            random,
        }
    }

    /// Lets everything happen that the schedule says. `tick` is called now and then.
    ///
    /// # Errors
    /// What a daemon did that it must not.
    pub(crate) async fn chaos(
        &mut self,
        daemons: &mut Daemons,
        length: Duration,
        mut tick: impl FnMut(&Self, &Daemons),
    ) -> Result<()> {
        let end = self.begin + length;
        let mut steps = std::mem::take(&mut self.schedule).into_iter().peekable();
        loop {
            let next = steps.peek().map_or(end, |step| self.begin + step.at).min(end);
            while Instant::now() < next {
                tokio::time::sleep_until((Instant::now() + TICK).min(next).into()).await;
                daemons.look()?;
                tick(self, daemons);
            }
            let Some(step) = steps.next_if(|_| next < end) else { return Ok(()) };
            let made_sense = self.apply(daemons, &step.fault).await.with_context(|| format!("at {step}"))?;
            self.done.push((self.begin.elapsed(), step.fault, made_sense));
        }
    }

    async fn apply(&mut self, daemons: &mut Daemons, fault: &Fault) -> Result<bool> {
        match *fault {
            Fault::SlowClient(daemon, time) => {
                let mut there = self.places.iter().filter(|(at, _)| *at == daemon);
                let Some(session) = there.find_map(|(_, place)| place.session()) else { return Ok(false) };
                let slow = Slow::new(session);
                self.slow.spawn(async move {
                    tokio::time::sleep(time).await;
                    drop(slow);
                });
            }
            Fault::Storm(daemon, clients) => {
                let (seed, tapes) = (self.random.random(), self.tapes.clone());
                let number = u64::try_from(self.storms.len())?;
                self.storms.push(storm(number, daemons.address(daemon), clients, seed, tapes)?);
            }
            _ => return daemons.apply(fault).await,
        }
        Ok(true)
    }

    /// Ends all faults, and judges what was seen.
    pub(crate) async fn judge(mut self, daemons: &mut Daemons, chaos: Result<()>) -> (Self, Judgement) {
        let mut rest = [Duration::ZERO; 2];
        let mut settled = BTreeSet::new();
        let peace = match chaos {
            Ok(()) => self.peace(daemons, &mut rest, &mut settled).await,
            Err(error) => Err(error),
        };
        let ended = self.end().await;
        let (killed, stopped) = (daemons.take_killed(), daemons.take_stopped());
        let names = |ended: BTreeSet<Daemon>| ended.iter().map(|daemon| daemons.name(*daemon)).collect();
        let (killed, stopped): (BTreeSet<&str>, BTreeSet<&str>) = (names(killed), names(stopped));
        let tapes = self.tapes.take();
        let ends = tapes.iter().try_for_each(|tape| right_end(tape, &killed, &stopped));
        let slow = tapes.iter().filter(|tape| is_too_slow(tape)).count();
        let slow = u64::try_from(slow).unwrap_or(u64::MAX);
        let empty = if peace.is_ok() { daemons.until_empty().await } else { Ok(()) };
        let logs = tapes.iter().map(Tape::take).map(|log| Log { settled: settled.contains(&log.run), ..log });
        let logs: Vec<Log> = logs.collect();
        let checked = tokio::task::spawn_blocking(move || {
            let report = check(&logs);
            (logs, report)
        });
        let (logs, report) = match checked.await {
            Ok(checked) => checked,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let logs_turned = turn_logs(daemons);
        let trouble = [peace, ended, ends, empty, logs_turned].into_iter().find_map(Result::err);
        (self, Judgement { logs, report, trouble, slow, rest })
    }

    /// Waits until all is well again and all clients have got everything; `settled` gets their runs.
    async fn peace(
        &mut self,
        daemons: &mut Daemons,
        rest: &mut [Duration; 2],
        settled: &mut BTreeSet<u32>,
    ) -> Result<()> {
        // They go on for as long as it takes to come together.
        rest[0] = daemons.rest().await.context("the faults have ended")?;
        let begin = Instant::now();
        self.slow.abort_all();
        while self.slow.join_next().await.is_some() {}
        self.mode.send_replace(Mode::Quiet);
        for storm in self.storms.drain(..) {
            // It is over within seconds by itself.
            let joined = tokio::task::spawn_blocking(move || storm.join()).await?;
            joined.map_err(|_| anyhow!("a storm panicked"))?;
        }
        let everybody = async {
            loop {
                let sessions = self.until_quiet().await?;
                let all: Vec<&Recorder> = sessions.iter().collect();
                let outcome = tokio::select! {
                    outcome = settle(EVERYBODY, &all) => outcome,
                    () = one_over(&sessions) => continue,
                };
                if outcome.is_ok() || sessions.iter().all(|session| session.tape().ended().is_none()) {
                    settled.extend(sessions.iter().map(|session| session.look(|log| log.run)));
                    return outcome;
                }
                // One was still cut off for its slowness before: it comes back.
            }
        };
        let delivered = timeout(DELIVERED, everybody).await;
        delivered.with_context(|| format!("not everything is delivered after {DELIVERED:?}"))??;
        rest[1] = begin.elapsed();
        daemons.look()
    }

    /// Waits until all clients have come to rest; gives their sessions.
    async fn until_quiet(&self) -> Result<Vec<Recorder>> {
        until(BACK, "all clients are back", async || {
            let all = self.places.iter().map(|(at, place)| {
                place
                    .quiet()
                    .with_context(|| format!("a client of daemon {at} has no session, or is at work"))
            });
            all.collect()
        })
        .await
    }

    /// Ends all clients.
    async fn end(&mut self) -> Result<()> {
        self.mode.send_replace(Mode::End);
        self.slow.shutdown().await;
        let all = async {
            while let Some(ended) = self.workers.join_next().await {
                ended.context("a client panicked")?;
            }
            Ok(())
        };
        let ended = timeout(PATIENCE, all).await;
        let ended =
            ended.unwrap_or_else(|_| Err(anyhow!("clients still wait for a daemon after {PATIENCE:?}")));
        self.workers.shutdown().await;
        ended
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let began = humantime::format_rfc3339_micros(self.began);
        writeln!(f, "epoch {} of seed {} began at {began}", self.number, self.seed)?;
        for (at, fault, made_sense) in &self.done {
            let left_out = if *made_sense { "" } else { " (left out)" };
            writeln!(f, "{:9.3} {fault:?}{left_out}", at.as_secs_f64())?;
        }
        Ok(())
    }
}

/// A client that does not read until this is dropped.
struct Slow(Recorder);

impl Slow {
    fn new(session: Recorder) -> Self {
        session.set_reading(false);
        Self(session)
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.0.set_reading(true);
    }
}

/// Waits until one of some sessions has ended.
async fn one_over(sessions: &[Recorder]) {
    while sessions.iter().all(|session| session.tape().ended().is_none()) {
        tokio::time::sleep(PAUSE).await;
    }
}

fn is_too_slow(tape: &Tape) -> bool {
    let too_slow = GoodbyeCode::TooSlow;
    matches!(tape.ended(), Some(End::Lost(Disconnected::Goodbye { code, .. })) if code == too_slow)
}

/// Whether a session ended as sessions may: by itself, with its daemon, or cut as too slow. A daemon that stops waits for
/// its clients only so long: one that does not read may find the connection gone instead of a goodbye.
fn right_end(tape: &Tape, killed: &BTreeSet<&str>, stopped: &BTreeSet<&str>) -> Result<()> {
    let member = tape.look(|log| log.member);
    match tape.ended() {
        // Cut off by the test.
        None | Some(End::Closed) => Ok(()),
        Some(End::Lost(Disconnected::Goodbye {
            code: GoodbyeCode::ShuttingDown | GoodbyeCode::TooSlow,
            ..
        })) => Ok(()),
        Some(End::Lost(Disconnected::NotReceiving(_))) => Ok(()),
        Some(End::Lost(reason @ Disconnected::Lost(_))) => {
            let daemon = member.daemon.as_str();
            let lost = killed.contains(daemon) || (tape.was_held() && stopped.contains(daemon));
            ensure!(lost, "{member} lost its connection to a daemon that was not killed: {reason}");
            Ok(())
        }
        Some(End::Lost(reason)) => bail!("{member} was cut off: {reason}"),
    }
}

/// Looks through what the daemons logged in this epoch, and begins anew.
fn turn_logs(daemons: &Daemons) -> Result<()> {
    for name in daemons.names() {
        let log = daemons.cluster.log(name);
        if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
            bail!("{name}: {line}");
        }
        daemons.cluster.turn_log(name)?;
    }
    Ok(())
}
