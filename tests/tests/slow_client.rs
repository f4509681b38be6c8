//! Clients that do not read, and senders that send more than can be delivered: neither harms the others, nor fills memory.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use stentor_client::{
    Cause, Connection, Disconnected, Event, GoodbyeCode, Receiver, SendError, Sender, TrySendError,
};
use stentor_membership::Service;
use stentor_tests::cluster::{Cluster, Plan};
use stentor_tests::command::names_all;
use stentor_tests::log::{Log, What};
use stentor_tests::recorder::Recorder;
use stentor_tests::scenario::{say, scenario};
use stentor_tests::verdict::verdict;
use stentor_tests::wait::{PATIENCE, until};
use tokio::sync::watch;

const KIB: usize = 1 << 10;
const MIB: u64 = 1 << 20;

#[test]
fn a_client_that_does_not_read_is_cut_at_the_bound() -> Result<()> {
    scenario(Duration::from_secs(120), async {
        let plan = calm_plan().set("membership", "max_message", "256KiB");
        let cluster = plan.set("clients", "session_queue_out", "2MiB").start().await?;
        let (x, y) = (cluster.connect("a", "x").await?, cluster.connect("b", "y").await?);
        x.join("g").await?;
        y.join("g").await?;
        let (sender, mut idle) = member(&cluster, "b", "idle").await?;

        // What its library and the sockets take, and then the bound, is less than this.
        let load = x.stream("g", &[Service::Agreed], 64 * KIB, Duration::from_millis(5));
        until(PATIENCE, "the client is cut", async || {
            let cut = cluster.counter("b", "sessions_cut_slow").await?;
            ensure!(cut == 1, "{cut} are cut");
            Ok(())
        })
        .await?;
        // It reads on, and finds the reason behind what it was sent before.
        let reason = loop {
            match idle.recv().await {
                Ok(Some(_)) => {}
                Ok(None) => bail!("closed without a reason"),
                Err(reason) => break reason,
            }
        };
        let Disconnected::Goodbye { code: GoodbyeCode::TooSlow, text } = &reason else { bail!("{reason}") };
        names_all(text, &["2MiB", "session_queue_out"])?;
        let refused = sender.multicast(&["g"], Service::Agreed, "too late").await;
        ensure!(matches!(refused, Err(SendError::Disconnected(_))), "{refused:?}");
        names_all(&cluster.log("b"), &["#idle#b", "reads too slowly", "2MiB"])?;

        load.stop().await?;
        y.until_members("g", &[&x, &y]).await?;
        let gap = y.look(longest_gap);
        say(&format!("longest time without a message at the other client: {gap:?}"));
        ensure!(gap < Duration::from_secs(5), "the other client waited for {gap:?}");
        verdict("g", &[&x, &y], &[], &["order", "fifo", "self_delivery"]).await?;
        cluster.finish().await
    })
}

#[test]
fn what_a_cut_client_sends_is_not_accepted() -> Result<()> {
    const SIZE: usize = 10 * KIB;
    /// What the library and the sockets take, and the daemon has not processed when it cuts the client off.
    const UNDER_WAY: usize = 4 << 20;
    /// So far it sends ahead of the witness, who must not be cut off as well.
    const AHEAD: usize = 50;
    scenario(Duration::from_secs(120), async {
        let plan = calm_plan().set("membership", "max_message", "256KiB");
        let cluster = plan.set("clients", "session_queue_out", "2MiB").start().await?;
        let (witness_sender, mut witness) = member(&cluster, "b", "witness").await?;
        let (progress, mut witnessed) = watch::channel(0);
        let counting = tokio::spawn(async move {
            let mut messages = 0;
            loop {
                match witness.recv().await?.context("closed")? {
                    Event::Message(message) if message.sender().session.as_str() == "idle" => {
                        messages += 1;
                        progress.send_replace(messages);
                    }
                    Event::Membership(m) if matches!(m.cause, Cause::Disconnect(who) if who.session.as_str() == "idle") =>
                    {
                        return anyhow::Ok(messages);
                    }
                    _ => {}
                }
            }
        });
        // It sends to its own group, and receives nothing of it.
        let (sender, mut receiver) = member(&cluster, "a", "idle").await?;
        let (mut accepted, payload) = (0, vec![0; SIZE]);
        let refused = loop {
            // Fails once the witness has seen the end.
            let _ = witnessed.wait_for(|messages| messages + AHEAD > accepted).await;
            match sender.multicast(&["g"], Service::Agreed, &payload).await {
                Ok(_) => accepted += 1,
                Err(error) => break error,
            }
        };
        let delivered: usize = counting.await??;
        say(&format!("{accepted} messages accepted, {delivered} delivered"));
        ensure!(
            accepted >= delivered && (accepted - delivered) * SIZE < UNDER_WAY,
            "{accepted}, {delivered}"
        );
        // The daemon's words, if they fitted behind what it did not receive, else the library's.
        let said = refused.to_string();
        ensure!(said.contains("read faster") || said.contains("did not receive"), "{said}");
        // The receiver says the same behind the last event.
        let reason = loop {
            match receiver.recv().await {
                Ok(event) => ensure!(event.is_some(), "closed without a reason"),
                Err(reason) => break reason,
            }
        };
        ensure!(reason.to_string() == refused.to_string(), "{reason}; {refused}");
        drop(witness_sender);
        cluster.finish().await
    })
}

#[test]
fn a_client_that_does_not_read_does_not_slow_the_others() -> Result<()> {
    const MESSAGES: usize = 3000;
    scenario(Duration::from_secs(120), async {
        // The default bound is far away: it stays connected, stuck, all the time.
        let cluster = calm_plan().start().await?;
        let (x, y) = (cluster.connect("a", "x").await?, cluster.connect("b", "y").await?);
        y.join("g").await?;
        let without = rate(&x, &y, MESSAGES).await?;
        let (sender, stuck) = member(&cluster, "b", "stuck").await?;
        // Enough to fill its library and its socket.
        rate(&x, &y, MESSAGES).await?;
        let with = rate(&x, &y, MESSAGES).await?;
        say(&format!("{MESSAGES} messages of 1 KiB: {without:?} without, {with:?} with a stuck client"));
        ensure!(with < without * 4 + Duration::from_secs(1), "{without:?} became {with:?}");
        let waiting = cluster.status("b").await?.sessions;
        let stuck_bytes = waiting.iter().find(|s| s.name.as_str() == "stuck").context("it is gone")?;
        ensure!(stuck_bytes.queued_bytes > 0, "it is not stuck: {stuck_bytes:?}");
        drop((sender, stuck));
        verdict("g", &[&y], &[&x], &["fifo"]).await?;
        cluster.finish().await
    })
}

#[test]
fn senders_wait_when_a_daemon_does_not_keep_up() -> Result<()> {
    scenario(Duration::from_secs(120), async {
        let mut cluster = calm_plan().start().await?;
        let z = cluster.connect("c", "z").await?;
        z.join("g").await?;
        let mut sessions = Vec::new();
        for number in 0..10 {
            sessions.push(cluster.connect("a", &format!("x{number}")).await?);
        }
        let trier = Connection::connect(&cluster.address("a")).await?.sender;
        let before = cluster.daemon("a")?.resident()?;
        cluster.daemon("c")?.pause().await?;

        // All push until nothing moves: what one of them accepts then stays the same.
        let streams: Vec<_> = sessions
            .iter()
            .map(|x| x.stream("g", &[Service::Agreed], 32 * KIB, Duration::from_millis(1)))
            .collect();
        let offered = until_full(&trier).await?;
        let stuck = until_stuck(&sessions).await?;
        let grown = cluster.daemon("a")?.resident()?.saturating_sub(before);
        say(&format!("{} messages of 32 KiB accepted, {} KiB more memory", stuck + offered, grown / 1024));
        // The window, and for each session its queue, a batch and its library's buffer.
        ensure!(grown < 64 * MIB, "the daemon grew by {grown} bytes");
        ensure!(stuck + offered < 2048, "{stuck} messages were accepted while nothing could be delivered");

        cluster.daemon("c")?.resume()?;
        for stream in streams {
            stream.stop().await?;
        }
        // What was accepted arrives.
        let crashed: Vec<_> = sessions.iter().collect();
        for session in &sessions {
            let last = session.send(&["g"], Service::Agreed, 0).await?;
            z.until_got(last).await?;
            let (sent, refused) = session.look(|log| (log.sent().count(), log.refused.len()));
            let run = session.look(|log| log.run);
            let got = z.look(|log| log.received().filter(|m| m.id.run == run).count());
            ensure!(refused == 0 && got == sent, "{sent} sent, {refused} refused, {got} received");
        }
        verdict("g", &[&z], &crashed, &["fifo"]).await?;
        cluster.finish().await
    })
}

#[test]
fn memory_stays_bounded_under_overload() -> Result<()> {
    const SENDERS: usize = 4;
    const EACH: usize = 4000;
    /// Every so many messages go to the readers; all of them together must fit what may wait for a reader.
    const SHARE: usize = 20;
    const LIMIT: u64 = 200 * MIB;
    scenario(Duration::from_secs(180), async {
        let mut cluster = calm_plan().start().await?;
        let mut readers = Vec::new();
        for (daemon, name) in [("a", "reader-a"), ("b", "reader-b"), ("c", "reader-c")] {
            let (sender, receiver) = member(&cluster, daemon, name).await?;
            readers.push((sender, tokio::spawn(count(receiver, SENDERS * 3 * EACH / SHARE))));
        }
        // As fast as they can, on all daemons at once.
        let mut senders = Vec::new();
        for daemon in ["a", "b", "c"] {
            for _ in 0..SENDERS {
                let connection = Connection::connect(&cluster.address(daemon)).await?;
                senders.push(tokio::spawn(flood(connection.sender, EACH, SHARE)));
            }
        }
        let begin = Instant::now();
        for sender in senders {
            tokio::time::timeout(Duration::from_secs(100), sender).await.context("senders hang")???;
        }
        for (_sender, reader) in readers {
            tokio::time::timeout(Duration::from_secs(60), reader)
                .await
                .context("messages are missing")???;
        }
        for daemon in ["a", "b", "c"] {
            let peak = cluster.daemon(daemon)?.peak()?;
            say(&format!("{daemon} held {} MiB at most, in {:?}", peak / MIB, begin.elapsed()));
            ensure!(peak < LIMIT, "{daemon} grew to {peak} bytes");
        }
        cluster.finish().await
    })
}

/// Daemons that a starved machine does not part: this is about clients.
fn calm_plan() -> Plan {
    let plan = Plan::new(&["a", "b", "c"]).set("membership", "suspect_after_min", "1min");
    plan.set("membership", "suspect_after_max", "1min")
}

/// A plain session that has joined `g`.
async fn member(cluster: &Cluster, daemon: &str, name: &str) -> Result<(Sender, Receiver)> {
    let connection = Connection::builder().name(name)?.connect(&cluster.address(daemon)).await?;
    let (sender, receiver) = connection.split();
    sender.join("g")?.await?;
    Ok((sender, receiver))
}

/// The time until `y` has got some messages of `x`.
async fn rate(x: &Recorder, y: &Recorder, messages: usize) -> Result<Duration> {
    let begin = Instant::now();
    let mut last = None;
    for _ in 0..messages {
        last = Some(x.send(&["g"], Service::Agreed, KIB).await?);
    }
    y.until_got(last.context("no messages")?).await?;
    Ok(begin.elapsed())
}

/// The longest time that passed between two messages.
fn longest_gap(log: &Log) -> Duration {
    let times: Vec<_> =
        log.entries.iter().filter(|e| matches!(e.what, What::Message(_))).map(|e| e.at).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// Offers messages until the library says no, again and again; gives how many it took.
async fn until_full(sender: &Sender) -> Result<usize> {
    let (mut taken, payload) = (0, vec![0; 32 * KIB]);
    let mut offer = || sender.try_multicast(&["nobody"], Service::Agreed, &payload).inspect(|_| taken += 1);
    until(PATIENCE, "the library says that there is no room", async || {
        loop {
            match offer() {
                Ok(_) => {}
                Err(TrySendError::Full) => break,
                Err(error) => return Err(error.into()),
            }
        }
        // It stays so once the daemon takes nothing any more.
        tokio::time::sleep(Duration::from_millis(200)).await;
        ensure!(matches!(offer(), Err(TrySendError::Full)), "there was room again");
        Ok(())
    })
    .await?;
    Ok(taken)
}

/// Waits until no session has anything accepted any more; gives how much they all have sent.
async fn until_stuck(sessions: &[Recorder]) -> Result<usize> {
    let sent = || sessions.iter().map(|session| session.look(|log| log.sent().count())).sum::<usize>();
    until(PATIENCE, "all senders wait", async || {
        let before = sent();
        tokio::time::sleep(Duration::from_millis(500)).await;
        ensure!(sent() == before, "from {before} to {} messages", sent());
        Ok(())
    })
    .await?;
    Ok(sent())
}

async fn flood(sender: Sender, messages: usize, share: usize) -> Result<()> {
    let payload = vec![7; 8 * KIB];
    for number in 0..messages {
        let group = if number % share == 0 { "g" } else { "nobody" };
        sender.multicast(&[group], Service::Agreed, &payload).await?;
    }
    Ok(sender.close().await?)
}

async fn count(mut receiver: Receiver, messages: usize) -> Result<()> {
    let mut left = messages;
    while left > 0 {
        let event = receiver.recv().await?.with_context(|| format!("closed, {left} messages early"))?;
        left -= usize::from(matches!(event, Event::Message(_)));
    }
    Ok(())
}
