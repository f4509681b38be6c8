//! Where the messages of the last senders went. A sender mostly sends to the same groups again and again: what its
//! messages begin with then says who gets them, without another look at names and groups.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::content::Content;
use crate::id::{DaemonId, MemberName, SessionId};

/// So many senders are remembered.
const REMEMBERED: usize = 8;

/// The last routes. Whatever changes a group or a session has to [`clear`](Self::clear) them.
#[derive(Debug, Default)]
pub(super) struct Routes {
    routes: Vec<Route>,
    /// The place that the next one takes.
    next: usize,
}

/// Where one sender's messages to the same destinations go.
#[derive(Debug)]
pub(super) struct Route {
    from: DaemonId,
    lane: u32,
    /// What its messages begin with: the body, and the destinations of the content.
    prefix: Box<[u8]>,
    /// Where the content begins.
    content_at: usize,
    /// Who sends.
    pub(super) sender: MemberName,
    /// The local sessions that get it.
    pub(super) receivers: Arc<[SessionId]>,
}

impl Route {
    /// The content of a message that takes this route, if it is one.
    pub(super) fn content(&self, mut message: Bytes) -> Option<Content> {
        message.advance(self.content_at);
        Content::with_known_targets(message, self.prefix.len() - self.content_at).ok()
    }
}

impl Routes {
    /// The route of a message.
    pub(super) fn find(&self, from: DaemonId, lane: u32, message: &Bytes) -> Option<&Route> {
        let fits =
            |route: &&Route| route.lane == lane && route.from == from && message.starts_with(&route.prefix);
        self.routes.iter().find(fits)
    }

    /// Remembers where a message went.
    pub(super) fn remember(
        &mut self,
        (from, lane): (DaemonId, u32),
        message: &Bytes,
        content: &Content,
        sender: MemberName,
        receivers: &Arc<[SessionId]>,
    ) {
        let content_at = message.len() - content.encoded().len();
        let prefix = message[..content_at + content.targets_len()].into();
        let route = Route { from, lane, prefix, content_at, sender, receivers: receivers.clone() };
        if self.routes.len() < REMEMBERED {
            self.routes.push(route);
        } else {
            self.routes[self.next] = route;
            self.next = (self.next + 1) % REMEMBERED;
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        if mutant!(RouteKept) {
            return;
        }
        self.routes.clear();
        self.next = 0;
    }
}
