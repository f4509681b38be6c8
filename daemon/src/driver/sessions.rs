//! The sessions of local programs, as the driver sees them.

use std::collections::HashMap;
use std::sync::Arc;
use std::vec;

use bytes::Bytes;
use stentor_client::wire::{ClientFrame, DaemonFrame, GoodbyeCode};
use stentor_membership::{ContentReader, MemberName, SessionId, SessionName};

use super::inbox::End;
use crate::session::ConnectionNumber;
use crate::session::connection::Turns;
use crate::session::goodbye::{encoded, goodbye};
use crate::session::queue::SessionQueue;

/// What a session is told in which words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    /// The session protocol.
    Stentor,
    /// Spread's client protocol, with memberships or without.
    Spread { memberships: bool },
}

impl Speaks {
    /// The end of a connection: Spread's protocol has no words for it.
    pub(super) fn goodbye(self, code: GoodbyeCode, text: &str) -> Bytes {
        match self {
            Self::Stentor => goodbye(code, text),
            Self::Spread { .. } => Bytes::new(),
        }
    }
}

/// A session and what it has under way.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) member: MemberName,
    pub(super) connection: ConnectionNumber,
    pub(super) speaks: Speaks,
    pub(super) queue: Arc<SessionQueue>,
    pub(super) turns: Turns,
    pub(super) work: Work,
    /// Reads its multicasts.
    pub(super) contents: ContentReader,
    /// The number of its next multicast.
    pub(super) ordinal: u64,
    /// Bytes of its refused multicasts, less those accepted since, which are copied: what waits must not keep memory that
    /// it shares with refused ones, as nothing bounds how much that is.
    pub(super) refused: usize,
    /// How many groups it is in.
    pub(super) groups: u64,
    /// It got something to read since the last wake-up.
    dirty: bool,
}

/// The batch that the driver is at.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// The frame that has to wait for room.
    pub(super) blocked: Option<ClientFrame>,
    pub(super) frames: vec::IntoIter<ClientFrame>,
    pub(super) end: Option<End>,
}

/// All sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_id: HashMap<SessionId, Session>,
    by_connection: HashMap<ConnectionNumber, SessionId>,
    by_name: HashMap<SessionName, SessionId>,
    dirty: Vec<SessionId>,
    /// Those whose queue is full.
    slow: Vec<SessionId>,
}

impl Session {
    /// One that has said nothing yet.
    pub(super) fn new(
        member: MemberName,
        connection: ConnectionNumber,
        speaks: Speaks,
        queue: Arc<SessionQueue>,
        turns: Turns,
    ) -> Self {
        let (work, contents) = (Work::default(), ContentReader::default());
        let (ordinal, refused, groups, dirty) = (0, 0, 0, false);
        Self { member, connection, speaks, queue, turns, work, contents, ordinal, refused, groups, dirty }
    }
}

impl Sessions {
    pub(super) fn open(&mut self, id: SessionId, session: Session) {
        self.by_connection.insert(session.connection, id);
        self.by_name.insert(session.member.session, id);
        self.by_id.insert(id, session);
    }

    pub(super) fn close(&mut self, id: SessionId) -> Option<Session> {
        let session = self.by_id.remove(&id)?;
        self.by_connection.remove(&session.connection);
        self.by_name.remove(&session.member.session);
        Some(session)
    }

    pub(super) fn of(&self, connection: ConnectionNumber) -> Option<SessionId> {
        self.by_connection.get(&connection).copied()
    }

    pub(super) fn get(&self, id: SessionId) -> Option<&Session> {
        self.by_id.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.by_id.get_mut(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn ids(&self) -> Vec<SessionId> {
        self.by_id.keys().copied().collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.by_id.values()
    }

    /// Notes that a session of this daemon joined or left a group; it is one of those who are told so, unless it is over
    /// and its name somebody else's.
    pub(super) fn count_group(&mut self, member: MemberName, joined: bool, told: &[SessionId]) {
        let id = self.by_name.get(&member.session).filter(|id| told.contains(id));
        if let Some(session) = id.and_then(|id| self.by_id.get_mut(id)) {
            session.groups = if joined { session.groups + 1 } else { session.groups.saturating_sub(1) };
        }
    }

    /// Queues bytes for a session. One that is full is reported by [`take_slow`](Self::take_slow).
    pub(super) fn push(&mut self, id: SessionId, bytes: Bytes, continues: bool) {
        let Some(session) = self.by_id.get_mut(&id) else { return };
        if session.queue.push(bytes, continues).is_err() {
            if !self.slow.contains(&id) {
                self.slow.push(id);
            }
            return;
        }
        if !session.dirty {
            session.dirty = true;
            self.dirty.push(id);
        }
    }

    /// Queues a frame for a session.
    pub(super) fn answer(&mut self, id: SessionId, frame: &DaemonFrame) {
        self.push(id, encoded(frame), false);
    }

    /// The sessions that do not read what they get.
    pub(super) fn take_slow(&mut self) -> Vec<SessionId> {
        std::mem::take(&mut self.slow)
    }

    /// Wakes the writers of all sessions that got something.
    pub(super) fn wake(&mut self) {
        for id in self.dirty.drain(..) {
            if let Some(session) = self.by_id.get_mut(&id) {
                session.dirty = false;
                session.queue.wake();
            }
        }
    }
}
