//! A node in a view of three, with local sessions. The other two daemons are real until the view stands; after that only
//! what they say is left of them, so that nothing but the node's own work is measured.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use stentor_membership::wire::Header;
use stentor_membership::{
    Channel, Config, DaemonId, Event, GroupName, Node, Service, SessionId, Timestamp, ViewId,
};

use crate::peer::put_message;

/// Rounds of talk until the view must stand; it takes some ten.
const ROUNDS: usize = 1000;

pub(crate) struct Stage {
    pub(crate) node: Node,
    pub(crate) sessions: Vec<SessionId>,
    view: ViewId,
    /// The sender of data, and one that only listens.
    sender: DaemonId,
    listener: DaemonId,
    /// The highest clock that anybody has.
    clock: u64,
    now: Timestamp,
}

fn id(name: &str) -> DaemonId {
    DaemonId { name: name.parse().unwrap(), incarnation: 0x5eed_0fb6_e4a1_9c03 }
}

impl Stage {
    /// With `sessions` sessions, each in the first `groups` of [`group`].
    pub(crate) fn new(sessions: usize, groups: usize) -> Self {
        let ids = ["berlin", "lyon", "porto"].map(id);
        let mut now = Timestamp::ZERO;
        let mut nodes: Vec<_> =
            (0..).zip(ids).map(|(seed, id)| Node::new(id, Config::default(), seed, now).unwrap()).collect();
        let sessions = (0..sessions).map(|_| open(&mut nodes[0], groups, now)).collect();
        for (at, node) in nodes.iter_mut().enumerate() {
            for (_, peer) in ids.iter().enumerate().filter(|(peer, _)| *peer != at) {
                node.handle_link_up(*peer, now);
            }
        }
        let mut clock = 0;
        for _ in 0..ROUNDS {
            now = now + Duration::from_millis(1);
            clock = clock.max(talk(&mut nodes, now));
        }
        let node = nodes.swap_remove(0);
        assert!(node.view().members[..] == ids && node.knows_groups(), "one view of all");
        let [_, sender, listener] = ids;
        let view = node.view().id;
        let mut stage = Self { node, sessions, view, sender, listener, clock, now };
        stage.drain();
        stage
    }

    /// A data frame of the sender arrives, and at once the others know of it. What then is due is delivered; gives the
    /// number of messages. Both peers' headers are written here, too, since their clocks advance: that is little beside
    /// a frame of many messages, and about a quarter of the cost of a frame of one.
    pub(crate) fn take_in(&mut self, pieces: &[u8]) -> usize {
        let horizon = self.clock;
        self.clock += 1;
        let mut frame = BytesMut::with_capacity(pieces.len() + 128);
        Header::Data { view: self.view, clock: self.clock, horizon }.encode_into(&mut frame);
        frame.extend_from_slice(pieces);
        self.node.handle_frame(self.sender, frame.freeze(), self.now).unwrap();
        self.hear(&[self.listener], horizon);
        self.drain()
    }

    /// Sends what waits, of which the others hear at once; gives the number of data frames, each of which goes to two.
    pub(crate) fn send(&mut self) -> usize {
        let mut sent = 0;
        while let Some(transmit) = self.node.poll_transmit(self.now) {
            sent += usize::from(transmit.channel == Channel::Stream);
        }
        let frames = sent / 2;
        let horizon = self.clock;
        self.clock += frames as u64;
        self.hear(&[self.sender, self.listener], horizon);
        frames
    }

    /// Peers say that they know of the latest frame, and hold everything up to `horizon`.
    fn hear(&mut self, peers: &[DaemonId], horizon: u64) {
        let progress = Header::Progress { view: self.view, clock: self.clock, horizon }.encode();
        for peer in peers {
            self.node.handle_frame(*peer, progress.clone(), self.now).unwrap();
        }
    }

    /// Takes all output, as a driver does; gives the number of messages delivered.
    pub(crate) fn drain(&mut self) -> usize {
        while self.node.poll_transmit(self.now).is_some() {}
        messages(&mut self.node)
    }
}

pub(crate) fn group(number: usize) -> String {
    format!("orders-{number}")
}

fn messages(node: &mut Node) -> usize {
    let mut count = 0;
    while let Some(event) = node.poll_event() {
        count += usize::from(matches!(std::hint::black_box(event), Event::Message(_)));
    }
    count
}

/// A session that joins while the node is alone.
fn open(node: &mut Node, groups: usize, now: Timestamp) -> SessionId {
    let session = node.connect(None).unwrap();
    for number in 0..groups {
        node.join(session, GroupName::new(&group(number)).unwrap()).unwrap();
    }
    while node.poll_transmit(now).is_some() {}
    messages(node);
    session
}

/// Lets the nodes exchange what they have to say until they fall silent; gives the highest clock that was named.
fn talk(nodes: &mut [Node], now: Timestamp) -> u64 {
    let mut clock = 0;
    loop {
        let mut said = Vec::new();
        for node in nodes.iter_mut() {
            node.handle_timeout(now);
            while let Some(transmit) = node.poll_transmit(now) {
                said.push((node.id(), transmit));
            }
            messages(node);
        }
        if said.is_empty() {
            return clock;
        }
        for (from, transmit) in said {
            if let Ok((Header::Data { clock: named, .. } | Header::Progress { clock: named, .. }, _)) =
                Header::decode(&transmit.payload)
            {
                clock = clock.max(named);
            }
            let node = nodes.iter_mut().find(|node| node.id() == transmit.to).unwrap();
            match transmit.channel {
                Channel::Stream => node.handle_frame(from, transmit.payload, now).unwrap(),
                Channel::Datagram => node.handle_datagram(from, transmit.payload, now).unwrap(),
            }
        }
    }
}

/// The pieces of a data frame: a message of one session after the other.
pub(crate) fn pieces<'a>(service: Service, messages: impl Iterator<Item = &'a Bytes>) -> Bytes {
    let mut out = BytesMut::new();
    for message in messages {
        put_message(&mut out, 1, service, message);
    }
    out.freeze()
}
