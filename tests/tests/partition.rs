//! The network falls apart and comes together again: every part goes on, and the whole agrees.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stentor_client::Event;
use stentor_membership::Service;
use stentor_tests::cluster::Plan;
use stentor_tests::log::What;
use stentor_tests::members::{keep_sending, stop_sending, three_members, until_together};
use stentor_tests::proxy::Path;
use stentor_tests::recorder::Recorder;
use stentor_tests::scenario::scenario;
use stentor_tests::verdict::verdict;
use stentor_tests::wait::{PATIENCE, until};

#[test]
fn both_parts_go_on_and_merge() -> Result<()> {
    scenario(Duration::from_secs(120), async {
        let cluster = Plan::new(&["a", "b", "c"]).proxied().start().await?;
        let [x, y, z] = three_members(&cluster).await?;
        let streams = keep_sending([&x, &y, &z], 300);
        for member in [&x, &y, &z] {
            member.until_more(200).await?;
        }
        cluster.network()?.split(&[&["a"], &["b", "c"]]);
        x.until_members("g", &[&x]).await?;
        y.until_members("g", &[&y, &z]).await?;
        z.until_members("g", &[&y, &z]).await?;
        for member in [&x, &y, &z] {
            member.until_more(100).await?;
            let signals = member.look(|log| {
                log.entries.iter().filter(|entry| matches!(entry.what, What::Transitional(_))).count()
            });
            ensure!(signals > 0, "{} lost members without the transitional signal", member.member());
        }
        ensure!(!cluster.status("a").await?.primary, "one of three is no majority");
        ensure!(cluster.status("b").await?.primary && cluster.status("c").await?.primary, "two of three are");

        cluster.network()?.heal();
        until_together(&[&x, &y, &z]).await?;
        stop_sending(streams).await?;
        let properties = ["order", "prefix", "fifo", "causal", "self_delivery", "synchrony", "safe", "views"];
        verdict("g", &[&x, &y, &z], &[], &properties).await?;
        cluster.finish().await
    })
}

#[test]
fn groups_change_in_both_parts() -> Result<()> {
    scenario(Duration::from_secs(120), async {
        let cluster = Plan::new(&["a", "b", "c"]).proxied().start().await?;
        let [x, y, z] = three_members(&cluster).await?;
        cluster.network()?.split(&[&["a", "b"], &["c"]]);
        x.until_members("g", &[&x, &y]).await?;
        z.until_members("g", &[&z]).await?;
        let streams = keep_sending([&x, &z], 50);
        y.leave("g").await?;
        let v = cluster.connect("b", "v").await?;
        v.join("g").await?;
        let w = cluster.connect("c", "w").await?;
        w.join("g").await?;
        z.until_members("g", &[&z, &w]).await?;
        x.until_members("g", &[&x, &v]).await?;

        cluster.network()?.heal();
        y.join("g").await?;
        let all = [&x, &y, &z, &v, &w];
        for member in all {
            member.until_members("g", &all).await?;
        }
        stop_sending(streams).await?;
        verdict("g", &all, &[], &["order", "prefix", "fifo", "synchrony", "safe", "views"]).await?;
        cluster.finish().await
    })
}

#[test]
fn a_one_way_cut_makes_stable_parts() -> Result<()> {
    scenario(Duration::from_secs(120), async {
        let cluster = Plan::new(&["a", "b", "c"]).proxied().start().await?;
        let [x, y, z] = three_members(&cluster).await?;
        let streams = keep_sending([&x, &y, &z], 100);
        z.until_more(100).await?;
        // What a sends to b is lost; all else is well.
        cluster.network()?.cut(&["a"], &["b"]);
        until(PATIENCE, "a and b have parted", async || {
            let (a, b) = (cluster.status("a").await?, cluster.status("b").await?);
            let with = |status: &stentor_client::DaemonStatus, name: &str| {
                status.members.iter().any(|member| member.name.as_str() == name)
            };
            ensure!(!with(&a, "b") && !with(&b, "a"), "a with {:?}, b with {:?}", a.members, b.members);
            ensure!(with(&a, "c") || with(&b, "c"), "c is alone, though it is linked to both");
            Ok(())
        })
        .await?;
        // They come to rest so, and deliver.
        until(PATIENCE, "the views stay as they are", async || {
            let before = (cluster.status("a").await?.view, cluster.status("b").await?.view);
            for member in [&x, &y, &z] {
                member.until_more(500).await?;
            }
            let now = (cluster.status("a").await?.view, cluster.status("b").await?.view);
            ensure!(before == now, "the views go on changing: from {before:?} to {now:?}");
            Ok(())
        })
        .await?;

        cluster.network()?.heal();
        until_together(&[&x, &y, &z]).await?;
        stop_sending(streams).await?;
        verdict("g", &[&x, &y, &z], &[], &["order", "fifo", "synchrony", "safe"]).await?;
        cluster.finish().await
    })
}

#[test]
fn parts_change_again_and_again() -> Result<()> {
    const CUTS: [&[&[&str]]; 6] = [
        &[&["a"], &["b", "c"]],
        &[&["a", "c"], &["b"]],
        &[&["a"], &["b"], &["c"]],
        &[&["a", "b"], &["c"]],
        &[&["a", "b", "c"]],
        &[&["a"], &["b"], &["c"]],
    ];
    scenario(Duration::from_secs(150), async {
        let cluster = Plan::new(&["a", "b", "c"]).proxied().start().await?;
        let [x, y, z] = three_members(&cluster).await?;
        let streams = keep_sending([&x, &y, &z], 100);
        for parts in CUTS {
            // Straight from one to the other: views fall while the next ones are being agreed on.
            cluster.network()?.heal();
            cluster.network()?.split(parts);
            for member in [&x, &y, &z] {
                member.until_more(150).await?;
            }
        }
        cluster.network()?.heal();
        until_together(&[&x, &y, &z]).await?;
        stop_sending(streams).await?;
        verdict("g", &[&x, &y, &z], &[], &["order", "fifo", "self_delivery"]).await?;
        cluster.finish().await
    })
}

#[test]
fn loss_and_delay_change_nothing_but_speed() -> Result<()> {
    scenario(Duration::from_secs(120), async {
        let cluster = Plan::new(&["a", "b", "c"]).proxied().start().await?;
        let [x, y, z] = three_members(&cluster).await?;
        cluster.network()?.set_all(Path { loss: 0.05, delay: Duration::from_millis(5), cut: false });
        let streams = keep_sending([&x, &y, &z], 2000);
        for member in [&x, &y, &z] {
            member.until_more(2000).await?;
        }
        stop_sending(streams).await?;
        verdict("g", &[&x, &y, &z], &[], &["order", "fifo", "self_delivery", "safe"]).await?;
        cluster.finish().await
    })
}

#[test]
fn without_a_majority_ordered_messages_are_refused_if_so_configured() -> Result<()> {
    scenario(Duration::from_secs(90), async {
        let plan = Plan::new(&["a", "b", "c"]).proxied().set("membership", "require_primary", true);
        let cluster = plan.start().await?;
        let member = Recorder::connect(&cluster.address("a"), "watch").await?;
        member.join("g").await?;
        let connection = stentor_client::Connection::connect(&cluster.address("a")).await?;
        let (sender, mut receiver) = connection.split();
        let y = cluster.connect("b", "y").await?;
        y.join("g").await?;
        member.until_members("g", &[&member, &y]).await?;
        cluster.network()?.split(&[&["a"], &["b", "c"]]);
        cluster.until_view(&["b", "c"]).await?;
        member.until_members("g", &[&member]).await?;

        let ordinal = sender.multicast(&["g"], Service::Agreed, "to nobody").await?;
        let event = tokio::time::timeout(PATIENCE, receiver.recv()).await?;
        match event?.context("closed")? {
            Event::Rejected { ordinal: which, text, .. } => {
                ensure!(which == ordinal && text.contains("majority"), "{which}: {text}");
            }
            other => anyhow::bail!("{other:?}"),
        }
        y.send(&["g"], Service::Agreed, 10).await?;
        y.until_more(1).await?;
        cluster.network()?.heal();
        member.until_members("g", &[&member, &y]).await?;
        verdict("g", &[&member, &y], &[], &["order"]).await?;
        cluster.finish().await
    })
}
