//! Chance: every choice of a run comes from its seed, and from nothing else.

use std::time::Duration;

use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};

/// What a stream of choices decides. Each purpose has its own stream, so that leaving out some faults does not
/// change what the clients do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Options = 1,
    Network = 2,
    Processes = 3,
    Workload = 4,
    Faults = 5,
}

/// A stream of choices. Only integers, so that a seed means the same run on every machine.
#[derive(Debug)]
pub(crate) struct Dice(ChaCha12Rng);

impl Dice {
    pub(crate) fn new(seed: u64, purpose: Purpose) -> Self {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        rng.set_stream(purpose as u64);
        Self(rng)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0.random()
    }

    /// True in `permille` of 1000 cases.
    pub(crate) fn chance(&mut self, permille: u32) -> bool {
        self.0.random_range(0..1000) < permille
    }

    /// A number from `low` to `high`, both possible.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high.max(low))
    }

    /// An index below `count`; zero if there is nothing to choose from.
    pub(crate) fn index(&mut self, count: usize) -> usize {
        if count == 0 { 0 } else { self.0.random_range(0..count) }
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.index(from.len()))
    }

    /// One of `choices`, each as likely as its weight; the first if all weights are zero.
    pub(crate) fn weighted<T: Copy>(&mut self, choices: &[(T, u32)]) -> Option<T> {
        let total: u64 = choices.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut left = self.between(0, total.saturating_sub(1));
        for (choice, weight) in choices {
            let weight = u64::from(*weight);
            if left < weight {
                return Some(*choice);
            }
            left -= weight;
        }
        choices.first().map(|(choice, _)| *choice)
    }

    /// A span from `low` to `high`.
    pub(crate) fn span(&mut self, low: Duration, high: Duration) -> Duration {
        Duration::from_nanos(self.between(nanos(low), nanos(high)))
    }

    /// A span of about exponential distribution, at most ten times the mean.
    pub(crate) fn exponential(&mut self, mean: Duration) -> Duration {
        let draw = self.number() | 1;
        let zeros = draw.leading_zeros();
        // -log2(draw / 2^64), with the logarithm of the mantissa replaced by a straight line, in 2^-32.
        let mantissa = (u128::from(draw) << (zeros + 1) & u128::from(u64::MAX)) >> 32;
        let bits = (u128::from(zeros + 1) << 32) - mantissa;
        let span = (u128::from(nanos(mean)) * bits * 693 / 1000) >> 32;
        Duration::from_nanos(u64::try_from(span).unwrap_or(u64::MAX)).min(mean * 10)
    }
}

pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_spans_have_their_mean() {
        let mut dice = Dice::new(1, Purpose::Network);
        let mean = Duration::from_millis(10);
        let total: Duration = (0..10_000).map(|_| dice.exponential(mean)).sum();
        let measured = total / 10_000;
        assert!((9..=11).contains(&measured.as_millis()), "{measured:?}");
    }

    #[test]
    fn weights_decide_how_often_something_is_chosen() {
        let mut dice = Dice::new(2, Purpose::Faults);
        let often = (0..1000).filter(|_| dice.weighted(&[('a', 9), ('b', 1), ('c', 0)]) == Some('a')).count();
        assert!((850..950).contains(&often), "{often}");
        assert_eq!(dice.weighted::<char>(&[]), None);
    }

    #[test]
    fn streams_of_different_purposes_differ() {
        let (mut a, mut b) = (Dice::new(3, Purpose::Network), Dice::new(3, Purpose::Faults));
        assert_ne!(a.number(), b.number());
    }
}
