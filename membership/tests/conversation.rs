//! A few nodes that talk without any delay: the plain course of things, step by step.

mod net;

use std::time::Duration;

use net::{Net, group, id};
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};
use stentor_membership::{
    Cause, CommandError, Config, ConnectError, Content, Event, Node, Phase, Service, Timestamp,
};

const TICK: Duration = Duration::from_millis(20);

#[test]
fn everybody_sees_one_order_of_messages_and_joins() {
    let mut net = Net::new(&["a", "b", "c"], &Config::default());
    let a = net.member("a", &["g"]);
    let b = net.member("b", &["g"]);
    net.run(TICK);
    net.forget();
    for round in 0..20 {
        net.send("a", a, Service::Agreed, &["g"], &format!("a{round}"));
        net.send(
            "b",
            b,
            if round % 2 == 0 { Service::Safe } else { Service::Agreed },
            &["g"],
            &format!("b{round}"),
        );
        if round == 10 {
            net.member("c", &["g"]);
        }
    }
    net.run(TICK);
    let story = net.story("a", a);
    assert_eq!(story.len(), 41, "{story:?}");
    assert_eq!(story, net.story("b", b));
}

#[test]
fn a_message_larger_than_a_frame_arrives_whole() {
    let mut net = Net::new(&["a", "b"], &Config { frame: 1024, window: 64 << 10, ..Config::default() });
    let (a, b) = (net.member("a", &[]), net.member("b", &["g"]));
    net.run(TICK);
    net.forget();
    let text = "0123456789".repeat(30_000);
    net.send("a", a, Service::Fifo, &["g"], &text);
    net.send("a", a, Service::Agreed, &["g"], "after");
    net.run(TICK * 10);
    assert_eq!(net.story("b", b), [text, "after".to_owned()]);
}

#[test]
fn a_large_message_behind_a_small_one_waits_for_no_lazy_progress() {
    let delay = Duration::from_millis(1);
    let mut net = Net::together(&["a", "b", "c"], &Config::default(), delay);
    let (a, b) = (net.member("a", &[]), net.member("b", &["g"]));
    net.run(TICK);
    net.forget();
    // With the first frame of the large one, all is under way that may be until it is confirmed. Neither frame is enough to
    // be confirmed at once, but both are: when the second comes in, b and c have answered the first, and not confirmed it.
    net.send("a", a, Service::Agreed, &["g"], &"0123456789".repeat(6_000));
    net.run(delay / 2);
    net.send("a", a, Service::Agreed, &["g"], &"0123456789".repeat(30_000));
    net.run(delay * 12);
    assert_eq!(net.story("b", b).iter().map(String::len).collect::<Vec<_>>(), [60_000, 300_000]);
}

#[test]
fn an_orderly_leave_needs_no_timeout_and_sessions_see_it() {
    let mut net = Net::new(&["a", "b", "c"], &Config::default());
    let a = net.member("a", &["g"]);
    net.member("c", &["g"]);
    net.run(TICK);
    net.forget();
    net.stop("c");
    net.run(TICK);
    assert_eq!(net.node("a").view().members[..], [id("a"), id("b")]);
    assert_eq!(net.story("a", a), ["g transitional", "g network #s1#a"]);
}

#[test]
fn a_crash_is_noticed_and_nothing_of_the_living_is_lost() {
    let mut net = Net::new(&["a", "b", "c"], &Config::default());
    let (b, c) = (net.member("b", &["g"]), net.member("c", &["g"]));
    net.run(TICK);
    net.forget();
    net.crash("a");
    net.send("b", b, Service::Agreed, &["g"], "during");
    net.run(Duration::from_millis(700));
    assert_eq!(net.node("b").view().members[..], [id("b"), id("c")]);
    net.send("c", c, Service::Safe, &["g"], "after");
    net.run(TICK);
    assert_eq!(net.story("b", b), ["during", "after"]);
    assert_eq!(net.story("c", c), ["during", "after"]);
}

#[test]
fn partitions_go_on_separately_and_merge() {
    let mut net = Net::new(&["a", "b", "c"], &Config::default());
    let (a, c) = (net.member("a", &["g"]), net.member("c", &["g"]));
    net.run(TICK);
    net.forget();
    for other in ["a", "b"] {
        net.cut(other, "c");
    }
    net.run(TICK);
    net.send("a", a, Service::Agreed, &["g"], "with b");
    net.send("c", c, Service::Agreed, &["g"], "alone");
    net.run(TICK);
    for other in ["a", "b"] {
        net.link(other, "c");
    }
    net.run(Duration::from_millis(200));
    let whole = "g network #s1#a #s1#c";
    assert_eq!(net.story("a", a), ["g transitional", "g network #s1#a", "with b", whole]);
    assert_eq!(net.story("c", c), ["g transitional", "g network #s1#c", "alone", whole]);
    let merge = net.events[&id("a")].iter().rev().find_map(|event| match event {
        Event::Membership(m) if m.cause == Cause::Network => Some(m.clone()),
        _ => None,
    });
    let merge = merge.unwrap();
    assert_eq!(merge.sets.len(), 2);
    assert_eq!(merge.stayed.iter().map(ToString::to_string).collect::<Vec<_>>(), ["#s1#a"]);
}

#[test]
fn private_and_multi_group_messages_come_once() {
    let mut net = Net::new(&["a", "b"], &Config::default());
    let (a, b) = (net.member("a", &["g"]), net.member("b", &["g", "h"]));
    net.run(TICK);
    net.forget();
    net.send("a", a, Service::Agreed, &["g", "h", "#s1#b"], "once");
    net.send("a", a, Service::Unreliable, &["#s1#b"], "datagram");
    let content = Content::new(&["g"], 0, b"not to me").unwrap();
    net.node("a").multicast(a, Service::Agreed, true, &content).unwrap();
    net.run(TICK);
    let mut got = net.story("b", b);
    got.sort();
    assert_eq!(got, ["datagram", "not to me", "once"]);
    assert_eq!(net.story("a", a), ["once"]);
}

#[test]
fn a_name_is_free_at_once_and_the_old_session_leaves_before_the_new_one_joins() {
    let mut net = Net::new(&["a", "b"], &Config::default());
    let b = net.member("b", &["g"]);
    net.run(TICK);
    let name = "n".parse().unwrap();
    let old = net.node("a").connect(Some(name)).unwrap();
    net.node("a").join(old, group("g")).unwrap();
    net.run(TICK);
    net.forget();
    net.node("a").disconnect(old);
    let new = net.node("a").connect(Some(name)).unwrap();
    net.node("a").join(new, group("g")).unwrap();
    net.run(TICK);
    assert_eq!(net.story("b", b), ["g disconnect #s1#b", "g join #n#a #s1#b"]);
    assert!(net.story("a", old).is_empty());
}

#[test]
fn a_full_queue_says_busy_and_then_unblocked_and_memory_stays_within_the_window() {
    let config = Config { window: 64 << 10, session_queue: 16 << 10, ..Config::default() };
    let mut net = Net::new(&["a", "b"], &config);
    let (a, b) = (net.member("a", &[]), net.member("b", &["g"]));
    net.run(TICK);
    net.forget();
    let content = Content::new(&["g"], 0, &[7; 1000]).unwrap();
    let mut sent = 0;
    for _ in 0..100 {
        while net.node("a").multicast(a, Service::Agreed, false, &content).is_ok() {
            sent += 1;
        }
        assert_eq!(net.node("a").multicast(a, Service::Agreed, false, &content), Err(CommandError::Busy));
        net.run(TICK);
        let unblocked = net.events[&id("a")].iter().any(|e| matches!(e, Event::Unblocked(s) if *s == a));
        assert!(unblocked);
        assert!(net.node("b").stats().retained_bytes <= config.window + config.frame);
    }
    assert!(sent >= 1500, "{sent}");
    assert_eq!(net.story("b", b).len(), sent);
}

#[test]
fn without_a_majority_ordered_sends_can_be_refused() {
    let daemons = ["a", "b", "c"].map(|name| name.parse().unwrap()).to_vec();
    let config = Config { daemons, require_primary: true, ..Config::default() };
    let mut net = Net::new(&["a", "b", "c"], &config);
    assert!(net.node("a").view().primary);
    let a = net.member("a", &["g"]);
    net.nodes.retain(|daemon, _| *daemon == id("a"));
    net.run(Duration::from_secs(2));
    let content = Content::new(&["g"], 0, b"x").unwrap();
    let node = net.node("a");
    assert_eq!(node.multicast(a, Service::Agreed, false, &content), Err(CommandError::NotPrimary));
    assert_eq!(node.multicast(a, Service::Fifo, false, &content), Ok(()));
}

#[test]
fn a_daemon_that_cannot_join_a_standing_view_goes_on_alone() {
    let mut net = Net::new(&["a", "b", "c"], &Config::default());
    let a = net.member("a", &["g"]);
    // Nothing comes from a to b any more: b notices it first, and agrees with c, which is linked to both.
    net.cut_at("b", "a");
    net.run(Duration::from_millis(300));
    net.cut_at("a", "b");
    net.run(Duration::from_secs(5));
    assert_eq!(net.node("b").view().members[..], [id("b"), id("c")]);
    assert_eq!(net.node("a").view().members[..], [id("a")]);
    for name in ["a", "b", "c"] {
        assert_eq!(net.node(name).phase(), Phase::Operational);
    }
    net.forget();
    net.send("a", a, Service::Safe, &["g"], "alone");
    net.run(TICK);
    assert_eq!(net.story("a", a), ["alone"]);
}

#[test]
fn a_session_is_in_as_many_groups_as_it_may() {
    let config = Config { max_groups: 2, ..Config::default() };
    let mut node = Node::new(id("a"), config, 1, Timestamp::ZERO).unwrap();
    let session = node.connect(None).unwrap();
    let group = |name: &str| name.parse().unwrap();
    node.join(session, group("one")).unwrap();
    node.join(session, group("two")).unwrap();
    assert_eq!(node.join(session, group("three")), Err(CommandError::TooManyGroups(2)));
    node.leave(session, group("one")).unwrap();
    node.join(session, group("three")).unwrap();
    let other = node.connect(None).unwrap();
    node.join(other, group("one")).unwrap();
}

#[test]
fn closed_sessions_count_until_what_they_sent_is_gone() {
    let config = Config { max_sessions: 2, ..Config::default() };
    let mut node = Node::new(id("a"), config, 1, Timestamp::ZERO).unwrap();
    for _ in 0..2 {
        let session = node.connect(None).unwrap();
        let content = Content::new(&["g"], 0, b"text").unwrap();
        node.multicast(session, Service::Agreed, false, &content).unwrap();
        node.disconnect(session);
    }
    assert_eq!(node.connect(None), Err(ConnectError::TooMany(2)));
    while node.poll_transmit(Timestamp::ZERO).is_some() {}
    let first = node.connect(None).unwrap();
    node.connect(None).unwrap();
    assert_eq!(node.connect(None), Err(ConnectError::TooMany(2)));
    node.disconnect(first);
    node.connect(None).unwrap();
}

/// V3.5: daemons that do not hear each other want the same others, whose views fall again and again for it. What fails
/// makes them patient, until they leave one another the time that a view change takes.
#[test]
fn rivals_come_to_rest() {
    // From whom to whom, in milliseconds: what no link stands for is not linked.
    let delays: [(&str, &[(&str, u64)]); 7] = [
        ("a", &[("d", 8), ("e", 132), ("f", 7), ("g", 144)]),
        ("b", &[("d", 97), ("e", 151), ("f", 98), ("g", 13)]),
        ("c", &[("d", 7), ("e", 6), ("g", 111)]),
        ("d", &[("a", 8), ("b", 22), ("c", 149), ("e", 7), ("f", 133), ("g", 7)]),
        ("e", &[("a", 6), ("b", 22), ("c", 12), ("d", 132), ("g", 12)]),
        ("f", &[("a", 94), ("b", 141), ("d", 6), ("g", 15)]),
        ("g", &[("a", 116), ("b", 150), ("c", 147), ("d", 73), ("e", 7), ("f", 134)]),
    ];
    for case in 0..20 {
        let mut rng = ChaCha12Rng::seed_from_u64(case);
        let mut net = Net::alone(&delays.map(|(name, _)| name), &Config::default(), TICK);
        for (from, others) in delays {
            for (to, delay) in others {
                let delay = Duration::from_micros(delay * 1000 + rng.random_range(0..5000));
                net.slow_down(from, to, delay);
                if from < *to {
                    net.link(from, to);
                }
            }
        }
        let views = |net: &Net| net.nodes.values().map(|node| node.view().id).collect::<Vec<_>>();
        let (mut last, mut since) = (views(&net), net.now);
        // Nobody is patient for longer.
        while net.now.since(since) < Duration::from_secs(16) {
            net.run(Duration::from_millis(100));
            if views(&net) != last {
                (last, since) = (views(&net), net.now);
            }
            assert!(since.since(Timestamp::ZERO) < Duration::from_secs(15), "case {case}: {last:?}");
        }
        for node in net.nodes.values() {
            let shared = |member| net.nodes[member].view().id == node.view().id;
            assert!(node.view().members.iter().all(shared), "case {case}: {:?}", node.view());
        }
    }
}
