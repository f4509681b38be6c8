//! Where the messages of the last senders went. A sender mostly sends to the same groups again and again: what its
//! messages begin with then says who gets them, without another look at names and groups.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::content::Content;
use crate::event::Envelope;
use crate::id::DaemonId;

/// About how many bytes of routes are remembered: tens of thousands of the usual kind, fewer if they have many receivers
/// or destinations.
const WEIGHT_MAX: usize = 8 << 20;

/// With more in use, the others are found anew for each message, until that has been done so many times for each route that
/// is remembered: then they may be the ones in use, and all are forgotten.
const MISSES: usize = 4;

/// What a route weighs beside its lists.
const WEIGHT: usize = 300;

/// The last routes. Whatever changes a group or a session has to [`clear`](Self::clear) them.
#[derive(Debug)]
pub(super) struct Routes {
    routes: Vec<Route>,
    weight: usize,
    weight_max: usize,
    /// Messages without a route since there was no room for more.
    misses: usize,
    /// By what messages begin with: the places of the routes. Sessions of several daemons may have the same name.
    by_prefix: BTreeMap<Arc<[u8]>, Vec<usize>>,
    /// The place of the last one: mostly the next message takes it as well.
    last: usize,
}

/// Where one sender's messages to the same destinations go.
#[derive(Debug)]
pub(super) struct Route {
    from: DaemonId,
    lane: u32,
    /// What its messages begin with: the body, and the destinations of the content.
    prefix: Arc<[u8]>,
    /// Where the content begins.
    content_at: usize,
    /// In which its messages are delivered.
    pub(super) envelope: Arc<Envelope>,
}

impl Route {
    fn fits(&self, from: &DaemonId, lane: u32, message: &[u8]) -> bool {
        self.lane == lane && self.from == *from && message.starts_with(&self.prefix)
    }

    /// The content of a message that takes this route, if it is one.
    #[inline]
    pub(super) fn content(&self, mut message: Bytes) -> Option<Content> {
        message.advance(self.content_at);
        Content::with_known_targets(message, self.prefix.len() - self.content_at).ok()
    }
}

impl Default for Routes {
    fn default() -> Self {
        Self::new(WEIGHT_MAX)
    }
}

impl Routes {
    fn new(weight_max: usize) -> Self {
        let (routes, by_prefix) = (Vec::new(), BTreeMap::new());
        Self { routes, weight: 0, weight_max, misses: 0, by_prefix, last: 0 }
    }

    /// The route of a message.
    #[inline]
    pub(super) fn find(&mut self, from: &DaemonId, lane: u32, message: &[u8]) -> Option<&Route> {
        if !self.routes.get(self.last)?.fits(from, lane, message) {
            let places = self.by_prefix.get(prefix_of(message)?)?;
            self.last = *places.iter().find(|&&place| self.routes[place].fits(from, lane, message))?;
        }
        self.routes.get(self.last)
    }

    /// Remembers where a message went.
    pub(super) fn remember(
        &mut self,
        (from, lane): (DaemonId, u32),
        message: &Bytes,
        content: &Content,
        envelope: &Arc<Envelope>,
    ) {
        let content_at = message.len() - content.encoded().len();
        let prefix = &message[..content_at + content.targets_len()];
        let weight = WEIGHT + prefix.len() + size_of_val(&*envelope.receivers);
        if self.weight + weight > self.weight_max {
            self.misses += 1;
            if self.misses <= MISSES * self.routes.len() {
                return;
            }
            self.forget();
        }
        self.weight += weight;
        let prefix: Arc<[u8]> = prefix.into();
        self.last = self.routes.len();
        self.by_prefix.entry(prefix.clone()).or_default().push(self.last);
        self.routes.push(Route { from, lane, prefix, content_at, envelope: envelope.clone() });
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        if !mutant!(RouteKept) {
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.routes.clear();
        self.by_prefix.clear();
        (self.weight, self.misses) = (0, 0);
    }
}

/// What a multicast begins with, up to the end of its destinations: found by the lengths in it, and not checked, since
/// it only serves to look for what was checked.
fn prefix_of(message: &[u8]) -> Option<&[u8]> {
    // The kind of the body, the length of the sender's name, the name, whether it wants a copy.
    let content_at = 3 + usize::from(*message.get(1)?);
    let (targets, _) = Content::count(*message.get(content_at)?);
    let mut end = content_at + 1;
    for _ in 0..targets {
        end += 1 + usize::from(*message.get(end)?);
    }
    message.get(..end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::groups::Body;
    use crate::id::{MemberName, SessionId, ViewId};

    fn daemon(number: u64) -> DaemonId {
        DaemonId { name: "d".parse().unwrap(), incarnation: number }
    }

    /// From a session of a daemon to a local one that stands for all that get it.
    fn envelope(from: u64, sender: &str, receiver: u32) -> Arc<Envelope> {
        let proposer = daemon(from);
        let sender = MemberName { daemon: proposer.name, session: sender.parse().unwrap() };
        let (view, receivers) = (ViewId { epoch: 0, proposer }, [SessionId(receiver)].into());
        Arc::new(Envelope { sender, view, receivers })
    }

    fn message(sender: &str, discard_self: bool, targets: &[String]) -> (Bytes, Content) {
        let body = Body::Multicast { sender: sender.parse().unwrap(), discard_self }.encode();
        let content = Content::new(targets, 7, b"text").unwrap();
        ([body, content.encoded().clone()].concat().into(), content)
    }

    proptest! {
        /// Routes of a few senders to a few destinations, more than are remembered.
        #[test]
        fn a_route_that_is_found_is_the_one_that_was_remembered(
            steps in prop::collection::vec((0..2_u64, 1..3_u32, "[ab]{1,2}", any::<bool>(), prop::collection::vec("[gh]{1,3}", 1..3)), 1..400),
        ) {
            let mut routes = Routes::new(40 * WEIGHT);
            for (from, lane, sender, discard_self, targets) in steps {
                let (message, content) = message(&sender, discard_self, &targets);
                let envelope = envelope(from, &sender, lane);
                let Some(route) = routes.find(&daemon(from), lane, &message) else {
                    routes.remember((daemon(from), lane), &message, &content, &envelope);
                    let kept = routes.misses == 0;
                    let found = routes.find(&daemon(from), lane, &message).map(|route| &route.envelope);
                    prop_assert_eq!(found, kept.then_some(&envelope));
                    continue;
                };
                prop_assert_eq!(&route.envelope, &envelope);
                prop_assert_eq!(route.content(message), Some(content));
                prop_assert!(routes.routes.len() < 40 && routes.weight <= routes.weight_max);
            }
        }

        #[test]
        fn arbitrary_bytes_have_no_route(bytes: Vec<u8>) {
            let (first, content) = message("a", false, &["g".to_owned()]);
            let mut routes = Routes::default();
            routes.remember((daemon(0), 1), &first, &content, &envelope(0, "a", 1));
            prop_assume!(!bytes.starts_with(&first[..first.len() - 4]));
            prop_assert!(routes.find(&daemon(0), 1, &bytes).is_none());
        }
    }
}
