//! Made-up histories, to show that each check passes what is right and sees what is wrong.

use std::collections::BTreeMap;

use stentor_membership::{
    Cause, Content, DaemonId, DaemonName, GroupName, GroupViewId, MemberName, Position, Service, SessionName,
    View, ViewId,
};

use super::Violation;
use crate::history::{Change, Delivery, EVERYBODY, Entry, Fate, History, Process, Send, Session};

/// A history in the making. Daemons are named by number; each has an observer, which is the session of the
/// same number, and starts in a view of its own.
pub(super) struct Story {
    pub(super) history: History,
    changes: u64,
    members: BTreeMap<GroupName, Vec<MemberName>>,
}

impl Story {
    pub(super) fn of(daemons: usize) -> Self {
        let history = History { configured: daemons, settled: true, ..History::default() };
        let mut story = Self { history, changes: 0, members: BTreeMap::new() };
        for number in 0..daemons {
            let name = char::from(b'a' + u8::try_from(number).unwrap()).to_string();
            let id = DaemonId { name: DaemonName::new(&name).unwrap(), incarnation: 1 };
            story.history.processes.push(Process { id, fate: Fate::Live, entries: Vec::new() });
        }
        for daemon in 0..daemons {
            let id = story.id(daemon);
            let primary = 2 > daemons;
            let first = ViewId { epoch: 0, proposer: id };
            story.add(
                daemon,
                Entry::View(View { id: first, members: [id].into(), came_along: [id].into(), primary }),
            );
            let observer = story.connect(daemon, "o");
            story.history.sessions[observer].observer = true;
            story.members.insert(everybody(), Vec::new());
            story.join(&[daemon], observer, EVERYBODY, &[observer]);
        }
        story
    }

    /// All of these daemons in one view, with everybody's observers in the group of everybody.
    pub(super) fn together(daemons: usize) -> Self {
        let mut story = Self::of(daemons);
        let all: Vec<usize> = (0..daemons).collect();
        story.move_to(1, &all);
        story
    }

    pub(super) fn id(&self, daemon: usize) -> DaemonId {
        self.history.processes[daemon].id
    }

    pub(super) fn add(&mut self, daemon: usize, entry: Entry) {
        self.history.processes[daemon].entries.push(entry);
    }

    pub(super) fn entries(&mut self, daemon: usize) -> &mut Vec<Entry> {
        &mut self.history.processes[daemon].entries
    }

    pub(super) fn view(&self, daemon: usize) -> View {
        let mut entries = self.history.processes[daemon].entries.iter().rev();
        entries
            .find_map(|entry| if let Entry::View(view) = entry { Some(view.clone()) } else { None })
            .unwrap()
    }

    pub(super) fn last_view(&mut self, daemon: usize) -> &mut View {
        let mut entries = self.history.processes[daemon].entries.iter_mut().rev();
        entries.find_map(|entry| if let Entry::View(view) = entry { Some(view) } else { None }).unwrap()
    }

    /// The daemons enter their transitional configurations.
    pub(super) fn begin(&mut self, epoch: u64, daemons: &[usize]) {
        let toward = ViewId { epoch, proposer: self.id(daemons[0]) };
        for daemon in daemons {
            let view = self.view(*daemon).id;
            let along: Vec<_> =
                daemons.iter().filter(|d| self.view(**d).id == view).map(|d| self.id(*d)).collect();
            let warnings = self.losses(*daemon, &along);
            self.add(*daemon, Entry::Transitional { view, toward, members: along.into() });
            self.entries(*daemon).extend(warnings);
        }
    }

    /// What the local members of groups are told when only some of the daemons move along.
    fn losses(&self, daemon: usize, along: &[DaemonId]) -> Vec<Entry> {
        let mut last: BTreeMap<GroupName, &Change> = BTreeMap::new();
        for entry in &self.history.processes[daemon].entries {
            if let Entry::Membership(change) = entry {
                last.insert(change.group, change);
            }
        }
        let moves = |member: &MemberName| along.iter().any(|id| id.name == member.daemon);
        let losing = last.into_values().filter(|change| !change.members.iter().all(moves));
        let warnings =
            losing.map(|c| Entry::GroupTransitional { group: c.group, receivers: c.receivers.clone() });
        warnings.collect()
    }

    /// The daemons install the view that they began to move to; the group of everybody changes with it.
    pub(super) fn install(&mut self, epoch: u64, daemons: &[usize]) {
        let id = ViewId { epoch, proposer: self.id(daemons[0]) };
        let members: Vec<_> = daemons.iter().map(|d| self.id(*d)).collect();
        let primary = 2 * members.len() > self.history.configured;
        for daemon in daemons {
            let along = self.history.processes[*daemon].entries.iter().rev().find_map(|entry| match entry {
                Entry::Transitional { members, .. } => Some(members.clone()),
                _ => None,
            });
            let members = members.clone().into();
            self.add(*daemon, Entry::View(View { id, members, came_along: along.unwrap(), primary }));
        }
        let names: Vec<_> = daemons.iter().map(|d| self.history.sessions[*d].name).collect();
        let previous = self.members.insert(everybody(), names.clone()).unwrap_or_default();
        let _ = previous;
        self.changes += 1;
        for daemon in daemons {
            let along: Vec<DaemonId> = self.view(*daemon).came_along.to_vec();
            let stayed: Vec<_> =
                names.iter().copied().filter(|n| along.iter().any(|id| id.name == n.daemon)).collect();
            let mut sets: BTreeMap<Vec<DaemonId>, Vec<MemberName>> = BTreeMap::new();
            for d in daemons {
                let set = sets.entry(self.view(*d).came_along.to_vec()).or_default();
                set.push(self.history.sessions[*d].name);
            }
            let change = Change {
                receivers: vec![*daemon],
                group: everybody(),
                view: self.group_view(*daemon),
                members: names.clone().into(),
                cause: Cause::Network,
                stayed: stayed.into(),
                sets: sets.into_values().collect(),
            };
            self.add(*daemon, Entry::Membership(change));
        }
    }

    pub(super) fn move_to(&mut self, epoch: u64, daemons: &[usize]) {
        self.begin(epoch, daemons);
        self.install(epoch, daemons);
    }

    pub(super) fn connect(&mut self, daemon: usize, name: &str) -> usize {
        let name = MemberName { session: SessionName::new(name).unwrap(), daemon: self.id(daemon).name };
        self.history.sessions.push(Session { process: daemon, name, observer: false });
        let session = self.history.sessions.len() - 1;
        self.add(daemon, Entry::Connected(session));
        session
    }

    fn group_view(&self, daemon: usize) -> GroupViewId {
        let position = Position { clock: self.changes, rank: 0, index: 0 };
        GroupViewId { view: self.view(daemon).id, toward: None, position }
    }

    /// A session joins a group, and the local members of the group on these daemons hear of it.
    pub(super) fn join(&mut self, daemons: &[usize], session: usize, group: &str, told: &[usize]) {
        let name = self.history.sessions[session].name;
        let group = GroupName::new(group).unwrap();
        let home = self.history.sessions[session].process;
        self.add(home, Entry::Join(session, group));
        let members = self.members.entry(group).or_default();
        let stayed: Vec<_> = members.clone();
        members.push(name);
        members.sort();
        self.tell(daemons, group, Cause::Join(name), stayed, told);
    }

    /// A session leaves a group.
    pub(super) fn leave(&mut self, daemons: &[usize], session: usize, group: &str, told: &[usize]) {
        let name = self.history.sessions[session].name;
        let group = GroupName::new(group).unwrap();
        let home = self.history.sessions[session].process;
        self.add(home, Entry::Leave(session, group));
        let members = self.members.entry(group).or_default();
        members.retain(|member| *member != name);
        let stayed = members.clone();
        self.tell(daemons, group, Cause::Leave(name), stayed, told);
    }

    fn tell(
        &mut self,
        daemons: &[usize],
        group: GroupName,
        cause: Cause,
        stayed: Vec<MemberName>,
        told: &[usize],
    ) {
        self.changes += 1;
        for daemon in daemons {
            let receivers: Vec<usize> =
                told.iter().copied().filter(|s| self.history.sessions[*s].process == *daemon).collect();
            if receivers.is_empty() {
                continue;
            }
            let change = Change {
                receivers,
                group,
                view: self.group_view(*daemon),
                members: self.members[&group].clone().into(),
                cause,
                stayed: stayed.clone().into(),
                sets: [].into(),
            };
            self.add(*daemon, Entry::Membership(change));
        }
    }

    /// A session sends a message.
    pub(super) fn send_to(&mut self, session: usize, service: Service, targets: &[&str]) -> usize {
        let send = self.history.sends.len();
        let content = Content::new(targets, u16::try_from(send).unwrap(), b"text").unwrap();
        self.history.sends.push(Send { session, service, discard_self: false, content });
        let process = self.history.sessions[session].process;
        self.add(process, Entry::Sent(send));
        send
    }

    /// The observer of a daemon sends a message to everybody.
    pub(super) fn send(&mut self, daemon: usize, service: Service) -> usize {
        self.send_to(daemon, service, &[EVERYBODY])
    }

    /// A daemon delivers a message to some of its sessions.
    pub(super) fn deliver_to(&mut self, daemon: usize, send: usize, receivers: &[usize]) {
        let Send { session, service, content, .. } = self.history.sends[send].clone();
        let transitional =
            self.history.processes[daemon].entries.iter().rev().find_map(|entry| match entry {
                Entry::View(_) => Some(false),
                Entry::Transitional { .. } => Some(true),
                _ => None,
            });
        let delivery = Delivery {
            send,
            receivers: receivers.to_vec(),
            sender: self.history.sessions[session].name,
            service,
            content,
            view: self.view(daemon).id,
            transitional: transitional.unwrap(),
        };
        self.add(daemon, Entry::Message(delivery));
    }

    /// The observers of these daemons get a message.
    pub(super) fn deliver(&mut self, daemons: &[usize], send: usize) {
        for daemon in daemons {
            self.deliver_to(*daemon, send, &[*daemon]);
        }
    }

    pub(super) fn last_delivery(&mut self, daemon: usize) -> &mut Delivery {
        let mut entries = self.history.processes[daemon].entries.iter_mut().rev();
        entries.find_map(|entry| if let Entry::Message(m) = entry { Some(m) } else { None }).unwrap()
    }

    pub(super) fn last_change(&mut self, daemon: usize) -> &mut Change {
        let mut entries = self.history.processes[daemon].entries.iter_mut().rev();
        entries.find_map(|entry| if let Entry::Membership(c) = entry { Some(c) } else { None }).unwrap()
    }

    /// Nothing is wrong with it.
    #[track_caller]
    pub(super) fn is_right(&self) {
        assert_eq!(super::check(&self.history), []);
    }

    /// A promise is broken, as its check says.
    #[track_caller]
    pub(super) fn breaks(&self, promise: &str) {
        let found = super::check(&self.history);
        let seen = found.iter().any(|Violation { promise: broken, .. }| *broken == promise);
        assert!(seen, "{promise} should be broken, found: {found:?}");
    }
}

fn everybody() -> GroupName {
    GroupName::new(EVERYBODY).unwrap()
}
