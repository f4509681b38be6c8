//! What a bench tells: medians with their spread, for people and for programs.

use std::fmt::Write;

use anyhow::bail;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use stentor_client::Service;

use super::load::{Load, Pace, Round};

/// All that was measured.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) load: Load,
    pub(super) daemons: usize,
    /// Each daemon and its programs stayed on cores of their own.
    pub(super) pinned: bool,
    pub(super) rounds: Vec<Round>,
    /// For the plots: flat out by size.
    pub(super) over_size: Vec<Summary>,
    /// One message at a time.
    pub(super) ping: Option<Summary>,
    /// At a rate, by rate.
    pub(super) over_load: Vec<Summary>,
}

/// A quantity over several rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// What several rounds of one load came to.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) load: Load,
    pub(super) msgs_per_s: Spread,
    pub(super) mb_per_s: Spread,
    /// Microseconds at p50, p99, p99.9 and the longest.
    pub(super) latency_us: [Spread; 4],
    /// Seconds of processors per million messages.
    pub(super) daemons_cpu: Option<Spread>,
    pub(super) clients_cpu: Spread,
    /// Percent of the processors that the hypervisor took.
    pub(super) stolen: Option<Spread>,
    /// MB of the largest daemon.
    pub(super) daemon_rss: Option<Spread>,
    /// Seconds until all sessions were open.
    pub(super) opening: Spread,
    /// MB a second of the bulk beside it.
    pub(super) bulk: Option<Spread>,
    /// All latencies of all rounds, by quantile: microseconds.
    pub(super) distribution: Vec<(f64, f64)>,
}

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
        let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
        Self { median: f64::midpoint(at(low), at(high)), min: at(0), max: at(values.len().saturating_sub(1)) }
    }

    fn json(self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }
}

impl Summary {
    pub(super) fn of(load: &Load, rounds: &[Round]) -> Self {
        let over = |value: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(value));
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        let per_million = |seconds: f64, round: &Round| seconds * 1e6 / round.measured.max(1.0);
        let mut all = Histogram::<u64>::new_from(&rounds[0].latency);
        for round in rounds {
            // All have the same bounds.
            let _ = all.add(&round.latency);
        }
        let own = rounds.iter().all(|round| round.daemons_cpu.is_some());
        Self {
            load: load.clone(),
            msgs_per_s: over(&|round| round.msgs_per_s),
            mb_per_s: over(&|round| round.msgs_per_s * load.size as f64 / 1e6),
            latency_us: QUANTILES.map(|(_, at)| over(&|round| micros(round.latency.value_at_quantile(at)))),
            daemons_cpu: own.then(|| {
                over(&|round| per_million(round.daemons_cpu.unwrap_or_default().as_secs_f64(), round))
            }),
            clients_cpu: over(&|round| per_million(round.clients_cpu.as_secs_f64(), round)),
            stolen: rounds
                .iter()
                .map(|round| round.stolen)
                .collect::<Option<Vec<_>>>()
                .map(|values| Spread::of(values.into_iter())),
            daemon_rss: own.then(|| over(&|round| round.daemon_rss.unwrap_or(0) as f64 / 1e6)),
            opening: over(&|round| round.opening.as_secs_f64()),
            bulk: load.bulk.map(|_size| over(&|round| round.bulk.unwrap_or(0.0) / 1e6)),
            distribution: all
                .iter_quantiles(4)
                .map(|step| (step.quantile_iterated_to(), micros(step.value_iterated_to())))
                .collect(),
        }
    }
}

impl Report {
    pub(super) fn summary(&self) -> Summary {
        Summary::of(&self.load, &self.rounds)
    }

    /// What was sent where, in a line.
    pub(super) fn title(&self) -> String {
        let Load { senders, receivers, groups, bystanders, size, bulk, service, pace, duration, .. } =
            &self.load;
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let pace = match pace {
            Pace::FlatOut => "flat out".to_owned(),
            Pace::Rate(rate) => format!("{rate} messages a second"),
            Pace::InFlight(limit) => format!("{limit} in flight"),
        };
        let bystanders = match bystanders {
            0 => String::new(),
            count => format!(", {count} bystander{} at each daemon", plural(*count)),
        };
        let bulk = bulk.map(|bulk| format!(" beside a bulk of {bulk} B")).unwrap_or_default();
        let pinned = if self.pinned { ", pinned" } else { "" };
        let real_time = if self.load.real_time { ", real-time" } else { "" };
        format!(
            "{} daemon{}, {senders} sender{}, {receivers} receiver{} at each daemon, {groups} group{}{bystanders}, {size} B{bulk}, \
             {service}, {pace}{pinned}{real_time}, {} x {duration:?}",
            self.daemons,
            plural(self.daemons),
            plural(*senders),
            plural(*receivers),
            plural(*groups),
            self.rounds.len(),
        )
    }

    pub(super) fn text(&self) -> String {
        let summary = self.summary();
        let mut text = format!("{}\n\n{:42}{:>14}{:>14}{:>14}\n", self.title(), "", "median", "min", "max");
        let mut line = |name: &str, spread: Spread, digits: usize| {
            // Writing to memory does not fail.
            let _ = write!(text, "{name:42}");
            for value in [spread.median, spread.min, spread.max] {
                let _ = write!(text, "{:>14}", grouped(value, digits));
            }
            text.push('\n');
        };
        line("messages a second, slowest receiver", summary.msgs_per_s, 0);
        line("MB a second", summary.mb_per_s, 1);
        for ((name, _), spread) in QUANTILES.iter().zip(summary.latency_us) {
            line(&format!("latency {name}, µs"), spread, 0);
        }
        if let Some(spread) = summary.daemons_cpu {
            line("CPU s per million messages, all daemons", spread, 2);
        }
        line("CPU s per million messages, all clients", summary.clients_cpu, 2);
        if let Some(spread) = summary.stolen.filter(|spread| spread.max > 0.0) {
            line("% of the processors the hypervisor took", spread, 1);
        }
        if let Some(spread) = summary.daemon_rss {
            line("memory of the largest daemon, MB", spread, 1);
        }
        if let Some(spread) = summary.bulk {
            line("MB a second of the bulk beside it", spread, 1);
        }
        line("seconds until all sessions were open", summary.opening, 3);
        let _ = writeln!(text, "\n{}", self.said());
        text
    }

    /// What was checked, in a sentence.
    pub(super) fn said(&self) -> String {
        let (sent, received): (u64, u64) =
            self.rounds.iter().fold((0, 0), |(s, r), round| (s + round.sent, r + round.received));
        match self.wrong() {
            Some(wrong) => format!("WRONG: {wrong}."),
            None if received < sent => {
                let lost = grouped((sent - received) as f64, 0);
                format!("{lost} of {} unreliable messages were lost at a receiver.", grouped(sent as f64, 0))
            }
            None => {
                let order = match self.load.service {
                    Service::Agreed | Service::Safe => "in one order",
                    Service::Fifo | Service::Causal => "those of each sender in its order",
                    Service::Reliable | Service::Unreliable => "in any order",
                };
                format!("All {} messages arrived at every receiver, {order}.", grouped(sent as f64, 0))
            }
        }
    }

    fn wrong(&self) -> Option<&str> {
        self.rounds.iter().find_map(|round| round.wrong.as_deref())
    }

    /// An error if something was wrong.
    pub(super) fn verdict(&self) -> anyhow::Result<()> {
        match self.wrong() {
            Some(wrong) => bail!("what arrived is not what was promised: {wrong}"),
            None => Ok(()),
        }
    }

    pub(super) fn json(&self) -> Value {
        let Load { senders, receivers, groups, bystanders, size, bulk, service, pace, duration, .. } =
            &self.load;
        let summary = self.summary();
        let (rate, in_flight) = match pace {
            Pace::FlatOut => (None, None),
            Pace::Rate(rate) => (Some(rate), None),
            Pace::InFlight(limit) => (None, Some(limit)),
        };
        let mut latency = serde_json::Map::new();
        for ((name, _), spread) in QUANTILES.iter().zip(summary.latency_us) {
            latency.insert((*name).to_owned(), spread.median.into());
        }
        json!({
            "daemons": self.daemons,
            "pinned": self.pinned,
            "real_time": self.load.real_time,
            "senders": senders,
            "receivers_per_daemon": receivers,
            "groups": groups,
            "bystanders_per_daemon": bystanders,
            "size": size,
            "bulk": bulk,
            "service": service.to_string(),
            "rate": rate,
            "in_flight": in_flight,
            "duration_s": duration.as_secs_f64(),
            "repeat": self.rounds.len(),
            "correct": self.wrong().is_none(),
            "sent": self.rounds.iter().map(|round| round.sent).sum::<u64>(),
            "msgs_per_s": summary.msgs_per_s.median,
            "mb_per_s": summary.mb_per_s.median,
            "latency_us": latency,
            "spread": {
                "msgs_per_s": summary.msgs_per_s.json(),
                "mb_per_s": summary.mb_per_s.json(),
                "latency_us": QUANTILES
                    .iter()
                    .zip(summary.latency_us)
                    .map(|((name, _), spread)| ((*name).to_owned(), spread.json()))
                    .collect::<serde_json::Map<_, _>>(),
            },
            "cpu_s_per_million_messages": {
                "daemons": summary.daemons_cpu.map(|spread| spread.median),
                "clients": summary.clients_cpu.median,
            },
            "stolen_percent": summary.stolen.map(|spread| spread.median),
            "rss_mb_of_largest_daemon": summary.daemon_rss.map(|spread| spread.median),
            "bulk_mb_per_s": summary.bulk.map(|spread| spread.median),
            "opening_s": summary.opening.median,
        })
    }
}

/// A number with its thousands apart.
pub(super) fn grouped(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, rest) =
        text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut out = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(rest) = rest {
        out.push('.');
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_lie_in_the_middle() {
        let spread = Spread::of([3.0, 1.0, 2.0].into_iter());
        assert_eq!(spread, Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of([1.0, 2.0].into_iter()).median, 1.5);
        assert_eq!(Spread::of(std::iter::empty()).median, 0.0);
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(grouped(1_234_567.0, 0), "1,234,567");
        assert_eq!(grouped(999.5, 1), "999.5");
        assert_eq!(grouped(1000.25, 2), "1,000.25");
    }
}
