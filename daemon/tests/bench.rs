//! `stentor bench`: what it measures, checks, writes and refuses.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::available_parallelism;

use anyhow::{bail, ensure};
use serde_json::Value;
use stentor_tests::wait::{PATIENCE, until};
use tempfile::TempDir;

fn bench(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor"));
    command.arg("bench").args(args).env_remove("RUST_LOG").env_remove("STENTOR_CONNECT").output().unwrap()
}

fn json(args: &[&str]) -> Value {
    let short = ["--json", "--duration", "300ms", "--warm-up", "100ms", "--repeat", "2"];
    let output = bench(&[&short, args].concat());
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "one object: {text}");
    serde_json::from_str(&text).unwrap()
}

fn number(report: &Value, path: &str) -> f64 {
    report.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} is missing in {report}"))
}

#[test]
fn flat_out_tells_throughput_latency_processors_and_memory() {
    let report =
        json(&["--daemons", "2", "--senders", "3", "--receivers", "2", "--groups", "2", "--size", "1KiB"]);
    assert_eq!(report["correct"], true);
    assert_eq!((report["daemons"].as_u64(), report["size"].as_u64()), (Some(2), Some(1024)));
    let rate = number(&report, "/msgs_per_s");
    assert!(rate > 100.0, "{report}");
    assert!((number(&report, "/mb_per_s") - rate * 1024.0 / 1e6).abs() < 0.01 * rate);
    let (least, most) =
        (number(&report, "/spread/msgs_per_s/min"), number(&report, "/spread/msgs_per_s/max"));
    assert!(least <= rate && rate <= most);
    // Two rounds of at least 300 ms each, and what was sent before and after.
    assert!(number(&report, "/sent") >= 0.5 * least);
    let latency = |what: &str| number(&report, &format!("/latency_us/{what}"));
    assert!(0.0 < latency("p50") && latency("p50") <= latency("p99") && latency("p999") <= latency("max"));
    for path in [
        "/cpu_s_per_million_messages/daemons",
        "/cpu_s_per_million_messages/clients",
        "/rss_mb_of_largest_daemon",
    ] {
        assert!(number(&report, path) > 0.0, "{report}");
    }
}

#[test]
fn a_rate_is_kept_and_one_in_flight_is_a_ping() {
    let report = json(&["--daemons", "1", "--rate", "2000", "--senders", "2"]);
    let rate = number(&report, "/msgs_per_s");
    assert!((1000.0..=2500.0).contains(&rate), "{report}");
    let report = json(&["--daemons", "1", "--in-flight", "1", "--service", "safe"]);
    let (rate, p50) = (number(&report, "/msgs_per_s"), number(&report, "/latency_us/p50"));
    // One at a time: no more than fit one after the other.
    assert!(rate * p50 / 1e6 < 1.3, "{report}");
    assert_eq!(report["service"], "safe");
}

#[test]
fn others_are_there_beside_the_load() {
    let apart = ["--daemons", "2", "--bystanders", "20", "--groups", "300", "--in-flight", "1"];
    let report = json(&[&apart[..], &["--bulk", "1MiB"]].concat());
    assert_eq!((&report["correct"], &report["bystanders_per_daemon"]), (&true.into(), &20.into()));
    assert_eq!((&report["groups"], &report["bulk"]), (&300.into(), &(1 << 20).into()));
    assert!(number(&report, "/bulk_mb_per_s") > 1.0 && number(&report, "/msgs_per_s") > 1.0, "{report}");
    let opening = number(&report, "/opening_s");
    assert!(0.0 < opening && opening < 20.0, "{report}");
    let none = json(&["--daemons", "1"]);
    assert_eq!(none["bulk_mb_per_s"], Value::Null);
    assert!(number(&none, "/opening_s") < opening);
}

#[tokio::test]
async fn pinned_daemons_and_programs_stay_on_cores_of_their_own() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor"));
    command.args(["bench", "--pin", "--json", "--daemons", "2", "--senders", "2", "--duration", "1s"]);
    let bench = command.args(["--repeat", "1"]).stdout(Stdio::piped()).spawn().unwrap();
    let tasks = PathBuf::from(format!("/proc/{}/task", bench.id()));
    let children = tasks.join(bench.id().to_string()).join("children");
    until(PATIENCE, "daemons and programs have their cores", async || {
        let daemons = std::fs::read_to_string(&children)?;
        let daemons: Vec<_> = daemons.split_whitespace().map(|pid| Path::new("/proc").join(pid)).collect();
        let programs = std::fs::read_dir(&tasks)?.filter_map(|task| Some(task.ok()?.path()));
        let (of_daemons, of_programs) = (
            homes(&daemons),
            homes(&programs.filter(|task| said(task, "Name") == "load").collect::<Vec<_>>()),
        );
        let all = format!("{of_daemons:?} and {of_programs:?}");
        let [first, second] = &of_daemons[..] else { bail!("{all}") };
        // Each sender and each receiver has a thread of its own.
        ensure!(of_programs.iter().eq([first, first, second, second]), "{all}");
        ensure!((first == second) == (available_parallelism()?.get() < 2), "{all}");
        Ok(())
    })
    .await
    .unwrap();
    let output = bench.wait_with_output().unwrap();
    assert!(output.status.success());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["pinned"], &report["correct"]), (&Value::Bool(true), &Value::Bool(true)));
    assert!((0.0..=100.0).contains(&number(&report, "/stolen_percent")));
}

#[tokio::test]
async fn real_time_daemons_and_programs_have_a_real_time_priority_or_it_says_why_not() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor"));
    command.args(["bench", "--real-time", "--json", "--daemons", "2", "--rate", "1000", "--duration", "1s"]);
    command.args(["--repeat", "1"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut bench = command.spawn().unwrap();
    let tasks = PathBuf::from(format!("/proc/{}/task", bench.id()));
    let children = tasks.join(bench.id().to_string()).join("children");
    until(PATIENCE, "daemons and programs run as they should, or the bench ends", async || {
        if bench.try_wait()?.is_some() {
            return Ok(());
        }
        let daemons = std::fs::read_to_string(&children)?;
        let daemons = daemons.split_whitespace().map(|pid| Path::new("/proc").join(pid));
        let programs = std::fs::read_dir(&tasks)?.filter_map(|task| Some(task.ok()?.path()));
        let programs = programs.filter(|task| said(task, "Name") == "load");
        let policies: Vec<_> = daemons.chain(programs).map(|path| policy(&path)).collect();
        // Two daemons, a sender, two receivers.
        ensure!(policies == vec![Some(SCHED_RR); 5], "{policies:?}");
        Ok(())
    })
    .await
    .unwrap();
    let output = bench.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    if error.contains("--real-time") {
        // Who runs the tests may not have the right.
        assert!(!output.status.success() && error.contains("be root, or raise the limit"), "{error}");
        return;
    }
    assert!(output.status.success(), "{error}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let told = (&report["real_time"], &report["pinned"], &report["correct"]);
    assert_eq!(told, (&true.into(), &false.into(), &true.into()));
}

/// By its number in Linux.
const SCHED_RR: u32 = 2;

/// How a process or thread is scheduled: field 41 of what the system says of it.
fn policy(path: &Path) -> Option<u32> {
    let stat = std::fs::read_to_string(path.join("stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(38)?.parse().ok()
}

/// The cores on which processes or threads stay, in order.
fn homes(paths: &[PathBuf]) -> Vec<String> {
    let mut homes: Vec<_> = paths.iter().map(|path| said(path, "Cpus_allowed_list")).collect();
    homes.sort_unstable();
    homes
}

/// What the system says of a process or thread.
fn said(path: &Path, field: &str) -> String {
    let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

#[test]
fn a_page_has_its_plots_and_needs_nothing_else() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("bench.html");
    let short = ["--duration", "50ms", "--warm-up", "10ms", "--repeat", "1", "--daemons", "1"];
    let output = bench(&[&short[..], &["--html", &file.display().to_string()]].concat());
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("messages a second") && text.contains("arrived at every receiver, in one order"),
        "{text}"
    );
    let page = std::fs::read_to_string(file).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    assert_eq!(page.matches("<svg").count(), 4);
    assert_eq!(
        page.matches("<polyline").count(),
        8,
        "two distributions, two throughputs, three latencies, memory"
    );
    assert!(!page.contains("http") && !page.contains("<script") && !page.contains("NaN"));
}

#[test]
fn what_cannot_be_measured_is_refused() {
    for (args, texts) in [
        (&["--size", "8"][..], &["--size is 8 bytes", "at least 16"][..]),
        (&["--size", "17MiB"], &["--size is 17825792 bytes", "no more than"]),
        (&["--bulk", "15"], &["--bulk is 15 bytes", "at least 16"]),
        (&["--bulk", "17MiB"], &["--bulk is 17825792 bytes", "no more than"]),
        (&["--duration", "0s"], &["--duration", "longer"]),
        (&["--connect", "unix:/nowhere/x.sock"], &["/nowhere/x.sock"]),
        (
            &["--html", "/nowhere/x.html", "--duration", "10ms", "--repeat", "1", "--daemons", "1"],
            &["/nowhere/x.html"],
        ),
    ] {
        let output = bench(args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        for text in texts {
            assert!(said.contains(text), "{text:?} is missing in {said:?}");
        }
    }
    for args in [
        &["--rate", "5", "--in-flight", "1"][..],
        &["--daemons", "0"],
        &["--service", "fast"],
        &["--pin", "--connect", "tcp:localhost:1"],
    ] {
        assert_eq!(bench(args).status.code(), Some(2), "{args:?}");
    }
}
