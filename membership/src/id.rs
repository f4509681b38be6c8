//! Identities: daemons, views, sessions, members and group views.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::name::{DaemonName, NameError, SessionName};

/// One run of a daemon: its configured name and an incarnation that is fresh at each start.
///
/// A restarted daemon is a new process that remembers nothing; its old identity never comes back (PROTOCOL M1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DaemonId {
    /// The configured name.
    pub name: DaemonName,
    /// Distinguishes the runs of a daemon; carries no order in time.
    pub incarnation: u64,
}

impl fmt::Display for DaemonId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{:x}", self.name, self.incarnation)
    }
}

impl fmt::Debug for DaemonId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Identity of a view (regular configuration). The ids that a daemon installs strictly increase (E2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ViewId {
    /// Higher than every epoch that any of its members had promised before.
    pub epoch: u64,
    /// Who proposed it.
    pub proposer: DaemonId,
}

impl fmt::Display for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.epoch, self.proposer)
    }
}

impl fmt::Debug for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A place in the total order of a view: the sender's clock, its rank, and the index inside its frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The Lamport time of the frame.
    pub clock: u64,
    /// The sender's index in the sorted members of the view.
    pub rank: u16,
    /// The index of the message inside the frame.
    pub index: u32,
}

/// Identity of a group view. Members that see the same id see the same members (E13).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupViewId {
    /// The daemons' view in which the group changed.
    pub view: ViewId,
    /// Set if it changed in the transitional configuration between `view` and this one.
    pub toward: Option<ViewId>,
    /// The place of the message that changed it.
    pub position: Position,
}

impl fmt::Display for GroupViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { clock, rank, index } = self.position;
        write!(f, "{}/{clock}.{rank}.{index}", self.view)?;
        match self.toward {
            Some(next) => write!(f, ">{next}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for GroupViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A session of the local daemon. Numbers are not used again while anything of the session is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub(crate) u32);

impl SessionId {
    /// The number, for logs and tables.
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

/// A session as everybody in the cluster names it, written `#session#daemon`; also its private group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MemberName {
    /// The daemon's name.
    pub daemon: DaemonName,
    /// The session's name there.
    pub session: SessionName,
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}#{}", self.session, self.daemon)
    }
}

impl fmt::Debug for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MemberName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (session, daemon) =
            text.strip_prefix('#').unwrap_or_default().split_once('#').unwrap_or((text, ""));
        Ok(Self { session: SessionName::new(session)?, daemon: DaemonName::new(daemon)? })
    }
}
