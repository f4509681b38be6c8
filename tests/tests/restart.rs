//! Daemons crash and come back: each run is a new one, known as such at once.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stentor_membership::Service;
use stentor_tests::cluster::Plan;
use stentor_tests::members::{keep_sending, stop_sending, three_members, until_flowing, until_together};
use stentor_tests::scenario::scenario;
use stentor_tests::verdict::verdict;

#[test]
fn a_restarted_daemon_is_new_at_once() -> Result<()> {
    scenario(Duration::from_secs(120), async {
        // Nobody would be suspected in the time of this test: what is seen is the new incarnation.
        let plan = Plan::new(&["a", "b", "c"]).set("membership", "suspect_after_min", "5min");
        let mut cluster = plan.set("membership", "suspect_after_max", "5min").start().await?;
        let [x, y, mut z] = three_members(&cluster).await?;
        let mut gone = Vec::new();
        for _ in 0..3 {
            let before = cluster.status("c").await?.incarnation;
            let streams = keep_sending([&x, &y, &z], 200);
            until_flowing(&[&x, &y, &z]).await?;
            cluster.kill("c")?;
            cluster.start("c")?;
            cluster.until_view(&["a", "b", "c"]).await?;
            let after = cluster.status("a").await?.members;
            let c = after.iter().find(|member| member.name.as_str() == "c").context("no c")?;
            ensure!(c.incarnation != before, "a takes the new c for the old one");
            // The old session is out of the group, though its name and its daemon's are back.
            until_together(&[&x, &y]).await?;
            let again = cluster.connect("c", "z").await?;
            again.join("g").await?;
            until_together(&[&x, &y, &again]).await?;
            stop_sending(streams).await?;
            gone.push(std::mem::replace(&mut z, again));
        }
        let gone: Vec<_> = gone.iter().collect();
        let properties = ["order", "prefix", "fifo", "synchrony", "safe", "views"];
        verdict("g", &[&x, &y, &z], &gone, &properties).await?;
        cluster.finish().await
    })
}

#[test]
fn the_group_outlives_a_rolling_restart() -> Result<()> {
    scenario(Duration::from_secs(120), async {
        let mut cluster = Plan::new(&["a", "b", "c"]).start().await?;
        let [x, y, z] = three_members(&cluster).await?;
        let mut members = vec![("a", x), ("b", y), ("c", z)];
        let mut gone = Vec::new();
        for (place, name) in ["a", "b", "c"].into_iter().enumerate() {
            ensure!(cluster.terminate(name).await?.success(), "{name} did not stop in order");
            cluster.start(name)?;
            cluster.until_view(&["a", "b", "c"]).await?;
            let member = cluster.connect(name, "again").await?;
            member.join("g").await?;
            gone.push(std::mem::replace(&mut members[place], (name, member)).1);
            for (_, member) in &members {
                member.send(&["g"], Service::Safe, 100).await?;
            }
            let now: Vec<_> = members.iter().map(|(_, member)| member).collect();
            for member in &now {
                member.until_members("g", &now).await?;
            }
        }
        for old in &gone {
            let reason = old.ended().unwrap_or_default();
            ensure!(reason.contains("shutting down"), "{} was told: {reason:?}", old.member());
        }
        let (now, gone): (Vec<_>, Vec<_>) =
            (members.iter().map(|(_, member)| member).collect(), gone.iter().collect());
        verdict("g", &now, &gone, &["order", "views", "safe"]).await?;
        cluster.finish().await
    })
}

#[test]
fn all_crash_and_find_each_other_again() -> Result<()> {
    scenario(Duration::from_secs(90), async {
        let mut cluster = Plan::new(&["a", "b", "c"]).start().await?;
        let before = three_members(&cluster).await?;
        for name in ["a", "b", "c"] {
            cluster.kill(name)?;
        }
        // The sockets of the dead lie around, and are taken over.
        for name in ["c", "a", "b"] {
            cluster.start(name)?;
        }
        cluster.until_view(&["a", "b", "c"]).await?;
        let [x, y, z] = three_members(&cluster).await?;
        verdict("g", &[&x, &y, &z], &before.each_ref(), &["order", "safe"]).await?;
        cluster.finish().await
    })
}
