//! Cores for the daemons of a bench and their programs, as if each daemon had a machine of its own, and when they have
//! them.

use std::ops::Range;

use anyhow::Context;
use preempt_rt::sched::{Pid, Scheduler, SchedulerParams, set_scheduler};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores of each machine.
#[derive(Clone, Debug)]
pub(super) struct Cores {
    all: CpuSet,
    shares: Vec<CpuSet>,
}

impl Cores {
    /// Shares out the cores that this process may use. Where there are not enough, the last machines share one: the first
    /// has the first sender.
    pub(super) fn share(machines: usize) -> anyhow::Result<Self> {
        let all = sched_getaffinity(None).context("cannot learn which cores there are")?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect();
        let share = |range: Range<usize>| {
            let mut share = CpuSet::new();
            cores[range].iter().for_each(|core| share.set(*core));
            share
        };
        Ok(Self { all, shares: shares(cores.len(), machines).map(share).collect() })
    }

    /// Those of a machine.
    pub(super) fn of(&self, machine: usize) -> &CpuSet {
        &self.shares[machine]
    }

    pub(super) fn all(&self) -> &CpuSet {
        &self.all
    }
}

/// Which of so many cores each machine has: none has none.
fn shares(cores: usize, machines: usize) -> impl Iterator<Item = Range<usize>> {
    // Counted from the end, as those that share stand there.
    (0..machines).rev().map(move |number| {
        let from = number * cores / machines;
        let to = ((number + 1) * cores / machines).max(from + 1);
        cores - to..cores - from
    })
}

/// Keeps this thread, and what it starts from now on, on some cores.
pub(super) fn stay_on(cores: &CpuSet) -> anyhow::Result<()> {
    sched_setaffinity(None, cores).context("--pin: the system does not let a thread stay on a core")
}

/// Lets this thread, and what it starts from now on, wait for its turn when it wakes, and interrupt nobody: on a machine
/// of its own, its core would not be somebody else's.
pub(super) fn take_turns() -> anyhow::Result<()> {
    set_scheduler(Pid::current_thread(), Scheduler::SCHED_BATCH, SchedulerParams { priority: 0 })
        .context("--pin: the system does not let threads take turns (SCHED_BATCH)")
}

/// The lowest real-time priority: it is above all that is not real-time.
const REAL_TIME: i32 = 1;

/// Lets this thread, and what it starts from now on, run at a real-time priority: what else the machine does waits.
pub(super) fn go_first() -> anyhow::Result<()> {
    set_scheduler(Pid::current_thread(), Scheduler::SCHED_RR, SchedulerParams { priority: REAL_TIME }).context(
        "--real-time: the system does not let this user have a real-time priority: be root, or raise the limit (ulimit -r)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_machines_share_what_is_not_enough() {
        let of = |cores, machines| shares(cores, machines).collect::<Vec<_>>();
        assert_eq!(of(2, 3), [0..1, 1..2, 1..2]);
        assert_eq!(of(1, 2), [0..1, 0..1]);
        assert_eq!(of(4, 2), [0..2, 2..4]);
        assert_eq!(of(8, 3), [0..3, 3..6, 6..8]);
    }

    #[test]
    fn a_thread_stays_where_it_is_told() {
        // On a thread of its own: others go on as they were.
        let told = std::thread::spawn(|| {
            let cores = Cores::share(2)?;
            take_turns()?;
            stay_on(cores.of(1))?;
            anyhow::Ok((sched_getaffinity(None)?, *cores.of(1)))
        });
        let (is, told) = told.join().unwrap().unwrap();
        assert_eq!(is, told);
        assert!(is.count() >= 1);
    }
}
