//! Flat out: as fast as the slowest receiver follows.

use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::thread::{Thread, scope};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Style;
use super::connection::{Reader, Writer};
use super::receiver;
use super::shared::Shared;
use super::wire::Wire;
use crate::peers::content;
use crate::peers::load::{Figures, Quantity, WARM_UP};
use crate::peers::nodes::{Meter, per_million};

/// How far the publisher may be ahead of the slowest receiver, in bytes: as in Stentor's bench, and less than what makes
/// a server cut a receiver off.
const AHEAD: usize = 24 << 20;
/// What a message costs in a queue beside its payload.
const OVERHEAD: usize = 64;
/// Messages that the stream has not confirmed, at most.
const UNCONFIRMED: u64 = 4000;
/// How long the publisher waits until it looks again.
const BREATH: Duration = Duration::from_millis(1);
/// After so many messages it looks whether receivers follow.
const LOOK_EVERY: u64 = 32;

/// Measures it.
pub(super) fn run(wire: Wire, size: usize, span: Duration, meter: &Meter) -> Result<Figures> {
    let Wire { style, publisher: (writer, reader), receivers, subject, confirmations, stream } = wire;
    // The stream lives until everything has arrived.
    let _stream = stream;
    let shared = &Shared::new(style, size);
    let publishing = &OnceLock::new();
    let measured = scope(|threads| {
        let mut work = Vec::new();
        for (place, connection) in receivers.into_iter().enumerate() {
            work.push(
                threads.spawn(move || shared.judge(receiver::run(shared, place, connection, |_number| ()))),
            );
        }
        work.push(threads.spawn(move || shared.judge(confirm(shared, reader, publishing))));
        let publisher = Publisher { shared, writer, subject: &subject, confirmations: &confirmations };
        let publisher = threads.spawn(move || {
            publishing.get_or_init(std::thread::current);
            shared.judge(publisher.run())
        });
        std::thread::sleep(WARM_UP);
        let before = (meter.used(), shared.counts());
        std::thread::sleep(span);
        let after = (meter.used(), shared.counts());
        shared.stop();
        let published = publisher.join().ok().context("the publisher panicked");
        shared.await_arrival();
        shared.end();
        for thread in work {
            thread.join().ok().context("a thread of the load panicked")??;
        }
        published??;
        let arrived: Vec<u64> = after.1.iter().zip(before.1).map(|(after, before)| after - before).collect();
        anyhow::Ok((after.0?.saturating_sub(before.0?), arrived))
    });
    let (used, arrived) = measured?;
    let (sent, missing) = (shared.sent.load(Ordering::Relaxed), shared.ahead());
    ensure!(missing == 0 || style == Style::Core, "a receiver did not get {missing} of {sent} messages");
    let fewest = arrived.iter().copied().min().unwrap_or(0) as f64;
    let mean = arrived.iter().sum::<u64>() as f64 / arrived.len().max(1) as f64;
    let mut figures =
        vec![(Quantity::Rate, fewest / span.as_secs_f64()), (Quantity::Cpu, per_million(used, mean))];
    if style == Style::Core {
        figures.push((Quantity::Lost, missing as f64 * 100.0 / sent.max(1) as f64));
    }
    Ok(figures)
}

/// A program that publishes until it is told to stop.
struct Publisher<'a> {
    shared: &'a Shared,
    writer: Writer,
    subject: &'a str,
    confirmations: &'a str,
}

impl Publisher<'_> {
    fn run(mut self) -> Result<()> {
        let shared = self.shared;
        let mut payload = vec![0x5a; shared.size];
        let look_every = LOOK_EVERY.min((1 << 20) / shared.size as u64 + 1);
        let mut sent = 0;
        while shared.goes_on() {
            if sent % look_every == 0 && self.is_ahead(sent) {
                self.writer.flush()?;
                while self.is_ahead(sent) && shared.goes_on() {
                    std::thread::park_timeout(BREATH);
                }
            }
            content::write(&mut payload, sent);
            self.writer.publish(self.subject, self.confirmations, &payload)?;
            sent += 1;
            shared.sent.store(sent, Ordering::Relaxed);
        }
        self.writer.flush()
    }

    fn is_ahead(&self, sent: u64) -> bool {
        let shared = self.shared;
        let unconfirmed = sent.saturating_sub(shared.confirmed.load(Ordering::Relaxed));
        let bytes = usize::try_from(shared.ahead()).unwrap_or(usize::MAX);
        bytes.saturating_mul(shared.size + OVERHEAD) > AHEAD
            || shared.style == Style::JetStream && unconfirmed >= UNCONFIRMED
    }
}

/// Reads what the stream confirms, or why the server is not content, until it is over.
fn confirm(shared: &Shared, mut reader: Reader, publishing: &OnceLock<Thread>) -> Result<()> {
    let mut confirmed = 0;
    while !shared.is_over() {
        let Some(message) = reader.next()? else { continue };
        let text = String::from_utf8_lossy(message.payload);
        ensure!(!text.is_empty() && !text.contains("\"error\""), "the stream refused a message: {text}");
        confirmed += 1;
        shared.confirmed.store(confirmed, Ordering::Relaxed);
        if let Some(publisher) = publishing.get() {
            publisher.unpark();
        }
    }
    Ok(())
}
