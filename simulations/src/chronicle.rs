//! What happened when and where, for a drawing of the run: kept only when somebody wants one.

use stentor_membership::wire::Header;
use stentor_membership::{Phase, Timestamp};

use crate::history::{Entry, History};
use crate::network::Item;

/// Something that a drawing shows.
#[derive(Clone, Debug)]
pub(crate) enum Moment {
    /// A daemon starts on this host.
    Start { host: usize, name: String },
    /// It ends: it crashed or has left.
    End { host: usize, how: &'static str },
    /// It went to another phase.
    Phase { host: usize, phase: Phase },
    /// It is not scheduled any more, or again.
    Paused { host: usize, paused: bool },
    /// It installed a view.
    View { host: usize, text: String },
    /// It delivered a transitional configuration.
    Transitional { host: usize, text: String },
    /// One of its clients sent a message.
    Send { host: usize, send: usize, text: String },
    /// It delivered a message.
    Deliver { host: usize, send: usize, transitional: bool },
    /// A frame arrived, or would have.
    Frame { from: usize, to: usize, sent: Timestamp, kind: Kind, text: String, lost: bool },
    /// A fault struck.
    Fault { text: String },
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Messages, or how far they came.
    Data,
    /// Agreeing on a view.
    Agreement,
    /// Resends, and that they are complete.
    Recovery,
}

/// The moments of a run, in the order of time.
#[derive(Debug, Default)]
pub struct Chronicle {
    wanted: bool,
    moments: Vec<(Timestamp, Moment)>,
    /// By process: how many of its entries in the history are here.
    read: Vec<usize>,
}

impl Chronicle {
    /// One that is written.
    pub fn wanted() -> Self {
        Self { wanted: true, ..Self::default() }
    }

    pub(crate) fn moments(&self) -> &[(Timestamp, Moment)] {
        &self.moments
    }

    /// Notes a moment, if it is wanted.
    pub(crate) fn note(&mut self, now: Timestamp, moment: impl FnOnce() -> Moment) {
        if self.wanted {
            self.moments.push((now, moment()));
        }
    }

    /// Notes the arrival of a frame; heartbeats are left out.
    pub(crate) fn note_frame(
        &mut self,
        now: Timestamp,
        (from, to): (usize, usize),
        sent: Timestamp,
        item: &Item,
        lost: bool,
    ) {
        let (Item::Frame(_, bytes) | Item::Datagram(bytes)) = item else { return };
        if !self.wanted {
            return;
        }
        let Ok((header, rest)) = Header::decode(bytes) else { return };
        let kind = match header {
            Header::Heartbeat { .. } => return,
            Header::Data { .. } | Header::Progress { .. } | Header::Unreliable { .. } => Kind::Data,
            Header::Resend { .. } | Header::ResendEnd { .. } | Header::Recovered { .. } => Kind::Recovery,
            Header::Status(_)
            | Header::Propose { .. }
            | Header::Refuse { .. }
            | Header::Accept { .. }
            | Header::Recover { .. }
            | Header::Leave => Kind::Agreement,
        };
        let text = format!("{header:?}, {} bytes", rest.len());
        self.moments.push((now, Moment::Frame { from, to, sent, kind, text, lost }));
    }

    /// Notes what a process wrote into the history since the last call.
    pub(crate) fn follow(&mut self, now: Timestamp, history: &History, process: usize, host: usize) {
        if !self.wanted {
            return;
        }
        if self.read.len() <= process {
            self.read.resize(process + 1, 0);
        }
        let entries = &history.processes[process].entries;
        for entry in &entries[self.read[process]..] {
            let moment = match entry {
                Entry::View(view) => {
                    let names: Vec<&str> = view.members.iter().map(|id| id.name.as_str()).collect();
                    Moment::View { host, text: format!("view {}: {}", view.id.epoch, names.join(" ")) }
                }
                Entry::Transitional { members, .. } => {
                    let names: Vec<&str> = members.iter().map(|id| id.name.as_str()).collect();
                    Moment::Transitional { host, text: format!("transitional: {}", names.join(" ")) }
                }
                Entry::Sent(send) => {
                    let record = &history.sends[*send];
                    let targets: Vec<&str> = record.content.targets().collect();
                    let text = format!("message {send}, {}, to {}", record.service, targets.join(" "));
                    Moment::Send { host, send: *send, text }
                }
                Entry::Message(message) => {
                    Moment::Deliver { host, send: message.send, transitional: message.transitional }
                }
                Entry::Membership(_)
                | Entry::GroupTransitional { .. }
                | Entry::Connected(_)
                | Entry::Disconnected(_)
                | Entry::Join(..)
                | Entry::Leave(..) => continue,
            };
            self.moments.push((now, moment));
        }
        self.read[process] = entries.len();
    }
}
