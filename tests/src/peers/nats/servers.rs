//! The three servers: each a process of its own on loopback, none of them encrypted.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::Style;
use crate::cluster::free_address;
use crate::peers::nodes::{Meter, NODES, first_line, mortal};
use crate::process::Process;

/// What to do if it is not there.
const HINT: &str = "on Debian: apt-get install nats-server";

/// Dropped, they are killed and their files removed.
#[derive(Debug)]
pub(super) struct Servers {
    processes: Vec<Process>,
    addresses: [SocketAddr; NODES],
    directory: TempDir,
}

/// What the installed server says of its version.
///
/// # Errors
/// If there is none, with what to install.
pub(in crate::peers) fn version() -> Result<String> {
    first_line("nats-server", &["--version"], HINT)
}

impl Servers {
    pub(super) fn start(style: Style) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("stentor-peers-nats-").tempdir()?;
        let mut addresses = Vec::new();
        let mut routes = Vec::new();
        for _ in 0..NODES {
            addresses.push(free_address()?);
            routes.push(free_address()?);
        }
        let mut processes = Vec::new();
        for (node, clients) in addresses.iter().enumerate() {
            let file = directory.path().join(format!("n{node}.conf"));
            let text = config(style, directory.path(), node, *clients, &routes);
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
            let mut command = mortal("nats-server");
            command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
            processes.push(Process::start(&mut command, &directory.path().join("log"))?);
        }
        let addresses = addresses.try_into().ok().context("a server without an address")?;
        Ok(Self { processes, addresses, directory })
    }

    /// Where clients connect, by node.
    pub(super) fn addresses(&self) -> [SocketAddr; NODES] {
        self.addresses
    }

    pub(super) fn meter(&self) -> Meter {
        Meter::of(&self.processes)
    }

    /// The last lines that they wrote.
    pub(super) fn log_end(&self) -> String {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("; ")
    }
}

fn config(style: Style, directory: &Path, node: usize, clients: SocketAddr, routes: &[SocketAddr]) -> String {
    let others: Vec<String> = routes.iter().map(|route| format!("nats://{route}")).collect();
    // Pings of the server measure nothing here, and the load does not answer them.
    let mut text = format!(
        "server_name: n{node}\nlisten: \"{clients}\"\nmax_payload: 8MB\nping_interval: \"1h\"\n\
         cluster {{ name: peers, listen: \"{}\", routes: [{}] }}\n",
        routes[node],
        others.join(", "),
    );
    if style == Style::JetStream {
        let store = directory.join(format!("n{node}"));
        // Writing to memory does not fail.
        let _ = writeln!(text, "jetstream {{ store_dir: {:?}, max_mem: 2G, max_file: 1G }}", store.display());
    }
    text
}
