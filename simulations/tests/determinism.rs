//! The same seed gives the same run, to the last byte.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::PathBuf;
use std::process::Command;

use stentor_simulations::{Chronicle, Options, Overrides, Timestamp, Trace, draw, run, run_and_tell};

fn trace(seed: u64) -> String {
    let outcome = run(&Options::draw(seed, Overrides::default()), Trace::Kept(String::new()));
    outcome.trace.unwrap_or_default()
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..20 {
        let (first, second) = (trace(seed), trace(seed));
        let differs = first.lines().zip(second.lines()).find(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first.len(), second.len(), "seed {seed}");
        assert!(first.lines().count() > 100, "seed {seed}: next to nothing happens");
    }
}

#[test]
fn another_seed_gives_another_run() {
    assert_ne!(trace(1), trace(2));
}

fn digest(arguments: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_simulate")).arg("--digest").args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whoever changes the core or the simulator writes the file anew with `UPDATE=1`, and reads in the difference that the
/// runs have changed. On another machine it must come out the same.
#[test]
fn every_process_on_every_machine_sees_the_same_runs() {
    let blocks: [&[&str]; 3] = [
        &["--seeds", "0..60"],
        &["--seeds", "0..8", "--scenario", "view-changes", "--daemons", "5"],
        &["--seeds", "0..4", "--scenario", "bulk"],
    ];
    let found: String = blocks.iter().map(|block| digest(block)).collect();
    let again: String = blocks.iter().map(|block| digest(&[&["--threads", "1"], *block].concat())).collect();
    assert_eq!(found, again, "two processes differ");
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/digests.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(&file).unwrap(), "the runs are not those of tests/digests.txt");
}

#[test]
fn a_drawing_shows_every_daemon_message_and_fault_and_changes_nothing() {
    let options = Options::draw(12, Overrides { daemons: Some(4), ..Overrides::default() });
    let (outcome, chronicle) = run_and_tell(&options, Trace::Off, Chronicle::wanted());
    let silent = run(&options, Trace::Off);
    assert_eq!(outcome.counts, silent.counts);
    let end = Timestamp::ZERO + outcome.counts.virtual_time;
    let drawing = draw(&outcome, &chronicle, &(Timestamp::ZERO..end));
    assert!(drawing.starts_with("<svg ") && drawing.ends_with("</svg>\n"));
    for daemon in 0..4 {
        assert!(drawing.contains(&format!(">d{daemon:02}</text>")));
    }
    let count = |what: &str| drawing.matches(what).count();
    assert_eq!(count("<text class='fault'") as u64, outcome.counts.faults);
    assert_eq!(count("starts</text>") as u64, outcome.counts.processes);
    assert!(count("class='data'") > 100 && count("class='agreement'") > 50 && count("lost'") > 0);
    assert_eq!(count("<title>"), count("</title>"));
    assert_eq!(count("<text"), count("</text>"));
    let part = draw(&outcome, &chronicle, &(end..end));
    assert!(!part.contains("class='fault'"));
}
