//! One step of a daemon: it takes what has arrived, hands it to its node, and does what the node asks for.

use stentor_membership::{Channel, DaemonId, Event, Stats, Timestamp, Transmit};

use crate::chronicle::Moment;
use crate::cluster::{Cluster, Task};
use crate::daemon::{Daemon, Input};
use crate::network::{Arrival, Item, LinkId, Side};
use crate::trace::digest;

/// A node that gives more frames or events than this in one step will never stop.
const OUTPUTS_MAX: usize = 200_000;
/// What frames may need beyond their configured size: statuses, the heads of resends.
const FRAME_SLACK: usize = 4096;
/// What each member's answer to a proposal may need in the frame that holds all of them, and in it each member's clock.
const ANSWER: usize = 64;
const CLOCK: usize = 8;
/// So many times in a row a timer may be due at once when it was just handled.
const SPINS_MAX: u32 = 3;

impl Cluster {
    /// A daemon works off its inbox, or a part of it.
    pub(crate) fn step(&mut self, host: usize) {
        let Some(mut daemon) = self.hosts[host].daemon.take() else { return };
        daemon.wake = None;
        let before = daemon.moment();
        let all = daemon.inbox.len();
        let partial = all > 1 && self.dice.chance(self.options.machine.partial_permille);
        let count = if partial { self.dice.index(all) + 1 } else { all };
        let (mut leaves, mut timer) = (false, false);
        for input in daemon.inbox.drain(..count).collect::<Vec<_>>() {
            timer |= matches!(input, Input::Timer);
            if let Input::Leave(patience) = input {
                leaves = self.leave(&mut daemon, patience);
            } else {
                self.handle(&mut daemon, input);
            }
            if leaves {
                break;
            }
        }
        self.drain(&mut daemon);
        if timer && !leaves {
            self.check_timer(&mut daemon);
        }
        daemon.node.check_invariants();
        let stats = daemon.node.stats();
        self.check_memory(&daemon, &stats);
        if before.0 != daemon.node.phase() {
            daemon.resent_before = stats.frames_resent;
        }
        let (now, after) = (self.schedule.now(), daemon.moment());
        self.chronicle.follow(now, &self.history, daemon.number, host);
        if before.0 != after.0 {
            self.chronicle.note(now, || Moment::Phase { host, phase: after.0 });
        }
        self.hosts[host].daemon = Some(daemon);
        if leaves {
            return self.gone(host);
        }
        if before != after {
            self.observe_change(host);
        }
        self.wake(host);
    }

    fn handle(&mut self, daemon: &mut Daemon, input: Input) {
        let now = self.schedule.now();
        if self.trace.is_on() {
            self.note(format_args!("{} < {}", daemon.id(), self.describe(&input)));
        }
        match input {
            Input::Arrival(arrival) => self.arrive(daemon, arrival),
            Input::Timer => {
                daemon.timer = None;
                daemon.node.handle_timeout(now);
            }
            Input::Work if daemon.leaving => {}
            Input::Work => {
                self.take_events(daemon);
                daemon.clients.read_slowly();
                let done = self.workload.act(&mut daemon.clients, &mut daemon.node, &mut self.history);
                done.unwrap_or_else(|broken| self.fail(broken));
            }
            Input::Retry(session) => {
                let asked = daemon.clients.retry(&mut daemon.node, &mut self.history, session);
                asked.unwrap_or_else(|broken| self.fail(broken));
            }
            Input::Cut(session) => {
                self.take_events(daemon);
                self.counts.cut += 1;
                daemon.clients.disconnect(&mut daemon.node, &mut self.history, session);
            }
            Input::Probe => {
                let done = self.workload.probe(&mut daemon.clients, &mut daemon.node, &mut self.history);
                done.unwrap_or_else(|broken| self.fail(broken));
            }
            Input::Send { count, size } => {
                let done =
                    self.workload.send(&mut daemon.clients, &mut daemon.node, &mut self.history, count, size);
                done.unwrap_or_else(|broken| self.fail(broken));
            }
            // Handled by its caller, who ends the step with it.
            Input::Leave(_) => {}
        }
    }

    /// An orderly stop waits a while for what is under way; true when the daemon ends now.
    fn leave(&mut self, daemon: &mut Daemon, patience: u32) -> bool {
        let now = self.schedule.now();
        self.drain(daemon);
        if daemon.node.has_unfinished_sends() && patience > 0 {
            let (process, pause) = (daemon.number, self.options.node.heartbeat / 4);
            self.schedule.after(pause, Task::Leave { process, patience: patience - 1 });
            return false;
        }
        daemon.node.leave_cluster(now);
        true
    }

    /// A timer that was handled must not be due at once again and again: a daemon would spin.
    fn check_timer(&mut self, daemon: &mut Daemon) {
        let now = self.schedule.now();
        let again = daemon.node.poll_timeout().is_some_and(|due| due <= now);
        daemon.spins = if again { daemon.spins + 1 } else { 0 };
        if daemon.spins > SPINS_MAX {
            self.fail(format!("{} sets its timer to the past again and again", daemon.id()));
        }
    }

    /// What a node keeps is bounded by the windows of all members.
    fn check_memory(&mut self, daemon: &Daemon, stats: &Stats) {
        let node = &self.options.node;
        let windows = (node.window + node.frame) * daemon.node.view().members.len();
        let permille = (stats.retained_bytes * 1000 / windows) as u64;
        self.counts.most_retained = self.counts.most_retained.max(permille);
        // A node may lag behind in what it knows to be everywhere by as much again.
        if permille > 2000 {
            let kept = stats.retained_bytes;
            self.fail(format!("{} keeps {kept} bytes for recovery, twice all windows", daemon.id()));
        }
    }

    fn describe(&self, input: &Input) -> String {
        let Input::Arrival(Arrival { link, to, item, .. }) = input else { return format!("{input:?}") };
        let peer = self.history.processes[self.network.process(*link, to.other())].id;
        match item {
            Item::Frame(number, frame) => format!("{link:?} from {peer} frame {number}: {}", digest(frame)),
            Item::Datagram(datagram) => format!("{link:?} from {peer} datagram: {}", digest(datagram)),
            Item::Up | Item::Down => format!("{link:?} to {peer} is {item:?}"),
        }
    }

    fn arrive(&mut self, daemon: &mut Daemon, Arrival { link, to, item, .. }: Arrival) {
        let now = self.schedule.now();
        let peer = self.history.processes[self.network.process(link, to.other())].id;
        let current = daemon.links.get(&peer) == Some(&link);
        let result = match item {
            Item::Up => {
                self.link_up(daemon, link, to);
                Ok(())
            }
            Item::Down => {
                self.network.closed(link, to);
                if current {
                    daemon.links.remove(&peer);
                    daemon.node.handle_link_down(peer, now);
                }
                self.consider_dial(daemon.host, self.network.host(link, to.other()));
                Ok(())
            }
            Item::Frame(_, frame) if current => daemon.node.handle_frame(peer, frame, now),
            Item::Datagram(datagram) if current => daemon.node.handle_datagram(peer, datagram, now),
            Item::Frame(..) | Item::Datagram(_) => Ok(()),
        };
        if let Err(error) = result {
            self.fail(format!("{} says that {peer} breaks the protocol: {error}", daemon.id()));
        }
    }

    /// A link is up at this end. It takes the place of an older one to the same daemon, and perhaps of one to an
    /// earlier incarnation of it.
    fn link_up(&mut self, daemon: &mut Daemon, link: LinkId, side: Side) {
        if self.network.is_closed(link, side) {
            return;
        }
        let now = self.schedule.now();
        let peer = self.history.processes[self.network.process(link, side.other())].id;
        let former = daemon.links.iter().filter(|(id, _)| id.name == peer.name);
        for (id, old) in former.map(|(id, old)| (*id, *old)).collect::<Vec<_>>() {
            if old > link {
                let planned = self.network.close(link, side, now);
                return self.plan(planned);
            }
            let told = self.dice.chance(500);
            if id == peer || told {
                let old_side = self.network.side_of(old, daemon.number);
                let planned = self.network.close(old, old_side, now);
                self.plan(planned);
                daemon.links.remove(&id);
            }
            if told {
                daemon.node.handle_link_down(id, now);
            }
        }
        self.network.opened(link, side);
        daemon.links.insert(peer, link);
        daemon.node.handle_link_up(peer, now);
    }

    /// Does all that the node asks for, as its interface prescribes: frames, events, timer.
    pub(crate) fn drain(&mut self, daemon: &mut Daemon) {
        let now = self.schedule.now();
        for count in 0.. {
            let Some(transmit) = daemon.node.poll_transmit(now) else { break };
            self.transmit(daemon, transmit, now);
            if count > OUTPUTS_MAX {
                return self.fail(format!("{} does not stop to transmit", daemon.id()));
            }
        }
        self.take_events(daemon);
        self.set_timer(daemon, now);
    }

    fn transmit(&mut self, daemon: &Daemon, transmit: Transmit, now: Timestamp) {
        let Transmit { to, channel, payload } = transmit;
        if self.trace.is_on() {
            self.note(format_args!("{} > {to} {channel:?}: {}", daemon.id(), digest(&payload)));
        }
        let members = self.hosts.len();
        let (kind, limit) = match channel {
            Channel::Stream => {
                let answers = members * (ANSWER + members * CLOCK);
                ("frame", self.options.node.frame + FRAME_SLACK + answers)
            }
            Channel::Datagram => ("datagram", self.options.node.datagram),
        };
        if payload.len() > limit {
            self.fail(format!("{} sends a {kind} of {} bytes, above {limit}", daemon.id(), payload.len()));
        }
        self.sent.add(channel, payload.len());
        let Some(link) = daemon.links.get(&to).copied() else {
            return self.fail(format!("{} sends to {to}, to which it has no link", daemon.id()));
        };
        let toward = self.network.side_of(link, daemon.number).other();
        let planned = match channel {
            Channel::Stream => self.network.send_frame(link, toward, payload, now),
            Channel::Datagram => self.network.send_datagram(link, toward, &payload, now),
        };
        self.plan(planned);
    }

    fn take_events(&mut self, daemon: &mut Daemon) {
        for count in 0.. {
            let Some(event) = daemon.node.poll_event() else { break };
            if self.trace.is_on() {
                self.note(format_args!("{} ! {event:?}", daemon.id()));
            }
            if count > OUTPUTS_MAX {
                return self.fail(format!("{} does not stop to report", daemon.id()));
            }
            if let Event::CloseLink { peer, .. } = event {
                self.close_link(daemon, peer);
                continue;
            }
            self.count(&event);
            match daemon.clients.hear(&mut self.history, event) {
                Ok(Some(session)) => {
                    daemon.inbox.push_back(Input::Retry(session));
                }
                Ok(None) => {}
                Err(broken) => self.fail(format!("{}: {broken}", daemon.id())),
            }
        }
        daemon.inbox.extend(daemon.clients.take_overfull().into_iter().map(Input::Cut));
    }

    fn close_link(&mut self, daemon: &mut Daemon, peer: DaemonId) {
        let Some(link) = daemon.links.remove(&peer) else {
            return self.fail(format!("{} closes its link to {peer}, which it does not have", daemon.id()));
        };
        let side = self.network.side_of(link, daemon.number);
        let planned = self.network.close(link, side, self.schedule.now());
        self.plan(planned);
        self.consider_dial(daemon.host, self.network.host(link, side.other()));
    }

    fn count(&mut self, event: &Event) {
        match event {
            Event::Message(message) if message.transitional => self.counts.transitional += 1,
            Event::Message(_) => self.counts.regular += 1,
            Event::Membership(_) => self.counts.memberships += 1,
            _ => {}
        }
    }

    fn set_timer(&mut self, daemon: &mut Daemon, now: Timestamp) {
        let due = daemon.node.poll_timeout();
        if due == daemon.timer {
            return;
        }
        daemon.timer = due;
        daemon.timer_setting += 1;
        if let Some(due) = due {
            let slack = self.dice.span(std::time::Duration::from_micros(1), self.options.machine.timer_slack);
            let (process, setting) = (daemon.number, daemon.timer_setting);
            self.schedule.at(due.max(now) + slack, Task::Timer { process, setting });
        }
    }
}
