//! `stentor status`: how a daemon is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{anyhow, bail};
use clap::Args;
use serde::Serialize;
use stentor_client::wire::{Configuration, LinkState, PeerStatus, SessionStatus};
use stentor_client::{DaemonStatus, GroupName};
use stentor_membership::{DaemonId, Phase};
use tokio::time::{Instant, timeout_at};

use super::output::{Style, print};
use super::session::ConnectArgs;
use crate::config::units::Span;

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Print JSON: one object.
    #[arg(long)]
    json: bool,
    /// Wait up to this long, such as 10s, until all configured daemons are in one view; fail if they are not.
    #[arg(long, value_name = "TIME")]
    wait: Option<Span>,
    #[command(flatten)]
    daemon: ConnectArgs,
}

/// How often a waiting command looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long a daemon may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// A daemon that is well answers sooner.
const ANSWER_USUAL: Duration = Duration::from_millis(500);

/// The daemon's report of itself, and all groups.
type Answer = (DaemonStatus, Vec<(GroupName, u64)>);

pub(crate) async fn run(args: StatusArgs) -> anyhow::Result<()> {
    let (status, groups) = match args.wait {
        None => {
            let answer = timeout_at(Instant::now() + ANSWER, ask(&args.daemon)).await;
            answer.unwrap_or_else(|_| Err(silent(&args.daemon, ANSWER)))?
        }
        Some(Span(span)) => ask_until_whole(&args.daemon, span).await?,
    };
    if args.json {
        print(&format!("{}\n", serde_json::to_string(&Report::new(&status, &groups))?))
    } else {
        print(&text(&status, &groups, Style::of_stdout()))
    }
}

async fn ask(daemon: &ConnectArgs) -> anyhow::Result<Answer> {
    let (sender, receiver) = daemon.open().await?.split();
    drop(receiver);
    let answers = (sender.status().await?, sender.groups().await?);
    sender.close().await?;
    Ok(answers)
}

/// The daemon takes connections, or its system does for it, but says nothing.
fn silent(daemon: &ConnectArgs, span: Duration) -> anyhow::Error {
    let address = daemon.address().map(|address| address.to_string());
    anyhow!(
        "{} did not answer within {}: see whether the daemon is stopped or overloaded",
        address.as_deref().unwrap_or("the daemon"),
        humantime::format_duration(span)
    )
}

/// Asks until the daemon answers that the cluster is whole, or time is up: then the last answer says why.
async fn ask_until_whole(daemon: &ConnectArgs, span: Duration) -> anyhow::Result<Answer> {
    // Without any time there is still that for one answer.
    let deadline = Instant::now() + span.max(LOOK_AGAIN);
    let mut last = None;
    while Instant::now() < deadline {
        let begin = Instant::now();
        match timeout_at(deadline, ask(daemon)).await {
            Ok(answer) if answer.as_ref().is_ok_and(|(status, _)| missing(status).is_empty()) => {
                return answer;
            }
            Ok(answer) => last = Some(answer),
            // Cut short only because time was up: the answer before counts.
            Err(_) if begin.elapsed() < ANSWER_USUAL => break,
            Err(_) => last = None,
        }
        tokio::time::sleep_until(deadline.min(Instant::now() + LOOK_AGAIN)).await;
    }
    let (status, _) = last.unwrap_or_else(|| Err(silent(daemon, span)))?;
    let missing = missing(&status).join(" ");
    bail!("not in the view after {}: {missing}; see their logs", humantime::format_duration(span))
}

/// The configured daemons that are not in the view.
fn missing(status: &DaemonStatus) -> Vec<&str> {
    let absent = |peer: &&PeerStatus| status.members.iter().all(|member| member.name != peer.name);
    status.configured.iter().filter(absent).map(|peer| peer.name.as_str()).collect()
}

/// The report as JSON has it.
#[derive(Serialize)]
struct Report<'a> {
    daemon: &'a str,
    incarnation: String,
    version: &'a str,
    uptime_ms: u64,
    phase: &'static str,
    view: &'a str,
    members: Vec<String>,
    primary: bool,
    configured: &'a [PeerStatus],
    history: Vec<HistoryEntry<'a>>,
    groups: Vec<GroupEntry>,
    sessions_total: u64,
    sessions: &'a [SessionStatus],
    counters: BTreeMap<&'a str, u64>,
}

#[derive(Serialize)]
struct HistoryEntry<'a> {
    unix_ms: u64,
    kind: &'static str,
    view: &'a str,
    toward: Option<&'a str>,
    members: Vec<String>,
    primary: bool,
}

#[derive(Serialize)]
struct GroupEntry {
    group: GroupName,
    members: u64,
}

impl<'a> Report<'a> {
    fn new(status: &'a DaemonStatus, groups: &[(GroupName, u64)]) -> Self {
        Self {
            daemon: status.daemon.as_str(),
            incarnation: format!("{:x}", status.incarnation),
            version: &status.version,
            uptime_ms: status.uptime_ms,
            phase: phase(status.phase),
            view: &status.view,
            members: ids(&status.members),
            primary: status.primary,
            configured: &status.configured,
            history: status.history.iter().map(HistoryEntry::new).collect(),
            groups: groups.iter().map(|&(group, members)| GroupEntry { group, members }).collect(),
            sessions_total: status.sessions_total,
            sessions: &status.sessions,
            counters: status.counters.iter().map(|(name, value)| (name.as_str(), *value)).collect(),
        }
    }
}

impl<'a> HistoryEntry<'a> {
    fn new(entry: &'a Configuration) -> Self {
        Self {
            unix_ms: entry.unix_ms,
            kind: kind(entry),
            view: &entry.view,
            toward: entry.toward.as_deref(),
            members: ids(&entry.members),
            primary: entry.primary,
        }
    }
}

fn ids(members: &[DaemonId]) -> Vec<String> {
    members.iter().map(ToString::to_string).collect()
}

const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Operational => "operational",
        Phase::Gathering => "gathering",
        Phase::Recovering => "recovering",
    }
}

fn kind(entry: &Configuration) -> &'static str {
    if entry.toward.is_some() { "transitional" } else { "regular" }
}

/// The most lines of a list for people.
const LINES: usize = 20;

fn text(status: &DaemonStatus, groups: &[(GroupName, u64)], style: Style) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to memory does not fail.
        let _ = writeln!(out, "{} {value}", style.bold(format_args!("{name:<10}")));
    };
    line(
        "daemon",
        format!(
            "{} (version {})",
            DaemonId { name: status.daemon, incarnation: status.incarnation },
            status.version
        ),
    );
    line("uptime", humantime::format_duration(Duration::from_secs(status.uptime_ms / 1000)).to_string());
    let state = phase(status.phase);
    let calm = status.phase == Phase::Operational;
    line("state", if calm { style.green(state) } else { style.yellow(state) }.to_string());
    let primary =
        if status.primary { style.green("primary") } else { style.yellow("not primary: no majority") };
    line("view", format!("{} ({primary})", status.view));
    line("members", ids(&status.members).join(" "));
    line("daemons", String::new());
    for peer in &status.configured {
        line("", peer_text(peer, style));
    }
    let more = "--json shows them";
    list(
        &mut line,
        "groups",
        groups.len(),
        more,
        groups.iter().map(|(group, members)| format!("{group} ({members})")),
    );
    let sessions = status.sessions.iter().map(|session| {
        format!("{} (in {} groups, {} bytes unread)", session.name, session.groups, session.queued_bytes)
    });
    let total = usize::try_from(status.sessions_total).unwrap_or(usize::MAX);
    let first = format!("--json shows the first {}", DaemonStatus::SESSIONS_MAX);
    let all = total <= DaemonStatus::SESSIONS_MAX;
    list(&mut line, "sessions", total, if all { more } else { &first }, sessions);
    list(&mut line, "history", status.history.len(), more, status.history.iter().rev().map(history_text));
    for (index, counters) in counter_lines(&status.counters).into_iter().enumerate() {
        line(if index == 0 { "counters" } else { "" }, counters);
    }
    out
}

/// How long a line of counters becomes.
const COUNTERS_WIDTH: usize = 80;

/// The counters that are not zero, several on a line.
fn counter_lines(counters: &[(String, u64)]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (name, value) in counters.iter().filter(|(_, value)| *value != 0) {
        let counter = format!("{name} {value}");
        match lines.last_mut().filter(|line| line.len() + 2 + counter.len() <= COUNTERS_WIDTH) {
            Some(line) => line.extend([", ", &counter]),
            None => lines.push(counter),
        }
    }
    lines
}

fn list(
    line: &mut impl FnMut(&str, String),
    name: &str,
    total: usize,
    more: &str,
    entries: impl Iterator<Item = String>,
) {
    line(name, total.to_string());
    let mut shown = 0;
    for entry in entries.take(LINES) {
        line("", entry);
        shown += 1;
    }
    if shown < total {
        line("", format!("... and {} more ({more})", total - shown));
    }
}

fn peer_text(peer: &PeerStatus, style: Style) -> String {
    let link = match peer.link {
        LinkState::Own => style.green("this one"),
        LinkState::Up => style.green("linked"),
        LinkState::Down => style.red("not linked"),
    };
    let trouble = peer.trouble.as_ref().map(|trouble| format!("; {trouble}")).unwrap_or_default();
    format!("{} at {}: {link}{trouble}", peer.name, peer.address)
}

fn history_text(entry: &Configuration) -> String {
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(entry.unix_ms));
    let at = at.map(|at| humantime::format_rfc3339_millis(at).to_string()).unwrap_or_default();
    let toward = entry.toward.as_ref().map(|toward| format!(" to {toward}")).unwrap_or_default();
    let primary = if entry.primary { ", primary" } else { "" };
    format!("{at} {:<12} {}{toward}: {}{primary}", kind(entry), entry.view, ids(&entry.members).join(" "))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use clap::Parser;
    use stentor_client::wire::{DaemonFrame, Frame};
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixListener;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: StatusArgs,
    }

    /// Opens sessions and says nothing more.
    async fn mute(listener: UnixListener) {
        let mut sessions = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut welcome = BytesMut::new();
            let frame = DaemonFrame::Welcome { member: "#s#d".parse().unwrap(), max_message: 1024 };
            frame.encode(&mut welcome).unwrap();
            socket.write_all(&welcome).await.unwrap();
            sessions.push(socket);
        }
    }

    #[test]
    fn counters_that_are_not_zero_are_shown_several_on_a_line() {
        let counter = |name: &str, value| (name.repeat(10), value);
        let counters = [counter("a", 1), counter("b", 0), counter("c", 20), counter("d", 3)];
        assert_eq!(counter_lines(&counters), ["aaaaaaaaaa 1, cccccccccc 20, dddddddddd 3"]);
        let many: Vec<_> = (0..26).map(|value| counter("n", value)).collect();
        let lines = counter_lines(&many);
        assert!(lines.len() > 1 && lines.iter().all(|line| line.len() <= COUNTERS_WIDTH), "{lines:?}");
        assert_eq!(lines.join(", ").matches("nnnnnnnnnn").count(), 25);
        assert!(counter_lines(&[]).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_falls_silent_is_not_waited_for_longer_than_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        tokio::spawn(mute(UnixListener::bind(&path).unwrap()));
        let door = format!("unix:{}", path.display());
        for (wait, span) in [(&[][..], ANSWER), (&["--wait", "1s"], Duration::from_secs(1))] {
            let line = [&["status", "--connect", &door], wait].concat();
            let begin = Instant::now();
            let error = run(Line::parse_from(line).args).await.unwrap_err().to_string();
            let took = begin.elapsed();
            assert!((span..span + LOOK_AGAIN).contains(&took), "{took:?}");
            let said = format!("{door} did not answer within {}", humantime::format_duration(span));
            assert!(error.contains(&said) && error.contains("stopped or overloaded"), "{error}");
        }
    }
}
