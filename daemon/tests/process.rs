//! The daemon as a process: how it starts, refuses to start, and stops.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use stentor_client::{Address, Connection, Event, Receiver, Sender, Service};
use stentor_tests::cluster::free_address;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(30);

fn stentor(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor"));
    command.args(args).env_remove("RUST_LOG").env_remove("XDG_RUNTIME_DIR").env_remove("STENTOR_CONNECT");
    command
}

fn output(args: &[&str]) -> Output {
    stentor(args).output().unwrap()
}

/// Runs a command that must fail, and checks what it says.
fn refused(args: &[&str], texts: &[&str]) {
    let output = output(args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for text in texts {
        assert!(said.contains(text), "{said:?} does not contain {text:?}");
    }
    assert!(said.matches("os error").count() < 2, "the reason stands there twice: {said}");
}

/// A cluster in a temporary directory on free ports.
struct Cluster {
    dir: TempDir,
}

impl Cluster {
    fn new(names: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let mut args = vec!["init".to_owned(), dir.path().join("c").display().to_string()];
        for name in names {
            args.push("--daemon".to_owned());
            args.push(format!("{name}={}", free_address().unwrap()));
        }
        let made = output(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(made.status.success(), "{made:?}");
        Self { dir }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("c").join(name)
    }

    fn config(&self, name: &str) -> String {
        self.file(&format!("{name}.toml")).display().to_string()
    }

    fn start(&self, name: &str) -> Daemon {
        let log = self.file(&format!("{name}.log"));
        let stderr = fs::File::create(&log).unwrap();
        let child = stentor(&["daemon", "--config", &self.config(name)]).stderr(stderr).spawn().unwrap();
        Daemon { child, socket: self.file(&format!("{name}.sock")), log }
    }
}

/// A running daemon; killed when dropped.
struct Daemon {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// Opens a session as soon as the daemon listens.
    async fn connect(&self) -> (Sender, Receiver) {
        let address = Address::Unix(self.socket.clone());
        let until = Instant::now() + LIMIT;
        loop {
            match Connection::connect(&address).await {
                Ok(connection) => return connection.split(),
                Err(error) if Instant::now() < until => drop(error),
                Err(error) => panic!("{error}; its log: {}", fs::read_to_string(&self.log).unwrap()),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    async fn exit(&mut self) -> ExitStatus {
        let until = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "still running");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until the daemon's view has `count` members.
async fn view_of(sender: &Sender, count: usize) {
    let until = Instant::now() + LIMIT;
    loop {
        let status = tokio::time::timeout(LIMIT, sender.status()).await.unwrap();
        let members = status.unwrap().members;
        if members.len() == count {
            return;
        }
        assert!(Instant::now() < until, "{members:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn payload(receiver: &mut Receiver) -> Vec<u8> {
    loop {
        let event = tokio::time::timeout(LIMIT, receiver.recv()).await.unwrap().unwrap().unwrap();
        if let Event::Message(message) = event {
            return message.payload().to_vec();
        }
    }
}

#[tokio::test]
async fn three_daemons_agree_deliver_and_part_in_order() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    let mut daemons = ["a", "b", "c"].map(|name| cluster.start(name));
    let (to_a, mut from_a) = daemons[0].connect().await;
    let (to_c, mut from_c) = daemons[2].connect().await;
    view_of(&to_a, 3).await;
    view_of(&to_c, 3).await;
    to_c.join("g").unwrap().await.unwrap();
    to_a.join("g").unwrap().await.unwrap();
    to_a.multicast(&["g"], Service::Safe, "hello").await.unwrap();
    assert_eq!(payload(&mut from_c).await, b"hello");
    assert_eq!(payload(&mut from_a).await, b"hello");

    // A large message, split over many frames.
    let large = vec![9; 5 << 20];
    to_c.multicast(&["g"], Service::Agreed, &large).await.unwrap();
    assert_eq!(payload(&mut from_a).await, large);
    assert_eq!(payload(&mut from_c).await, large);

    // An orderly stop: what was sent arrives, the program is told, the others need no timeout.
    to_c.multicast(&["g"], Service::Agreed, "last words").await.unwrap();
    tokio::time::timeout(LIMIT, to_c.status()).await.unwrap().unwrap();
    daemons[2].signal(Signal::TERM);
    assert_eq!(payload(&mut from_a).await, b"last words");
    view_of(&to_a, 2).await;
    // Nobody had to notice by silence.
    let counters = tokio::time::timeout(LIMIT, to_a.status()).await.unwrap().unwrap().counters;
    assert!(counters.contains(&("suspicions".to_owned(), 0)), "{counters:?}");
    let error = loop {
        match from_c.recv().await {
            Ok(Some(_)) => {}
            other => break other.unwrap_err().to_string(),
        }
    };
    assert!(error.contains("shutting down"), "{error}");
    assert_eq!(daemons[2].exit().await.code(), Some(0));
    assert!(!daemons[2].socket.exists());
}

#[tokio::test]
async fn a_killed_and_restarted_daemon_comes_back() {
    let cluster = Cluster::new(&["a", "b"]);
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    let (to_a, _from_a) = a.connect().await;
    view_of(&to_a, 2).await;
    drop(b);
    // Its socket file is still there, and replaced.
    assert!(cluster.file("b.sock").exists());
    let b = cluster.start("b");
    let (to_b, _from_b) = b.connect().await;
    view_of(&to_b, 2).await;
    view_of(&to_a, 2).await;
    assert!(to_b.status().await.unwrap().primary);
}

#[tokio::test]
async fn a_second_daemon_says_what_is_in_its_way() {
    let cluster = Cluster::new(&["a", "b"]);
    let daemon = cluster.start("a");
    daemon.connect().await;
    // The same configuration again: its socket is in use.
    refused(
        &["daemon", "--config", &cluster.config("a")],
        &["another daemon is listening on", "a.sock", "set another [clients] socket"],
    );
    // Another socket, but the same port.
    let text = fs::read_to_string(cluster.file("a.toml")).unwrap().replace("a.sock", "a2.sock");
    fs::write(cluster.file("a2.toml"), text).unwrap();
    refused(
        &["daemon", "--config", &cluster.config("a2")],
        &["cannot listen on UDP 127.0.0.1", "is another daemon running?"],
    );
    assert!(!cluster.file("a2.sock").exists());
    // The first one is unharmed.
    daemon.connect().await;
}

#[test]
fn a_socket_that_cannot_be_made_is_explained() {
    let cluster = Cluster::new(&["a"]);
    let with = |old: &str, new: &str| {
        let text = fs::read_to_string(cluster.file("a.toml")).unwrap().replace(old, new);
        fs::write(cluster.file("x.toml"), text).unwrap();
        cluster.config("x")
    };
    // Checking finds all of it as well.
    for more in [&[][..], &["--check-config"]] {
        let refused_with = |old: &str, new: &str, texts: &[&str]| {
            refused(&[&["daemon", "--config", &with(old, new)], more].concat(), texts);
        };
        let refused = |socket: &str, texts: &[&str]| refused_with("a.sock", socket, texts);
        refused("missing/x.sock", &["missing/x.sock", "missing must exist"]);
        refused("a.pem/x.sock", &["a.pem is no directory"]);
        refused("a.pem", &["a.pem exists and is not a socket", "move it away", "[clients] socket"]);
        let spread = "[spread]\nlisten = [\"unix:a.pem\"]\n";
        refused_with("[spread]\n", spread, &["a.pem exists and is not a socket", "[spread] listen"]);
    }
    assert!(fs::read_to_string(cluster.file("a.pem")).unwrap().contains("BEGIN CERTIFICATE"));
}

#[test]
fn a_stale_socket_is_no_obstacle_to_a_check() {
    let cluster = Cluster::new(&["a"]);
    drop(UnixListener::bind(cluster.file("a.sock")).unwrap());
    let checked = output(&["daemon", "--config", &cluster.config("a"), "--check-config"]);
    assert!(checked.status.success(), "{checked:?}");
    assert!(String::from_utf8_lossy(&checked.stdout).contains("configuration is good: daemon a"));
}

#[test]
fn keys_that_do_not_fit_are_found_before_the_start() {
    let (ours, foreign) = (Cluster::new(&["a", "b"]), Cluster::new(&["a"]));
    let check = |texts: &[&str]| refused(&["daemon", "--config", &ours.config("a"), "--check-config"], texts);
    let copy = |from: &Path, to: &str| {
        fs::copy(from, ours.file(to)).unwrap();
    };
    let own = ours.file("own.pem");
    fs::copy(ours.file("a.pem"), &own).unwrap();
    copy(&foreign.file("a.pem"), "a.pem");
    check(&["[tls] key", "is not the key of", "a.pem"]);
    copy(&foreign.file("a.key"), "a.key");
    check(&["[tls] certificate", "not signed by the cluster's authority"]);
    copy(&ours.file("b.pem"), "a.pem");
    copy(&ours.file("b.key"), "a.key");
    check(&["is not that of daemon a"]);
    fs::remove_file(ours.file("a.pem")).unwrap();
    check(&["cannot read [tls] certificate", "a.pem"]);
}

#[tokio::test]
async fn without_a_configuration_it_is_a_cluster_of_one() {
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("log");
    let stderr = fs::File::create(&log).unwrap();
    let child = stentor(&["daemon"]).env("XDG_RUNTIME_DIR", dir.path()).stderr(stderr).spawn().unwrap();
    let mut daemon = Daemon { child, socket: dir.path().join("stentor/stentor.sock"), log };
    let (sender, mut receiver) = daemon.connect().await;
    sender.join("g").unwrap().await.unwrap();
    sender.multicast(&["g"], Service::Agreed, "alone").await.unwrap();
    assert_eq!(payload(&mut receiver).await, b"alone");
    assert!(sender.status().await.unwrap().primary);
    daemon.signal(Signal::INT);
    assert_eq!(daemon.exit().await.code(), Some(0));
}

#[tokio::test]
async fn the_log_can_be_json_and_a_wrong_filter_is_refused() {
    let cluster = Cluster::new(&["a"]);
    let config = cluster.config("a");
    let mut command = stentor(&["daemon", "--config", &config, "--log-json"]);
    let log = cluster.file("a.log");
    let child = command.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    let mut daemon = Daemon { child, socket: cluster.file("a.sock"), log };
    daemon.connect().await;
    daemon.signal(Signal::TERM);
    daemon.exit().await;
    let text = fs::read_to_string(&daemon.log).unwrap();
    assert!(text.lines().count() > 3);
    for line in text.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(entry["fields"]["message"].is_string(), "{line}");
    }
    refused(&["daemon", "--log", "loud,,="], &["--log", "loud", "info"]);
}

#[tokio::test]
async fn it_takes_the_open_files_that_the_system_lets_it_have() {
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("log");
    let limited = format!("ulimit -Sn 32; ulimit -Hn 96; exec {} daemon", env!("CARGO_BIN_EXE_stentor"));
    let mut command = Command::new("sh");
    command.args(["-c", &limited]).env("XDG_RUNTIME_DIR", dir.path()).env_remove("RUST_LOG");
    let child = command.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    let daemon = Daemon { child, socket: dir.path().join("stentor/stentor.sock"), log };
    // More than the lower limit, fewer than the higher one.
    let mut sessions = Vec::new();
    for _ in 0..64 {
        sessions.push(daemon.connect().await);
    }
    assert!(
        fs::read_to_string(&daemon.log).unwrap().contains("fewer open files than [clients] max_sessions")
    );
    // Beyond the higher one somebody waits at the door, and the others are served.
    let address = Address::Unix(daemon.socket.clone());
    let mut waiting: Vec<_> = (0..64)
        .map(|_| {
            tokio::spawn({
                let address = address.clone();
                async move { Connection::connect(&address).await }
            })
        })
        .collect();
    let until = Instant::now() + LIMIT;
    while !fs::read_to_string(&daemon.log).unwrap().contains("limit of open files too low") {
        assert!(Instant::now() < until, "nobody is kept waiting");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (sender, receiver) = &mut sessions[0];
    sender.join("g").unwrap().await.unwrap();
    sender.multicast(&["g"], Service::Agreed, "served").await.unwrap();
    assert_eq!(payload(receiver).await, b"served");
    // Those who wait get in as others go.
    sessions.clear();
    for connection in waiting.drain(..) {
        connection.await.unwrap().unwrap();
    }
}
