//! A door for programs of the Spread toolkit: they speak its client protocol, and are sessions like any other.
//!
//! A connection shakes hands ([`handshake`]), then its requests are turned into those of the session protocol
//! ([`requests`]), and what the driver has for it is written in Spread's words ([`words`]). Order, groups and
//! back-pressure are the daemon's own: nothing here decides who gets what. SPREAD.md says how the two worlds map.

pub(crate) mod auth;
mod connection;
mod handshake;
mod header;
pub(crate) mod import;
mod kind;
pub(crate) mod listen;
mod marks;
pub(crate) mod names;
pub(crate) mod passwords;
mod requests;
pub(crate) mod words;

pub(crate) use self::connection::{Door, serve, turn_away};

/// The version that the daemon says it is: the last one whose protocol it speaks.
pub(crate) const VERSION: [u8; 3] = [5, 0, 1];

/// The most bytes of destinations and payload together: what Spread's own library lets through.
pub(crate) const MAX_MESSAGE: usize = 144_000;

/// The least `max_message` of a daemon with this door: the largest message with the longest names and what is noted
/// beside them.
pub(crate) const MAX_MESSAGE_NEEDED: usize = 160 << 10;

/// The most destinations of a message.
pub(crate) const MAX_DESTINATIONS: usize = 100;
