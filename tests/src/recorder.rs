//! A client that writes down what it does and sees.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stentor_client::{Address, ConnectError, Connection, GoodbyeCode, GroupChange, SendOptions, Sender};
use stentor_membership::{GroupName, MemberName, Service};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::log::{Log, MessageId, Sent, What};
use crate::payload;
use crate::tape::{Destinations, Tape};
use crate::wait::{PATIENCE, until};

/// A session with a daemon whose life is on record. Clones share it; it is closed when the last of them is dropped.
#[derive(Clone, Debug)]
pub struct Recorder {
    sender: Sender,
    tape: Tape,
    /// Whether what arrives is read.
    reading: Arc<watch::Sender<bool>>,
    /// The number of the next message: held while one is sent, so that numbers go with the order of sending.
    next: Arc<tokio::sync::Mutex<u32>>,
    _reader: Arc<Reader>,
}

/// The task that receives, and ends with its recorder.
#[derive(Debug)]
struct Reader(JoinHandle<()>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Recorder {
    /// Opens a session; tries again until the daemon serves.
    ///
    /// # Errors
    /// If it does not for long.
    pub async fn connect(address: &Address, name: &str) -> Result<Self> {
        until(PATIENCE, "a session is open", async || Ok(Self::open(address, name).await?)).await
    }

    /// Opens a session, now or never.
    ///
    /// # Errors
    /// If the daemon does not serve, or refuses.
    pub async fn open(address: &Address, name: &str) -> Result<Self, ConnectError> {
        static RUNS: AtomicU32 = AtomicU32::new(1);
        let builder = Connection::builder().name(name).map_err(|error| ConnectError::Refused {
            address: address.clone(),
            code: GoodbyeCode::NameInvalid,
            text: error.to_string(),
        })?;
        let (sender, receiver) = builder.connect(address).await?.split();
        let tape = Tape::new(sender.member(), RUNS.fetch_add(1, Ordering::Relaxed));
        let (reading, read) = watch::channel(true);
        let reader = Reader(tokio::spawn(tape.clone().write_down(receiver, read)));
        Ok(Self { sender, tape, reading: Arc::new(reading), next: Arc::default(), _reader: Arc::new(reader) })
    }

    /// The session's name.
    pub fn member(&self) -> MemberName {
        self.sender.member()
    }

    /// The session itself.
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// Its record, which outlives it.
    pub fn tape(&self) -> &Tape {
        &self.tape
    }

    /// From now on it reads what arrives, or lets it lie.
    pub fn set_reading(&self, reading: bool) {
        if !reading {
            self.tape.hold();
        }
        self.reading.send_replace(reading);
    }

    /// Joins, and waits until that is effective.
    ///
    /// # Errors
    /// If it fails, or takes long.
    pub async fn join(&self, group: &str) -> Result<()> {
        let joined = tokio::time::timeout(PATIENCE, self.sender.join(group)?).await;
        joined.with_context(|| format!("{} waits in vain for its join", self.member()))??;
        Ok(())
    }

    /// Leaves, and waits until that is effective.
    ///
    /// # Errors
    /// If it fails, or takes long.
    pub async fn leave(&self, group: &str) -> Result<()> {
        let left = tokio::time::timeout(PATIENCE, self.leaving(group).await?).await;
        left.with_context(|| format!("{} waits in vain for its leave", self.member()))??;
        Ok(())
    }

    /// Leaves; to be awaited for as long as it may take.
    ///
    /// # Errors
    /// If it cannot be asked for.
    pub async fn leaving(&self, group: &str) -> Result<GroupChange> {
        let group = GroupName::new(group)?;
        let _turn = self.next.lock().await;
        self.tape.push(|_| (What::Leave(group), ()));
        Ok(self.sender.leave(group.as_str())?)
    }

    /// Sends a message that all recorders know, of some size.
    ///
    /// # Errors
    /// If the library does not accept it.
    pub async fn send(&self, groups: &[&str], service: Service, size: usize) -> Result<MessageId> {
        self.send_with(groups, service, false, size).await
    }

    /// Sends a message without a copy for this session.
    ///
    /// # Errors
    /// If the library does not accept it.
    pub async fn send_to_others(&self, groups: &[&str], service: Service, size: usize) -> Result<MessageId> {
        self.send_with(groups, service, true, size).await
    }

    async fn send_with(
        &self,
        groups: &[&str],
        service: Service,
        discard_self: bool,
        size: usize,
    ) -> Result<MessageId> {
        let Destinations { groups: names, sessions } = Destinations::parse(groups.iter().copied())?;
        let mut next = self.next.lock().await;
        let number = *next;
        *next += 1;
        let id = self.tape.push(|run| {
            let id = MessageId { run, number };
            (What::Send(Sent { id, groups: names, sessions, service, discard_self }), id)
        });
        let options = SendOptions::new(service);
        let options = if discard_self { options.discard_self() } else { options };
        match self.sender.multicast(groups, options, payload::make(id, size)).await {
            Ok(ordinal) => {
                self.tape.accepted(id, ordinal)?;
                Ok(id)
            }
            Err(error) => {
                self.tape.refused(id);
                Err(error.into())
            }
        }
    }

    /// Sends one message after another in the background, each with the next of `services`, one each `every`.
    pub fn stream(&self, group: &str, services: &'static [Service], size: usize, every: Duration) -> Stream {
        let stop = Arc::new(AtomicBool::new(false));
        let (recorder, group, stopped) = (self.clone(), group.to_owned(), stop.clone());
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(every);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let mut services = services.iter().cycle();
            let mut sent = 0;
            while !stopped.load(Ordering::Relaxed) {
                ticks.tick().await;
                let service = services.next().copied().unwrap_or_default();
                if recorder.send(&[&group], service, size).await.is_err() {
                    // The connection ended: the log says so.
                    break;
                }
                sent += 1;
            }
            sent
        });
        Stream { stop, task }
    }

    /// What is on record so far.
    pub fn log(&self) -> Log {
        self.tape.log()
    }

    /// Why the connection ended, if it did.
    pub fn ended(&self) -> Option<String> {
        self.tape.ended().map(|end| end.to_string())
    }

    /// Looks at the record without a copy.
    pub fn look<T>(&self, look: impl FnOnce(&Log) -> T) -> T {
        self.tape.look(look)
    }

    /// Waits until the record fulfils a condition.
    ///
    /// # Errors
    /// What the condition last lacked; or that the connection ended.
    pub async fn until(&self, what: &str, condition: impl Fn(&Log) -> Result<()>) -> Result<()> {
        let me = self.member();
        let attempt = async || {
            let ended = self.ended();
            self.look(|log| {
                condition(log).with_context(|| match &ended {
                    Some(reason) => format!("{me} lost its connection: {reason}"),
                    None => format!("{me} got {} entries", log.entries.len()),
                })
            })
        };
        until(PATIENCE, what, attempt).await
    }

    /// Waits until its latest view of `group` has just these sessions, by name.
    ///
    /// # Errors
    /// If that does not come.
    pub async fn until_members(&self, group: &str, members: &[&Self]) -> Result<()> {
        let wanted: BTreeSet<MemberName> = members.iter().map(|recorder| recorder.member()).collect();
        self.until("the group is complete", |log| {
            let view = log.views(group).last();
            let now: BTreeSet<_> = view.iter().flat_map(|view| view.members.iter().copied()).collect();
            ensure!(now == wanted, "{group} has {now:?}, not {wanted:?}");
            Ok(())
        })
        .await
    }

    /// Waits until it has got so many messages more.
    ///
    /// # Errors
    /// If they do not come.
    pub async fn until_more(&self, messages: usize) -> Result<()> {
        let goal = self.look(|log| log.received().count()) + messages;
        self.until("more messages are there", |log| {
            let now = log.received().count();
            ensure!(now >= goal, "{now} of {goal} messages");
            Ok(())
        })
        .await
    }

    /// Waits until it has got a message.
    ///
    /// # Errors
    /// If that does not come.
    pub async fn until_got(&self, id: MessageId) -> Result<()> {
        self.until("a message is there", |log| {
            // It is probably among the last.
            let got = log.entries.iter().rev().any(|e| matches!(&e.what, What::Message(m) if m.id == id));
            ensure!(got, "{id:?} is missing");
            Ok(())
        })
        .await
    }

    /// Closes the session in order.
    ///
    /// # Errors
    /// If the daemon does not confirm it.
    pub async fn close(&self) -> Result<()> {
        let closed = tokio::time::timeout(PATIENCE, self.sender.close()).await;
        Ok(closed.with_context(|| format!("{} waits in vain to be closed", self.member()))??)
    }
}

/// A sender in the background.
#[derive(Debug)]
pub struct Stream {
    stop: Arc<AtomicBool>,
    task: JoinHandle<u32>,
}

impl Stream {
    /// Ends it, and gives the number of messages that were accepted.
    ///
    /// # Errors
    /// If it hangs: the daemon takes nothing any more.
    pub async fn stop(mut self) -> Result<u32> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(tokio::time::timeout(PATIENCE, &mut self.task)
            .await
            .context("the daemon takes no more messages")??)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
