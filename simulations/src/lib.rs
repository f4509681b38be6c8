//! Deterministic simulation of Stentor's core, and the proof of its guarantees.
//!
//! [`run`] makes a cluster of real nodes in virtual time, on a network and machines of which everything that can
//! go wrong is drawn from one seed: delay, loss of datagrams, links that break and lose what was under way,
//! partitions (whole, one-way, non-transitive), pauses, crashes and restarts, at any moment and on purpose around
//! view changes. Clients connect, join, leave and send all the time. What they and the daemons are told is written
//! to a [`history`], and the [`invariants`] decide on it alone. Then the faults end, and the cluster has to become
//! whole and deliver all that it accepted.
//!
//! The same seed gives the same run, to the last byte of its [trace](Trace).
//!
//! The same cluster in a calm network tells what messages and view changes cost: [`growth`].

mod chronicle;
mod clients;
mod cluster;
mod daemon;
mod dice;
mod drawing;
mod facts;
mod faults;
pub mod growth;
pub mod history;
pub mod invariants;
mod liveness;
pub mod mutants;
mod network;
mod options;
mod overrides;
mod panics;
mod regressions;
mod report;
mod scenarios;
mod schedule;
mod shrink;
mod step;
mod trace;
mod traffic;
mod workload;

use std::time::Duration;

pub use chronicle::Chronicle;
pub use drawing::draw;
pub use faults::{FaultKind, Step, Struck};
pub use invariants::Violation;
pub use options::{FaultOptions, MachineOptions, NetworkOptions, NodeOptions, Options, WorkloadOptions};
pub use overrides::{Overrides, Part, Without};
pub use regressions::{Regression, RegressionError, parse_regressions};
pub use report::{Counts, Outcome};
pub use scenarios::Scenario;
pub use shrink::shrink;
pub use stentor_membership::Timestamp;
pub use trace::{Trace, fingerprint};
pub use traffic::Traffic;

use cluster::{Cluster, Task};

/// Runs one seed to its end and checks everything. A panic in the core is a violation like any other.
pub fn run(options: &Options, trace: Trace) -> Outcome {
    run_and_tell(options, trace, Chronicle::default()).0
}

/// As [`run`], and tells in `chronicle` what happened when and where; nothing of a run that panicked.
pub fn run_and_tell(options: &Options, trace: Trace, chronicle: Chronicle) -> (Outcome, Chronicle) {
    panics::catch(|| simulate(options.clone(), trace, chronicle)).unwrap_or_else(|text| {
        let outcome = Outcome {
            options: options.clone(),
            violations: vec![Violation { promise: "no panic", text }],
            counts: Counts { runs: 1, ..Counts::default() },
            trace: None,
        };
        (outcome, Chronicle::default())
    })
}

fn simulate(options: Options, trace: Trace, chronicle: Chronicle) -> (Outcome, Chronicle) {
    let mut cluster = match Cluster::new(options.clone(), trace, chronicle) {
        Ok(cluster) => cluster,
        Err(text) => {
            let violations = vec![Violation { promise: "simulator", text }];
            let outcome = Outcome { options, violations, counts: Counts::default(), trace: None };
            return (outcome, Chronicle::default());
        }
    };
    begin(&mut cluster);
    let end = cluster.schedule.now() + options.turmoil;
    cluster.run_until(end);
    if cluster.broken.is_none() {
        cluster.calm_down();
    }
    let Cluster { history, broken, mut counts, hosts, faults, workload, schedule, trace, chronicle, .. } =
        cluster;
    for daemon in hosts.iter().filter_map(|host| host.daemon.as_ref()) {
        counts.add_stats(&daemon.node.stats());
    }
    counts.actions = workload.done;
    counts.faults = faults.count;
    counts.struck = faults.struck;
    counts.sends = history.sends.len() as u64;
    counts.virtual_time = Duration::from_nanos(schedule.now().as_nanos());
    let mut violations = invariants::check(&history);
    violations.extend(broken);
    (Outcome { options, violations, counts, trace: trace.into_text() }, chronicle)
}

/// Plans the starts of the daemons, the first actions of clients, and the first fault.
fn begin(cluster: &mut Cluster) {
    let late_end = cluster.options.turmoil / 2;
    for host in 0..cluster.hosts.len() {
        let late = cluster.faults.dice.chance(cluster.options.faults.late_start_permille);
        let span = if late { cluster.faults.dice.span(Duration::ZERO, late_end) } else { Duration::ZERO };
        cluster.schedule.after(span, Task::Start { host });
        let first = cluster.workload.dice.exponential(cluster.options.workload.interval);
        cluster.schedule.after(first, Task::Work { host });
    }
    let first = cluster.faults.pause();
    cluster.schedule.after(first, Task::NextFault);
}
