//! What a user, or the shrinker, fixes instead of leaving it to the seed.

use std::fmt;

use crate::options::Options;
use crate::scenarios::Scenario;

/// Faults are told apart up to this many: the most that a run may have.
pub(crate) const FAULTS_MAX: u64 = 64;

/// What is fixed. The rest of the run stays as its seed draws it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// How many daemons.
    pub daemons: Option<usize>,
    /// What the run is about.
    pub scenario: Option<Scenario>,
    /// Only this many faults strike.
    pub max_faults: Option<u64>,
    /// Faults that do not strike, by number: a bit each.
    pub without_faults: u64,
    /// Clients do only this many things.
    pub max_actions: Option<u64>,
    /// What is left out.
    pub without: Without,
}

/// A part of a run that can be left out, to see whether a failure needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Datagrams that get lost.
    Loss,
    /// Datagrams that come twice.
    Duplicates,
    /// Paths that are slower than others.
    SlowPaths,
    /// Wires that carry only so much.
    Bandwidth,
    /// Machines that let daemons wait.
    Busy,
    /// Daemons that start late.
    LateStarts,
    /// Messages larger than a frame.
    LargeMessages,
    /// Clients that read slowly or not at all.
    SlowClients,
    /// A time in which the network stays parted.
    Endurance,
}

/// A set of parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Without(u16);

impl Part {
    /// All parts.
    pub const ALL: [Self; 9] = [
        Self::Loss,
        Self::Duplicates,
        Self::SlowPaths,
        Self::Bandwidth,
        Self::Busy,
        Self::LateStarts,
        Self::LargeMessages,
        Self::SlowClients,
        Self::Endurance,
    ];

    /// Its name in a command.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Duplicates => "duplicates",
            Self::SlowPaths => "slow-paths",
            Self::Bandwidth => "bandwidth",
            Self::Busy => "busy",
            Self::LateStarts => "late-starts",
            Self::LargeMessages => "large-messages",
            Self::SlowClients => "slow-clients",
            Self::Endurance => "endurance",
        }
    }

    fn leave_out(self, options: &mut Options) {
        let (network, machine, workload) =
            (&mut options.network, &mut options.machine, &mut options.workload);
        match self {
            Self::Loss => network.loss_permille = 0,
            Self::Duplicates => network.duplicate_permille = 0,
            Self::SlowPaths => network.slow_path_permille = 0,
            Self::Bandwidth => network.bandwidth = 0,
            Self::Busy => (machine.busy_permille, machine.partial_permille) = (0, 0),
            Self::LateStarts => options.faults.late_start_permille = 0,
            Self::LargeMessages => workload.large_permille = 0,
            Self::SlowClients => (workload.slow_permille, workload.dead_permille) = (0, 0),
            Self::Endurance => options.endures = false,
        }
    }
}

impl Without {
    /// This set and one part more.
    #[must_use]
    pub fn and(self, part: Part) -> Self {
        Self(self.0 | 1 << part as u16)
    }

    /// Whether the part is left out.
    pub fn contains(self, part: Part) -> bool {
        self.0 & 1 << part as u16 != 0
    }

    /// The parts.
    pub fn parts(self) -> impl Iterator<Item = Part> {
        Part::ALL.into_iter().filter(move |part| self.contains(*part))
    }
}

impl Overrides {
    /// Fixes what is fixed in options that were drawn; the number of daemons was taken into account before.
    pub(crate) fn apply(self, options: &mut Options) {
        if let Some(scenario) = self.scenario {
            scenario.shape(options);
        }
        for part in self.without.parts() {
            part.leave_out(options);
        }
        options.faults.max = options.faults.max.min(self.max_faults.unwrap_or(u64::MAX));
        options.faults.without = self.without_faults;
        options.workload.max_actions = self.max_actions.unwrap_or(u64::MAX);
    }
}

/// As flags of the command.
impl fmt::Display for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(daemons) = self.daemons {
            write!(f, " --daemons {daemons}")?;
        }
        if let Some(scenario) = self.scenario {
            write!(f, " --scenario {}", scenario.name())?;
        }
        if let Some(max) = self.max_faults {
            write!(f, " --max-faults {max}")?;
        }
        if self.without_faults != 0 {
            let left_out = (0..FAULTS_MAX).filter(|number| self.without_faults & 1 << number != 0);
            write!(f, " --without-faults {}", join(left_out.map(|number| number.to_string())))?;
        }
        if let Some(max) = self.max_actions {
            write!(f, " --max-actions {max}")?;
        }
        if self.without != Without::default() {
            write!(f, " --without {}", join(self.without.parts().map(|part| part.name().to_owned())))?;
        }
        Ok(())
    }
}

fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(",")
}
