//! What goes wrong, and when: at any time, and just at the moments when a view changes.

mod links;
mod moments;
mod partitions;
mod processes;

use std::collections::BTreeMap;
use std::time::Duration;

pub use self::moments::Step;

use crate::chronicle::Moment;
use crate::cluster::{Cluster, Task};
use crate::dice::Dice;
use crate::options::FaultOptions;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The network loses a link.
    BreakLink,
    /// One end of a link ends it.
    DropLink,
    /// One direction carries nothing for a while, then all at once.
    Clog,
    /// The daemons fall into two parts.
    Split,
    /// The same, but links stall instead of breaking.
    StallSplit,
    /// One daemon is cut off.
    Isolate,
    /// One direction between two daemons stalls.
    OneWay,
    /// Some pairs lose their links and get no new ones, while both reach others.
    NonTransitive,
    /// The network is whole again.
    Heal,
    /// A daemon is gone.
    Crash,
    /// A daemon that is down starts, with a new incarnation.
    Restart,
    /// A daemon stops for a while.
    Pause,
    /// A daemon leaves in order.
    Leave,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [Self; 13] = [
        Self::BreakLink,
        Self::DropLink,
        Self::Clog,
        Self::Split,
        Self::StallSplit,
        Self::Isolate,
        Self::OneWay,
        Self::NonTransitive,
        Self::Heal,
        Self::Crash,
        Self::Restart,
        Self::Pause,
        Self::Leave,
    ];
}

/// A fault that is about to strike; without a host, any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) host: Option<usize>,
}

/// How many faults struck, by kind and step.
pub type Struck = BTreeMap<(FaultKind, Step), u64>;

/// The choices of what goes wrong.
#[derive(Debug)]
pub(crate) struct Faults {
    pub(crate) options: FaultOptions,
    pub(crate) dice: Dice,
    /// How many struck.
    pub(crate) count: u64,
    /// How many struck, by kind and step of a view change; one can strike several steps at several daemons.
    pub(crate) struck: Struck,
    /// No more of them.
    pub(crate) over: bool,
}

impl Faults {
    pub(crate) fn new(options: FaultOptions, dice: Dice) -> Self {
        Self { options, dice, count: 0, struck: Struck::new(), over: false }
    }

    /// When the next fault strikes that no moment brings.
    pub(crate) fn pause(&mut self) -> Duration {
        self.dice.exponential(self.options.interval)
    }
}

impl Cluster {
    /// A fault by chance, and the plan for the next.
    pub(crate) fn next_fault(&mut self) {
        if self.faults.over {
            return;
        }
        if let Some(kind) = self.faults.dice.weighted(&self.faults.options.kinds) {
            self.strike(Fault { kind, host: None });
        }
        let pause = self.faults.pause();
        self.schedule.after(pause, Task::NextFault);
    }

    /// A fault strikes.
    pub(crate) fn strike(&mut self, fault: Fault) {
        if self.faults.over || self.faults.count >= self.faults.options.max {
            return;
        }
        self.faults.count += 1;
        if self.faults.options.without & 1 << (self.faults.count - 1) != 0 {
            return;
        }
        for step in self.steps() {
            *self.faults.struck.entry((fault.kind, step)).or_default() += 1;
        }
        self.note(format_args!("FAULT {:?} at {:?}", fault.kind, fault.host));
        self.chronicle.note(self.schedule.now(), || Moment::Fault { text: format!("{:?}", fault.kind) });
        match fault.kind {
            FaultKind::BreakLink => self.break_some_link(fault.host),
            FaultKind::DropLink => self.drop_some_link(fault.host),
            FaultKind::Clog => self.clog(fault.host),
            FaultKind::Split => self.split(false),
            FaultKind::StallSplit => self.split(true),
            FaultKind::Isolate => self.isolate(fault.host),
            FaultKind::OneWay => self.one_way(fault.host),
            FaultKind::NonTransitive => self.non_transitive(),
            FaultKind::Heal => self.heal(),
            FaultKind::Crash => self.crash_some(fault.host),
            FaultKind::Restart => self.restart_some(),
            FaultKind::Pause => self.pause_some(fault.host),
            FaultKind::Leave => self.leave_some(fault.host),
        }
    }
}
