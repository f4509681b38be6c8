//! The commands that are programs of a daemon, as processes beside a real one.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stentor_tests::cluster::free_address;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);

/// A daemon alone, found by its default place in a runtime directory of its own.
struct Alone {
    directory: TempDir,
    daemon: Running,
}

/// A process; killed when dropped.
struct Running(Child);

impl Alone {
    fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let daemon = Running(command(directory.path(), &["daemon", "--log", "warn"]).spawn().unwrap());
        let alone = Self { directory, daemon };
        let until = Instant::now() + LIMIT;
        while !alone.run(&["status"]).status.success() {
            assert!(Instant::now() < until, "the daemon does not answer");
        }
        alone
    }

    fn command(&self, args: &[&str]) -> Command {
        command(self.directory.path(), args)
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a command with this input; it must succeed and say nothing.
    fn feed(&self, args: &[&str], input: &[u8]) {
        let output = self.feed_any(args, input);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }

    fn feed_any(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
        // A program that fails does not read it all.
        let writing = std::thread::spawn(move || stdin.write_all(&input).is_ok());
        let output = child.wait_with_output().unwrap();
        writing.join().unwrap();
        output
    }

    /// Joins a group; back when the join is effective.
    fn join(&self, args: &[&str]) -> Joined {
        let mut command = self.command(&[&["join", "--json"], args].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut joined = Joined { process: Running(child), lines };
        let first = joined.next().unwrap();
        assert_eq!((&first["event"], &first["cause"]), (&"membership".into(), &"join".into()));
        joined
    }
}

struct Joined {
    process: Running,
    lines: BufReader<ChildStdout>,
}

impl Joined {
    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap())
    }

    /// The data of the next messages, up to the end.
    fn messages(&mut self) -> Vec<Value> {
        let events = std::iter::from_fn(|| self.next());
        events.filter(|event| event["event"] == "message").collect()
    }

    /// Its exit code and what it said.
    fn end(mut self) -> (Option<i32>, String) {
        let code = self.process.exit_code();
        let mut said = String::new();
        self.process.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (code, said)
    }
}

impl Running {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn exit_code(&mut self) -> Option<i32> {
        let until = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < until, "it still runs");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor"));
    command.args(args).env_remove("RUST_LOG").env_remove("STENTOR_CONNECT").env("XDG_RUNTIME_DIR", directory);
    command
}

/// The payload of a line of JSON.
fn data(message: &Value) -> Vec<u8> {
    use base64::Engine;
    match &message["data_base64"] {
        Value::String(text) => base64::engine::general_purpose::STANDARD.decode(text).unwrap(),
        _ => message["data"].as_str().unwrap().as_bytes().to_vec(),
    }
}

#[test]
fn lines_arrive_complete_and_in_order() {
    let alone = Alone::start();
    let mut text = Vec::new();
    for number in 0..50_000 {
        text.extend(format!("{number} {}\n", "x".repeat(number % 150)).bytes());
    }
    text.extend(b"\n\xff not text \xfe\nwithout an end");
    let expected: Vec<_> = text.split(|byte| *byte == b'\n').collect();
    let mut joined = alone.join(&["g", "--count", &expected.len().to_string()]);
    alone.feed(&["send", "--lines", "g"], &text);
    let messages = joined.messages();
    assert_eq!(messages.len(), expected.len());
    for (message, line) in messages.iter().zip(expected) {
        assert_eq!(data(message), line);
    }
    assert_eq!(joined.end(), (Some(0), String::new()));
}

#[test]
fn a_message_is_a_text_or_a_whole_input_with_all_that_was_said_about_it() {
    let alone = Alone::start();
    let mut joined = alone.join(&["g", "--name", "ann", "--count", "3"]);
    let daemon = joined_daemon(&alone);
    let output =
        alone.run(&["send", "g", "h", "some text", "--service", "safe", "--tag", "7", "--name", "bob"]);
    assert!(output.status.success(), "{output:?}");
    alone.feed(&["send", "g"], b"two\nlines\n");
    alone.feed(&["send", &format!("#ann#{daemon}"), "-"], b"\xff");
    let messages = joined.messages();
    assert_eq!(messages[0]["groups"], serde_json::json!(["g", "h"]));
    assert_eq!(messages[0]["sender"], format!("#bob#{daemon}"));
    assert_eq!((&messages[0]["service"], &messages[0]["tag"]), (&"safe".into(), &7.into()));
    assert_eq!(messages[0]["data"], "some text");
    assert_eq!((&messages[1]["data"], &messages[1]["service"]), (&"two\nlines\n".into(), &"agreed".into()));
    assert_eq!(messages[2]["data_base64"], "/w==");
    assert_eq!(joined.end(), (Some(0), String::new()));
}

fn joined_daemon(alone: &Alone) -> String {
    let status: Value = serde_json::from_slice(&alone.run(&["status", "--json"]).stdout).unwrap();
    status["daemon"].as_str().unwrap().to_owned()
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let alone = Alone::start();
    let Joined { mut process, lines } = alone.join(&["g"]);
    drop(lines);
    alone.feed(&["send", "g", "-"], b"nobody reads this");
    assert_eq!(process.exit_code(), Some(0));
    let mut said = String::new();
    process.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

#[test]
fn a_signal_ends_it_in_order() {
    let alone = Alone::start();
    let mut other = alone.join(&["g"]);
    let mut joined = alone.join(&["g", "--name", "ann"]);
    assert_eq!(other.next().unwrap()["cause"], "join");
    joined.process.signal(Signal::TERM);
    assert_eq!(joined.next(), None);
    assert_eq!(joined.end(), (Some(0), String::new()));
    let event = other.next().unwrap();
    assert_eq!(
        (&event["cause"], &event["members"].as_array().map(Vec::len)),
        (&"disconnect".into(), &Some(1))
    );
}

#[test]
fn the_end_of_the_daemon_is_told() {
    let mut alone = Alone::start();
    let mut joined = alone.join(&["g"]);
    alone.daemon.signal(Signal::TERM);
    assert_eq!(alone.daemon.exit_code(), Some(0));
    assert_eq!(joined.next(), None);
    let (code, said) = joined.end();
    assert_eq!(code, Some(1));
    assert!(said.contains("shutting down") && said.contains("connect to another"), "{said}");
    let output = alone.run(&["send", "g", "hello"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("no daemon answers") && said.contains("stentor.sock"), "{said}");
}

#[test]
fn people_talk_and_a_text_does_nothing_to_their_terminals() {
    let alone = Alone::start();
    let mut joined = alone.join(&["talk", "--name", "ann", "--count", "1"]);
    let output =
        alone.feed_any(&["chat", "talk", "--name", "bob"], b"hello\x1b[31m\n\n/members\n/quit\nnot sent\n");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let seen = String::from_utf8(output.stdout).unwrap();
    assert!(seen.contains("* you are #bob#") && seen.contains("* #ann#"), "{seen}");
    assert!(!seen.contains('\x1b'), "no colours in a pipe: {seen}");
    let messages = joined.messages();
    assert_eq!(messages[0]["data"], "hello\u{1b}[31m");
    assert_eq!(joined.end(), (Some(0), String::new()));

    let text = alone.command(&["join", "talk", "--count", "1"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut text = Running(text);
    let mut lines = BufReader::new(text.0.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("joined; 1 member:"));
    alone.feed(&["send", "talk"], b"bell \x07 and\nanother line");
    assert!(lines.next().unwrap().unwrap().ends_with(": bell \\u{7} and\\nanother line"));
    assert_eq!(text.exit_code(), Some(0));
}

#[test]
fn the_status_shows_groups_and_sessions() {
    let alone = Alone::start();
    let _joined = alone.join(&["g", "--name", "ann"]);
    let status: Value = serde_json::from_slice(&alone.run(&["status", "--json"]).stdout).unwrap();
    for key in [
        "daemon",
        "incarnation",
        "version",
        "view",
        "members",
        "primary",
        "configured",
        "history",
        "counters",
    ] {
        assert!(!status[key].is_null(), "{key} is missing: {status}");
    }
    assert_eq!(status["groups"], serde_json::json!([{"group": "g", "members": 1}]));
    assert_eq!((&status["primary"], &status["phase"]), (&true.into(), &"operational".into()));
    assert_eq!(status["sessions"][0]["name"], "ann");
    let output = alone.run(&["status"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["daemon", "operational", "(primary)", "g (1)", "ann (in 1 groups"] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    assert!(!text.contains('\x1b'), "no colours in a pipe: {text}");
}

#[test]
fn what_is_wrong_is_named() {
    let alone = Alone::start();
    let _taken = alone.join(&["g", "--name", "ann"]);
    for (args, code, parts) in [
        (&["join"][..], 2, &["GROUP"][..]),
        (&["join", "#g"], 2, &["#g", "64 visible"]),
        (&["join", "g", "--count", "0"], 2, &["--count", "1.."]),
        (&["join", "g", "--name", "a#b"], 2, &["a#b", "without '#'"]),
        (&["join", "g", "--name", "ann"], 1, &["ann is taken", "choose another"]),
        (&["join", "g", "--connect", "here"], 2, &["here", "unix:PATH or tcp:HOST:PORT"]),
        (&["send", "#g", "text"], 2, &["#g", "#name#daemon"]),
        (&["send", "g", "text", "--service", "best"], 2, &["best", "unreliable, reliable, fifo"]),
        (&["send", "g", "text", "--tag", "65536"], 2, &["65536", "65535"]),
        (&["status", "--connect", "tcp:127.0.0.1:1"], 1, &["tcp:127.0.0.1:1", "stentor daemon"]),
        (&["chat", ""], 2, &["GROUP"]),
        (&["demo", "--messages", "0"], 2, &["--messages"]),
    ] {
        let output = alone.run(args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        for part in parts {
            assert!(said.contains(part), "{args:?} should name {part:?}: {said}");
        }
    }
    let output = alone.feed_any(&["send", "g"], &vec![b'x'; 17 << 20]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && said.contains("16777216") && said.contains("--lines"),
        "{said}"
    );
    let output = alone.feed_any(&["send", "--lines", "g"], &[&b"one\n"[..], &vec![b'x'; 17 << 20]].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("line 2"), "{said}");
}

#[test]
fn a_refusal_by_the_daemon_fails_the_sender() {
    let directory = TempDir::new().unwrap();
    let made = directory.path().join("c");
    let free = free_address().unwrap();
    let own = format!("a={free}");
    let daemons = ["--daemon", &own, "--daemon", "b=127.0.0.1:2", "--daemon", "c=127.0.0.1:3"];
    let place = made.display().to_string();
    let init = [&["init", &place], &daemons[..]].concat();
    assert!(command(directory.path(), &init).output().unwrap().status.success());
    let config = made.join("a.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("#require_primary = false", "require_primary = true");
    std::fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    let mut daemon = Running(
        command(directory.path(), &["daemon", "--log", "warn", "--config", &config]).spawn().unwrap(),
    );
    let address = format!("unix:{}", made.join("a.sock").display());
    let until = Instant::now() + LIMIT;
    let (code, said) = loop {
        let args = ["send", "--lines", "g", "--connect", &address];
        let mut child =
            command(directory.path(), &args).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Without a daemon it reads nothing.
        let _ = child.stdin.take().unwrap().write_all(b"one\ntwo\n");
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(daemon.0.try_wait().unwrap().is_none(), "the daemon ended");
        if !said.contains("no daemon answers") {
            break (output.status.code(), said);
        }
        assert!(Instant::now() < until, "{said}");
    };
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("refused line 1") && said.contains("majority"), "{said}");
}

#[test]
fn the_demo_shows_equal_orders_and_leaves_nothing_behind() {
    let directory = TempDir::new().unwrap();
    let output = command(directory.path(), &["demo"]).env("TMPDIR", directory.path()).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{shown}\n{}", String::from_utf8_lossy(&output.stderr));
    for part in ["killed", "ann at a", "~ transitional", "(+cas)", "All orders are equal"] {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_demo_that_is_stopped_leaves_nothing_behind() {
    let directory = TempDir::new().unwrap();
    let mut demo = command(directory.path(), &["demo", "--messages", "10000"]);
    let demo = demo.env("TMPDIR", directory.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut demo = Running(demo.spawn().unwrap());
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("made keys"));
    assert!(lines.next().unwrap().unwrap().contains("three daemons run"));
    demo.signal(Signal::INT);
    assert_eq!(demo.exit_code(), Some(1));
    let mut said = String::new();
    demo.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("stopped by a signal"), "{said}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    // The daemons had the directory in their command lines.
    let directory = directory.path().display().to_string();
    for process in std::fs::read_dir("/proc").unwrap() {
        let line = std::fs::read(process.unwrap().path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&line).contains(&directory), "a daemon was left running");
    }
}
