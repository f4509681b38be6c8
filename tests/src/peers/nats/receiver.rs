//! A program that receives, and checks what it gets.

use std::sync::atomic::Ordering;

use anyhow::{Context, Result, ensure};

use super::Style;
use super::connection::{Message, Reader, Writer};
use super::shared::Shared;
use super::wire::PROBE;
use crate::peers::content;

/// Receives until it is over, and tells the number of each message.
///
/// # Errors
/// If something arrived that was not sent, came twice or too early; or is missing, where nothing may be.
pub(super) fn run(
    shared: &Shared,
    place: usize,
    (mut writer, mut reader): (Writer, Reader),
    mut each: impl FnMut(u64),
) -> Result<()> {
    let (mut count, mut next) = (0, 0);
    while !shared.is_over() {
        let Some(message) = reader.next()? else { continue };
        if is_status(&message) {
            go_on(&mut writer, &message)?;
            continue;
        }
        if message.payload == PROBE {
            continue;
        }
        let number = content::read(message.payload, shared.size)?;
        ensure!(number >= next, "message {number} arrived where {next} was due");
        ensure!(number == next || shared.style == Style::Core, "message {next} did not arrive, but {number}");
        each(number);
        next = number + 1;
        count += 1;
        shared.received[place].store(count, Ordering::Relaxed);
    }
    Ok(())
}

/// Whether this is a word of the stream itself.
pub(super) fn is_status(message: &Message<'_>) -> bool {
    message.headers.starts_with(b"NATS/1.0 100")
}

/// Tells the stream to go on, if it asks: it does now and then, and again if it hears nothing.
pub(super) fn go_on(writer: &mut Writer, message: &Message<'_>) -> Result<()> {
    let stalled = || {
        let headers = std::str::from_utf8(message.headers).ok()?;
        headers.lines().find_map(|line| line.strip_prefix("Nats-Consumer-Stalled:"))
    };
    let subject = if message.reply.is_empty() {
        stalled().map(str::trim)
    } else {
        Some(std::str::from_utf8(message.reply).context("a subject that is no text")?)
    };
    if let Some(subject) = subject {
        writer.publish(subject, "", b"")?;
        writer.flush()?;
    }
    Ok(())
}
