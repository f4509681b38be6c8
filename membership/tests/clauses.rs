//! The protocol's clauses and the code name each other.
#![expect(clippy::unwrap_used, reason = "a test may stop at what must not happen")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The ids that PROTOCOL.md defines, in bold at the beginning of a clause: rules, not the model or the guarantees.
fn defined() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("PROTOCOL.md")).unwrap();
    let ids = text.lines().filter_map(|line| line.trim_start().strip_prefix("- **"));
    let ids = ids.filter_map(|line| line.split_once("**")).map(|(id, _)| id.to_owned());
    ids.filter(|id| is_id(id) && !id.starts_with('M')).collect()
}

fn is_id(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_uppercase())
        && chars.next().is_some_and(|c| c.is_ascii_digit())
        && chars.all(|c| c.is_ascii_digit() || c == '.')
}

/// The ids that comments name after the word PROTOCOL.
fn mentioned(source: &str) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for rest in source.split("PROTOCOL ").skip(1) {
        for word in rest.split([' ', ',', '(', ')', ':', ';', '\n', '/']).filter(|word| !word.is_empty()) {
            let word = word.trim_end_matches('.');
            if is_id(word) {
                ids.insert(word.to_owned());
            } else if !matches!(word, "to" | "and") {
                break;
            }
        }
    }
    ids
}

/// All of the core's source but the deliberate faults, which name clauses to break them.
fn sources(folder: &Path, all: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("mutant.rs") {
            all.push(fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_rule_is_named_by_code_and_every_named_rule_exists() {
    let mut all = Vec::new();
    sources(&root().join("membership/src"), &mut all);
    let mentioned: BTreeSet<String> = all.iter().flat_map(|source| mentioned(source)).collect();
    let defined = defined();
    assert!(defined.len() > 40, "clauses are read from PROTOCOL.md: {defined:?}");
    let has_part = |id: &String| {
        mentioned.iter().any(|m| m.strip_prefix(id.as_str()).is_some_and(|r| r.starts_with('.')))
    };
    let unnamed: Vec<_> = defined.iter().filter(|id| !mentioned.contains(*id) && !has_part(id)).collect();
    assert!(unnamed.is_empty(), "no code names these clauses: {unnamed:?}");
    let section = |id: &String| id.len() == 1;
    let unknown: Vec<_> = mentioned
        .iter()
        .filter(|id| !id.starts_with('M') && !section(id) && !defined.contains(*id))
        .collect();
    assert!(unknown.is_empty(), "PROTOCOL.md does not define these: {unknown:?}");
}

#[test]
fn every_deliberate_fault_breaks_a_clause_and_is_planted() {
    let table = fs::read_to_string(root().join("membership/src/mutant.rs")).unwrap();
    let mut all = Vec::new();
    sources(&root().join("membership/src"), &mut all);
    let (defined, mut count) = (defined(), 0);
    for (name, clause) in table.lines().filter_map(|line| line.trim().split_once(" = \"PROTOCOL ")) {
        let id = clause.trim_end_matches("\",");
        let part = |known: &String| known.strip_prefix(id).is_some_and(|rest| rest.starts_with('.'));
        assert!(defined.contains(id) || defined.iter().any(part), "{name} breaks {id}, which is no clause");
        let planted = format!("mutant!({name})");
        assert!(all.iter().any(|source| source.contains(&planted)), "nothing depends on {planted}");
        count += 1;
    }
    assert!(count >= 25, "the table of deliberate faults is read: {count}");
}
