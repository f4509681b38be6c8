//! The sans-IO core of Stentor: daemons agree on views, order messages inside them, and keep process groups on top.
//!
//! Start with [`Node`]: the one state machine. It has no clock, socket, thread or randomness of its own: time,
//! seed and packets come in as arguments, frames and [`Event`]s come out of `poll_*` calls. The rules it follows
//! are the numbered clauses of `PROTOCOL.md`; comments name them.
//!
//! Inside, data flows one way: frames and commands enter [`Node`], which keeps three layers that do not know
//! those above them: `ordering` (one view: clock, horizon, stable), `agreement` (who is in the next view, and what
//! must be delivered before it), and `groups` (names, members, who gets what).

#[macro_use]
mod mutant;

mod agreement;
mod config;
mod content;
mod detector;
mod error;
mod event;
mod groups;
mod id;
mod name;
mod node;
mod ordering;
mod service;
mod stats;
mod time;
mod unreliable;
mod view;
pub mod wire;

pub use config::{Config, ConfigError};
pub use content::{Content, ContentError, ContentReader, Target};
pub use error::{CommandError, ConnectError, FrameError};
pub use event::{Cause, Channel, CloseReason, Envelope, Event, Membership, Message, Transitional, Transmit};
pub use id::{DaemonId, GroupViewId, MemberName, Position, SessionId, ViewId};
#[cfg(stentor_mutants)]
pub use mutant::Mutant;
pub use name::{DaemonName, GroupName, NameError, SessionName};
pub use node::{Node, Phase};
pub use service::{Service, UnknownService};
pub use stats::Stats;
pub use time::Timestamp;
pub use view::View;
