//! At a rate: messages are due at fixed times, and their time counts from then.

use std::sync::atomic::Ordering;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::connection::Writer;
use super::receiver;
use super::shared::Shared;
use super::wire::Wire;
use crate::peers::content;
use crate::peers::load::{Figures, PING_SIZE, Quantity, WARM_UP};
use crate::peers::nodes::{nanos_since, percentile};

/// The publisher never waits for less: its own wake-ups would become the load.
const PAUSE_MIN: Duration = Duration::from_micros(50);

/// When messages are due.
#[derive(Clone, Copy, Debug)]
struct Times {
    begin: Instant,
    /// A second.
    rate: u64,
}

impl Times {
    /// When a message is due, in nanoseconds since the beginning.
    fn due(&self, number: u64) -> u64 {
        u64::try_from(u128::from(number) * 1_000_000_000 / u128::from(self.rate)).unwrap_or(u64::MAX)
    }
}

/// Measures it.
pub(super) fn run(wire: Wire, rate: u64, span: Duration) -> Result<Figures> {
    let Wire { style, publisher, receivers, subject, confirmations, stream } = wire;
    // The stream lives until everything has arrived.
    let _stream = stream;
    let shared = &Shared::new(style, PING_SIZE);
    let times = &Times { begin: Instant::now(), rate };
    let warm = u64::try_from(WARM_UP.as_nanos()).unwrap_or(u64::MAX);
    let measured = scope(|threads| {
        let mut work = Vec::new();
        for (place, connection) in receivers.into_iter().enumerate() {
            work.push(threads.spawn(move || {
                let mut took = Vec::new();
                let received = receiver::run(shared, place, connection, |number| {
                    let due = times.due(number);
                    if due >= warm {
                        took.push(nanos_since(times.begin).saturating_sub(due));
                    }
                });
                shared.judge(received.map(|()| took))
            }));
        }
        let (writer, _reader) = publisher;
        let published =
            shared.judge(publish(shared, writer, &subject, &confirmations, times, WARM_UP + span));
        shared.await_arrival();
        shared.end();
        let mut took = Vec::new();
        for thread in work {
            took.extend(thread.join().ok().context("a thread of the load panicked")??);
        }
        published.map(|()| took)
    });
    let mut took = measured?;
    Ok(vec![(Quantity::P50, percentile(&mut took, 50)?), (Quantity::P99, percentile(&mut took, 99)?)])
}

/// Publishes what is due until the time is over.
fn publish(
    shared: &Shared,
    mut writer: Writer,
    subject: &str,
    confirmations: &str,
    times: &Times,
    span: Duration,
) -> Result<()> {
    let mut payload = [0x5a; PING_SIZE];
    let mut sent = 0;
    while shared.goes_on() && times.begin.elapsed() < span {
        let now = nanos_since(times.begin);
        while times.due(sent) <= now {
            content::write(&mut payload, sent);
            writer.publish(subject, confirmations, &payload)?;
            sent += 1;
        }
        writer.flush()?;
        shared.sent.store(sent, Ordering::Relaxed);
        let wait = times.due(sent).saturating_sub(nanos_since(times.begin));
        sleep(Duration::from_nanos(wait).max(PAUSE_MIN));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_at_even_distances() {
        let times = Times { begin: Instant::now(), rate: 400_000 };
        assert_eq!([0, 1, 400_000].map(|number| times.due(number)), [0, 2_500, 1_000_000_000]);
        assert_eq!(times.due(u64::MAX), u64::MAX);
    }
}
