//! The ordinary build has no deliberate faults, and says which one has.
#![cfg(not(stentor_mutants))]

use std::process::Command;

#[test]
fn the_ordinary_build_tells_how_to_build_the_mutants() {
    let output = Command::new(env!("CARGO_BIN_EXE_simulate")).arg("--mutants").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(text.contains("cargo mutants-table"), "{text}");
}
