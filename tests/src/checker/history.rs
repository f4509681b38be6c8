//! The logs, taken apart by group view.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use stentor_client::wire::Membership;
use stentor_membership::{Cause, GroupName, MemberName, Service};

use crate::log::{Entry, Log, MessageId, Received, Sent, What};

/// All logs of a test.
pub(super) struct History<'a> {
    pub(super) logs: Vec<Session<'a>>,
    /// Everything that anybody sent, and that was not refused.
    pub(super) sent: HashMap<MessageId, Origin<'a>>,
}

/// Where a message came from.
pub(super) struct Origin<'a> {
    /// The index of the sender's log.
    pub(super) log: usize,
    pub(super) sent: &'a Sent,
    /// When the client was about to send it.
    pub(super) at: Instant,
}

/// One log with its stays in groups.
pub(super) struct Session<'a> {
    pub(super) log: &'a Log,
    pub(super) stays: Vec<Stay<'a>>,
}

/// From a session's join of a group to its leave, or to the end of its log.
pub(super) struct Stay<'a> {
    pub(super) group: GroupName,
    pub(super) spans: Vec<Span<'a>>,
}

/// One view of a group as a session saw it.
pub(super) struct Span<'a> {
    pub(super) view: &'a Membership,
    /// The index of the first log entry behind the view.
    pub(super) start: usize,
    /// The index of the entry that ends the view, or the length of the log.
    pub(super) end: usize,
    /// The index of the transitional signal, if there was one in this view.
    pub(super) signal: Option<usize>,
    /// The view that follows; it does not list this session if it is the one after its leave.
    pub(super) next: Option<&'a Membership>,
}

impl<'a> History<'a> {
    pub(super) fn new(logs: &'a [Log]) -> Self {
        let mut sent = HashMap::new();
        for (index, log) in logs.iter().enumerate() {
            for Entry { at, what } in &log.entries {
                // What was refused stays out: nobody may get it.
                let What::Send(send) = what else { continue };
                if !log.is_refused(send.id.number) {
                    sent.insert(send.id, Origin { log: index, sent: send, at: *at });
                }
            }
        }
        Self { logs: logs.iter().map(|log| Session { log, stays: stays(log) }).collect(), sent }
    }

    /// Whether `session` sent the message and wanted no copy.
    pub(super) fn is_discarded(&self, session: &Session<'_>, id: MessageId) -> bool {
        id.run == session.log.run && self.sent.get(&id).is_some_and(|origin| origin.sent.discard_self)
    }

    /// All spans of all sessions by group, with the session's index.
    pub(super) fn spans(&self) -> impl Iterator<Item = (usize, GroupName, &Span<'a>)> {
        self.logs.iter().enumerate().flat_map(|(index, session)| {
            let stays = session.stays.iter();
            stays.flat_map(move |stay| stay.spans.iter().map(move |span| (index, stay.group, span)))
        })
    }
}

impl<'a> Session<'a> {
    pub(super) fn member(&self) -> MemberName {
        self.log.member
    }

    /// The messages to `group` at or above `service` among some entries, with their indices.
    pub(super) fn messages(
        &self,
        entries: std::ops::Range<usize>,
        group: GroupName,
        service: Service,
    ) -> impl Iterator<Item = (usize, &'a Received)> {
        let from = entries.start;
        let entries = self.log.entries.get(entries).unwrap_or_default();
        entries.iter().enumerate().filter_map(move |(index, entry)| match &entry.what {
            What::Message(m) if m.service >= service && m.groups.contains(&group) => Some((from + index, m)),
            _ => None,
        })
    }
}

impl Span<'_> {
    /// Where the part ends that has the full promise: at the transitional signal, or at the end of the view.
    pub(super) fn regular_end(&self) -> usize {
        self.signal.unwrap_or(self.end)
    }

    /// Whether the view began in a transitional configuration, so that it has no regular part.
    pub(super) fn is_transitional(&self) -> bool {
        self.view.view.toward.is_some()
    }
}

fn stays(log: &Log) -> Vec<Stay<'_>> {
    let mut open: BTreeMap<GroupName, Stay<'_>> = BTreeMap::new();
    let mut closed = Vec::new();
    for (index, entry) in log.entries.iter().enumerate() {
        match &entry.what {
            What::Membership(view) => {
                let left = matches!(view.cause, Cause::Leave(who) if who == log.member);
                let stay = open.entry(view.group);
                let stay = stay.or_insert_with(|| Stay { group: view.group, spans: Vec::new() });
                if let Some(last) = stay.spans.last_mut() {
                    last.end = index;
                    last.next = Some(view);
                }
                if left {
                    closed.extend(open.remove(&view.group));
                } else {
                    let (start, end) = (index + 1, log.entries.len());
                    stay.spans.push(Span { view, start, end, signal: None, next: None });
                }
            }
            What::Transitional(group) => {
                let span = open.get_mut(group).and_then(|stay| stay.spans.last_mut());
                if let Some(span) = span {
                    span.signal.get_or_insert(index);
                }
            }
            What::Send(_) | What::Leave(_) | What::Message(_) | What::Foreign { .. } => {}
        }
    }
    closed.extend(open.into_values());
    closed
}

#[cfg(test)]
mod tests {
    use super::super::sample::log;
    use super::*;

    #[test]
    fn a_stay_goes_from_join_to_leave() {
        let log = log(1).join(1).got(1, 0).network(2, &[1], &[1]).leave(3, &[]).join(4).done();
        let stays = stays(&log);
        assert_eq!(stays.iter().map(|stay| stay.spans.len()).collect::<Vec<_>>(), [2, 1]);
        let [first, second] = &stays[0].spans[..] else { panic!("two spans") };
        assert_eq!((first.start, first.end), (1, 2));
        assert_eq!(first.next.map(|view| view.view), Some(second.view.view));
        assert!(second.next.is_some_and(|view| view.members.is_empty()));
    }
}
