//! E4: a message is got at most once, as it was sent, only if it was sent, and only by members.

use std::collections::{BTreeSet, HashSet};

use stentor_membership::{Cause, GroupName};

use super::Findings;
use super::history::{History, Origin, Session};
use crate::log::{Received, What};

pub(super) fn check(history: &History<'_>, findings: &mut Findings) {
    for session in &history.logs {
        let me = session.member();
        let mut seen = HashSet::new();
        let mut groups: BTreeSet<GroupName> = BTreeSet::new();
        for entry in &session.log.entries {
            match &entry.what {
                What::Membership(view) if matches!(view.cause, Cause::Leave(who) if who == me) => {
                    groups.remove(&view.group);
                }
                What::Membership(view) => {
                    groups.insert(view.group);
                }
                What::Foreign { sender, problem } => {
                    findings.expect(false, || format!("{me} got from {sender} what nobody sent: {problem}"));
                }
                What::Message(message) => {
                    findings.expect(seen.insert(message.id), || format!("{me} got {:?} twice", message.id));
                    as_sent(history, session, message, findings);
                    let addressed = message.sessions.contains(&me)
                        || message.groups.iter().any(|group| groups.contains(group));
                    findings.expect(addressed, || {
                        format!("{me} got {:?} to {:?}, but is in {groups:?}", message.id, message.groups)
                    });
                }
                What::Send(_) | What::Leave(_) | What::Transitional(_) => {}
            }
        }
    }
}

fn as_sent(history: &History<'_>, session: &Session<'_>, message: &Received, findings: &mut Findings) {
    let me = session.member();
    let Some(Origin { log, sent, .. }) = history.sent.get(&message.id) else {
        return findings.wrong(|| format!("{me} got {:?}, which was not sent or was refused", message.id));
    };
    let sender = history.logs.get(*log).map(Session::member);
    let same = Some(message.sender) == sender
        && message.groups == sent.groups
        && message.sessions == sent.sessions
        && message.service == sent.service
        && !history.is_discarded(session, message.id);
    findings.expect(same, || format!("{me} got {message:?}, but {sender:?} sent {sent:?}"));
}

#[cfg(test)]
mod tests {
    use stentor_membership::Service;

    use super::super::check;
    use super::super::sample::{Sample, log, member, together};
    use super::*;
    use crate::log::Log;

    fn violations(logs: &[Log]) -> usize {
        check(logs).violated("integrity")
    }

    fn one_sent() -> Sample {
        log(1).join(1).send(0)
    }

    #[test]
    fn what_was_sent_once_is_got_once() {
        assert_eq!(violations(&together()), 0);
        assert_eq!(violations(&[one_sent().got(1, 0).done()]), 0);
        assert_eq!(violations(&[one_sent().got(1, 0).got(1, 0).done()]), 1, "a duplicate");
    }

    #[test]
    fn nothing_comes_from_nowhere() {
        assert_eq!(violations(&[one_sent().got(1, 1).done()]), 1);
        assert_eq!(violations(&[one_sent().refused(0).got(1, 0).done()]), 1, "refused, yet delivered");
        let foreign = What::Foreign { sender: member(2), problem: "3 bytes".to_owned() };
        assert_eq!(violations(&[one_sent().push(foreign).done()]), 1);
    }

    #[test]
    fn nothing_changes_on_its_way() {
        assert_eq!(violations(&[one_sent().with(Service::Safe).got(1, 0).done()]), 1);
        assert_eq!(violations(&[log(1).join(1).send_to_others(0).got(1, 0).done()]), 1, "an unwanted copy");
    }

    #[test]
    fn only_members_get_something() {
        assert_eq!(violations(&[log(1).send(0).got(1, 0).done()]), 1);
        assert_eq!(violations(&[one_sent().leave(2, &[]).got(1, 0).done()]), 1);
    }
}
