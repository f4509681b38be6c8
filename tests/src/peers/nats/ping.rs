//! One message at a time, until its publisher sees it.

use std::sync::atomic::Ordering;
use std::thread::scope;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::connection::{Reader, Writer};
use super::receiver;
use super::shared::Shared;
use super::wire::{PROBE, Wire};
use crate::peers::content;
use crate::peers::load::{Figures, PING_SIZE, Quantity, WARM_UP};
use crate::peers::nodes::{nanos_since, percentile};

/// How long one message may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Measures it.
pub(super) fn run(wire: Wire, span: Duration) -> Result<Figures> {
    let Wire { style, publisher, receivers, subject, stream, .. } = wire;
    // The stream lives until everything has arrived.
    let _stream = stream;
    let shared = &Shared::new(style, PING_SIZE);
    let measured = scope(|threads| {
        let mut work = Vec::new();
        for (place, connection) in receivers.into_iter().enumerate() {
            work.push(
                threads.spawn(move || shared.judge(receiver::run(shared, place, connection, |_number| ()))),
            );
        }
        let measured = shared.judge(ping(shared, publisher, &subject, span));
        shared.await_arrival();
        shared.end();
        for thread in work {
            thread.join().ok().context("a thread of the load panicked")??;
        }
        measured
    });
    let mut measured = measured?;
    Ok(vec![(Quantity::P50, percentile(&mut measured, 50)?), (Quantity::P99, percentile(&mut measured, 99)?)])
}

/// Sends and waits in turn; gives how long each took, in nanoseconds.
fn ping(
    shared: &Shared,
    (mut writer, mut reader): (Writer, Reader),
    subject: &str,
    span: Duration,
) -> Result<Vec<u64>> {
    let mut payload = [0x5a; PING_SIZE];
    let mut measured = Vec::new();
    let begin = Instant::now();
    let mut number = 0;
    while begin.elapsed() < WARM_UP + span {
        ensure!(!shared.is_over(), "another part of the load failed");
        content::write(&mut payload, number);
        let sent = Instant::now();
        writer.publish(subject, "", &payload)?;
        writer.flush()?;
        shared.sent.store(number + 1, Ordering::Relaxed);
        await_own(shared, &mut writer, &mut reader, number)?;
        if begin.elapsed() >= WARM_UP {
            measured.push(nanos_since(sent));
        }
        number += 1;
    }
    Ok(measured)
}

fn await_own(shared: &Shared, writer: &mut Writer, reader: &mut Reader, number: u64) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match reader.next()? {
            Some(message) if receiver::is_status(&message) => receiver::go_on(writer, &message)?,
            Some(message) if message.payload == PROBE => {}
            Some(message) => {
                let got = content::read(message.payload, shared.size)?;
                ensure!(got == number, "message {got} came back where {number} was due");
                return Ok(());
            }
            None => ensure!(Instant::now() < deadline, "message {number} did not come back"),
        }
    }
}
