//! From events to the queues of the sessions that get them: each frame is written once for all its receivers of one
//! language.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use stentor_client::wire::{DaemonFrame, encode_message_header};
use stentor_membership::{Envelope, MemberName, Message, Service, SessionId};

use super::run_buffer::RunBuffer;
use super::sessions::{Sessions, Speaks};
use crate::metrics::{Count, Metrics};
use crate::session::goodbye::encoded;
use crate::spread::names::Aliases;
use crate::spread::words;

/// Contents up to this are copied behind their headers; larger ones are shared as they are.
const COPY_MAX: usize = 8 << 10;

/// Frames for the same receivers are queued together, up to about this many bytes.
const RUN_MAX: usize = 64 << 10;

/// The bytes of a frame's length.
const LENGTH: usize = 4;

/// Gathers frames for the same receivers.
#[derive(Debug)]
pub(super) struct Fanout {
    receivers: Arc<[SessionId]>,
    stentor: Run,
    spread: Run,
    /// The header of the last message, for the next one of the same kind.
    header: Option<Header>,
    /// The same for programs of Spread.
    head: Option<Head>,
    aliases: Aliases,
    metrics: Metrics,
}

/// Frames in one language, and who gets them.
#[derive(Debug, Default)]
struct Run {
    receivers: Vec<SessionId>,
    bytes: RunBuffer,
}

#[derive(Debug)]
struct Header {
    envelope: Arc<Envelope>,
    service: Service,
    /// Without the frame's length.
    bytes: Bytes,
}

#[derive(Debug)]
struct Head {
    sender: MemberName,
    service: Service,
    /// What stands in front of the payload in the content.
    content: Bytes,
    bytes: BytesMut,
}

impl Run {
    /// Adds what stands in front of `body`, then `body`.
    fn add(&mut self, head: &[u8], body: &Bytes, sessions: &mut Sessions) {
        self.bytes.space().put_slice(head);
        if body.len() <= COPY_MAX {
            self.bytes.space().put_slice(body);
            self.flush_large(sessions);
        } else {
            self.deliver(true, sessions);
            for receiver in &self.receivers {
                sessions.push(*receiver, body.clone(), false);
            }
        }
    }

    fn flush_large(&mut self, sessions: &mut Sessions) {
        if self.bytes.len() >= RUN_MAX {
            self.deliver(false, sessions);
        }
    }

    fn flush(&mut self, sessions: &mut Sessions) {
        if !self.bytes.is_empty() {
            self.deliver(false, sessions);
        }
    }

    fn deliver(&mut self, continues: bool, sessions: &mut Sessions) {
        let bytes = self.bytes.take();
        for receiver in &self.receivers {
            sessions.push(*receiver, bytes.clone(), continues);
        }
    }
}

impl Fanout {
    pub(super) fn new(aliases: Aliases, metrics: Metrics) -> Self {
        let (stentor, spread) = (Run::default(), Run::default());
        Self { receivers: Arc::default(), stentor, spread, header: None, head: None, aliases, metrics }
    }

    /// Adds a message for its receivers.
    pub(super) fn message(&mut self, message: &Message, sessions: &mut Sessions) {
        self.turn_to(&message.envelope.receivers, sessions);
        if !self.stentor.receivers.is_empty() {
            self.message_for_stentor(message, sessions);
        }
        if !self.spread.receivers.is_empty() {
            self.message_for_spread(message, sessions);
        }
    }

    /// Adds any other frame for those of `receivers` that speak the session protocol.
    pub(super) fn frame(
        &mut self,
        receivers: &Arc<[SessionId]>,
        frame: &DaemonFrame,
        sessions: &mut Sessions,
    ) {
        self.turn_to(receivers, sessions);
        if !self.stentor.receivers.is_empty() {
            self.stentor.bytes.space().put_slice(&encoded(frame));
            self.stentor.flush_large(sessions);
        }
    }

    /// Those of the last receivers that are programs of Spread.
    pub(super) fn spread(&self) -> Vec<SessionId> {
        self.spread.receivers.clone()
    }

    /// Queues everything that was gathered.
    pub(super) fn flush(&mut self, sessions: &mut Sessions) {
        self.stentor.flush(sessions);
        self.spread.flush(sessions);
    }

    fn turn_to(&mut self, receivers: &Arc<[SessionId]>, sessions: &mut Sessions) {
        if Arc::ptr_eq(&self.receivers, receivers) {
            return;
        }
        if self.receivers != *receivers {
            self.flush(sessions);
            let is_spread =
                |id: &SessionId| sessions.get(*id).is_some_and(|session| session.speaks != Speaks::Stentor);
            (self.spread.receivers, self.stentor.receivers) = receivers.iter().copied().partition(is_spread);
        }
        self.receivers = receivers.clone();
    }

    fn message_for_stentor(&mut self, message: &Message, sessions: &mut Sessions) {
        self.keep_header(message);
        let Some(Header { bytes: header, .. }) = &self.header else { return };
        let content = message.content.encoded();
        let Ok(length) = u32::try_from(header.len() + content.len()) else {
            tracing::error!(bytes = content.len(), "a message does not fit the session protocol");
            return;
        };
        self.stentor.bytes.space().put_u32_le(length);
        self.stentor.add(header, content, sessions);
    }

    fn message_for_spread(&mut self, message: &Message, sessions: &mut Sessions) {
        let Message { envelope, service, content, .. } = message;
        let sender = &envelope.sender;
        let same = |h: &Head| h.sender == *sender && h.service == *service && h.content == content.head();
        if !self.head.as_ref().is_some_and(same) {
            let bytes = words::message_head(*sender, *service, content, &self.aliases);
            let (sender, service) = (*sender, *service);
            self.head =
                Some(Head { sender, service, content: Bytes::copy_from_slice(content.head()), bytes });
        }
        let Some(head) = &mut self.head else { return };
        let payload = content.payload();
        if words::set_length(&mut head.bytes, payload.len()) {
            self.spread.add(&head.bytes, &payload, sessions);
        } else {
            self.metrics.count(Count::spread_too_large);
            tracing::debug!(%sender, bytes = payload.len(), "a message is too large for programs of Spread");
        }
    }

    /// Makes `header` that of the message; none if it has none.
    fn keep_header(&mut self, message: &Message) {
        let Message { envelope, service, content, .. } = message;
        let from_same =
            |h: &Header| Arc::ptr_eq(&h.envelope, envelope) || h.envelope.sender == envelope.sender;
        if self.header.as_ref().is_some_and(|h| h.service == *service && from_same(h)) {
            return;
        }
        self.header = match encode_message_header(envelope.sender, *service, content) {
            Ok(frame) => {
                let (envelope, bytes) = (envelope.clone(), frame.slice(LENGTH..));
                Some(Header { envelope, service: *service, bytes })
            }
            Err(error) => {
                tracing::error!(%error, "a message does not fit the session protocol");
                None
            }
        };
    }
}
