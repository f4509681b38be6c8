//! What follows from a history at once, worked out once for all checks.

use std::collections::BTreeMap;
use std::sync::Arc;

use stentor_membership::{Cause, DaemonId, Service, View, ViewId};

use crate::history::{Change, Delivery, EVERYBODY, Entry, Fate, History, Process};

/// A history with an index to it.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// What it is about.
    pub(crate) history: &'a History,
    /// By process: the views that it was in, in order, from the first that its observer saw whole.
    pub(crate) stays: Vec<Vec<Stay<'a>>>,
    /// By session: what it was told, in order.
    pub(crate) told: Vec<Vec<Told<'a>>>,
    /// By send: whether it goes to everybody.
    pub(crate) to_everybody: Vec<bool>,
    /// By send: the process whose client sent it, and the place of its acceptance there.
    pub(crate) accepted: Vec<Option<(usize, usize)>>,
    /// By process and send: where the observer got it.
    pub(crate) seen_at: Vec<Vec<Option<usize>>>,
    /// By send: the view that its first known delivery names.
    pub(crate) sent_in: Vec<Option<ViewId>>,
    /// Every view, as one of its members described it.
    pub(crate) views: BTreeMap<ViewId, &'a View>,
}

/// The time that a process was in one view.
#[derive(Debug)]
pub(crate) struct Stay<'a> {
    /// The view.
    pub(crate) view: &'a View,
    /// The transitional configuration at its end.
    pub(crate) transitional: Option<(ViewId, &'a Arc<[DaemonId]>)>,
    /// The view after it.
    pub(crate) next: Option<ViewId>,
    /// What the observer was given in it.
    pub(crate) seen: Vec<Seen>,
}

/// A message that an observer was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Which.
    pub(crate) send: usize,
    /// Whether in the transitional configuration.
    pub(crate) transitional: bool,
}

/// Something that a session was told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    /// The place among the entries of its process.
    pub(crate) at: usize,
    /// What.
    pub(crate) what: What<'a>,
}

/// What a session can be told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What<'a> {
    /// A message.
    Message(&'a Delivery),
    /// A change of a group.
    Change(&'a Change),
}

impl<'a> Facts<'a> {
    /// Looks through a history.
    pub(crate) fn new(history: &'a History) -> Self {
        let sends = history.sends.len();
        let mut facts = Self {
            history,
            stays: Vec::new(),
            told: history.sessions.iter().map(|_| Vec::new()).collect(),
            to_everybody: history.sends.iter().map(|send| send.targets(EVERYBODY)).collect(),
            accepted: vec![None; sends],
            seen_at: Vec::new(),
            sent_in: vec![None; sends],
            views: BTreeMap::new(),
        };
        for (number, process) in history.processes.iter().enumerate() {
            facts.read(number, process);
        }
        facts
    }

    fn read(&mut self, number: usize, process: &'a Process) {
        let history = self.history;
        let mut stays: Vec<Stay<'a>> = Vec::new();
        let mut seen_at = vec![None; history.sends.len()];
        let mut observing = false;
        for (at, entry) in process.entries.iter().enumerate() {
            match entry {
                Entry::View(view) => {
                    self.views.entry(view.id).or_insert(view);
                    if let Some(last) = stays.last_mut() {
                        last.next = Some(view.id);
                    }
                    if observing {
                        stays.push(Stay { view, transitional: None, next: None, seen: Vec::new() });
                    }
                }
                Entry::Transitional { toward, members, .. } => {
                    if let Some(last) = stays.last_mut() {
                        last.transitional = Some((*toward, members));
                    }
                }
                Entry::Message(delivery) => {
                    for receiver in &delivery.receivers {
                        self.told[*receiver].push(Told { at, what: What::Message(delivery) });
                    }
                    let Some(sent_in) = self.sent_in.get_mut(delivery.send) else { continue };
                    sent_in.get_or_insert(delivery.view);
                    let observed = delivery.receivers.iter().any(|r| history.sessions[*r].observer);
                    if self.to_everybody[delivery.send] && observed {
                        seen_at[delivery.send].get_or_insert(at);
                        let seen = Seen { send: delivery.send, transitional: delivery.transitional };
                        if let Some(last) = stays.last_mut() {
                            last.seen.push(seen);
                        }
                    }
                }
                Entry::Membership(change) => {
                    for receiver in &change.receivers {
                        self.told[*receiver].push(Told { at, what: What::Change(change) });
                        if let Cause::Join(who) = change.cause {
                            let session = &history.sessions[*receiver];
                            observing |=
                                session.observer && session.name == who && change.group.as_str() == EVERYBODY;
                        }
                    }
                }
                Entry::Sent(send) => self.accepted[*send] = Some((number, at)),
                Entry::GroupTransitional { .. }
                | Entry::Connected(_)
                | Entry::Disconnected(_)
                | Entry::Join(..)
                | Entry::Leave(..) => {}
            }
        }
        self.stays.push(stays);
        self.seen_at.push(seen_at);
    }

    /// The service level of a send.
    pub(crate) fn service(&self, send: usize) -> Service {
        self.history.sends[send].service
    }

    /// The process whose client asked for a send.
    pub(crate) fn sender(&self, send: usize) -> usize {
        self.history.sessions[self.history.sends[send].session].process
    }

    /// Who a process is.
    pub(crate) fn id(&self, process: usize) -> DaemonId {
        self.history.processes[process].id
    }

    /// Whether a process lasts to the end of the run.
    pub(crate) fn is_live(&self, process: usize) -> bool {
        self.history.processes[process].fate == Fate::Live
    }

    /// The index of a process.
    pub(crate) fn process(&self, id: DaemonId) -> Option<usize> {
        self.history.processes.iter().position(|process| process.id == id)
    }

    /// All stays of all processes, by view.
    pub(crate) fn by_view(&self) -> BTreeMap<ViewId, Vec<(usize, &Stay<'a>)>> {
        let mut by_view: BTreeMap<ViewId, Vec<_>> = BTreeMap::new();
        for (process, stays) in self.stays.iter().enumerate() {
            for stay in stays {
                by_view.entry(stay.view.id).or_default().push((process, stay));
            }
        }
        by_view
    }

    /// A send in words: `message 7 (safe, #s#a)`.
    pub(crate) fn name(&self, send: usize) -> String {
        match self.history.sends.get(send) {
            Some(s) => format!("message {send} ({}, {})", s.service, self.history.sessions[s.session].name),
            None => format!("message {send} (never sent)"),
        }
    }
}

/// Several sends in words.
pub(crate) fn list(sends: impl IntoIterator<Item = usize>) -> String {
    let all: Vec<String> = sends.into_iter().map(|send| send.to_string()).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(" ") }
}
