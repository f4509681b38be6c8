//! Conformance tests: what the tests of real daemons on loopback are made of.

pub mod checker;
pub mod log;
