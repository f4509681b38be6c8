//! Decides from the event logs of clients alone whether the guarantees hold that the daemons give.
//!
//! | property | guarantee | what it says |
//! | --- | --- | --- |
//! | `integrity` | E4 | got at most once, as sent, only what was sent, only while a member |
//! | `views` | E13 | same group view id, same members; each view follows from the one before |
//! | `order` | E9 | two clients get the Agreed and Safe messages that both get in one order |
//! | `prefix` | E10 | two clients in one group view get the same ordered messages up to where one of them ends |
//! | `fifo` | E7 | the messages of one sender in sending order, without a hole between two network changes |
//! | `causal` | E8 | nobody gets a message before one that its sender had got or sent before it |
//! | `self_delivery` | E5 | a sender gets its own messages |
//! | `synchrony` | E6, E13 | who goes together from one group view to the next got the same messages in between |
//! | `safe` | E11 | what one member got as Safe, every member of the view gets |
//! | `newcomers` | G6 | what was sent after a member was told of its join is not in front of it |
//! | `arrival` | L1, E5 | what was sent arrives at all members that have not been apart since |
//!
//! Every property has a file with tests on logs made by hand, right ones and wrong ones.

mod arrival;
mod causal;
mod fifo;
mod history;
mod integrity;
mod newcomers;
mod order;
mod prefix;
mod safe;
#[cfg(test)]
mod sample;
mod self_delivery;
mod synchrony;
mod views;

use std::collections::BTreeMap;
use std::fmt;

use self::history::History;
use crate::log::Log;

/// The most violations of one property that a report spells out.
const SPELLED_OUT: usize = 5;

/// Puts one property to the test.
type Check = fn(&History<'_>, &mut Findings);

const PROPERTIES: [(&str, Check); 11] = [
    ("integrity", integrity::check),
    ("views", views::check),
    ("order", order::check),
    ("prefix", prefix::check),
    ("fifo", fifo::check),
    ("causal", causal::check),
    ("self_delivery", self_delivery::check),
    ("synchrony", synchrony::check),
    ("safe", safe::check),
    ("newcomers", newcomers::check),
    ("arrival", arrival::check),
];

/// Checks every property over the logs of all clients of a test.
pub fn check(logs: &[Log]) -> Report {
    let history = History::new(logs);
    let found = PROPERTIES.iter().map(|&(property, check)| {
        let mut findings = Findings::default();
        check(&history, &mut findings);
        (property, findings)
    });
    Report { found: found.collect() }
}

/// What a check found, by property.
#[derive(Debug)]
pub struct Report {
    found: BTreeMap<&'static str, Findings>,
}

impl Report {
    /// How often a property was put to the test: a number of messages, or of pairs of logs or views. Zero means that
    /// the logs had nothing to say about it.
    pub fn checked(&self, property: &str) -> u64 {
        self.found.get(property).map_or(0, |findings| findings.checked)
    }

    /// How often each property was put to the test.
    pub fn all_checked(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.found.iter().map(|(property, findings)| (*property, findings.checked))
    }

    /// The number of violations of a property.
    pub fn violated(&self, property: &str) -> usize {
        self.found.get(property).map_or(0, |findings| findings.violations)
    }

    /// Passes if nothing was violated and all of `exercised` were put to the test.
    ///
    /// # Errors
    /// Says what was violated, with examples, or what was not exercised.
    pub fn ensure(&self, exercised: &[&str]) -> anyhow::Result<()> {
        let violated = self.found.values().any(|findings| findings.violations > 0);
        anyhow::ensure!(!violated, "guarantees are violated:\n{self}");
        for property in exercised {
            anyhow::ensure!(self.checked(property) > 0, "the logs say nothing about {property}:\n{self}");
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (property, Findings { checked, violations, examples }) in &self.found {
            writeln!(f, "{property:>14}: {violations} violations in {checked}")?;
            for example in examples {
                writeln!(f, "{:>16}{example}", "")?;
            }
        }
        Ok(())
    }
}

/// What the check of one property found.
#[derive(Debug, Default)]
struct Findings {
    checked: u64,
    violations: usize,
    examples: Vec<String>,
}

impl Findings {
    /// Something was put to the test.
    fn checked(&mut self) {
        self.checked += 1;
    }

    /// A violation.
    fn wrong(&mut self, say: impl FnOnce() -> String) {
        if self.violations < SPELLED_OUT {
            self.examples.push(say());
        }
        self.violations += 1;
    }

    /// A test with its outcome.
    fn expect(&mut self, holds: bool, say: impl FnOnce() -> String) {
        self.checked();
        if !holds {
            self.wrong(say);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::sample::{log, together};
    use super::*;

    #[test]
    fn a_right_history_passes_and_exercises_everything() {
        let report = check(&together());
        let all: Vec<_> = PROPERTIES.iter().map(|(property, _)| *property).collect();
        report.ensure(&all).unwrap();
    }

    #[test]
    fn what_was_not_exercised_is_said() {
        let error = check(&[log(1).done()]).ensure(&["order"]).unwrap_err().to_string();
        assert!(error.contains("nothing about order"), "{error}");
    }

    #[test]
    fn many_violations_are_counted_and_some_spelled_out() {
        let logs = [log(1).join(1).got(9, 0).got(9, 1).got(9, 2).got(9, 3).got(9, 4).got(9, 5).done()];
        let report = check(&logs);
        assert_eq!(report.violated("integrity"), 6);
        let text = report.ensure(&[]).unwrap_err().to_string();
        assert!(text.contains("6 violations") && text.contains("9:4") && !text.contains("9:5"), "{text}");
    }
}
