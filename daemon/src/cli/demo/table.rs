//! What several programs saw, side by side: the same event in one row.

use std::collections::HashMap;
use std::fmt::Write as _;

use stentor_client::Cause;

use super::PLACES;
use super::witness::{Life, Seen};
use crate::cli::output::Style;

/// The width of a column.
const WIDTH: usize = 25;

/// Rows of messages that are shown at the begin and at the end of a long run of them.
const HEAD: usize = 2;
const TAIL: usize = 1;

/// One event, and which columns saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    text: String,
    is_message: bool,
    columns: Vec<bool>,
}

/// Draws columns of lives, one behind the other in each.
pub(super) fn render(columns: &[Vec<&Life>], style: Style) -> String {
    let mut out = String::new();
    for (lives, (daemon, name)) in columns.iter().zip(PLACES) {
        let name = format!("{name} at {daemon}{}", if lives.len() > 1 { ", twice" } else { "" });
        // Writing to memory does not fail.
        let _ = write!(out, "{}", style.bold(format_args!("{name:<WIDTH$}")));
    }
    out.push('\n');
    let entries: Vec<Vec<Entry>> = columns.iter().map(|lives| entries(lives)).collect();
    let rows = merge(&entries);
    let mut rest = rows.as_slice();
    while let Some(first) = rest.first() {
        let run = rest.iter().take_while(|row| row.is_message && row.columns == first.columns).count();
        if run > HEAD + TAIL + 1 {
            let (head, tail) = (&rest[..HEAD], &rest[run - TAIL..run]);
            head.iter().for_each(|row| draw(&mut out, row, style));
            let text = format!("  ({} more)", run - HEAD - TAIL);
            draw(&mut out, &Row { text, ..first.clone() }, Style { colours: style.colours });
            tail.iter().for_each(|row| draw(&mut out, row, style));
            rest = &rest[run..];
        } else {
            draw(&mut out, first, style);
            rest = &rest[1..];
        }
    }
    out
}

fn draw(out: &mut String, row: &Row, style: Style) {
    let mut line = String::new();
    for saw in &row.columns {
        let text = if *saw { row.text.as_str() } else { "" };
        let _ = write!(line, "{text:<WIDTH$}");
    }
    let line = line.trim_end();
    let _ = if row.is_message { writeln!(out, "{line}") } else { writeln!(out, "{}", style.yellow(line)) };
}

/// What a program saw, in words that are the same for everybody who saw it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry {
    text: String,
    /// Tells events with the same words apart.
    key: String,
    is_message: bool,
}

fn entries(lives: &[&Life]) -> Vec<Entry> {
    let mut transitional = 0;
    let mut entries = Vec::new();
    for life in lives {
        for seen in &life.seen {
            let (text, key, is_message) = match seen {
                Seen::Message { sender, number, .. } => (format!("{sender} {number}"), String::new(), true),
                Seen::View { id, members, cause } => {
                    let names: Vec<_> = members.iter().map(|member| member.session.as_str()).collect();
                    let cause = match cause {
                        Cause::Join(who) => format!("+{}", who.session),
                        Cause::Leave(who) | Cause::Disconnect(who) => format!("-{}", who.session),
                        Cause::Network => "network".to_owned(),
                    };
                    (format!("= {} ({cause})", names.join(" ")), id.to_string(), false)
                }
                Seen::Transitional => {
                    transitional += 1;
                    ("~ transitional".to_owned(), transitional.to_string(), false)
                }
                Seen::Over(why) => {
                    let text: String = format!("x {why}").chars().take(WIDTH - 1).collect();
                    (text, life.name.to_owned(), false)
                }
            };
            entries.push(Entry { text, key, is_message });
        }
    }
    entries
}

/// Puts the columns side by side. Where they contradict each other, the first goes first: it is for the check to say
/// so.
fn merge(columns: &[Vec<Entry>]) -> Vec<Row> {
    // What each column still has to come: for an event, its place.
    let places: Vec<HashMap<&Entry, usize>> = columns
        .iter()
        .map(|column| column.iter().enumerate().map(|(place, entry)| (entry, place)).collect())
        .collect();
    let mut next = vec![0; columns.len()];
    let mut rows = Vec::new();
    loop {
        let heads: Vec<Option<&Entry>> = columns.iter().zip(&next).map(|(c, at)| c.get(*at)).collect();
        let Some(fallback) = heads.iter().flatten().next() else { return rows };
        // An event is next if no column has it further down. Of several, that of the last column: the end of what a
        // crashed program saw then stands where it belongs, and not behind all that the others saw later.
        let is_next = |entry: &&&Entry| {
            let mut pairs = places.iter().zip(&next);
            pairs.all(|(places, at)| places.get(**entry).is_none_or(|place| place <= at))
        };
        let chosen: &Entry = heads.iter().flatten().rev().find(is_next).unwrap_or(fallback);
        let saw: Vec<bool> = heads.iter().map(|head| *head == Some(chosen)).collect();
        for (at, saw) in next.iter_mut().zip(&saw) {
            *at += usize::from(*saw);
        }
        rows.push(Row { text: chosen.text.clone(), is_message: chosen.is_message, columns: saw });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(texts: &[&str]) -> Vec<Entry> {
        let entry = |text: &&str| Entry { text: (*text).to_owned(), key: String::new(), is_message: true };
        texts.iter().map(entry).collect()
    }

    fn drawn(columns: &[Vec<Entry>]) -> Vec<(String, Vec<bool>)> {
        merge(columns).into_iter().map(|row| (row.text, row.columns)).collect()
    }

    #[test]
    fn what_both_saw_is_one_row() {
        let rows = drawn(&[column(&["a", "b", "d"]), column(&["b", "c", "d"])]);
        let expected = [("a", [true, false]), ("b", [true, true]), ("c", [false, true]), ("d", [true, true])];
        assert_eq!(rows, expected.map(|(text, columns)| (text.to_owned(), columns.to_vec())));
    }

    #[test]
    fn contradictions_end_as_well() {
        assert_eq!(drawn(&[column(&["a", "b"]), column(&["b", "a"])]).len(), 3);
    }
}
