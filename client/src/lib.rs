//! Client library of Stentor.

pub mod wire;
