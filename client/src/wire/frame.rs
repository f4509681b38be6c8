//! The frames of both sides.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use stentor_membership::{
    Cause, Content, GroupName, GroupViewId, MemberName, Membership as CoreMembership, Service, SessionName,
};

use super::encode::encode_frame;
use super::messages::{LastMessage, MESSAGE};
use super::status::DaemonStatus;
use super::{GoodbyeCode, RefusalCode, WireError};

/// A frame of one side: what [`FrameDecoder`](super::FrameDecoder) yields.
pub trait Frame: Sized {
    /// What a decoder keeps of a frame, because the next one mostly begins like it.
    type Memory: Default;

    /// Appends the whole frame, its length included, to `out`; leaves `out` as it was on an error.
    ///
    /// # Errors
    /// [`WireError::TooLarge`] if its length does not fit the protocol.
    fn encode(&self, out: &mut BytesMut) -> Result<(), WireError>;

    /// Reads a frame from its body, without the length. A content is a slice of `body`.
    ///
    /// # Errors
    /// [`WireError`] if `body` is not exactly one frame.
    fn decode(body: Bytes) -> Result<Self, WireError> {
        Self::decode_next(body, &mut Self::Memory::default())
    }

    /// As [`decode`](Self::decode), for the next frame of a stream.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    fn decode_next(body: Bytes, memory: &mut Self::Memory) -> Result<Self, WireError>;
}

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientFrame {
    /// The first frame: opens the session, under a name of the daemon's choice if there is none.
    Hello {
        /// The wanted name.
        name: Option<SessionName>,
    },
    /// Join a group. Answered by the [`Membership`] that has it as its cause, or by [`DaemonFrame::Failed`].
    Join {
        /// The client's number for it.
        request: u32,
        /// The group.
        group: GroupName,
    },
    /// Leave a group. Answered like a join.
    Leave {
        /// The client's number for it.
        request: u32,
        /// The group.
        group: GroupName,
    },
    /// Send a message. Answered only if refused: [`DaemonFrame::Rejected`].
    Multicast {
        /// The service level.
        service: Service,
        /// Whether the sending session gets no copy.
        discard_self: bool,
        /// The encoded [`Content`], not checked yet: a bad one is the fault of one message, not of the session.
        content: Bytes,
    },
    /// Answered by one page of [`DaemonFrame::Groups`].
    ListGroups {
        /// The client's number for it.
        request: u32,
        /// The last group of the page before.
        after: Option<GroupName>,
    },
    /// Answered by [`DaemonFrame::Members`].
    ListMembers {
        /// The client's number for it.
        request: u32,
        /// The group.
        group: GroupName,
    },
    /// Answered by [`DaemonFrame::StatusReport`].
    Status {
        /// The client's number for it.
        request: u32,
    },
    /// The last frame: the daemon processes all before it, then answers [`DaemonFrame::Goodbye`] with
    /// [`GoodbyeCode::Closed`].
    Goodbye,
}

/// What a daemon says.
#[derive(Clone, Debug, PartialEq)]
pub enum DaemonFrame {
    /// The daemon ends the connection: its last frame, encoded alike in all versions.
    Goodbye {
        /// Why, for programs.
        code: GoodbyeCode,
        /// Why, for people.
        text: String,
    },
    /// The session is open.
    Welcome {
        /// Its name.
        member: MemberName,
        /// The largest encoded [`Content`] that the daemon takes, in bytes.
        max_message: u64,
    },
    /// A delivered message.
    Message {
        /// Who sent it.
        sender: MemberName,
        /// The level it was sent with.
        service: Service,
        /// Destinations, tag and payload.
        content: Content,
    },
    /// A new view of a group that the session is in, or has just left.
    Membership(Box<Membership>),
    /// Until the next [`Membership`] of the group, promises hold for those of its members only that move along.
    Transitional {
        /// The group.
        group: GroupName,
    },
    /// A request was refused.
    Failed {
        /// The client's number for it.
        request: u32,
        /// Why, for programs.
        code: RefusalCode,
        /// Why, for people.
        text: String,
    },
    /// A multicast was refused: nobody gets it.
    Rejected {
        /// Which of the connection's multicasts, counted from 0.
        ordinal: u64,
        /// Why, for programs.
        code: RefusalCode,
        /// Why, for people.
        text: String,
    },
    /// A page of the groups that have members, sorted.
    Groups {
        /// The client's number for the request.
        request: u32,
        /// Each group with its number of members.
        groups: Vec<(GroupName, u64)>,
        /// Whether there are more behind the last of these.
        more: bool,
    },
    /// The members of a group, sorted; empty if there is no such group.
    Members {
        /// The client's number for the request.
        request: u32,
        /// The members.
        members: Arc<[MemberName]>,
    },
    /// How the daemon is.
    StatusReport {
        /// The client's number for the request.
        request: u32,
        /// The report.
        status: Box<DaemonStatus>,
    },
}

/// A new view of a group. Members that see the same view id see the same members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The group.
    pub group: GroupName,
    /// The identity of its new view.
    pub view: GroupViewId,
    /// All its members, sorted by daemon and name.
    pub members: Arc<[MemberName]>,
    /// What changed it.
    #[serde(with = "CauseMirror")]
    pub cause: Cause,
    /// The virtual synchrony set: those members of the group's previous view that came here together with this
    /// session, and have seen the same messages in between.
    pub stayed: Arc<[MemberName]>,
    /// For a network change: all virtual synchrony sets, sorted; empty otherwise.
    pub sets: Arc<[Vec<MemberName>]>,
}

impl From<&CoreMembership> for Membership {
    fn from(event: &CoreMembership) -> Self {
        Self {
            group: event.group,
            view: event.view,
            members: event.members.clone(),
            cause: event.cause,
            stayed: event.stayed.clone(),
            sets: event.sets.clone(),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Cause")]
enum CauseMirror {
    Join(MemberName),
    Leave(MemberName),
    Disconnect(MemberName),
    Network,
}

/// The postcard part of a [`ClientFrame`]. Names are plain text here so that a bad one can be told from other
/// garbage, and quoted.
#[derive(Serialize, Deserialize)]
pub(super) enum ClientHeader<'a> {
    Hello { name: Option<&'a str> },
    Join { request: u32, group: &'a str },
    Leave { request: u32, group: &'a str },
    Multicast { service: Service, discard_self: bool },
    ListGroups { request: u32, after: Option<&'a str> },
    ListMembers { request: u32, group: &'a str },
    Status { request: u32 },
    Goodbye,
}

/// The postcard part of a [`DaemonFrame`]. `Goodbye` stays the first variant, and as it is, in all versions.
#[derive(Serialize, Deserialize)]
pub(super) enum DaemonHeader<'a> {
    Goodbye { code: GoodbyeCode, text: Cow<'a, str> },
    Welcome { member: MemberName, max_message: u64 },
    Message { sender: MemberName, service: Service },
    Membership(Cow<'a, Membership>),
    Transitional { group: GroupName },
    Failed { request: u32, code: RefusalCode, text: Cow<'a, str> },
    Rejected { ordinal: u64, code: RefusalCode, text: Cow<'a, str> },
    Groups { request: u32, groups: Cow<'a, [(GroupName, u64)]>, more: bool },
    Members { request: u32, members: Arc<[MemberName]> },
    StatusReport { request: u32, status: Cow<'a, DaemonStatus> },
}

impl Frame for ClientFrame {
    type Memory = ();

    fn encode(&self, out: &mut BytesMut) -> Result<(), WireError> {
        let mut behind: &[u8] = &[];
        let header = match self {
            Self::Hello { name } => ClientHeader::Hello { name: name.as_ref().map(SessionName::as_str) },
            Self::Join { request, group } => ClientHeader::Join { request: *request, group: group.as_str() },
            Self::Leave { request, group } => {
                ClientHeader::Leave { request: *request, group: group.as_str() }
            }
            Self::Multicast { service, discard_self, content } => {
                behind = content;
                ClientHeader::Multicast { service: *service, discard_self: *discard_self }
            }
            Self::ListGroups { request, after } => {
                ClientHeader::ListGroups { request: *request, after: after.as_ref().map(GroupName::as_str) }
            }
            Self::ListMembers { request, group } => {
                ClientHeader::ListMembers { request: *request, group: group.as_str() }
            }
            Self::Status { request } => ClientHeader::Status { request: *request },
            Self::Goodbye => ClientHeader::Goodbye,
        };
        encode_frame(&header, behind, out)
    }

    fn decode_next(mut body: Bytes, (): &mut ()) -> Result<Self, WireError> {
        let (header, behind): (ClientHeader<'_>, _) =
            postcard::take_from_bytes(&body).map_err(|_| WireError::Malformed("not a frame of a client"))?;
        let has_behind = !behind.is_empty();
        let header_len = body.len() - behind.len();
        let frame = match header {
            ClientHeader::Multicast { service, discard_self } => {
                body.advance(header_len);
                return Ok(Self::Multicast { service, discard_self, content: body });
            }
            ClientHeader::Hello { name } => Self::Hello { name: name.map(SessionName::new).transpose()? },
            ClientHeader::Join { request, group } => Self::Join { request, group: GroupName::new(group)? },
            ClientHeader::Leave { request, group } => Self::Leave { request, group: GroupName::new(group)? },
            ClientHeader::ListGroups { request, after } => {
                Self::ListGroups { request, after: after.map(GroupName::new).transpose()? }
            }
            ClientHeader::ListMembers { request, group } => {
                Self::ListMembers { request, group: GroupName::new(group)? }
            }
            ClientHeader::Status { request } => Self::Status { request },
            ClientHeader::Goodbye => Self::Goodbye,
        };
        if has_behind { Err(TRAILING) } else { Ok(frame) }
    }
}

impl Frame for DaemonFrame {
    type Memory = LastMessage;

    fn encode(&self, out: &mut BytesMut) -> Result<(), WireError> {
        let mut behind: &[u8] = &[];
        let header = match self {
            Self::Goodbye { code, text } => DaemonHeader::Goodbye { code: *code, text: text.into() },
            Self::Welcome { member, max_message } => {
                DaemonHeader::Welcome { member: *member, max_message: *max_message }
            }
            Self::Message { sender, service, content } => {
                behind = content.encoded();
                DaemonHeader::Message { sender: *sender, service: *service }
            }
            Self::Membership(membership) => DaemonHeader::Membership(Cow::Borrowed(membership)),
            Self::Transitional { group } => DaemonHeader::Transitional { group: *group },
            Self::Failed { request, code, text } => {
                DaemonHeader::Failed { request: *request, code: *code, text: text.into() }
            }
            Self::Rejected { ordinal, code, text } => {
                DaemonHeader::Rejected { ordinal: *ordinal, code: *code, text: text.into() }
            }
            Self::Groups { request, groups, more } => {
                DaemonHeader::Groups { request: *request, groups: groups.into(), more: *more }
            }
            Self::Members { request, members } => {
                DaemonHeader::Members { request: *request, members: members.clone() }
            }
            Self::StatusReport { request, status } => {
                DaemonHeader::StatusReport { request: *request, status: Cow::Borrowed(status) }
            }
        };
        encode_frame(&header, behind, out)
    }

    fn decode_next(body: Bytes, last: &mut LastMessage) -> Result<Self, WireError> {
        if body.first() == Some(&MESSAGE) {
            let (&(sender, service), content) = last.read(body)?;
            return Ok(Self::Message { sender, service, content });
        }
        let (header, behind): (DaemonHeader<'static>, _) =
            postcard::take_from_bytes(&body).map_err(|_| NOT_OF_DAEMON)?;
        let has_behind = !behind.is_empty();
        let frame = match header {
            // Only `LastMessage` takes it.
            DaemonHeader::Message { .. } => return Err(NOT_OF_DAEMON),
            DaemonHeader::Goodbye { code, text } => Self::Goodbye { code, text: text.into() },
            DaemonHeader::Welcome { member, max_message } => Self::Welcome { member, max_message },
            DaemonHeader::Membership(membership) => Self::Membership(Box::new(membership.into_owned())),
            DaemonHeader::Transitional { group } => Self::Transitional { group },
            DaemonHeader::Failed { request, code, text } => Self::Failed { request, code, text: text.into() },
            DaemonHeader::Rejected { ordinal, code, text } => {
                Self::Rejected { ordinal, code, text: text.into() }
            }
            DaemonHeader::Groups { request, groups, more } => {
                Self::Groups { request, groups: groups.into(), more }
            }
            DaemonHeader::Members { request, members } => Self::Members { request, members },
            DaemonHeader::StatusReport { request, status } => {
                Self::StatusReport { request, status: Box::new(status.into_owned()) }
            }
        };
        if has_behind { Err(TRAILING) } else { Ok(frame) }
    }
}

pub(super) const NOT_OF_DAEMON: WireError = WireError::Malformed("not a frame of a daemon");
const TRAILING: WireError = WireError::Malformed("bytes behind its end");
