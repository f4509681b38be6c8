//! A program of the demo: it multicasts, and keeps what it sees.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use stentor_client::{
    Cause, Connection, Disconnected, Event, GroupViewId, MemberName, Receiver, SendError, Sender,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{GROUP, service};

/// The pause between two messages of a stream, so that it lasts a while.
const PACE: Duration = Duration::from_millis(2);

/// How long anything may take to be seen.
const WITNESS_PATIENCE: Duration = Duration::from_secs(20);

/// Something that a program saw.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    Message { sender: String, number: u32, at: Instant },
    View { id: GroupViewId, members: Vec<MemberName>, cause: Cause },
    Transitional,
    Over(String),
}

/// All that a session saw, from its beginning to its end.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) name: &'static str,
    pub(super) seen: Vec<Seen>,
    /// Its own messages that its daemon took: from this number ...
    pub(super) first: u32,
    /// ... to this one.
    pub(super) last: u32,
    /// Whether its daemon was killed.
    pub(super) killed: bool,
}

pub(super) struct Witness {
    name: &'static str,
    sender: Sender,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// How much was seen.
    count: watch::Receiver<usize>,
    /// The number of its last message, and that of the last one before its life.
    sent: Arc<AtomicU32>,
    before: u32,
    /// Over with the connection.
    receiving: JoinHandle<()>,
}

/// Messages that are being sent.
pub(super) struct Stream {
    task: JoinHandle<Result<(), SendError>>,
    stop: CancellationToken,
}

impl Witness {
    pub(super) fn new(name: &'static str, connection: Connection) -> Self {
        let (sender, receiver) = connection.split();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (changed, count) = watch::channel(0);
        let receiving = tokio::spawn(receive(receiver, seen.clone(), changed));
        Self { name, sender, seen, count, sent: Arc::new(AtomicU32::new(0)), before: 0, receiving }
    }

    /// Goes on counting where another life of the same name stopped.
    pub(super) fn after(mut self, life: &Life) -> Self {
        self.before = life.last;
        self.sent.store(life.last, Ordering::Relaxed);
        self
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn sender(&self) -> &Sender {
        &self.sender
    }

    /// The number of its last message.
    pub(super) fn sent(&self) -> u32 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn life(&self) -> Life {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let killed = matches!(seen.last(), Some(Seen::Over(_)));
        Life { name: self.name, seen, first: self.before + 1, last: self.sent(), killed }
    }

    pub(super) async fn join(&self) -> anyhow::Result<()> {
        let join = async { self.sender.join(GROUP)?.await };
        let joined = tokio::time::timeout(WITNESS_PATIENCE, join).await;
        joined.with_context(|| format!("{} could not join within {WITNESS_PATIENCE:?}", self.name))??;
        Ok(())
    }

    /// Sends so many messages as fast as it can.
    pub(super) fn burst(&self, messages: u32) -> Stream {
        self.send(Some(messages), Duration::ZERO)
    }

    /// Sends at an even pace until it is stopped.
    pub(super) fn stream(&self) -> Stream {
        self.send(None, PACE)
    }

    fn send(&self, messages: Option<u32>, pace: Duration) -> Stream {
        let (sender, sent, name) = (self.sender.clone(), self.sent.clone(), self.name);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut left = messages;
            while left != Some(0) && !stopped.is_cancelled() {
                left = left.map(|left| left - 1);
                // Only this task counts up.
                let number = sent.load(Ordering::Relaxed) + 1;
                sender.multicast(&[GROUP], service(number), format!("{name} {number}")).await?;
                sent.store(number, Ordering::Relaxed);
                if !pace.is_zero() {
                    tokio::time::sleep(pace).await;
                }
            }
            Ok(())
        });
        Stream { task, stop }
    }

    /// Waits until what was seen fulfils a condition.
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&[Seen]) -> bool) -> anyhow::Result<()> {
        let mut count = self.count.clone();
        let wait = async {
            loop {
                count.borrow_and_update();
                if holds(&self.seen.lock().unwrap_or_else(PoisonError::into_inner)) {
                    return Ok(());
                }
                if count.changed().await.is_err() {
                    bail!("{} lost its daemon while it waited for {what}", self.name);
                }
            }
        };
        tokio::time::timeout(WITNESS_PATIENCE, wait)
            .await
            .unwrap_or_else(|_| bail!("{} did not see {what} within {WITNESS_PATIENCE:?}", self.name))
    }

    /// Waits for the end of the connection.
    pub(super) async fn until_over(&self) -> anyhow::Result<()> {
        self.until("the end", |seen| matches!(seen.last(), Some(Seen::Over(_)))).await
    }

    pub(super) async fn close(self) -> anyhow::Result<()> {
        self.sender.close().await.with_context(|| format!("{} could not close in order", self.name))?;
        Ok(self.receiving.await?)
    }
}

impl Stream {
    /// Waits until all is sent.
    pub(super) async fn finish(self) -> anyhow::Result<()> {
        Ok(self.task.await??)
    }

    /// Stops it; an error means that the connection ended first.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

async fn receive(mut receiver: Receiver, seen: Arc<Mutex<Vec<Seen>>>, changed: watch::Sender<usize>) {
    loop {
        let (next, over) = match receiver.recv().await {
            Ok(Some(event)) => (see(&event), false),
            Ok(None) => (None, true),
            Err(reason) => (Some(Seen::Over(brief(&reason))), true),
        };
        if let Some(next) = next {
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(next);
            changed.send_modify(|count| *count += 1);
        }
        if over {
            return;
        }
    }
}

fn see(event: &Event) -> Option<Seen> {
    match event {
        Event::Message(message) => {
            let payload = message.payload();
            let number = std::str::from_utf8(&payload).ok()?.rsplit_once(' ')?.1.parse().ok()?;
            Some(Seen::Message { sender: message.sender().session.to_string(), number, at: Instant::now() })
        }
        Event::Membership(view) => {
            Some(Seen::View { id: view.view, members: view.members.to_vec(), cause: view.cause })
        }
        Event::Transitional { .. } => Some(Seen::Transitional),
        _ => None,
    }
}

fn brief(reason: &Disconnected) -> String {
    match reason {
        Disconnected::Goodbye { text, .. } => text.clone(),
        Disconnected::Lost(_) => "connection lost".to_owned(),
        other => other.to_string(),
    }
}

impl Life {
    /// Sender and number of each message.
    pub(super) fn messages(&self) -> impl Iterator<Item = (&str, u32)> {
        self.seen.iter().filter_map(|seen| match seen {
            Seen::Message { sender, number, .. } => Some((sender.as_str(), *number)),
            Seen::View { .. } | Seen::Transitional | Seen::Over(_) => None,
        })
    }

    /// The longest time without a message, counted from `from` on.
    pub(super) fn longest_pause(&self, from: Instant) -> Duration {
        let times = self.seen.iter().filter_map(|seen| match seen {
            Seen::Message { at, .. } if *at >= from => Some(*at),
            Seen::Message { .. } | Seen::View { .. } | Seen::Transitional | Seen::Over(_) => None,
        });
        let mut last = from;
        let pauses = times.map(|at| at.duration_since(std::mem::replace(&mut last, at)));
        pauses.max().unwrap_or_default()
    }
}
