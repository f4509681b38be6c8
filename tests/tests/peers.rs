//! The comparison with peers, with Stentor alone, as peers need not be installed here.

#![expect(clippy::unwrap_used, reason = "these are tests, helpers included")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use stentor_tests::binary::stentor;
use stentor_tests::command::names_all;
use stentor_tests::peers::lets_go_first;
use stentor_tests::process::{Process, Signal, run};
use stentor_tests::scenario::scenario;
use stentor_tests::wait::{PATIENCE, until};

const LIMIT: Duration = Duration::from_secs(90);

/// `peers`, quick, with its temporary files in a directory.
fn peers(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peers"));
    command.args(["--only", "stentor", "--sizes", "64", "--duration", "200ms"]).args(arguments);
    command.env("STENTOR_BIN", stentor().unwrap()).env("TMPDIR", directory);
    command
}

fn is_empty(directory: &Path) -> Result<()> {
    let left: Vec<_> = fs::read_dir(directory)?.collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

#[test]
fn stentor_is_measured_and_judged() -> Result<()> {
    scenario(LIMIT, async {
        let directory = tempfile::tempdir()?;
        let output = run(&mut peers(directory.path(), &["--rounds", "2"]), b"", PATIENCE).await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && errors.is_empty(), "{}: {errors}", output.status);
        let text = String::from_utf8(output.stdout)?;
        names_all(
            &text,
            &[
                "2 rounds in turn, 200ms each",
                "the machine alone kept a core away for",
                "stentor: stentor 0",
                "targets",
                "at least 1.50M/s",
            ],
        )?;
        let line = |start: &str| text.lines().filter(|line| line.starts_with(start)).collect::<Vec<_>>();
        // Throughput and CPU, then two quantiles, and the targets for them.
        ensure!(line("  64 B  ").len() == 2 && line("  64 B, one at a time, p").len() == 4, "{text}");
        ensure!(line("  64 B, half of the most, p").len() == 3, "{text}");
        // Two quantiles, if it may be measured, and the target.
        let undisturbed = if lets_go_first() { 3 } else { 1 };
        ensure!(line("  64 B, half of the most, undisturbed, p").len() == undisturbed, "{text}");
        ensure!(line("  64 B: at least 1.5 times nats")[0].ends_with("not measured"), "{text}");
        is_empty(directory.path())
    })
}

#[test]
fn programs_get_an_object() -> Result<()> {
    scenario(LIMIT, async {
        let directory = tempfile::tempdir()?;
        let output = run(&mut peers(directory.path(), &["--rounds", "1", "--json"]), b"", PATIENCE).await?;
        let object: Value = serde_json::from_slice(&output.stdout)?;
        let rows = object["rows"].as_array().unwrap();
        ensure!(rows.len() == if lets_go_first() { 8 } else { 6 }, "{object}");
        ensure!(object["machine"]["cores_away_percent"]["median"].is_f64(), "{object}");
        for row in rows {
            let spread = &row["cells"]["stentor"];
            ensure!(spread["median"].as_f64() > Some(0.0) && spread["min"] == spread["max"], "{row}");
        }
        let judged =
            object["targets"].as_array().unwrap().iter().filter(|target| target["holds"].is_boolean());
        let of_half = if lets_go_first() { 2 } else { 1 };
        ensure!(
            judged.count() == 2 + of_half,
            "the rate, the CPU time and p99 of half the rate at 64 B: {object}"
        );
        Ok(())
    })
}

#[test]
fn peers_that_are_not_there_are_named() -> Result<()> {
    scenario(LIMIT, async {
        let directory = tempfile::tempdir()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_peers"));
        command.args(["--only", "nats,jetstream,corosync,corosync-aes256"]).env("PATH", directory.path());
        let output = run(&mut command, b"", PATIENCE).await?;
        ensure!(
            output.status.code() == Some(1),
            "there was nobody to measure, and it ended with {}",
            output.status
        );
        let said = String::from_utf8(output.stdout)?;
        for (name, package) in
            [("nats", "nats-server"), ("jetstream", "nats-server"), ("corosync", "corosync")]
        {
            let line = said.lines().find(|line| line.starts_with(&format!("left out: {name}: ")));
            names_all(line.unwrap_or(&said), &["cannot be run", &format!("apt-get install {package}")])?;
        }
        Ok(())
    })
}

#[test]
fn a_wrong_wish_is_refused_with_what_is_allowed() -> Result<()> {
    scenario(LIMIT, async {
        let directory = tempfile::tempdir()?;
        for (arguments, needed) in [
            (["--sizes", "64,15"], "16 to 1048576 bytes"),
            (["--sizes", "1MiB"], "16 to 1048576 bytes"),
            (["--duration", "1ms"], "100ms to 10m"),
            (["--rounds", "0"], "1..=1000"),
            (["--only", "spread"], "corosync-aes256"),
        ] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_peers"));
            let output = run(command.args(arguments).env("TMPDIR", directory.path()), b"", PATIENCE).await?;
            ensure!(output.status.code() == Some(2), "{arguments:?}: {}", output.status);
            names_all(&String::from_utf8_lossy(&output.stderr), &[needed])?;
        }
        Ok(())
    })
}

#[test]
fn told_to_stop_it_leaves_nothing_behind() -> Result<()> {
    scenario(LIMIT, async {
        let directory = tempfile::tempdir()?;
        let log = tempfile::NamedTempFile::new()?;
        let mut command = peers(directory.path(), &[]);
        // The last one counts.
        command.args(["--rounds", "1000"]).stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = Process::start(&mut command, log.path())?;
        until(PATIENCE, "daemons of the bench run", async || {
            let running =
                fs::read_dir(directory.path())?.filter_map(|entry| Some(entry.ok()?.path().join("d2.sock")));
            ensure!(running.into_iter().any(|socket| socket.exists()), "none: {}", process.log());
            Ok(())
        })
        .await?;
        process.signal(Signal::TERM)?;
        let status = process.wait(PATIENCE).await?;
        ensure!(status.code() == Some(1), "{status}");
        names_all(&process.log(), &["SIGTERM"])?;
        is_empty(directory.path())
    })
}
