//! Links to the other daemons over QUIC.

pub(crate) mod tls;
