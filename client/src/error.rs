//! Errors: one type for each kind of call, all of which say what to do.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use stentor_membership::{ContentError, NameError};
use thiserror::Error;

use crate::address::Address;
use crate::wire::{GoodbyeCode, RefusalCode, WireError};

/// Why there is no connection. Nothing was sent.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The session name breaks the rule for names.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Nothing takes connections at the address, or this program may not open it.
    #[error("no daemon answers at {address}: {error}; {}", remedy(error.kind()))]
    Unreachable {
        /// The address.
        address: Address,
        /// What the operating system says.
        error: Arc<io::Error>,
    },
    /// The daemon did not open the session in time: it is stopped or overloaded.
    #[error(
        "{address} did not open a session within {after:?}: see whether the daemon is stopped or overloaded"
    )]
    TimedOut {
        /// The address.
        address: Address,
        /// The time it had.
        after: Duration,
    },
    /// The daemon refused: the name is taken or not valid, there are too many sessions, it is shutting down, ...
    #[error("{address} refused the session: {text}")]
    Refused {
        /// The address.
        address: Address,
        /// Why, for programs.
        code: GoodbyeCode,
        /// Why, for people.
        text: String,
    },
    /// What answers is no daemon, or one that this release does not understand.
    #[error("{address} does not answer like a Stentor daemon: {error}; check the address and the releases")]
    Protocol {
        /// The address.
        address: Address,
        /// What was wrong with its answer.
        error: WireError,
    },
}

/// Why the connection is no more. Every call after its end says so; what the daemon had not yet processed may be
/// lost. Make a new connection to go on.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Disconnected {
    /// This program closed it.
    #[error("the connection was closed by this program: open a new one to go on")]
    Closed,
    /// The daemon ended it.
    #[error("the daemon ended the connection: {text}; {}", advice(*code))]
    Goodbye {
        /// Why, for programs.
        code: GoodbyeCode,
        /// Why, for people.
        text: String,
    },
    /// It broke without a word from the daemon.
    #[error(
        "the connection to the daemon broke: {0}; connect again, or to another daemon if this one is gone"
    )]
    Lost(Arc<io::Error>),
    /// The daemon sent something that this release does not understand.
    #[error("the daemon broke the session protocol: {0}; use matching releases of daemon and client")]
    Protocol(WireError),
    /// [`Sender::close`](crate::Sender::close) waited in vain: the daemon's confirmation is behind events that the
    /// program does not receive.
    #[error(
        "closing was given up, as this program did not receive for {0:?}: go on receiving while closing, or drop the receiver first"
    )]
    NotReceiving(Duration),
}

/// Why a message was not sent. Nothing of it was.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum SendError {
    /// Its destinations are wrong.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// It is larger than the daemon allows.
    #[error(
        "message of {size} bytes with its destinations: the daemon takes at most {limit}; send it in parts, or raise max_message"
    )]
    TooLarge {
        /// Its encoded size.
        size: usize,
        /// The daemon's `max_message`.
        limit: usize,
    },
    /// There is no connection any more.
    #[error(transparent)]
    Disconnected(#[from] Disconnected),
}

impl From<WireError> for SendError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Content(error) => Self::Content(error),
            WireError::TooLarge { size, limit } => Self::TooLarge { size, limit },
            // Encoding fails in no other way.
            other => Self::Disconnected(Disconnected::Protocol(other)),
        }
    }
}

/// Why a message was not sent at once. Nothing of it was.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// The daemon takes messages slower than they are sent: there is no room now.
    #[error("the send buffer is full: try again later, or use the waiting form")]
    Full,
    /// It can not be sent at all.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// Why a request was not carried out. Nothing changed.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The group's name breaks the rule for names.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The daemon refused.
    #[error("the daemon refused: {text}")]
    Refused {
        /// Why, for programs.
        code: RefusalCode,
        /// Why, for people.
        text: String,
    },
    /// Too many requests wait for their answers.
    #[error("{0} requests wait for their answers: wait for some of them first")]
    TooMany(usize),
    /// There is no connection any more; the request may or may not have been carried out.
    #[error(transparent)]
    Disconnected(#[from] Disconnected),
}

/// Why there is no event at once.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum TryRecvError {
    /// Nothing has arrived yet.
    #[error("no event has arrived yet: try again later, or use the waiting form")]
    Empty,
    /// There is no connection any more, and nothing left of what it brought.
    #[error(transparent)]
    Disconnected(#[from] Disconnected),
}

/// What to do about an address at which there is no connection.
fn remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            "start one (`stentor daemon`), or give its address"
        }
        io::ErrorKind::PermissionDenied => {
            "run as a user who may open it: see the socket's owner and group, and [clients] socket_mode of the daemon"
        }
        _ => "check the address, and see the daemon's log",
    }
}

/// What to do after a goodbye.
fn advice(code: GoodbyeCode) -> &'static str {
    match code {
        GoodbyeCode::ShuttingDown => "connect to another daemon, or again when it is back",
        GoodbyeCode::TooSlow => "then connect again",
        GoodbyeCode::Protocol | GoodbyeCode::Version => "use matching releases of daemon and client",
        GoodbyeCode::NameTaken | GoodbyeCode::NameInvalid => "choose another name",
        GoodbyeCode::TooManySessions => "close other sessions, or have max_sessions raised",
        GoodbyeCode::TooLarge => "send less at once, or have max_message raised",
        GoodbyeCode::Closed | GoodbyeCode::TimedOut | GoodbyeCode::Other(_) => "connect again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_can_be_shared_between_threads() {
        fn check<T: Send + Sync + Clone + std::error::Error + 'static>() {}
        check::<ConnectError>();
        check::<Disconnected>();
        check::<SendError>();
        check::<TrySendError>();
        check::<RequestError>();
        check::<TryRecvError>();
    }

    #[test]
    fn the_advice_for_an_address_fits_the_reason() {
        for (kind, advice) in [
            (io::ErrorKind::NotFound, "start one (`stentor daemon`)"),
            (io::ErrorKind::ConnectionRefused, "start one (`stentor daemon`)"),
            (io::ErrorKind::PermissionDenied, "[clients] socket_mode"),
            (io::ErrorKind::TimedOut, "see the daemon's log"),
        ] {
            let address = Address::Unix("/s".into());
            let text = ConnectError::Unreachable { address, error: Arc::new(kind.into()) }.to_string();
            assert!(text.contains("unix:/s") && text.contains(advice), "{text}");
            assert_eq!(text.contains("start one"), advice.contains("start one"), "{text}");
        }
    }
}
