//! What the README tells people to type works as it stands there.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stentor_tests::binary::stentor;
use stentor_tests::cluster::free_address;
use stentor_tests::process::Process;

/// Ends what the script left running, by its own ids.
const PROLOGUE: &str = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n";

/// The commands of the section on a cluster, without those that build.
fn commands() -> Result<String> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md"))?;
    let (_, section) = readme.split_once("## A cluster in one minute").context("no section on a cluster")?;
    let (_, block) = section.split_once("```sh\n").context("no commands")?;
    let (block, _) = block.split_once("```").context("commands without an end")?;
    let mut script = String::from(PROLOGUE);
    for line in block.lines().filter(|line| !line.starts_with("cargo ") && !line.starts_with("export ")) {
        script.push_str(line);
        script.push('\n');
    }
    for address in ["127.0.0.1:4810", "127.0.0.1:4811", "127.0.0.1:4812"] {
        script = script.replace(address, &free_address()?.to_string());
    }
    Ok(script)
}

#[tokio::test]
async fn the_cluster_of_the_readme_runs_and_the_message_arrives() -> Result<()> {
    let script = commands()?;
    let binaries = stentor()?.parent().context("a binary without a directory")?;
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH")?);
    let dir = tempfile::tempdir()?;
    let output = dir.path().join("output");
    let mut bash = Command::new("bash");
    bash.arg("-c").arg(&script).current_dir(dir.path()).env("PATH", path);
    bash.stdin(Stdio::null()).stdout(fs::File::create(&output)?);
    let mut run = Process::start(&mut bash, &dir.path().join("errors"))?;
    let status = run.wait(Duration::from_secs(60)).await?;
    let output = fs::read_to_string(output)?;
    ensure!(status.success(), "{status}\n{output}\n{}\nof\n{script}", run.log());
    ensure!(output.contains("hello, everybody"), "the message did not arrive:\n{output}");
    Ok(())
}
