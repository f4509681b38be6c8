//! Conformance tests: what the tests of real daemons on loopback are made of.
//!
//! A test starts a [`cluster`], lets [`recorder`]s send and receive, spoils something, and gives what the recorders
//! wrote down to the [`checker`], which knows nothing else.

pub mod bench;
pub mod binary;
pub mod chaos;
pub mod checker;
pub mod cluster;
pub mod command;
pub mod log;
pub mod members;
pub mod payload;
pub mod peer;
pub mod peers;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod recorder;
pub mod scale;
pub mod scenario;
pub mod spread;
pub mod tape;
pub mod tool;
pub mod verdict;
pub mod wait;
