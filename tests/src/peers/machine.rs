//! What the machine takes away: while a core is somewhere else, in its kernel or with its hypervisor, nothing that runs on
//! it goes on, however fast it is.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Measured for so long at most.
const LONGEST: Duration = Duration::from_secs(1);
/// Shorter ones are left out: a tick of the kernel takes some microseconds, and no message notices it.
const SHORTEST: Duration = Duration::from_micros(50);
/// So exact is [`Pauses::p99`].
const STEP: Duration = Duration::from_micros(10);

/// From when to when.
type Away = (Duration, Duration);

/// The times at which cores were away.
#[derive(Clone, Debug)]
pub(super) struct Pauses {
    span: Duration,
    by_core: Vec<Vec<Away>>,
}

impl Pauses {
    /// Watches each core that the process may use, by a thread that does nothing but read the clock.
    ///
    /// # Errors
    /// If the system does not let a thread stay on a core, or has no more threads.
    pub(super) fn measure(span: Duration) -> Result<Self> {
        let span = span.min(LONGEST);
        let allowed = sched_getaffinity(None).context("cannot learn which cores there are")?;
        let begin = Instant::now();
        let away: Result<_> = thread::scope(|scope| {
            let cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
            let threads: Vec<_> = cores
                .map(|core| thread::Builder::new().spawn_scoped(scope, move || watch(core, begin, span)))
                .collect::<Result<_, _>>()?;
            let away = |thread: thread::ScopedJoinHandle<'_, Result<_>>| {
                thread.join().map_err(|_| anyhow!("a thread that watches a core broke down"))?
            };
            threads.into_iter().map(away).collect()
        });
        Ok(Self { span, by_core: away? })
    }

    /// Percent of the time in which at least one was.
    pub(super) fn percent(&self) -> f64 {
        let away: Duration = merged(self.by_core.concat()).iter().sum();
        100.0 * away.div_duration_f64(self.span)
    }

    /// Microseconds that work has to wait at most in 99 of 100 cases if it comes evenly, needs all cores and half of the
    /// time of each, and a core that is not away does it at once: what comes while one is away waits until that is back,
    /// and then, for as long again, for what came before it. Who can leave a core that is away for another may be better.
    pub(super) fn p99(&self) -> f64 {
        let mut waits = vec![0; steps(self.span)];
        for away in &self.by_core {
            for (wait, here) in waits.iter_mut().zip(self.waits(away)) {
                *wait = here.max(*wait);
            }
        }
        waits.sort_unstable();
        let p99 = waits.len().checked_sub(waits.len() / 100 + 1).and_then(|at| waits.get(at));
        p99.map_or(0.0, |steps| *steps as f64 * STEP.as_micros() as f64)
    }

    /// By step: how many steps work that comes in it waits for a core.
    fn waits(&self, away: &[Away]) -> Vec<usize> {
        let count = steps(self.span);
        let mut here = vec![true; count];
        for (from, to) in away {
            here[steps(*from).min(count)..steps(*to).min(count)].fill(false);
        }
        // In halves of a step: one comes with each step, two are done.
        let (mut come, mut done) = (0, 0);
        let mut waits = Vec::with_capacity(count);
        for (now, here) in here.into_iter().enumerate() {
            come += 1;
            if here {
                done = (done + 2).min(come);
            }
            while waits.len() < done {
                waits.push(now - waits.len());
            }
        }
        // What is not done at the end waited until then at least.
        waits.extend((waits.len()..count).map(|at| count - at));
        waits
    }
}

fn steps(span: Duration) -> usize {
    usize::try_from(span.as_micros() / STEP.as_micros()).unwrap_or(usize::MAX)
}

/// When a core was away, from and to, since `begin`.
fn watch(core: usize, begin: Instant, span: Duration) -> Result<Vec<Away>> {
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).with_context(|| format!("cannot stay on core {core}"))?;
    let mut away = Vec::new();
    let mut last = begin.elapsed();
    while last < span {
        let now = begin.elapsed();
        if now - last >= SHORTEST {
            away.push((last, now.min(span)));
        }
        last = now;
    }
    Ok(away)
}

/// The lengths of the times in which any was away.
fn merged(mut away: Vec<Away>) -> Vec<Duration> {
    away.sort_unstable();
    let mut until = Duration::ZERO;
    let mut lengths: Vec<Duration> = Vec::new();
    for (from, to) in away {
        match lengths.last_mut() {
            Some(length) if from <= until => *length += to.saturating_sub(until),
            _ => lengths.push(to - from),
        }
        until = until.max(to);
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn times_of_several_cores_come_to_one() {
        let away = vec![(ms(5), ms(7)), (ms(1), ms(3)), (ms(2), ms(4)), (ms(6), ms(6)), (ms(7), ms(8))];
        assert_eq!(merged(away), [ms(3), ms(3)]);
        assert_eq!(merged(Vec::new()), []);
    }

    #[test]
    fn one_of_a_hundred_waits_longer() {
        let of = |by_core: &[&[Away]]| Pauses {
            span: ms(1000),
            by_core: by_core.iter().map(|away| away.to_vec()).collect(),
        };
        assert_eq!(of(&[]).p99(), 0.0);
        // A pause of 4 ms delays what comes in it and in the 4 ms after it: less than one in a hundred.
        assert_eq!(of(&[&[(ms(100), ms(104))]]).p99(), 0.0);
        // One of 20 ms: the later something comes, the less it waits, by half; one in a hundred comes in the first 10 ms.
        let long = of(&[&[(ms(100), ms(120))]]).p99();
        assert!((14_900.0..=15_100.0).contains(&long), "{long}");
        // At the same time, two cores are no worse than one; one after the other they are.
        let both = of(&[&[(ms(100), ms(120))], &[(ms(100), ms(120))]]).p99();
        assert_eq!(both, long);
        let later = of(&[&[(ms(100), ms(120))], &[(ms(500), ms(520))]]).p99();
        assert!(later > long, "{later}");
        // A core that never comes back.
        assert_eq!(of(&[&[(ms(0), ms(1000))]]).p99(), 990_000.0);
        assert!((of(&[&[(ms(100), ms(104))], &[(ms(103), ms(106))]]).percent() - 0.6).abs() < 1e-9);
    }

    #[test]
    fn each_core_is_watched() {
        let pauses = Pauses::measure(ms(20)).unwrap();
        assert!((0.0..=100.0).contains(&pauses.percent()), "{pauses:?}");
        assert!(pauses.p99() <= 20_000.0, "{pauses:?}");
    }
}
