//! The sessions of this daemon.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::sync::Body;
use crate::error::ConnectError;
use crate::id::SessionId;
use crate::name::{GroupName, SessionName};

/// A live session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) name: SessionName,
    /// The groups that it is in or on its way into.
    pub(crate) groups: BTreeSet<GroupName>,
    /// It once asked to join a group: others know of it, or will.
    pub(crate) has_joined: bool,
    /// The encoded heads of its multicasts: for itself as well, and for others only.
    pub(crate) heads: [Bytes; 2],
}

/// Sessions by number and by name.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    live: BTreeMap<SessionId, Session>,
    by_name: BTreeMap<SessionName, SessionId>,
    /// The last session of a name that is gone but may have something under way.
    former: BTreeMap<SessionName, SessionId>,
    last: u32,
}

impl Sessions {
    pub(crate) fn get(&self, session: SessionId) -> Option<&Session> {
        self.live.get(&session)
    }

    pub(crate) fn get_mut(&mut self, session: SessionId) -> Option<&mut Session> {
        self.live.get_mut(&session)
    }

    pub(crate) fn by_name(&self, name: SessionName) -> Option<SessionId> {
        self.by_name.get(&name).copied()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.live.len()
    }

    /// Opens a session; also gives the earlier one of the same name, if there was one.
    /// `busy` says whether a number is still in use.
    pub(crate) fn open(
        &mut self,
        name: Option<SessionName>,
        busy: impl Fn(SessionId) -> bool,
    ) -> Result<(SessionId, Option<SessionId>), ConnectError> {
        if let Some(name) = name.filter(|name| self.by_name.contains_key(name)) {
            return Err(ConnectError::NameTaken(name));
        }
        self.former.retain(|_, former| busy(*former));
        let session = loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            let candidate = SessionId(self.last);
            if !self.live.contains_key(&candidate) && !busy(candidate) {
                break candidate;
            }
        };
        let name = name.unwrap_or_else(|| self.free_name(session));
        let head = |discard_self| Body::Multicast { sender: name, discard_self }.encode();
        let heads = [head(false), head(true)];
        self.live.insert(session, Session { name, groups: BTreeSet::new(), has_joined: false, heads });
        self.by_name.insert(name, session);
        Ok((session, self.former.remove(&name)))
    }

    /// Ends a session.
    pub(crate) fn close(&mut self, session: SessionId) -> Option<Session> {
        let closed = self.live.remove(&session)?;
        self.by_name.remove(&closed.name);
        self.former.insert(closed.name, session);
        Some(closed)
    }

    fn free_name(&self, session: SessionId) -> SessionName {
        // Numbers grow, so the first guess is nearly always free.
        let mut guesses = (session.as_u32()..).map(|number| SessionName::new(&format!("s{number}")));
        loop {
            if let Some(Ok(name)) = guesses.next()
                && !self.by_name.contains_key(&name)
            {
                return name;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_among_the_living() {
        let mut sessions = Sessions::default();
        let name: SessionName = "n".parse().unwrap();
        let (first, _) = sessions.open(Some(name), |_| false).unwrap();
        assert_eq!(sessions.open(Some(name), |_| false), Err(ConnectError::NameTaken(name)));
        sessions.close(first);
        let (second, former) = sessions.open(Some(name), |s| s == first).unwrap();
        assert_eq!((former, sessions.by_name(name)), (Some(first), Some(second)));
        assert_ne!(first, second);
    }

    #[test]
    fn a_chosen_name_is_free() {
        let mut sessions = Sessions::default();
        sessions.open(Some("s2".parse().unwrap()), |_| false).unwrap();
        let (second, _) = sessions.open(None, |_| false).unwrap();
        assert_eq!(sessions.get(second).unwrap().name.as_str(), "s3");
        assert_eq!(sessions.len(), 2);
    }
}
