//! A few nodes that talk without any delay: the plain course of things, step by step.
#![expect(clippy::unwrap_used, reason = "a test may stop at what must not happen")]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use stentor_membership::{
    Cause, Channel, CommandError, Config, ConnectError, Content, DaemonId, Event, GroupName, Node, Phase,
    Service, SessionId, Timestamp,
};

/// Nodes, the frames between them, and what each reported.
struct Net {
    nodes: BTreeMap<DaemonId, Node>,
    wires: VecDeque<(DaemonId, DaemonId, Channel, bytes::Bytes)>,
    events: BTreeMap<DaemonId, Vec<Event>>,
    now: Timestamp,
}

fn id(name: &str) -> DaemonId {
    DaemonId { name: name.parse().unwrap(), incarnation: 1 }
}

fn group(name: &str) -> GroupName {
    name.parse().unwrap()
}

impl Net {
    /// Daemons with links between all of them, in one view.
    fn new(names: &[&str], config: &Config) -> Self {
        let now = Timestamp::ZERO;
        let mut net = Self { nodes: BTreeMap::new(), wires: VecDeque::new(), events: BTreeMap::new(), now };
        for (seed, name) in (0..).zip(names) {
            net.nodes.insert(id(name), Node::new(id(name), config.clone(), seed, now).unwrap());
        }
        for a in names {
            for b in names.iter().filter(|b| *b != a) {
                net.node(a).handle_link_up(id(b), now);
            }
        }
        net.run(Duration::from_secs(1));
        let members: Vec<_> = names.iter().map(|name| id(name)).collect();
        for name in names {
            assert_eq!(net.node(name).view().members[..], members[..]);
            assert_eq!(net.node(name).phase(), Phase::Operational);
        }
        net.events.clear();
        net
    }

    fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.get_mut(&id(name)).unwrap()
    }

    /// Delivers frames and fires timers until `span` has passed.
    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        for _ in 0..1_000_000 {
            let now = self.now;
            for (&from, node) in &mut self.nodes {
                while let Some(transmit) = node.poll_transmit(now) {
                    self.wires.push_back((from, transmit.to, transmit.channel, transmit.payload));
                }
                let events = self.events.entry(from).or_default();
                while let Some(event) = node.poll_event() {
                    events.push(event);
                }
                node.check_invariants();
            }
            if let Some((from, to, channel, payload)) = self.wires.pop_front() {
                let Some(node) = self.nodes.get_mut(&to) else { continue };
                match channel {
                    Channel::Stream => node.handle_frame(from, payload, now).unwrap(),
                    Channel::Datagram => node.handle_datagram(from, payload, now).unwrap(),
                }
                continue;
            }
            let next = self.nodes.values().filter_map(Node::poll_timeout).min().unwrap();
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            for node in self.nodes.values_mut() {
                node.handle_timeout(self.now);
            }
        }
        panic!("the nodes never come to rest");
    }

    /// A session on `daemon` that has joined `groups`.
    fn member(&mut self, daemon: &str, groups: &[&str]) -> SessionId {
        let node = self.node(daemon);
        let session = node.connect(None).unwrap();
        for name in groups {
            node.join(session, group(name)).unwrap();
        }
        session
    }

    fn send(&mut self, daemon: &str, session: SessionId, service: Service, to: &[&str], text: &str) {
        let content = Content::new(to, 0, text.as_bytes()).unwrap();
        self.node(daemon).multicast(session, service, false, &content).unwrap();
    }

    /// What a session was told, in words, since the last call of `forget`.
    fn story(&self, daemon: &str, session: SessionId) -> Vec<String> {
        let mut story = Vec::new();
        for event in self.events.get(&id(daemon)).into_iter().flatten() {
            match event {
                Event::Message(m) if m.receivers.contains(&session) => {
                    story.push(String::from_utf8_lossy(&m.content.payload()).into_owned());
                }
                Event::Membership(m) if m.receivers.contains(&session) => {
                    let cause = m.cause.as_str();
                    let members: Vec<_> = m.members.iter().map(ToString::to_string).collect();
                    story.push(format!("{} {cause} {}", m.group, members.join(" ")));
                }
                Event::GroupTransitional { group, receivers } if receivers.contains(&session) => {
                    story.push(format!("{group} transitional"));
                }
                _ => {}
            }
        }
        story
    }
}

const TICK: Duration = Duration::from_millis(20);

#[test]
fn everybody_sees_one_order_of_messages_and_joins() {
    let mut net = Net::new(&["a", "b", "c"], &Config::default());
    let a = net.member("a", &["g"]);
    let b = net.member("b", &["g"]);
    net.run(TICK);
    net.events.clear();
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
    net.events.clear();
    let text = "0123456789".repeat(30_000);
    net.send("a", a, Service::Fifo, &["g"], &text);
    net.send("a", a, Service::Agreed, &["g"], "after");
    net.run(TICK * 10);
    assert_eq!(net.story("b", b), [text, "after".to_owned()]);
}

#[test]
fn an_orderly_leave_needs_no_timeout_and_sessions_see_it() {
    let mut net = Net::new(&["a", "b", "c"], &Config::default());
    let a = net.member("a", &["g"]);
    net.member("c", &["g"]);
    net.run(TICK);
    net.events.clear();
    let now = net.now;
    net.node("c").leave_cluster(now);
    net.run(TICK);
    assert_eq!(net.node("a").view().members[..], [id("a"), id("b")]);
    assert_eq!(net.story("a", a), ["g transitional", "g network #s1#a"]);
}

#[test]
fn a_crash_is_noticed_and_nothing_of_the_living_is_lost() {
    let mut net = Net::new(&["a", "b", "c"], &Config::default());
    let (b, c) = (net.member("b", &["g"]), net.member("c", &["g"]));
    net.run(TICK);
    net.events.clear();
    net.nodes.remove(&id("a"));
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
    net.events.clear();
    let now = net.now;
    for other in ["a", "b"] {
        net.node(other).handle_link_down(id("c"), now);
        net.node("c").handle_link_down(id(other), now);
    }
    net.run(TICK);
    net.send("a", a, Service::Agreed, &["g"], "with b");
    net.send("c", c, Service::Agreed, &["g"], "alone");
    net.run(TICK);
    let now = net.now;
    for other in ["a", "b"] {
        net.node(other).handle_link_up(id("c"), now);
        net.node("c").handle_link_up(id(other), now);
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
    net.events.clear();
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
    net.events.clear();
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
    net.events.clear();
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
    let now = net.now;
    net.node("b").handle_link_down(id("a"), now);
    net.run(Duration::from_millis(300));
    let now = net.now;
    net.node("a").handle_link_down(id("b"), now);
    net.run(Duration::from_secs(5));
    assert_eq!(net.node("b").view().members[..], [id("b"), id("c")]);
    assert_eq!(net.node("a").view().members[..], [id("a")]);
    for name in ["a", "b", "c"] {
        assert_eq!(net.node(name).phase(), Phase::Operational);
    }
    net.events.clear();
    net.send("a", a, Service::Safe, &["g"], "alone");
    net.run(TICK);
    assert_eq!(net.story("a", a), ["alone"]);
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
