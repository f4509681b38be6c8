//! What Stentor has to reach: all thresholds, and the judgement. Ratios are to a peer in the same run, on the same
//! machine; the absolute figures are for a machine with two cores that does nothing else.

use std::fmt;

use super::kind::Kind;
use super::load::{Alone, Load, Quantity, Row};
use super::results::Results;
use super::table::short;

/// Something to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// The figure of Stentor that it is about.
    pub row: Row,
    limit: Limit,
}

/// What the figure is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Limit {
    /// At least this.
    Floor(f64),
    /// At most this.
    Ceiling(f64),
    /// At least so many times another figure.
    TimesAtLeast(f64, Kind, Row),
    /// At most so many times another figure.
    TimesAtMost(f64, Kind, Row),
}

/// Whether a target is reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// It is, by this figure or ratio.
    Holds(f64),
    /// It is not.
    Missed(f64),
    /// It cannot be told, as something was not measured.
    Unknown,
}

const fn rate(load: Load) -> Row {
    Row { load, quantity: Quantity::Rate }
}

const fn cpu(size: usize) -> Row {
    Row { load: Load::Flood(size), quantity: Quantity::Cpu }
}

const fn p50(load: Load) -> Row {
    Row { load, quantity: Quantity::P50 }
}

const fn p99(load: Load) -> Row {
    Row { load, quantity: Quantity::P99 }
}

const fn at_least(row: Row, limit: f64) -> Target {
    Target { row, limit: Limit::Floor(limit) }
}

const fn at_most(row: Row, limit: f64) -> Target {
    Target { row, limit: Limit::Ceiling(limit) }
}

/// At least so many times what a peer reaches with the same load.
const fn ahead_of(peer: Kind, size: usize, times: f64) -> Target {
    let row = rate(Load::Flood(size));
    Target { row, limit: Limit::TimesAtLeast(times, peer, row) }
}

const fn within(row: Row, limit: Limit) -> Target {
    Target { row, limit }
}

/// The plain load that others are compared with.
const PLAIN: Row = rate(Load::Flood(200));
/// With a load that asks for more, 15 % may be lost.
const NEARLY: Limit = Limit::TimesAtLeast(0.85, Kind::Stentor, PLAIN);

/// All of them.
pub const TARGETS: [Target; 27] = [
    // Throughput: small messages by far ahead of a broker that promises less, large ones of an ordered peer.
    at_least(rate(Load::Flood(64)), 1.5e6),
    ahead_of(Kind::Nats, 64, 1.5),
    at_least(rate(Load::Flood(200)), 1.2e6),
    ahead_of(Kind::Nats, 200, 1.5),
    at_least(rate(Load::Flood(1 << 10)), 400e3),
    ahead_of(Kind::Nats, 1 << 10, 1.3),
    at_least(rate(Load::Flood(8 << 10)), 50e3),
    ahead_of(Kind::Corosync, 8 << 10, 1.5),
    ahead_of(Kind::CorosyncAes256, 8 << 10, 3.0),
    at_least(rate(Load::Flood(100 << 10)), 4.5e3),
    ahead_of(Kind::Corosync, 100 << 10, 1.4),
    ahead_of(Kind::CorosyncAes256, 100 << 10, 4.0),
    // Processors: of all daemons together.
    at_most(cpu(64), 1.5),
    at_most(cpu(1 << 10), 4.0),
    // Latency: not above a broker that orders nothing.
    within(p50(Load::Ping), Limit::TimesAtMost(1.0, Kind::Nats, p50(Load::Ping))),
    within(p99(Load::Ping), Limit::TimesAtMost(1.0, Kind::Nats, p99(Load::Ping))),
    // Latency under load: half of what it takes, and small messages beside large ones.
    at_most(p99(Load::Half), 1000.0),
    at_most(p99(Load::HalfUndisturbed), 1000.0),
    at_most(p99(Load::Alone(Alone::BesideLarge)), 3000.0),
    // Stentor alone: 400 MB a second of 1 MiB messages.
    at_least(rate(Load::Alone(Alone::Large)), 400e6 / (1 << 20) as f64),
    within(rate(Load::Alone(Alone::ThreeSenders)), NEARLY),
    within(rate(Load::Alone(Alone::Safe)), NEARLY),
    at_least(rate(Load::Alone(Alone::Receivers10)), 300e3),
    at_least(rate(Load::Alone(Alone::Receivers50)), 80e3),
    within(p50(Load::Alone(Alone::SafePing)), Limit::TimesAtMost(1.5, Kind::Stentor, p50(Load::Ping))),
    at_most(p50(Load::Alone(Alone::LonelyPing)), 15.0),
    at_most(p99(Load::Alone(Alone::OpenLoop)), 500.0),
];

impl Target {
    /// Whether it is reached: medians and median ratios count.
    pub fn judge(&self, results: &Results) -> Verdict {
        let own = (Kind::Stentor, self.row);
        let ratio = |kind, row| results.ratio(own, (kind, row));
        let (spread, low, high) = match self.limit {
            Limit::Floor(limit) => (results.spread(own.0, own.1), limit, f64::INFINITY),
            Limit::Ceiling(limit) => (results.spread(own.0, own.1), 0.0, limit),
            Limit::TimesAtLeast(times, kind, row) => (ratio(kind, row), times, f64::INFINITY),
            Limit::TimesAtMost(times, kind, row) => (ratio(kind, row), 0.0, times),
        };
        match spread {
            None => Verdict::Unknown,
            Some(spread) if (low..=high).contains(&spread.median) => Verdict::Holds(spread.median),
            Some(spread) => Verdict::Missed(spread.median),
        }
    }

    /// The measured value as people read it, with the verdict.
    pub fn say(&self, verdict: Verdict) -> String {
        let value = |value: f64| match self.limit {
            Limit::Floor(_) | Limit::Ceiling(_) => format!("{}{}", short(value), self.row.quantity.unit()),
            Limit::TimesAtLeast(..) | Limit::TimesAtMost(..) => format!("{value:.2} times"),
        };
        match verdict {
            Verdict::Holds(is) => format!("holds   {}", value(is)),
            Verdict::Missed(is) => format!("MISSED  {}", value(is)),
            Verdict::Unknown => "not measured".to_owned(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { load, quantity } = self.row;
        let name = match quantity {
            Quantity::Rate => "",
            Quantity::Cpu => ", CPU of the daemons for a million",
            Quantity::P50 => ", p50",
            Quantity::P99 => ", p99",
            Quantity::Lost => ", lost",
        };
        let unit = quantity.unit();
        write!(f, "{load}{name}: ")?;
        let other = |kind: Kind, row: Row| {
            if row == self.row { kind.to_string() } else { format!("{kind} with {}", row.load) }
        };
        match self.limit {
            Limit::Floor(limit) => write!(f, "at least {}{unit}", short(limit)),
            Limit::Ceiling(limit) => write!(f, "at most {}{unit}", short(limit)),
            Limit::TimesAtLeast(times, kind, row) => write!(f, "at least {times} times {}", other(kind, row)),
            Limit::TimesAtMost(1.0, kind, row) => write!(f, "at most that of {}", other(kind, row)),
            Limit::TimesAtMost(times, kind, row) => write!(f, "at most {times} times {}", other(kind, row)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::results::tests::{RATE, results};

    fn verdict(row: Row, limit: Limit) -> Verdict {
        Target { row, limit }.judge(&results())
    }

    #[test]
    fn targets_hold_up_to_their_limits() {
        assert_eq!(verdict(RATE, Limit::Floor(1.5e6)), Verdict::Holds(1.5e6));
        assert_eq!(verdict(RATE, Limit::Floor(1.6e6)), Verdict::Missed(1.5e6));
        assert_eq!(verdict(cpu(64), Limit::Ceiling(1.5)), Verdict::Holds(1.5));
        assert_eq!(verdict(cpu(64), Limit::Ceiling(1.4)), Verdict::Missed(1.5));
        assert_eq!(verdict(RATE, Limit::TimesAtLeast(1.625, Kind::Nats, RATE)), Verdict::Holds(1.625));
        assert_eq!(verdict(RATE, Limit::TimesAtLeast(1.63, Kind::Nats, RATE)), Verdict::Missed(1.625));
        assert_eq!(verdict(RATE, Limit::TimesAtMost(1.6, Kind::Nats, RATE)), Verdict::Missed(1.625));
        assert_eq!(verdict(RATE, Limit::TimesAtLeast(1.0, Kind::Corosync, RATE)), Verdict::Unknown);
        assert_eq!(verdict(cpu(200), Limit::Ceiling(1.5)), Verdict::Unknown);
    }

    #[test]
    fn targets_are_said_in_words() {
        let target = ahead_of(Kind::Nats, 1 << 10, 1.3);
        assert_eq!(target.to_string(), "1 KiB: at least 1.3 times nats");
        assert_eq!(target.say(Verdict::Missed(1.256)), "MISSED  1.26 times");
        assert_eq!(
            at_most(cpu(64), 1.5).to_string(),
            "64 B, CPU of the daemons for a million: at most 1.50 s"
        );
        assert_eq!(at_least(RATE, 1.5e6).say(Verdict::Holds(2e6)), "holds   2.00M/s");
        let safe = Target { row: rate(Load::Alone(Alone::Safe)), limit: NEARLY };
        assert_eq!(safe.to_string(), "200 B, SAFE: at least 0.85 times stentor with 200 B");
        assert_eq!(safe.say(safe.judge(&results())), "not measured");
    }
}
