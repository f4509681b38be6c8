//! The node that is watched, in any state of the view change; its peers are played by the test.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use stentor_membership::wire::{Body, Header, Origin, State as Held, Status, SyncPart, put_piece_head};
use stentor_membership::{
    Channel, Config, Content, DaemonId, Event, Node, Phase, Service, SessionId, Timestamp, ViewId,
};

/// The states of PROTOCOL.md's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Operational,
    Gathering,
    Frozen,
    Proposing,
    Accepted,
    Levelling,
    Recovered,
}

impl State {
    pub(crate) const ALL: [Self; 7] = [
        Self::Operational,
        Self::Gathering,
        Self::Frozen,
        Self::Proposing,
        Self::Accepted,
        Self::Levelling,
        Self::Recovered,
    ];

    /// The letter that stands for it in the table.
    pub(crate) fn letter(self) -> char {
        match self {
            Self::Operational => 'O',
            Self::Gathering => 'G',
            Self::Frozen => 'F',
            Self::Proposing => 'P',
            Self::Accepted => 'A',
            Self::Levelling => 'L',
            Self::Recovered => 'R',
        }
    }

    /// Whether a proposal is accepted.
    pub(crate) fn has_attempt(self) -> bool {
        self >= Self::Proposing
    }
}

/// What happened in the view before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Past {
    Plain,
    /// The link to `d` broke and came again.
    Broken,
    /// A frame of `d` came that `c` does not hold.
    Ahead,
}

/// All that a node holds, by layer, as text.
pub(crate) type Layers = BTreeMap<String, String>;

pub(crate) fn id(name: &str) -> DaemonId {
    DaemonId { name: name.parse().unwrap(), incarnation: 1 }
}

pub(crate) fn ids(names: &[&str]) -> Vec<DaemonId> {
    names.iter().map(|name| id(name)).collect()
}

/// The watched node `b`, in the view `b c d`. `e` is linked and has said nothing yet.
pub(crate) struct World {
    pub(crate) node: Node,
    pub(crate) now: Timestamp,
    /// The view of `b`, `c` and `d`.
    pub(crate) view: ViewId,
    /// The latest proposal that `b` made or accepted, and the members of the latest that a peer made.
    pub(crate) proposal: ViewId,
    pub(crate) members: Vec<DaemonId>,
    pub(crate) session: SessionId,
    /// What `b` answered to the latest proposal that it accepted.
    pub(crate) own: Option<Held>,
    /// The state and what the layers held when the input that is looked at came.
    pub(crate) before: (State, Layers),
    /// What the node got, sent and reported since then.
    pub(crate) given: Vec<Header>,
    pub(crate) sent: Vec<(DaemonId, Header)>,
    pub(crate) events: Vec<Event>,
}

/// The clock that everybody has announced in the view before the story begins.
pub(crate) const CLOCK: u64 = 10;

impl World {
    /// A world in which `b` is in `state` after `past`.
    pub(crate) fn new(state: State, past: Past) -> Self {
        let config = Config {
            window: 64 << 10,
            suspect_after_min: Duration::from_millis(200),
            suspect_after_max: Duration::from_millis(200),
            ..Config::default()
        };
        let now = Timestamp::ZERO;
        let mut node = Node::new(id("b"), config, 7, now).unwrap();
        let session = node.connect(None).unwrap();
        node.join(session, "g".parse().unwrap()).unwrap();
        let first = node.view().id;
        let before = (State::Operational, Layers::new());
        let (given, sent, events) = (Vec::new(), Vec::new(), Vec::new());
        let mut world = Self {
            node,
            now,
            view: first,
            proposal: first,
            members: ids(&["b", "c", "d"]),
            session,
            own: None,
            before,
            given,
            sent,
            events,
        };
        world.drain();
        world.enter_view();
        assert_eq!(world.state(), State::Operational);
        world.go_to(state, past);
        world.begin();
        world
    }

    /// From a view of its own, `b` merges with `c` and `d`; then the group table is complete.
    fn enter_view(&mut self) {
        for peer in ["c", "d"] {
            self.node.handle_link_up(id(peer), self.now);
        }
        for peer in ["c", "d"] {
            let own = ViewId { epoch: 0, proposer: id(peer) };
            self.give(peer, &Header::Status(Status { view: own, members: ids(&[peer]), ..self.status() }));
        }
        self.pass_time(&["c", "d"]);
        self.learn_proposal();
        for peer in ["c", "d"] {
            let own = ViewId { epoch: 0, proposer: id(peer) };
            let inside = Status {
                view: own,
                members: ids(&[peer]),
                gathering: true,
                attempt: Some(self.proposal),
                ..self.status()
            };
            self.give(peer, &Header::Status(inside));
            let state = Held { view: own, heard: vec![0], stable: 0, obliged: Vec::new() };
            self.give(peer, &Header::Accept { id: self.proposal, state });
        }
        for peer in ["c", "d"] {
            self.give(peer, &Header::Recovered { id: self.proposal });
        }
        self.view = self.proposal;
        for peer in ["c", "d"] {
            self.give(peer, &Header::Status(self.status()));
            let origin = Origin { complete: self.view, companions: ids(&[peer]) };
            let list = Body::Sync(SyncPart { origin, rows: Vec::new(), last: true });
            self.give_bytes(peer, data(self.view, CLOCK, 0, &list.encode()));
        }
        for horizon in [2, 2, CLOCK, CLOCK] {
            for peer in ["c", "d"] {
                self.give(peer, &Header::Progress { view: self.view, clock: CLOCK, horizon });
            }
        }
        assert_eq!(self.node.members("g".parse().unwrap()).len(), 1, "the group table is complete");
        self.node.handle_link_up(id("e"), self.now);
        self.drain();
    }

    fn go_to(&mut self, state: State, past: Past) {
        match state {
            State::Operational => assert_ne!(past, Past::Broken, "a view does not stand without its links"),
            State::Gathering => self.gather(past),
            State::Frozen => {
                self.go_to(State::Accepted, past);
                let inside = Status { gathering: true, attempt: Some(self.proposal), ..self.status() };
                self.give("c", &Header::Status(inside.clone()));
                self.give("c", &Header::Status(Status { attempt: None, ..inside }));
            }
            State::Proposing => {
                self.gather(past);
                self.pass_time(&["c", "d", "e"]);
                self.learn_proposal();
            }
            State::Accepted => {
                self.gather(past);
                self.propose("c", &["b", "c", "d"], 5);
                self.proposal = ViewId { epoch: 5, proposer: id("c") };
            }
            State::Levelling => {
                self.go_to(State::Accepted, past);
                self.recover(2);
            }
            State::Recovered => {
                self.go_to(State::Accepted, past);
                self.recover(0);
            }
        }
    }

    fn gather(&mut self, past: Past) {
        match past {
            Past::Plain => {}
            Past::Broken => {
                self.node.handle_link_down(id("d"), self.now);
                self.node.handle_link_up(id("d"), self.now);
            }
            Past::Ahead => self.give_bytes("d", data(self.view, CLOCK + 1, CLOCK, &message())),
        }
        self.give("d", &Header::Status(self.status()));
        self.give("c", &Header::Status(Status { gathering: true, ..self.status() }));
    }

    /// What a peer tells that is in the view and linked with everybody.
    pub(crate) fn status(&self) -> Status {
        Status {
            linked: ids(&["a", "b", "c", "d", "e"]),
            view: self.view,
            members: ids(&["b", "c", "d"]),
            gathering: false,
            attempt: None,
            epoch: 1,
        }
    }

    /// What a member holds of the view that has `more` frames of `d` beyond what was there before the story.
    pub(crate) fn held(&self, more: u64) -> Held {
        Held { view: self.view, heard: vec![CLOCK, CLOCK, CLOCK + more], stable: CLOCK, obliged: Vec::new() }
    }

    pub(crate) fn propose(&mut self, from: &str, members: &[&str], epoch: u64) {
        let proposed = ViewId { epoch, proposer: id(from) };
        self.members = ids(members);
        self.give(from, &Header::Propose { id: proposed, members: ids(members) });
    }

    /// `c` sends the answers of all; `d` has sent `more` frames than `c` holds.
    pub(crate) fn recover(&mut self, more: u64) {
        let states = vec![self.own.clone().unwrap_or_else(|| self.held(0)), self.held(0), self.held(more)];
        self.give("c", &Header::Recover { id: self.proposal, states });
    }

    /// A resend of the `nth` frame of `d` that `b` lacks; it lacks two.
    pub(crate) fn resend(&self, nth: u64) -> Bytes {
        let mut frame = BytesMut::new();
        let after = if nth == 2 { CLOCK + 1 } else { CLOCK };
        Header::Resend { id: self.proposal, rank: 2, after }.encode_into(&mut frame);
        frame.extend_from_slice(&data(self.view, CLOCK + nth, CLOCK, &message()));
        frame.freeze()
    }

    /// `a`, which is to propose in front of `b`, is linked with all and gathers.
    pub(crate) fn bring_another_proposer(&mut self) {
        self.node.handle_link_up(id("a"), self.now);
        let own = ViewId { epoch: 0, proposer: id("a") };
        let status = Status { view: own, members: ids(&["a"]), gathering: true, ..self.status() };
        self.give("a", &Header::Status(status));
    }

    /// Hands a frame of `from` to the node; what no honest peer sends is refused, and shows as a closed link.
    pub(crate) fn give(&mut self, from: &str, header: &Header) {
        self.give_bytes(from, header.encode());
    }

    pub(crate) fn give_bytes(&mut self, from: &str, frame: Bytes) {
        self.given.extend(Header::decode(&frame).map(|(header, _)| header));
        let _ = self.node.handle_frame(id(from), frame, self.now);
        self.drain();
    }

    pub(crate) fn give_datagram(&mut self, from: &str, header: &Header, body: &[u8]) {
        let datagram = [&header.encode()[..], body].concat();
        self.given.push(header.clone());
        let _ = self.node.handle_datagram(id(from), datagram.into(), self.now);
        self.drain();
    }

    /// Lets time pass, with signs of life of `living`, until the agreement does something.
    pub(crate) fn pass_time(&mut self, living: &[&str]) {
        for _ in 0..100 {
            self.begin();
            self.now = self.now.max(self.node.poll_timeout().unwrap());
            for peer in living {
                let elsewhere = ViewId { epoch: 0, proposer: id(peer) };
                let alive = Header::Heartbeat { view: elsewhere, clock: 0, horizon: 0, sent: 0 };
                self.give_datagram(peer, &alive, &[]);
            }
            self.node.handle_timeout(self.now);
            self.drain();
            self.sent.retain(|(_, header)| !matches!(header, Header::Heartbeat { .. }));
            self.given.clear();
            if self.layers()["agreement"] != self.before.1["agreement"] {
                return;
            }
        }
        panic!("nothing happens: {:#?}", self.node);
    }

    pub(crate) fn learn_proposal(&mut self) {
        let proposed = self.sent.iter().find_map(|(_, header)| match header {
            Header::Propose { id, .. } => Some(*id),
            _ => None,
        });
        self.proposal = proposed.expect("b proposes");
    }

    pub(crate) fn drain(&mut self) {
        while let Some(transmit) = self.node.poll_transmit(self.now) {
            let (header, _) = Header::decode(&transmit.payload).unwrap();
            let datagram = matches!(header, Header::Heartbeat { .. } | Header::Unreliable { .. });
            assert_eq!(transmit.channel == Channel::Datagram, datagram, "{header:?}");
            if let Header::Accept { state, .. } = &header {
                self.own = Some(state.clone());
            }
            self.sent.push((transmit.to, header));
        }
        while let Some(event) = self.node.poll_event() {
            self.events.push(event);
        }
        self.node.check_invariants();
    }

    /// What comes from here on is looked at.
    pub(crate) fn begin(&mut self) {
        self.before = (self.state(), self.layers());
        self.given.clear();
        self.sent.clear();
        self.events.clear();
    }

    /// All that the layers hold, but when peers were heard: anything that arrives is a sign of life.
    pub(crate) fn layers(&self) -> Layers {
        let mut layers = Layers::new();
        let mut name = String::new();
        for line in format!("{:#?}", self.node).lines() {
            let field = line.strip_prefix("    ").filter(|rest| !rest.starts_with([' ', '}', ']', ')']));
            if let Some((field, _)) = field.and_then(|rest| rest.split_once(':')) {
                field.clone_into(&mut name);
            }
            let layer = layers.entry(name.clone()).or_default();
            layer.push_str(line);
            layer.push('\n');
        }
        layers.remove("detector").expect("the node shows its layers");
        layers.retain(|name, _| !matches!(&name[..], "" | "id" | "view" | "phase"));
        layers
    }

    /// The state that the node is in.
    pub(crate) fn state(&self) -> State {
        let layers = self.layers();
        let (agreement, ordering) = (&layers["agreement"], &layers["ordering"]);
        match self.node.phase() {
            Phase::Operational => State::Operational,
            Phase::Gathering if ordering.contains("frozen: true") => State::Frozen,
            Phase::Gathering => State::Gathering,
            Phase::Recovering if agreement.contains("proposal: Some(") => State::Proposing,
            Phase::Recovering if agreement.contains("plan: None") => State::Accepted,
            Phase::Recovering => {
                let said = agreement.split("recovered: {").nth(1).and_then(|rest| rest.split('}').next());
                let mine = said.is_some_and(|names| names.contains("b~1"));
                if mine { State::Recovered } else { State::Levelling }
            }
        }
    }
}

/// A data frame of `view` with one message of the daemon itself.
pub(crate) fn data(view: ViewId, clock: u64, horizon: u64, body: &[u8]) -> Bytes {
    piece(view, clock, horizon, body, true)
}

/// A data frame with the beginning of a message, which is all of it if it is the `last` piece as well.
pub(crate) fn piece(view: ViewId, clock: u64, horizon: u64, body: &[u8], last: bool) -> Bytes {
    let mut frame = BytesMut::new();
    Header::Data { view, clock, horizon }.encode_into(&mut frame);
    put_piece_head(&mut frame, 0, Service::Agreed, true, last, body.len());
    frame.extend_from_slice(body);
    frame.freeze()
}

/// A message to the group `g` as frames carry it.
pub(crate) fn message() -> Vec<u8> {
    let head = Body::Multicast { sender: "s".parse().unwrap(), discard_self: false }.encode();
    [&head[..], &Content::new(&["g"], 0, b"text").unwrap().encoded()[..]].concat()
}
