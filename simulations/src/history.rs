//! What is written down about a run: all that the checks may look at.
//!
//! A history holds what clients and daemons were told and what they asked for, never the state of the core.
//! Processes, sessions and sends are named by their index in the history; a session or a daemon that comes back
//! is a new one.

use std::sync::Arc;

use stentor_membership::{
    Cause, Content, DaemonId, GroupName, GroupViewId, MemberName, Service, View, ViewId,
};

/// The group that an observer on every daemon joins at once and never leaves. What is sent to it is seen
/// everywhere: by it the guarantees of daemons are checked.
pub const EVERYBODY: &str = "all";

/// All that was seen in a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// How many daemons are configured: a majority is counted from it.
    pub configured: usize,
    /// Every start of a daemon.
    pub processes: Vec<Process>,
    /// Every session.
    pub sessions: Vec<Session>,
    /// Every multicast that was asked for; the index is also its tag.
    pub sends: Vec<Send>,
    /// Whether the run came to rest: whatever was going to be delivered has been.
    pub settled: bool,
    /// It did not come to rest in the time that L1 allows: what is missing now is missing for good.
    pub overdue: bool,
}

/// One run of a daemon.
#[derive(Clone, Debug)]
pub struct Process {
    /// Who it was.
    pub id: DaemonId,
    /// How it ended.
    pub fate: Fate,
    /// What happened to it, in order. What a session does follows all that it was told before.
    pub entries: Vec<Entry>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It did not.
    Live,
    /// Without warning.
    Crashed,
    /// In order, with something of its clients still under way.
    LeftUnfinished,
    /// In order, after all that its clients had sent was everywhere.
    Left,
}

/// One session.
#[derive(Clone, Debug)]
pub struct Session {
    /// The process that serves it.
    pub process: usize,
    /// Its name, which a later session may have as well.
    pub name: MemberName,
    /// Whether it is the one that stays in [`EVERYBODY`].
    pub observer: bool,
}

/// One multicast.
#[derive(Clone, Debug)]
pub struct Send {
    /// Who asked for it.
    pub session: usize,
    /// Its level.
    pub service: Service,
    /// Whether its sender wants no copy.
    pub discard_self: bool,
    /// What it says.
    pub content: Content,
}

/// One thing that happened at a process.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A transitional configuration began.
    Transitional {
        /// The view that ends.
        view: ViewId,
        /// The view that follows.
        toward: ViewId,
        /// Who moves along.
        members: Arc<[DaemonId]>,
    },
    /// A view was installed.
    View(View),
    /// A message was delivered.
    Message(Delivery),
    /// A group changed.
    Membership(Change),
    /// A group has local members and the view of the daemons ends.
    GroupTransitional {
        /// The group.
        group: GroupName,
        /// Its local members.
        receivers: Vec<usize>,
    },
    /// A session began.
    Connected(usize),
    /// A session ended.
    Disconnected(usize),
    /// A join was accepted from a session.
    Join(usize, GroupName),
    /// A leave was accepted from a session.
    Leave(usize, GroupName),
    /// A multicast was accepted from its session.
    Sent(usize),
}

/// A delivered message.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The multicast that its tag names; perhaps one that was never made.
    pub send: usize,
    /// The local sessions that got it.
    pub receivers: Vec<usize>,
    /// Who is said to have sent it.
    pub sender: MemberName,
    /// The level that it is said to have.
    pub service: Service,
    /// What it says.
    pub content: Content,
    /// The view that it was sent in.
    pub view: ViewId,
    /// Whether it came in a transitional configuration.
    pub transitional: bool,
}

/// A delivered change of a group.
#[derive(Clone, Debug)]
pub struct Change {
    /// The local sessions that were told.
    pub receivers: Vec<usize>,
    /// The group.
    pub group: GroupName,
    /// Its new view.
    pub view: GroupViewId,
    /// Its members now.
    pub members: Arc<[MemberName]>,
    /// What changed it.
    pub cause: Cause,
    /// Who came along from the view before.
    pub stayed: Arc<[MemberName]>,
    /// All sets that came along with each other.
    pub sets: Arc<[Vec<MemberName>]>,
}

impl Send {
    /// Whether `name` is one of its destinations.
    pub fn targets(&self, name: &str) -> bool {
        self.content.targets().any(|target| target == name)
    }
}
