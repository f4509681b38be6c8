//! What a node tells its caller.

use std::sync::Arc;

use bytes::Bytes;

use crate::content::Content;
use crate::id::{DaemonId, GroupViewId, MemberName, SessionId, ViewId};
use crate::name::GroupName;
use crate::service::Service;
use crate::view::View;

/// Queues of events, and of messages that are due, keep room for so many while nothing happens. A burst may make them much
/// larger: a whole window of small messages can become due at once.
pub(crate) const IDLE_EVENTS: usize = 1024;

/// How a frame travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// In order and without loss, as long as the link lasts.
    Stream,
    /// Perhaps lost, perhaps twice, perhaps out of order.
    Datagram,
}

/// Bytes to send to a linked peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The peer.
    pub to: DaemonId,
    /// How.
    pub channel: Channel,
    /// What. Copies for several peers share one buffer.
    pub payload: Bytes,
}

/// Something that happened, in the order in which it happened. All sessions of a daemon see their part of this
/// one sequence. What is rare and large is boxed: nearly all are messages, and every move of an event moves room for
/// the largest kind.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A transitional configuration began: from here to the next [`Event::View`], messages are delivered for
    /// those members of the old view that move along.
    Transitional(Box<Transitional>),
    /// A regular configuration was installed.
    View(Box<View>),
    /// A message for some local sessions.
    Message(Message),
    /// A group with local members has a new view.
    Membership(Box<Membership>),
    /// Until the next [`Event::Membership`] of the group, Safe messages and order are promised for those of its
    /// members only that move along.
    GroupTransitional {
        /// The group.
        group: GroupName,
        /// Its local members.
        receivers: Arc<[SessionId]>,
    },
    /// A session that was told [`Busy`](crate::CommandError::Busy) has room again.
    Unblocked(SessionId),
    /// The node gave a link up: close it. No [`handle_link_down`](crate::Node::handle_link_down) is needed; the
    /// link may be dialled again at once.
    CloseLink {
        /// The peer at the other end.
        peer: DaemonId,
        /// Why, for the log.
        reason: CloseReason,
    },
}

/// Why a node gave up a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// Nothing was heard from the peer for too long.
    Silent,
    /// The peer said that it leaves.
    Left,
    /// The peer broke the protocol; the call that brought the frame says how.
    Violation,
}

/// A transitional configuration.
#[derive(Clone, Debug)]
pub struct Transitional {
    /// The view that ends.
    pub view: ViewId,
    /// The view that follows.
    pub toward: ViewId,
    /// The members of the transitional configuration, sorted.
    pub members: Arc<[DaemonId]>,
}

/// A delivered message.
#[derive(Clone, Debug)]
pub struct Message {
    /// From whom to whom. Messages that follow one another on the same way share it.
    pub envelope: Arc<Envelope>,
    /// The level it was sent with.
    pub service: Service,
    /// Destinations, tag and payload as sent.
    pub content: Content,
    /// Whether it was delivered in the transitional configuration that follows its view.
    pub transitional: bool,
}

/// What the messages of a sender to the same destinations have in common, as long as nobody joins or leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Who sent them.
    pub sender: MemberName,
    /// The daemons' view that they were sent in.
    pub view: ViewId,
    /// The local sessions that get them, each once.
    pub receivers: Arc<[SessionId]>,
}

/// A new view of a group.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The local sessions that get it: the local members, and the session that left.
    pub receivers: Arc<[SessionId]>,
    /// The group.
    pub group: GroupName,
    /// The identity of its new view.
    pub view: GroupViewId,
    /// Counts the group's views in the daemons' view: 1 after a network change and for a new group, one more with each
    /// join, leave and disconnect. 0 if nobody is left.
    pub index: u32,
    /// All its members, sorted by daemon and name.
    pub members: Arc<[MemberName]>,
    /// What changed it.
    pub cause: Cause,
    /// The members that were in the group's previous view here and moved along with the receivers: the receivers'
    /// virtual synchrony set. For a network change it holds those with the same history as this daemon.
    pub stayed: Arc<[MemberName]>,
    /// For a network change: all virtual synchrony sets, sorted; empty otherwise.
    pub sets: Arc<[Vec<MemberName>]>,
}

/// What changed a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A session joined.
    Join(MemberName),
    /// A session left.
    Leave(MemberName),
    /// A session's connection ended.
    Disconnect(MemberName),
    /// Daemons came or went.
    Network,
}

impl Cause {
    /// The cause as one lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Join(_) => "join",
            Self::Leave(_) => "leave",
            Self::Disconnect(_) => "disconnect",
            Self::Network => "network",
        }
    }

    /// The session that joined, left or disconnected.
    pub const fn who(self) -> Option<MemberName> {
        match self {
            Self::Join(who) | Self::Leave(who) | Self::Disconnect(who) => Some(who),
            Self::Network => None,
        }
    }
}
