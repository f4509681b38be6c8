//! What the threads of a load share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Style;
use crate::peers::nodes::NODES;

/// How long nothing may arrive until what is missing is given up, where messages may be lost and where not.
const QUIET: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Where a load is.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) style: Style,
    /// Bytes of a message.
    pub(super) size: usize,
    pub(super) sent: AtomicU64,
    /// Of those that were sent: confirmed by the stream.
    pub(super) confirmed: AtomicU64,
    /// By receiver: messages so far.
    pub(super) received: [AtomicU64; NODES],
    /// Nothing more is to be sent.
    stopping: AtomicBool,
    /// Nothing more is to be received.
    over: AtomicBool,
}

impl Shared {
    pub(super) fn new(style: Style, size: usize) -> Self {
        Self {
            style,
            size,
            sent: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            received: Default::default(),
            stopping: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }

    pub(super) fn counts(&self) -> [u64; NODES] {
        self.received.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Messages that the slowest receiver has not got.
    pub(super) fn ahead(&self) -> u64 {
        let slowest = self.counts().into_iter().min().unwrap_or(0);
        self.sent.load(Ordering::Relaxed).saturating_sub(slowest)
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn goes_on(&self) -> bool {
        !self.stopping.load(Ordering::Relaxed)
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Ends all threads.
    pub(super) fn end(&self) {
        self.stop();
        self.over.store(true, Ordering::Relaxed);
    }

    /// Passes the result of a thread on; ends the others if it is an error.
    pub(super) fn judge<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.end();
        }
        result
    }

    /// Waits until every receiver has what was sent, or nothing has arrived for long.
    pub(super) fn await_arrival(&self) {
        let patience = if self.style == Style::Core { QUIET } else { PATIENCE };
        let mut last = (Instant::now(), self.counts());
        while self.ahead() > 0 && last.0.elapsed() < patience && !self.is_over() {
            std::thread::sleep(LOOK);
            if self.counts() != last.1 {
                last = (Instant::now(), self.counts());
            }
        }
    }
}
