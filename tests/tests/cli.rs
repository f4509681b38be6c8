//! The commands against a cluster: the JSON that programs read, groups and sessions as destinations, exit codes.

use std::fs::{self, File};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stentor_client::Address;
use stentor_tests::cluster::Plan;
use stentor_tests::command::{Joined, command, names_all, output, path_text, printed, refused, text};
use stentor_tests::process::{Process, Signal, run};
use stentor_tests::scenario::{say, scenario};
use stentor_tests::wait::PATIENCE;

const LIMIT: Duration = Duration::from_secs(90);

#[test]
fn join_prints_what_happens_as_json() -> Result<()> {
    scenario(LIMIT, async {
        let mut cluster = Plan::new(&["a", "b"]).start().await?;
        let (a, b) = (cluster.address("a"), cluster.address("b"));
        let watcher = Joined::start(cluster.dir(), &a, "watcher", &["g", "h"], &[]).await?;
        let mut other = Joined::start(cluster.dir(), &b, "other", &["g"], &[]).await?;

        let join = watcher.until_event("the join of the other", |e| text(e, "who") == "#other#b").await?;
        let members = json!(["#watcher#a", "#other#b"]);
        let expected = json!({
            "event": "membership", "group": "g", "view": join["view"], "members": members,
            "cause": "join", "who": "#other#b", "stayed": ["#watcher#a"], "sets": [],
        });
        ensure!(join == expected && join["view"].is_string(), "{join}");

        // Text, bytes that are none, and all the options.
        printed(Some(&b), &["send", "g", "hello"], b"").await?;
        let args = ["send", "--service", "safe", "--tag", "7", "--name", "teller", "g", "h", "-"];
        printed(Some(&b), &args, b"\xff\x00\n").await?;
        let hello = watcher.until_event("the text", |e| text(e, "data") == "hello").await?;
        let sender = text(&hello, "sender").to_owned();
        ensure!(sender.starts_with('#') && sender.ends_with("#b"), "{hello}");
        let expected = json!({
            "event": "message", "groups": ["g"], "sender": sender,
            "service": "agreed", "tag": 0, "data": "hello",
        });
        ensure!(hello == expected, "{hello}");
        let bytes = watcher.until_event("the bytes", |e| e.get("data_base64").is_some()).await?;
        let expected = json!({
            "event": "message", "groups": ["g", "h"], "sender": "#teller#b",
            "service": "safe", "tag": 7, "data_base64": "/wAK",
        });
        ensure!(bytes == expected, "{bytes}");
        let copies = watcher.events()?.iter().filter(|e| e.get("data_base64").is_some()).count();
        ensure!(copies == 1, "{copies} copies of one message to two groups");

        // A leave, a connection that ends without a word, and a daemon that does.
        other.process().signal(Signal::INT)?;
        other.ended(PATIENCE).await?;
        let left = watcher.until_event("the end of the other", |e| text(e, "cause") == "disconnect").await?;
        ensure!(left["members"] == json!(["#watcher#a"]) && left["who"] == "#other#b", "{left}");
        let _third = Joined::start(cluster.dir(), &b, "third", &["g"], &[]).await?;
        watcher.until_event("the third", |e| text(e, "who") == "#third#b").await?;
        cluster.kill("b")?;
        let signal = watcher.until_event("the signal", |e| text(e, "event") == "transitional").await?;
        ensure!(signal == json!({"event": "transitional", "group": "g"}), "{signal}");
        let change = watcher.until_event("the change", |e| text(e, "cause") == "network").await?;
        let expected = json!({
            "event": "membership", "group": "g", "view": change["view"], "members": ["#watcher#a"],
            "cause": "network", "who": null, "stayed": ["#watcher#a"], "sets": [["#watcher#a"]],
        });
        ensure!(change == expected, "{change}");
        let events = watcher.events()?;
        let place = |event: &Value| events.iter().position(|e| e == event);
        ensure!(place(&signal) < place(&change), "the signal came behind the change");
        cluster.finish().await
    })
}

#[test]
fn a_message_finds_groups_and_sessions() -> Result<()> {
    scenario(LIMIT, async {
        let cluster = Plan::new(&["a", "b"]).start().await?;
        let (a, b) = (cluster.address("a"), cluster.address("b"));
        let mut one = Joined::start(cluster.dir(), &a, "one", &["g"], &["--count", "3"]).await?;
        let two = Joined::start(cluster.dir(), &b, "two", &["g", "h"], &[]).await?;
        printed(Some(&a), &["send", "#two#b", "for two alone"], b"").await?;
        printed(Some(&a), &["send", "g", "h", "for both, once"], b"").await?;
        printed(Some(&b), &["send", "g", "--lines"], b"first\nsecond").await?;
        // One leaves by itself after its third message.
        one.ended(PATIENCE).await?;
        two.until_event("one is gone", |e| text(e, "who") == "#one#a" && text(e, "cause") != "join").await?;
        let said = |joined: &Joined| -> Result<Vec<String>> {
            let events = joined.events()?;
            let messages = events.iter().filter(|event| text(event, "event") == "message");
            Ok(messages.map(|event| text(event, "data").to_owned()).collect())
        };
        let (one, two) = (said(&one)?, said(&two)?);
        ensure!(one == ["for both, once", "first", "second"], "{one:?}");
        ensure!(two == ["for two alone", "for both, once", "first", "second"], "{two:?}");
        cluster.finish().await
    })
}

#[test]
fn status_tells_of_the_whole_cluster() -> Result<()> {
    scenario(LIMIT, async {
        let mut cluster = Plan::new(&["a", "b", "c"]).start().await?;
        let a = cluster.address("a");
        let _member = Joined::start(cluster.dir(), &a, "member", &["g"], &[]).await?;
        let status: Value = serde_json::from_str(&printed(Some(&a), &["status", "--json"], b"").await?)?;
        ensure!(status["daemon"] == "a" && status["phase"] == "operational", "{status}");
        ensure!(status["primary"] == true && status["version"].is_string(), "{status}");
        let names = |list: &Value| -> Vec<String> {
            let items = list.as_array().cloned().unwrap_or_default();
            items.iter().filter_map(|item| item.as_str()?.split('~').next().map(str::to_owned)).collect()
        };
        ensure!(names(&status["members"]) == ["a", "b", "c"], "{status}");
        ensure!(status["groups"] == json!([{"group": "g", "members": 1}]), "{status}");
        let sessions = status["sessions"].as_array().context("no sessions")?;
        ensure!(sessions.iter().any(|s| s["name"] == "member" && s["groups"] == 1), "{status}");
        let history = status["history"].as_array().context("no history")?;
        let kinds: Vec<_> = history.iter().map(|entry| text(entry, "kind")).collect();
        ensure!(kinds.contains(&"regular") && kinds.contains(&"transitional"), "{status}");
        ensure!(history.last().is_some_and(|last| last["view"] == status["view"]), "{status}");
        ensure!(status["counters"]["views"].as_u64().is_some_and(|views| views >= 2), "{status}");

        cluster.kill("c")?;
        cluster.until_view(&["a", "b"]).await?;
        let text = printed(Some(&a), &["status"], b"").await?;
        names_all(&text, &["a", "b", "c", "operational", "g", "counters", "views ", "sessions_opened "])?;
        ensure!(!text.contains("sessions_cut_slow"), "a counter that is zero: {text}");
        ensure!(!text.contains('\x1b'), "colours, though nobody sees them: {text}");
        cluster.finish().await
    })
}

#[test]
fn status_does_not_wait_for_a_stopped_daemon() -> Result<()> {
    scenario(LIMIT, async {
        let mut cluster = Plan::new(&["a"]).start().await?;
        let a = cluster.address("a");
        cluster.daemon("a")?.pause().await?;
        let begin = Instant::now();
        let said = refused(Some(&a), &["status", "--wait", "500ms"], 1).await?;
        let took = begin.elapsed();
        names_all(&said, &[&a.to_string(), "500ms", "stopped or overloaded"])?;
        ensure!(took < Duration::from_secs(5), "it took {took:?}");
        cluster.daemon("a")?.resume()?;
        printed(Some(&a), &["status", "--wait", "10s"], b"").await?;
        cluster.finish().await
    })
}

#[test]
fn what_cannot_be_done_is_said_with_an_exit_code() -> Result<()> {
    scenario(LIMIT, async {
        let cluster = Plan::new(&["a"]).start().await?;
        let a = cluster.address("a");
        // 2 for a wrong command line, with what would be right.
        for (args, needed) in [
            (&["send"][..], "Usage"),
            (&["nonsense"], "Usage"),
            (&["join", "#g"], "group name"),
            (&["join", "g", "--count", "0"], "--count"),
            (&["join", "g", "--name", "a#b"], "session name"),
            (&["send", "g", "x", "--service", "best"], "agreed"),
            (&["send", "g", "x", "--tag", "65536"], "65535"),
            (&["join", "g", "--connect", "/a.sock"], "unix:"),
        ] {
            names_all(&refused(None, args, 2).await?, &[needed])?;
        }
        // 1 for what fails.
        let nowhere = Address::Unix("/nowhere/a.sock".into());
        for args in [&["send", "g", "x"][..], &["join", "g"], &["status"]] {
            names_all(&refused(Some(&nowhere), args, 1).await?, &["/nowhere/a.sock", "stentor daemon"])?;
        }
        let _member = Joined::start(cluster.dir(), &a, "taken", &["g"], &[]).await?;
        names_all(&refused(Some(&a), &["join", "g", "--name", "taken"], 1).await?, &["taken"])?;
        let large = vec![b'x'; 17 << 20];
        let failed = output(Some(&a), &["send", "g"], &large).await?;
        ensure!(failed.status.code() == Some(1), "{}", failed.status);
        names_all(&String::from_utf8_lossy(&failed.stderr), &["16777216", "max_message"])?;

        // The environment names the daemon as well as the option.
        let mut by_environment = command(None, &["status"])?;
        by_environment.env(Address::VARIABLE, a.to_string());
        ensure!(run(&mut by_environment, b"", PATIENCE).await?.status.success(), "status failed");
        by_environment.env(Address::VARIABLE, "nonsense");
        let failed = run(&mut by_environment, b"", PATIENCE).await?;
        names_all(&String::from_utf8_lossy(&failed.stderr), &[Address::VARIABLE, "unix:PATH"])?;
        cluster.finish().await
    })
}

/// Runs a command whose standard output goes to `stdout`, with a password on standard input.
async fn with_stdout(dir: &Path, args: &[&str], stdout: impl Into<Stdio>) -> Result<(ExitStatus, String)> {
    let (password, log) = (dir.join("password"), dir.join("said"));
    fs::write(&password, "secret\n")?;
    fs::write(&log, "")?;
    let mut command = command(None, args)?;
    command.stdin(File::open(&password)?).stdout(stdout);
    let mut process = Process::start(&mut command, &log)?;
    Ok((process.wait(PATIENCE).await?, process.log()))
}

#[test]
fn nobody_needs_to_read_what_is_printed_but_what_is_lost_is_said() -> Result<()> {
    scenario(LIMIT, async {
        let cluster = Plan::new(&["a"]).start().await?;
        let dir = cluster.dir();
        let (config, conf, address) =
            (cluster.config("a"), dir.join("conf"), cluster.address("a").to_string());
        let (config, conf) = (path_text(&config)?, path_text(&conf)?);
        fs::write(conf, "Spread_Segment 127.0.0.255:4803 {\n  one 127.0.0.1\n}\n")?;
        let (new, newer) = (dir.join("new"), dir.join("newer"));
        let init = |dir| Ok::<_, anyhow::Error>(["init", path_text(dir)?, "--daemon", "a=127.0.0.1:4810"]);
        let commands = [
            &["daemon", "--config", config, "--print-config"][..],
            &["daemon", "--config", config, "--check-config"],
            &["spread-password", "alice"],
            &["import-spread", conf],
            &["status", "--connect", &address],
        ];
        for args in commands.into_iter().chain([&init(&new)?[..]]) {
            let (reader, writer) = std::io::pipe()?;
            drop(reader);
            let (status, said) = with_stdout(dir, args, writer).await?;
            ensure!(status.success() && !said.contains("pipe"), "{args:?}: {status}, {said}");
        }
        ensure!(new.join("a.toml").exists(), "init made nothing");
        for args in commands.into_iter().chain([&init(&newer)?[..]]) {
            let full = File::options().write(true).open("/dev/full")?;
            let (status, said) = with_stdout(dir, args, full).await?;
            ensure!(status.code() == Some(1), "{args:?}: {status}, {said}");
            names_all(&said, &["standard output", "No space left"])?;
        }
        cluster.finish().await
    })
}

#[test]
fn loopback_tcp_serves_like_the_socket() -> Result<()> {
    scenario(LIMIT, async {
        let tcp = stentor_tests::cluster::free_address()?.to_string();
        let cluster = Plan::new(&["a"]).set("clients", "tcp", tcp.as_str()).start().await?;
        let address: Address = format!("tcp:{tcp}").parse()?;
        let mut joined = Joined::start(cluster.dir(), &address, "by-tcp", &["g"], &["--count", "1"]).await?;
        printed(Some(&cluster.address("a")), &["send", "g", "hello"], b"").await?;
        joined.ended(PATIENCE).await?;
        joined.until_event("the message", |event| text(event, "data") == "hello").await?;
        cluster.finish().await
    })
}

#[test]
fn the_demo_takes_less_than_fifteen_seconds() -> Result<()> {
    scenario(LIMIT, async {
        let begin = Instant::now();
        let shown = printed(None, &["demo"], b"").await?;
        let took = begin.elapsed();
        say(&format!("the demo took {took:?}"));
        names_all(&shown, &["ann", "bob", "cas", "killed"])?;
        ensure!(took < Duration::from_secs(15), "it took {took:?}");
        Ok(())
    })
}
