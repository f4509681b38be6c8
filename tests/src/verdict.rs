//! The end of a test: nothing is missing, and the logs show that every promise was kept.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use stentor_membership::{Cause, GroupName, Service};

use crate::checker::{Report, check};
use crate::log::{Log, What};
use crate::recorder::Recorder;
use crate::scenario::say;

/// Lets the `living` members of `group` come to rest, then checks all logs, those of `crashed` clients among them.
/// The properties in `exercised` must have been put to the test.
///
/// # Errors
/// If a promise was broken, or a message does not arrive.
pub async fn verdict(
    group: &str,
    living: &[&Recorder],
    crashed: &[&Recorder],
    exercised: &[&str],
) -> Result<Report> {
    let settled = settle(group, living).await;
    let mut logs = Vec::new();
    for recorder in living {
        logs.push(Log { settled: true, ..recorder.log() });
    }
    logs.extend(crashed.iter().map(|recorder| recorder.log()));
    let report = check(&logs);
    let outcome = report.ensure(exercised).and(settled);
    if outcome.is_err() {
        logs.iter().for_each(tell);
    }
    outcome.map(|()| report)
}

/// How often a starved machine may part the members while they come to rest.
const TRIES: u32 = 4;

/// How long all of them have each time.
const TRY: Duration = Duration::from_secs(15);

/// Each sends a last message, and all get all of these: whatever was sent before them and is not there then, is lost.
///
/// # Errors
/// What is missing, or who is.
pub async fn settle(group: &str, recorders: &[&Recorder]) -> Result<()> {
    for _ in 1..TRIES {
        let settled = tokio::time::timeout(TRY, try_to_settle(group, recorders)).await;
        if settled.is_ok_and(|settled| settled.is_ok()) {
            return Ok(());
        }
    }
    try_to_settle(group, recorders).await
}

async fn try_to_settle(group: &str, recorders: &[&Recorder]) -> Result<()> {
    for recorder in recorders {
        recorder
            .until("all are members", |log| {
                let members = log.views(group).last().map(|view| view.members.clone()).unwrap_or_default();
                let missing =
                    recorders.iter().map(|other| other.member()).find(|name| !members.contains(name));
                ensure!(missing.is_none(), "{group} has {members:?}");
                Ok(())
            })
            .await?;
    }
    let mut last = Vec::new();
    for recorder in recorders {
        match recorder.send(&[group], Service::Safe, 0).await {
            Ok(id) => last.push(id),
            Err(error) => bail!("{} cannot send: {error} ({:?})", recorder.member(), recorder.ended()),
        }
    }
    for recorder in recorders {
        for id in &last {
            recorder.until_got(*id).await?;
        }
    }
    Ok(())
}

/// Shows how the groups of a client went.
fn tell(log: &Log) {
    say(&format!("--- {} (run {}), {} entries:", log.member, log.run, log.entries.len()));
    let mut messages = 0;
    let begin = log.entries.first().map(|entry| entry.at);
    for entry in &log.entries {
        let after = begin.map_or(0.0, |begin| (entry.at - begin).as_secs_f64());
        match &entry.what {
            What::Message(_) => messages += 1,
            What::Send(_) | What::Leave(_) => {}
            What::Foreign { sender, problem } => say(&format!("{after:8.3} from {sender}: {problem}")),
            What::Membership(view) => {
                let cause = match view.cause {
                    Cause::Join(who) | Cause::Leave(who) | Cause::Disconnect(who) => who.to_string(),
                    Cause::Network => String::new(),
                };
                let (what, members, stayed) = (view.cause.as_str(), &view.members, &view.stayed);
                say(&format!(
                    "{after:8.3} {messages:>6} messages, then {} by {what} {cause}: {members:?} with {stayed:?}",
                    view.view
                ));
            }
            What::Transitional(group) => tell_signal(after, messages, *group),
        }
    }
    say(&format!("{messages:>15} messages in all"));
}

fn tell_signal(after: f64, messages: usize, group: GroupName) {
    say(&format!("{after:8.3} {messages:>6} messages, then the transitional signal for {group}"));
}
