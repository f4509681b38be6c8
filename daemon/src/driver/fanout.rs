//! From events to the queues of the sessions that get them: each frame is written once for all its receivers.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use stentor_client::wire::{DaemonFrame, encode_message_header};
use stentor_membership::{MemberName, Message, Service, SessionId};

use super::sessions::Sessions;
use crate::session::goodbye::encoded;

/// Contents up to this are copied behind their headers; larger ones are shared as they are.
const COPY_MAX: usize = 8 << 10;

/// Frames for the same receivers are queued together, up to about this many bytes.
const RUN_MAX: usize = 64 << 10;

/// The bytes of a frame's length.
const LENGTH: usize = 4;

/// Gathers frames for the same receivers.
#[derive(Debug, Default)]
pub(super) struct Fanout {
    receivers: Arc<[SessionId]>,
    run: BytesMut,
    /// The header of the last message, for the next one of the same kind.
    header: Option<Header>,
}

#[derive(Debug)]
struct Header {
    sender: MemberName,
    service: Service,
    /// Without the frame's length.
    bytes: Bytes,
}

impl Fanout {
    /// Adds a message for its receivers.
    pub(super) fn message(&mut self, message: &Message, sessions: &mut Sessions) {
        self.turn_to(&message.receivers, sessions);
        let content = message.content.encoded();
        let Some(header) = self.header(message) else { return };
        let Ok(length) = u32::try_from(header.len() + content.len()) else {
            tracing::error!(bytes = content.len(), "a message does not fit the session protocol");
            return;
        };
        self.run.reserve(LENGTH + header.len());
        self.run.put_u32_le(length);
        self.run.put_slice(&header);
        if content.len() <= COPY_MAX {
            self.run.put_slice(content);
            if self.run.len() >= RUN_MAX {
                self.flush(sessions);
            }
        } else {
            self.deliver(true, sessions);
            for receiver in self.receivers.iter() {
                sessions.push(*receiver, content.clone(), false);
            }
        }
    }

    /// Adds any other frame for `receivers`.
    pub(super) fn frame(
        &mut self,
        receivers: &Arc<[SessionId]>,
        frame: &DaemonFrame,
        sessions: &mut Sessions,
    ) {
        self.turn_to(receivers, sessions);
        self.run.put_slice(&encoded(frame));
        if self.run.len() >= RUN_MAX {
            self.flush(sessions);
        }
    }

    /// Queues everything that was gathered.
    pub(super) fn flush(&mut self, sessions: &mut Sessions) {
        if !self.run.is_empty() {
            self.deliver(false, sessions);
        }
    }

    fn turn_to(&mut self, receivers: &Arc<[SessionId]>, sessions: &mut Sessions) {
        if Arc::ptr_eq(&self.receivers, receivers) {
            return;
        }
        if self.receivers != *receivers {
            self.flush(sessions);
        }
        self.receivers = receivers.clone();
    }

    fn deliver(&mut self, continues: bool, sessions: &mut Sessions) {
        let bytes = self.run.split().freeze();
        for receiver in self.receivers.iter() {
            sessions.push(*receiver, bytes.clone(), continues);
        }
    }

    fn header(&mut self, message: &Message) -> Option<Bytes> {
        let Message { sender, service, content, .. } = message;
        if let Some(header) = self.header.as_ref().filter(|h| h.sender == *sender && h.service == *service) {
            return Some(header.bytes.clone());
        }
        match encode_message_header(*sender, *service, content) {
            Ok(frame) => {
                let bytes = frame.slice(LENGTH..);
                self.header = Some(Header { sender: *sender, service: *service, bytes: bytes.clone() });
                Some(bytes)
            }
            Err(error) => {
                tracing::error!(%error, "a message does not fit the session protocol");
                None
            }
        }
    }
}
