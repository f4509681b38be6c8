//! How Spread programs come in, and how they are turned away.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use stentor_tests::binary::stentor;
use stentor_tests::cluster::Plan;
use stentor_tests::process::run;
use stentor_tests::scenario::scenario;
use stentor_tests::spread::client::{Client, OFFER, Raw, choice, hello};
use stentor_tests::spread::doors::Doors;
use stentor_tests::wait::{PATIENCE, until};

const LIMIT: Duration = Duration::from_secs(90);

fn plan() -> Plan {
    Plan::new(&["d1"])
}

async fn with(settings: &str) -> Result<Doors> {
    Doors::start_with(&plan(), &["d1"], settings).await
}

#[test]
fn every_version_since_3_1_is_served_in_its_way() -> Result<()> {
    scenario(LIMIT, async {
        let doors = Doors::start(&["d1"]).await?;
        for version in [[5, 0, 1], [4, 4, 0], [4, 0, 0], [3, 17, 4], [3, 16, 0], [9, 9, 9]] {
            let mut raw = doors.raw("d1").await?;
            raw.say(&hello(version, 1, "new")).await?;
            raw.expect(OFFER).await?;
            raw.say(&choice(&["NULL"])).await?;
            raw.expect(b"\x01\x05\x00\x01\x07#new#d1").await?;
            Client { raw, name: "#new#d1".to_owned(), order: stentor_tests::spread::frame::Order::Little }
                .kill()
                .await?;
        }
        // Before 3.16 nobody is asked who it is, before 3.15 there is no patch level.
        for (bytes, answer) in [
            (&b"\x03\x0f\x09\x01\x03o15"[..], &b"\x01\x05\x00\x01\x07#o15#d1"[..]),
            (b"\x03\x0f\x00\x01\x03o50", b"\x01\x05\x00\x01\x07#o50#d1"),
            (b"\x03\x0e\x01\x03o14", b"\x01\x05\x00\x07#o14#d1"),
            (b"\x03\x01\x01\x03o31", b"\x01\x05\x00\x07#o31#d1"),
        ] {
            let mut raw = doors.raw("d1").await?;
            raw.say(bytes).await?;
            raw.expect(answer).await?;
        }
        for bytes in [&b"\x03\x00\x01\x00"[..], b"\x02\x09\x01\x00", b"\x00\x00\x01\x00"] {
            let mut raw = doors.raw("d1").await?;
            raw.say(bytes).await?;
            raw.last(&[0xf9]).await?;
        }
        doors.finish().await
    })
}

#[test]
fn the_handshake_may_come_in_any_pieces_over_either_socket() -> Result<()> {
    scenario(LIMIT, async {
        let doors = Doors::start(&["d1"]).await?;
        for place in [doors.unix("d1"), doors.tcp("d1")?] {
            let mut raw = Raw::connect(&place).await?;
            for byte in hello([5, 0, 1], 1, "slow") {
                raw.say(&[byte]).await?;
                tokio::task::yield_now().await;
            }
            raw.expect(OFFER).await?;
            for piece in choice(&["NULL"]).chunks(7) {
                raw.say(piece).await?;
                tokio::task::yield_now().await;
            }
            ensure!(raw.accepted().await? == "#slow#d1");
            // Everything at once, a join included.
            let mut all = hello([5, 0, 1], 1, "fast");
            all.extend(choice(&["", "NULL"]));
            let mut raw = Raw::connect(&place).await?;
            raw.say(&all).await?;
            raw.expect(OFFER).await?;
            let name = raw.accepted().await?;
            let mut client = Client { raw, name, order: stentor_tests::spread::frame::Order::Little };
            client.join("room").await?;
            client.kill().await?;
        }
        doors.finish().await
    })
}

#[test]
fn names_are_checked_and_chosen() -> Result<()> {
    scenario(LIMIT, async {
        let doors = Doors::start(&["d1", "d2"]).await?;
        let alice = doors.client("d1", "alice").await?;
        let refused = async |bytes: &[u8], answer: &[u8]| {
            let mut raw = doors.raw("d1").await?;
            raw.say(bytes).await?;
            raw.shut().await?;
            raw.last(answer).await
        };
        for name in ["a b", "a!b", "a\"b", "a#b", "\u{7f}", "ä", "01234567890", " "] {
            refused(&hello([5, 0, 1], 1, name), &[0xfb]).await?;
        }
        refused(b"\x05\x00\x01\x01\xff", &[0xfb]).await?;
        refused(b"\x05\x00\x01\x01\x05abc", &[0xfb]).await?;
        refused(b"\x05\x00\x01\x01", &[]).await?;
        refused(b"\x05", &[]).await?;
        refused(&hello([5, 0, 1], 1, "alice"), &[0xfa]).await?;
        for name in ["$", "~", "0123456789", "a.b-c_d"] {
            doors.client("d1", name).await?.kill().await?;
        }
        // The same name at another daemon is another session, and a name is free as soon as its session has ended.
        ensure!(doors.client("d2", "alice").await?.name == "#alice#d2");
        alice.kill().await?;
        for _ in 0..100 {
            let mut alice = doors.client("d1", "alice").await?;
            alice.join("room").await?;
            alice.kill().await?;
        }
        let mut chosen = Vec::new();
        for _ in 0..20 {
            let client = doors.client("d1", "").await?;
            let name = client.name.strip_prefix('#').and_then(|name| name.strip_suffix("#d1"));
            let name = name.unwrap_or_default().to_owned();
            let legal = (1..=10).contains(&name.len()) && name.bytes().all(|c| (0x24..=0x7e).contains(&c));
            ensure!(legal && !chosen.iter().any(|(other, _)| *other == name), "{name:?}");
            chosen.push((name, client));
        }
        doors.finish().await
    })
}

#[test]
fn only_an_odd_flag_asks_for_memberships() -> Result<()> {
    scenario(LIMIT, async {
        let doors = Doors::start(&["d1"]).await?;
        for (flags, asks) in [(0x00, false), (0x01, true), (0x10, false), (0x11, true), (0xff, true)] {
            let mut raw = doors.raw("d1").await?;
            raw.say(&hello([5, 0, 1], flags, "who")).await?;
            raw.expect(OFFER).await?;
            raw.say(&choice(&["NULL"])).await?;
            let name = raw.accepted().await?;
            let mut client = Client { raw, name, order: stentor_tests::spread::frame::Order::Little };
            if asks {
                client.join("room").await?;
            } else {
                client.ask_join("room").await?;
            }
            client.hears_nothing().await?;
            client.kill().await?;
        }
        doors.finish().await
    })
}

#[test]
fn a_choice_names_allowed_methods_alone() -> Result<()> {
    scenario(LIMIT, async {
        let doors = Doors::start(&["d1"]).await?;
        let long = "x".repeat(30);
        for methods in [&[][..], &["PWORD"], &["NULL", "IP"], &["null"], &["NULL "], &[&long, &long, &long]] {
            let mut raw = doors.raw("d1").await?;
            raw.say(&hello([5, 0, 1], 1, "who")).await?;
            raw.expect(OFFER).await?;
            raw.say(&choice(methods)).await?;
            raw.last(&[0xf7]).await?;
        }
        // Whoever was turned away holds no name.
        until(PATIENCE, "the name is free", async || doors.client("d1", "who").await?.kill().await).await?;
        doors.finish().await?;

        let doors = with("auth = []").await?;
        let mut raw = doors.raw("d1").await?;
        raw.say(&hello([5, 0, 1], 1, "who")).await?;
        raw.last(&[0, 0xf7]).await?;
        doors.finish().await
    })
}

#[test]
fn addresses_are_checked_for_everybody() -> Result<()> {
    scenario(LIMIT, async {
        let doors = with("require = [\"IP\"]\nallow_from = [\"local\"]").await?;
        let ask = async |place, bytes: &[u8]| -> Result<Raw> {
            let mut raw = Raw::connect(&place).await?;
            raw.say(bytes).await?;
            Ok(raw)
        };
        let new = hello([5, 0, 1], 1, "new");
        let mut raw = ask(doors.unix("d1"), &new).await?;
        raw.expect(OFFER).await?;
        raw.say(&choice(&["NULL"])).await?;
        raw.last(&[0xf7]).await?;
        ask(doors.unix("d1"), b"\x03\x0e\x01\x03o14").await?.last(&[0xf7]).await?;
        let mut raw = ask(doors.tcp("d1")?, &new).await?;
        raw.expect(OFFER).await?;
        raw.say(&choice(&["NULL"])).await?;
        raw.accepted().await?;
        ask(doors.tcp("d1")?, b"\x03\x0e\x01\x03o14").await?.expect(b"\x01\x05\x00\x07#o14#d1").await?;
        doors.finish().await?;

        let doors = with("auth = [\"IP\", \"NULL\"]\nallow_from = [\"unix\", \"10.0.0.0/8\"]").await?;
        let mut raw = ask(doors.unix("d1"), &new).await?;
        raw.expect(b"\x08NULL IP ").await?;
        raw.say(&choice(&["IP", "NULL"])).await?;
        raw.accepted().await?;
        let mut raw = ask(doors.tcp("d1")?, &hello([5, 0, 1], 1, "tcp")).await?;
        raw.expect(b"\x08NULL IP ").await?;
        raw.say(&choice(&["IP"])).await?;
        raw.last(&[0xf7]).await?;
        doors.finish().await
    })
}

#[test]
fn passwords_are_asked_for_and_kept_as_hashes() -> Result<()> {
    scenario(LIMIT, async {
        let mut doors = Doors::lay_out(&plan(), &["d1"], "auth = [\"PWORD\"]\npasswords = \"users\"").await?;
        let mut command = std::process::Command::new(stentor()?);
        let line = run(command.args(["spread-password", "alice"]), b"secret\n", PATIENCE).await?.stdout;
        let line = String::from_utf8(line)?;
        ensure!(line.starts_with("alice:$") && !line.contains("secret"), "{line}");
        fs::write(doors.dir().join("users"), line)?;
        doors.start("d1")?;
        doors.until_view(&["d1"]).await?;
        let ask = async |user: &str, password: &str| -> Result<Raw> {
            let mut raw = doors.raw("d1").await?;
            raw.say(&hello([5, 0, 1], 1, user)).await?;
            raw.expect(b"\x06PWORD ").await?;
            raw.say(&choice(&["PWORD"])).await?;
            let mut secret = [0; 40];
            secret[..user.len()].copy_from_slice(user.as_bytes());
            secret[32..32 + password.len()].copy_from_slice(password.as_bytes());
            raw.say(&secret).await?;
            Ok(raw)
        };
        ask("alice", "wrong").await?.last(&[0, 0xf7]).await?;
        ask("alice", "").await?.last(&[0, 0xf7]).await?;
        ask("bob", "secret").await?.last(&[0, 0xf7]).await?;
        let mut raw = ask("alice", "secret").await?;
        raw.expect(&[1]).await?;
        ensure!(raw.accepted().await? == "#alice#d1");
        // Programs too old to be asked stay outside.
        let mut old = doors.raw("d1").await?;
        old.say(b"\x03\x0e\x01\x03o14").await?;
        old.last(&[0xf7]).await?;
        doors.finish().await
    })
}

#[test]
fn there_is_a_byte_for_too_many() -> Result<()> {
    scenario(LIMIT, async {
        let plan = plan().set("clients", "max_sessions", 3);
        let doors = Doors::start_with(&plan, &["d1"], "").await?;
        let mut open = Vec::new();
        // The last status request of the start may still hold a session.
        until(PATIENCE, "all sessions are in use", async || {
            open.push(doors.client("d1", &format!("c{}", open.len())).await?);
            ensure!(open.len() == 3, "only {}", open.len());
            Ok(())
        })
        .await?;
        let mut raw = doors.raw("d1").await?;
        raw.say(&hello([5, 0, 1], 1, "more")).await?;
        raw.last(&[0xfd]).await?;
        drop(open);
        until(PATIENCE, "there is room again", async || doors.client("d1", "more").await?.kill().await)
            .await?;
        doors.finish().await
    })
}

#[test]
fn silent_connections_keep_nobody_waiting_and_nothing_for_long() -> Result<()> {
    scenario(LIMIT, async {
        let plan = plan().set("clients", "handshake_timeout", "3s");
        let doors = Doors::start_with(&plan, &["d1"], "").await?;
        let mut silent = Vec::new();
        for number in 0..40 {
            let mut raw = doors.raw("d1").await?;
            if number % 2 == 0 {
                raw.say(&hello([5, 0, 1], 1, &format!("s{number}"))).await?;
                raw.expect(OFFER).await?;
            }
            silent.push(raw);
        }
        let begin = Instant::now();
        for _ in 0..10 {
            doors.client("d1", "quick").await?.kill().await?;
        }
        // The original takes a second for each of the silent ones.
        ensure!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        for raw in silent {
            raw.last(b"").await?;
        }
        until(PATIENCE, "their names are free", async || doors.client("d1", "s0").await?.kill().await)
            .await?;
        let unfinished = doors.counter("d1", "handshakes_unfinished").await?;
        ensure!(unfinished == 40, "{unfinished}");
        doors.finish().await
    })
}
