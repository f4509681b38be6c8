//! What a session is told.

use std::fmt;

use bytes::Bytes;
use stentor_membership::{Content, GroupName, MemberName, Service};

use crate::wire::{Membership, RefusalCode};

/// Something that happened to a session's groups, in the order in which it happened: all members of a group see its
/// ordered messages and its views in the same order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A message to a group of this session, or to this session alone.
    Message(Message),
    /// A group of this session has a new view.
    Membership(Box<Membership>),
    /// Daemons were lost. Until the next [`Event::Membership`] of the group, order and the promises of
    /// [`Service::Safe`] hold among those of its members only that move along with this session.
    Transitional {
        /// The group.
        group: GroupName,
    },
    /// A message that this session sent was refused by the daemon: nobody gets it.
    Rejected {
        /// Which one: what [`Sender::multicast`](crate::Sender::multicast) returned for it.
        ordinal: u64,
        /// Why, for programs.
        code: RefusalCode,
        /// Why, for people.
        text: String,
    },
}

/// A delivered message. Cheap to clone; its payload shares memory with what was read together with it.
#[derive(Clone)]
pub struct Message {
    sender: MemberName,
    service: Service,
    content: Content,
}

impl Message {
    /// A message as a [`Receiver`](crate::Receiver) yields it, for tests of programs.
    #[inline]
    pub fn new(sender: MemberName, service: Service, content: Content) -> Self {
        Self { sender, service, content }
    }

    /// The session that sent it; messages to this name reach that session alone.
    pub fn sender(&self) -> MemberName {
        self.sender
    }

    /// The level it was sent with.
    pub fn service(&self) -> Service {
        self.service
    }

    /// The 16-bit mark that its sender gave it.
    pub fn tag(&self) -> u16 {
        self.content.tag()
    }

    /// All its destinations as the sender wrote them, those of other sessions among them.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.content.targets()
    }

    /// What was sent. Not a copy: it keeps the piece of the stream that it came with, up to some 100 KiB, in memory.
    /// Copy what is small and kept for long.
    pub fn payload(&self) -> Bytes {
        self.content.payload()
    }

    /// Destinations, tag and payload in one.
    pub fn content(&self) -> &Content {
        &self.content
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups: Vec<_> = self.groups().collect();
        let mut out = f.debug_struct("Message");
        out.field("sender", &self.sender).field("service", &self.service).field("groups", &groups);
        out.field("tag", &self.tag()).field("bytes", &self.payload().len()).finish()
    }
}
