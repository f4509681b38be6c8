//! Links to the other daemons: one QUIC connection to each, over one UDP socket.
//!
//! Of two daemons, the one with the lower name dials ([`dial`]), the other accepts ([`quic`]). A link runs
//! ([`link`]) once both ends have shown certificates of the cluster's authority and introduced themselves
//! ([`hello`]); what it carries goes to the driver's inbox.

pub(crate) mod board;
mod dial;
mod explain;
mod frames;
mod handshake;
mod hello;
pub(crate) mod link;
mod queue;
mod quic;
mod socket;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod tls;

pub(crate) use quic::{Settings, Transport};
