//! Chaos for a minute, with one schedule of faults, and the proof that it would be seen if a promise was broken. The
//! command `chaos` goes on for as long as one likes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stentor_membership::{Cause, MemberName, Service};
use stentor_tests::chaos::{Options, run};
use stentor_tests::checker::check;
use stentor_tests::log::{Log, Received, What};
use stentor_tests::scenario::{say, scenario};

/// Chooses another seed than the usual one. A gate should fail for what changed, so it does not draw one each time.
const SEED: &str = "STENTOR_CHAOS_SEED";

fn seed() -> Result<u64> {
    let seed = match std::env::var(SEED) {
        Ok(seed) => seed.parse().with_context(|| format!("{SEED} is {seed:?}, not a number"))?,
        Err(_) => 1,
    };
    say(&format!("seed {seed}"));
    Ok(seed)
}

#[test]
fn a_minute_of_chaos_breaks_no_promise() -> Result<()> {
    const TIME: Duration = Duration::from_secs(60);
    scenario(TIME * 5, async {
        let outcome = run(&Options { seed: seed()?, time: TIME, daemons: 3..=5 }, say).await?;
        let totals = outcome.totals;
        ensure!(totals.sent > 1000 && totals.received > 1000, "hardly anything was sent");
        ensure!(totals.views > 10, "the faults had hardly an effect");
        for (property, checked) in totals.checked {
            ensure!(checked > 0, "the logs say nothing about {property}");
        }
        Ok(())
    })
}

/// Changes what one client saw.
type Plant = fn(&mut [Log]) -> Option<()>;

#[test]
fn a_fault_planted_in_a_real_history_is_found() -> Result<()> {
    const PLANTS: [(&str, Plant, &[&str]); 8] = [
        ("a message twice", twice, &["integrity"]),
        ("a message changed on its way", changed, &["integrity"]),
        ("two messages the other way round", swapped, &["order", "prefix"]),
        ("two messages of one sender the other way round", swapped_of_one, &["fifo", "causal"]),
        ("an own message missing", own_missing, &["self_delivery"]),
        ("a safe message missing", safe_missing, &["safe", "prefix", "synchrony", "arrival"]),
        ("a member too many", stranger, &["views"]),
        ("a message in front of a join that came before it", in_front_of_join, &["newcomers"]),
    ];
    scenario(Duration::from_secs(120), async {
        // What there is to plant in should not be a matter of chance.
        let options = Options { seed: 1, time: Duration::from_secs(6), daemons: 3..=3 };
        let logs = run(&options, say).await?.last;
        check(&logs).ensure(&[])?;
        for (fault, plant, properties) in PLANTS {
            let mut logs = logs.clone();
            plant(&mut logs).with_context(|| format!("nowhere to plant {fault}"))?;
            let report = check(&logs);
            for property in properties {
                ensure!(report.violated(property) > 0, "{fault} is not seen by {property}:\n{report}");
            }
        }
        Ok(())
    })
}

fn twice(logs: &mut [Log]) -> Option<()> {
    let log = settled(logs)?;
    let at = find(log, |_| true)?;
    log.entries.insert(at, log.entries.get(at)?.clone());
    Some(())
}

fn changed(logs: &mut [Log]) -> Option<()> {
    let log = settled(logs)?;
    let at = find(log, |message| message.service >= Service::Agreed)?;
    if let What::Message(message) = &mut log.entries.get_mut(at)?.what {
        message.service = Service::Causal;
    }
    Some(())
}

/// The last words of all to all, which everybody got: the same in all logs, one behind the other.
fn last_two(log: &Log) -> Option<(usize, usize)> {
    let mut found = log.entries.iter().enumerate().rev().filter(
        |(_, entry)| matches!(&entry.what, What::Message(m) if m.service == Service::Safe && m.groups.len() == 1),
    );
    let (last, _) = found.next()?;
    Some((found.next()?.0, last))
}

fn swapped(logs: &mut [Log]) -> Option<()> {
    let log = settled(logs)?;
    let (one, two) = last_two(log)?;
    swap(log, one, two);
    Some(())
}

fn swapped_of_one(logs: &mut [Log]) -> Option<()> {
    let log = settled(logs)?;
    let causal = |message: &Received| message.service >= Service::Causal;
    let mut seen = BTreeMap::new();
    let (one, two) = log.entries.iter().enumerate().find_map(|(at, entry)| match &entry.what {
        What::Message(message) if causal(message) => Some((seen.insert(message.id.run, at)?, at)),
        _ => None,
    })?;
    swap(log, one, two);
    Some(())
}

fn own_missing(logs: &mut [Log]) -> Option<()> {
    let log = settled(logs)?;
    let own = log.run;
    let everybody = |message: &Received| message.groups.iter().any(|group| group.as_str() == "everybody");
    let at = find(log, |m| m.id.run == own && m.service >= Service::Reliable && everybody(m))?;
    log.entries.remove(at);
    Some(())
}

fn safe_missing(logs: &mut [Log]) -> Option<()> {
    let log = settled(logs)?;
    let (at, _) = last_two(log)?;
    log.entries.remove(at);
    Some(())
}

fn stranger(logs: &mut [Log]) -> Option<()> {
    let stranger: MemberName = "#stranger#a".parse().ok()?;
    let log = settled(logs)?;
    let view = log.entries.iter_mut().rev().find_map(|entry| match &mut entry.what {
        What::Membership(view) => Some(view),
        _ => None,
    })?;
    view.members = view.members.iter().copied().chain([stranger]).collect();
    Some(())
}

fn in_front_of_join(logs: &mut [Log]) -> Option<()> {
    // What was sent to everybody last, in front of the first join of another client that was known by then.
    let known: Vec<MemberName> = logs.iter().map(|log| log.member).collect();
    let log = settled(logs)?;
    let join = log.entries.iter().position(|entry| match &entry.what {
        What::Membership(view) if view.group.as_str() == "everybody" => {
            matches!(view.cause, Cause::Join(who) if who != log.member && known.contains(&who))
        }
        _ => false,
    })?;
    let (_, last) = last_two(log)?;
    let message = log.entries.remove(last);
    log.entries.insert(join, message);
    Some(())
}

/// A client that lasted to the end and has seen another one join.
fn settled(logs: &mut [Log]) -> Option<&mut Log> {
    logs.iter_mut().find(|log| {
        let mut views = log.views("everybody");
        log.settled && views.any(|view| matches!(view.cause, Cause::Join(who) if who != log.member))
    })
}

fn find(log: &Log, is_it: impl Fn(&Received) -> bool) -> Option<usize> {
    log.entries.iter().position(|entry| matches!(&entry.what, What::Message(message) if is_it(message)))
}

fn swap(log: &mut Log, one: usize, two: usize) {
    // Only what was seen; the times stay where they are.
    let times = (log.entries[one].at, log.entries[two].at);
    log.entries.swap(one, two);
    (log.entries[one].at, log.entries[two].at) = times;
}
