//! What programs ask for.

use bytes::Bytes;
use stentor_client::wire::{ClientFrame, DaemonFrame, GoodbyeCode, RefusalCode};
use stentor_membership::{CommandError, ConnectError, GroupName, Service, SessionId};
use tracing::{debug, info};

use super::inbox::{Batch, End};
use super::report::{self, Sources};
use super::sessions::{Session, Speaks, Work};
use super::{Driver, SLICE};
use crate::config::units::Size;
use crate::metrics::Count;
use crate::session::ConnectionNumber;
use crate::session::connection::{Language, Opening};
use crate::session::goodbye::goodbye;
use crate::spread::words;

/// The most groups in one page of a list.
const PAGE: usize = 1000;

/// What became of a frame.
enum Outcome {
    Done,
    /// It has to wait until the node says that there is room.
    Busy(ClientFrame),
    /// It cost more than a message: the rest of the batch comes after what others have waiting.
    Costly,
    /// It ended the session.
    Ended,
}

impl Driver {
    pub(super) fn open_session(&mut self, connection: ConnectionNumber, opening: Opening) {
        let Opening { name, queue, turns, language } = opening;
        let opened =
            if self.leaving.is_some() { Err(ConnectError::Leaving) } else { self.node.connect(name) };
        let opened = opened.and_then(|id| Ok((id, self.node.session_name(id).ok_or(ConnectError::Leaving)?)));
        match (opened, language) {
            (Ok((id, member)), Language::Stentor) => {
                self.add_session(id, Session::new(member, connection, Speaks::Stentor, queue, turns));
                let welcome = DaemonFrame::Welcome { member, max_message: self.max_message };
                self.sessions.answer(id, &welcome);
            }
            (Ok((id, member)), Language::Spread { memberships, answer }) => {
                let speaks = Speaks::Spread { memberships };
                self.add_session(id, Session::new(member, connection, speaks, queue, turns));
                if answer.send(Ok(member)).is_err() {
                    self.lose_session(id);
                }
            }
            (Err(error), Language::Stentor) => {
                self.metrics.count(Count::handshakes_refused);
                queue.finish(goodbye(refusal_of(&error), &error.to_string()));
            }
            (Err(error), Language::Spread { answer, .. }) => {
                // Nobody waits for it any more: then nobody needs it.
                let _ = answer.send(Err(error));
            }
        }
    }

    fn add_session(&mut self, id: SessionId, session: Session) {
        debug!(session = %session.member, speaks = ?session.speaks, "session opened");
        self.metrics.count(Count::sessions_opened);
        self.sessions.open(id, session);
    }

    /// Takes the next batch of a connection: the last one is done with, unless the connection broke meanwhile.
    pub(super) fn take_batch(&mut self, connection: ConnectionNumber, batch: Batch) {
        let Some(id) = self.sessions.of(connection) else { return };
        let Batch { frames, end } = batch;
        if frames.is_empty() && matches!(end, Some(End::Lost)) {
            return self.lose_session(id);
        }
        if let Some(session) = self.sessions.get_mut(id) {
            session.work = Work { blocked: None, frames: frames.into_iter(), end };
            self.work(id);
        }
    }

    /// Handles a session's batch as far as there is room.
    pub(super) fn work(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let mut work = std::mem::take(&mut session.work);
        while let Some(frame) = work.blocked.take().or_else(|| work.frames.next()) {
            match self.handle_frame(id, frame) {
                Outcome::Done => continue,
                Outcome::Ended => return,
                Outcome::Busy(frame) => work.blocked = Some(frame),
                Outcome::Costly => self.deferred.push_back(id),
            }
            if let Some(session) = self.sessions.get_mut(id) {
                session.work = work;
            }
            return;
        }
        match work.end {
            None => {
                if let Some(session) = self.sessions.get(id) {
                    session.turns.next();
                }
            }
            Some(End::Lost) => self.lose_session(id),
            Some(End::Goodbye) => self.end_session(id, GoodbyeCode::Closed, "closed as you asked"),
            Some(End::Violation(violation)) => self.violate(id, violation.code, &violation.text),
        }
    }

    /// Goes on with sessions that had to let others go first, one request each, as long as a slice of time lasts: there
    /// may be any number of them.
    pub(super) fn work_deferred(&mut self) {
        let begin = self.now();
        for _ in 0..self.deferred.len() {
            let Some(id) = self.deferred.pop_front() else { return };
            self.work(id);
            if self.now().since(begin) > SLICE {
                return;
            }
        }
    }

    fn handle_frame(&mut self, id: SessionId, frame: ClientFrame) -> Outcome {
        match frame {
            ClientFrame::Multicast { service, discard_self, content } => {
                self.multicast(id, service, discard_self, content)
            }
            ClientFrame::Join { request, group } => {
                let result = self.node.join(id, group);
                self.outcome(id, request, result, frame)
            }
            ClientFrame::Leave { request, group } => {
                let result = self.node.leave(id, group);
                self.outcome(id, request, result, frame)
            }
            ClientFrame::ListGroups { request, after } => {
                let page = self.groups_page(request, after);
                self.sessions.answer(id, &page);
                Outcome::Costly
            }
            ClientFrame::ListMembers { request, group } => {
                let members = self.node.members(group);
                self.sessions.answer(id, &DaemonFrame::Members { request, members });
                Outcome::Costly
            }
            ClientFrame::Status { request } => {
                let sources = Sources {
                    node: &self.node,
                    links: &self.links,
                    sessions: &self.sessions,
                    history: &self.history,
                    configured: &self.configured,
                    board: &self.board,
                    metrics: &self.metrics,
                    uptime_ms: u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX),
                };
                let status = Box::new(report::status(&sources));
                self.sessions.answer(id, &DaemonFrame::StatusReport { request, status });
                Outcome::Costly
            }
            ClientFrame::Hello { .. } => {
                self.violate(id, GoodbyeCode::Protocol, "Hello comes once, as the first frame");
                Outcome::Ended
            }
            ClientFrame::Goodbye => {
                self.end_session(id, GoodbyeCode::Closed, "closed as you asked");
                Outcome::Ended
            }
        }
    }

    fn multicast(&mut self, id: SessionId, service: Service, discard_self: bool, bytes: Bytes) -> Outcome {
        let Some(session) = self.sessions.get_mut(id) else { return Outcome::Ended };
        let size = bytes.len();
        // It may have to wait, and would keep refused ones in memory.
        let bytes = if session.refused > 0 { Bytes::copy_from_slice(&bytes) } else { bytes };
        let (content, code, text) = match session.contents.read(bytes) {
            Ok(content) => match self.node.multicast(id, service, discard_self, &content) {
                Ok(()) => {
                    session.ordinal += 1;
                    session.refused = session.refused.saturating_sub(size);
                    return Outcome::Done;
                }
                Err(CommandError::Busy) => {
                    let content = content.encoded().clone();
                    return Outcome::Busy(ClientFrame::Multicast { service, discard_self, content });
                }
                Err(error) => (Some(content), refusal_code(&error), error.to_string()),
            },
            Err(error) => (None, RefusalCode::Invalid, error.to_string()),
        };
        self.metrics.count(Count::multicasts_rejected);
        let ordinal = session.ordinal;
        session.ordinal += 1;
        session.refused += size;
        match (session.speaks, content) {
            (Speaks::Stentor, _) => {
                self.sessions.answer(id, &DaemonFrame::Rejected { ordinal, code, text });
            }
            (Speaks::Spread { .. }, Some(content)) => {
                if let Some(reject) = words::reject(session.member, service, &content, &self.aliases) {
                    self.sessions.push(id, reject, false);
                }
            }
            // The door makes contents itself.
            (Speaks::Spread { .. }, None) => {}
        }
        Outcome::Done
    }

    /// What became of a join or leave; that it took effect is told by the event.
    fn outcome(
        &mut self,
        id: SessionId,
        request: u32,
        result: Result<(), CommandError>,
        frame: ClientFrame,
    ) -> Outcome {
        match result {
            Ok(()) => Outcome::Done,
            Err(CommandError::Busy) => Outcome::Busy(frame),
            Err(error) if self.sessions.get(id).is_none_or(|s| s.speaks != Speaks::Stentor) => {
                match error {
                    // The program would wait for ever: its protocol has no word for a refusal.
                    CommandError::TooManyGroups(_) => {
                        self.violate(id, GoodbyeCode::Protocol, &error.to_string());
                        Outcome::Ended
                    }
                    // Programs of Spread may join twice, and leave what they are not in: nothing happens.
                    _ => Outcome::Done,
                }
            }
            Err(error) => {
                self.metrics.count(Count::requests_failed);
                let (code, text) = (refusal_code(&error), error.to_string());
                self.sessions.answer(id, &DaemonFrame::Failed { request, code, text });
                Outcome::Done
            }
        }
    }

    fn groups_page(&self, request: u32, after: Option<GroupName>) -> DaemonFrame {
        let mut rest = self.node.groups(after);
        let count = |members| u64::try_from(members).unwrap_or(u64::MAX);
        let groups = rest.by_ref().take(PAGE).map(|(name, members)| (name, count(members))).collect();
        DaemonFrame::Groups { request, groups, more: rest.next().is_some() }
    }

    /// Takes a session out of the tables and the node.
    pub(super) fn close_session(&mut self, id: SessionId) -> Option<Session> {
        self.node.disconnect(id);
        let session = self.sessions.close(id)?;
        debug!(session = %session.member, "session closed");
        Some(session)
    }

    /// Ends a session after what it is owed.
    fn end_session(&mut self, id: SessionId, code: GoodbyeCode, text: &str) {
        if let Some(session) = self.close_session(id) {
            session.queue.finish(session.speaks.goodbye(code, text));
        }
    }

    /// Ends a session whose connection broke.
    fn lose_session(&mut self, id: SessionId) {
        if let Some(session) = self.close_session(id) {
            session.queue.abandon();
        }
    }

    fn violate(&mut self, id: SessionId, code: GoodbyeCode, text: &str) {
        self.metrics.count(Count::session_violations);
        if let Some(session) = self.sessions.get(id) {
            info!(session = %session.member, reason = text, "session ended: protocol violation");
        }
        self.end_session(id, code, text);
    }

    /// Ends a session that does not read what it gets.
    pub(super) fn cut_slow(&mut self, id: SessionId) {
        let Some(session) = self.close_session(id) else { return };
        self.metrics.count(Count::sessions_cut_slow);
        let limit = Size(self.session_queue_out);
        info!(session = %session.member, waiting = session.queue.bytes(), %limit, "session cut: reads too slowly");
        let text = format!(
            "cut off: more than {limit} waited to be read ([clients] session_queue_out): read faster, or raise it"
        );
        session.queue.cut(session.speaks.goodbye(GoodbyeCode::TooSlow, &text));
    }
}

fn refusal_of(error: &ConnectError) -> GoodbyeCode {
    match error {
        ConnectError::NameTaken(_) => GoodbyeCode::NameTaken,
        ConnectError::TooMany(_) => GoodbyeCode::TooManySessions,
        _ => GoodbyeCode::ShuttingDown,
    }
}

fn refusal_code(error: &CommandError) -> RefusalCode {
    match error {
        CommandError::TooLarge { .. } => RefusalCode::TooLarge,
        CommandError::AlreadyMember(_) => RefusalCode::AlreadyMember,
        CommandError::TooManyGroups(_) => RefusalCode::TooManyGroups,
        CommandError::NotMember(_) => RefusalCode::NotMember,
        CommandError::NotPrimary => RefusalCode::NotPrimary,
        CommandError::NoSession => RefusalCode::ShuttingDown,
        _ => RefusalCode::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stentor_membership::{Content, DaemonId, DaemonName};

    use super::*;
    use crate::driver::Settings;
    use crate::driver::inbox::Input;
    use crate::metrics::Metrics;
    use crate::session::connection::Turns;
    use crate::session::queue::SessionQueue;

    /// A daemon alone.
    fn driver() -> Driver {
        Driver::new(Settings {
            id: DaemonId { name: DaemonName::new("d").unwrap(), incarnation: 1 },
            seed: 1,
            membership: stentor_membership::Config::default(),
            configured: Vec::new(),
            session_queue_out: 1 << 20,
            aliases: Default::default(),
            board: Default::default(),
            metrics: Metrics::default(),
        })
        .unwrap()
    }

    /// The connection of a new session.
    fn connect(driver: &mut Driver) -> ConnectionNumber {
        let connection = ConnectionNumber::next();
        let queue = Arc::new(SessionQueue::new(64 << 20));
        let opening = Opening { name: None, queue, turns: Turns::new(), language: Language::Stentor };
        driver.handle(Input::Open(connection, opening), driver.now());
        connection
    }

    fn send(driver: &mut Driver, connection: ConnectionNumber, frames: Vec<ClientFrame>) {
        driver.handle(Input::Batch(connection, Batch { frames, end: None }), driver.now());
    }

    #[test]
    fn a_message_that_waits_does_not_keep_refused_ones_in_memory() {
        struct Chunk {
            read: Vec<u8>,
            _kept: Arc<()>,
        }
        impl AsRef<[u8]> for Chunk {
            fn as_ref(&self) -> &[u8] {
                &self.read
            }
        }

        let mut driver = driver();
        let connection = connect(&mut driver);
        let good = Content::new(&["g"], 0, b"payload").unwrap();
        let kept = Arc::new(());
        for _ in 0..100 {
            // Read at once: a large one that is refused, and two small ones.
            let mut read = vec![0; 1 << 20];
            read.extend_from_slice(good.encoded());
            read.extend_from_slice(good.encoded());
            let chunk = Bytes::from_owner(Chunk { read, _kept: kept.clone() });
            let size = good.encoded().len();
            let parts = [0..1 << 20, (1 << 20)..(1 << 20) + size, (1 << 20) + size..(1 << 20) + 2 * size];
            let frames = parts.map(|part| ClientFrame::Multicast {
                service: Service::Agreed,
                discard_self: false,
                content: chunk.slice(part),
            });
            send(&mut driver, connection, frames.into());
        }
        assert_eq!(driver.node.stats().messages_accepted, 200);
        assert_eq!(Arc::strong_count(&kept), 1, "chunks are kept");
    }

    #[test]
    fn sessions_that_cost_much_do_not_hold_up_all_others() {
        const SESSIONS: usize = 1000;
        let mut driver = driver();
        let connections: Vec<ConnectionNumber> = (0..SESSIONS).map(|_| connect(&mut driver)).collect();
        for connection in connections {
            // Each report lists a thousand sessions.
            let frames = (0..3).map(|request| ClientFrame::Status { request }).collect();
            send(&mut driver, connection, frames);
        }
        let all: Vec<SessionId> = driver.deferred.iter().copied().collect();
        assert_eq!(all.len(), SESSIONS);
        driver.work_deferred();
        // Those that had their turn are behind all that did not.
        let had_turns = SESSIONS - driver.deferred.iter().position(|id| *id == all[0]).unwrap();
        assert!((1..SESSIONS).contains(&had_turns), "{had_turns} of {SESSIONS} sessions");
        assert!(driver.deferred.iter().eq(all[had_turns..].iter().chain(&all[..had_turns])));
    }
}
