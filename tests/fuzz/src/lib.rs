//! What arbitrary bytes from outside may do to the core, to the session protocol and to what reads configurations: each
//! function here takes bytes, and panics if they did something that they must not.
//!
//! The tests of this crate run them on random bytes for a few seconds; the targets beside it let libFuzzer look for
//! worse ones for hours (CONTRIBUTING.md says how). What only the daemon reads is tested there.
#![expect(clippy::unwrap_used, reason = "what is not arbitrary here is right")]

mod cluster;
mod config;
mod frames;
mod liar;
mod made_up;
mod sessions;
mod texts;

pub use config::config;
pub use frames::peer_frames;
pub use liar::lying_peer;
pub use sessions::{frames_of_clients, frames_of_daemons};
pub use texts::texts;
