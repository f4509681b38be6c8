//! What Spread programs ask for: messages of all kinds in both byte orders, and what is no request.

use std::time::Duration;

use anyhow::{Result, ensure};
use stentor_tests::scenario::scenario;
use stentor_tests::spread::client::Client;
use stentor_tests::spread::doors::Doors;
use stentor_tests::spread::frame::{Order, Request, kind, name};

const LIMIT: Duration = Duration::from_secs(90);

/// What the largest message has for destinations and payload.
const MAX: usize = 144_000;

const LEVELS: [u32; 6] =
    [kind::UNRELIABLE, kind::RELIABLE, kind::FIFO, kind::CAUSAL, kind::AGREED, kind::SAFE];

/// What receivers get of a request: everything little-endian, but the hint.
fn received(request: &Request) -> Vec<u8> {
    Request { order: Order::Little, ..request.clone() }.bytes()
}

/// Two daemons with a member of `room` at each.
async fn room() -> Result<(Doors, Client, Client)> {
    let doors = Doors::start(&["d1", "d2"]).await?;
    let mut alice = doors.client("d1", "alice").await?;
    let mut bob = doors.client("d2", "bob").await?;
    alice.join("room").await?;
    bob.join("room").await?;
    alice.view(kind::BY_JOIN, "room").await?;
    Ok((doors, alice, bob))
}

#[test]
fn every_level_in_both_byte_orders_arrives_as_it_was_sent() -> Result<()> {
    scenario(LIMIT, async {
        let (doors, mut alice, mut bob) = room().await?;
        for order in Order::BOTH {
            let mut sender = doors.client("d1", "sender").await?.writes(order);
            for level in LEVELS {
                // With the bits that programs may add, and with all kinds of marks.
                for (extra, mark) in
                    [(0, 0), (kind::SELF_DISCARD, 1), (0x0100_0000, 0x1234), (0x8000, 0x8000), (0, 0xffff)]
                {
                    let request = sender.request(level | extra, &["room"], b"payload").mark(mark);
                    sender.send(&request).await?;
                    for client in [&mut alice, &mut bob] {
                        let message = client.next().await?;
                        ensure!(message.raw == received(&request), "{message:02x?} of {request:02x?}");
                    }
                }
            }
            sender.hears_nothing().await?;
            sender.kill().await?;
        }
        doors.finish().await
    })
}

#[test]
fn a_sender_gets_its_own_messages_unless_it_discards_them() -> Result<()> {
    scenario(LIMIT, async {
        let (doors, mut alice, mut bob) = room().await?;
        let mut twin = doors.client("d1", "twin").await?;
        twin.join("room").await?;
        alice.next().await?;
        bob.next().await?;
        for level in LEVELS {
            alice.multicast(level, &["room"], b"for all").await?;
            alice.multicast(level | kind::SELF_DISCARD, &["room"], b"for others").await?;
            ensure!(alice.payload().await? == b"for all");
            for client in [&mut bob, &mut twin] {
                ensure!(client.payload().await? == b"for all" && client.payload().await? == b"for others");
            }
        }
        alice.hears_nothing().await?;
        doors.finish().await
    })
}

#[test]
fn destinations_reach_each_session_once_and_are_shown_as_they_were_written() -> Result<()> {
    scenario(LIMIT, async {
        let (doors, mut alice, mut bob) = room().await?;
        bob.join("other").await?;
        let mut sender = doors.client("d2", "sender").await?;
        let lists: [&[&str]; 6] = [
            &["room", "other"],
            &["room", "room", "nobody", "other"],
            &["#alice#d1", "#bob#d2", "room", "#alice#d1"],
            &["#bogus", "room", "#", "##d1", "#a#b#c", "#toolongaprivatename#d1"],
            &["a b", "room", "ä"],
            &["", "room"],
        ];
        for names in lists {
            let request = sender.request(kind::AGREED, names, b"once");
            sender.send(&request).await?;
            for client in [&mut alice, &mut bob] {
                let message = client.next().await?;
                ensure!(message.raw == request.bytes(), "{message:?}");
            }
        }
        // Private messages reach one, also without any group; whoever is nobody is no error.
        sender.multicast(kind::SAFE, &["#alice#d1"], b"alone").await?;
        ensure!(alice.payload().await? == b"alone");
        sender.multicast(kind::AGREED, &["#nobody#d1", "#alice#d9", "nothing", "#bogus"], b"lost").await?;
        sender.multicast(kind::AGREED, &[], b"lost").await?;
        // What stands behind the first zero of a name is not part of it.
        let mut request = sender.request(kind::AGREED, &["room"], b"cut");
        request.names[0][5..].fill(b'x');
        sender.send(&request).await?;
        for client in [&mut alice, &mut bob] {
            let message = client.next().await?;
            ensure!(message.names == ["room"] && message.body == b"cut", "{message:?}");
            client.hears_nothing().await?;
        }
        doors.finish().await
    })
}

#[test]
fn a_hundred_destinations_and_144_000_bytes_are_taken() -> Result<()> {
    scenario(LIMIT, async {
        let (doors, mut alice, mut bob) = room().await?;
        for count in [43, 44, 60, 100] {
            let mut names: Vec<String> = (1..count).map(|number| format!("g{number:030}")).collect();
            names.push("room".to_owned());
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let request = alice.request(kind::AGREED, &names, b"many");
            alice.send(&request).await?;
            for client in [&mut alice, &mut bob] {
                let message = client.next().await?;
                ensure!(message.raw == request.bytes(), "{count}: {message:?}");
            }
        }
        let hundred = ["room"; 100];
        // Everything between what the original really takes and what it says that it takes.
        for (names, size) in [
            (&["room"][..], 143_120),
            (&["room"], 143_153),
            (&["room"], 143_920),
            (&["room"], MAX - 32),
            (&hundred, MAX - 3200),
        ] {
            let payload: Vec<u8> = (0..=255).cycle().take(size).collect();
            let request = alice.request(kind::SAFE, names, &payload);
            alice.send(&request).await?;
            for client in [&mut alice, &mut bob] {
                let message = client.next().await?;
                ensure!(message.raw == request.bytes(), "{size} bytes became {}", message.body.len());
            }
        }
        for payload in [&b""[..], b"x"] {
            alice.multicast(kind::AGREED, &["room"], payload).await?;
            for client in [&mut alice, &mut bob] {
                ensure!(client.payload().await? == payload);
            }
        }
        doors.finish().await
    })
}

#[test]
fn joins_and_leaves_without_an_effect_are_harmless() -> Result<()> {
    scenario(LIMIT, async {
        let (doors, mut alice, mut bob) = room().await?;
        alice.ask_join("room").await?;
        alice.ask_leave("elsewhere").await?;
        // As one client says that it ends: it leaves its own private group.
        alice.ask_leave("#alice#d1").await?;
        alice.ask_leave("a b").await?;
        alice.hears_nothing().await?;
        bob.hears_nothing().await?;
        // Of several names the first counts, and what follows them does not.
        let first = alice.request(kind::JOIN, &["first", "second"], b"ignored");
        alice.send(&first).await?;
        alice.view(kind::BY_JOIN, "first").await?;
        let leave = alice.request(kind::LEAVE, &["first", "room"], b"ignored");
        alice.send(&leave).await?;
        ensure!(alice.next().await?.word == kind::SELF_LEAVE);
        // In one breath, and in order.
        for _ in 0..10 {
            alice.ask_join("again").await?;
            alice.multicast(kind::AGREED, &["again"], b"inside").await?;
            alice.ask_leave("again").await?;
        }
        for _ in 0..10 {
            alice.view(kind::BY_JOIN, "again").await?;
            ensure!(alice.payload().await? == b"inside");
            ensure!(alice.next().await?.word == kind::SELF_LEAVE);
        }
        alice.hears_nothing().await?;
        bob.hears_nothing().await?;
        doors.finish().await
    })
}

#[test]
fn a_kill_ends_the_session_whatever_it_says_besides() -> Result<()> {
    scenario(LIMIT, async {
        let (doors, mut alice, mut bob) = room().await?;
        let kills = [
            alice.request(kind::KILL, &["#alice#d1"], b""),
            alice.request(kind::KILL, &[], b""),
            alice.request(kind::KILL, &["room", "other"], b"payload"),
        ];
        for (number, kill) in kills.into_iter().enumerate() {
            alice.multicast(kind::AGREED, &["room"], b"last").await?;
            let mut bytes = kill.bytes();
            if number == 0 {
                // Garbage behind the name, and behind the message.
                bytes[48 + 12..48 + 32].fill(0xff);
                bytes.extend([0xff; 100]);
            }
            alice.raw.say(&bytes).await?;
            // It may get its last message still, or not.
            alice.ends().await?;
            ensure!(bob.payload().await? == b"last");
            let (members, view) = bob.view(kind::BY_DISCONNECT, "room").await?;
            ensure!(members == ["#bob#d2"] && view.sets == [["#alice#d1"]], "{members:?} {view:?}");
            alice = doors.client("d1", "alice").await?;
            alice.join("room").await?;
            bob.view(kind::BY_JOIN, "room").await?;
        }
        // A connection that ends without a word is the same for the others, also in the middle of a message.
        let message = alice.request(kind::AGREED, &["room"], b"half");
        alice.raw.say(&message.bytes()[..81]).await?;
        drop(alice);
        bob.view(kind::BY_DISCONNECT, "room").await?;
        bob.hears_nothing().await?;
        doors.finish().await
    })
}

#[test]
fn whoever_breaks_a_rule_is_disconnected_and_nobody_else() -> Result<()> {
    scenario(LIMIT, async {
        let (doors, mut alice, mut bob) = room().await?;
        type Spoil = fn(&mut Request);
        let spoils: [(&str, Spoil); 24] = [
            ("no kind", |r| r.word = 0),
            ("two levels", |r| r.word = kind::AGREED | kind::SAFE),
            ("a level and a join", |r| r.word = kind::AGREED | kind::JOIN),
            ("a join and a leave", |r| r.word = kind::JOIN | kind::LEAVE),
            ("the exchange of daemons", |r| r.word = kind::AGREED | 0x8_0000),
            ("the exchange of daemons with a join", |r| r.word = kind::JOIN | 0x8_0000),
            ("a word of daemons", |r| r.word = kind::AGREED | 0x10_0000),
            ("another word of daemons", |r| r.word = kind::AGREED | 0x20_0000),
            ("a forged reject", |r| r.word = kind::AGREED | kind::REJECT),
            ("a forged membership", |r| r.word = kind::AGREED | kind::BY_JOIN),
            ("a forged signal", |r| r.word = kind::AGREED | kind::TRANSITIONAL),
            ("another sender", |r| r.sender = name("#bob#d2")),
            ("another daemon", |r| r.sender = name("#bad#d2")),
            ("no sender", |r| r.sender = [0; 32]),
            ("a group as the sender", |r| r.sender = name("room")),
            ("-1 names", |r| r.count = -1),
            ("101 names", |r| r.count = 101),
            ("more names than there can be", |r| r.count = i32::MAX),
            ("-1 bytes", |r| r.length = -1),
            ("144,001 bytes", |r| r.length = 144_001),
            ("144,001 bytes with the name", |r| r.length = 144_001 - 32),
            ("more bytes than there can be", |r| r.length = i32::MAX),
            ("a hint with other bits", |r| r.hint = [0x81, 0, 0, 0x80]),
            ("a join of no group", |r| (r.word, r.count) = (kind::JOIN, 0)),
        ];
        for order in Order::BOTH {
            for (what, spoil) in spoils {
                let mut bad = doors.client("d1", "bad").await?.writes(order);
                bad.join("room").await?;
                let mut request = bad.request(kind::AGREED, &["room"], b"");
                spoil(&mut request);
                bad.send(&request).await?;
                bad.ended().await.map_err(|error| error.context(what))?;
                for client in [&mut alice, &mut bob] {
                    client.view(kind::BY_JOIN, "room").await?;
                    client.view(kind::BY_DISCONNECT, "room").await?;
                }
            }
        }
        for group in ["#x", "#bad#d1", "a b", "a#b", "ä", "!", ""] {
            let mut bad = doors.client("d1", "bad").await?;
            bad.ask_join(group).await?;
            bad.ended().await.map_err(|error| error.context(format!("a join of {group:?}")))?;
        }
        let violations = doors.counter("d1", "session_violations").await?;
        ensure!(violations == 2 * 24 + 7, "{violations}");
        alice.multicast(kind::SAFE, &["room"], b"served on").await?;
        for client in [&mut alice, &mut bob] {
            ensure!(client.payload().await? == b"served on");
        }
        doors.finish().await
    })
}
