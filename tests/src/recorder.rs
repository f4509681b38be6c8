//! A client that writes down what it does and sees.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use stentor_client::{Address, Connection, Event, Message, Receiver, SendOptions, Sender};
use stentor_membership::{GroupName, MemberName, Service};
use tokio::task::JoinHandle;

use crate::log::{Entry, Log, MessageId, Received, Sent, What};
use crate::payload;
use crate::wait::{PATIENCE, until};

/// A session with a daemon whose life is on record. Clones share it; it is closed when the last of them is dropped.
#[derive(Clone, Debug)]
pub struct Recorder {
    sender: Sender,
    record: Arc<Mutex<Record>>,
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

#[derive(Debug)]
struct Record {
    log: Log,
    /// The number of each accepted message, by its ordinal on the connection.
    accepted: Vec<u32>,
    /// The ordinals of those that the daemon refused later.
    rejected: Vec<u64>,
    /// Why the connection ended, if it did.
    ended: Option<String>,
}

impl Recorder {
    /// Opens a session; tries again until the daemon serves.
    ///
    /// # Errors
    /// If it does not for long.
    pub async fn connect(address: &Address, name: &str) -> Result<Self> {
        let builder = Connection::builder().name(name)?;
        let connection = until(PATIENCE, "a session is open", async || Ok(builder.connect(address).await?));
        let (sender, receiver) = connection.await?.split();
        static RUNS: AtomicU32 = AtomicU32::new(1);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let log = Log::new(sender.member(), run);
        let record = Record { log, accepted: Vec::new(), rejected: Vec::new(), ended: None };
        let record = Arc::new(Mutex::new(record));
        let reader = Reader(tokio::spawn(write_down(receiver, record.clone())));
        Ok(Self { sender, record, next: Arc::default(), _reader: Arc::new(reader) })
    }

    /// The session's name.
    pub fn member(&self) -> MemberName {
        self.sender.member()
    }

    /// The session itself.
    pub fn sender(&self) -> &Sender {
        &self.sender
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
        let change = {
            let _turn = self.next.lock().await;
            self.record().push(What::Leave(GroupName::new(group)?));
            self.sender.leave(group)?
        };
        let left = tokio::time::timeout(PATIENCE, change).await;
        left.with_context(|| format!("{} waits in vain for its leave", self.member()))??;
        Ok(())
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
        let names = groups.iter().map(|group| GroupName::new(group)).collect::<Result<_, _>>()?;
        let mut next = self.next.lock().await;
        let id = {
            let mut record = self.record();
            let id = MessageId { run: record.log.run, number: *next };
            record.push(What::Send(Sent { id, groups: names, service, discard_self }));
            id
        };
        *next += 1;
        let options = SendOptions::new(service);
        let options = if discard_self { options.discard_self() } else { options };
        let accepted = self.sender.multicast(groups, options, payload::make(id, size)).await;
        let mut record = self.record();
        match accepted {
            Ok(ordinal) => {
                ensure!(usize::try_from(ordinal)? == record.accepted.len(), "ordinal {ordinal} out of turn");
                record.accepted.push(id.number);
                Ok(id)
            }
            Err(error) => {
                record.log.refused.insert(id.number);
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
        let record = self.record();
        let mut log = record.log.clone();
        log.refused.extend(record.refused());
        log
    }

    /// Why the connection ended, if it did.
    pub fn ended(&self) -> Option<String> {
        self.record().ended.clone()
    }

    /// Looks at the record without a copy.
    pub fn look<T>(&self, look: impl FnOnce(&Log) -> T) -> T {
        look(&self.record().log)
    }

    /// Waits until the record fulfils a condition.
    ///
    /// # Errors
    /// What the condition last lacked; or that the connection ended.
    pub async fn until(&self, what: &str, condition: impl Fn(&Log) -> Result<()>) -> Result<()> {
        let me = self.member();
        let attempt = async || {
            let record = self.record();
            condition(&record.log).with_context(|| match &record.ended {
                Some(reason) => format!("{me} lost its connection: {reason}"),
                None => format!("{me} got {} entries", record.log.entries.len()),
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

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn push(&mut self, what: What) {
        self.log.entries.push(Entry { at: Instant::now(), what });
    }

    /// The numbers of the messages that the daemon refused.
    fn refused(&self) -> impl Iterator<Item = u32> {
        let ordinals = self.rejected.iter().filter_map(|ordinal| usize::try_from(*ordinal).ok());
        ordinals.filter_map(|ordinal| self.accepted.get(ordinal).copied())
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

async fn write_down(mut receiver: Receiver, record: Arc<Mutex<Record>>) {
    let lock = || record.lock().unwrap_or_else(PoisonError::into_inner);
    let mut groups: Arc<[GroupName]> = Arc::new([]);
    let end = loop {
        let what = match receiver.recv().await {
            Ok(Some(Event::Message(message))) => received(&message, &mut groups),
            Ok(Some(Event::Membership(view))) => What::Membership(view),
            Ok(Some(Event::Transitional { group })) => What::Transitional(group),
            Ok(Some(Event::Rejected { ordinal, .. })) => {
                lock().rejected.push(ordinal);
                continue;
            }
            Ok(Some(_)) => continue,
            Ok(None) => break "closed in order".to_owned(),
            Err(reason) => break reason.to_string(),
        };
        lock().push(what);
    };
    lock().ended = Some(end);
}

/// What a message is to the record; `groups` are those of the message before, mostly the same.
fn received(message: &Message, groups: &mut Arc<[GroupName]>) -> What {
    let sender = message.sender();
    let foreign = |problem: String| What::Foreign { sender, problem };
    let id = match payload::read(&message.payload()) {
        Ok(id) => id,
        Err(error) => return foreign(error.to_string()),
    };
    if !message.groups().eq(groups.iter().map(GroupName::as_str)) {
        match message.groups().map(GroupName::new).collect() {
            Ok(names) => *groups = names,
            Err(error) => return foreign(error.to_string()),
        }
    }
    What::Message(Received { id, sender, groups: groups.clone(), service: message.service() })
}
