//! Evidence that the checks can see: deliberate faults of the core, each run until a check catches it.
//!
//! The faults are in the core only when it is built with `--cfg stentor_mutants`; `cargo mutants-table` does that in
//! a target directory of its own.

/// Runs every mutant, or those with one of `names`, from seed 0 on until it is caught, and writes a table; true if
/// all were caught within 20,000 seeds each. With names, what caught them follows in words.
///
/// # Errors
/// The build has no mutants, a name is none of theirs, or `out` cannot be written.
pub fn table(names: &[String], out: &mut impl std::io::Write) -> anyhow::Result<bool> {
    #[cfg(stentor_mutants)]
    return planted::table(names, out);
    #[cfg(not(stentor_mutants))]
    {
        let _ = (names, out);
        anyhow::bail!(
            "this build has no mutants: use `cargo mutants-table`, which builds with --cfg stentor_mutants"
        )
    }
}

#[cfg(stentor_mutants)]
mod planted {
    use std::io::Write;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Mutex, PoisonError};
    use std::time::{Duration, Instant};

    use anyhow::Context;
    use stentor_membership::Mutant;

    use crate::{Options, Outcome, Overrides, Trace, invariants, run};

    /// Seeds that a mutant may need to be caught.
    const SEEDS_MAX: u64 = 20_000;

    const TITLE: &str = "\
# What the checks see

Each row is a core with one deliberate fault, run from seed 0 on until a check fails: *caught by* says which promises
the first such run broke. A fault that nothing catches within 20,000 seeds is a hole in the checks or in what the
simulator does to a cluster. This file is what `cargo mutants-table > simulations/MUTANTS.md` wrote.
";

    /// How a mutant fared.
    struct Hunt {
        mutant: Mutant,
        /// The run of the lowest seed that shows it.
        caught: Option<Outcome>,
        took: Duration,
    }

    pub(super) fn table(names: &[String], out: &mut impl Write) -> anyhow::Result<bool> {
        let mutants = chosen(names)?;
        if names.is_empty() {
            writeln!(out, "{TITLE}")?;
        }
        writeln!(out, "| mutant | clause | what goes wrong | caught by | seeds | time |")?;
        writeln!(out, "| --- | --- | --- | --- | ---: | ---: |")?;
        let mut hunts = Vec::new();
        for mutant in mutants {
            let hunt = Hunt::run(mutant);
            writeln!(out, "{}", hunt.row())?;
            out.flush()?;
            hunts.push(hunt);
        }
        writeln!(out, "\n{}", summary(&hunts))?;
        for (mutant, outcome) in hunts.iter().filter_map(|hunt| Some((hunt.mutant, hunt.caught.as_ref()?))) {
            for violation in outcome.violations.iter().filter(|_| !names.is_empty()) {
                writeln!(out, "\n{mutant:?}, seed {}: {violation}", outcome.options.seed)?;
            }
        }
        Ok(hunts.iter().all(|hunt| hunt.caught.is_some()))
    }

    fn chosen(names: &[String]) -> anyhow::Result<Vec<Mutant>> {
        let named = |name: &String| {
            let mutant = Mutant::ALL.iter().copied().find(|mutant| format!("{mutant:?}") == *name);
            mutant.with_context(|| format!("no mutant is named {name}; there are {:?}", Mutant::ALL))
        };
        if names.is_empty() { Ok(Mutant::ALL.to_vec()) } else { names.iter().map(named).collect() }
    }

    impl Hunt {
        /// Runs seeds on all cores until one shows the mutant: the lowest that does, however many cores there are.
        fn run(mutant: Mutant) -> Self {
            let began = Instant::now();
            let (next, lowest) = (AtomicU64::new(0), AtomicU64::new(SEEDS_MAX));
            let caught: Mutex<Option<Outcome>> = Mutex::new(None);
            let work = || loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= lowest.load(Ordering::Relaxed) {
                    return;
                }
                let outcome = mutant.plant(|| run(&Options::draw(seed, Overrides::default()), Trace::Off));
                if !outcome.violations.is_empty() && lowest.fetch_min(seed, Ordering::Relaxed) > seed {
                    let mut caught = caught.lock().unwrap_or_else(PoisonError::into_inner);
                    if caught.as_ref().is_none_or(|other| other.options.seed > seed) {
                        *caught = Some(outcome);
                    }
                }
            };
            let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(work);
                }
            });
            let caught = caught.into_inner().unwrap_or_else(PoisonError::into_inner);
            Self { mutant, caught, took: began.elapsed() }
        }

        fn row(&self) -> String {
            let (by, seeds) = match &self.caught {
                Some(outcome) => (promises(outcome).join(", "), outcome.options.seed + 1),
                None => ("**nothing**".to_owned(), SEEDS_MAX),
            };
            let (mutant, seconds) = (self.mutant, self.took.as_secs_f64());
            let (clause, text) = (mutant.clause(), mutant.text());
            format!("| {mutant:?} | {clause} | {text} | {by} | {seeds} | {seconds:.1} s |")
        }
    }

    /// The promises that a run broke.
    fn promises(outcome: &Outcome) -> Vec<&'static str> {
        outcome.violations.iter().map(|violation| violation.promise).collect()
    }

    /// How many mutants were caught, and how many by each promise.
    fn summary(hunts: &[Hunt]) -> String {
        let mut by: Vec<(&str, usize)> = invariants::promises().map(|promise| (promise, 0)).collect();
        let caught: Vec<&Outcome> = hunts.iter().filter_map(|hunt| hunt.caught.as_ref()).collect();
        for promise in caught.iter().flat_map(|outcome| promises(outcome)) {
            match by.iter_mut().find(|(known, _)| *known == promise) {
                Some((_, count)) => *count += 1,
                None => by.push((promise, 1)),
            }
        }
        let by: Vec<String> = by.iter().map(|(promise, count)| format!("{promise} {count}")).collect();
        format!("{} of {} caught. How many each promise saw: {}.", caught.len(), hunts.len(), by.join(", "))
    }
}
