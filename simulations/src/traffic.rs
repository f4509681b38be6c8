//! What the daemons gave to the network.

use std::ops::Sub;

use stentor_membership::Channel;

/// Frames and datagrams, and their bytes as the core made them: what the transport adds is not counted. What goes to
/// several daemons counts once for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames sent on streams: all that messages and view changes need.
    pub frames: u64,
    /// Bytes of these.
    pub frame_bytes: u64,
    /// Datagrams: heartbeats and unreliable messages.
    pub datagrams: u64,
    /// Bytes of these.
    pub datagram_bytes: u64,
}

impl Traffic {
    /// Something of `size` bytes sets off.
    pub(crate) fn add(&mut self, channel: Channel, size: usize) {
        let (count, bytes) = match channel {
            Channel::Stream => (&mut self.frames, &mut self.frame_bytes),
            Channel::Datagram => (&mut self.datagrams, &mut self.datagram_bytes),
        };
        *count += 1;
        *bytes += size as u64;
    }
}

/// What was sent since an earlier count.
impl Sub for Traffic {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            frames: self.frames - before.frames,
            frame_bytes: self.frame_bytes - before.frame_bytes,
            datagrams: self.datagrams - before.datagrams,
            datagram_bytes: self.datagram_bytes - before.datagram_bytes,
        }
    }
}
