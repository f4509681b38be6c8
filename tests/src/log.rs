//! What one client did and saw, in its own order: all that the checker looks at.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use stentor_client::wire::Membership;
use stentor_membership::{GroupName, MemberName, Service};

/// One message of a test: the run of the client that sent it, and its number there, from 0.
///
/// Names come back after a restart, runs do not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The run of the sender.
    pub run: u32,
    /// Counts the sends of that run.
    pub number: u32,
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.run, self.number)
    }
}

/// The event log of one session, from its first to its last.
#[derive(Clone, Debug)]
pub struct Log {
    /// Who this is.
    pub member: MemberName,
    /// Which run; unique in a test.
    pub run: u32,
    /// What happened, in order.
    pub entries: Vec<Entry>,
    /// Numbers of messages that were not accepted, or refused later: nobody may see them.
    pub refused: BTreeSet<u32>,
    /// Whether everything that was due has had its time to arrive. Only such a log can lack something.
    pub settled: bool,
    /// Whether the session was closed in order: the daemon has confirmed that it took all that was accepted.
    pub closed: bool,
}

/// One step of a log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When the client saw it.
    pub at: Instant,
    /// What it was.
    pub what: What,
}

/// What can happen to a client.
#[derive(Clone, Debug)]
pub enum What {
    /// It is about to send. Written before the call, so that nothing seen later counts as a cause of the message.
    Send(Sent),
    /// It is about to leave a group; what it sends from now on it may not get back.
    Leave(GroupName),
    /// It got a message.
    Message(Received),
    /// It got a message that no client of the test can have sent, or that was changed on its way.
    Foreign {
        /// The sender as the daemon names it.
        sender: MemberName,
        /// What is wrong with it.
        problem: String,
    },
    /// One of its groups has a new view.
    Membership(Box<Membership>),
    /// One of its groups loses members.
    Transitional(GroupName),
}

/// A message as it was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Which.
    pub id: MessageId,
    /// The groups that it goes to.
    pub groups: Arc<[GroupName]>,
    /// The single sessions that it goes to.
    pub sessions: Arc<[MemberName]>,
    /// How strong.
    pub service: Service,
    /// Whether the sender gets no copy.
    pub discard_self: bool,
}

/// A message as it was delivered.
#[derive(Clone, Debug)]
pub struct Received {
    /// Which.
    pub id: MessageId,
    /// Who sent it, as the daemon says.
    pub sender: MemberName,
    /// The groups that it went to.
    pub groups: Arc<[GroupName]>,
    /// The single sessions that it went to.
    pub sessions: Arc<[MemberName]>,
    /// How strong.
    pub service: Service,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(Sent { id, groups, sessions, service, discard_self }) => {
                let others = if *discard_self { " and to others only" } else { "" };
                write!(f, "sends {id:?} to {groups:?} {sessions:?} as {service}{others}")
            }
            Self::Leave(group) => write!(f, "leaves {group}"),
            Self::Message(Received { id, sender, groups, sessions, service }) => {
                write!(f, "got {id:?} from {sender} to {groups:?} {sessions:?} as {service}")
            }
            Self::Foreign { sender, problem } => write!(f, "got nonsense from {sender}: {problem}"),
            Self::Membership(view) => {
                let Membership { group, view, members, cause, stayed, sets } = &**view;
                write!(f, "{group} is {view} by {cause:?}: {members:?}, with it {stayed:?}, sets {sets:?}")
            }
            Self::Transitional(group) => write!(f, "{group} loses members"),
        }
    }
}

impl Log {
    /// An empty log.
    pub const fn new(member: MemberName, run: u32) -> Self {
        Self { member, run, entries: Vec::new(), refused: BTreeSet::new(), settled: false, closed: false }
    }

    /// What it sent, in order.
    pub fn sent(&self) -> impl Iterator<Item = &Sent> {
        self.entries.iter().filter_map(|entry| match &entry.what {
            What::Send(sent) => Some(sent),
            _ => None,
        })
    }

    /// What it got, in order.
    pub fn received(&self) -> impl Iterator<Item = &Received> {
        self.entries.iter().filter_map(|entry| match &entry.what {
            What::Message(message) => Some(message),
            _ => None,
        })
    }

    /// The views of `group` that it saw, in order.
    pub fn views(&self, group: &str) -> impl Iterator<Item = &Membership> {
        self.entries.iter().filter_map(move |entry| match &entry.what {
            What::Membership(view) if view.group.as_str() == group => Some(&**view),
            _ => None,
        })
    }

    /// Whether nobody may see the message that it sent under this number.
    pub fn is_refused(&self, number: u32) -> bool {
        self.refused.contains(&number)
    }
}
