//! Clusters of several sizes side by side, as a Markdown table.

use std::time::Duration;

use super::{Change, Growth, Message, Share};

/// What a number is a number of.
#[derive(Clone, Copy, Debug)]
enum Unit {
    Seconds,
    Things,
    Bytes,
}

/// A row: what it tells, and how it is found.
type Row = (&'static str, Unit, fn(&Growth) -> f64);

const ROWS: [Row; 32] = [
    ("all start together: in one view after", Unit::Seconds, |g| g.start.installed.as_secs_f64()),
    ("... frames", Unit::Things, |g| g.start.frames()),
    ("... bytes", Unit::Bytes, |g| g.start.bytes()),
    ("at rest, in a second: heartbeats", Unit::Things, |g| g.rest.datagrams as f64),
    ("... bytes", Unit::Bytes, |g| g.rest.datagram_bytes as f64),
    ("a message alone: delivered at its sender after", Unit::Seconds, |g| g.alone.own.as_secs_f64()),
    ("... everywhere after", Unit::Seconds, |g| g.alone.everywhere.as_secs_f64()),
    ("... frames", Unit::Things, |g| g.alone.share.frames()),
    ("... bytes", Unit::Bytes, |g| g.alone.share.bytes()),
    ("each after the one before: everywhere after", Unit::Seconds, |g| g.in_turn.everywhere.as_secs_f64()),
    ("... frames for each", Unit::Things, |g| g.in_turn.share.frames()),
    ("... bytes for each", Unit::Bytes, |g| g.in_turn.share.bytes()),
    ("the same when only one sends for long: delivered at its sender after", Unit::Seconds, |g| {
        listened_to(g, |message| message.own.as_secs_f64())
    }),
    ("... everywhere after", Unit::Seconds, |g| listened_to(g, |message| message.everywhere.as_secs_f64())),
    ("... frames for each", Unit::Things, |g| listened_to(g, |message| message.share.frames())),
    ("... bytes for each", Unit::Bytes, |g| listened_to(g, |message| message.share.bytes())),
    ("1,000 a second: frames for each", Unit::Things, |g| g.steady.frames()),
    ("... bytes for each", Unit::Bytes, |g| g.steady.bytes()),
    ("1,000 at once at one daemon: frames in all", Unit::Things, |g| g.from_one.traffic.frames as f64),
    ("... bytes for each", Unit::Bytes, |g| g.from_one.bytes()),
    ("1,000 at once at all daemons: frames in all", Unit::Things, |g| g.from_all.traffic.frames as f64),
    ("... bytes for each", Unit::Bytes, |g| g.from_all.bytes()),
    ("a daemon crashes: noticed after", Unit::Seconds, |g| g.crash.noticed.as_secs_f64()),
    ("... then the next view everywhere after", Unit::Seconds, |g| g.crash.agreed().as_secs_f64()),
    ("... frames", Unit::Things, |g| g.crash.frames()),
    ("... bytes", Unit::Bytes, |g| g.crash.bytes()),
    ("it starts again: in one view after", Unit::Seconds, |g| g.back.installed.as_secs_f64()),
    ("... frames", Unit::Things, |g| g.back.frames()),
    ("... bytes", Unit::Bytes, |g| g.back.bytes()),
    ("it leaves in order: the next view after", Unit::Seconds, |g| g.leave.installed.as_secs_f64()),
    ("... frames", Unit::Things, |g| g.leave.frames()),
    ("... bytes", Unit::Bytes, |g| g.leave.bytes()),
];

fn listened_to(growth: &Growth, find: fn(&Message) -> f64) -> f64 {
    growth.listened_to.as_ref().map_or(f64::NAN, find)
}

/// The table, a column for each size. The last column tells by which power of the number of daemons a row grows from the
/// last size but one to the last; it is missing when there is one size only.
pub fn table(all: &[Growth]) -> String {
    let law = |find: fn(&Growth) -> f64| match all {
        [.., before, last] => Some(power(before, last, find)),
        _ => None,
    };
    let sizes = all.iter().map(|growth| growth.daemons.to_string());
    let head = sizes.chain((all.len() > 1).then(|| "grows as".to_owned()));
    let mut lines = vec![line("daemons", head)];
    lines.push(format!("| --- |{}", " ---: |".repeat(all.len() + usize::from(all.len() > 1))));
    for (name, unit, find) in ROWS {
        let cells = all.iter().map(|growth| unit.show(find(growth)));
        lines.push(line(name, cells.chain(law(find))));
    }
    lines.join("\n")
}

fn line(name: &str, cells: impl Iterator<Item = String>) -> String {
    cells.fold(format!("| {name} |"), |line, cell| format!("{line} {cell} |"))
}

fn power(before: &Growth, last: &Growth, find: fn(&Growth) -> f64) -> String {
    let larger = (last.daemons as f64 / before.daemons as f64).ln();
    let power = (find(last) / find(before)).ln() / larger;
    // Of nothing, or of the same size twice, there is no power.
    if power.is_finite() { format!("n^{power:.1}").replace("-0.0", "0.0") } else { String::new() }
}

impl Unit {
    /// A number with three digits that count; nothing for what was not measured.
    fn show(self, number: f64) -> String {
        if number.is_nan() {
            return String::new();
        }
        let (mut number, names) = match self {
            Self::Seconds => (number * 1e6, ["µs", "ms", "s"].as_slice()),
            Self::Things => (number, ["", "k", "M", "G"].as_slice()),
            Self::Bytes => (number, ["B", "kB", "MB", "GB", "TB"].as_slice()),
        };
        let mut names = names.iter().peekable();
        let mut name = names.next().copied().unwrap_or_default();
        while number >= 999.5
            && let Some(next) = names.next()
        {
            (number, name) = (number / 1000.0, next);
        }
        let decimals = match number {
            _ if number.fract() == 0.0 || number >= 99.95 => 0,
            _ if number >= 9.995 => 1,
            _ => 2,
        };
        format!("{number:.decimals$} {name}").trim_end().to_owned()
    }
}

impl Share {
    /// Frames for each message.
    pub fn frames(&self) -> f64 {
        self.traffic.frames as f64 / f64::from(self.of)
    }

    /// Bytes of these.
    pub fn bytes(&self) -> f64 {
        self.traffic.frame_bytes as f64 / f64::from(self.of)
    }
}

impl Change {
    /// The time from when it is noticed until all are in the next view.
    pub fn agreed(&self) -> Duration {
        self.installed.saturating_sub(self.noticed)
    }

    fn frames(&self) -> f64 {
        self.traffic.frames as f64
    }

    fn bytes(&self) -> f64 {
        self.traffic.frame_bytes as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_count() {
        let shown = |unit: Unit, numbers: &[f64]| numbers.iter().map(|n| unit.show(*n)).collect::<Vec<_>>();
        let things = [0.0, 2.04, 12.0, 12.34, 999.4, 999.6, 8064.0, 1.2e12];
        assert_eq!(
            shown(Unit::Things, &things),
            ["0", "2.04", "12", "12.3", "999", "1.00 k", "8.06 k", "1200 G"]
        );
        assert_eq!(shown(Unit::Seconds, &[0.000_218_4, 0.0666, 3.2]), ["218 µs", "66.6 ms", "3.20 s"]);
        assert_eq!(shown(Unit::Bytes, &[64.0, 1500.0, 1.35e9]), ["64 B", "1.50 kB", "1.35 GB"]);
    }
}
