//! One round: sessions, threads, and what came out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use stentor_client::{Address, Service};
use tokio::sync::mpsc;

use super::cores::Cores;
use super::receiver::{self, Received};
use super::seat::Seat;
use super::shared::Shared;
use super::threads::{gather, spread};
use super::usage::{Memory, Processors, Usage};
use super::{bystander, sender};

/// What to send.
#[derive(Clone, Debug)]
pub(super) struct Load {
    /// What its groups are called, before their numbers.
    pub(super) name: &'static str,
    pub(super) senders: usize,
    /// At each daemon.
    pub(super) receivers: usize,
    pub(super) groups: usize,
    /// At each daemon: sessions in a group of their own, in which nobody sends.
    pub(super) bystanders: usize,
    pub(super) size: usize,
    /// Bytes of the messages that one more sender sends beside all this, flat out, in a group of its own.
    pub(super) bulk: Option<usize>,
    pub(super) service: Service,
    pub(super) pace: Pace,
    /// At a real-time priority, daemons as well.
    pub(super) real_time: bool,
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
    /// Where each daemon stays and its programs do, if they do.
    pub(super) cores: Option<Cores>,
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
    /// Percent of the processors that the hypervisor took meanwhile, if the system tells.
    pub(super) stolen: Option<f64>,
    /// The most memory that a daemon had, if they are ours.
    pub(super) daemon_rss: Option<u64>,
    /// The memory of the largest daemon at moments of the round, if they are ours.
    pub(super) memory: Vec<(Duration, u64)>,
    /// How long it took until all sessions were open and in their groups.
    pub(super) opening: Duration,
    /// Bytes a second of the bulk beside it.
    pub(super) bulk: Option<f64>,
    /// Messages that arrived anywhere while it was measured, over the number of receivers.
    pub(super) measured: f64,
    /// What was wrong with what arrived.
    pub(super) wrong: Option<String>,
}

/// How long nothing may arrive until what is missing is given up.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same for messages that may be lost.
const QUIET: Duration = Duration::from_millis(500);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// How often memory is looked at in a round, unless that is more often than the bound below.
const MEMORY_LOOKS: u32 = 200;
const MEMORY_PAUSE_MIN: Duration = Duration::from_millis(50);

impl Load {
    /// Runs one round.
    pub(super) async fn run(&self, target: &Target) -> anyhow::Result<Round> {
        let Some(size) = self.bulk else { return self.run_alone(target).await };
        let bulk = Self {
            name: "bulk",
            senders: 1,
            receivers: 1,
            groups: 1,
            bystanders: 0,
            size,
            bulk: None,
            pace: Pace::FlatOut,
            ..self.clone()
        };
        let (mut round, bulk) = tokio::try_join!(self.run_alone(target), bulk.run_alone(target))?;
        round.bulk = Some(bulk.msgs_per_s * size as f64);
        round.wrong = round.wrong.or(bulk.wrong);
        Ok(round)
    }

    async fn run_alone(&self, target: &Target) -> anyhow::Result<Round> {
        let daemons = target.addresses.len();
        let receivers = daemons * self.receivers;
        let bystanders = daemons * self.bystanders;
        let shared = Arc::new(Shared::new(self, receivers));
        let begin = Instant::now();
        let (ready, mut readiness) = mpsc::channel(1);
        let seat = |number, daemon: usize| {
            (daemon, Seat::new(shared.clone(), number, target.addresses[daemon].clone(), ready.clone()))
        };
        let cores = target.cores.as_ref();
        let receiving = (0..receivers).map(|number| seat(number, number / self.receivers));
        let received = spread(receiving.collect(), cores, receiver::run)?;
        let sending = (0..self.senders).map(|number| seat(number, number % daemons));
        let sent = spread(sending.collect(), cores, sender::run)?;
        let standing_by = (0..bystanders).map(|number| seat(number, number % daemons));
        let stood_by = spread(standing_by.collect(), cores, bystander::run)?;
        drop(ready);
        let mut missing = receivers + self.senders + bystanders;
        while let Some(()) = readiness.recv().await {
            missing -= 1;
        }
        let opening = begin.elapsed();
        if missing > 0 {
            // The others end as well, and the error comes out below.
            shared.stopping.store(true, Ordering::Relaxed);
            shared.over.cancel();
        }
        shared.begin();
        if missing > 0 {
            gather(received).await?;
            gather(sent).await?;
            gather(stood_by).await?;
            bail!("{missing} sessions of the load did not open");
        }

        tokio::time::sleep(self.warm_up).await;
        let before = Used::now(target);
        let memory = self.watch_memory(target).await;
        let taken = Taken { opening, before, memory, after: Used::now(target) };
        shared.stopping.store(true, Ordering::Relaxed);

        let pings = gather(sent).await?;
        await_arrival(&shared).await;
        shared.over.cancel();
        let received = gather(received).await?;
        gather(stood_by).await?;
        self.sum_up(&shared, &received, &pings, taken)
    }

    /// Waits until the round has been measured.
    async fn watch_memory(&self, target: &Target) -> Vec<(Duration, u64)> {
        let mut looks = tokio::time::interval((self.duration / MEMORY_LOOKS).max(MEMORY_PAUSE_MIN));
        let daemons: Vec<Memory> = target.pids.iter().map(|pid| Memory::of(*pid)).collect();
        let begin = Instant::now();
        let mut memory = Vec::new();
        let watch = async {
            loop {
                looks.tick().await;
                let largest = daemons.iter().map(Memory::resident).max();
                memory.extend(largest.map(|rss| (begin.elapsed(), rss)));
            }
        };
        // It is over when the time is, not before.
        let _over = tokio::time::timeout(self.duration, watch).await;
        memory
    }

    fn sum_up(
        &self,
        shared: &Shared,
        received: &[Received],
        pings: &[Histogram<u64>],
        taken: Taken,
    ) -> anyhow::Result<Round> {
        let Taken { opening, before, memory, after } = taken;
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
            daemons_cpu: own.then(|| cpu(&after).saturating_sub(cpu(&before))),
            clients_cpu: after.clients.cpu.saturating_sub(before.clients.cpu),
            stolen: after.processors.zip(before.processors).map(|(after, before)| after.stolen_since(before)),
            daemon_rss: after.daemons.iter().map(|usage| usage.rss_max).max(),
            memory,
            opening,
            bulk: None,
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

/// What a round took.
struct Taken {
    opening: Duration,
    before: Used,
    memory: Vec<(Duration, u64)>,
    after: Used,
}

/// What was used up to a moment.
struct Used {
    daemons: Vec<Usage>,
    clients: Usage,
    processors: Option<Processors>,
}

impl Used {
    fn now(target: &Target) -> Self {
        Self {
            daemons: target.pids.iter().map(|pid| Usage::of(*pid)).collect(),
            clients: Usage::own(),
            processors: Processors::now(),
        }
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
