//! The points as tables of Markdown.

use std::fmt::Write;

use super::point::{Median, Point};
use super::{Axis, Growth};

/// All tables, one after the other.
pub fn text(all: &[Growth]) -> String {
    let mut text = String::new();
    for growth in all {
        if !text.is_empty() {
            text.push('\n');
        }
        growth.write(&mut text);
    }
    text
}

/// A column: its heading, and its cell for so many.
type Column = (&'static str, fn(u32, &Point) -> String);

const RATE: Column = ("messages a second (least..most)", |_, point| spread(point.rate));
const CPU: Column = ("CPU s of all daemons a million", |_, point| format!("{:.2}", point.cpu));
const PING: Column = ("one at a time, p50 in µs (least..most)", |_, point| spread(point.ping));
const OPENING: Column = ("all open and joined, s", |_, point| format!("{:.3}", point.opening));
const MEMORY: Column = ("MB of the largest daemon", |_, point| format!("{:.0}", point.memory));
const DAEMON_CPU: Column =
    ("CPU s of one daemon a million", |count, point| format!("{:.2}", point.cpu / f64::from(count)));
/// Of three daemons.
const DELIVERIES: Column = ("deliveries a second in all", |count, point| {
    format!("{:.0}", point.rate.median * f64::from(count) * 3.0)
});
const DELIVERY_CPU: Column = ("CPU s of all daemons a million deliveries", |count, point| {
    format!("{:.3}", point.cpu / f64::from(count) / 3.0)
});

impl Axis {
    fn heading(self) -> &'static str {
        match self {
            Self::Daemons => "daemons",
            Self::Groups => "groups",
            Self::Sessions => "sessions a daemon",
            Self::Members => "members a daemon",
        }
    }

    fn columns(self) -> &'static [Column] {
        match self {
            Self::Daemons => &[RATE, CPU, DAEMON_CPU, PING],
            Self::Groups | Self::Sessions => &[RATE, CPU, PING, OPENING, MEMORY],
            Self::Members => &[RATE, DELIVERIES, DELIVERY_CPU, PING],
        }
    }
}

impl Growth {
    fn write(&self, text: &mut String) {
        let columns = self.axis.columns();
        let mut row = |cells: &mut dyn Iterator<Item = String>| {
            for cell in cells {
                // Writing to memory does not fail.
                let _ = write!(text, "| {cell} ");
            }
            text.push_str("|\n");
        };
        row(&mut std::iter::once(self.axis.heading())
            .chain(columns.iter().map(|(name, _)| *name))
            .map(str::to_owned));
        row(&mut (0..=columns.len()).map(|_| "---".to_owned()));
        for (count, point) in &self.points {
            let cells = columns.iter().map(|(_, cell)| cell(*count, point));
            row(&mut std::iter::once(count.to_string()).chain(cells));
        }
    }
}

fn spread(of: Median) -> String {
    format!("{:.0} ({:.0}..{:.0})", of.median, of.min, of.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_point() {
        let median = Median { median: 2000.4, min: 1000.0, max: 3000.0 };
        let point = Point { rate: median, cpu: 3.0, ping: median, opening: 0.25, memory: 12.0 };
        let growth = |axis| Growth { axis, points: vec![(1, point), (5, point)] };
        let text = text(&[growth(Axis::Daemons), growth(Axis::Members)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 9, "{text}");
        assert_eq!((lines[1], lines[4]), ("| --- | --- | --- | --- | --- |", ""), "{text}");
        assert_eq!(lines[3], "| 5 | 2000 (1000..3000) | 3.00 | 0.60 | 2000 (1000..3000) |");
        assert_eq!(lines[8], "| 5 | 2000 (1000..3000) | 30006 | 0.200 | 2000 (1000..3000) |");
    }
}
