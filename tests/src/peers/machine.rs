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

/// The times at which at least one core was away.
#[derive(Clone, Debug)]
pub(super) struct Pauses {
    span: Duration,
    lengths: Vec<Duration>,
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
        let away = thread::scope(|scope| {
            let cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
            let threads: Vec<_> = cores
                .map(|core| thread::Builder::new().spawn_scoped(scope, move || watch(core, begin, span)))
                .collect::<Result<_, _>>()?;
            let mut away = Vec::new();
            for thread in threads {
                away.extend(thread.join().map_err(|_| anyhow!("a thread that watches a core broke down"))??);
            }
            anyhow::Ok(away)
        })?;
        Ok(Self { span, lengths: merged(away) })
    }

    /// Percent of the time.
    pub(super) fn percent(&self) -> f64 {
        let away: Duration = self.lengths.iter().sum();
        100.0 * away.div_duration_f64(self.span)
    }

    /// Microseconds that something which needs all cores, and itself no time, takes at most in 99 of 100 cases: whatever
    /// begins while one is away waits for it.
    pub(super) fn p99(&self) -> f64 {
        let mut lengths: Vec<f64> = self.lengths.iter().map(|length| length.as_secs_f64() * 1e6).collect();
        lengths.sort_by(|one, other| other.total_cmp(one));
        let allowed = self.span.as_secs_f64() * 1e6 / 100.0;
        // Of a pause of length l the last x are no wait of more than x: the sum of all l - x above 0 is what is allowed.
        let (mut sum, mut count) = (0.0, 0.0);
        let mut wait: f64 = 0.0;
        for length in lengths {
            if length <= wait {
                break;
            }
            sum += length;
            count += 1.0;
            wait = wait.max((sum - allowed) / count);
        }
        wait
    }
}

/// When a core was away, from and to, since `begin`.
fn watch(core: usize, begin: Instant, span: Duration) -> Result<Vec<(Duration, Duration)>> {
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
fn merged(mut away: Vec<(Duration, Duration)>) -> Vec<Duration> {
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
        let of = |lengths: &[Duration]| Pauses { span: ms(1000), lengths: lengths.to_vec() };
        assert_eq!(of(&[]).p99(), 0.0);
        assert_eq!(of(&[ms(4), ms(6)]).p99(), 0.0, "10 of 1000 ms may be longer");
        assert_eq!(of(&[ms(12)]).p99(), 2000.0, "the first 10 ms of it wait longer than 2 ms");
        assert_eq!(of(&[ms(2), ms(9), ms(9)]).p99(), 4000.0, "5 ms of each of two, nothing of the shortest");
        assert!((of(&[ms(4), ms(6)]).percent() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn each_core_is_watched() {
        let pauses = Pauses::measure(ms(20)).unwrap();
        assert!((0.0..=100.0).contains(&pauses.percent()), "{pauses:?}");
        assert!(pauses.p99() <= 20_000.0, "{pauses:?}");
    }
}
