//! The whole: hosts, the daemons that run on them, the network between them, and the order in which things happen.

use std::collections::BTreeMap;
use std::fmt::Arguments;

use stentor_membership::{Config, DaemonId, DaemonName, Node, Timestamp};

use crate::chronicle::{Chronicle, Moment};
use crate::clients::Clients;
use crate::daemon::{self, Daemon, Input};
use crate::dice::{Dice, Purpose};
use crate::faults::{Fault, Faults};
use crate::history::{Fate, History, Process};
use crate::invariants::Violation;
use crate::network::{Arrival, Item, LinkId, Network, Planned, Side};
use crate::options::Options;
use crate::report::Counts;
use crate::schedule::Schedule;
use crate::trace::Trace;
use crate::traffic::Traffic;
use crate::workload::Workload;

/// Something that happens at its time.
#[derive(Debug)]
pub(crate) enum Task {
    Arrive(Arrival),
    Wake { process: usize },
    Timer { process: usize, setting: u64 },
    Resume { process: usize },
    Leave { process: usize, patience: u32 },
    Dial { from: usize, to: usize },
    Work { host: usize },
    Start { host: usize },
    NextFault,
    Strike(Fault),
}

/// A place where a daemon can run.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: DaemonName,
    /// What runs here; taken out while it is stepped.
    pub(crate) daemon: Option<Box<Daemon>>,
    /// The index of what runs here.
    pub(crate) process: Option<usize>,
    /// Its last daemon left in order.
    pub(crate) left: bool,
}

/// All that takes part in a run.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) options: Options,
    pub(crate) schedule: Schedule<Task>,
    pub(crate) network: Network,
    pub(crate) hosts: Vec<Host>,
    pub(crate) history: History,
    pub(crate) workload: Workload,
    pub(crate) faults: Faults,
    pub(crate) dice: Dice,
    pub(crate) trace: Trace,
    pub(crate) chronicle: Chronicle,
    pub(crate) counts: Counts,
    /// What ended the run before its time.
    pub(crate) broken: Option<Violation>,
    config: Config,
    /// By process: where it runs or ran.
    host_of: Vec<usize>,
    /// By pair of hosts, the dialer first: the last link, and whether a dial is planned.
    pairs: BTreeMap<(usize, usize), Pair>,
    steps: u64,
    steps_max: u64,
    /// What all daemons sent.
    pub(crate) sent: Traffic,
}

#[derive(Debug, Default)]
struct Pair {
    last: Option<LinkId>,
    dialling: bool,
}

/// A run that takes more steps than this does not come to rest.
const STEPS_MAX: u64 = 5_000_000;
/// In a large cluster heartbeats alone take more: so many steps for each pair of daemons, each way.
const STEPS_MAX_PER_PAIR: u64 = 3_000;

impl Cluster {
    pub(crate) fn new(options: Options, trace: Trace, chronicle: Chronicle) -> Result<Self, String> {
        let seed = options.seed;
        let names: Vec<DaemonName> = (0..options.daemons)
            .map(|number| DaemonName::new(&format!("d{number:02}")).map_err(|error| error.to_string()))
            .collect::<Result<_, _>>()?;
        let config = daemon::config(&options, &names);
        let network_dice = Dice::new(seed, Purpose::Network);
        let pairs =
            (0..options.daemons).flat_map(|b| (0..b).map(move |a| ((a, b), Pair::default()))).collect();
        Ok(Self {
            schedule: Schedule::new(),
            network: Network::new(options.daemons, options.network.clone(), network_dice),
            hosts: names
                .into_iter()
                .map(|name| Host { name, daemon: None, process: None, left: false })
                .collect(),
            history: History { configured: options.daemons, ..History::default() },
            workload: Workload::new(options.workload.clone(), Dice::new(seed, Purpose::Workload))?,
            faults: Faults::new(options.faults.clone(), Dice::new(seed, Purpose::Faults)),
            dice: Dice::new(seed, Purpose::Processes),
            trace,
            chronicle,
            counts: Counts { runs: 1, ..Counts::default() },
            broken: None,
            config,
            host_of: Vec::new(),
            pairs,
            steps: 0,
            steps_max: STEPS_MAX.max((options.daemons as u64).pow(2) * STEPS_MAX_PER_PAIR),
            sent: Traffic::default(),
            options,
        })
    }

    /// Lets time pass until `end`, unless something breaks.
    pub(crate) fn run_until(&mut self, end: Timestamp) {
        self.run_until_so(end, |_| false);
    }

    /// Lets time pass until something is `so`, and says whether it became so: not if `end` comes first, or if something
    /// breaks.
    pub(crate) fn run_until_so(&mut self, end: Timestamp, so: impl Fn(&Self) -> bool) -> bool {
        while self.broken.is_none() {
            if so(self) {
                return true;
            }
            let Some(task) = self.schedule.next(end) else { return false };
            self.steps += 1;
            if self.steps > self.steps_max {
                self.fail(format!("the run does not come to rest: {} steps", self.steps_max));
                return false;
            }
            self.perform(task);
        }
        false
    }

    fn perform(&mut self, task: Task) {
        match task {
            Task::Arrive(arrival) => {
                let process = self.network.process(arrival.link, arrival.to);
                let accepted = self.running(process).is_some() && self.network.accept(&arrival);
                self.chronicle.note_frame(
                    self.schedule.now(),
                    (self.network.host(arrival.link, arrival.to.other()), self.host_of[process]),
                    arrival.sent,
                    &arrival.item,
                    !accepted,
                );
                if accepted {
                    self.give(self.host_of[process], Input::Arrival(arrival));
                }
            }
            Task::Wake { process } => {
                let now = self.schedule.now();
                if self.running(process).is_some_and(|d| d.wake == Some(now) && !d.paused) {
                    self.step(self.host_of[process]);
                }
            }
            Task::Timer { process, setting } => {
                if self.running(process).is_some_and(|daemon| daemon.timer_setting == setting) {
                    self.give(self.host_of[process], Input::Timer);
                }
            }
            Task::Resume { process } => {
                if let Some(daemon) = self.running(process) {
                    daemon.paused = false;
                    daemon.wake = None;
                    let host = self.host_of[process];
                    self.chronicle.note(self.schedule.now(), || Moment::Paused { host, paused: false });
                    self.wake(host);
                }
            }
            Task::Leave { process, patience } => {
                if self.running(process).is_some() {
                    self.give(self.host_of[process], Input::Leave(patience));
                }
            }
            Task::Dial { from, to } => self.dial(from, to),
            Task::Work { host } => self.work(host),
            // Whoever left in order and would have come back after the faults stays away.
            Task::Start { host } => {
                if !self.faults.over {
                    self.start(host);
                }
            }
            Task::NextFault => self.next_fault(),
            Task::Strike(fault) => self.strike(fault),
        }
    }

    pub(crate) fn running(&mut self, process: usize) -> Option<&mut Daemon> {
        let host = *self.host_of.get(process)?;
        self.hosts[host].daemon.as_deref_mut().filter(|daemon| daemon.number == process)
    }

    pub(crate) fn fail(&mut self, text: String) {
        self.note(format_args!("BROKEN {text}"));
        self.broken.get_or_insert(Violation { promise: "interface of the core", text });
    }

    pub(crate) fn note(&mut self, text: Arguments<'_>) {
        self.trace.line(self.schedule.now(), text);
    }

    pub(crate) fn plan(&mut self, planned: Planned) {
        for (at, arrival) in planned {
            self.schedule.at(at, Task::Arrive(arrival));
        }
    }

    /// A daemon starts on a host where none runs: a new incarnation that remembers nothing.
    pub(crate) fn start(&mut self, host: usize) {
        if self.hosts[host].daemon.is_some() {
            return;
        }
        let now = self.schedule.now();
        let id = DaemonId { name: self.hosts[host].name, incarnation: self.dice.number() };
        let node = match Node::new(id, self.config.clone(), self.dice.number(), now) {
            Ok(node) => node,
            Err(error) => return self.fail(format!("a node was refused: {error}")),
        };
        let number = self.history.processes.len();
        self.note(format_args!("{id} starts"));
        self.chronicle.note(now, || Moment::Start { host, name: id.to_string() });
        self.history.processes.push(Process { id, fate: Fate::Live, entries: Vec::new() });
        self.host_of.push(host);
        self.counts.processes += 1;
        let mut daemon = Box::new(Daemon {
            number,
            host,
            node,
            inbox: std::collections::VecDeque::new(),
            wake: None,
            timer: None,
            timer_setting: 0,
            spins: 0,
            paused: false,
            resent_before: 0,
            leaving: false,
            links: BTreeMap::new(),
            clients: Clients::new(number, self.config.clone(), self.options.workload.unread_max),
        });
        let opened = self.workload.observe(&mut daemon.clients, &mut daemon.node, &mut self.history);
        self.hosts[host].left = false;
        self.hosts[host].process = Some(number);
        self.drain(&mut daemon);
        self.chronicle.follow(now, &self.history, number, host);
        self.hosts[host].daemon = Some(daemon);
        self.wake(host);
        if let Err(broken) = opened {
            self.fail(broken);
        }
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            self.consider_dial(host, other);
        }
    }

    /// A daemon is gone without a word.
    pub(crate) fn crash(&mut self, host: usize) {
        let Some(daemon) = self.hosts[host].daemon.take() else { return };
        self.hosts[host].process = None;
        self.note(format_args!("{} crashes", daemon.id()));
        self.chronicle.note(self.schedule.now(), || Moment::End { host, how: "crashes" });
        self.counts.add_stats(&daemon.node.stats());
        self.history.processes[daemon.number].fate = Fate::Crashed;
        let now = self.schedule.now();
        for link in self.links_of(daemon.number) {
            let side = self.network.side_of(link, daemon.number);
            let planned = self.network.break_link(link, now);
            self.network.closed(link, side);
            self.plan(planned);
        }
    }

    /// A daemon has said that it leaves, and ends.
    pub(crate) fn gone(&mut self, host: usize) {
        let Some(daemon) = self.hosts[host].daemon.take() else { return };
        self.hosts[host].process = None;
        self.note(format_args!("{} has left", daemon.id()));
        self.chronicle.note(self.schedule.now(), || Moment::End { host, how: "has left" });
        self.counts.add_stats(&daemon.node.stats());
        let unfinished = daemon.node.has_unfinished_sends();
        self.history.processes[daemon.number].fate =
            if unfinished { Fate::LeftUnfinished } else { Fate::Left };
        self.hosts[host].left = true;
        for link in self.links_of(daemon.number) {
            let side = self.network.side_of(link, daemon.number);
            let planned = self.network.close(link, side, self.schedule.now());
            self.plan(planned);
        }
    }

    fn links_of(&self, process: usize) -> Vec<LinkId> {
        let at = |link: &LinkId| {
            [Side::Dialer, Side::Acceptor]
                .into_iter()
                .any(|side| self.network.process(*link, side) == process)
        };
        self.network.open_links().into_iter().filter(at).collect()
    }

    /// One end of a link ends without the node knowing: its transport says so, at once.
    pub(crate) fn drop_end(&mut self, link: LinkId, side: Side) {
        let planned = self.network.close(link, side, self.schedule.now());
        self.plan(planned);
        let process = self.network.process(link, side);
        if self.running(process).is_some() {
            let sent = self.schedule.now();
            let down = Arrival { link, to: side, sent, item: Item::Down };
            self.give(self.host_of[process], Input::Arrival(down));
        }
    }

    /// The lower of two hosts dials, when it has no link; a link that has ended at its end is none.
    pub(crate) fn consider_dial(&mut self, a: usize, b: usize) {
        let (from, to) = (a.min(b), a.max(b));
        let Some(pair) = self.pairs.get_mut(&(from, to)) else { return };
        let has_link = pair.last.is_some_and(|link| !self.network.is_closed(link, Side::Dialer));
        if has_link || pair.dialling || self.hosts[from].process.is_none() {
            return;
        }
        pair.dialling = true;
        let span = self.dice.exponential(self.options.network.redial);
        self.schedule.after(span, Task::Dial { from, to });
    }

    fn dial(&mut self, from: usize, to: usize) {
        let Some(pair) = self.pairs.get_mut(&(from, to)) else { return };
        pair.dialling = false;
        let awake = |host: &Host| host.daemon.as_ref().filter(|d| !d.paused).map(|d| (d.host, d.number));
        let ends = (awake(&self.hosts[from]), awake(&self.hosts[to]));
        let has_link = pair.last.is_some_and(|link| !self.network.is_closed(link, Side::Dialer));
        match ends {
            (Some(dialer), Some(acceptor)) if !has_link && self.network.can_dial(from, to) => {
                let (link, planned) = self.network.connect(dialer, acceptor, self.schedule.now());
                pair.last = Some(link);
                self.plan(planned);
            }
            _ => self.consider_dial(from, to),
        }
    }

    fn work(&mut self, host: usize) {
        if self.workload.over {
            return;
        }
        self.give(host, Input::Work);
        let span = self.workload.dice.exponential(self.workload.options.interval);
        self.schedule.after(span, Task::Work { host });
    }

    /// Something for a daemon to do.
    pub(crate) fn give(&mut self, host: usize, input: Input) {
        if let Some(daemon) = &mut self.hosts[host].daemon {
            daemon.inbox.push_back(input);
            self.wake(host);
        }
    }

    /// The daemon will look into its inbox: mostly at once, sometimes when its machine lets it.
    pub(crate) fn wake(&mut self, host: usize) {
        let machine = &self.options.machine;
        let busy = self.dice.chance(machine.busy_permille);
        let span = if busy { self.dice.exponential(machine.busy) } else { std::time::Duration::ZERO };
        let at = self.schedule.now() + span;
        let Some(daemon) = self.hosts[host].daemon.as_mut() else { return };
        if daemon.inbox.is_empty() || daemon.paused || daemon.wake.is_some() {
            return;
        }
        daemon.wake = Some(at);
        let process = daemon.number;
        self.schedule.at(at, Task::Wake { process });
    }
}
