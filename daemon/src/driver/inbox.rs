//! What reaches the driver.

use crate::transport::link::{LinkEvent, LinkNumber};

/// Something for the driver to handle, in the order of arrival.
#[derive(Debug)]
pub(crate) enum Input {
    /// From a link to a peer.
    Link(LinkNumber, LinkEvent),
}
