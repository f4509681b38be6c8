//! Client library of Stentor: programs join groups, multicast to them with a chosen strength of ordering, and see
//! messages and membership changes in one order.
//!
//! A program talks to a daemon on its own machine; the daemons agree among themselves.
//!
//! ```no_run
//! use stentor_client::{Address, Connection, Event, Service};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let (sender, mut receiver) = Connection::connect(&Address::from_env()?).await?.split();
//! sender.join("greetings")?.await?; // effective: from here on, nothing sent to the group is missed
//! sender.multicast(&["greetings"], Service::Agreed, "hello").await?;
//! while let Some(event) = receiver.recv().await? {
//!     match event {
//!         Event::Message(message) => {
//!             println!("{}: {}", message.sender(), String::from_utf8_lossy(&message.payload()));
//!             break;
//!         }
//!         Event::Membership(view) => println!("{}: {:?}", view.group, view.members),
//!         _ => {}
//!     }
//! }
//! sender.close().await?; // everything accepted has reached the daemon
//! # Ok(())
//! # }
//! ```
//!
//! - [`Connection`] opens a session and splits into a [`Sender`], which can be cloned and shared, and a [`Receiver`].
//! - [`Sender::multicast`] waits while the daemon is busier than the sender, [`Sender::try_multicast`] says no
//!   instead; neither ever drops what it accepted.
//! - [`Service`] says what is promised for a message: from `Unreliable` to `Safe`; `Agreed` is one order for all.
//! - [`Event`] is what a session is told. [`Membership`] says who is in a group, and who has seen the same messages.
//! - When a connection ends, every call says why and what to do ([`Disconnected`]). The session is then gone, with
//!   its memberships; a program that connects anew joins anew.
//!
//! The examples `hello`, `chat` and `kv` (a replicated map with state transfer) are runnable programs.

mod address;
mod connection;
mod error;
mod event;
mod receiver;
mod request;
mod sender;
mod shared;
mod tasks;
pub mod wire;

pub use address::{Address, AddressError};
pub use connection::{Builder, Connection};
pub use error::{ConnectError, Disconnected, RequestError, SendError, TryRecvError, TrySendError};
pub use event::{Event, Message};
pub use receiver::Receiver;
pub use sender::{GroupChange, SendOptions, Sender};
pub use stentor_membership::{
    Cause, Content, ContentError, DaemonName, GroupName, GroupViewId, MemberName, NameError, Service,
    SessionName, Target, UnknownService,
};
pub use wire::{DaemonStatus, GoodbyeCode, Membership, RefusalCode};

/// The program in the README, compiled with the documentation's tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
