//! Requests that wait for their answers.

use std::collections::BTreeMap;

use stentor_membership::{GroupName, MemberName};
use tokio::sync::oneshot;

use crate::error::{Disconnected, RequestError};
use crate::wire::{DaemonFrame, DaemonStatus, Membership};

/// The most requests that may wait.
pub(crate) const REQUESTS_MAX: usize = 10_000;

/// Where the answer to a request goes. The requester may have stopped waiting: then it goes nowhere.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, RequestError>>;

/// A request on its way.
pub(crate) enum Request {
    Join(GroupName, Reply<Membership>),
    Leave(GroupName, Reply<Membership>),
    Groups(Reply<GroupsPage>),
    Members(Reply<std::sync::Arc<[MemberName]>>),
    Status(Reply<Box<DaemonStatus>>),
}

/// A page of the list of groups, and whether more follow.
pub(crate) type GroupsPage = (Vec<(GroupName, u64)>, bool);

/// All requests on their way, by number: oldest first.
#[derive(Default)]
pub(crate) struct Requests {
    waiting: BTreeMap<u32, Request>,
    last: u32,
}

impl Requests {
    /// Registers a request and gives it its number.
    pub(crate) fn add(&mut self, request: Request) -> Result<u32, RequestError> {
        if self.waiting.len() >= REQUESTS_MAX {
            return Err(RequestError::TooMany(REQUESTS_MAX));
        }
        self.last = self.last.wrapping_add(1);
        self.waiting.insert(self.last, request);
        Ok(self.last)
    }

    /// The group changed by an act of this session: answers the oldest request for it. Joins and leaves take effect
    /// in the order of their requests, so that it is nearly always the first.
    pub(crate) fn changed(&mut self, joined: bool, membership: &Membership) {
        let found = self.waiting.iter().find(|(_, request)| match request {
            Request::Join(group, _) => joined && *group == membership.group,
            Request::Leave(group, _) => !joined && *group == membership.group,
            Request::Groups(_) | Request::Members(_) | Request::Status(_) => false,
        });
        let Some((&number, _)) = found else { return };
        if let Some(Request::Join(_, reply) | Request::Leave(_, reply)) = self.waiting.remove(&number) {
            let _ = reply.send(Ok(membership.clone()));
        }
    }

    /// A frame that answers a request by number. One that fits none is ignored: its request is answered already.
    pub(crate) fn answered(&mut self, frame: DaemonFrame) {
        match frame {
            DaemonFrame::Failed { request, code, text } => {
                if let Some(request) = self.waiting.remove(&request) {
                    request.fail(RequestError::Refused { code, text });
                }
            }
            DaemonFrame::Groups { request, groups, more } => {
                if let Some(Request::Groups(reply)) = self.waiting.remove(&request) {
                    let _ = reply.send(Ok((groups, more)));
                }
            }
            DaemonFrame::Members { request, members } => {
                if let Some(Request::Members(reply)) = self.waiting.remove(&request) {
                    let _ = reply.send(Ok(members));
                }
            }
            DaemonFrame::StatusReport { request, status } => {
                if let Some(Request::Status(reply)) = self.waiting.remove(&request) {
                    let _ = reply.send(Ok(status));
                }
            }
            DaemonFrame::Goodbye { .. }
            | DaemonFrame::Welcome { .. }
            | DaemonFrame::Message { .. }
            | DaemonFrame::Membership(_)
            | DaemonFrame::Transitional { .. }
            | DaemonFrame::Rejected { .. } => {}
        }
    }

    /// The connection ended: no more answers.
    pub(crate) fn fail_all(&mut self, reason: &Disconnected) {
        for request in std::mem::take(&mut self.waiting).into_values() {
            request.fail(reason.clone().into());
        }
    }
}

impl Request {
    fn fail(self, error: RequestError) {
        match self {
            Self::Join(_, reply) | Self::Leave(_, reply) => drop(reply.send(Err(error))),
            Self::Groups(reply) => drop(reply.send(Err(error))),
            Self::Members(reply) => drop(reply.send(Err(error))),
            Self::Status(reply) => drop(reply.send(Err(error))),
        }
    }
}
