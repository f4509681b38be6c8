//! The sessions of one daemon: they ask, wait when they are told to, and write down what they are told.

use std::collections::{BTreeMap, BTreeSet};

use stentor_membership::{
    Cause, CommandError, Config, Content, Event, GroupName, MemberName, Node, Service, SessionId,
    SessionName, Transitional,
};

use crate::history::{Change, Delivery, EVERYBODY, Entry, History, Send, Session};

/// What a session can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Join(GroupName),
    Leave(GroupName),
    /// A multicast, by its index in the history.
    Multicast(usize),
}

/// How a session reads what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// At once.
    Prompt,
    /// Some of it now and then.
    Slow,
    /// Never, and it asks for nothing any more.
    Dead,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: SessionId,
    pub(crate) name: MemberName,
    /// Groups that it is a member of, when all that it asked for has taken effect.
    pub(crate) groups: BTreeSet<GroupName>,
    /// Joins and leaves that have not taken effect, by group.
    pub(crate) pending: BTreeMap<GroupName, usize>,
    /// What it tries again when it is told that there is room.
    pub(crate) waiting: Option<Command>,
    pace: Pace,
    /// Bytes that it was given and did not read.
    unread: usize,
}

/// All sessions of one daemon, by their index in the history.
#[derive(Debug)]
pub(crate) struct Clients {
    process: usize,
    config: Config,
    unread_max: usize,
    /// Sessions that left too much unread: their daemon has to close them.
    overfull: Vec<usize>,
    pub(crate) live: BTreeMap<usize, Client>,
    by_id: BTreeMap<SessionId, usize>,
    pub(crate) observer: Option<usize>,
    /// The observer is a member of the group of everybody.
    pub(crate) observing: bool,
    /// Own multicasts to everybody, Reliable or above, that the observer did not get yet.
    pub(crate) undelivered: BTreeSet<usize>,
}

/// The node said something that it must not say.
pub(crate) type Broken = String;

impl Clients {
    pub(crate) fn new(process: usize, config: Config, unread_max: usize) -> Self {
        Self {
            process,
            config,
            unread_max,
            overfull: Vec::new(),
            live: BTreeMap::new(),
            by_id: BTreeMap::new(),
            observer: None,
            observing: false,
            undelivered: BTreeSet::new(),
        }
    }

    /// Bytes of the largest message that is allowed.
    pub(crate) fn largest(&self) -> usize {
        self.config.max_message
    }

    /// Opens a session.
    pub(crate) fn connect(
        &mut self,
        node: &mut Node,
        history: &mut History,
        name: Option<SessionName>,
        pace: Pace,
    ) -> Result<Option<usize>, Broken> {
        let taken = name.is_some_and(|name| self.live.values().any(|client| client.name.session == name));
        let id = match node.connect(name) {
            Ok(id) if !taken => id,
            Ok(id) => return Err(format!("two sessions are named {name:?}, the second is {id:?}")),
            Err(_) if taken => return Ok(None),
            Err(error) => return Err(format!("a session named {name:?} was refused: {error}")),
        };
        let member = node.session_name(id).ok_or_else(|| format!("a new session {id:?} has no name"))?;
        let unasked = name.is_some_and(|name| member.session != name);
        if unasked || member.daemon != node.id().name || self.live.values().any(|c| c.name == member) {
            return Err(format!("a session that asked for {name:?} is named {member}"));
        }
        let number = history.sessions.len();
        history.sessions.push(Session { process: self.process, name: member, observer: false });
        history.processes[self.process].entries.push(Entry::Connected(number));
        let client = Client {
            id,
            name: member,
            groups: BTreeSet::new(),
            pending: BTreeMap::new(),
            waiting: None,
            pace,
            unread: 0,
        };
        if self.by_id.insert(id, number).is_some() {
            return Err(format!("session number {id:?} was given out twice"));
        }
        self.live.insert(number, client);
        Ok(Some(number))
    }

    /// Closes a session.
    pub(crate) fn disconnect(&mut self, node: &mut Node, history: &mut History, number: usize) {
        if let Some(client) = self.live.remove(&number) {
            self.by_id.remove(&client.id);
            node.disconnect(client.id);
            history.processes[self.process].entries.push(Entry::Disconnected(number));
        }
    }

    /// Sessions that do something: those that live and do not wait for room, as a blocked client would.
    pub(crate) fn free(&self) -> Vec<usize> {
        let free = |client: &Client| client.waiting.is_none() && client.pace != Pace::Dead;
        self.live.iter().filter(|(_, client)| free(client)).map(|(session, _)| *session).collect()
    }

    /// Slow sessions read a part of what waits for them.
    pub(crate) fn read_slowly(&mut self) {
        for client in self.live.values_mut().filter(|client| client.pace == Pace::Slow) {
            client.unread /= 2;
        }
    }

    /// Sessions that have to be closed since the last call.
    pub(crate) fn take_overfull(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.overfull)
    }

    /// A session that was told to wait asks again.
    pub(crate) fn retry(
        &mut self,
        node: &mut Node,
        history: &mut History,
        number: usize,
    ) -> Result<(), Broken> {
        let Some(client) = self.live.get_mut(&number) else { return Ok(()) };
        match client.waiting.take() {
            Some(command) if client.pace != Pace::Dead => self.ask(node, history, number, command),
            _ => Ok(()),
        }
    }

    /// Writes down a multicast that is about to be asked for; none when there are too many to tell apart.
    pub(crate) fn prepare(
        &self,
        history: &mut History,
        session: usize,
        service: Service,
        discard_self: bool,
        targets: &[String],
        payload: &[u8],
    ) -> Option<usize> {
        let send = history.sends.len();
        let content = Content::new(targets, u16::try_from(send).ok()?, payload).ok()?;
        history.sends.push(Send { session, service, discard_self, content });
        Some(send)
    }

    /// A session asks for something; if it has to wait, it will ask again later.
    pub(crate) fn ask(
        &mut self,
        node: &mut Node,
        history: &mut History,
        number: usize,
        command: Command,
    ) -> Result<(), Broken> {
        let Some(client) = self.live.get_mut(&number) else { return Ok(()) };
        let expected = expectation(client, node, &self.config, history, command);
        let answer = match command {
            Command::Join(group) => node.join(client.id, group),
            Command::Leave(group) => node.leave(client.id, group),
            Command::Multicast(send) => {
                let send = &history.sends[send];
                node.multicast(client.id, send.service, send.discard_self, &send.content)
            }
        };
        client.waiting = None;
        match answer {
            Err(CommandError::Busy) => client.waiting = Some(command),
            Ok(()) if expected.is_ok() => self.accepted(history, number, command),
            Err(error) if expected.as_ref() == Err(&error) => {}
            answer => {
                let name = client.name;
                return Err(format!("{command:?} of {name} was answered with {answer:?}, not {expected:?}"));
            }
        }
        Ok(())
    }

    fn accepted(&mut self, history: &mut History, number: usize, command: Command) {
        let Some(client) = self.live.get_mut(&number) else { return };
        let entry = match command {
            Command::Join(group) => {
                client.groups.insert(group);
                *client.pending.entry(group).or_default() += 1;
                Entry::Join(number, group)
            }
            Command::Leave(group) => {
                client.groups.remove(&group);
                *client.pending.entry(group).or_default() += 1;
                Entry::Leave(number, group)
            }
            Command::Multicast(send) => {
                let record = &history.sends[send];
                if record.targets(EVERYBODY) && record.service > Service::Unreliable {
                    self.undelivered.insert(send);
                }
                Entry::Sent(send)
            }
        };
        history.processes[self.process].entries.push(entry);
    }

    /// The node reports something; a session that may try again is returned.
    pub(crate) fn hear(&mut self, history: &mut History, event: Event) -> Result<Option<usize>, Broken> {
        let entry = match event {
            Event::Transitional(transitional) => {
                let Transitional { view, toward, members } = *transitional;
                Entry::Transitional { view, toward, members }
            }
            Event::View(view) => Entry::View(*view),
            Event::Message(message) => {
                let send = usize::from(message.content.tag());
                let receivers = self.numbers(&message.envelope.receivers)?;
                self.pile_up(&receivers, message.content.encoded().len());
                if self.observer.is_some_and(|observer| receivers.contains(&observer)) {
                    self.undelivered.remove(&send);
                }
                Entry::Message(Delivery {
                    send,
                    receivers,
                    sender: message.envelope.sender,
                    service: message.service,
                    content: message.content,
                    view: message.envelope.view,
                    transitional: message.transitional,
                })
            }
            Event::Membership(change) => {
                let receivers = self.numbers(&change.receivers)?;
                self.took_effect(&receivers, change.group, change.cause);
                Entry::Membership(Change {
                    receivers,
                    group: change.group,
                    view: change.view,
                    members: change.members,
                    cause: change.cause,
                    stayed: change.stayed,
                    sets: change.sets,
                })
            }
            Event::GroupTransitional { group, receivers } => {
                Entry::GroupTransitional { group, receivers: self.numbers(&receivers)? }
            }
            Event::Unblocked(id) => {
                let number = self.number(id)?;
                let waits = self.live.get(&number).is_some_and(|client| client.waiting.is_some());
                return if waits { Ok(Some(number)) } else { Err(format!("{id:?} did not wait for room")) };
            }
            other => return Err(format!("unexpected event {other:?}")),
        };
        history.processes[self.process].entries.push(entry);
        Ok(None)
    }

    fn pile_up(&mut self, receivers: &[usize], bytes: usize) {
        for number in receivers {
            let Some(client) = self.live.get_mut(number).filter(|client| client.pace != Pace::Prompt) else {
                continue;
            };
            let before = client.unread;
            client.unread += bytes;
            if before <= self.unread_max && client.unread > self.unread_max {
                self.overfull.push(*number);
            }
        }
    }

    fn took_effect(&mut self, receivers: &[usize], group: GroupName, cause: Cause) {
        let (Cause::Join(who) | Cause::Leave(who)) = cause else { return };
        for number in receivers {
            let Some(client) = self.live.get_mut(number).filter(|client| client.name == who) else {
                continue;
            };
            if let Some(pending) = client.pending.get_mut(&group) {
                *pending -= 1;
                if *pending == 0 {
                    client.pending.remove(&group);
                }
            }
            self.observing |= self.observer == Some(*number) && group.as_str() == EVERYBODY;
        }
    }

    fn numbers(&self, ids: &[SessionId]) -> Result<Vec<usize>, Broken> {
        ids.iter().map(|id| self.number(*id)).collect()
    }

    fn number(&self, id: SessionId) -> Result<usize, Broken> {
        self.by_id.get(&id).copied().ok_or_else(|| format!("an event names {id:?}, which is no session"))
    }
}

/// What the node has to answer, if it does not say that it is busy.
fn expectation(
    client: &Client,
    node: &Node,
    config: &Config,
    history: &History,
    command: Command,
) -> Result<(), CommandError> {
    match command {
        Command::Join(group) if client.groups.contains(&group) => Err(CommandError::AlreadyMember(group)),
        Command::Leave(group) if !client.groups.contains(&group) => Err(CommandError::NotMember(group)),
        Command::Join(_) | Command::Leave(_) => Ok(()),
        Command::Multicast(send) => {
            let (size, limit) = (history.sends[send].content.encoded().len(), config.max_message);
            if size > limit {
                return Err(CommandError::TooLarge { size, limit });
            }
            let refuses = config.require_primary && !node.view().primary;
            if refuses && history.sends[send].service.is_ordered() {
                return Err(CommandError::NotPrimary);
            }
            Ok(())
        }
    }
}
