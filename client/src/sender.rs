//! The sending half.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use stentor_membership::{GroupName, MemberName, Service};
use tokio::sync::oneshot;

use crate::error::{Disconnected, RequestError, SendError, TrySendError};
use crate::request::{Reply, Request};
use crate::shared::{Shared, Stage};
use crate::wire::{ClientFrame, DaemonStatus, Membership, encode_multicast};

/// How a message is sent: by default [`Service::Agreed`], with tag 0, back to its own sender too if that is a member.
///
/// ```
/// use stentor_client::{SendOptions, Service};
///
/// let options = SendOptions::new(Service::Safe).tag(7).discard_self();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendOptions {
    service: Service,
    tag: u16,
    discard_self: bool,
}

impl SendOptions {
    /// With a service level.
    #[must_use]
    pub const fn new(service: Service) -> Self {
        Self { service, tag: 0, discard_self: false }
    }

    /// With a mark of the program's own.
    #[must_use]
    pub const fn tag(self, tag: u16) -> Self {
        Self { tag, ..self }
    }

    /// Without a copy for the sending session.
    #[must_use]
    pub const fn discard_self(self) -> Self {
        Self { discard_self: true, ..self }
    }
}

impl From<Service> for SendOptions {
    fn from(service: Service) -> Self {
        Self::new(service)
    }
}

/// The sending half of a connection: cheap to clone, to be used from any task or thread.
///
/// What one sender sends from one task reaches the daemon in that order, and requests keep their place in it. Many
/// small messages share one write to the daemon; sending costs a copy into that write and no allocation. The write begins
/// when the task that sends waits for something, at the latest after 256 KiB or some 2,000 messages: it then lets other
/// tasks run.
///
/// When the last sender and the [`Receiver`](crate::Receiver) are dropped, what was accepted is still sent in the
/// background and the session is closed in order; [`close`](Self::close) waits for that.
pub struct Sender {
    shared: Arc<Shared>,
}

impl Sender {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        shared.add_handle();
        Self { shared }
    }

    /// The name of this session; messages to it reach this session alone.
    pub fn member(&self) -> MemberName {
        self.shared.member
    }

    /// The largest message that the daemon takes: bytes of payload and destinations together.
    pub fn max_message(&self) -> usize {
        self.shared.max_message
    }

    /// Sends a message to every member of some groups, once to each. The sender need not be a member. A destination
    /// may also be a session, `#session#daemon`.
    ///
    /// Waits while the daemon takes less than is sent; waiters come in turn, and one that gives up (the future is
    /// dropped) has sent nothing. Returns the message's ordinal among those of this connection, counted from 0: once
    /// it returns, the message is accepted, and not dropped as long as the connection lives. Should the daemon refuse
    /// it, an [`Event::Rejected`](crate::Event::Rejected) names the ordinal.
    ///
    /// # Errors
    /// [`SendError`]: wrong destinations, too large, or no connection any more.
    pub async fn multicast<S: AsRef<str>>(
        &self,
        groups: &[S],
        options: impl Into<SendOptions>,
        payload: impl AsRef<[u8]>,
    ) -> Result<u64, SendError> {
        let (options, payload) = (options.into(), payload.as_ref());
        let size = self.size(groups, payload)?;
        let accepted = match self.shared.room(size).await {
            Ok(room) => self.shared.push(room, size, |out| encode(groups, options, payload, out)),
            Err(reason) => Err(reason.into()),
        };
        match accepted {
            Err(SendError::Disconnected(_)) => Err(self.shared.last_reason().await.into()),
            other => other,
        }
    }

    /// As [`multicast`](Self::multicast), but says no instead of waiting.
    ///
    /// # Errors
    /// [`TrySendError::Full`], else as [`multicast`](Self::multicast).
    pub fn try_multicast<S: AsRef<str>>(
        &self,
        groups: &[S],
        options: impl Into<SendOptions>,
        payload: impl AsRef<[u8]>,
    ) -> Result<u64, TrySendError> {
        let (options, payload) = (options.into(), payload.as_ref());
        let size = self.size(groups, payload)?;
        let room = self.shared.try_room(size)?;
        Ok(self.shared.push(room, size, |out| encode(groups, options, payload, out))?)
    }

    /// Sends a message to one session. As [`multicast`](Self::multicast) in everything else.
    ///
    /// # Errors
    /// As [`multicast`](Self::multicast).
    pub async fn send_to(
        &self,
        member: MemberName,
        options: impl Into<SendOptions>,
        payload: impl AsRef<[u8]>,
    ) -> Result<u64, SendError> {
        self.multicast(&[member.to_string()], options, payload).await
    }

    /// Joins a group. The request is sent at once; await the result to know when the join is effective: everything
    /// that anybody then sends to the group reaches this session. Or drop it and see the
    /// [`Event::Membership`](crate::Event::Membership) with this session's join as its cause.
    ///
    /// # Errors
    /// [`RequestError`]: the name is not valid, too many requests wait, or no connection any more.
    pub fn join(&self, group: &str) -> Result<GroupChange, RequestError> {
        let group = GroupName::new(group)?;
        let (reply, answer) = oneshot::channel();
        let frame = |request| ClientFrame::Join { request, group };
        self.shared.request(Request::Join(group, reply), frame)?;
        Ok(GroupChange { answer, shared: self.shared.clone() })
    }

    /// Leaves a group. The request is sent at once; await the result to know when the leave is effective: nothing of
    /// the group follows its [`Event::Membership`](crate::Event::Membership).
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn leave(&self, group: &str) -> Result<GroupChange, RequestError> {
        let group = GroupName::new(group)?;
        let (reply, answer) = oneshot::channel();
        let frame = |request| ClientFrame::Leave { request, group };
        self.shared.request(Request::Leave(group, reply), frame)?;
        Ok(GroupChange { answer, shared: self.shared.clone() })
    }

    /// All groups of the cluster that have members, sorted, with the number of members. Groups that come or go
    /// meanwhile may be there or not.
    ///
    /// # Errors
    /// [`RequestError`]: too many requests wait, or no connection any more.
    pub async fn groups(&self) -> Result<Vec<(GroupName, u64)>, RequestError> {
        let mut all = Vec::new();
        loop {
            let after = all.last().map(|&(group, _)| group);
            let frame = |request| ClientFrame::ListGroups { request, after };
            let (page, more) = self.ask(Request::Groups, frame).await?;
            // A page that does not go on behind the one before would make this endless.
            let advances = page.first().map(|&(group, _)| group) > after;
            all.extend(page);
            if !more || !advances {
                return Ok(all);
            }
        }
    }

    /// The members of a group, sorted by daemon and name; empty if there is no such group.
    ///
    /// # Errors
    /// [`RequestError`]: the name is not valid, too many requests wait, or no connection any more.
    pub async fn members(&self, group: &str) -> Result<Arc<[MemberName]>, RequestError> {
        let group = GroupName::new(group)?;
        self.ask(Request::Members, |request| ClientFrame::ListMembers { request, group }).await
    }

    /// The daemon's report of itself.
    ///
    /// # Errors
    /// [`RequestError`]: too many requests wait, or no connection any more.
    pub async fn status(&self) -> Result<DaemonStatus, RequestError> {
        self.ask(Request::Status, |request| ClientFrame::Status { request }).await.map(|status| *status)
    }

    /// Closes the connection in order: all that was accepted is sent, and the daemon confirms that it took it. From
    /// the call on, nothing more is accepted, from other clones neither. Should the future be dropped, closing goes
    /// on.
    ///
    /// Go on receiving until it returns, or drop the [`Receiver`](crate::Receiver) before: the confirmation comes
    /// behind the events that were on their way.
    ///
    /// # Errors
    /// [`Disconnected`] if the connection ends otherwise: the last messages may be lost.
    pub async fn close(&self) -> Result<(), Disconnected> {
        self.shared.close();
        let mut stage = self.shared.watch();
        match stage.wait_for(Stage::is_over).await.as_deref() {
            Ok(Stage::Failed(reason)) => Err(reason.clone()),
            Ok(Stage::Open | Stage::Closing | Stage::Broken | Stage::Closed) | Err(_) => Ok(()),
        }
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
        frame: impl FnOnce(u32) -> ClientFrame,
    ) -> Result<T, RequestError> {
        let (reply, answer) = oneshot::channel();
        self.shared.request(request(reply), frame)?;
        answer.await.unwrap_or_else(|_| Err(self.shared.reason().into()))
    }

    /// The size of a message as it counts for the limit.
    fn size<S: AsRef<str>>(&self, groups: &[S], payload: &[u8]) -> Result<usize, SendError> {
        let names: usize = groups.iter().map(|group| 1 + group.as_ref().len()).sum();
        let size = 3 + names + payload.len();
        let limit = self.shared.max_message;
        if size > limit { Err(SendError::TooLarge { size, limit }) } else { Ok(size) }
    }
}

fn encode<S: AsRef<str>>(
    groups: &[S],
    options: SendOptions,
    payload: &[u8],
    out: &mut bytes::BytesMut,
) -> Result<(), SendError> {
    let SendOptions { service, tag, discard_self } = options;
    encode_multicast(service, discard_self, groups, tag, payload, out).map_err(SendError::from)
}

impl Clone for Sender {
    fn clone(&self) -> Self {
        Self::new(self.shared.clone())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.drop_handle();
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("member", &self.member()).finish_non_exhaustive()
    }
}

/// A join or leave on its way: await it to know when it is effective, or drop it; it goes on.
pub struct GroupChange {
    answer: oneshot::Receiver<Result<Membership, RequestError>>,
    shared: Arc<Shared>,
}

impl Future for GroupChange {
    /// The group's view that began with it.
    type Output = Result<Membership, RequestError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        Poll::Ready(answer.unwrap_or_else(|_| Err(self.shared.reason().into())))
    }
}

impl fmt::Debug for GroupChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupChange").finish_non_exhaustive()
    }
}
