//! Counters and levels of a node.

/// Counters since the start, and levels now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Views installed.
    pub views: u64,
    /// Peers suspected by the failure detector.
    pub suspicions: u64,
    /// Attempts at a next view that were given up.
    pub failed_attempts: u64,
    /// Data frames sent, each counted once for all peers.
    pub data_frames_sent: u64,
    /// Progress frames sent, each counted once for all peers.
    pub progress_frames_sent: u64,
    /// Frames resent to members that lacked them.
    pub frames_resent: u64,
    /// Client messages accepted.
    pub messages_accepted: u64,
    /// Client messages delivered to this daemon (whether or not a session wanted them).
    pub messages_delivered: u64,
    /// Messages discarded by the rules of a view change: nobody who moves along delivers them.
    pub messages_discarded: u64,
    /// Unreliable messages dropped: late, doubled, or while no view was complete.
    pub unreliable_dropped: u64,
    /// Times that a session was told to wait.
    pub sessions_blocked: u64,
    /// Times that sending paused because the window was full.
    pub window_full: u64,
    /// Times that a large message had to wait because others send small ones.
    pub large_held: u64,
    /// Peers cut off for breaking the protocol.
    pub violations: u64,
    /// Bytes of own frames that not everybody has confirmed.
    pub unstable_bytes: usize,
    /// Bytes of all frames kept for recovery.
    pub retained_bytes: usize,
    /// Bytes that sessions have waiting to be sent.
    pub queued_bytes: usize,
}
