//! Logs made by hand, for the tests of the properties.

use std::sync::Arc;
use std::time::Instant;

use stentor_client::wire::Membership;
use stentor_membership::{Cause, DaemonId, GroupName, GroupViewId, MemberName, Position, Service, ViewId};

use crate::log::{Entry, Log, MessageId, Received, Sent, What};

/// The session behind a run: 1 is `#s1#d1`, and so on.
pub(super) fn member(run: u32) -> MemberName {
    MemberName { session: format!("s{run}").parse().unwrap(), daemon: format!("d{run}").parse().unwrap() }
}

/// The one group of most samples.
pub(super) fn group() -> GroupName {
    GroupName::new("g").unwrap()
}

/// An empty log of a run.
pub(super) fn log(run: u32) -> Sample {
    Sample { log: Log { settled: true, ..Log::new(member(run), run) }, service: Service::Agreed }
}

/// A right history of two members, which says something about every property.
pub(super) fn together() -> Vec<Log> {
    let one = log(1).join(1).joined(2, 2, &[1, 2]).send(0).with(Service::Safe).send(1);
    let one = one.with(Service::Agreed).got(1, 0).with(Service::Safe).got(1, 1).with(Service::Agreed);
    let two = log(2).join_with(2, &[1, 2]).got(1, 0).with(Service::Safe).got(1, 1).with(Service::Agreed);
    let two = two.send(0).got(2, 0).joined(3, 3, &[1, 2, 3]).leave(4, &[1, 3]);
    let one = one.got(2, 0).joined(3, 3, &[1, 2, 3]).left(4, 2, &[1, 3]);
    vec![one.done(), two.done(), log(3).join_with(3, &[1, 2, 3]).left(4, 2, &[1, 3]).done()]
}

/// A log under construction.
pub(super) struct Sample {
    log: Log,
    service: Service,
}

impl Sample {
    /// The service of what follows.
    pub(super) fn with(self, service: Service) -> Self {
        Self { service, ..self }
    }

    /// It is a session of the same daemon as another run's.
    pub(super) fn at_daemon_of(mut self, run: u32) -> Self {
        self.log.member.daemon = member(run).daemon;
        self
    }

    /// It joined, as the only member.
    pub(super) fn join(self, view: u64) -> Self {
        let run = self.log.run;
        self.join_with(view, &[run])
    }

    /// It joined others.
    pub(super) fn join_with(self, view: u64, members: &[u32]) -> Self {
        let run = self.log.run;
        self.joined(view, run, members)
    }

    /// Somebody joined.
    pub(super) fn joined(self, view: u64, who: u32, members: &[u32]) -> Self {
        let stayed: Vec<_> = members.iter().copied().filter(|run| *run != who).collect();
        self.membership(view, Cause::Join(member(who)), members, &stayed)
    }

    /// It left.
    pub(super) fn leave(self, view: u64, members: &[u32]) -> Self {
        let run = self.log.run;
        self.left(view, run, members)
    }

    /// Somebody left.
    pub(super) fn left(self, view: u64, who: u32, members: &[u32]) -> Self {
        self.membership(view, Cause::Leave(member(who)), members, members)
    }

    /// Daemons came or went.
    pub(super) fn network(self, view: u64, members: &[u32], stayed: &[u32]) -> Self {
        self.membership(view, Cause::Network, members, stayed)
    }

    /// A new view.
    pub(super) fn membership(self, view: u64, cause: Cause, members: &[u32], stayed: &[u32]) -> Self {
        let names = |runs: &[u32]| -> Arc<[MemberName]> { runs.iter().map(|run| member(*run)).collect() };
        let rest: Vec<_> = members.iter().filter(|run| !stayed.contains(run)).map(|r| member(*r)).collect();
        let mut sets = vec![names(stayed).to_vec(), rest];
        sets.retain(|set| cause == Cause::Network && !set.is_empty());
        sets.sort();
        let proposer = DaemonId { name: "d1".parse().unwrap(), incarnation: 1 };
        let id = GroupViewId {
            view: ViewId { epoch: 1, proposer },
            toward: None,
            position: Position { clock: view, ..Position::default() },
        };
        self.push(What::Membership(Box::new(Membership {
            group: group(),
            view: id,
            members: names(members),
            cause,
            stayed: names(stayed),
            sets: sets.into(),
        })))
    }

    /// It was told that members are lost.
    pub(super) fn transitional(self) -> Self {
        self.push(What::Transitional(group()))
    }

    /// It asked to leave.
    pub(super) fn leaving(self) -> Self {
        self.push(What::Leave(group()))
    }

    /// It sent.
    pub(super) fn send(self, number: u32) -> Self {
        self.send_as(number, false)
    }

    /// It sent, and wanted no copy.
    pub(super) fn send_to_others(self, number: u32) -> Self {
        self.send_as(number, true)
    }

    fn send_as(self, number: u32, discard_self: bool) -> Self {
        let id = MessageId { run: self.log.run, number };
        let sent = Sent {
            id,
            groups: Arc::new([group()]),
            sessions: Arc::new([]),
            service: self.service,
            discard_self,
        };
        self.push(What::Send(sent))
    }

    /// A message arrived.
    pub(super) fn got(self, run: u32, number: u32) -> Self {
        let id = MessageId { run, number };
        let groups = Arc::new([group()]);
        let message =
            Received { id, sender: member(run), groups, sessions: Arc::new([]), service: self.service };
        self.push(What::Message(message))
    }

    /// What it sent under this number was refused.
    pub(super) fn refused(mut self, number: u32) -> Self {
        self.log.refused.insert(number);
        self
    }

    /// It crashed, or was not waited for.
    pub(super) fn cut(mut self) -> Log {
        self.log.settled = false;
        self.log
    }

    /// It closed in order, before everything due had its time.
    pub(super) fn closed(mut self) -> Log {
        (self.log.settled, self.log.closed) = (false, true);
        self.log
    }

    /// Everything due had its time.
    pub(super) fn done(self) -> Log {
        self.log
    }

    pub(super) fn push(mut self, what: What) -> Self {
        self.log.entries.push(Entry { at: Instant::now(), what });
        self
    }
}
