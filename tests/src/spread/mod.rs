//! Spread's client protocol, spoken by hand from its description: nothing here is shared with the daemon.

pub mod client;
pub mod doors;
pub mod frame;
pub mod membership;
