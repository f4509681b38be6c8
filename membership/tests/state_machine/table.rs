//! The table of PROTOCOL.md.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::world::State;

/// Where the table stands.
const HEADING: &str = "### The view change as a state machine";

/// What the table says that cannot happen.
pub(crate) const IMPOSSIBLE: &str = "×";

pub(crate) struct Table {
    /// By row and letter of the state.
    pub(crate) cells: BTreeMap<String, BTreeMap<char, String>>,
    /// The clauses that each row names.
    pub(crate) clauses: BTreeMap<String, Vec<String>>,
    pub(crate) text: String,
}

/// Reads the table; each row must have a cell for each state, and clauses.
pub(crate) fn read() -> Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../PROTOCOL.md");
    let text = fs::read_to_string(path).unwrap();
    let section = text.split(HEADING).nth(1).expect("the section");
    let section = section.split("\n## ").next().unwrap();
    let mut rows = section.lines().filter(|line| line.starts_with('|')).map(|line| {
        let cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
        cells.collect::<Vec<_>>()
    });
    let letters: String = State::ALL.iter().map(|state| state.letter()).collect();
    let head = rows.find(|row| row.len() == letters.len() + 2).expect("a row of states");
    assert_eq!(head[1..=letters.len()].concat(), letters, "the states in the table's head");
    let (mut cells, mut clauses) = (BTreeMap::new(), BTreeMap::new());
    for row in rows.skip(1) {
        assert_eq!(row.len(), head.len(), "cells of {row:?}");
        let (label, rules) = (row[0].clone(), &row[row.len() - 1]);
        let by_state = letters.chars().zip(row[1..].iter().cloned()).collect();
        assert!(cells.insert(label.clone(), by_state).is_none(), "{label} stands twice in the table");
        clauses.insert(label, rules.split(", ").map(str::to_owned).collect());
    }
    Table { cells, clauses, text: text.clone() }
}
