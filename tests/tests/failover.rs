//! A daemon crashes or stops while the others work: they go on soon, and no promise is broken.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use stentor_membership::Service;
use stentor_tests::cluster::{Cluster, Plan};
use stentor_tests::log::{Log, What};
use stentor_tests::members::{keep_sending, stop_sending, three_members};
use stentor_tests::scenario::{say, scenario};
use stentor_tests::verdict::verdict;

#[test]
fn a_crash_under_load_breaks_no_promise() -> Result<()> {
    scenario(Duration::from_secs(90), async {
        let mut cluster = Plan::new(&["a", "b", "c"]).start().await?;
        let [x, y, z] = three_members(&cluster).await?;
        let streams = keep_sending([&x, &y, &z], 200);
        z.until_more(300).await?;
        cluster.kill("c")?;
        x.until_members("g", &[&x, &y]).await?;
        y.until_members("g", &[&x, &y]).await?;
        x.until_more(300).await?;
        stop_sending(streams).await?;
        verdict("g", &[&x, &y], &[&z], &["order", "prefix", "fifo", "causal", "synchrony", "safe"]).await?;
        cluster.finish().await
    })
}

#[test]
fn the_others_deliver_again_within_a_second() -> Result<()> {
    const ROUNDS: usize = 10;
    scenario(Duration::from_secs(180), async {
        let mut cluster = Plan::new(&["a", "b", "c"]).start().await?;
        let mut gaps = Vec::new();
        for round in 0..ROUNDS {
            let victim = ["a", "b", "c"][round % 3];
            let (left, right) = match victim {
                "a" => ("b", "c"),
                "b" => ("a", "c"),
                _ => ("a", "b"),
            };
            gaps.push(failover(&mut cluster, victim, left, right).await?);
            cluster.start(victim)?;
            cluster.until_view(&["a", "b", "c"]).await?;
        }
        gaps.sort();
        let (min, median, max) = (gaps[0], (gaps[ROUNDS / 2 - 1] + gaps[ROUNDS / 2]) / 2, gaps[ROUNDS - 1]);
        say(&format!("gap in delivery after kill -9: median {median:?}, {min:?} to {max:?}; all: {gaps:?}"));
        ensure!(median < Duration::from_secs(1), "the median gap is {median:?}: {gaps:?}");
        cluster.finish().await
    })
}

/// Kills one daemon while all are at work, and gives the longest time in which a survivor got nothing.
async fn failover(cluster: &mut Cluster, victim: &str, left: &str, right: &str) -> Result<Duration> {
    let agreed: &[Service] = &[Service::Agreed];
    let mut recorders = Vec::new();
    for daemon in [victim, left, right] {
        let recorder = cluster.connect(daemon, "load").await?;
        recorder.join("g").await?;
        recorders.push(recorder);
    }
    let every = Duration::from_millis(2);
    let streams: Vec<_> = recorders.iter().map(|r| r.stream("g", agreed, 200, every)).collect();
    for recorder in &recorders {
        recorder.until_more(100).await?;
    }
    cluster.kill(victim)?;
    let killed = Instant::now();
    let [_, survivors @ ..] = &recorders[..] else { unreachable!("three daemons") };
    let mut longest = Duration::ZERO;
    for survivor in survivors {
        // The first that it gets of what was sent after the view of the survivors began.
        let alone: Vec<_> = survivors.iter().collect();
        survivor.until_members("g", &alone).await?;
        survivor.until_more(100).await?;
        longest = longest.max(survivor.look(|log| gap(log, killed)));
    }
    stop_sending(streams).await?;
    for survivor in survivors {
        survivor.close().await?;
    }
    Ok(longest)
}

/// The longest time without a message that ended after `since`.
fn gap(log: &Log, since: Instant) -> Duration {
    let times = log.entries.iter().filter(|entry| matches!(entry.what, What::Message(_)));
    let times: Vec<_> = times.map(|entry| entry.at).collect();
    let gaps = times.windows(2).filter(|pair| pair[1] > since).map(|pair| pair[1] - pair[0]);
    gaps.max().unwrap_or_default()
}

#[test]
fn an_orderly_stop_needs_no_timeout() -> Result<()> {
    scenario(Duration::from_secs(90), async {
        let mut cluster = patient_plan().start().await?;
        let [x, y, z] = three_members(&cluster).await?;
        let streams = keep_sending([&x, &y, &z], 200);
        z.until_more(100).await?;
        let status = cluster.terminate("c").await?;
        ensure!(status.code() == Some(0), "c ended with {status}");
        x.until_members("g", &[&x, &y]).await?;
        y.until_members("g", &[&x, &y]).await?;
        x.until_more(100).await?;
        stop_sending(streams).await?;
        let reason = z.ended().unwrap_or_default();
        ensure!(reason.contains("shutting down"), "the session on c was told: {reason:?}");
        verdict("g", &[&x, &y], &[&z], &["order", "fifo", "synchrony"]).await?;
        cluster.finish().await
    })
}

#[test]
fn joins_and_leaves_need_no_timeout() -> Result<()> {
    scenario(Duration::from_secs(90), async {
        let cluster = patient_plan().start().await?;
        let x = cluster.connect("a", "x").await?;
        x.join("g").await?;
        let y = cluster.connect("c", "y").await?;
        for _ in 0..50 {
            y.join("g").await?;
            x.until_members("g", &[&x, &y]).await?;
            y.leave("g").await?;
            x.until_members("g", &[&x]).await?;
        }
        // A program that ends without a word is no matter of time either.
        let z = cluster.connect("b", "z").await?;
        z.join("g").await?;
        x.until_members("g", &[&x, &z]).await?;
        drop(z);
        x.until_members("g", &[&x]).await?;
        y.join("g").await?;
        verdict("g", &[&x, &y], &[], &["views"]).await?;
        cluster.finish().await
    })
}

/// Daemons that would notice a silent one after minutes only, and give hardly any sign of life by themselves.
fn patient_plan() -> Plan {
    let plan = Plan::new(&["a", "b", "c"]).set("membership", "heartbeat", "1min");
    plan.set("membership", "suspect_after_min", "5min").set("membership", "suspect_after_max", "5min")
}
