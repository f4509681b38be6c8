//! What clients choose to do: connect and go, join and leave, and send at every level to every kind of target.

use stentor_membership::{CommandError, GroupName, Node, Service, SessionName};

use crate::clients::{Broken, Clients, Command, Pace};
use crate::dice::Dice;
use crate::history::{EVERYBODY, History};
use crate::options::WorkloadOptions;

/// What a client can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Connect,
    Disconnect,
    Join,
    Leave,
    Multicast,
    /// Something that must be refused.
    Nonsense,
}

/// The choices of all clients.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) options: WorkloadOptions,
    pub(crate) dice: Dice,
    /// Clients do nothing more of their own.
    pub(crate) over: bool,
    /// What they did.
    pub(crate) done: u64,
    groups: Vec<GroupName>,
    everybody: GroupName,
}

impl Workload {
    pub(crate) fn new(options: WorkloadOptions, dice: Dice) -> Result<Self, Broken> {
        let group = |name: &str| GroupName::new(name).map_err(|error| error.to_string());
        let groups =
            (0..options.groups).map(|number| group(&format!("g{number}"))).collect::<Result<_, _>>()?;
        Ok(Self { options, dice, over: false, done: 0, groups, everybody: group(EVERYBODY)? })
    }

    /// Opens the session that stays and sees all that goes to everybody.
    pub(crate) fn observe(
        &self,
        clients: &mut Clients,
        node: &mut Node,
        history: &mut History,
    ) -> Result<(), Broken> {
        let name = SessionName::new("observer").map_err(|error| error.to_string())?;
        let Some(observer) = clients.connect(node, history, Some(name), Pace::Prompt)? else {
            return Err("the first session found its name taken".to_owned());
        };
        history.sessions[observer].observer = true;
        clients.observer = Some(observer);
        clients.ask(node, history, observer, Command::Join(self.everybody))
    }

    /// One of the clients does something. The events of the node must have been taken before, so that it is known
    /// which sessions they were for.
    pub(crate) fn act(
        &mut self,
        clients: &mut Clients,
        node: &mut Node,
        history: &mut History,
    ) -> Result<(), Broken> {
        if !clients.observing || self.done >= self.options.max_actions {
            return Ok(());
        }
        self.done += 1;
        let actions = [
            Action::Connect,
            Action::Disconnect,
            Action::Join,
            Action::Leave,
            Action::Multicast,
            Action::Nonsense,
        ];
        let weights: Vec<(Action, u32)> = actions.into_iter().zip(self.options.actions).collect();
        match self.dice.weighted(&weights) {
            Some(Action::Connect) => self.connect(clients, node, history),
            Some(Action::Disconnect) => {
                let sessions: Vec<usize> =
                    clients.live.keys().copied().filter(|s| Some(*s) != clients.observer).collect();
                if let Some(session) = self.dice.pick(&sessions) {
                    clients.disconnect(node, history, *session);
                }
                Ok(())
            }
            Some(Action::Join) => self.change(clients, node, history, Command::Join),
            Some(Action::Leave) => self.change(clients, node, history, Command::Leave),
            Some(Action::Nonsense) => self.nonsense(clients, node, history),
            Some(Action::Multicast) | None => {
                for _ in 0..self.dice.between(1, self.options.burst_max) {
                    self.multicast(clients, node, history)?;
                }
                Ok(())
            }
        }
    }

    fn connect(
        &mut self,
        clients: &mut Clients,
        node: &mut Node,
        history: &mut History,
    ) -> Result<(), Broken> {
        if clients.live.len() > self.options.sessions_max {
            return Ok(());
        }
        let name = match self.dice.between(0, self.options.names) {
            0 => None,
            number => Some(SessionName::new(&format!("s{number}")).map_err(|error| error.to_string())?),
        };
        let pace = match (self.options.slow_permille, self.options.dead_permille) {
            (slow, _) if self.dice.chance(slow) => Pace::Slow,
            (_, dead) if self.dice.chance(dead) => Pace::Dead,
            _ => Pace::Prompt,
        };
        let session = clients.connect(node, history, name, pace)?;
        if let Some(session) = session.filter(|_| self.dice.chance(700)) {
            let group = self.group();
            clients.ask(node, history, session, Command::Join(group))?;
        }
        Ok(())
    }

    fn change(
        &mut self,
        clients: &mut Clients,
        node: &mut Node,
        history: &mut History,
        command: fn(GroupName) -> Command,
    ) -> Result<(), Broken> {
        let group = self.group();
        match self.free_session(clients) {
            Some(session) if group != self.everybody || Some(session) != clients.observer => {
                clients.ask(node, history, session, command(group))
            }
            _ => Ok(()),
        }
    }

    fn group(&mut self) -> GroupName {
        if self.dice.chance(self.options.join_everybody_permille) {
            return self.everybody;
        }
        self.dice.pick(&self.groups).copied().unwrap_or(self.everybody)
    }

    fn free_session(&mut self, clients: &Clients) -> Option<usize> {
        self.dice.pick(&clients.free()).copied()
    }

    fn multicast(
        &mut self,
        clients: &mut Clients,
        node: &mut Node,
        history: &mut History,
    ) -> Result<(), Broken> {
        let Some(session) = self.free_session(clients) else { return Ok(()) };
        let levels: Vec<(Service, u32)> = Service::ALL.into_iter().zip(self.options.services).collect();
        let service = self.dice.weighted(&levels).unwrap_or_default();
        let targets = self.targets(history);
        let discard_self = Some(session) != clients.observer && self.dice.chance(150);
        let size = if self.dice.chance(self.options.large_permille) {
            self.dice.between(0, self.options.large as u64)
        } else {
            self.dice.between(0, self.options.small as u64)
        };
        let payload = self.payload(size);
        let send = clients.prepare(history, session, service, discard_self, &targets, &payload);
        send.map_or(Ok(()), |send| clients.ask(node, history, session, Command::Multicast(send)))
    }

    fn targets(&mut self, history: &History) -> Vec<String> {
        let mut targets = Vec::new();
        if self.dice.chance(self.options.everybody_permille) {
            targets.push(EVERYBODY.to_owned());
        }
        let more = if targets.is_empty() { self.dice.between(1, 3) } else { self.dice.between(0, 1) };
        for _ in 0..more {
            let target = if self.dice.chance(250) {
                history.sessions[self.dice.index(history.sessions.len())].name.to_string()
            } else if self.dice.chance(50) {
                "nobody".to_owned()
            } else {
                self.group().to_string()
            };
            targets.push(target);
        }
        if self.dice.chance(20) {
            targets.extend_from_within(..1);
        }
        targets
    }

    /// Bytes that differ from message to message and within each.
    fn payload(&mut self, size: u64) -> Vec<u8> {
        let mut word = self.dice.number();
        let size = usize::try_from(size).unwrap_or(0);
        let mut payload = Vec::with_capacity(size + 8);
        while payload.len() < size {
            word = word.rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            payload.extend_from_slice(&word.to_le_bytes());
        }
        payload.truncate(size);
        payload
    }

    /// Every session says something Safe to everybody: it shows that the cluster works.
    pub(crate) fn probe(
        &mut self,
        clients: &mut Clients,
        node: &mut Node,
        history: &mut History,
    ) -> Result<(), Broken> {
        for session in clients.free() {
            let payload = self.payload(8);
            let targets = [EVERYBODY.to_owned()];
            let send = clients.prepare(history, session, Service::Safe, false, &targets, &payload);
            if let Some(send) = send {
                clients.ask(node, history, session, Command::Multicast(send))?;
            }
        }
        Ok(())
    }

    /// The observer sends `count` Agreed messages of `size` bytes to everybody, at once.
    pub(crate) fn send(
        &mut self,
        clients: &mut Clients,
        node: &mut Node,
        history: &mut History,
        count: u64,
        size: u64,
    ) -> Result<(), Broken> {
        let Some(observer) = clients.observer else { return Ok(()) };
        let targets = [EVERYBODY.to_owned()];
        for _ in 0..count {
            let payload = self.payload(size);
            let send = clients.prepare(history, observer, Service::Agreed, false, &targets, &payload);
            let send = send.ok_or("more messages than can be told apart")?;
            clients.ask(node, history, observer, Command::Multicast(send))?;
        }
        Ok(())
    }

    /// Asks for what must be refused; the answer is checked as any other.
    fn nonsense(
        &mut self,
        clients: &mut Clients,
        node: &mut Node,
        history: &mut History,
    ) -> Result<(), Broken> {
        let Some(session) = self.free_session(clients) else { return Ok(()) };
        let group = self.group();
        match self.dice.index(4) {
            0 if group != self.everybody || Some(session) != clients.observer => {
                clients.ask(node, history, session, Command::Leave(group))
            }
            1 if group == self.everybody => clients.ask(node, history, session, Command::Join(group)),
            2 => self.too_large(clients, node, history, session),
            _ => {
                let Some(client) = clients.live.get(&session) else { return Ok(()) };
                let (id, name) = (client.id, client.name.session);
                if node.connect(Some(name)).is_ok() {
                    return Err(format!("two sessions are named {name}"));
                }
                if self.dice.chance(500) && Some(session) != clients.observer {
                    clients.disconnect(node, history, session);
                    let answer = node.join(id, group);
                    if answer != Err(CommandError::NoSession) {
                        return Err(format!("a join of a closed session was answered with {answer:?}"));
                    }
                }
                Ok(())
            }
        }
    }

    fn too_large(
        &mut self,
        clients: &mut Clients,
        node: &mut Node,
        history: &mut History,
        session: usize,
    ) -> Result<(), Broken> {
        let payload = self.payload(clients.largest() as u64 + 1);
        let targets = [EVERYBODY.to_owned()];
        let send = clients.prepare(history, session, Service::Agreed, false, &targets, &payload);
        send.map_or(Ok(()), |send| clients.ask(node, history, session, Command::Multicast(send)))
    }
}
