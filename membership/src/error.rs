//! Errors, split by whose fault they are.

use thiserror::Error;

use crate::name::{GroupName, SessionName};

/// A peer's bytes that cannot be right. The node has already given the link up; the caller closes it.
///
/// Always the peer's fault (or another version of it): nothing of the frame was used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// The bytes do not parse.
    #[error("malformed frame: {0}")]
    Malformed(&'static str),
    /// The frame parses but breaks a rule of the protocol.
    #[error("protocol violation: {0}")]
    Violation(&'static str),
}

/// Why a session was not opened. Nothing changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// Another live session has the name.
    #[error("session name {0:?} is taken: choose another or let the daemon choose")]
    NameTaken(SessionName),
    /// The daemon serves as many sessions as it may.
    #[error("all {0} sessions are in use: close one or raise max_sessions")]
    TooMany(usize),
    /// The daemon is leaving the cluster.
    #[error("the daemon is shutting down: connect to another")]
    Leaving,
}

/// Why a command of a session was not taken. Nothing changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandError {
    /// No such session (any more).
    #[error("the session is closed")]
    NoSession,
    /// The session's queue is full: an [`Event::Unblocked`](crate::Event::Unblocked) follows when there is room.
    #[error("the session's queue is full: wait until it is unblocked")]
    Busy,
    /// The message is too large.
    #[error("message of {size} bytes: at most {limit} are allowed")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The configured limit.
        limit: usize,
    },
    /// The session is already a member of the group, or on its way in.
    #[error("already a member of group {0:?}")]
    AlreadyMember(GroupName),
    /// The session is in as many groups as it may.
    #[error("already in {0} groups: leave one or raise max_groups")]
    TooManyGroups(usize),
    /// The session is not a member of the group, nor on its way in.
    #[error("not a member of group {0:?}: join it first")]
    NotMember(GroupName),
    /// This part of the cluster holds no majority, and the configuration wants one.
    #[error(
        "this part of the cluster holds no majority of the configured daemons: retry when it is whole again"
    )]
    NotPrimary,
}
