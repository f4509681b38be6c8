//! `instructions`: counts the instructions that a message costs in each layer, and compares them with the baseline.

mod baseline;
mod count;

use std::hint::black_box;
use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use stentor_micro::Body;

use self::baseline::{Baseline, Figure, Origin, Verdict};

/// Counts the instructions that a message costs in each layer, under valgrind, and compares them with the baseline in
/// tests/micro/instructions.txt.
///
/// It ends with exit code 1 if one costs over 5 % more. With UPDATE=1 in the environment it writes the baseline anew.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Only the bodies with this in their names.
    body: Option<String>,
    /// Does nothing but so many steps of the one body with this very name: for valgrind, and for profilers.
    #[arg(long, requires = "body")]
    steps: Option<usize>,
}

fn main() -> ExitCode {
    let Arguments { body, steps } = Arguments::parse();
    let word = body.unwrap_or_default();
    let done = match steps {
        Some(steps) => work(&word, steps).map(|()| true),
        None => check(&word),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Without a standard error there is only the exit code.
            let _ = writeln!(std::io::stderr(), "instructions: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) {
    // Whoever closed the output does not want to know.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn bodies() -> impl Iterator<Item = Body> {
    stentor_micro::client().into_iter().chain(stentor_micro::membership())
}

fn work(name: &str, steps: usize) -> Result<()> {
    let body = bodies().find(|body| body.name == name);
    let body = body.with_context(|| {
        let names: Vec<_> = bodies().map(|body| body.name).collect();
        format!("there is no body {name:?}, only these: {}", names.join(", "))
    })?;
    let mut step = body.begin();
    for _ in 0..black_box(steps) {
        step();
    }
    Ok(())
}

/// Whether nothing became dearer.
fn check(word: &str) -> Result<bool> {
    ensure!(!cfg!(debug_assertions), "only optimised code is worth counting: cargo instructions");
    let update = std::env::var_os("UPDATE").is_some();
    ensure!(
        !update || word.is_empty(),
        "the baseline is written anew as a whole: UPDATE=1 cargo instructions"
    );
    let origin = Origin { compiler: compiler()?, architecture: std::env::consts::ARCH.to_owned() };
    let old = if update { None } else { Some(Baseline::read()?) };
    if let Some(old) = old.as_ref().filter(|old| old.origin.architecture != origin.architecture) {
        say(&format!(
            "LEFT OUT: the baseline is of {}, and this machine is {}: their instructions do not compare",
            old.origin.architecture, origin.architecture
        ));
        return Ok(true);
    }
    let wanted: Vec<_> = bodies().filter(|body| body.name.contains(word)).collect();
    if wanted.is_empty() {
        bail!("no body has {word:?} in its name; without an argument all are counted and named");
    }
    let figures = count::all(&wanted)?;
    let Some(old) = old else {
        let date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let baseline = Baseline { origin, figures };
        say(&baseline.write(date.get(..10).unwrap_or(&date))?);
        return Ok(true);
    };
    Ok(report(&old, &origin, &figures, word))
}

fn compiler() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().context("cannot ask rustc for its version")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn report(old: &Baseline, origin: &Origin, figures: &[Figure], word: &str) -> bool {
    let mut worst = Verdict::Same;
    say("instructions a message                 baseline       now    change");
    for (name, row) in old.compare(figures, word) {
        worst = worst.max(row.verdict);
        say(&format!("{name:<36} {row}"));
    }
    if worst > Verdict::Same && old.origin.compiler != origin.compiler {
        say(&format!(
            "the baseline is of {}, this is {}: compare with a build of the main branch by this one",
            old.origin.compiler, origin.compiler
        ));
    }
    say(worst.advice());
    !worst.fails()
}
