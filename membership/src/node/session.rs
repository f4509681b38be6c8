//! What local sessions ask for.

use bytes::Bytes;

use super::Node;
use crate::content::Content;
use crate::error::{CommandError, ConnectError};
use crate::groups::Body;
use crate::id::{MemberName, SessionId};
use crate::name::{GroupName, SessionName};
use crate::ordering::Outgoing;
use crate::service::Service;

impl Node {
    /// Opens a session; without a name the node chooses a free one (see [`session_name`](Self::session_name)).
    ///
    /// # Errors
    /// [`ConnectError`]: the name is taken, or there are too many sessions.
    pub fn connect(&mut self, name: Option<SessionName>) -> Result<SessionId, ConnectError> {
        if self.leaving {
            return Err(ConnectError::Leaving);
        }
        // What was due before is not for the new session.
        self.drain_deliveries(None);
        let Self { groups, outbox, config, .. } = self;
        let has_queue = |session: SessionId| outbox.has_lane(session.as_u32());
        let (session, former) = groups.open(name, config.max_sessions, has_queue)?;
        if let Some(former) = former {
            outbox.hold(session.as_u32(), former.as_u32());
        }
        Ok(session)
    }

    /// The name of a live session.
    pub fn session_name(&self, session: SessionId) -> Option<MemberName> {
        let session = self.groups.sessions.get(session)?;
        Some(MemberName { daemon: self.id.name, session: session.name })
    }

    /// Closes a session: what it sent before is still sent, then its groups are told. No event made after this names it.
    /// Its name is free again at once.
    pub fn disconnect(&mut self, session: SessionId) {
        self.drain_deliveries(None);
        let under_way = self.outbox.has_lane(session.as_u32());
        if let Some(name) = self.groups.close(session, under_way).filter(|_| !mutant!(DisconnectUntold)) {
            self.push_command(session, &Body::Disconnect { session: name });
        }
    }

    /// Adds a session to a group. Effective with the [`Event::Membership`](crate::Event::Membership) that has it as its
    /// cause; from then on, whatever anybody sends to the group reaches the session (PROTOCOL G6).
    ///
    /// # Errors
    /// [`CommandError`]: no such session, already a member, in too many groups, or busy.
    pub fn join(&mut self, session: SessionId, group: GroupName) -> Result<(), CommandError> {
        let live = self.groups.sessions.get(session).ok_or(CommandError::NoSession)?;
        if live.groups.contains(&group) {
            return Err(CommandError::AlreadyMember(group));
        }
        if live.groups.len() >= self.config.max_groups {
            return Err(CommandError::TooManyGroups(self.config.max_groups));
        }
        let body = Body::Join { session: live.name, group };
        self.admit(session, group.as_str().len())?;
        if let Some(live) = self.groups.sessions.get_mut(session) {
            live.groups.insert(group);
            live.has_joined = true;
        }
        self.push_command(session, &body);
        Ok(())
    }

    /// Removes a session from a group. Effective with the [`Event::Membership`](crate::Event::Membership) that has it as
    /// its cause, which the session itself gets as well.
    ///
    /// # Errors
    /// [`CommandError`]: no such session, not a member, or busy.
    pub fn leave(&mut self, session: SessionId, group: GroupName) -> Result<(), CommandError> {
        let live = self.groups.sessions.get(session).ok_or(CommandError::NoSession)?;
        if !live.groups.contains(&group) {
            return Err(CommandError::NotMember(group));
        }
        let body = Body::Leave { session: live.name, group };
        self.admit(session, group.as_str().len())?;
        if let Some(live) = self.groups.sessions.get_mut(session) {
            live.groups.remove(&group);
        }
        self.push_command(session, &body);
        Ok(())
    }

    /// Sends a message to one or several groups. With `discard_self` the sending session gets no copy.
    ///
    /// # Errors
    /// [`CommandError`]; after [`CommandError::Busy`] the same message may be tried again on
    /// [`Event::Unblocked`](crate::Event::Unblocked).
    pub fn multicast(
        &mut self,
        session: SessionId,
        service: Service,
        discard_self: bool,
        content: &Content,
    ) -> Result<(), CommandError> {
        let size = content.encoded().len();
        if size > self.config.max_message {
            return Err(CommandError::TooLarge { size, limit: self.config.max_message });
        }
        if self.config.require_primary && !self.view.primary && service.is_ordered() {
            return Err(CommandError::NotPrimary);
        }
        let live = self.groups.sessions.get(session).ok_or(CommandError::NoSession)?;
        let head = live.heads[usize::from(discard_self)].clone();
        self.admit(session, head.len() + size)?;
        self.stats.messages_accepted += 1;
        self.outbox.push(session.as_u32(), Outgoing { service, head, content: content.encoded().clone() });
        Ok(())
    }

    fn admit(&mut self, session: SessionId, size: usize) -> Result<(), CommandError> {
        if self.outbox.admit(session.as_u32(), size, self.config.session_queue) {
            return Ok(());
        }
        self.stats.sessions_blocked += 1;
        Err(CommandError::Busy)
    }

    /// Joins, leaves and disconnects are ordered messages of their session (PROTOCOL G1).
    fn push_command(&mut self, session: SessionId, body: &Body) {
        let message = Outgoing { service: Service::Agreed, head: body.encode(), content: Bytes::new() };
        self.outbox.push(session.as_u32(), message);
    }
}
