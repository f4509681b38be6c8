//! The commands of `stentor` as a person types them.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stentor_client::{Address, Connection};

use crate::binary::stentor;
use crate::process::{Process, run};
use crate::wait::{PATIENCE, until};

/// `stentor ARGS --connect ADDRESS`, with the connection by the environment where `address` is none.
///
/// # Errors
/// If there is no binary.
pub fn command(address: Option<&Address>, args: &[&str]) -> Result<Command> {
    let mut command = Command::new(stentor()?);
    command.args(args).env_remove(Address::VARIABLE);
    if let Some(address) = address {
        command.args(["--connect", &address.to_string()]);
    }
    Ok(command)
}

/// Runs a command to its end with `input`, for a usual time at most.
///
/// # Errors
/// If it does not end.
pub async fn output(address: Option<&Address>, args: &[&str], input: &[u8]) -> Result<Output> {
    run(&mut command(address, args)?, input, PATIENCE).await
}

/// Runs a command that must succeed, and gives what it printed.
///
/// # Errors
/// If it fails, with what it said.
pub async fn printed(address: Option<&Address>, args: &[&str], input: &[u8]) -> Result<String> {
    let output = output(address, args, input).await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{args:?} ended with {}: {errors}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs a command that must fail with this exit code, and gives what it said on standard error.
///
/// # Errors
/// If it does not fail so.
pub async fn refused(address: Option<&Address>, args: &[&str], code: i32) -> Result<String> {
    let output = output(address, args, b"").await?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let printed = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(code), "{args:?}: {}, {printed} {errors}", output.status);
    Ok(errors)
}

/// A `stentor join --json` that writes to a file.
#[derive(Debug)]
pub struct Joined {
    process: Process,
    out: PathBuf,
}

impl Joined {
    /// Starts it, and waits until its membership is effective in all of `groups`. Its files are in `dir`.
    ///
    /// # Errors
    /// If that takes long.
    pub async fn start(
        dir: &Path,
        address: &Address,
        name: &str,
        groups: &[&str],
        args: &[&str],
    ) -> Result<Self> {
        let out = dir.join(format!("{name}.jsonl"));
        let mut command = command(Some(address), &["join", "--json", "--name", name])?;
        command.args(args).args(groups).stdin(Stdio::null());
        command.stdout(File::create(&out).with_context(|| format!("cannot write {}", out.display()))?);
        let mut process = Process::start(&mut command, &dir.join(format!("{name}.err")))?;
        let sender = Connection::connect(address).await?.sender;
        for group in groups {
            until(PATIENCE, &format!("{name} is in {group}"), async || {
                let members = sender.members(group).await?;
                ensure!(process.ended()?.is_none(), "it has ended: {}", process.log());
                ensure!(members.iter().any(|member| member.session.as_str() == name), "{members:?}");
                Ok(())
            })
            .await?;
        }
        sender.close().await?;
        Ok(Self { process, out })
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Where its lines are.
    pub fn path(&self) -> &Path {
        &self.out
    }

    /// Waits until it ends by itself, in order.
    ///
    /// # Errors
    /// If it does not within `limit`, or fails.
    pub async fn ended(&mut self, limit: Duration) -> Result<()> {
        let status = self.process.wait(limit).await?;
        ensure!(status.success(), "join ended with {status}: {}", self.process.log());
        Ok(())
    }

    /// The lines that it has written so far.
    ///
    /// # Errors
    /// If one of them is no JSON.
    pub fn events(&self) -> Result<Vec<Value>> {
        let text = std::fs::read_to_string(&self.out)?;
        // The last line may be half there.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }

    /// Waits until it has written an event that fulfils a condition, and gives it.
    ///
    /// # Errors
    /// If none comes.
    pub async fn until_event(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        until(PATIENCE, what, async || {
            let events = self.events()?;
            let found = events.iter().find(|event| is_it(event)).cloned();
            found.with_context(|| format!("{} events without it; log: {}", events.len(), self.process.log()))
        })
        .await
    }
}

/// The text under `key`, or nothing.
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a program's standard error names everything that a person needs.
///
/// # Errors
/// What it does not name.
pub fn names_all(said: &str, needed: &[&str]) -> Result<()> {
    for word in needed {
        ensure!(said.contains(word), "nothing about {word:?} in: {said}");
    }
    Ok(())
}

/// The text of a path.
///
/// # Errors
/// If it is not UTF-8.
pub fn path_text(path: &(impl AsRef<OsStr> + ?Sized)) -> Result<&str> {
    path.as_ref().to_str().context("a path that is not UTF-8")
}
