//! One round: sessions, threads, and what came out.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use stentor_client::{Address, Connection, Service};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};
use tokio_util::sync::CancellationToken;

use super::receiver::{self, Received};
use super::sender;
use super::usage::Usage;

/// What to send.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) senders: usize,
    /// At each daemon.
    pub(super) receivers: usize,
    pub(super) groups: usize,
    pub(super) size: usize,
    pub(super) service: Service,
    pub(super) pace: Pace,
    pub(super) warm_up: Duration,
    pub(super) duration: Duration,
}

/// How fast to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// As fast as the slowest receiver follows.
    FlatOut,
    /// So many messages a second, all senders together.
    Rate(u64),
    /// So many of each sender under way.
    InFlight(u64),
}

/// Where to send it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The daemons' doors.
    pub(super) addresses: Vec<Address>,
    /// The daemons' processes, if they are ours.
    pub(super) pids: Vec<u32>,
}

/// What came out of one round.
#[derive(Debug)]
pub(super) struct Round {
    /// Messages that were sent, in all.
    pub(super) sent: u64,
    /// The fewest that a receiver got; the same unless some were lost.
    pub(super) received: u64,
    /// Messages a second at the slowest receiver, while it was measured.
    pub(super) msgs_per_s: f64,
    /// From sending (in open loop: from when it was due) to arrival, in nanoseconds.
    pub(super) latency: Histogram<u64>,
    /// Processor time of the daemons while it was measured, if they are ours.
    pub(super) daemons_cpu: Option<Duration>,
    pub(super) clients_cpu: Duration,
    /// The most memory that a daemon had, if they are ours.
    pub(super) daemon_rss: Option<u64>,
    /// Messages that arrived anywhere while it was measured, over the number of receivers.
    pub(super) measured: f64,
    /// What was wrong with what arrived.
    pub(super) wrong: Option<String>,
}

/// What the threads of a round share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) load: Load,
    /// Times of messages count from here: when all sessions were there.
    origin: OnceLock<Instant>,
    /// Set then.
    begun: CancellationToken,
    /// Set when all has arrived.
    pub(super) over: CancellationToken,
    /// Messages of all senders so far.
    pub(super) sent: AtomicU64,
    /// By receiver: messages so far.
    pub(super) received: Vec<AtomicU64>,
    pub(super) stopping: AtomicBool,
}

/// How far flat-out senders may be ahead of the slowest receiver: less than what a session may leave unread.
const AHEAD: usize = 24 << 20;
/// What a message costs in a queue beside its payload.
const OVERHEAD: usize = 64;
/// How long nothing may arrive until what is missing is given up.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same for messages that may be lost.
const QUIET: Duration = Duration::from_millis(500);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// No more threads than this for the sessions of either kind.
const THREADS_MAX: usize = 8;

/// Where a session of the load belongs. It opens on the thread that serves it, as that of a program of its own.
#[derive(Debug)]
pub(super) struct Seat {
    shared: Arc<Shared>,
    number: usize,
    address: Address,
    ready: mpsc::Sender<()>,
}

impl Seat {
    /// How many groups there are.
    pub(super) fn groups(&self) -> usize {
        self.shared.load.groups
    }

    /// The group that this sender has to be in to see its own messages, if it waits for them.
    pub(super) fn own_group(&self) -> Option<usize> {
        matches!(self.shared.load.pace, Pace::InFlight(_)).then_some(self.number)
    }

    /// Opens the session, joins some groups, and waits for the others.
    pub(super) async fn open(
        self,
        groups: impl IntoIterator<Item = usize>,
    ) -> anyhow::Result<(Arc<Shared>, usize, Connection)> {
        let Self { shared, number, address, ready } = self;
        let connection = Connection::connect(&address).await?;
        for group in groups {
            // Requests that wait are limited; this one is effective soon.
            connection.sender.join(&shared.group(group))?.await?;
        }
        // The round goes on when all have said so, or are gone.
        let _ = ready.send(()).await;
        drop(ready);
        shared.begun.cancelled().await;
        Ok((shared, number, connection))
    }
}

impl Shared {
    fn new(load: &Load, receivers: usize) -> Self {
        Self {
            load: load.clone(),
            origin: OnceLock::new(),
            begun: CancellationToken::new(),
            over: CancellationToken::new(),
            sent: AtomicU64::new(0),
            received: (0..receivers).map(|_| AtomicU64::new(0)).collect(),
            stopping: AtomicBool::new(false),
        }
    }

    fn begin(&self) {
        // Only once.
        let _ = self.origin.set(Instant::now());
        self.begun.cancel();
    }

    /// Whether a flat-out sender has to wait.
    pub(super) fn is_ahead(&self) -> bool {
        let slowest = self.received.iter().map(|count| count.load(Ordering::Relaxed)).min().unwrap_or(0);
        let ahead = self.sent.load(Ordering::Relaxed).saturating_sub(slowest);
        usize::try_from(ahead).unwrap_or(usize::MAX).saturating_mul(self.load.size + OVERHEAD) > AHEAD
    }

    /// Nanoseconds since the origin.
    pub(super) fn now(&self) -> u64 {
        self.origin.get().map_or(0, |origin| u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The part of the round that is measured.
    fn window(&self) -> (u64, u64) {
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let from = nanos(self.load.warm_up);
        (from, from.saturating_add(nanos(self.load.duration)))
    }

    /// Whether something at this time is measured.
    pub(super) fn is_measured(&self, nanos: u64) -> bool {
        let (from, to) = self.window();
        (from..to).contains(&nanos)
    }

    /// The name of a group, which no other round has.
    pub(super) fn group(&self, number: usize) -> String {
        format!("bench-{}-{}", std::process::id(), number % self.load.groups)
    }
}

impl Load {
    /// Runs one round.
    pub(super) async fn run(&self, target: &Target) -> anyhow::Result<Round> {
        let daemons = target.addresses.len();
        let receivers = daemons * self.receivers;
        let shared = Arc::new(Shared::new(self, receivers));
        let (ready, mut readiness) = mpsc::channel(1);
        let seat = |number, address: &Address| {
            let (shared, address, ready) = (shared.clone(), address.clone(), ready.clone());
            Seat { shared, number, address, ready }
        };
        let receiving = (0..receivers).map(|number| seat(number, &target.addresses[number / self.receivers]));
        let received = spread(receiving.collect(), receiver::run)?;
        let sending = (0..self.senders).map(|number| seat(number, &target.addresses[number % daemons]));
        let sent = spread(sending.collect(), sender::run)?;
        drop(ready);
        let mut missing = receivers + self.senders;
        while let Some(()) = readiness.recv().await {
            missing -= 1;
        }
        if missing > 0 {
            // The others end as well, and the error comes out below.
            shared.stopping.store(true, Ordering::Relaxed);
            shared.over.cancel();
        }
        shared.begin();
        if missing > 0 {
            gather(received).await?;
            gather(sent).await?;
            bail!("{missing} sessions of the load did not open");
        }

        tokio::time::sleep(self.warm_up).await;
        let before = Used::now(target);
        tokio::time::sleep(self.duration).await;
        let after = Used::now(target);
        shared.stopping.store(true, Ordering::Relaxed);

        let pings = gather(sent).await?;
        await_arrival(&shared).await;
        shared.over.cancel();
        let received = gather(received).await?;
        self.sum_up(&shared, &received, &pings, &before, &after)
    }

    fn sum_up(
        &self,
        shared: &Shared,
        received: &[Received],
        pings: &[Histogram<u64>],
        before: &Used,
        after: &Used,
    ) -> anyhow::Result<Round> {
        let mut latency = histogram()?;
        // In closed loop only the senders' own messages count: what a program waits for.
        let closed = matches!(self.pace, Pace::InFlight(_));
        for part in received.iter().map(|receiver| &receiver.latency).filter(|_| !closed).chain(pings) {
            // All have the same bounds.
            let _ = latency.add(part);
        }
        let fewest = received.iter().map(|receiver| receiver.measured).min().unwrap_or(0);
        let in_all: u64 = received.iter().map(|receiver| receiver.measured).sum();
        let own = !after.daemons.is_empty();
        let cpu = |used: &Used| used.daemons.iter().map(|usage| usage.cpu).sum::<Duration>();
        Ok(Round {
            sent: shared.sent.load(Ordering::Relaxed),
            received: received.iter().map(|receiver| receiver.count).min().unwrap_or(0),
            msgs_per_s: fewest as f64 / self.duration.as_secs_f64(),
            latency,
            daemons_cpu: own.then(|| cpu(after).saturating_sub(cpu(before))),
            clients_cpu: after.clients.cpu.saturating_sub(before.clients.cpu),
            daemon_rss: after.daemons.iter().map(|usage| usage.rss_max).max(),
            measured: in_all as f64 / received.len().max(1) as f64,
            wrong: self.find_wrong(shared, received),
        })
    }

    /// What the service level promises and did not hold.
    fn find_wrong(&self, shared: &Shared, received: &[Received]) -> Option<String> {
        if let Some(wrong) = received.iter().find_map(|receiver| receiver.wrong.clone()) {
            return Some(wrong);
        }
        let sent = shared.sent.load(Ordering::Relaxed);
        if self.service > Service::Unreliable
            && let Some(short) = received.iter().find(|receiver| receiver.count != sent)
        {
            return Some(format!("a receiver got {} of {sent} messages", short.count));
        }
        let first = received.first()?;
        let differs = self.service.is_ordered() && received.iter().any(|other| other.order != first.order);
        (differs && self.service >= Service::Agreed).then(|| "two receivers saw different orders".to_owned())
    }
}

/// What was used up to a moment.
struct Used {
    daemons: Vec<Usage>,
    clients: Usage,
}

impl Used {
    fn now(target: &Target) -> Self {
        Self { daemons: target.pids.iter().map(|pid| Usage::of(*pid)).collect(), clients: Usage::own() }
    }
}

/// For latencies in nanoseconds up to a minute, to three digits; what takes longer counts as a minute.
pub(super) fn histogram() -> anyhow::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).context("cannot make a histogram")
}

/// Waits until every receiver has what was sent, or nothing has arrived for long.
async fn await_arrival(shared: &Shared) {
    let sent = shared.sent.load(Ordering::Relaxed);
    let counts = || shared.received.iter().map(|count| count.load(Ordering::Relaxed));
    let mut quiet_since = (Instant::now(), counts().sum::<u64>());
    // Unreliable messages may be lost for good.
    let patience = if shared.load.service == Service::Unreliable { QUIET } else { PATIENCE };
    while counts().any(|count| count < sent) && quiet_since.0.elapsed() < patience {
        tokio::time::sleep(LOOK).await;
        let now = counts().sum();
        if now != quiet_since.1 {
            quiet_since = (Instant::now(), now);
        }
    }
}

type Thread<R> = oneshot::Receiver<anyhow::Result<Vec<R>>>;

/// Runs jobs on a few threads, each with a runtime of its own, as programs of their own would.
fn spread<J, R, F>(jobs: Vec<J>, work: fn(J) -> F) -> anyhow::Result<Vec<Thread<R>>>
where
    J: Send + 'static,
    R: Send + 'static,
    F: Future<Output = anyhow::Result<R>> + 'static,
{
    let mut shares: Vec<Vec<J>> = (0..jobs.len().min(THREADS_MAX)).map(|_| Vec::new()).collect();
    let count = shares.len();
    for (number, job) in jobs.into_iter().enumerate() {
        shares[number % count].push(job);
    }
    shares.into_iter().map(|share| start(share, work)).collect()
}

fn start<J, R, F>(jobs: Vec<J>, work: fn(J) -> F) -> anyhow::Result<Thread<R>>
where
    J: Send + 'static,
    R: Send + 'static,
    F: Future<Output = anyhow::Result<R>> + 'static,
{
    let (report, result) = oneshot::channel();
    let run = move || {
        let done = runtime().and_then(|runtime| {
            LocalSet::new().block_on(&runtime, async {
                let tasks: Vec<_> = jobs.into_iter().map(|job| spawn_local(work(job))).collect();
                let mut results = Vec::new();
                for task in tasks {
                    results.push(task.await.context("a task of the load ended")??);
                }
                Ok(results)
            })
        });
        // Nobody waits for it after a signal.
        let _ = report.send(done);
    };
    std::thread::Builder::new().name("load".to_owned()).spawn(run).context("cannot start a thread")?;
    Ok(result)
}

fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

async fn gather<R>(threads: Vec<Thread<R>>) -> anyhow::Result<Vec<R>> {
    let mut all = Vec::new();
    for thread in threads {
        all.extend(thread.await.context("a thread of the load ended")??);
    }
    Ok(all)
}
