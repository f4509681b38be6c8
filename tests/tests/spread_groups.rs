//! What Spread programs are told of their groups, and in which order.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stentor_tests::cluster::Plan;
use stentor_tests::scenario::scenario;
use stentor_tests::spread::client::Client;
use stentor_tests::spread::doors::Doors;
use stentor_tests::spread::frame::kind;
use stentor_tests::spread::membership::{View, group_id};
use stentor_tests::wait::{PATIENCE, until};

const LIMIT: Duration = Duration::from_secs(120);

const DAEMONS: [&str; 3] = ["d1", "d2", "d3"];

/// Joins one after the other; all have seen all joins then.
async fn join_all(clients: &mut [&mut Client], group: &str) -> Result<()> {
    for number in 0..clients.len() {
        clients[number].join(group).await?;
        for earlier in &mut clients[..number] {
            earlier.view(kind::BY_JOIN, group).await?;
        }
    }
    Ok(())
}

#[test]
fn members_are_sorted_by_daemon_and_name_and_all_see_the_same() -> Result<()> {
    scenario(LIMIT, async {
        let doors = Doors::start(&DAEMONS).await?;
        let sorted = ["#a#d1", "#a0#d1", "#b#d1", "#c#d2", "#a#d3", "#b#d3"];
        let mut clients = Vec::new();
        let mut members: Vec<String> = Vec::new();
        let mut first = None;
        for at in [4, 2, 5, 0, 3, 1] {
            let (name, daemon) = sorted[at][1..].split_once('#').context("no name")?;
            let mut client = doors.client(daemon, name).await?;
            members.push(sorted[at].to_owned());
            members.sort_by_key(|name| sorted.iter().position(|other| other == name));
            client.ask_join("room").await?;
            clients.push(client);
            let mut ids = Vec::new();
            for client in &mut clients {
                let (are, view) = client.view(kind::BY_JOIN, "room").await?;
                ensure!(are == members, "{are:?} instead of {members:?}");
                ensure!(view.sets == [[sorted[at]]] && view.own == 0, "{view:?}");
                ensure!(view.index()? == members.len(), "{view:?}");
                ids.push(view.id);
            }
            ensure!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
            let view_of_daemons = *first.get_or_insert(ids[0]);
            ensure!(ids[0][..8] == view_of_daemons[..8], "{ids:?}");
        }
        // One leaves, one disconnects.
        let (mut leaver, gone) = (clients.remove(0), clients.remove(0));
        leaver.ask_leave("room").await?;
        let own = leaver.next().await?;
        ensure!(own.word == kind::SELF_LEAVE && own.name == "room", "{own:?}");
        ensure!(own.names.is_empty() && own.body.is_empty() && own.hint == [0x80, 0, 0, 0x80], "{own:?}");
        for client in &mut clients {
            let (are, view) = client.view(kind::BY_LEAVE, "room").await?;
            ensure!(are.len() == 5 && view.sets == [[leaver.name.as_str()]], "{are:?} {view:?}");
        }
        let mut gone = gone;
        gone.view(kind::BY_LEAVE, "room").await?;
        let name = gone.name.clone();
        gone.kill().await?;
        for client in &mut clients {
            let (are, view) = client.view(kind::BY_DISCONNECT, "room").await?;
            ensure!(
                are.len() == 4 && view.sets == [[name.as_str()]] && view.index()? == 8,
                "{are:?} {view:?}"
            );
        }
        leaver.hears_nothing().await?;
        doors.finish().await
    })
}

#[test]
fn a_group_begins_anew_after_its_last_member() -> Result<()> {
    scenario(LIMIT, async {
        let doors = Doors::start(&DAEMONS[..1]).await?;
        let mut alice = doors.client("d1", "alice").await?;
        for _ in 0..3 {
            alice.ask_join("room").await?;
            let (members, view) = alice.view(kind::BY_JOIN, "room").await?;
            ensure!(members == ["#alice#d1"] && view.index()? == 1, "{members:?} {view:?}");
            alice.ask_leave("room").await?;
            ensure!(alice.next().await?.word == kind::SELF_LEAVE);
        }
        // One message for each group of a session that goes.
        let mut bob = doors.client("d1", "bob").await?;
        for group in ["x", "y", "z"] {
            join_all(&mut [&mut alice, &mut bob], group).await?;
        }
        bob.kill().await?;
        for group in ["x", "y", "z"] {
            alice.view(kind::BY_DISCONNECT, group).await?;
        }
        alice.hears_nothing().await?;
        doors.finish().await
    })
}

#[test]
fn sessions_without_memberships_are_members_and_hear_messages_alone() -> Result<()> {
    scenario(LIMIT, async {
        let mut doors = Doors::start(&DAEMONS[..2]).await?;
        let mut quiet = Client::connect(&doors.unix("d1"), "quiet", false).await?;
        quiet.ask_join("room").await?;
        quiet.hears_nothing().await?;
        let mut alice = doors.client("d1", "alice").await?;
        ensure!(alice.join("room").await? == ["#alice#d1", "#quiet#d1"]);
        let mut bob = doors.client("d2", "bob").await?;
        bob.join("room").await?;
        alice.view(kind::BY_JOIN, "room").await?;
        alice.ask_leave("room").await?;
        alice.next().await?;
        doors.kill("d2")?;
        until(PATIENCE, "the daemon is alone", async || {
            ensure!(doors.status("d1").await?.members.len() == 1);
            Ok(())
        })
        .await?;
        alice.multicast(kind::AGREED, &["room"], b"for the quiet").await?;
        ensure!(quiet.payload().await? == b"for the quiet");
        quiet.ask_leave("room").await?;
        quiet.hears_nothing().await?;
        doors.finish().await
    })
}

#[test]
fn a_partition_is_signalled_and_a_merge_shows_who_came_together() -> Result<()> {
    scenario(LIMIT, async {
        let plan = Plan::new(&DAEMONS).proxied();
        let doors = Doors::start_with(&plan, &DAEMONS, "").await?;
        let mut alice = doors.client("d1", "alice").await?;
        let mut adam = doors.client("d1", "adam").await?;
        let mut bob = doors.client("d2", "bob").await?;
        let mut carol = doors.client("d3", "carol").await?;
        join_all(&mut [&mut alice, &mut adam, &mut bob, &mut carol], "room").await?;
        // A group that the partition does not touch.
        join_all(&mut [&mut alice, &mut bob], "calm").await?;
        alice.ask_leave("calm").await?;
        alice.next().await?;
        let calm = bob.view(kind::BY_LEAVE, "calm").await?.1.id;
        alice.ask_join("calm").await?;
        let again = alice.view(kind::BY_JOIN, "calm").await?.1;
        bob.view(kind::BY_JOIN, "calm").await?;
        ensure!(again.id[..8] == calm[..8] && again.index()? == 4, "{again:?} after {calm:?}");

        let old = {
            bob.ask_join("probe").await?;
            let probe = bob.view(kind::BY_JOIN, "probe").await?.1;
            bob.ask_leave("probe").await?;
            bob.next().await?;
            let mut id = probe.id;
            id[8..].copy_from_slice(&4_u32.to_le_bytes());
            id
        };
        doors.network()?.split(&[&["d1", "d2"], &["d3"]]);
        let mut ids = Vec::new();
        for (client, survivors) in [
            (&mut alice, &["#adam#d1", "#alice#d1", "#bob#d2"][..]),
            (&mut adam, &["#adam#d1", "#alice#d1", "#bob#d2"]),
            (&mut bob, &["#adam#d1", "#alice#d1", "#bob#d2"]),
            (&mut carol, &["#carol#d3"]),
        ] {
            let signal = client.next().await?;
            ensure!(signal.word == kind::TRANSITIONAL && signal.name == "room", "{signal:?}");
            ensure!(signal.names.is_empty() && signal.body == old, "{signal:?}, not of {old:?}");
            ensure!(signal.hint == [0x80, 0, 0, 0x80], "{signal:?}");
            let (members, view) = client.view(kind::BY_NETWORK, "room").await?;
            ensure!(
                members == survivors && view.sets == [survivors] && view.own == 0,
                "{members:?} {view:?}"
            );
            ensure!(view.index()? == 1 && view.id[..8] != old[..8], "{view:?}");
            ids.push(view.id);
        }
        ensure!(ids[0] == ids[1] && ids[0] == ids[2] && ids[0] != ids[3], "{ids:?}");

        // The parts go on by themselves, and meet again.
        let mut dave = doors.client("d3", "dave").await?;
        dave.join("room").await?;
        carol.view(kind::BY_JOIN, "room").await?;
        bob.multicast(kind::SAFE, &["room"], b"in one part").await?;
        for client in [&mut alice, &mut adam, &mut bob] {
            ensure!(client.payload().await? == b"in one part");
        }
        doors.network()?.heal();
        let all = ["#adam#d1", "#alice#d1", "#bob#d2", "#carol#d3", "#dave#d3"];
        let (one, other) = (&all[..3], &all[3..]);
        let mut merged: Vec<(View, Vec<u8>)> = Vec::new();
        for (client, own) in
            [(&mut alice, one), (&mut adam, one), (&mut bob, one), (&mut carol, other), (&mut dave, other)]
        {
            let message = client.next().await?;
            ensure!(message.word == kind::BY_NETWORK && message.names == all, "{message:?}");
            let view = View::of(&message)?;
            ensure!(view.sets.len() == 2 && view.sets[view.own] == own, "{view:?}");
            ensure!(view.sets.contains(&one.iter().map(|m| (*m).to_owned()).collect()), "{view:?}");
            // But for the place of their own set, all get the same.
            let mut same = message.raw.clone();
            let offset = same.len() - message.body.len() + 16;
            same[offset..offset + 4].fill(0);
            merged.push((view, same));
        }
        ensure!(merged.iter().all(|(_, same)| *same == merged[0].1), "{merged:?}");
        ensure!(merged[0].0.own != merged[4].0.own && merged[0].0.index()? == 1, "{merged:?}");

        // The calm group was told nothing, and kept its view; what happens next in it is the same for both.
        alice.ask_leave("calm").await?;
        ensure!(alice.next().await?.word == kind::SELF_LEAVE);
        let (members, view) = bob.view(kind::BY_LEAVE, "calm").await?;
        ensure!(members == ["#bob#d2"] && view.id != again.id, "{members:?} {view:?}");
        for client in [&mut alice, &mut adam, &mut bob, &mut carol, &mut dave] {
            client.hears_nothing().await?;
        }
        doors.finish().await
    })
}

#[test]
fn a_signal_names_the_view_that_a_group_kept_through_other_changes() -> Result<()> {
    scenario(LIMIT, async {
        let plan = Plan::new(&DAEMONS).proxied();
        let doors = Doors::start_with(&plan, &DAEMONS, "").await?;
        let mut alice = doors.client("d1", "alice").await?;
        let mut bob = doors.client("d2", "bob").await?;
        join_all(&mut [&mut alice, &mut bob], "room").await?;
        alice.ask_join("other").await?;
        alice.view(kind::BY_JOIN, "other").await?;
        let kept = {
            bob.ask_join("other").await?;
            bob.view(kind::BY_JOIN, "other").await?;
            alice.view(kind::BY_JOIN, "other").await?.1.id
        };
        doors.network()?.split(&[&["d1", "d2"], &["d3"]]);
        doors.until_view(&DAEMONS[..2]).await?;
        doors.network()?.heal();
        doors.until_view(&DAEMONS).await?;
        alice.hears_nothing().await?;
        doors.network()?.split(&[&["d1"], &["d2", "d3"]]);
        for client in [&mut alice, &mut bob] {
            let mut signalled = Vec::new();
            for _ in 0..2 {
                let signal = client.next().await?;
                ensure!(signal.word == kind::TRANSITIONAL, "{signal:?}");
                signalled.push((signal.name, group_id(&signal.body)?));
            }
            ensure!(
                signalled.iter().any(|(name, id)| name == "other" && *id == kept),
                "{signalled:?} {kept:?}"
            );
            for _ in 0..2 {
                ensure!(client.next().await?.word == kind::BY_NETWORK);
            }
        }
        doors.finish().await
    })
}

#[test]
fn one_order_for_all_groups_with_joins_and_leaves_in_it() -> Result<()> {
    const ROUNDS: usize = 200;
    scenario(LIMIT, async {
        let doors = Doors::start(&DAEMONS).await?;
        let mut watchers = Vec::new();
        for daemon in DAEMONS {
            watchers.push(doors.client(daemon, "watcher").await?);
        }
        let [one, two, three] = &mut watchers[..] else { unreachable!() };
        for group in ["x", "y"] {
            join_all(&mut [one, two, three], group).await?;
        }
        let mut senders = Vec::new();
        for daemon in DAEMONS {
            let mut sender = doors.client(daemon, "sender").await?;
            senders.push(tokio::spawn(async move {
                let levels = [kind::AGREED, kind::SAFE, kind::CAUSAL, kind::FIFO];
                for round in 0..ROUNDS {
                    let level = levels[round % levels.len()];
                    let groups: &[&str] = [&["x"][..], &["y"], &["x", "y"]][round % 3];
                    sender.multicast(level, groups, round.to_string().as_bytes()).await?;
                    if round % 50 == 25 {
                        sender.ask_join("x").await?;
                    } else if round % 50 == 49 {
                        sender.ask_leave("x").await?;
                    }
                }
                // It is told of itself: reads it, so that it is not cut off.
                let own = sender.name.clone();
                sender.multicast(kind::AGREED, &[&own], b"end").await?;
                while sender.next().await?.body != b"end" {}
                anyhow::Ok(sender)
            }));
        }
        let mut kept = Vec::new();
        for sender in senders {
            kept.push(sender.await??);
        }
        let mut seen = Vec::new();
        for watcher in &mut watchers {
            let own = watcher.name.clone();
            // Behind everything, as all of it is ordered already.
            watcher.multicast(kind::SAFE, &[&own], b"end").await?;
            let mut all = Vec::new();
            loop {
                let message = watcher.next().await?;
                if message.body == b"end" {
                    break;
                }
                all.push(message.raw);
            }
            ensure!(all.len() == 3 * (ROUNDS + 2 * ROUNDS / 50), "{} messages", all.len());
            seen.push(all);
        }
        ensure!(seen[0] == seen[1] && seen[0] == seen[2], "the watchers disagree");
        drop(kept);
        doors.finish().await
    })
}
