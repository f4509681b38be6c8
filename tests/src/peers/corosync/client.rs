//! The program at each node: in C, as Corosync's library is, and built when it is needed.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::peers::load::WARM_UP;
use crate::peers::nodes::NODES;
use crate::process::Process;
use crate::wait::until;

const SOURCE: &str = include_str!("client.c");
/// What it takes to build it.
const PACKAGES: &str = "libcpg-dev gcc libc6-dev";

/// How long programs may take until all are there; they give up by themselves a little earlier.
const START: Duration = Duration::from_secs(40);
/// How long they may take for what is left to do at the end.
const END: Duration = Duration::from_secs(40);

/// What a program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Receive,
    /// Sends flat out, and receives.
    Flood,
    /// Sends one message at a time, and receives.
    Ping,
}

/// The built program.
#[derive(Debug)]
pub(super) struct Program(PathBuf);

/// A running program.
#[derive(Debug)]
pub(super) struct Client {
    process: Process,
    out: PathBuf,
    /// How long it may run from the start signal on.
    limit: Duration,
}

/// What a program saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seen {
    /// Messages that came while it was measured.
    pub(super) measured: u64,
    /// Microseconds at p50 and p99.
    pub(super) percentiles: Option<(f64, f64)>,
}

impl Program {
    /// Builds it in a directory.
    ///
    /// # Errors
    /// With what to install.
    pub(super) fn build(directory: &Path) -> Result<Self> {
        let (source, program) = (directory.join("client.c"), directory.join("client"));
        fs::write(&source, SOURCE).with_context(|| format!("cannot write {}", source.display()))?;
        let output = Command::new("cc")
            .args(["-O2", "-o"])
            .args([&program, &source])
            .args(["-lcpg", "-lpthread"])
            .stdin(Stdio::null())
            .output();
        let hint = format!("on Debian: apt-get install {PACKAGES}");
        let output = output.with_context(|| format!("cc cannot be run; {hint}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().find(|line| line.contains("error")).unwrap_or(&said).trim();
        ensure!(output.status.success(), "no program for Corosync could be built: {first}; {hint}");
        Ok(Self(program))
    }

    /// Starts it by a command that leads to a node.
    pub(super) fn start(
        &self,
        mut at_node: Command,
        role: Role,
        group: &str,
        size: usize,
        span: Duration,
        log: &Path,
    ) -> Result<Client> {
        let out = log.with_extension("out");
        let file = File::create(&out).with_context(|| format!("cannot write {}", out.display()))?;
        let role = match role {
            Role::Receive => "receive",
            Role::Flood => "flood",
            Role::Ping => "ping",
        };
        at_node.arg(&self.0).args([role, group, &NODES.to_string(), &size.to_string()]);
        at_node.args([WARM_UP, span].map(|span| span.as_millis().to_string()));
        at_node.stdin(Stdio::piped()).stdout(file);
        // Errors are those of this run alone.
        File::create(log)?;
        Ok(Client { process: Process::start(&mut at_node, log)?, out, limit: WARM_UP + span + END })
    }
}

impl Client {
    /// Waits until its group is complete.
    pub(super) async fn until_ready(&mut self) -> Result<()> {
        let Self { process, out, .. } = self;
        // An end is no reason to try again, so it is no error inside.
        let ready = until(START, "all nodes of Corosync are in one group", async || {
            let ended = process.ended()?.is_some();
            let ready = fs::read_to_string(&*out)?.contains("ready\n");
            ensure!(ready || ended, "{}", process.log());
            Ok(ready)
        });
        let ready = ready.await?;
        ensure!(ready, "a program at a node of Corosync ended: {}", process.log().trim());
        Ok(())
    }

    /// Lets it begin.
    pub(super) fn go(&mut self) -> Result<()> {
        let stdin = self.process.child().stdin.as_mut().context("a program without an input")?;
        stdin.write_all(b"\n").context("a program at a node of Corosync ended")
    }

    /// Waits until it has received everything.
    pub(super) async fn finish(&mut self) -> Result<Seen> {
        let status = self.process.wait(self.limit).await?;
        ensure!(
            status.success(),
            "a program at a node of Corosync: {} ({status})",
            self.process.log().trim()
        );
        parse(&fs::read_to_string(&self.out)?)
    }
}

/// Reads what a program says at its end.
fn parse(text: &str) -> Result<Seen> {
    let line = text.lines().next_back().unwrap_or_default();
    let words: Vec<&str> = line.split(' ').collect();
    let number = |name: &str| -> Option<u64> {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1)?.parse().ok()
    };
    let Some(measured) = number("measured") else { bail!("a program at a node of Corosync said {text:?}") };
    let micros = |nanos: u64| nanos as f64 / 1000.0;
    let percentiles = number("p50").zip(number("p99")).map(|(p50, p99)| (micros(p50), micros(p99)));
    Ok(Seen { measured, percentiles })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_says_is_understood() {
        let seen = parse("ready\nreceived 12 measured 10\n").unwrap();
        assert_eq!(seen, Seen { measured: 10, percentiles: None });
        let seen = parse("ready\np50 55000 p99 117500 received 12 measured 10\n").unwrap();
        assert_eq!(seen, Seen { measured: 10, percentiles: Some((55.0, 117.5)) });
        for nonsense in ["", "ready\n", "received 12 measured\n", "received 12 measured x\n"] {
            assert!(parse(nonsense).is_err(), "{nonsense:?}");
        }
    }
}
