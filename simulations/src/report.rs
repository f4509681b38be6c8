//! What came out of a run, and of many.

use std::fmt;
use std::time::Duration;

use stentor_membership::Stats;

use crate::faults::{FaultKind, Step, Struck};
use crate::invariants::Violation;
use crate::options::Options;

/// What came out of one run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the run was like.
    pub options: Options,
    /// What went wrong.
    pub violations: Vec<Violation>,
    /// What happened, in numbers.
    pub counts: Counts,
    /// The text of the run, if it was kept.
    pub trace: Option<String>,
}

/// What happened in runs, in numbers: they show whether the runs reach the states that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs.
    pub runs: u64,
    /// Processes started.
    pub processes: u64,
    /// Faults that struck.
    pub faults: u64,
    /// The same, by kind and by the step of a view change that they met.
    pub struck: Struck,
    /// Sessions closed because they read too slowly.
    pub cut: u64,
    /// Things that clients did.
    pub actions: u64,
    /// Multicasts asked for.
    pub sends: u64,
    /// Messages delivered to sessions, in regular views.
    pub regular: u64,
    /// The same in transitional configurations.
    pub transitional: u64,
    /// Group views delivered.
    pub memberships: u64,
    /// Virtual time.
    pub virtual_time: Duration,
    /// The longest time that a cluster took to be whole.
    pub slowest_merge: Duration,
    /// The longest time in units of the failure detector's ceiling, in hundredths.
    pub slowest_merge_units: u64,
    /// The most that a node kept for recovery, in thousandths of what all windows together allow.
    pub most_retained: u64,
    /// The nodes' own counters.
    pub stats: Stats,
}

impl Counts {
    /// Adds another run's numbers.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.processes += other.processes;
        self.faults += other.faults;
        for (at, count) in &other.struck {
            *self.struck.entry(*at).or_default() += count;
        }
        self.cut += other.cut;
        self.actions += other.actions;
        self.sends += other.sends;
        self.regular += other.regular;
        self.transitional += other.transitional;
        self.memberships += other.memberships;
        self.virtual_time += other.virtual_time;
        self.slowest_merge = self.slowest_merge.max(other.slowest_merge);
        self.slowest_merge_units = self.slowest_merge_units.max(other.slowest_merge_units);
        self.most_retained = self.most_retained.max(other.most_retained);
        self.add_stats(&other.stats);
    }

    pub(crate) fn add_stats(&mut self, other: &Stats) {
        let stats = &mut self.stats;
        stats.views += other.views;
        stats.suspicions += other.suspicions;
        stats.failed_attempts += other.failed_attempts;
        stats.data_frames_sent += other.data_frames_sent;
        stats.progress_frames_sent += other.progress_frames_sent;
        stats.frames_resent += other.frames_resent;
        stats.messages_accepted += other.messages_accepted;
        stats.messages_delivered += other.messages_delivered;
        stats.messages_discarded += other.messages_discarded;
        stats.unreliable_dropped += other.unreliable_dropped;
        stats.sessions_blocked += other.sessions_blocked;
        stats.window_full += other.window_full;
        stats.large_held += other.large_held;
        stats.violations += other.violations;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stats {
            views,
            suspicions,
            failed_attempts,
            data_frames_sent,
            progress_frames_sent,
            frames_resent,
            messages_discarded,
            sessions_blocked,
            window_full,
            large_held,
            ..
        } = &self.stats;
        writeln!(
            f,
            "{} runs, {} processes, {} faults, {:?} of virtual time",
            self.runs, self.processes, self.faults, self.virtual_time
        )?;
        writeln!(
            f,
            "{} multicasts, {} deliveries in regular views and {} in transitional configurations, {} group views, {} \
             slow sessions closed",
            self.sends, self.regular, self.transitional, self.memberships, self.cut
        )?;
        writeln!(
            f,
            "{views} views, {failed_attempts} failed attempts, {suspicions} suspicions, {frames_resent} frames \
             resent, {messages_discarded} messages discarded"
        )?;
        writeln!(
            f,
            "{data_frames_sent} data frames, {progress_frames_sent} progress frames, window full {window_full} \
             times, large messages held {large_held} times, sessions blocked {sessions_blocked} times"
        )?;
        write!(
            f,
            "slowest return to one view after the last fault: {:?}, in units of the longest silence {}.{:02}; most \
             kept for recovery: {} ‰ of all windows",
            self.slowest_merge,
            self.slowest_merge_units / 100,
            self.slowest_merge_units % 100,
            self.most_retained
        )
    }
}

impl Counts {
    /// How many faults struck at this step of a view change.
    pub fn struck_at(&self, step: Step) -> u64 {
        self.struck.iter().filter(|((_, at), _)| *at == step).map(|(_, count)| count).sum()
    }

    /// A table of the faults that struck, by kind and step.
    pub fn faults_by_step(&self) -> String {
        let mut text = format!("{:16}", "faults at");
        for step in Step::ALL {
            text += &format!("{:>12}", format!("{step:?}").to_lowercase());
        }
        for kind in FaultKind::ALL {
            text += &format!("\n{:16}", format!("{kind:?}"));
            for step in Step::ALL {
                text += &format!("{:>12}", self.struck.get(&(kind, step)).copied().unwrap_or(0));
            }
        }
        text
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.options)?;
        for violation in &self.violations {
            writeln!(f, "  VIOLATION {violation}")?;
        }
        write!(f, "  again: cargo run --profile sim -p stentor-simulations --")?;
        write!(f, "{} --seed {} --trace", self.options.overrides, self.options.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overrides::Overrides;

    #[test]
    fn a_failure_tells_what_was_drawn_what_broke_and_how_to_see_it_again() {
        let overrides = Overrides { daemons: Some(3), max_faults: Some(7), ..Overrides::default() };
        let violation = Violation { promise: "E9 agreed order", text: "a before b".to_owned() };
        let outcome = Outcome {
            options: Options::draw(42, overrides),
            violations: vec![violation],
            counts: Counts::default(),
            trace: None,
        };
        let text = outcome.to_string();
        for part in
            ["seed 42: 3 daemons", "heartbeat", "E9 agreed order: a before b", "--max-faults 7 --seed 42"]
        {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
    }
}
