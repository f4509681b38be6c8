//! Deterministic simulation.
pub(crate) mod dice;
pub mod facts;
pub mod history;
pub mod invariants;
pub(crate) mod schedule;
