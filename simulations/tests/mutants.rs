//! The ordinary build has no deliberate faults, and says which one has.
#![cfg(not(stentor_mutants))]

use std::path::Path;
use std::process::Command;

#[test]
fn the_ordinary_build_tells_how_to_build_the_mutants() {
    let output = Command::new(env!("CARGO_BIN_EXE_simulate")).arg("--mutants").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(text.contains("cargo mutants-table"), "{text}");
}

#[test]
fn the_table_shows_every_fault_and_that_it_was_caught() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = std::fs::read_to_string(root.join("../membership/src/mutant.rs")).unwrap();
    let table = std::fs::read_to_string(root.join("MUTANTS.md")).unwrap();
    let named = source.lines().filter_map(|line| Some(line.trim().split_once(" = \"PROTOCOL ")?.0));
    let shown = table.lines().skip_while(|line| !line.starts_with("| ---")).skip(1);
    let shown = shown.map_while(|line| line.strip_prefix("| ")?.split_once(" |"));
    let (shown, rows): (Vec<_>, Vec<_>) = shown.unzip();
    assert_eq!(shown, named.collect::<Vec<_>>(), "run cargo mutants-table > simulations/MUTANTS.md");
    assert!(
        !rows.is_empty() && rows.iter().all(|row| !row.contains("**nothing**")),
        "a fault that nothing sees"
    );
}
