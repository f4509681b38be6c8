//! What a run is like: everything that is drawn before it begins. Printed in front of every failure.

use std::fmt;
use std::time::Duration;

use crate::dice::{Dice, Purpose};
use crate::faults::FaultKind;
use crate::overrides::{FAULTS_MAX, Overrides};

/// What a run is like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where all of it came from.
    pub seed: u64,
    /// What was fixed.
    pub overrides: Overrides,
    /// How many daemons are configured.
    pub daemons: usize,
    /// How long faults may happen.
    pub turmoil: Duration,
    /// How long the cluster may then take to be whole, and to deliver all that it accepted (L1).
    pub patience: Duration,
    /// Whether the network stays parted for a while after the last fault.
    pub endures: bool,
    /// Settings of the nodes.
    pub node: NodeOptions,
    /// What the network is like.
    pub network: NetworkOptions,
    /// What the machines are like.
    pub machine: MachineOptions,
    /// What clients do.
    pub workload: WorkloadOptions,
    /// What goes wrong.
    pub faults: FaultOptions,
}

/// Settings of the nodes.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// See the core's `Config`, as all that follows.
    pub heartbeat: Duration,
    /// The floor of suspicion.
    pub suspect_after_min: Duration,
    /// The ceiling of suspicion.
    pub suspect_after_max: Duration,
    /// Unstable bytes.
    pub window: usize,
    /// Bytes that a session may have waiting.
    pub session_queue: usize,
    /// The largest message.
    pub max_message: usize,
    /// Bytes of a frame.
    pub frame: usize,
    /// Bytes of a datagram.
    pub datagram: usize,
    /// Whether a minority refuses ordered messages.
    pub require_primary: bool,
}

/// What the network is like. Chances are out of 1000.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// The mean latency of a path, and of its jitter.
    pub latency: Duration,
    /// More than this is neither.
    pub latency_max: Duration,
    /// How many directions are twenty times slower.
    pub slow_path_permille: u32,
    /// Bytes a second of each direction between two hosts while there are faults; zero is no limit.
    pub bandwidth: u64,
    /// How long the queue in front of a direction may be before datagrams are dropped.
    pub queue: Duration,
    /// How many datagrams are lost while there are faults.
    pub loss_permille: u32,
    /// How many datagrams come twice while there are faults.
    pub duplicate_permille: u32,
    /// The mean time until an end notices that its link broke.
    pub notice: Duration,
    /// The longest time until it does.
    pub idle_timeout: Duration,
    /// The mean time until a link is dialled again.
    pub redial: Duration,
}

/// What the machines are like.
#[derive(Clone, Debug)]
pub struct MachineOptions {
    /// How often a daemon is not scheduled at once.
    pub busy_permille: u32,
    /// The mean time until it is, then.
    pub busy: Duration,
    /// How late timers may fire.
    pub timer_slack: Duration,
    /// How often a daemon takes only a part of what has arrived.
    pub partial_permille: u32,
}

/// What clients do.
#[derive(Clone, Debug)]
pub struct WorkloadOptions {
    /// The mean time between two actions at a daemon.
    pub interval: Duration,
    /// Weights of: connect, disconnect, join, leave, multicast, nonsense.
    pub actions: [u32; 6],
    /// Weights of the six service levels.
    pub services: [u32; 6],
    /// The most messages that one action sends.
    pub burst_max: u64,
    /// The largest payloads: small ones, and how many are up to the second size.
    pub small: usize,
    /// See `small`.
    pub large: usize,
    /// How many are large.
    pub large_permille: u32,
    /// How many messages go to everybody.
    pub everybody_permille: u32,
    /// How many groups there are.
    pub groups: usize,
    /// How many joins are to the group of everybody.
    pub join_everybody_permille: u32,
    /// How many names sessions choose from.
    pub names: u64,
    /// Clients do no more than this.
    pub max_actions: u64,
    /// The most sessions of a daemon beside its observer.
    pub sessions_max: usize,
    /// How many sessions read slowly.
    pub slow_permille: u32,
    /// How many sessions stop to read, and never go on.
    pub dead_permille: u32,
    /// What a session may leave unread, in bytes, until its daemon closes it.
    pub unread_max: usize,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub struct FaultOptions {
    /// The mean time between two faults.
    pub interval: Duration,
    /// What kinds there are, by weight.
    pub kinds: Vec<(FaultKind, u32)>,
    /// How often something observed about a view change brings a fault at once.
    pub moment_permille: u32,
    /// How many daemons start late.
    pub late_start_permille: u32,
    /// How often a crashed daemon is started again after a while.
    pub restart_permille: u32,
    /// The most faults.
    pub max: u64,
    /// Faults that are left out, by number: a bit each.
    pub without: u64,
}

impl Options {
    /// Draws a run from its seed.
    pub fn draw(seed: u64, overrides: Overrides) -> Self {
        let mut dice = Dice::new(seed, Purpose::Options);
        let drawn = [3, 3, 3, 4, 4, 5, 5, 6, 7][dice.index(9)];
        let daemons = overrides.daemons.unwrap_or(drawn).max(1);
        let node = node(&mut dice);
        let unit = node.suspect_after_min;
        // Many short runs meet more than few long ones; some states need a long past.
        let longest = match daemons {
            17.. => 10,
            _ if dice.chance(700) => 25,
            _ => 80,
        };
        let turmoil = dice.span(unit * 5, unit * longest);
        let count = u32::try_from(daemons).unwrap_or(u32::MAX);
        let mut options = Self {
            seed,
            overrides,
            daemons,
            turmoil,
            patience: node.suspect_after_max * 40 + Duration::from_secs(10),
            network: network(&mut dice, &node),
            machine: machine(&mut dice, unit),
            workload: workload(&mut dice, &node, turmoil, count),
            faults: faults(&mut dice, turmoil),
            // With many daemons this would say the same, and cost their square.
            endures: dice.chance(400) && daemons <= 16,
            node,
        };
        overrides.apply(&mut options);
        options
    }
}

fn node(dice: &mut Dice) -> NodeOptions {
    let heartbeat = dice.span(Duration::from_millis(10), Duration::from_millis(100));
    let suspect_after_min = heartbeat * small(dice, 3, 8);
    let frame = [1 << 10, 2 << 10, 8 << 10, 64 << 10][dice.index(4)];
    NodeOptions {
        heartbeat,
        suspect_after_min,
        suspect_after_max: suspect_after_min * small(dice, 1, 5),
        window: [64 << 10, 64 << 10, 256 << 10, 8 << 20][dice.index(4)],
        session_queue: [1 << 10, 4 << 10, 32 << 10, 1 << 20][dice.index(4)],
        max_message: [4 << 10, 32 << 10, 128 << 10][dice.index(3)],
        frame,
        datagram: [200, 1100, 1100, 60_000][dice.index(4)],
        require_primary: dice.chance(150),
    }
}

fn network(dice: &mut Dice, node: &NodeOptions) -> NetworkOptions {
    let unit = node.suspect_after_min;
    let latency = dice.exponential(node.heartbeat / 20).max(Duration::from_micros(20));
    NetworkOptions {
        latency,
        latency_max: unit / 6,
        slow_path_permille: [0, 0, 100, 400][dice.index(4)],
        bandwidth: [0, 0, 0, 1_000_000, 20_000_000][dice.index(5)],
        queue: dice.span(unit / 20, unit),
        loss_permille: [0, 10, 50, 300][dice.index(4)],
        duplicate_permille: [0, 20, 200][dice.index(3)],
        notice: dice.span(unit / 50, unit * 2),
        idle_timeout: node.suspect_after_max * 2,
        redial: dice.span(unit / 50, unit),
    }
}

fn machine(dice: &mut Dice, unit: Duration) -> MachineOptions {
    MachineOptions {
        busy_permille: [0, 50, 300, 900][dice.index(4)],
        busy: dice.span(Duration::from_micros(10), unit / 40),
        timer_slack: dice.span(Duration::from_micros(1), Duration::from_millis(2)),
        partial_permille: [0, 100, 500][dice.index(3)],
    }
}

fn workload(dice: &mut Dice, node: &NodeOptions, turmoil: Duration, daemons: u32) -> WorkloadOptions {
    let mut weight = |likely: u32, high: u64| if dice.chance(likely) { small(dice, 1, high) } else { 0 };
    let actions = [
        weight(900, 4),
        weight(800, 2),
        weight(900, 4),
        weight(700, 3),
        weight(1000, 12) + 4,
        weight(400, 1),
    ];
    let services =
        [weight(400, 3), weight(500, 3), weight(600, 3), weight(600, 3), weight(900, 6) + 1, weight(800, 5)];
    let actions_in_all = small(dice, 20, 300);
    let burst_max = [1, 1, 3, 12][dice.index(4)];
    let large = [node.frame / 2, node.frame * 3, node.frame * 5, 40 << 10][dice.index(4)];
    WorkloadOptions {
        interval: turmoil * daemons / actions_in_all,
        actions,
        services,
        burst_max,
        small: [0, 40, 400][dice.index(3)],
        large: large.min(node.max_message - 200),
        large_permille: [0, 50, 200, 600][dice.index(4)],
        everybody_permille: [400, 700, 950][dice.index(3)],
        groups: dice.index(4) + 1,
        join_everybody_permille: 100,
        names: 4,
        max_actions: u64::MAX,
        sessions_max: dice.index(5) + 1,
        slow_permille: [0, 100, 300][dice.index(3)],
        dead_permille: [0, 0, 100][dice.index(3)],
        unread_max: [4 << 10, 64 << 10][dice.index(2)],
    }
}

fn faults(dice: &mut Dice, turmoil: Duration) -> FaultOptions {
    let mut kinds = Vec::new();
    for kind in FaultKind::ALL {
        if dice.chance(600) {
            kinds.push((kind, small(dice, 1, 4)));
        }
    }
    kinds.push((FaultKind::Heal, 2));
    let many = small(dice, 1, 25);
    FaultOptions {
        interval: turmoil / many,
        kinds,
        moment_permille: [0, 0, 30, 150][dice.index(4)],
        late_start_permille: [0, 100, 400][dice.index(3)],
        restart_permille: [300, 800, 1000][dice.index(3)],
        max: FAULTS_MAX,
        without: 0,
    }
}

fn small(dice: &mut Dice, low: u64, high: u64) -> u32 {
    u32::try_from(dice.between(low, high)).unwrap_or(u32::MAX)
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let then = if self.endures { ", then it stays as it is" } else { "" };
        writeln!(f, "seed {}: {} daemons, faults for {:?}{then}", self.seed, self.daemons, self.turmoil)?;
        writeln!(f, "  {:?}", self.node)?;
        writeln!(f, "  {:?}", self.network)?;
        writeln!(f, "  {:?}", self.machine)?;
        writeln!(f, "  {:?}", self.workload)?;
        write!(f, "  {:?}", self.faults)
    }
}
