//! The daemons, each in a network and a mount namespace of its own that end with it, so that they leave nothing behind.
//!
//! A program finds its daemon by a name in the network namespace, so three daemons need three of them. The first holds
//! a bridge, which the other two are connected to.

use std::fmt::Write;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rand::RngExt;

use crate::peers::nodes::{Meter, NODES, mortal};
use crate::process::{Process, run};
use crate::wait::{PATIENCE, until};

/// Of the network between them, as of Ethernet.
const MTU: u32 = 1500;
/// Bytes of the key, where there is one.
const KEY: usize = 256;
/// How long `ip` may take.
const LIMIT: Duration = Duration::from_secs(10);
/// What to install for the namespaces.
const PACKAGES: &str = "iproute2 util-linux";

/// What a node does in its namespaces: nothing of what the daemon writes may reach the machine's files, and it starts
/// when the network is there.
const NODE: &str = "set -e
for place in /dev/shm /run /var/lib/corosync; do mount -t tmpfs tmpfs $place; done
read -r network
exec corosync -f -c \"$1\"";

/// Dropped, they are killed, and their namespaces are gone.
#[derive(Debug)]
pub(super) struct Daemons {
    processes: Vec<Process>,
    log: PathBuf,
}

impl Daemons {
    pub(super) async fn start(directory: &Path, encrypted: bool) -> Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "only root can make its network namespaces");
        let key = directory.join("key");
        let mut bytes = [0_u8; KEY];
        rand::rng().fill(&mut bytes);
        fs::write(&key, bytes).with_context(|| format!("cannot write {}", key.display()))?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o400))?;
        let file = directory.join("corosync.conf");
        let log = directory.join("log");
        fs::write(&file, config(&key, &log, encrypted))?;
        let mut processes = Vec::new();
        for _ in 0..NODES {
            let mut command = mortal("unshare");
            command.args(["--net", "--mount", "sh", "-c", NODE, "sh"]).arg(&file);
            command.stdin(Stdio::piped()).stdout(Stdio::null());
            processes.push(Process::start(&mut command, &log)?);
        }
        let mut daemons = Self { processes, log };
        let connected = daemons.connect().await;
        connected.with_context(|| {
            let said = daemons.log_end();
            format!("no network namespaces could be made; on Debian: apt-get install {PACKAGES}; {said}")
        })?;
        for process in &mut daemons.processes {
            // The network is there.
            process.child().stdin.take().context("a node without an input")?.write_all(b"\n")?;
        }
        Ok(daemons)
    }

    /// A command that runs another one in the namespaces of a node.
    pub(super) fn enter(&self, node: usize) -> Command {
        let mut command = mortal("nsenter");
        command.args(["--net", "--mount", "--target", &self.processes[node].id().to_string()]);
        command
    }

    pub(super) fn meter(&self) -> Meter {
        Meter::of(&self.processes)
    }

    /// The last lines that they wrote.
    pub(super) fn log_end(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("; ")
    }

    /// Connects the nodes' networks once they are there.
    async fn connect(&mut self) -> Result<()> {
        let own = fs::read_link("/proc/self/ns/net")?;
        for process in &mut self.processes {
            until(PATIENCE, "a node has a network namespace", async || {
                ensure!(process.ended()?.is_none(), "it ended: {}", process.log());
                let its = fs::read_link(format!("/proc/{}/ns/net", process.id()))?;
                ensure!(its != own, "not yet");
                Ok(())
            })
            .await?;
        }
        let pids: Vec<u32> = self.processes.iter().map(Process::id).collect();
        for (node, commands) in network(&pids).iter().enumerate() {
            let mut ip = self.enter(node);
            let output = run(ip.args(["ip", "-batch", "-"]), commands.as_bytes(), LIMIT).await?;
            if !output.status.success() {
                bail!("ip ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
            }
        }
        Ok(())
    }
}

fn address(node: usize) -> String {
    format!("10.77.0.{}", node + 1)
}

/// What `ip` is to do at each node, one after the other.
fn network(pids: &[u32]) -> Vec<String> {
    let mut all = Vec::new();
    let mut first = format!(
        "link set lo up\nlink add bridge mtu {MTU} type bridge\naddr add {}/24 dev bridge\nlink set bridge up\n",
        address(0)
    );
    for (node, pid) in pids.iter().enumerate().skip(1) {
        // Writing to memory does not fail.
        let _ = write!(
            first,
            "link add to{node} mtu {MTU} type veth peer name eth0 mtu {MTU} netns {pid}\n\
             link set to{node} master bridge\nlink set to{node} up\n"
        );
    }
    all.push(first);
    for node in 1..pids.len() {
        all.push(format!("link set lo up\naddr add {}/24 dev eth0\nlink set eth0 up\n", address(node)));
    }
    all
}

fn config(key: &Path, log: &Path, encrypted: bool) -> String {
    let (cipher, hash) = if encrypted { ("aes256", "sha256") } else { ("none", "none") };
    let mut text = format!(
        "totem {{\n version: 2\n cluster_name: peers\n transport: knet\n crypto_cipher: {cipher}\n crypto_hash: {hash}\n \
         keyfile: {}\n}}\nlogging {{\n to_stderr: no\n to_syslog: no\n to_logfile: yes\n logfile: {}\n}}\nnodelist {{\n",
        key.display(),
        log.display(),
    );
    for node in 0..NODES {
        // Writing to memory does not fail.
        let _ = writeln!(
            text,
            " node {{\n  ring0_addr: {}\n  nodeid: {}\n  name: n{node}\n }}",
            address(node),
            node + 1
        );
    }
    text.push_str("}\n");
    text
}
