//! What kills or confuses Spread's own daemon ends one client's session here, and everybody else is served on.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::rngs::ChaCha12Rng;
use rand::{Rng, RngExt, SeedableRng};
use stentor_tests::cluster::Plan;
use stentor_tests::scenario::{say, scenario};
use stentor_tests::spread::client::{Client, OFFER, choice, hello};
use stentor_tests::spread::doors::Doors;
use stentor_tests::spread::frame::kind;
use stentor_tests::wait::PATIENCE;

const LIMIT: Duration = Duration::from_secs(120);

/// Programs at both daemons that must not notice anything.
struct Others {
    doors: Doors,
    x: Client,
    y: Client,
}

impl Others {
    async fn start(plan: Plan) -> Result<Self> {
        let doors = Doors::start_with(&plan, &["d1", "d2"], "").await?;
        let mut x = doors.client("d1", "x").await?;
        let mut y = doors.client("d2", "y").await?;
        x.join("others").await?;
        y.join("others").await?;
        x.view(kind::BY_JOIN, "others").await?;
        Ok(Self { doors, x, y })
    }

    async fn are_served(&mut self) -> Result<()> {
        for level in [kind::SAFE, kind::AGREED] {
            self.x.multicast(level, &["others"], b"still here").await?;
            for client in [&mut self.x, &mut self.y] {
                ensure!(client.payload().await? == b"still here");
            }
        }
        Ok(())
    }

    /// Checks that the daemon ends a session, and that nobody else notices.
    async fn end_of(&mut self, client: Client) -> Result<()> {
        client.ended().await?;
        self.are_served().await
    }

    async fn bad(&self) -> Result<Client> {
        self.doors.client("d1", "bad").await
    }

    async fn finish(mut self) -> Result<()> {
        self.are_served().await?;
        self.doors.finish().await
    }
}

fn plan() -> Plan {
    Plan::new(&["d1", "d2"]).set("membership", "suspect_after_min", "1min").set(
        "membership",
        "suspect_after_max",
        "1min",
    )
}

#[test]
fn joins_without_end_end_one_session() -> Result<()> {
    scenario(LIMIT, async {
        let mut others = Others::start(plan().set("clients", "max_groups", 3)).await?;
        let mut bad = others.bad().await?;
        for name in ["g1", "g2", "g3"] {
            bad.join(name).await?;
        }
        bad.ask_join("g4").await?;
        others.end_of(bad).await?;
        others.finish().await
    })
}

#[test]
fn the_word_that_kills_every_daemon_ends_one_session() -> Result<()> {
    scenario(LIMIT, async {
        let mut others = Others::start(plan()).await?;
        for level in [kind::AGREED, kind::SAFE, kind::RELIABLE, kind::FIFO] {
            let mut bad = others.bad().await?;
            bad.multicast(level | 0x8_0000, &["others"], b"exchange of groups").await?;
            others.end_of(bad).await?;
        }
        others.finish().await
    })
}

#[test]
fn a_forged_reject_ends_the_session_of_its_sender() -> Result<()> {
    scenario(LIMIT, async {
        let mut others = Others::start(plan()).await?;
        let mut bad = others.bad().await?;
        bad.multicast(kind::AGREED | kind::REJECT, &["others", "#bad#d1"], b"forged").await?;
        others.end_of(bad).await?;
        others.finish().await
    })
}

#[test]
fn the_sizes_that_abort_the_original_are_served_and_larger_ones_end_the_session() -> Result<()> {
    scenario(LIMIT, async {
        let mut others = Others::start(plan()).await?;
        for whole in [143_152, 143_153, 143_500, 143_952, 144_000] {
            let payload = vec![7; whole - 32];
            others.x.multicast(kind::AGREED, &["others"], &payload).await?;
            for client in [&mut others.x, &mut others.y] {
                ensure!(client.payload().await? == payload);
            }
        }
        for whole in [144_001, 200_000, 1 << 30] {
            let mut bad = others.bad().await?;
            let mut request = bad.request(kind::AGREED, &["others"], &[0; 100]);
            request.length = whole - 32;
            bad.send(&request).await?;
            others.end_of(bad).await?;
        }
        others.finish().await
    })
}

#[test]
fn joins_that_use_stale_memory_or_no_names_end_the_session() -> Result<()> {
    scenario(LIMIT, async {
        let mut others = Others::start(plan()).await?;
        for word in [kind::JOIN, kind::LEAVE] {
            let mut bad = others.bad().await?;
            bad.join("others").await?;
            for client in [&mut others.x, &mut others.y] {
                client.view(kind::BY_JOIN, "others").await?;
            }
            bad.multicast(word, &[], b"").await?;
            bad.ended().await?;
            for client in [&mut others.x, &mut others.y] {
                client.view(kind::BY_DISCONNECT, "others").await?;
            }
        }
        // 32 bytes without an end are a name of 31.
        let mut client = others.bad().await?;
        let mut request = client.request(kind::JOIN, &["x"], b"");
        request.names[0] = [b'n'; 32];
        client.send(&request).await?;
        client.view(kind::BY_JOIN, &"n".repeat(31)).await?;
        client.kill().await?;
        others.finish().await
    })
}

#[test]
fn a_program_that_does_not_read_is_cut_at_a_bound_of_bytes() -> Result<()> {
    const SIZE: usize = 100_000;
    scenario(LIMIT, async {
        let plan =
            plan().set("membership", "max_message", "256KiB").set("clients", "session_queue_out", "4MiB");
        let mut others = Others::start(plan).await?;
        let mut deaf = others.doors.client("d2", "deaf").await?;
        deaf.join("others").await?;
        for client in [&mut others.x, &mut others.y] {
            client.view(kind::BY_JOIN, "others").await?;
        }
        let (mut sent, mut told) = (0, (false, false));
        let begin = Instant::now();
        while others.doors.counter("d2", "sessions_cut_slow").await? == 0 {
            ensure!(begin.elapsed() < PATIENCE, "{sent} bytes wait for a program that does not read");
            for _ in 0..10 {
                others.x.multicast(kind::AGREED, &["others"], &vec![0; SIZE]).await?;
                for (client, told) in [(&mut others.x, &mut told.0), (&mut others.y, &mut told.1)] {
                    let mut message = client.next().await?;
                    if message.word == kind::BY_DISCONNECT {
                        *told = true;
                        message = client.next().await?;
                    }
                    ensure!(message.body.len() == SIZE, "{message:?}");
                }
                sent += SIZE;
            }
        }
        say(&format!("cut after {sent} bytes"));
        ensure!(sent < 20 << 20, "{sent} bytes were kept for it");
        // Whole messages until the end.
        deaf.ends().await?;
        for (client, told) in [(&mut others.x, told.0), (&mut others.y, told.1)] {
            if !told {
                client.view(kind::BY_DISCONNECT, "others").await?;
            }
        }
        others.finish().await
    })
}

#[test]
fn a_program_that_stops_in_the_middle_keeps_nothing_from_others() -> Result<()> {
    scenario(LIMIT, async {
        let mut others = Others::start(plan().set("clients", "handshake_timeout", "2s")).await?;
        // After the hello, in the choice, and in a message.
        let mut hellos = Vec::new();
        for number in 0..5 {
            let mut raw = others.doors.raw("d1").await?;
            raw.say(&hello([5, 0, 1], 1, &format!("half{number}"))).await?;
            raw.expect(OFFER).await?;
            raw.say(&choice(&["NULL"])[..30 * number / 2]).await?;
            hellos.push(raw);
        }
        let mut half = others.bad().await?;
        let request = half.request(kind::AGREED, &["others"], &[0; 1000]);
        half.raw.say(&request.bytes()[..500]).await?;
        others.are_served().await?;
        for raw in hellos {
            raw.last(b"").await?;
        }
        // Once introduced, a program may take its time.
        half.raw.say(&request.bytes()[500..]).await?;
        for client in [&mut others.x, &mut others.y] {
            ensure!(client.payload().await? == [0; 1000]);
        }
        others.finish().await
    })
}

#[test]
fn garbage_ends_the_session_alone() -> Result<()> {
    scenario(LIMIT, async {
        let mut others = Others::start(plan()).await?;
        let mut random = ChaCha12Rng::seed_from_u64(11);
        for _ in 0..50 {
            let mut raw = others.doors.raw("d1").await?;
            let mut bytes = vec![0; random.random_range(1..200)];
            random.fill_bytes(&mut bytes);
            // The daemon may have closed before everything is said.
            let _ = raw.say(&bytes).await;
            let _ = raw.shut().await;
            raw.rest().await?;
        }
        for _ in 0..50 {
            let mut bad = others.bad().await?;
            let mut bytes = vec![0; random.random_range(48..400)];
            random.fill_bytes(&mut bytes);
            bad.raw.say(&bytes).await?;
            bad.ends().await?;
        }
        // Right messages with one wrong byte: the session ends, or what is left still is a message.
        for _ in 0..100 {
            let mut bad = others.bad().await?;
            let mut bytes = bad.request(kind::AGREED, &["nobody"], b"payload").bytes();
            let at = random.random_range(0..48);
            bytes[at] ^= 1 << random.random_range(0..8_u32);
            bad.raw.say(&bytes).await?;
            bad.raw.shut().await?;
            bad.ends().await?;
        }
        others.are_served().await?;
        others.finish().await
    })
}

#[test]
fn a_group_may_be_larger_than_the_original_survives() -> Result<()> {
    const MEMBERS: usize = 2500;
    scenario(Duration::from_secs(240), async {
        let mut others = Others::start(Plan::new(&["d1", "d2"])).await?;
        let mut members = Vec::new();
        let place = others.doors.unix("d1");
        for number in 0..MEMBERS {
            let mut client = Client::connect(&place, &format!("m{number}"), false).await?;
            client.ask_join("large").await?;
            client.hears_nothing().await?;
            members.push(client);
        }
        // A join, a message and a network change with more names than the original has room for.
        let mut watcher = others.doors.client("d1", "watcher").await?;
        let joined = watcher.join("large").await?;
        ensure!(joined.len() == MEMBERS + 1, "{} members", joined.len());
        let mut far = others.doors.client("d2", "far").await?;
        let joined = far.join("large").await?;
        ensure!(joined.len() == MEMBERS + 2, "{} members", joined.len());
        watcher.view(kind::BY_JOIN, "large").await?;
        far.multicast(kind::SAFE, &["large"], b"to all").await?;
        for member in members.iter_mut().chain([&mut watcher, &mut far]) {
            ensure!(member.payload().await? == b"to all");
        }
        others.are_served().await?;
        others.doors.kill("d2")?;
        ensure!(watcher.next().await?.word == kind::TRANSITIONAL);
        let (left, view) = watcher.view(kind::BY_NETWORK, "large").await?;
        ensure!(left.len() == MEMBERS + 1 && view.sets == [left], "{} members", view.sets.concat().len());
        drop(members);
        others.doors.finish().await
    })
}
