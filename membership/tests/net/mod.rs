//! A few nodes in one process, with links that take the time that a test wants, and a log of all that happened.
#![expect(clippy::unwrap_used, reason = "a test may stop at what must not happen")]
#![allow(dead_code, reason = "each test file uses its own part of it")]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use stentor_membership::{
    Channel, Config, Content, DaemonId, Event, GroupName, Node, Phase, Service, SessionId, Timestamp,
};

pub(crate) fn id(name: &str) -> DaemonId {
    DaemonId { name: name.parse().unwrap(), incarnation: 1 }
}

pub(crate) fn group(name: &str) -> GroupName {
    name.parse().unwrap()
}

/// Something that happened at a node.
pub(crate) enum Happening {
    /// It got a frame.
    Received { from: DaemonId, frame: Bytes },
    /// It sent a frame.
    Sent { to: DaemonId, frame: Bytes },
    /// It reported something.
    Reported(Box<Event>),
    /// Its phase changed.
    Entered { from: Phase, to: Phase },
    /// The test did something to it.
    Suffered(String),
}

/// What is on its way.
struct Packet {
    from: DaemonId,
    to: DaemonId,
    channel: Channel,
    /// None tells the other end that the link was given up.
    payload: Option<Bytes>,
}

/// Nodes, the frames between them, and what each reported.
pub(crate) struct Net {
    pub(crate) nodes: BTreeMap<DaemonId, Node>,
    /// What each node reported since the last `forget`.
    pub(crate) events: BTreeMap<DaemonId, Vec<Event>>,
    pub(crate) now: Timestamp,
    /// In order, since the last `forget`.
    pub(crate) log: Vec<(Timestamp, DaemonId, Happening)>,
    wires: BTreeMap<(Timestamp, u64), Packet>,
    number: u64,
    delay: Duration,
    /// Links that take another time than `delay`.
    slow: BTreeMap<(DaemonId, DaemonId), Duration>,
    phases: BTreeMap<DaemonId, Phase>,
}

impl Net {
    /// Daemons that are alone.
    pub(crate) fn alone(names: &[&str], config: &Config, delay: Duration) -> Self {
        let now = Timestamp::ZERO;
        let (nodes, phases, events) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (wires, slow, log) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let mut net = Self { nodes, events, now, log, wires, number: 0, delay, slow, phases };
        for (seed, name) in (0..).zip(names) {
            net.nodes.insert(id(name), Node::new(id(name), config.clone(), seed, now).unwrap());
            net.phases.insert(id(name), Phase::Operational);
        }
        net
    }

    /// Daemons with links between all of them, in one view, what led to it forgotten.
    pub(crate) fn together(names: &[&str], config: &Config, delay: Duration) -> Self {
        let mut net = Self::alone(names, config, delay);
        for (at, a) in names.iter().enumerate() {
            for b in &names[at + 1..] {
                net.link(a, b);
            }
        }
        net.run(Duration::from_secs(1));
        let members: Vec<_> = names.iter().map(|name| id(name)).collect();
        for name in names {
            assert_eq!(net.node(name).view().members[..], members[..]);
            assert_eq!(net.node(name).phase(), Phase::Operational);
        }
        net.forget();
        net
    }

    /// Without delay and with the settings that daemons have.
    pub(crate) fn new(names: &[&str], config: &Config) -> Self {
        Self::together(names, config, Duration::ZERO)
    }

    pub(crate) fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.get_mut(&id(name)).unwrap()
    }

    pub(crate) fn forget(&mut self) {
        self.events.clear();
        self.log.clear();
    }

    /// A link comes up.
    pub(crate) fn link(&mut self, a: &str, b: &str) {
        let now = self.now;
        for (end, peer) in [(a, b), (b, a)] {
            self.note(end, format!("link to {peer} comes up"));
            self.node(end).handle_link_up(id(peer), now);
        }
    }

    /// A link breaks, and loses what is on it; before anybody notices, there is a new one.
    pub(crate) fn relink(&mut self, a: &str, b: &str) {
        let now = self.now;
        self.lose_packets(a, b);
        for (end, peer) in [(a, b), (b, a)] {
            self.note(end, format!("a new link to {peer} replaces the old one"));
            self.node(end).handle_link_up(id(peer), now);
        }
    }

    fn lose_packets(&mut self, a: &str, b: &str) {
        let ends = [id(a), id(b)];
        self.wires.retain(|_, packet| !(ends.contains(&packet.from) && ends.contains(&packet.to)));
    }

    /// A link breaks, and loses what is on it; both ends notice at once.
    pub(crate) fn cut(&mut self, a: &str, b: &str) {
        self.cut_at(a, b);
        self.cut_at(b, a);
    }

    /// A link breaks, and only `end` notices so far; nothing arrives any more.
    pub(crate) fn cut_at(&mut self, end: &str, peer: &str) {
        let now = self.now;
        self.lose_packets(end, peer);
        self.note(end, format!("link to {peer} breaks"));
        self.node(end).handle_link_down(id(peer), now);
    }

    /// What `from` sends to `to` takes this long from now on.
    pub(crate) fn slow_down(&mut self, from: &str, to: &str, delay: Duration) {
        self.slow.insert((id(from), id(to)), delay);
    }

    /// A daemon leaves in order; its last words are on their way.
    pub(crate) fn stop(&mut self, name: &str) {
        self.note(name, "stops".to_owned());
        let now = self.now;
        self.node(name).leave_cluster(now);
        self.drain();
        self.nodes.remove(&id(name));
    }

    /// A daemon is gone, and what it had on the way with it.
    pub(crate) fn crash(&mut self, name: &str) {
        self.note(name, "crashes".to_owned());
        self.nodes.remove(&id(name));
        self.wires.retain(|_, packet| packet.from != id(name));
    }

    /// Delivers frames and fires timers until `span` has passed.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        for _ in 0..1_000_000 {
            self.drain();
            let timer = self.nodes.values().filter_map(Node::poll_timeout).min().unwrap();
            let arrival = self.wires.keys().next().map(|(at, _)| *at);
            let next = arrival.map_or(timer, |at| at.min(timer)).max(self.now);
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            if arrival.is_none_or(|at| at > next) {
                for node in self.nodes.values_mut() {
                    node.handle_timeout(next);
                }
                continue;
            }
            while let Some(first) = self.wires.first_entry().filter(|first| first.key().0 <= next) {
                let packet = first.remove();
                self.arrive(packet);
            }
        }
        panic!("the nodes never come to rest");
    }

    fn arrive(&mut self, packet: Packet) {
        let Packet { from, to, channel, payload } = packet;
        let Some(node) = self.nodes.get_mut(&to) else { return };
        if !node.linked().any(|peer| peer == from) {
            return;
        }
        let Some(payload) = payload else {
            self.log.push((self.now, to, Happening::Suffered(format!("{} gave the link up", from.name))));
            return node.handle_link_down(from, self.now);
        };
        self.log.push((self.now, to, Happening::Received { from, frame: payload.clone() }));
        match channel {
            Channel::Stream => node.handle_frame(from, payload, self.now).unwrap(),
            Channel::Datagram => node.handle_datagram(from, payload, self.now).unwrap(),
        }
    }

    /// Takes what the nodes have to say.
    pub(crate) fn drain(&mut self) {
        let now = self.now;
        let names: Vec<_> = self.nodes.keys().copied().collect();
        for name in names {
            let Some(node) = self.nodes.get_mut(&name) else { continue };
            let phase = node.phase();
            self.take_events(name);
            if let Some(from) = self.phases.insert(name, phase).filter(|from| *from != phase) {
                self.log.push((now, name, Happening::Entered { from, to: phase }));
            }
            while let Some(transmit) = self.nodes.get_mut(&name).and_then(|node| node.poll_transmit(now)) {
                let frame = transmit.payload.clone();
                self.log.push((now, name, Happening::Sent { to: transmit.to, frame }));
                self.carry(name, transmit.to, transmit.channel, Some(transmit.payload));
            }
            self.take_events(name);
            if let Some(node) = self.nodes.get(&name) {
                node.check_invariants();
            }
        }
    }

    /// Frames of a link stay in order, also when it becomes faster.
    fn carry(&mut self, from: DaemonId, to: DaemonId, channel: Channel, payload: Option<Bytes>) {
        let delay = self.slow.get(&(from, to)).copied().unwrap_or(self.delay);
        let same = self.wires.iter().filter(|(_, packet)| (packet.from, packet.to) == (from, to));
        let last = same.map(|((at, _), _)| *at).max().unwrap_or_default();
        self.number += 1;
        let packet = Packet { from, to, channel, payload };
        self.wires.insert(((self.now + delay).max(last), self.number), packet);
    }

    fn take_events(&mut self, name: DaemonId) {
        while let Some(event) = self.nodes.get_mut(&name).and_then(Node::poll_event) {
            if let Event::CloseLink { peer, .. } = event {
                self.wires.retain(|_, packet| (packet.from, packet.to) != (peer, name));
                self.carry(name, peer, Channel::Stream, None);
            }
            self.events.entry(name).or_default().push(event.clone());
            self.log.push((self.now, name, Happening::Reported(Box::new(event))));
        }
    }

    /// Puts what the test does to a node into the log.
    pub(crate) fn note(&mut self, name: &str, text: String) {
        self.log.push((self.now, id(name), Happening::Suffered(text)));
    }

    /// A session on `daemon` that has joined `groups`.
    pub(crate) fn member(&mut self, daemon: &str, groups: &[&str]) -> SessionId {
        self.session(daemon, None, groups)
    }

    /// A session with a name of its own that has joined `groups`.
    pub(crate) fn named(&mut self, daemon: &str, name: &str, groups: &[&str]) -> SessionId {
        self.session(daemon, Some(name), groups)
    }

    fn session(&mut self, daemon: &str, name: Option<&str>, groups: &[&str]) -> SessionId {
        let node = self.node(daemon);
        let session = node.connect(name.map(|name| name.parse().unwrap())).unwrap();
        for name in groups {
            node.join(session, group(name)).unwrap();
        }
        session
    }

    pub(crate) fn send(
        &mut self,
        daemon: &str,
        session: SessionId,
        service: Service,
        to: &[&str],
        text: &str,
    ) {
        let content = Content::new(to, 0, text.as_bytes()).unwrap();
        self.node(daemon).multicast(session, service, false, &content).unwrap();
    }

    /// What a session was told, in words, since the last `forget`.
    pub(crate) fn story(&self, daemon: &str, session: SessionId) -> Vec<String> {
        let mut story = Vec::new();
        for event in self.events.get(&id(daemon)).into_iter().flatten() {
            match event {
                Event::Message(m) if m.envelope.receivers.contains(&session) => {
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
