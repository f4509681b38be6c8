//! Process groups on top of the ordered stream: names, members, and who gets what (PROTOCOL G).

mod routes;
mod sessions;
mod sync;
mod table;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use self::routes::Routes;
use self::sessions::Sessions;
pub use self::sync::{Body, Origin, SyncPart};
use self::sync::{Exchange, parts, virtual_synchrony_sets};
use self::table::{Group, Member, Table};
use crate::content::{Content, Target};
use crate::error::ConnectError;
use crate::event::{Cause, Envelope, Event, IDLE_EVENTS, Membership, Message};
use crate::id::{DaemonId, GroupViewId, MemberName, Position, SessionId, ViewId};
use crate::name::{GroupName, SessionName};
use crate::ordering::Delivery;
use crate::service::Service;
use crate::view::View;

/// The groups as this daemon knows them.
#[derive(Debug)]
pub(crate) struct Groups {
    me: DaemonId,
    view: ViewId,
    table: Table,
    pub(crate) sessions: Sessions,
    /// Closed sessions whose groups were not told yet: they get nothing any more.
    gone: BTreeSet<SessionId>,
    /// The exchange of this view, until the table is complete.
    exchange: Option<Exchange>,
    origin: Origin,
    /// Reliable and Fifo messages that came before the table was complete (PROTOCOL G3.3).
    waiting: Vec<(DaemonId, Delivery)>,
    /// Who gets what of the last senders.
    routes: Routes,
    /// Groups that were told of a transitional configuration and got no view since.
    signalled: BTreeSet<GroupName>,
    events: VecDeque<Event>,
    delivered: u64,
    dropped_unreliable: u64,
}

/// A group message on its way to sessions.
struct Arrival {
    from: DaemonId,
    lane: u32,
    service: Service,
    transitional: bool,
}

impl Groups {
    pub(crate) fn new(me: DaemonId, view: ViewId) -> Self {
        Self {
            me,
            view,
            table: Table::new(me),
            sessions: Sessions::default(),
            gone: BTreeSet::new(),
            exchange: None,
            origin: Origin { complete: view, companions: vec![me] },
            waiting: Vec::new(),
            routes: Routes::default(),
            signalled: BTreeSet::new(),
            events: VecDeque::new(),
            delivered: 0,
            dropped_unreliable: 0,
        }
    }

    /// Whether sessions may send: the table of this view is known (PROTOCOL G3.2).
    pub(crate) fn is_complete(&self) -> bool {
        self.exchange.is_none()
    }

    /// Moves what happened to the end of `events`.
    pub(crate) fn take_events(&mut self, events: &mut VecDeque<Event>) {
        if events.is_empty() {
            // Mostly: then nothing is moved.
            std::mem::swap(events, &mut self.events);
        } else {
            events.append(&mut self.events);
        }
    }

    /// Gives back the memory of a burst.
    pub(crate) fn shrink(&mut self) {
        self.events.shrink_to(IDLE_EVENTS);
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    pub(crate) fn dropped_unreliable(&self) -> u64 {
        self.dropped_unreliable
    }

    /// The groups behind `after` with the number of their members.
    pub(crate) fn list(&self, after: Option<GroupName>) -> impl Iterator<Item = (GroupName, usize)> {
        self.table.groups_behind(after).map(|(name, group)| (*name, group.members().len()))
    }

    /// The members of a group.
    pub(crate) fn members(&self, group: GroupName) -> Arc<[MemberName]> {
        self.table.group(&group).map(|group| group.names().clone()).unwrap_or_default()
    }

    /// Opens a session; also gives an earlier one of the same name that `has_queue` says still has something to send.
    pub(crate) fn open(
        &mut self,
        name: Option<SessionName>,
        limit: usize,
        has_queue: impl Fn(SessionId) -> bool,
    ) -> Result<(SessionId, Option<SessionId>), ConnectError> {
        self.routes.clear();
        let Self { sessions, gone, .. } = self;
        // Closed sessions count as long as something of them is under way: else sessions that come and go while
        // nothing can be sent would fill memory.
        if sessions.len() + gone.len() >= limit {
            return Err(ConnectError::TooMany(limit));
        }
        sessions.open(name, |session| has_queue(session) || gone.contains(&session))
    }

    /// Ends a session; gives its name if the others have to be told.
    pub(crate) fn close(&mut self, session: SessionId, under_way: bool) -> Option<SessionName> {
        self.routes.clear();
        let closed = self.sessions.close(session)?;
        if !under_way && !closed.has_joined {
            return None;
        }
        self.gone.insert(session);
        Some(closed.name)
    }

    /// Delivers a multicast in the regular configuration to whom the last ones of its sender to the same destinations
    /// went, if to anybody here; gives back what no route is known for.
    #[inline]
    pub(crate) fn deliver_as_before(
        &mut self,
        from: &DaemonId,
        delivery: Delivery,
    ) -> Result<Option<Event>, Delivery> {
        let complete = self.is_complete();
        let route = self.routes.find(from, delivery.lane, &delivery.body);
        let Some(route) = route.filter(|_| complete) else { return Err(delivery) };
        let Some(content) = route.content(delivery.body) else { return Ok(None) };
        self.delivered += 1;
        if route.envelope.receivers.is_empty() {
            return Ok(None);
        }
        let (envelope, service) = (route.envelope.clone(), delivery.service);
        Ok(Some(Event::Message(Message { envelope, service, content, transitional: false })))
    }

    /// An ordered or reliable message is due. `toward` is set in the transitional configuration.
    pub(crate) fn deliver(&mut self, from: DaemonId, delivery: Delivery, toward: Option<ViewId>) {
        let Delivery { lane, service, position, .. } = delivery;
        let arrival = Arrival { from, lane, service, transitional: toward.is_some() };
        let Some((body, rest)) = Body::decode(&delivery.body) else { return };
        if !matches!(body, Body::Multicast { .. }) {
            self.routes.clear();
        }
        match body {
            Body::Sync(part) => self.deliver_sync(from, part, position, toward),
            _ if !self.is_complete() => {
                // Whoever sent an ordered message had the complete table, and so have all that deliver it.
                if !service.is_ordered() && toward.is_none() {
                    self.waiting.push((from, delivery));
                }
            }
            Body::Multicast { sender, discard_self } => {
                self.deliver_multicast(&arrival, sender, discard_self, &delivery.body, rest);
            }
            Body::Join { session, group } => {
                let member = Member { daemon: from, name: session, lane };
                let stayed = self.members(group);
                if self.table.join(member, group) {
                    let id = self.group_view(position, toward);
                    self.tell(group, id, Cause::Join(member.name()), stayed, None);
                }
            }
            Body::Leave { session, group } => {
                let member = Member { daemon: from, name: session, lane };
                if self.table.leave(member, group) {
                    let id = self.group_view(position, toward);
                    let leaver = (from == self.me).then_some(SessionId(lane));
                    let stayed = self.members(group);
                    let cause = if mutant!(CauseConfused) { Cause::Disconnect } else { Cause::Leave };
                    self.tell(group, id, cause(member.name()), stayed, leaver);
                }
            }
            Body::Disconnect { session } => {
                let member = Member { daemon: from, name: session, lane };
                for group in self.table.groups_of(&member) {
                    self.table.leave(member, group);
                    let id = self.group_view(position, toward);
                    let stayed = self.members(group);
                    self.tell(group, id, Cause::Disconnect(member.name()), stayed, None);
                }
                if from == self.me {
                    self.gone.remove(&SessionId(lane));
                }
            }
        }
    }

    /// An unreliable message came by itself.
    pub(crate) fn deliver_unreliable(&mut self, from: DaemonId, lane: u32, body: &Bytes) {
        match Body::decode(body) {
            Some((Body::Multicast { sender, discard_self }, rest)) if self.is_complete() => {
                let arrival = Arrival { from, lane, service: Service::Unreliable, transitional: false };
                self.deliver_multicast(&arrival, sender, discard_self, body, rest);
            }
            _ => self.dropped_unreliable += 1,
        }
    }

    /// The transitional configuration begins: groups that lose members are told (PROTOCOL G5).
    pub(crate) fn begin_transitional(&mut self, along: &[DaemonId]) {
        if mutant!(GroupsUnwarned) {
            return;
        }
        let mut told = Vec::new();
        for (&name, group) in self.table.groups() {
            let loses = group.members().iter().any(|member| along.binary_search(&member.daemon).is_err());
            if loses && !group.local().is_empty() && !self.signalled.contains(&name) {
                told.push((name, group.local().clone()));
            }
        }
        for (group, local) in told {
            let receivers = self.living(&local);
            if receivers.is_empty() {
                continue;
            }
            if !mutant!(GroupsWarnedTwice) {
                self.signalled.insert(group);
            }
            self.events.push_back(Event::GroupTransitional { group, receivers });
        }
    }

    /// A view was installed; gives what this daemon tells the others first (PROTOCOL G3.1).
    pub(crate) fn install(&mut self, view: &View) -> Vec<Bytes> {
        self.view = view.id;
        if !mutant!(CompanionsKept) {
            self.origin.companions.retain(|daemon| view.came_along.binary_search(daemon).is_ok());
        }
        if !mutant!(EarlyReliableKept) {
            self.waiting.clear();
        }
        self.exchange = Some(Exchange::new(&view.members));
        parts(&self.origin, &self.table).into_iter().map(|part| Body::Sync(part).encode()).collect()
    }

    fn deliver_sync(&mut self, from: DaemonId, part: SyncPart, position: Position, toward: Option<ViewId>) {
        // A table that would be complete only in a transitional configuration is not (PROTOCOL G3.4).
        let Some(exchange) =
            self.exchange.as_mut().filter(|_| toward.is_none() || mutant!(TableInTransition))
        else {
            return;
        };
        if exchange.add(from, part) {
            self.complete(position);
        }
    }

    /// All syncs are here: the new table stands, and the groups that changed are told (PROTOCOL G3, G4).
    fn complete(&mut self, position: Position) {
        let Some(exchange) = self.exchange.take() else { return };
        self.routes.clear();
        let (table, origins) = exchange.finish(self.me);
        let old = std::mem::replace(&mut self.table, table);
        let mine = origins.get(&self.me);
        let mut changes = Vec::new();
        for (&name, group) in self.table.groups().filter(|(_, group)| !group.local().is_empty()) {
            let along = |member: &&Member| origins.get(&member.daemon) == mine;
            let before = old.group(&name).map(|group| group.names().clone()).unwrap_or_default();
            if before == *group.names() && group.members().iter().all(|member| along(&member)) {
                continue;
            }
            let stayed: Arc<[MemberName]> = group.members().iter().filter(along).map(Member::name).collect();
            let sets: Arc<[Vec<MemberName>]> = virtual_synchrony_sets(group.members(), &origins).into();
            changes.push((name, stayed, sets));
        }
        let view = self.group_view(position, None);
        for (group, stayed, sets) in changes {
            self.push_membership(group, view, Cause::Network, stayed, sets, None);
        }
        self.signalled.clear();
        self.origin = Origin { complete: self.view, companions: origins.into_keys().collect() };
        for (from, delivery) in std::mem::take(&mut self.waiting) {
            self.deliver(from, delivery, None);
        }
    }

    fn deliver_multicast(
        &mut self,
        arrival: &Arrival,
        sender: SessionName,
        discard_self: bool,
        message: &Bytes,
        content: Bytes,
    ) {
        let Ok(content) = Content::parse(content) else { return };
        let own = (arrival.from == self.me).then_some(SessionId(arrival.lane));
        let mut receivers = self.receivers(&content, own.filter(|_| discard_self && !mutant!(OwnCopyKept)));
        if mutant!(LastReceiverLeftOut) && receivers.len() > 1 {
            receivers = receivers[..receivers.len() - 1].into();
        }
        let sender = MemberName { daemon: arrival.from.name, session: sender };
        let envelope = Arc::new(Envelope { sender, view: self.view, receivers });
        self.routes.remember((arrival.from, arrival.lane), message, &content, &envelope);
        self.delivered += 1;
        if envelope.receivers.is_empty() {
            return;
        }
        let Arrival { service, transitional, .. } = *arrival;
        self.events.push_back(Event::Message(Message { envelope, service, content, transitional }));
    }

    /// The local sessions that a message is for, each once, without `except` (PROTOCOL G2).
    fn receivers(&self, content: &Content, except: Option<SessionId>) -> Arc<[SessionId]> {
        let mut targets = content.targets().filter_map(|target| Target::parse(target).ok());
        let (first, second) = (targets.next(), targets.next());
        if let (Some(Target::Group(group)), None) = (first, second) {
            let Some(group) = self.table.group(&group) else { return Arc::default() };
            if except.is_none_or(|session| !group.local().contains(&session)) {
                return self.living(group.local());
            }
        }
        let mut receivers = BTreeSet::new();
        for target in first.into_iter().chain(second).chain(targets) {
            match target {
                Target::Group(group) => {
                    receivers
                        .extend(self.table.group(&group).into_iter().flat_map(|group| group.local().iter()));
                }
                Target::Private(member) if member.daemon == self.me.name || mutant!(PrivateToNamesakes) => {
                    receivers.extend(self.sessions.by_name(member.session));
                }
                Target::Private(_) => {}
            }
        }
        receivers.retain(|session| Some(*session) != except && !self.gone.contains(session));
        receivers.into_iter().collect()
    }

    fn living(&self, sessions: &Arc<[SessionId]>) -> Arc<[SessionId]> {
        if self.gone.is_empty() {
            return sessions.clone();
        }
        sessions.iter().copied().filter(|session| !self.gone.contains(session)).collect()
    }

    /// Tells the members of `group` here, and the session that left, of a join, leave or disconnect.
    fn tell(
        &mut self,
        group: GroupName,
        view: GroupViewId,
        cause: Cause,
        stayed: Arc<[MemberName]>,
        leaver: Option<SessionId>,
    ) {
        self.push_membership(group, view, cause, stayed, Arc::default(), leaver);
    }

    fn push_membership(
        &mut self,
        name: GroupName,
        view: GroupViewId,
        cause: Cause,
        stayed: Arc<[MemberName]>,
        sets: Arc<[Vec<MemberName>]>,
        leaver: Option<SessionId>,
    ) {
        let group = self.table.group(&name);
        let mut receivers = group.map(|group| self.living(group.local())).unwrap_or_default();
        if let Some(leaver) = leaver.filter(|leaver| !self.gone.contains(leaver)) {
            receivers = receivers.iter().copied().chain([leaver]).collect();
        }
        if receivers.is_empty() {
            return;
        }
        let mut members = group.map(|group| group.names().clone()).unwrap_or_default();
        if mutant!(MembersUnsorted) {
            members = members.iter().rev().copied().collect();
        }
        let index = group.map_or(0, Group::index);
        let membership = Membership { receivers, group: name, view, index, members, cause, stayed, sets };
        let back = usize::from(mutant!(ChangeEarly)).min(self.events.len());
        self.events.insert(self.events.len() - back, Event::Membership(Box::new(membership)));
    }

    fn group_view(&self, position: Position, toward: Option<ViewId>) -> GroupViewId {
        GroupViewId { view: self.view, toward: toward.filter(|_| !mutant!(TowardForgotten)), position }
    }
}
