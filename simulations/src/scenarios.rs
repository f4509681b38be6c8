//! Runs that are about one thing: the seed draws the rest.

use crate::faults::FaultKind;
use crate::options::Options;

/// What a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Nothing goes wrong.
    Calm,
    /// Daemons crash and come back.
    Crashes,
    /// The network parts and heals, again and again.
    Partitions,
    /// Pairs lose each other while both reach others.
    NonTransitive,
    /// Single links break.
    Links,
    /// Daemons stop for a while.
    Pauses,
    /// Daemons leave in order and come back, one after the other.
    RollingRestart,
    /// Something goes wrong at every step of every view change.
    ViewChanges,
    /// Thousands of sessions come and go.
    Churn,
    /// Large messages over narrow wires.
    Bulk,
    /// Clients that read slowly or not at all.
    SlowClients,
    /// Only the primary component may send ordered messages.
    Primary,
}

impl Scenario {
    /// All scenarios.
    pub const ALL: [Self; 12] = [
        Self::Calm,
        Self::Crashes,
        Self::Partitions,
        Self::NonTransitive,
        Self::Links,
        Self::Pauses,
        Self::RollingRestart,
        Self::ViewChanges,
        Self::Churn,
        Self::Bulk,
        Self::SlowClients,
        Self::Primary,
    ];

    /// Its name in a command.
    pub fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Crashes => "crashes",
            Self::Partitions => "partitions",
            Self::NonTransitive => "non-transitive",
            Self::Links => "links",
            Self::Pauses => "pauses",
            Self::RollingRestart => "rolling-restart",
            Self::ViewChanges => "view-changes",
            Self::Churn => "churn",
            Self::Bulk => "bulk",
            Self::SlowClients => "slow-clients",
            Self::Primary => "primary",
        }
    }

    /// Makes the run be about this.
    pub(crate) fn shape(self, options: &mut Options) {
        use FaultKind::{
            BreakLink, Clog, Crash, DropLink, Heal, Isolate, Leave, NonTransitive, OneWay, Pause, Restart,
            Split, StallSplit,
        };
        let Options { faults, workload, network, machine, node, .. } = options;
        match self {
            Self::Calm => {
                (faults.max, faults.late_start_permille) = (0, 0);
                (network.loss_permille, network.duplicate_permille) = (0, 0);
                options.endures = false;
            }
            Self::Crashes => faults.kinds = vec![(Crash, 3), (Restart, 2)],
            Self::Partitions => {
                faults.kinds = vec![(Split, 3), (StallSplit, 3), (Isolate, 2), (OneWay, 2), (Heal, 4)];
            }
            Self::NonTransitive => {
                faults.kinds = vec![(NonTransitive, 4), (OneWay, 2), (Heal, 2)];
                options.endures = true;
            }
            Self::Links => faults.kinds = vec![(BreakLink, 4), (DropLink, 3), (Clog, 3)],
            Self::Pauses => {
                faults.kinds = vec![(Pause, 1)];
                machine.busy_permille = 300;
            }
            Self::RollingRestart => {
                faults.kinds = vec![(Leave, 4), (Restart, 1)];
                faults.restart_permille = 1000;
            }
            Self::ViewChanges => faults.moment_permille = 300,
            Self::Churn => {
                // Connect, disconnect, join, leave, multicast, nonsense.
                workload.actions = [12, 6, 6, 4, 2, 0];
                workload.interval /= 20;
                (workload.sessions_max, workload.names) = (500, 1000);
                (workload.groups, workload.join_everybody_permille) = (100, 2);
            }
            Self::Bulk => {
                workload.large = node.max_message.saturating_sub(200);
                (workload.large_permille, workload.burst_max) = (600, 12);
                network.bandwidth = 2_000_000;
            }
            Self::SlowClients => {
                (workload.slow_permille, workload.dead_permille) = (500, 250);
                workload.everybody_permille = 950;
            }
            Self::Primary => {
                node.require_primary = true;
                faults.kinds = vec![(Split, 3), (Isolate, 2), (Crash, 2), (Heal, 4)];
            }
        }
    }
}
