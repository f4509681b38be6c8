//! A daemon is stopped for a while, as by a debugger or a starved machine, and goes on as if nothing was.

use std::time::Duration;

use anyhow::{Result, ensure};
use stentor_membership::Service;
use stentor_tests::cluster::Plan;
use stentor_tests::members::{keep_sending, stop_sending, three_members, until_flowing, until_together};
use stentor_tests::scenario::scenario;
use stentor_tests::verdict::verdict;

#[test]
fn a_daemon_paused_beyond_the_timeout_is_left_and_comes_back() -> Result<()> {
    scenario(Duration::from_secs(120), async {
        let mut cluster = Plan::new(&["a", "b", "c"]).start().await?;
        let [x, y, z] = three_members(&cluster).await?;
        // The lowest, which proposes views, and the highest.
        for (name, left) in [("c", [&x, &y]), ("a", [&y, &z])] {
            let incarnation = cluster.status(name).await?.incarnation;
            let streams = keep_sending([&x, &y, &z], 200);
            until_flowing(&[&x, &y, &z]).await?;
            cluster.daemon(name)?.pause().await?;
            until_together(&left).await?;
            cluster.daemon(name)?.resume()?;
            until_together(&[&x, &y, &z]).await?;
            stop_sending(streams).await?;
            ensure!(cluster.status(name).await?.incarnation == incarnation, "{name} is another one");
        }
        for member in [&x, &y, &z] {
            ensure!(member.ended().is_none(), "{} lost its session: {:?}", member.member(), member.ended());
        }
        let properties = ["order", "prefix", "fifo", "causal", "self_delivery", "synchrony", "safe", "views"];
        verdict("g", &[&x, &y, &z], &[], &properties).await?;
        cluster.finish().await
    })
}

#[test]
fn all_but_one_are_paused() -> Result<()> {
    scenario(Duration::from_secs(90), async {
        let mut cluster = Plan::new(&["a", "b", "c"]).start().await?;
        let [x, y, z] = three_members(&cluster).await?;
        let streams = keep_sending([&x, &y, &z], 200);
        for name in ["b", "c"] {
            cluster.daemon(name)?.pause().await?;
        }
        until_together(&[&x]).await?;
        for name in ["b", "c"] {
            cluster.daemon(name)?.resume()?;
        }
        until_together(&[&x, &y, &z]).await?;
        stop_sending(streams).await?;
        verdict("g", &[&x, &y, &z], &[], &["order", "fifo", "self_delivery", "synchrony"]).await?;
        cluster.finish().await
    })
}

#[test]
fn a_pause_within_the_timeout_costs_time_only() -> Result<()> {
    scenario(Duration::from_secs(90), async {
        let plan = Plan::new(&["a", "b", "c"]).set("membership", "suspect_after_min", "1min");
        let mut cluster = plan.set("membership", "suspect_after_max", "2min").start().await?;
        let [x, y, z] = three_members(&cluster).await?;
        let view = cluster.status("a").await?.view;
        until_quiet_then_paused(&mut cluster).await?;
        // Accepted while c says nothing: nobody can deliver it, and nobody else is let go for it.
        let id = x.send(&["g"], Service::Agreed, 100).await?;
        y.send(&["g"], Service::Fifo, 100).await?;
        x.until_more(1).await?;
        ensure!(!x.look(|log| log.received().any(|m| m.id == id)), "delivered without c");
        cluster.daemon("c")?.resume()?;
        for member in [&x, &y, &z] {
            member.until_got(id).await?;
        }
        ensure!(cluster.status("a").await?.view == view, "the view changed");
        verdict("g", &[&x, &y, &z], &[], &["order"]).await?;
        cluster.finish().await
    })
}

/// Stops c when the group has nothing more under way.
async fn until_quiet_then_paused(cluster: &mut stentor_tests::cluster::Cluster) -> Result<()> {
    stentor_tests::wait::until(Duration::from_secs(30), "nothing is unstable", async || {
        for name in ["a", "b", "c"] {
            let bytes = cluster.counter(name, "unstable_bytes").await?;
            ensure!(bytes == 0, "{name} has {bytes} bytes that not all confirmed");
        }
        Ok(())
    })
    .await?;
    cluster.daemon("c")?.pause().await
}
