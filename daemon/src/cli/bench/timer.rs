//! A timer for tens of thousands of messages a second: the runtime's own is no finer than a millisecond.

use std::io;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::net::unix::pipe;

/// A descriptor that becomes readable when a time has passed: what tokio calls the end of a pipe.
#[derive(Debug)]
pub(super) struct Timer(pipe::Receiver);

impl Timer {
    pub(super) fn new() -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self(pipe::Receiver::from_owned_fd_unchecked(timer)?))
    }

    /// Waits for some microseconds or longer.
    pub(super) async fn sleep(&self, span: Duration) -> io::Result<()> {
        // Nothing at all would stop the timer.
        let nanos = span.as_nanos().max(1);
        let value = Timespec {
            tv_sec: (nanos / 1_000_000_000).try_into().unwrap_or(i64::MAX),
            tv_nsec: (nanos % 1_000_000_000).try_into().unwrap_or_default(),
        };
        let interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let once = Itimerspec { it_interval: interval, it_value: value };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        self.0.readable().await?;
        // Setting it again takes back that it fired; reading how often would only be one more call.
        let _ = self.0.try_io(|| Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        Ok(())
    }
}
