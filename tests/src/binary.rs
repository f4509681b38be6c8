//! Finds what is under test: the `stentor` binary, and the examples.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};

/// The `stentor` to test: the one that `STENTOR_BIN` names, else this workspace's, built in the profile of the tests.
///
/// # Errors
/// Says why there is none.
pub fn stentor() -> Result<&'static Path> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| find().map_err(|error| format!("{error:#}")));
    found.as_deref().map_err(|error| anyhow!("no stentor binary to test: {error}"))
}

/// One of the client library's examples, built in the profile of the tests.
///
/// # Errors
/// If it cannot be built.
pub fn example(name: &str) -> Result<PathBuf> {
    build(&["--example", name])
}

fn find() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("STENTOR_BIN") {
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "STENTOR_BIN is {}: not a file", path.display());
        return Ok(path);
    }
    let built = build(&["--bin", "stentor"]);
    // Run by hand elsewhere, a test may do without cargo if the binary lies where cargo puts it.
    match (built, beside_tests().filter(|path| path.is_file())) {
        (Ok(path), _) | (Err(_), Some(path)) => Ok(path),
        (Err(error), None) => Err(error.context("set STENTOR_BIN, or run the tests by cargo")),
    }
}

/// Beginnings of the names of variables that cargo sets for a test.
const PACKAGE_VARIABLES: [&str; 7] = [
    "CARGO_PKG_",
    "CARGO_MANIFEST_",
    "CARGO_CRATE_NAME",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_BIN_",
    "CARGO_TARGET_TMPDIR",
    "OUT_DIR",
];

/// `target/PROFILE/stentor`, seen from `target/PROFILE/deps/TEST` or `target/PROFILE/PROGRAM`.
fn beside_tests() -> Option<PathBuf> {
    Some(profile_directory()?.join("stentor"))
}

fn profile_directory() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let directory = own.parent()?;
    let tests = directory.file_name().is_some_and(|name| name == "deps");
    Some(if tests { directory.parent()? } else { directory }.to_owned())
}

/// Builds a target if need be; cargo knows. Costs a moment if there is nothing to do.
fn build(target: &[&str]) -> Result<PathBuf> {
    let directory = profile_directory();
    let directory = directory.as_deref().and_then(Path::file_name).unwrap_or_default();
    let profile = if directory == "debug" { "dev".into() } else { directory.to_owned() };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    for (name, _) in std::env::vars_os() {
        // What cargo says about the package under test: some build scripts depend on these variables, and would be
        // run, with all that follows, whenever they come or go.
        if PACKAGE_VARIABLES.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes())) {
            command.env_remove(name);
        }
    }
    let output = command
        // The whole workspace, so that dependencies have the features that they were built with for the tests.
        .args(["build", "--workspace", "--message-format", "json"])
        .args(target)
        .arg("--profile")
        .arg(profile)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo build failed: {}", output.status);
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = messages.lines().filter_map(executable).next_back();
    executable.context("cargo named no executable")
}

fn executable(message: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    message.get("executable")?.as_str().map(PathBuf::from)
}
