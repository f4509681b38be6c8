//! The results for people: one table, who was left out, and what holds.

use std::fmt::{self, Write};

use super::kind::Kind;
use super::load::{Load, Quantity, Row};
use super::results::{Results, Spread};
use super::targets::TARGETS;

/// Three digits that matter, and a letter for thousands or millions.
pub(super) fn short(value: f64) -> String {
    let (value, letter) = match value.abs() {
        size if size >= 999_500.0 => (value / 1e6, "M"),
        size if size >= 9_995.0 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$}{letter}")
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}..{})", short(self.median), short(self.min), short(self.max))
    }
}

/// A machine with a higher load was not idle.
const IDLE: f64 = 0.5;

/// Parts of the table, each with its heading and the quantity; `Alone` is a part of its own.
const PARTS: [(&str, Quantity); 3] = [
    ("messages a second at the slowest receiver", Quantity::Rate),
    ("seconds of CPU of all daemons for a million messages", Quantity::Cpu),
    ("lost messages, percent", Quantity::Lost),
];
const LATENCY: &str = "latency until the sender sees its own message, µs";
const UNDER_LOAD: &str = "latency until each receiver has it, from when it was due, µs";
const ALONE: &str = "stentor alone";

impl Results {
    /// Everything as a text.
    pub fn text(&self) -> String {
        let mut text = self.heading();
        let rows = self.rows();
        let mut lines = vec![self.columns()];
        let of = |wanted: fn(&Row) -> bool| rows.iter().copied().filter(wanted);
        for (heading, quantity) in PARTS {
            let rows =
                rows.iter().filter(|row| row.quantity == quantity && matches!(row.load, Load::Flood(_)));
            // Losses are shown only if there are some.
            let some = |row: &&Row| {
                quantity != Quantity::Lost
                    || self.kinds().any(|kind| self.spread(kind, **row).is_some_and(|lost| lost.max > 0.0))
            };
            self.part(&mut lines, heading, rows.copied().filter(|row| some(&row)), |row| {
                row.load.to_string()
            });
        }
        let percent = |row: Row| if row.quantity == Quantity::P50 { "p50" } else { "p99" };
        let latency = |row: Row| format!("{}, {}", row.load, percent(row));
        self.part(&mut lines, LATENCY, of(|row| row.load == Load::Ping), latency);
        self.part(&mut lines, UNDER_LOAD, of(|row| row.load.is_half()), latency);
        let alone = of(|row| matches!(row.load, Load::Alone(_)));
        self.part(&mut lines, ALONE, alone, |row| match row.quantity {
            Quantity::P50 | Quantity::P99 => format!("{}, {} in µs", row.load, percent(row)),
            Quantity::Cpu => format!("{}, CPU", row.load),
            Quantity::Rate | Quantity::Lost => row.load.to_string(),
        });
        text.push_str(&aligned(&lines));
        self.remarks(&mut text);
        self.judgement(&mut text);
        text
    }

    fn heading(&self) -> String {
        let rounds = self.rounds();
        let mut text = format!(
            "Three nodes on this machine, one sender at the first, one receiver at each; {rounds} round{} in turn, {:?} each.\n\
             Each cell: the median (the least..the most), then Stentor's figure over the peer's: over 1 is more of it.\n\n",
            if rounds == 1 { "" } else { "s" },
            self.span,
        );
        for (kind, version) in &self.versions {
            // Writing to memory does not fail.
            let _ = writeln!(text, "{kind}: {version}; {}", kind.about());
        }
        if self.load_before > IDLE {
            // Writing to memory does not fail.
            let _ = writeln!(
                text,
                "\nThe machine was busy before (load {:.1}): absolute figures say little, and who passes a message through \
                 more hands loses more.",
                self.load_before
            );
        }
        if let Some((percent, p99)) = self.machine() {
            // Writing to memory does not fail.
            let _ = writeln!(
                text,
                "\nBefore each of the first rounds the machine alone kept a core away for {percent} percent of the time: work that \
                 keeps each core busy for half of its time, and is done at once where it is not away, has a p99 of {p99} µs."
            );
        }
        text.push('\n');
        text
    }

    /// The first line: a name for each column.
    fn columns(&self) -> Vec<String> {
        std::iter::once(String::new()).chain(self.kinds().map(|kind| kind.to_string())).collect()
    }

    fn part(
        &self,
        lines: &mut Vec<Vec<String>>,
        heading: &str,
        rows: impl Iterator<Item = Row>,
        name: impl Fn(Row) -> String,
    ) {
        let mut rows = rows.peekable();
        if rows.peek().is_some() {
            lines.push(Vec::new());
            lines.push(vec![heading.to_owned()]);
        }
        for row in rows {
            let mut line = vec![format!("  {}", name(row))];
            line.extend(self.kinds().map(|kind| self.cell(kind, row)));
            lines.push(line);
        }
    }

    fn cell(&self, kind: Kind, row: Row) -> String {
        let Some(spread) = self.spread(kind, row) else { return "-".to_owned() };
        let mut cell = spread.to_string();
        if kind != Kind::Stentor
            && let Some(ratio) = self.ratio((Kind::Stentor, row), (kind, row))
        {
            // Writing to memory does not fail.
            let _ = write!(cell, " {:.2}x", ratio.median);
        }
        cell
    }

    fn remarks(&self, text: &mut String) {
        for (title, list) in [("left out", &self.left_out), ("failed", &self.failures)] {
            for (kind, why) in list {
                // Writing to memory does not fail.
                let _ = write!(text, "\n{title}: {kind}: {why}");
            }
        }
        if !(self.left_out.is_empty() && self.failures.is_empty()) {
            text.push('\n');
        }
    }

    fn judgement(&self, text: &mut String) {
        if self.kinds().all(|kind| kind != Kind::Stentor) {
            return;
        }
        text.push_str("\ntargets\n");
        let lines: Vec<Vec<String>> = (TARGETS.iter())
            .map(|target| vec![format!("  {target}"), target.say(target.judge(self))])
            .collect();
        text.push_str(&aligned(&lines));
    }
}

/// Puts cells in columns. A line of a single cell is a heading, and widens nothing.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter(|line| line.len() > 1).filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let mut shown = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            // Writing to memory does not fail.
            let _ = write!(shown, "{cell:width$}  ");
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::results::tests::results;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0.00"),
            (1.5, "1.50"),
            (15.04, "15.0"),
            (381.47, "381"),
            (4_512.0, "4512"),
            (12_345.0, "12.3k"),
            (813_400.0, "813k"),
            (999_600.0, "1.00M"),
            (1_234_567.0, "1.23M"),
        ] {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn columns_stand_below_one_another() {
        let lines = [vec!["a long heading".to_owned()], vec!["a".to_owned(), "b".to_owned()], Vec::new()];
        assert_eq!(aligned(&lines), "a long heading\na  b\n\n");
        let lines = [vec!["µs".to_owned(), "b".to_owned()], vec!["xyz".to_owned(), "c".to_owned()]];
        assert_eq!(aligned(&lines), "µs   b\nxyz  c\n");
    }

    #[test]
    fn the_table_tells_everything() {
        let text = results().text();
        for line in [
            "stentor: stentor 0.1.0; AGREED",
            "  64 B                      1.50M (875k..1.75M)  750k (500k..1.00M) 1.62x",
            "  64 B, one at a time, p50  40.0 (40.0..40.0)    -",
            "left out: corosync: not installed",
            "holds   1.50 s",
            "holds   1.62 times",
            "not measured",
        ] {
            assert!(text.contains(line), "no {line:?} in\n{text}");
        }
        assert!(!text.contains("busy"), "{text}");
        let mut busy = results();
        busy.load_before = 5.08;
        assert!(busy.text().contains("busy before (load 5.1)"));
        assert!(!text.contains("lost messages") && !text.contains("stentor alone"), "{text}");
    }
}
