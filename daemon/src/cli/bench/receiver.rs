//! A program that receives: it checks every message and measures how long it took.

use std::sync::atomic::Ordering;

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use stentor_client::{Event, Message, Service, TryRecvError};

use super::load::histogram;
use super::seat::Seat;
use super::shared::Shared;

/// What one receiver got.
#[derive(Debug)]
pub(super) struct Received {
    /// Messages.
    pub(super) count: u64,
    /// Those of them that came while it was measured.
    pub(super) measured: u64,
    /// Stands for the order in which they came.
    pub(super) order: u64,
    pub(super) latency: Histogram<u64>,
    /// What was wrong with one of them.
    pub(super) wrong: Option<String>,
    /// By sender: the number that its next message has.
    next: Vec<u64>,
    size: usize,
    service: Service,
}

/// The clock is read again after so many messages that came together.
const CLOCK_EVERY: u32 = 16;

/// Receives until it is over.
pub(super) async fn run(seat: Seat) -> anyhow::Result<Received> {
    let groups = seat.groups();
    let (shared, number, connection) = seat.open(groups).await?;
    let (sender, mut receiver) = connection.split();
    let mut received = Received::new(&shared)?;
    let counter = &shared.received[number];
    loop {
        let event = tokio::select! {
            biased;
            event = receiver.recv() => event?.context("the daemon closed the session of a receiver")?,
            () = shared.over.cancelled() => break,
        };
        let (mut now, mut unread_clock) = (shared.now(), 0);
        received.take(&shared, event, now);
        loop {
            match receiver.try_recv() {
                Ok(event) => {
                    unread_clock += 1;
                    if unread_clock == CLOCK_EVERY {
                        (now, unread_clock) = (shared.now(), 0);
                    }
                    received.take(&shared, event, now);
                }
                Err(TryRecvError::Empty) => break,
                Err(error) => bail!("a receiver: {error}"),
            }
        }
        counter.store(received.count, Ordering::Relaxed);
    }
    // Others that leave are of no interest any more, and many.
    drop(receiver);
    sender.close().await?;
    Ok(received)
}

impl Received {
    fn new(shared: &Shared) -> anyhow::Result<Self> {
        let load = &shared.load;
        Ok(Self {
            count: 0,
            measured: 0,
            order: 0,
            latency: histogram()?,
            wrong: None,
            next: vec![0; load.senders],
            size: load.size,
            service: load.service,
        })
    }

    fn take(&mut self, shared: &Shared, event: Event, now: u64) {
        // Views come as sessions join; they are no part of the load.
        let Event::Message(message) = event else { return };
        self.count += 1;
        let stamp = self.check(&message).unwrap_or_else(|wrong| {
            self.wrong.get_or_insert(wrong);
            now
        });
        if shared.is_measured(now) {
            self.measured += 1;
            self.latency.saturating_record(now.saturating_sub(stamp));
        }
    }

    /// Checks a message; gives the time of its sending.
    fn check(&mut self, message: &Message) -> Result<u64, String> {
        let payload = message.payload();
        let (sender, bytes) = (usize::from(message.tag()), payload.len());
        let Some((number, stamp)) = read_head(&payload).filter(|_| bytes == self.size) else {
            return Err(format!("a message of {bytes} bytes arrived, {} were sent", self.size));
        };
        let Some(next) = self.next.get_mut(sender) else {
            return Err(format!("a message of sender {sender} arrived, there is none"));
        };
        let in_turn = match self.service {
            Service::Unreliable => number >= *next,
            Service::Reliable => true,
            _ => number == *next,
        };
        if !in_turn {
            return Err(format!("message {number} of sender {sender} arrived where {next} was due"));
        }
        *next = number + 1;
        let tail = (bytes as u64).wrapping_add(number).to_le_bytes()[0];
        if bytes > HEAD && payload.last() != Some(&tail) {
            return Err(format!("message {number} of sender {sender} has another content than was sent"));
        }
        self.order = (self.order ^ number ^ (sender as u64) << 48).wrapping_mul(0x0100_0000_01b3);
        Ok(stamp)
    }
}

/// Bytes of the number and the time in front of each payload.
const HEAD: usize = 16;

/// Writes what a message is checked by into its payload.
pub(super) fn write_head(payload: &mut [u8], number: u64, stamp: u64) {
    let bytes = payload.len();
    payload[..8].copy_from_slice(&number.to_le_bytes());
    payload[8..HEAD].copy_from_slice(&stamp.to_le_bytes());
    if let Some(last) = payload[HEAD..].last_mut() {
        *last = (bytes as u64).wrapping_add(number).to_le_bytes()[0];
    }
}

/// The number and the time of a message.
pub(super) fn read_head(payload: &[u8]) -> Option<(u64, u64)> {
    let word = |at: usize| Some(u64::from_le_bytes(payload.get(at..at + 8)?.try_into().ok()?));
    Some((word(0)?, word(8)?))
}
