//! A program that sends: flat out, at a rate, or with so many messages under way.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use stentor_client::{Connection, Event, Receiver, SendOptions, Sender, TryRecvError};

use super::load::{Pace, histogram};
use super::receiver::{read_head, write_head};
use super::seat::Seat;
use super::shared::Shared;
use super::timer::Timer;

/// A session that sends.
#[derive(Debug)]
struct Sending {
    shared: Arc<Shared>,
    number: usize,
    sender: Sender,
    receiver: Receiver,
    /// Through which it goes in turn.
    groups: Vec<String>,
    options: SendOptions,
    payload: Vec<u8>,
    /// Messages so far.
    sent: u64,
}

/// How long a flat-out sender waits for receivers to follow.
const BREATH: Duration = Duration::from_millis(1);
/// A sender at a rate never waits for less: its own wake-ups would become the load.
const PAUSE_MIN: Duration = Duration::from_micros(100);
/// The same at a real-time priority. What else has to run must find a core free now and then: after a second without,
/// Linux stops all that is real-time there for some 50 ms.
const PAUSE_MIN_REAL_TIME: Duration = Duration::from_micros(200);
/// After so many messages it looks whether they follow.
const LOOK_EVERY: u64 = 32;

/// Sends until it is told to stop; gives how long its own messages took, in closed loop.
pub(super) async fn run(seat: Seat) -> anyhow::Result<Histogram<u64>> {
    // In closed loop its own messages tell it when to go on.
    let groups = seat.groups_of_sender();
    let (shared, number, connection) = seat.open(groups).await?;
    Sending::new(&shared, number, connection).run().await
}

impl Sending {
    fn new(shared: &Arc<Shared>, number: usize, connection: Connection) -> Self {
        let (sender, receiver) = connection.split();
        let tag = u16::try_from(number).unwrap_or(u16::MAX);
        Self {
            shared: Arc::clone(shared),
            number,
            sender,
            receiver,
            groups: shared.groups(),
            options: SendOptions::from(shared.load.service).tag(tag),
            payload: vec![0x5a; shared.load.size],
            sent: 0,
        }
    }

    async fn run(mut self) -> anyhow::Result<Histogram<u64>> {
        let mut pings = histogram()?;
        match self.shared.load.pace {
            Pace::FlatOut => self.flat_out().await?,
            Pace::Rate(rate) => self.at_rate(rate).await?,
            Pace::InFlight(limit) => self.in_flight(limit, &mut pings).await?,
        }
        drop(self.receiver);
        self.sender.close().await?;
        Ok(pings)
    }

    fn goes_on(&self) -> bool {
        !self.shared.stopping.load(Ordering::Relaxed)
    }

    async fn send(&mut self, stamp: u64) -> anyhow::Result<()> {
        write_head(&mut self.payload, self.sent, stamp);
        let turn = (self.number as u64 + self.sent) % self.groups.len() as u64;
        let group = usize::try_from(turn)?;
        self.sender.multicast(&self.groups[group..=group], self.options, &self.payload).await?;
        self.sent += 1;
        self.shared.sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn flat_out(&mut self) -> anyhow::Result<()> {
        let every = (LOOK_EVERY).min((1 << 20) / self.payload.len() as u64 + 1);
        while self.goes_on() {
            if self.sent.is_multiple_of(every) {
                while self.shared.is_ahead() && self.goes_on() {
                    tokio::time::sleep(BREATH).await;
                }
            }
            self.send(self.shared.now()).await?;
        }
        Ok(())
    }

    /// Messages are due at fixed times. One that is sent late, because earlier ones were in its way, counts from when it
    /// was due: else the worst times would be left out.
    async fn at_rate(&mut self, rate: u64) -> anyhow::Result<()> {
        let senders = self.shared.load.senders as u64;
        let (turn, number) = (1_000_000_000 * senders, self.number as u64);
        let due_of = |sent: u64| (sent * turn + number * 1_000_000_000) / rate;
        let timer = Timer::new()?;
        let pause_min = if self.shared.load.real_time { PAUSE_MIN_REAL_TIME } else { PAUSE_MIN };
        let mut now = self.shared.now();
        while self.goes_on() {
            let due = due_of(self.sent);
            if due > now {
                // Read for each message, the clock would be a tenth of the work.
                now = self.shared.now();
            }
            if due > now {
                // What is due by then goes out together, but not before.
                timer.sleep(Duration::from_nanos(due - now).max(pause_min)).await?;
                continue;
            }
            self.send(due).await?;
        }
        Ok(())
    }

    async fn in_flight(&mut self, limit: u64, pings: &mut Histogram<u64>) -> anyhow::Result<()> {
        let mut back = 0;
        while self.goes_on() {
            while self.sent - back < limit {
                self.send(self.shared.now()).await?;
            }
            back += self.await_own(pings).await?;
        }
        while back < self.sent {
            back += self.await_own(pings).await?;
        }
        Ok(())
    }

    /// Waits until at least one of its own messages has come back; gives how many have.
    async fn await_own(&mut self, pings: &mut Histogram<u64>) -> anyhow::Result<u64> {
        let mut back = 0;
        while back == 0 {
            let event = self.receiver.recv().await?.context("the daemon closed the session of a sender")?;
            back += self.take(&event, pings);
            loop {
                match self.receiver.try_recv() {
                    Ok(event) => back += self.take(&event, pings),
                    Err(TryRecvError::Empty) => break,
                    Err(error) => bail!("a sender: {error}"),
                }
            }
        }
        Ok(back)
    }

    fn take(&self, event: &Event, pings: &mut Histogram<u64>) -> u64 {
        let Event::Message(message) = event else { return 0 };
        if message.sender() != self.sender.member() {
            return 0;
        }
        let now = self.shared.now();
        if let Some((_, stamp)) = read_head(&message.payload()).filter(|_| self.shared.is_measured(now)) {
            pings.saturating_record(now.saturating_sub(stamp));
        }
        1
    }
}
