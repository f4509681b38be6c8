//! What was measured, round by round, and what it comes to.

use std::collections::BTreeMap;
use std::time::Duration;

use super::kind::Kind;
use super::load::{Figures, Load, PING_SIZE, Quantity, Row};
use super::machine::Pauses;

/// A figure over the rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The one in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of some values, if there are any.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let median = f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { median, min, max })
    }
}

/// Everything that was measured.
#[derive(Debug)]
pub struct Results {
    /// How long each load was measured.
    pub span: Duration,
    /// What each system that was measured says of its version.
    pub versions: BTreeMap<Kind, String>,
    /// Who was not measured at all, and why.
    pub left_out: Vec<(Kind, String)>,
    /// What went wrong, in words.
    pub failures: Vec<(Kind, String)>,
    /// How many threads wanted a processor before it began, in the mean of a minute.
    pub load_before: f64,
    /// What the machine took away before each of the first rounds, where it let that be watched.
    pub(super) pauses: Vec<Pauses>,
    rounds: Vec<BTreeMap<(Kind, Row), f64>>,
    /// The round that is measured, counted from 0.
    pub(super) round: usize,
}

impl Results {
    pub(super) fn new(span: Duration, load_before: f64) -> Self {
        Self {
            span,
            versions: BTreeMap::new(),
            left_out: Vec::new(),
            failures: Vec::new(),
            load_before,
            pauses: Vec::new(),
            rounds: Vec::new(),
            round: 0,
        }
    }

    /// Goes to a round, counted from 0: it may have been there before.
    pub(super) fn turn_to(&mut self, round: usize) {
        self.round = round;
        self.rounds.resize(self.rounds.len().max(round + 1), BTreeMap::new());
    }

    /// Adds to this round.
    pub(super) fn add(&mut self, kind: Kind, load: Load, figures: Figures) {
        if let Some(round) = self.rounds.get_mut(self.round) {
            round
                .extend(figures.into_iter().map(|(quantity, value)| ((kind, Row { load, quantity }), value)));
        }
    }

    /// Half as many messages of [`PING_SIZE`] a second as were measured in this round; none if none were.
    pub(super) fn half_of_most(&self, kind: Kind) -> Option<u64> {
        let row = Row { load: Load::Flood(PING_SIZE), quantity: Quantity::Rate };
        half(*self.rounds.get(self.round)?.get(&(kind, row))?)
    }

    /// Percent of the time in which the machine took a core away, and microseconds of [`Pauses::p99`].
    pub(super) fn machine(&self) -> Option<(Spread, Spread)> {
        Some((
            Spread::of(self.pauses.iter().map(Pauses::percent))?,
            Spread::of(self.pauses.iter().map(Pauses::p99))?,
        ))
    }

    /// Whether somebody was measured, and nothing failed.
    pub fn is_complete(&self) -> bool {
        !self.versions.is_empty() && self.failures.is_empty()
    }

    /// Rounds that were begun.
    pub fn rounds(&self) -> usize {
        self.rounds.len()
    }

    /// Who was measured, in the order of the columns.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.versions.keys().copied()
    }

    /// All lines for which somebody has a figure.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> =
            self.rounds.iter().flat_map(|round| round.keys()).map(|(_, row)| *row).collect();
        rows.sort_unstable();
        rows.dedup();
        rows
    }

    /// A cell of the table.
    pub fn spread(&self, kind: Kind, row: Row) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(|round| round.get(&(kind, row)).copied()))
    }

    /// One figure over another, round by round, as the machine may be slower in one round than in another.
    pub fn ratio(&self, over: (Kind, Row), under: (Kind, Row)) -> Option<Spread> {
        let pairs = self.rounds.iter().filter_map(|round| Some((*round.get(&over)?, *round.get(&under)?)));
        Spread::of(pairs.filter(|(_, under)| *under > 0.0).map(|(over, under)| over / under))
    }
}

/// Half of a rate, in whole messages a second; none if that is nothing.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is never negative, and far below the limits"
)]
pub(super) fn half(rate: f64) -> Option<u64> {
    Some((rate / 2.0) as u64).filter(|rate| *rate > 0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) const RATE: Row = Row { load: Load::Flood(64), quantity: Quantity::Rate };

    /// Three rounds, in the second of which everything is slower, and NATS fails in the third.
    pub(crate) fn results() -> Results {
        let mut results = Results::new(Duration::from_secs(3), 0.25);
        for (kind, version) in [(Kind::Stentor, "stentor 0.1.0"), (Kind::Nats, "nats-server: v2.9.10")] {
            results.versions.insert(kind, version.to_owned());
        }
        let rates = [(1_500_000.0, Some(1_000_000.0)), (875_000.0, Some(500_000.0)), (1_750_000.0, None)];
        for (round, (own, peer)) in rates.into_iter().enumerate() {
            results.turn_to(round);
            results.add(Kind::Stentor, RATE.load, vec![(Quantity::Rate, own), (Quantity::Cpu, own / 1e6)]);
            if let Some(peer) = peer {
                results.add(Kind::Nats, RATE.load, vec![(Quantity::Rate, peer)]);
            }
            results.add(Kind::Stentor, Load::Ping, vec![(Quantity::P50, 40.0), (Quantity::P99, 93.5)]);
        }
        results.left_out.push((Kind::Corosync, "not installed".to_owned()));
        results
    }

    #[test]
    fn figures_come_to_medians_and_ratios_of_rounds() {
        let results = results();
        let own = results.spread(Kind::Stentor, RATE).unwrap();
        assert_eq!(own, Spread { median: 1_500_000.0, min: 875_000.0, max: 1_750_000.0 });
        let ratio = results.ratio((Kind::Stentor, RATE), (Kind::Nats, RATE)).unwrap();
        assert_eq!(ratio, Spread { median: 1.625, min: 1.5, max: 1.75 });
        assert_eq!(results.spread(Kind::Corosync, RATE), None);
        assert_eq!(results.ratio((Kind::Stentor, RATE), (Kind::Corosync, RATE)), None);
        assert_eq!(results.rows().len(), 4);
    }

    #[test]
    fn half_of_the_most_is_that_of_the_same_round() {
        let mut results = results();
        assert_eq!(results.half_of_most(Kind::Stentor), Some(875_000));
        assert_eq!(results.half_of_most(Kind::Nats), None, "it failed in the last round");
        results.turn_to(0);
        assert_eq!(results.half_of_most(Kind::Nats), Some(500_000));
        results.add(Kind::Stentor, Load::HalfUndisturbed, vec![(Quantity::P99, 700.0)]);
        assert_eq!((results.rounds(), half(1.9)), (3, None), "who comes back to a round begins no other");
    }

    #[test]
    fn nothing_is_never_divided_by() {
        let mut results = Results::new(Duration::ZERO, 0.0);
        results.turn_to(0);
        results.add(Kind::Stentor, RATE.load, vec![(Quantity::Rate, 1.0)]);
        results.add(Kind::Nats, RATE.load, vec![(Quantity::Rate, 0.0)]);
        assert_eq!(results.ratio((Kind::Stentor, RATE), (Kind::Nats, RATE)), None);
        assert_eq!(Spread::of([]), None);
    }
}
