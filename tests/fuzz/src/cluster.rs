//! Three daemons in virtual time, of which one can be made to lie.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use stentor_membership::{
    Channel, Config, Content, DaemonId, Event, Node, Service, SessionId, Timestamp, View,
};

/// How long a frame is on its way.
const DELAY: Duration = Duration::from_millis(1);
/// When a link that was given up is dialled again.
const REDIAL: Duration = Duration::from_millis(20);

/// What is on its way, or is going to happen.
enum Due {
    Frame { link: u64, from: usize, to: usize, channel: Channel, payload: Bytes },
    Down { link: u64, at: usize, peer: usize },
    Dial { a: usize, b: usize },
}

/// What a daemon told its sessions, as far as it is looked at.
#[derive(Debug, Default)]
pub(crate) struct Story {
    /// Sender, number and level of the messages of this run, in order of their delivery.
    pub(crate) messages: Vec<(usize, u32, Service)>,
    pub(crate) views: Vec<View>,
}

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) ids: Vec<DaemonId>,
    pub(crate) sessions: Vec<SessionId>,
    pub(crate) stories: Vec<Story>,
    /// The latest frames that anybody sent, for those who repeat them.
    pub(crate) seen: Vec<(Channel, Bytes)>,
    /// By sender and receiver, how many frames are swallowed.
    pub(crate) swallow: BTreeMap<(usize, usize), u32>,
    /// The levels of the messages that each daemon took from its session.
    pub(crate) taken: Vec<Vec<Service>>,
    now: Timestamp,
    due: BTreeMap<(Timestamp, u64), Due>,
    number: u64,
    /// The link between two daemons, the lower one first, if it is up.
    links: BTreeMap<(usize, usize), u64>,
    /// A daemon that is gone.
    gone: Option<usize>,
}

/// The mark in front of messages of this run; nothing that is made up begins with it.
const MARK: &[u8] = b"true message of ";

impl Cluster {
    /// All in one view, each with a session in the group `g`.
    pub(crate) fn new(names: &[&str]) -> Self {
        let config = Config { window: 64 << 10, ..Config::default() };
        let now = Timestamp::ZERO;
        let (mut nodes, mut ids, mut sessions) = (Vec::new(), Vec::new(), Vec::new());
        for (seed, name) in (0..).zip(names) {
            let id = DaemonId { name: name.parse().unwrap(), incarnation: 1 };
            let mut node = Node::new(id, config.clone(), seed, now).unwrap();
            let session = node.connect(None).unwrap();
            node.join(session, "g".parse().unwrap()).unwrap();
            nodes.push(node);
            ids.push(id);
            sessions.push(session);
        }
        let stories = names.iter().map(|_| Story::default()).collect();
        let mut cluster = Self {
            taken: vec![Vec::new(); names.len()],
            nodes,
            ids,
            sessions,
            stories,
            seen: Vec::new(),
            swallow: BTreeMap::new(),
            now,
            due: BTreeMap::new(),
            number: 0,
            links: BTreeMap::new(),
            gone: None,
        };
        for a in 0..names.len() {
            for b in a + 1..names.len() {
                cluster.schedule(Duration::ZERO, Due::Dial { a, b });
            }
        }
        cluster.run(Duration::from_millis(300));
        assert!(cluster.nodes.iter().all(|node| node.view().members.len() == names.len()), "one view");
        cluster
    }

    /// A numbered message to everybody.
    pub(crate) fn send(&mut self, from: usize, service: Service) {
        let text = [MARK, format!("{from} {}", self.taken[from].len()).as_bytes()].concat();
        let content = Content::new(&["g"], 0, &text).unwrap();
        if self.nodes[from].multicast(self.sessions[from], service, false, &content).is_ok() {
            self.taken[from].push(service);
        }
    }

    /// Puts a frame of `from` on the wire, as if its node had sent it.
    pub(crate) fn inject(&mut self, from: usize, to: usize, channel: Channel, payload: Bytes) {
        if let Some(&link) = self.links.get(&pair(from, to)) {
            self.schedule(DELAY, Due::Frame { link, from, to, channel, payload });
        }
    }

    /// A link breaks; both ends notice, and dial again.
    pub(crate) fn cut(&mut self, a: usize, b: usize) {
        if let Some(link) = self.links.remove(&pair(a, b)) {
            for (at, peer) in [(a, b), (b, a)] {
                self.schedule(DELAY, Due::Down { link, at, peer });
            }
            self.schedule(REDIAL, Due::Dial { a, b });
        }
    }

    /// A daemon is gone for good.
    pub(crate) fn remove(&mut self, daemon: usize) {
        for other in 0..self.nodes.len() {
            self.cut(daemon, other);
        }
        self.gone = Some(daemon);
    }

    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.drain();
            let timer = self.nodes.iter().filter_map(Node::poll_timeout).min();
            let arrival = self.due.keys().next().map(|(at, _)| *at);
            let Some(next) = [timer, arrival].into_iter().flatten().min().filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            while let Some(first) = self.due.first_entry().filter(|first| first.key().0 <= self.now) {
                let due = first.remove();
                self.happen(due);
            }
            for node in &mut self.nodes {
                node.handle_timeout(self.now);
            }
        }
    }

    fn schedule(&mut self, after: Duration, due: Due) {
        self.number += 1;
        self.due.insert((self.now + after, self.number), due);
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Dial { a, b } => {
                if self.gone.is_some_and(|gone| gone == a || gone == b)
                    || self.links.contains_key(&pair(a, b))
                {
                    return;
                }
                self.number += 1;
                self.links.insert(pair(a, b), self.number);
                for (at, peer) in [(a, b), (b, a)] {
                    self.nodes[at].handle_link_up(self.ids[peer], self.now);
                }
            }
            Due::Down { link, at, peer } => {
                // A newer link has replaced it already.
                if self.links.get(&pair(at, peer)).is_none_or(|newer| *newer == link) {
                    self.nodes[at].handle_link_down(self.ids[peer], self.now);
                }
            }
            Due::Frame { link, from, to, channel, payload } => {
                if self.links.get(&pair(from, to)) != Some(&link) {
                    return;
                }
                let (node, from) = (&mut self.nodes[to], self.ids[from]);
                let _ = match channel {
                    Channel::Stream => node.handle_frame(from, payload, self.now),
                    Channel::Datagram => node.handle_datagram(from, payload, self.now),
                };
            }
        }
        self.drain();
    }

    fn drain(&mut self) {
        for at in 0..self.nodes.len() {
            while let Some(transmit) = self.nodes[at].poll_transmit(self.now) {
                let Some(to) = self.ids.iter().position(|id| *id == transmit.to) else { continue };
                if self.seen.len() < 1000 {
                    self.seen.push((transmit.channel, transmit.payload.clone()));
                }
                if let Some(count) = self.swallow.get_mut(&(at, to)).filter(|count| **count > 0) {
                    *count -= 1;
                    continue;
                }
                self.inject(at, to, transmit.channel, transmit.payload);
            }
            while let Some(event) = self.nodes[at].poll_event() {
                self.note(at, event);
            }
            self.nodes[at].check_invariants();
        }
    }

    fn note(&mut self, at: usize, event: Event) {
        match event {
            Event::CloseLink { peer, .. } => {
                let Some(peer) = self.ids.iter().position(|id| *id == peer) else { return };
                if let Some(link) = self.links.remove(&pair(at, peer)) {
                    self.schedule(DELAY, Due::Down { link, at: peer, peer: at });
                    self.schedule(REDIAL, Due::Dial { a: at, b: peer });
                }
            }
            Event::View(view) => self.stories[at].views.push(*view),
            Event::Message(message) => {
                let payload = message.content.payload();
                let Some(text) = payload.strip_prefix(MARK) else { return };
                let mut words = std::str::from_utf8(text).unwrap().split(' ');
                let mut number = || words.next().unwrap().parse::<u32>().unwrap();
                let (sender, number) = (number() as usize, number());
                if message.envelope.sender.daemon == self.ids[sender].name {
                    self.stories[at].messages.push((sender, number, message.service));
                }
            }
            _ => {}
        }
    }
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}
