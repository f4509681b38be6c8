//! Regular and transitional configurations.

use std::sync::Arc;

use crate::id::{DaemonId, ViewId};

/// A regular configuration: who agrees on the order of what is sent in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its identity.
    pub id: ViewId,
    /// Its members, sorted. A member's rank is its index here.
    pub members: Arc<[DaemonId]>,
    /// The members that came here directly from the same view as this daemon, and with it (E12).
    pub came_along: Arc<[DaemonId]>,
    /// Whether its members are a majority of the configured daemons.
    pub primary: bool,
}

impl View {
    /// The index of `daemon` among the members.
    pub fn rank(&self, daemon: DaemonId) -> Option<usize> {
        self.members.binary_search(&daemon).ok()
    }
}
