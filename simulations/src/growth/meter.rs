//! One cluster, taken through everything that is measured.

use std::time::Duration;

use stentor_membership::{Config, Phase, Timestamp};

use super::{Change, Growth, Message, Share};
use crate::chronicle::Chronicle;
use crate::cluster::Cluster;
use crate::daemon::Input;
use crate::invariants::{self, Violation};
use crate::options::{MachineOptions, NetworkOptions, NodeOptions, Options};
use crate::overrides::Overrides;
use crate::scenarios::Scenario;
use crate::trace::Trace;
use crate::traffic::Traffic;

/// Each way from one daemon to another: so long, and on average so much more by chance, which keeps frames of different
/// daemons from arriving at the very same time.
const LATENCY: Duration = Duration::from_micros(90);
const JITTER: Duration = Duration::from_micros(10);
/// Bytes a second that one daemon sends, to all others together: 1 Gbit.
const BANDWIDTH: u64 = 125_000_000;
/// The mean time until a link is up when both ends run.
const DIAL: Duration = Duration::from_millis(5);
/// Bytes of each message.
const PAYLOAD: u64 = 64;
/// So many messages are sent when nothing else happens.
const ALONE: u32 = 5;
/// So many messages are sent one after the other.
const IN_TURN: u32 = 20;
/// After so many messages of one daemon for each of all, the clocks of the others go ahead of them (PROTOCOL O4.5).
const LISTENED: u32 = 8;
/// In larger clusters it takes too long until they do.
const LISTENING_MOST: u32 = 16;
/// So many messages are sent at a steady rate, with so much time from one to the next.
const STEADY: u32 = 100;
const STEADY_PAUSE: Duration = Duration::from_millis(1);
/// So many messages are sent at once.
const AT_ONCE: u32 = 1000;
/// Without a frame for so long, nothing is under way.
const PAUSE: Duration = Duration::from_millis(200);
/// Nothing in a calm network takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// The daemon whose program sends.
const SENDER: usize = 0;

/// A cluster that is measured.
#[derive(Debug)]
pub(super) struct Meter {
    cluster: Cluster,
    daemons: usize,
}

impl Meter {
    /// A cluster of which no daemon runs yet.
    pub(super) fn new(daemons: usize) -> Result<Self, Violation> {
        let made = Cluster::new(options(daemons), Trace::Off, Chronicle::default());
        let mut cluster = made.map_err(|text| Violation { promise: "simulator", text })?;
        cluster.network.make_even(LATENCY, JITTER);
        Ok(Self { cluster, daemons })
    }

    pub(super) fn measure(mut self) -> Result<Growth, Violation> {
        let daemons = self.daemons;
        let last = daemons - 1;
        let start = self.change(|cluster| (0..daemons).for_each(|host| cluster.start(host)))?;
        let before = self.cluster.sent;
        self.cluster.run_until(self.now() + Duration::from_secs(1));
        let rest = self.cluster.sent - before;
        let count = u32::try_from(daemons).unwrap_or(u32::MAX);
        let share = |host: u32| AT_ONCE / count + u32::from(host < AT_ONCE % count);
        let growth = Growth {
            daemons,
            start,
            rest,
            alone: self.messages(ALONE, Self::settle)?,
            in_turn: self.messages(IN_TURN, |_| Ok(()))?,
            listened_to: self.listened_to(count)?,
            steady: self.steady()?,
            from_one: self.burst(&[AT_ONCE])?,
            from_all: self.burst(&(0..count).map(share).collect::<Vec<_>>())?,
            crash: self.change(|cluster| cluster.crash(last))?,
            back: self.change(|cluster| cluster.start(last))?,
            leave: self.change(|cluster| cluster.give(last, Input::Leave(0)))?,
        };
        self.cluster.history.settled = true;
        match invariants::check(&self.cluster.history).into_iter().next() {
            Some(violation) => Err(violation),
            None => Ok(growth),
        }
    }

    /// What the view change costs that `cause` brings.
    fn change(&mut self, cause: impl FnOnce(&mut Cluster)) -> Result<Change, Violation> {
        let (began, before) = (self.now(), self.cluster.sent);
        let epoch =
            |cluster: &Cluster| cluster.running_daemons().map(|daemon| daemon.node.view().id.epoch).max();
        let old = epoch(&self.cluster);
        cause(&mut self.cluster);
        // One daemon alone installs its next view at once.
        let agrees = |cluster: &Cluster| {
            cluster.running_daemons().any(|daemon| daemon.node.phase() != Phase::Operational)
                || epoch(cluster) > old.or(Some(0))
        };
        let noticed = self.until("no daemon notices that the view has to change", began, agrees)?;
        let installed = self.until("the daemons are not in one view", began, is_whole)?;
        self.settle()?;
        Ok(Change { noticed, installed, traffic: self.cluster.sent - before })
    }

    /// What each of `count` messages costs that go out one by one, each when `then` is done with the one before.
    fn messages(
        &mut self,
        count: u32,
        then: fn(&mut Self) -> Result<(), Violation>,
    ) -> Result<Message, Violation> {
        let before = self.cluster.sent;
        let (mut own, mut everywhere) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..count {
            let (first, all) = self.deliver(&[1])?;
            own += first;
            everywhere += all;
            then(self)?;
        }
        let share = self.share(count, before)?;
        Ok(Message { own: own / count, everywhere: everywhere / count, share })
    }

    /// What messages in turn cost when their sender was the only one for a while.
    fn listened_to(&mut self, daemons: u32) -> Result<Option<Message>, Violation> {
        if daemons > LISTENING_MOST {
            return Ok(None);
        }
        self.messages(LISTENED * daemons, |_| Ok(()))?;
        self.messages(IN_TURN, |_| Ok(())).map(Some)
    }

    /// What messages cost that go out at a steady rate, whatever became of those before.
    fn steady(&mut self) -> Result<Share, Violation> {
        let before = self.cluster.sent;
        for _ in 0..STEADY {
            self.cluster.give(SENDER, Input::Send { count: 1, size: PAYLOAD });
            self.cluster.run_until(self.now() + STEADY_PAUSE);
        }
        self.share(STEADY, before)
    }

    /// What messages cost that the first daemons get at the same time, each its number of them.
    fn burst(&mut self, counts: &[u32]) -> Result<Share, Violation> {
        let before = self.cluster.sent;
        self.deliver(counts)?;
        self.share(counts.iter().sum(), before)
    }

    /// What was sent for `of` messages, when nothing of them is under way any more.
    fn share(&mut self, of: u32, before: Traffic) -> Result<Share, Violation> {
        self.settle()?;
        Ok(Share { of, traffic: self.cluster.sent - before })
    }

    /// The first daemons get messages to send, each its number of them; gives how long it takes until the first of them has
    /// delivered them all, and until all daemons have.
    fn deliver(&mut self, counts: &[u32]) -> Result<(Duration, Duration), Violation> {
        let began = self.now();
        let total = counts.iter().copied().map(u64::from).sum::<u64>();
        let delivered = |cluster: &Cluster| {
            let sender = cluster.hosts[SENDER].daemon.as_ref();
            sender.map_or(0, |daemon| daemon.node.stats().messages_delivered)
        };
        let (own, all) =
            (delivered(&self.cluster) + total, self.cluster.counts.regular + total * self.daemons as u64);
        for (host, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            self.cluster.give(host, Input::Send { count: u64::from(*count), size: PAYLOAD });
        }
        let own = self.until("the sender does not deliver", began, |cluster| delivered(cluster) >= own)?;
        let all = self.until("not all deliver", began, |cluster| cluster.counts.regular >= all)?;
        Ok((own, all))
    }

    /// Waits until nothing is under way, and all is as it should be.
    fn settle(&mut self) -> Result<(), Violation> {
        let began = self.now();
        loop {
            let frames = self.cluster.sent.frames;
            self.cluster.run_until(self.now() + PAUSE);
            self.unbroken()?;
            if self.cluster.sent.frames == frames {
                break;
            }
            if self.now().since(began) > PATIENCE {
                return Err(self.late("frames are sent without end"));
            }
        }
        match self.cluster.not_whole().or_else(|| self.cluster.not_done()) {
            Some(reason) => Err(self.late(&reason)),
            None => Ok(()),
        }
    }

    /// The time from `began` until something is `so`; if that takes too long, `otherwise` says what is missing.
    fn until(
        &mut self,
        otherwise: &str,
        began: Timestamp,
        so: impl Fn(&Cluster) -> bool,
    ) -> Result<Duration, Violation> {
        let reached = self.cluster.run_until_so(began + PATIENCE, so);
        self.unbroken()?;
        if reached { Ok(self.now().since(began)) } else { Err(self.late(otherwise)) }
    }

    fn unbroken(&self) -> Result<(), Violation> {
        self.cluster.broken.clone().map_or(Ok(()), Err)
    }

    fn late(&self, reason: &str) -> Violation {
        let (daemons, status) = (self.daemons, self.cluster.status());
        let text = format!("{daemons} daemons in a calm network, after {PATIENCE:?}: {reason}{status}");
        Violation { promise: "L1 liveness", text }
    }

    fn now(&self) -> Timestamp {
        self.cluster.schedule.now()
    }
}

/// Whether all that run are in one view, with nobody else. Cheap: it is asked after every step of a simulation.
fn is_whole(cluster: &Cluster) -> bool {
    let mut running = cluster.running_daemons();
    let Some(first) = running.next().map(|daemon| daemon.node.view()) else { return false };
    let whole =
        |node: &stentor_membership::Node| node.phase() == Phase::Operational && node.view().id == first.id;
    cluster.running_daemons().all(|daemon| whole(&daemon.node))
        && first.members.len() == cluster.running_daemons().count()
}

/// Nodes with the daemon's defaults, in a network and on machines that let nothing wait.
fn options(daemons: usize) -> Options {
    let calm = Overrides { daemons: Some(daemons), scenario: Some(Scenario::Calm), ..Overrides::default() };
    let core = Config::default();
    Options {
        node: NodeOptions {
            heartbeat: core.heartbeat,
            suspect_after_min: core.suspect_after_min,
            suspect_after_max: core.suspect_after_max,
            window: core.window,
            session_queue: core.session_queue,
            max_message: core.max_message,
            frame: core.frame,
            datagram: core.datagram,
            require_primary: core.require_primary,
        },
        network: NetworkOptions {
            latency: LATENCY,
            latency_max: LATENCY * 2,
            slow_path_permille: 0,
            bandwidth: BANDWIDTH,
            queue: Duration::from_secs(1),
            loss_permille: 0,
            duplicate_permille: 0,
            // A machine that is gone says nothing: only its silence shows it.
            notice: core.suspect_after_max * 2,
            idle_timeout: core.suspect_after_max * 2,
            redial: DIAL,
        },
        machine: MachineOptions {
            busy_permille: 0,
            busy: Duration::ZERO,
            timer_slack: Duration::from_micros(1),
            partial_permille: 0,
        },
        ..Options::draw(0, calm)
    }
}
