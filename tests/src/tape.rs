//! What is written down about one session while it lives, and after its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Result, ensure};
use stentor_client::{Disconnected, Event, Message, Receiver};
use stentor_membership::{GroupName, MemberName, NameError, Target};
use tokio::sync::watch;

use crate::log::{Entry, Log, MessageId, Received, What};
use crate::payload;

/// The record of a session. Clones share it; it keeps no session open.
#[derive(Clone, Debug)]
pub struct Tape(Arc<Mutex<Record>>);

#[derive(Debug)]
struct Record {
    log: Log,
    /// The number of each accepted message, by its ordinal on the connection.
    accepted: Vec<u32>,
    /// The ordinals of those that the daemon refused later.
    rejected: Vec<u64>,
    ended: Option<End>,
    /// Whether the client let lie what arrived, for a while.
    held: bool,
}

/// How a session ended.
#[derive(Clone, Debug)]
pub enum End {
    /// It was closed, and the daemon confirmed it.
    Closed,
    /// The connection ended otherwise.
    Lost(Disconnected),
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("closed in order"),
            Self::Lost(reason) => reason.fmt(f),
        }
    }
}

impl Tape {
    /// An empty one.
    pub(crate) fn new(member: MemberName, run: u32) -> Self {
        let log = Log::new(member, run);
        let (accepted, rejected) = (Vec::new(), Vec::new());
        Self(Arc::new(Mutex::new(Record { log, accepted, rejected, ended: None, held: false })))
    }

    /// What is on record so far.
    pub fn log(&self) -> Log {
        self.record().complete(|log| log.clone())
    }

    /// Takes what is on record; nothing is left.
    pub fn take(&self) -> Log {
        let empty = |log: &mut Log| std::mem::replace(log, Log::new(log.member, log.run));
        self.record().complete(empty)
    }

    /// Notes that the client lets lie what arrives.
    pub(crate) fn hold(&self) {
        self.record().held = true;
    }

    /// Whether it ever did.
    pub fn was_held(&self) -> bool {
        self.record().held
    }

    /// How the session ended, if it did.
    pub fn ended(&self) -> Option<End> {
        self.record().ended.clone()
    }

    /// Looks at the record without a copy.
    pub fn look<T>(&self, look: impl FnOnce(&Log) -> T) -> T {
        look(&self.record().log)
    }

    /// Writes down a step of the client, which may need to know its run.
    pub(crate) fn push<T>(&self, what: impl FnOnce(u32) -> (What, T)) -> T {
        let mut record = self.record();
        let (what, value) = what(record.log.run);
        record.push(what);
        value
    }

    /// A message was accepted, as the connection's `ordinal`th.
    pub(crate) fn accepted(&self, id: MessageId, ordinal: u64) -> Result<()> {
        let mut record = self.record();
        ensure!(usize::try_from(ordinal)? == record.accepted.len(), "ordinal {ordinal} out of turn");
        record.accepted.push(id.number);
        Ok(())
    }

    /// A message was not accepted.
    pub(crate) fn refused(&self, id: MessageId) {
        self.record().log.refused.insert(id.number);
    }

    /// Writes down all that is received, whenever `reading` says so, until the connection ends.
    pub(crate) async fn write_down(self, mut receiver: Receiver, mut reading: watch::Receiver<bool>) {
        let mut last = Destinations::default();
        let end = loop {
            // Without its other half, the recorder is gone, and reads no more than it must.
            let _ = reading.wait_for(|reading| *reading).await;
            let what = match receiver.recv().await {
                Ok(Some(Event::Message(message))) => last.received(&message),
                Ok(Some(Event::Membership(view))) => What::Membership(view),
                Ok(Some(Event::Transitional { group })) => What::Transitional(group),
                Ok(Some(Event::Rejected { ordinal, .. })) => {
                    self.record().rejected.push(ordinal);
                    continue;
                }
                Ok(Some(_)) => continue,
                Ok(None) => break End::Closed,
                Err(reason) => break End::Lost(reason),
            };
            self.record().push(what);
        };
        self.record().ended = Some(end);
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn push(&mut self, what: What) {
        self.log.entries.push(Entry { at: Instant::now(), what });
    }

    /// The log as `get` gets it, with what is known beside it.
    fn complete(&mut self, get: impl FnOnce(&mut Log) -> Log) -> Log {
        let refused: Vec<u32> = self.refused().collect();
        let mut log = get(&mut self.log);
        log.refused.extend(refused);
        log.closed = matches!(self.ended, Some(End::Closed));
        log
    }

    /// The numbers of the messages that the daemon refused.
    fn refused(&self) -> impl Iterator<Item = u32> {
        let ordinals = self.rejected.iter().filter_map(|ordinal| usize::try_from(*ordinal).ok());
        ordinals.filter_map(|ordinal| self.accepted.get(ordinal).copied())
    }
}

/// Where a message goes; the next one mostly goes there too, and shares it.
#[derive(Clone, Debug)]
pub(crate) struct Destinations {
    pub(crate) groups: Arc<[GroupName]>,
    pub(crate) sessions: Arc<[MemberName]>,
}

impl Default for Destinations {
    fn default() -> Self {
        Self { groups: Arc::new([]), sessions: Arc::new([]) }
    }
}

impl Destinations {
    pub(crate) fn parse<'a>(targets: impl Iterator<Item = &'a str>) -> Result<Self, NameError> {
        let (mut groups, mut sessions) = (Vec::new(), Vec::new());
        for target in targets {
            match Target::parse(target)? {
                Target::Group(group) => groups.push(group),
                Target::Private(member) => sessions.push(member),
            }
        }
        Ok(Self { groups: groups.into(), sessions: sessions.into() })
    }

    /// What a message is to the record.
    fn received(&mut self, message: &Message) -> What {
        let sender = message.sender();
        let foreign = |problem: String| What::Foreign { sender, problem };
        let id = match payload::read(&message.payload()) {
            Ok(id) => id,
            Err(error) => return foreign(error.to_string()),
        };
        match Self::parse(message.groups()) {
            Ok(new) if new.groups == self.groups && new.sessions == self.sessions => {}
            Ok(new) => *self = new,
            Err(error) => return foreign(error.to_string()),
        }
        let Self { groups, sessions } = self.clone();
        What::Message(Received { id, sender, groups, sessions, service: message.service() })
    }
}
