//! Makes a failing run smaller, so that people can read it: fewer daemons, faults, messages and kinds of trouble.

use crate::overrides::{FAULTS_MAX, Overrides, Part};
use crate::report::Outcome;
use crate::trace::Trace;
use crate::{Options, run};

/// No more runs than this for one failure.
const RUNS_MAX: u32 = 400;

/// A search for a smaller run that breaks the same promise.
struct Search<'a> {
    run: &'a dyn Fn(&Options) -> Outcome,
    seed: u64,
    promise: &'static str,
    best: Outcome,
    runs: u32,
}

/// The smallest run found that breaks the first promise that `failed` breaks, and how many runs that took.
pub fn shrink(failed: Outcome) -> (Outcome, u32) {
    shrink_by(&|options| run(options, Trace::Off), failed)
}

fn shrink_by(run: &dyn Fn(&Options) -> Outcome, failed: Outcome) -> (Outcome, u32) {
    let Some(promise) = failed.violations.first().map(|violation| violation.promise) else {
        return (failed, 0);
    };
    let mut search = Search { run, seed: failed.options.seed, promise, best: failed, runs: 0 };
    loop {
        let before = search.best.options.overrides;
        search.fewer_daemons();
        search.fewer_faults();
        search.fewer_parts();
        search.fewer_actions();
        if search.best.options.overrides == before || search.runs >= RUNS_MAX {
            return (search.best, search.runs);
        }
    }
}

impl Search<'_> {
    /// Whether the run still fails in the same way when this is fixed; then it is the best.
    fn holds(&mut self, overrides: Overrides) -> bool {
        if overrides == self.best.options.overrides || self.runs >= RUNS_MAX {
            return false;
        }
        self.runs += 1;
        let outcome = (self.run)(&Options::draw(self.seed, overrides));
        let same = outcome.violations.iter().any(|violation| violation.promise == self.promise);
        if same {
            self.best = outcome;
        }
        same
    }

    fn fixed(&self) -> Overrides {
        self.best.options.overrides
    }

    fn fewer_daemons(&mut self) {
        for daemons in 2..self.best.options.daemons {
            if self.holds(Overrides { daemons: Some(daemons), ..self.fixed() }) {
                return;
            }
        }
    }

    /// First as short a beginning of the faults as fails, then without single ones of them.
    fn fewer_faults(&mut self) {
        let (mut low, mut high) = (0, self.best.counts.faults);
        while low < high {
            let middle = u64::midpoint(low, high);
            if self.holds(Overrides { max_faults: Some(middle), ..self.fixed() }) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        for number in (0..high.min(FAULTS_MAX)).rev() {
            let fixed = self.fixed();
            self.holds(Overrides { without_faults: fixed.without_faults | 1 << number, ..fixed });
        }
    }

    fn fewer_parts(&mut self) {
        for part in Part::ALL {
            let fixed = self.fixed();
            self.holds(Overrides { without: fixed.without.and(part), ..fixed });
        }
    }

    fn fewer_actions(&mut self) {
        let (mut low, mut high) = (0, self.best.counts.actions);
        while low < high {
            let middle = u64::midpoint(low, high);
            if self.holds(Overrides { max_actions: Some(middle), ..self.fixed() }) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::Violation;
    use crate::overrides::Without;
    use crate::report::Counts;

    /// A run with 50 faults and 90 actions that fails if these happen: faults 4 and 9, the first 37 actions, and losses.
    fn needs_some(options: &Options) -> Outcome {
        let fixed = options.overrides;
        let struck = |fault: u64| fault < options.faults.max && options.faults.without & 1 << fault == 0;
        let needed = struck(4) && struck(9) && options.workload.max_actions >= 37 && options.daemons >= 3;
        let fails = needed && !fixed.without.contains(Part::Loss);
        let violation = Violation { promise: "E9 agreed order", text: String::new() };
        Outcome {
            options: options.clone(),
            violations: fails.then_some(violation).into_iter().collect(),
            counts: Counts {
                faults: options.faults.max.min(50),
                actions: options.workload.max_actions.min(90),
                ..Counts::default()
            },
            trace: None,
        }
    }

    #[test]
    fn what_a_failure_does_not_need_is_left_out() {
        let failed = needs_some(&Options::draw(1, Overrides { daemons: Some(7), ..Overrides::default() }));
        assert!(!failed.violations.is_empty());
        let (small, runs) = shrink_by(&needs_some, failed);
        let fixed = small.options.overrides;
        assert_eq!((fixed.daemons, fixed.max_faults, fixed.max_actions), (Some(3), Some(10), Some(37)));
        assert_eq!(fixed.without_faults, 0b01_1110_1111, "only faults 4 and 9 strike");
        let kept: Vec<Part> = Part::ALL.into_iter().filter(|part| !fixed.without.contains(*part)).collect();
        assert_eq!(kept, [Part::Loss]);
        assert!(!small.violations.is_empty() && runs < RUNS_MAX, "{runs}");
        let again = needs_some(&Options::draw(1, fixed));
        assert!(!again.violations.is_empty());
    }

    #[test]
    fn a_run_that_does_not_fail_stays_as_it_is() {
        let overrides = Overrides { without: Without::default().and(Part::Loss), ..Overrides::default() };
        let (same, runs) = shrink_by(&needs_some, needs_some(&Options::draw(1, overrides)));
        assert_eq!((same.options.overrides, runs), (overrides, 0));
    }
}
