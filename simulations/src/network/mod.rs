//! The network between the daemons: links that are reliable and in order while they last, datagrams that are
//! not, and everything that can go wrong with both.
//!
//! A host is a place where a daemon can run; a process is one run. Each direction of a link carries items that are
//! numbered; a break loses a random tail of what is under way, and each end hears of it in its own time. A blocked
//! direction holds what is sent (as a transport that sends again would) until it opens or the link ends.

mod link;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use stentor_membership::Timestamp;

pub(crate) use self::link::{Arrival, Item, LinkId, Side};
use self::link::{End, Link, State};
use crate::dice::Dice;
use crate::options::NetworkOptions;

/// How many doubled datagrams come a second time so late that the view has changed meanwhile.
const LATE_COPY_PERMILLE: u32 = 200;

/// Bytes that a packet carries, and what Ethernet, IP, UDP and QUIC add to them.
const PACKET: usize = 1200;
const PACKET_HEADS: usize = 100;

/// What the network wants to happen later.
pub(crate) type Planned = Vec<(Timestamp, Arrival)>;

/// How long a direction between two hosts takes.
#[derive(Clone, Copy, Debug)]
struct Path {
    latency: Duration,
    jitter: Duration,
    clogged_until: Timestamp,
    /// When all that was given to it will have set off: what comes later queues behind it.
    free_at: Timestamp,
}

/// All links and the state of the wires.
#[derive(Debug)]
pub(crate) struct Network {
    options: NetworkOptions,
    dice: Dice,
    hosts: usize,
    links: Vec<Link>,
    paths: Vec<Path>,
    blocked: BTreeSet<(usize, usize)>,
    undialable: BTreeSet<(usize, usize)>,
    /// Whether datagrams get lost and doubled and breaks are noticed late.
    faulty: bool,
    /// Whether hosts are alike, with one wire each, and links end as they should: what was sent before arrives, and a
    /// break shows after the idle timeout.
    even: bool,
}

impl Network {
    pub(crate) fn new(hosts: usize, options: NetworkOptions, mut dice: Dice) -> Self {
        let paths = (0..hosts * hosts)
            .map(|_| {
                let slow = dice.chance(options.slow_path_permille);
                let mean = if slow { options.latency * 20 } else { options.latency };
                let latency = dice.exponential(mean).min(options.latency_max);
                Path {
                    latency,
                    jitter: mean.min(options.latency_max),
                    clogged_until: Timestamp::ZERO,
                    free_at: Timestamp::ZERO,
                }
            })
            .collect();
        Self {
            options,
            dice,
            hosts,
            links: Vec::new(),
            paths,
            blocked: BTreeSet::new(),
            undialable: BTreeSet::new(),
            faulty: true,
            even: false,
        }
    }

    /// Makes all paths alike, gives each host one wire for all that it sends, and lets links end without bad luck: for
    /// measurements.
    pub(crate) fn make_even(&mut self, latency: Duration, jitter: Duration) {
        self.even = true;
        for path in &mut self.paths {
            (path.latency, path.jitter) = (latency, jitter);
        }
    }

    /// Whether a new link between two hosts can come up.
    pub(crate) fn can_dial(&self, a: usize, b: usize) -> bool {
        let pair = (a.min(b), a.max(b));
        !self.blocked.contains(&(a, b)) && !self.blocked.contains(&(b, a)) && !self.undialable.contains(&pair)
    }

    /// A handshake succeeded: both ends hear of it, each in its own time.
    pub(crate) fn connect(
        &mut self,
        dialer: (usize, usize),
        acceptor: (usize, usize),
        now: Timestamp,
    ) -> (LinkId, Planned) {
        let link = LinkId(self.links.len());
        self.links.push(Link {
            dialer: End::new(dialer.0, dialer.1, now),
            acceptor: End::new(acceptor.0, acceptor.1, now),
        });
        let mut planned = Planned::new();
        for to in [Side::Dialer, Side::Acceptor] {
            let at = self.arrival(link, to, 0, now);
            self.links[link.0].end_mut(to).last_arrival = at;
            planned.push((at, Arrival { link, to, sent: now, item: Item::Up }));
        }
        (link, planned)
    }

    /// The process at an end.
    pub(crate) fn process(&self, link: LinkId, side: Side) -> usize {
        self.links[link.0].end(side).process
    }

    /// The host at an end.
    pub(crate) fn host(&self, link: LinkId, side: Side) -> usize {
        self.links[link.0].end(side).host
    }

    /// The end of a link that a process has.
    pub(crate) fn side_of(&self, link: LinkId, process: usize) -> Side {
        if self.links[link.0].dialer.process == process { Side::Dialer } else { Side::Acceptor }
    }

    /// An item arrives; false if it does not count any more.
    pub(crate) fn accept(&mut self, arrival: &Arrival) -> bool {
        let end = self.links[arrival.link.0].end_mut(arrival.to);
        match arrival.item {
            Item::Up => end.state == State::Opening,
            Item::Down => end.state != State::Closed,
            Item::Datagram(_) => end.state == State::Up,
            Item::Frame(number, _) => {
                let counts = end.state != State::Closed && number < end.lost_from;
                if counts {
                    end.arrived = number + 1;
                }
                counts
            }
        }
    }

    /// The process at an end has taken note that the link is up.
    pub(crate) fn opened(&mut self, link: LinkId, side: Side) {
        let end = self.links[link.0].end_mut(side);
        if end.state == State::Opening {
            end.state = State::Up;
        }
    }

    /// The process at an end has taken note that the link ended.
    pub(crate) fn closed(&mut self, link: LinkId, side: Side) {
        let end = self.links[link.0].end_mut(side);
        end.state = State::Closed;
        end.held.clear();
    }

    pub(crate) fn is_closed(&self, link: LinkId, side: Side) -> bool {
        self.links[link.0].end(side).state == State::Closed
    }

    /// A frame leaves toward `to`.
    pub(crate) fn send_frame(&mut self, link: LinkId, to: Side, frame: Bytes, now: Timestamp) -> Planned {
        let (from, at) = (self.host(link, to.other()), self.host(link, to));
        let end = self.links[link.0].end_mut(to);
        let number = end.sent;
        end.sent += 1;
        if end.state == State::Closed || number >= end.lost_from {
            return Planned::new();
        }
        if self.blocked.contains(&(from, at)) {
            end.held.push_back((number, frame));
            return Planned::new();
        }
        vec![self.plan_frame(link, to, (number, frame), now)]
    }

    fn plan_frame(
        &mut self,
        link: LinkId,
        to: Side,
        (number, frame): (u64, Bytes),
        now: Timestamp,
    ) -> (Timestamp, Arrival) {
        let at = self.arrival(link, to, frame.len(), now);
        let end = self.links[link.0].end_mut(to);
        end.last_arrival = end.last_arrival.max(at);
        (end.last_arrival, Arrival { link, to, sent: now, item: Item::Frame(number, frame) })
    }

    /// A datagram leaves toward `to`: it may get lost, on the way or in a full queue, come late, or come twice.
    pub(crate) fn send_datagram(
        &mut self,
        link: LinkId,
        to: Side,
        datagram: &Bytes,
        now: Timestamp,
    ) -> Planned {
        let (from, at) = (self.host(link, to.other()), self.host(link, to));
        if self.blocked.contains(&(from, at)) || self.links[link.0].end(to).lost_from != u64::MAX {
            return Planned::new();
        }
        let copies = match self.faulty {
            true if self.dice.chance(self.options.loss_permille) => 0,
            true if self.dice.chance(self.options.duplicate_permille) => 2,
            _ => 1,
        };
        if self.paths[from * self.hosts + at].free_at > now + self.options.queue {
            return Planned::new();
        }
        let mut planned = Planned::new();
        for copy in 0..copies {
            let mut at = self.arrival(link, to, datagram.len(), now);
            if copy > 0 && self.dice.chance(LATE_COPY_PERMILLE) {
                at = at + self.dice.span(Duration::ZERO, self.options.idle_timeout);
            }
            let item = Item::Datagram(datagram.clone());
            planned.push((at, Arrival { link, to, sent: now, item }));
        }
        planned
    }

    /// When something of `size` bytes arrives that is given to the wire now.
    fn arrival(&mut self, link: LinkId, to: Side, size: usize, now: Timestamp) -> Timestamp {
        let (from, to) = (self.host(link, to.other()), self.host(link, to));
        // Where it queues: in an even network its host has one wire to all, in the place of a path to itself.
        let (wire, size) = if self.even { (from, on_the_wire(size)) } else { (to, size) };
        let nanos = (size as u64).saturating_mul(1_000_000_000).checked_div(self.options.bandwidth);
        let wire = &mut self.paths[from * self.hosts + wire];
        wire.free_at = wire.free_at.max(now) + Duration::from_nanos(nanos.unwrap_or(0));
        let free_at = wire.free_at;
        let path = &self.paths[from * self.hosts + to];
        let jitter = self.dice.exponential(path.jitter).min(self.options.latency_max);
        (free_at + path.latency + jitter).max(path.clogged_until)
    }

    /// The network loses a link: the tail of what is under way is lost, and each end notices in its own time.
    pub(crate) fn break_link(&mut self, link: LinkId, now: Timestamp) -> Planned {
        [Side::Dialer, Side::Acceptor].into_iter().flat_map(|to| self.cut(link, to, now)).collect()
    }

    /// One end closed the link; what it sent before may still arrive.
    pub(crate) fn close(&mut self, link: LinkId, side: Side, now: Timestamp) -> Planned {
        self.closed(link, side);
        let (from, to) = (self.host(link, side), self.host(link, side.other()));
        let end = self.links[link.0].end_mut(side.other());
        if end.state == State::Closed {
            return Planned::new();
        }
        if self.blocked.contains(&(from, to)) || !self.even && self.dice.chance(300) {
            return self.cut(link, side.other(), now);
        }
        let item = Item::Down;
        let at =
            self.arrival(link, side.other(), 0, now).max(self.links[link.0].end(side.other()).last_arrival);
        // What a break lost before stays lost.
        let end = self.links[link.0].end_mut(side.other());
        end.lost_from = end.lost_from.min(end.sent);
        vec![(at, Arrival { link, to: side.other(), sent: now, item })]
    }

    /// One direction loses a random tail of what is under way, and its end will notice.
    fn cut(&mut self, link: LinkId, to: Side, now: Timestamp) -> Planned {
        let end = self.links[link.0].end_mut(to);
        if end.state == State::Closed {
            return Planned::new();
        }
        end.held.clear();
        let survivors = self.dice.between(end.arrived, end.sent);
        end.lost_from = end.lost_from.min(survivors);
        let notice = self.notice();
        vec![(now + notice, Arrival { link, to, sent: now, item: Item::Down })]
    }

    /// How long a transport takes to notice that nobody is there.
    fn notice(&mut self) -> Duration {
        if self.even || self.dice.chance(200) {
            return self.options.idle_timeout;
        }
        self.dice.exponential(self.options.notice).min(self.options.idle_timeout)
    }

    /// All links that are not closed at both ends, by number.
    pub(crate) fn open_links(&self) -> Vec<LinkId> {
        let open = |link: &Link| link.dialer.state != State::Closed || link.acceptor.state != State::Closed;
        (0..self.links.len()).filter(|i| open(&self.links[*i])).map(LinkId).collect()
    }

    /// Blocks one direction between two hosts.
    pub(crate) fn block(&mut self, from: usize, to: usize) {
        self.blocked.insert((from, to));
    }

    /// Lets no new link come up between two hosts.
    pub(crate) fn forbid(&mut self, a: usize, b: usize) {
        self.undialable.insert((a.min(b), a.max(b)));
    }

    /// Nothing arrives in one direction for a while, then all at once.
    pub(crate) fn clog(&mut self, from: usize, to: usize, until: Timestamp) {
        self.paths[from * self.hosts + to].clogged_until = until;
    }

    /// From now on only what is parted stays so, and wires are as wide as anybody needs.
    pub(crate) fn calm(&mut self, now: Timestamp) {
        self.faulty = false;
        self.options.bandwidth = 0;
        for path in &mut self.paths {
            path.free_at = path.free_at.min(now);
            path.clogged_until = path.clogged_until.min(now);
        }
    }

    /// Everybody can reach everybody again; what was held sets off.
    pub(crate) fn heal(&mut self, now: Timestamp) -> Planned {
        self.blocked.clear();
        self.undialable.clear();
        for path in &mut self.paths {
            path.clogged_until = path.clogged_until.min(now);
        }
        let mut planned = Planned::new();
        for number in 0..self.links.len() {
            for to in [Side::Dialer, Side::Acceptor] {
                for held in std::mem::take(&mut self.links[number].end_mut(to).held) {
                    planned.push(self.plan_frame(LinkId(number), to, held, now));
                }
            }
        }
        planned
    }
}

/// What something takes on a wire: packets of QUIC, with the heads of all layers below it.
fn on_the_wire(size: usize) -> usize {
    size + size.div_ceil(PACKET).max(1) * PACKET_HEADS
}

#[cfg(test)]
mod tests;
