//! Spread programs and Stentor's own in the same groups.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use stentor_client::{Address, Connection, Event, Message, Receiver, SendOptions, Sender, Service};
use stentor_membership::Cause;
use stentor_tests::cluster::Plan;
use stentor_tests::scenario::scenario;
use stentor_tests::spread::client::Client;
use stentor_tests::spread::doors::Doors;
use stentor_tests::spread::frame::{Order, kind};
use stentor_tests::wait::{PATIENCE, until};

const LIMIT: Duration = Duration::from_secs(90);

/// One of Stentor's own programs.
struct Native {
    sender: Sender,
    receiver: Receiver,
}

impl Native {
    async fn connect(address: &Address, name: &str) -> Result<Self> {
        let connection = Connection::builder().name(name)?.connect(address).await?;
        let (sender, receiver) = connection.split();
        Ok(Self { sender, receiver })
    }

    /// Joins; the event of it comes like others.
    async fn join(&mut self, group: &str) -> Result<()> {
        self.sender.join(group)?.await?;
        let event = self.next().await?;
        ensure!(matches!(event, Event::Membership(_)), "{event:?}");
        Ok(())
    }

    async fn next(&mut self) -> Result<Event> {
        let event = tokio::time::timeout(PATIENCE, self.receiver.recv()).await.context("nothing comes")??;
        event.context("closed")
    }

    async fn message(&mut self) -> Result<Message> {
        match self.next().await? {
            Event::Message(message) => Ok(message),
            other => bail!("{other:?}"),
        }
    }
}

#[test]
fn both_see_the_same_messages_and_members() -> Result<()> {
    scenario(LIMIT, async {
        let doors = Doors::start(&["d1", "d2"]).await?;
        let mut alice = doors.client("d1", "alice").await?;
        let mut native = Native::connect(&doors.address("d2"), "native").await?;
        alice.join("room").await?;
        native.join("room").await?;
        let (members, view) = alice.view(kind::BY_JOIN, "room").await?;
        ensure!(members == ["#alice#d1", "#native#d2"] && view.sets == [["#native#d2"]], "{view:?}");

        // From Spread: the mark is the tag; levels may be raised, never lowered.
        for (level, least) in [
            (kind::UNRELIABLE, Service::Reliable),
            (kind::RELIABLE, Service::Reliable),
            (kind::FIFO, Service::Agreed),
            (kind::CAUSAL, Service::Causal),
            (kind::AGREED, Service::Agreed),
            (kind::SAFE, Service::Safe),
        ] {
            for order in Order::BOTH {
                alice.order = order;
                let request = alice.request(level, &["room", "#bogus"], b"hello").mark(0xfedc);
                alice.send(&request).await?;
                let message = native.message().await?;
                ensure!(message.service() == least && message.tag() == 0xfedc, "{message:?}");
                ensure!(
                    message.sender().to_string() == "#alice#d1" && message.payload() == "hello",
                    "{message:?}"
                );
                ensure!(message.groups().eq(["room"]), "{message:?}");
                alice.next().await?;
            }
        }
        // To Spread: every level has its word.
        for (service, level) in Service::ALL.into_iter().zip([
            kind::UNRELIABLE,
            kind::RELIABLE,
            kind::FIFO,
            kind::CAUSAL,
            kind::AGREED,
            kind::SAFE,
        ]) {
            let options = SendOptions::new(service).tag(0xfedc);
            native.sender.multicast(&["room", "nobody"], options, "hello").await?;
            let message = alice.next().await?;
            ensure!(message.word == level && message.hint == [0x80, 0xdc, 0xfe, 0x80], "{message:?}");
            ensure!(message.name == "#native#d2" && message.names == ["room", "nobody"], "{message:?}");
            ensure!(message.body == b"hello", "{message:?}");
            native.message().await?;
        }
        // In private, both ways.
        alice.multicast(kind::AGREED, &["#native#d2"], b"ping").await?;
        ensure!(native.message().await?.payload() == "ping");
        native.sender.multicast(&["#alice#d1"], Service::Agreed, "pong").await?;
        ensure!(alice.payload().await? == b"pong");

        alice.ask_leave("room").await?;
        alice.next().await?;
        match native.next().await? {
            Event::Membership(view) if view.cause == Cause::Leave("#alice#d1".parse()?) => {}
            other => bail!("{other:?}"),
        }
        doors.finish().await
    })
}

#[test]
fn names_that_spread_cannot_express_have_others_that_work() -> Result<()> {
    scenario(LIMIT, async {
        let doors = Doors::start(&["d1", "d2"]).await?;
        let long_group = "a-group-with-a-name-of-more-than-31-characters";
        let long_name = "a-session-with-quite-a-long-name";
        let mut alice = doors.client("d1", "alice").await?;
        let mut native = Native::connect(&doors.address("d2"), long_name).await?;
        alice.join("room").await?;
        native.join(long_group).await?;
        native.join("room").await?;
        let (members, view) = alice.view(kind::BY_JOIN, "room").await?;
        let told = members.last().context("nobody")?.clone();
        ensure!(told.len() <= 31 && told.starts_with("#a-s!") && told.ends_with("#d2"), "{told}");
        ensure!(view.sets == [[told.clone()]], "{view:?}");
        native.sender.multicast(&[long_group, "room", "#alice#d1"], Service::Agreed, "hello").await?;
        let message = alice.next().await?;
        ensure!(message.name == told && message.names[1..] == ["room", "#alice#d1"], "{message:?}");
        let group = message.names[0].clone();
        ensure!(group.len() == 31 && group.starts_with("a-group-with-a-name-!"), "{group}");
        native.message().await?;
        // What it was told, it can answer to; and so can others at the same daemon.
        let mut bob = doors.client("d1", "bob").await?;
        let mut sent = Vec::new();
        for client in [&mut alice, &mut bob] {
            client.multicast(kind::AGREED, &[&told], b"to the session").await?;
            let message = native.message().await?;
            ensure!(message.payload() == "to the session", "{message:?}");
            let request = client.request(kind::AGREED, &[&group, "room"], b"to the groups");
            client.send(&request).await?;
            let message = native.message().await?;
            ensure!(message.groups().eq([long_group, "room"]), "{message:?}");
            sent.push(request.bytes());
        }
        for request in sent {
            let message = alice.next().await?;
            ensure!(message.raw == request, "{message:?}");
        }
        doors.finish().await
    })
}

#[test]
fn messages_that_spread_does_not_take_are_counted_and_break_nothing() -> Result<()> {
    scenario(LIMIT, async {
        let doors = Doors::start(&["d1", "d2"]).await?;
        let mut alice = doors.client("d1", "alice").await?;
        let mut native = Native::connect(&doors.address("d2"), "native").await?;
        alice.join("room").await?;
        native.join("room").await?;
        alice.view(kind::BY_JOIN, "room").await?;
        for size in [144_000 - 32, 144_001 - 32, 1 << 20] {
            native.sender.multicast(&["room"], Service::Agreed, vec![7; size]).await?;
            ensure!(native.message().await?.payload().len() == size);
        }
        native.sender.multicast(&["room"], Service::Agreed, "after").await?;
        ensure!(alice.payload().await?.len() == 144_000 - 32);
        ensure!(alice.payload().await? == b"after");
        let dropped = doors.counter("d1", "spread_too_large").await?;
        ensure!(dropped == 2, "{dropped}");
        doors.finish().await
    })
}

#[test]
fn spread_sessions_are_reported_like_others() -> Result<()> {
    scenario(LIMIT, async {
        let doors = Doors::start(&["d1"]).await?;
        let opened = doors.counter("d1", "sessions_opened").await?;
        let mut alice = doors.client("d1", "alice").await?;
        let quiet = Client::connect(&doors.tcp("d1")?, "quiet", false).await?;
        alice.join("x").await?;
        alice.join("y").await?;
        let status = doors.status("d1").await?;
        let session = status.sessions.iter().find(|session| session.name.as_str() == "alice");
        ensure!(session.context("not listed")?.groups == 2, "{:?}", status.sessions);
        ensure!(status.sessions.iter().any(|session| session.name.as_str() == "quiet"));
        ensure!(status.groups == 2);
        // Two sessions of Spread, and those of the questions.
        ensure!(doors.counter("d1", "sessions_opened").await? >= opened + 3);
        quiet.kill().await?;
        alice.ask_leave("x").await?;
        alice.next().await?;
        until(PATIENCE, "the report has followed", async || {
            let status = doors.status("d1").await?;
            let alice = status.sessions.iter().find(|session| session.name.as_str() == "alice");
            ensure!(alice.context("gone")?.groups == 1);
            ensure!(status.sessions.iter().all(|session| session.name.as_str() != "quiet"));
            Ok(())
        })
        .await?;
        // Names are one space for both.
        let taken = Connection::builder().name("alice")?.connect(&doors.address("d1")).await;
        ensure!(taken.is_err(), "the name was given twice");
        doors.finish().await
    })
}

#[test]
fn what_the_daemon_refuses_comes_back_as_a_reject() -> Result<()> {
    scenario(LIMIT, async {
        let plan = Plan::new(&["d1", "d2", "d3"]).set("membership", "require_primary", true);
        let mut doors = Doors::start_with(&plan, &["d1", "d2", "d3"], "").await?;
        let mut alice = doors.client("d1", "alice").await?;
        alice.join("room").await?;
        doors.kill("d2")?;
        doors.kill("d3")?;
        until(PATIENCE, "the daemon is alone", async || {
            ensure!(doors.status("d1").await?.members.len() == 1);
            Ok(())
        })
        .await?;
        for order in Order::BOTH {
            alice.order = order;
            let request = alice.request(kind::SAFE, &["room", "other"], b"refused").mark(7);
            alice.send(&request).await?;
            let reject = alice.next().await?;
            ensure!(reject.word == kind::REJECT && reject.old_word == Some(kind::SAFE), "{reject:?}");
            ensure!(
                reject.names == ["room", "other", "#alice#d1"] && reject.name == "#alice#d1",
                "{reject:?}"
            );
            ensure!(reject.body == b"refused" && reject.hint == request.hint, "{reject:?}");
            let hundred = alice.request(kind::AGREED, &["room"; 100], b"refused");
            alice.send(&hundred).await?;
            let reject = alice.next().await?;
            ensure!(reject.names.len() == 100 && reject.names[99] == "#alice#d1", "{reject:?}");
            // Whoever wants no copy gets none back either; what has no order is not refused.
            alice.multicast(kind::AGREED | kind::SELF_DISCARD, &["room"], b"refused").await?;
            alice.multicast(kind::RELIABLE, &["room"], b"served").await?;
            ensure!(alice.payload().await? == b"served");
        }
        ensure!(doors.counter("d1", "multicasts_rejected").await? == 6);
        doors.finish().await
    })
}
