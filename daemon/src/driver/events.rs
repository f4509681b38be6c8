//! What the node reports, on its way to sessions, links, log and history.

use stentor_client::wire::DaemonFrame;
use stentor_membership::{Cause, CloseReason, DaemonId, Event, Membership, Transitional};
use tracing::{debug, info, warn};

use super::Driver;
use crate::transport::board::Severity;
use crate::transport::link::Close;

impl Driver {
    /// Passes on everything that happened.
    pub(super) fn drain_events(&mut self) {
        while let Some(event) = self.node.poll_event() {
            self.pass_on(event);
        }
        self.fanout.flush(&mut self.sessions);
    }

    fn pass_on(&mut self, event: Event) {
        match event {
            Event::Message(message) => self.fanout.message(&message, &mut self.sessions),
            Event::Membership(membership) => self.pass_membership(&membership),
            Event::GroupTransitional { group, receivers } => {
                let frame = DaemonFrame::Transitional { group };
                self.fanout.frame(&receivers, &frame, &mut self.sessions);
                self.tell_spread_of_transition(group);
            }
            Event::Unblocked(session) => self.unblocked.push(session),
            Event::View(view) => {
                info!(view = %view.id, members = ?view.members, primary = view.primary, "view installed");
                self.history.view(&view);
            }
            Event::Transitional(transitional) => {
                let Transitional { view, toward, members } = *transitional;
                debug!(%view, %toward, ?members, "transitional configuration");
                self.history.transitional(view, toward, &members);
            }
            Event::CloseLink { peer, reason } => self.close_link(peer, reason),
            other => debug!(event = ?other, "an event that this daemon does not know"),
        }
    }

    fn pass_membership(&mut self, event: &Membership) {
        let change = match event.cause {
            Cause::Join(member) => Some((member, true)),
            Cause::Leave(member) => Some((member, false)),
            Cause::Disconnect(_) | Cause::Network => None,
        };
        if let Some((member, joined)) = change.filter(|(member, _)| member.daemon == self.node.id().name) {
            self.sessions.count_group(member, joined, &event.receivers);
        }
        let frame = DaemonFrame::Membership(Box::new(event.into()));
        self.fanout.frame(&event.receivers, &frame, &mut self.sessions);
        self.tell_spread_of_membership(event);
    }

    fn close_link(&mut self, peer: DaemonId, reason: CloseReason) {
        let violation = self.violation.take_if(|(by, _)| *by == peer).map(|(_, error)| error);
        match (reason, violation) {
            (CloseReason::Left, _) => {
                info!(%peer, "the peer leaves the cluster");
                self.links.close(peer, Close::Leaving, "you left");
            }
            (CloseReason::Silent, _) => {
                let reason = "nothing was heard from it for too long".to_owned();
                self.board.trouble(Some(peer.name), Severity::Lasting, reason);
                self.links.close(peer, Close::GivenUp, "nothing was heard from you for too long");
            }
            (CloseReason::Violation, error) => {
                let error = error.unwrap_or_else(|| "protocol violation".to_owned());
                self.links.close(peer, Close::Violation, &error);
            }
            (other, _) => {
                let reason = format!("{other:?}");
                warn!(%peer, reason, "link given up");
                self.links.close(peer, Close::GivenUp, &reason);
            }
        }
    }
}
