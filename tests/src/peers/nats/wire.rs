//! Who takes part in a load: a publisher at the first server, and a receiver at each.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::Style;
use super::connection::{Reader, Writer, connect};
use crate::peers::nodes::NODES;

/// How long servers may take to find together, and to elect who leads a stream.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// A message that is no part of a load.
pub(super) const PROBE: &[u8] = b"probe";
/// What a stream keeps at most, in bytes: more than the publisher may be ahead of the slowest receiver.
const STREAM_MAX: u64 = 256 << 20;

/// What to connect.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) style: Style,
    pub(super) servers: [SocketAddr; NODES],
    /// No other load of these servers has it.
    pub(super) number: u32,
    /// Whether the publisher's messages come back to it.
    pub(super) echo: bool,
}

/// Connections for one load. Whatever is published reaches everybody who should get it.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) style: Style,
    pub(super) publisher: (Writer, Reader),
    pub(super) receivers: Vec<(Writer, Reader)>,
    /// Where messages are published.
    pub(super) subject: String,
    /// Where the stream confirms them; empty if there is none.
    pub(super) confirmations: String,
    /// It is there as long as this is.
    pub(super) stream: Option<Stream>,
}

/// A stream, deleted when dropped.
#[derive(Debug)]
pub(super) struct Stream {
    name: String,
    control: (Writer, Reader),
}

impl Plan {
    pub(super) fn connect(&self) -> Result<Wire> {
        let number = self.number;
        let subject = format!("load.{number}");
        let mut publisher = within(|| connect(self.servers[0]))?;
        let mut receivers = Vec::new();
        for server in self.servers {
            receivers.push(within(|| connect(server))?);
        }
        let mut stream = None;
        let mut confirmations = String::new();
        let ends = receivers.iter_mut().chain(self.echo.then_some(&mut publisher));
        match self.style {
            Style::Core => {
                for (writer, reader) in ends {
                    writer.subscribe(&subject)?;
                    writer.settle(reader)?;
                }
            }
            Style::JetStream => {
                let mut made = Stream::create(self.servers[0], &format!("LOAD{number}"), &subject)?;
                for (place, (writer, reader)) in ends.enumerate() {
                    let delivery = format!("delivery.{number}.{place}");
                    writer.subscribe(&delivery)?;
                    writer.settle(reader)?;
                    made.deliver(&delivery)?;
                }
                stream = Some(made);
                confirmations = format!("confirmations.{number}");
                publisher.0.subscribe(&confirmations)?;
                publisher.0.settle(&mut publisher.1)?;
            }
        }
        let mut wire = Wire { style: self.style, publisher, receivers, subject, confirmations, stream };
        wire.probe(self.echo)?;
        Ok(wire)
    }
}

impl Wire {
    /// Sends probes until one has reached everybody: servers tell one another slowly who listens where. What is
    /// published later comes behind the probes.
    fn probe(&mut self, echo: bool) -> Result<()> {
        let Self { publisher: (writer, own), receivers, subject, .. } = self;
        let mut waiting: Vec<&mut Reader> = receivers.iter_mut().map(|(_, reader)| reader).collect();
        if echo {
            waiting.push(own);
        }
        let deadline = Instant::now() + PATIENCE;
        while !waiting.is_empty() {
            ensure!(
                Instant::now() < deadline,
                "{} of the receivers got nothing within {PATIENCE:?}",
                waiting.len()
            );
            writer.publish(subject, "", PROBE)?;
            writer.flush()?;
            let mut still = Vec::new();
            for reader in waiting {
                let got = reader.next()?.is_some_and(|message| message.payload == PROBE);
                if !got {
                    still.push(reader);
                }
            }
            waiting = still;
        }
        Ok(())
    }
}

impl Stream {
    /// Makes a stream with three replicas in memory, as soon as the servers can.
    fn create(server: SocketAddr, name: &str, subject: &str) -> Result<Self> {
        let mut control = connect(server)?;
        let question = json!({
            "name": name, "subjects": [subject], "num_replicas": NODES, "storage": "memory", "retention": "limits",
            "discard": "old", "max_bytes": STREAM_MAX, "max_msgs": -1, "max_consumers": -1, "max_age": 0,
        });
        within(|| {
            let (writer, reader) = &mut control;
            writer.request(reader, &format!("$JS.API.STREAM.CREATE.{name}"), &question)
        })
        .context("the servers made no stream")?;
        Ok(Self { name: name.to_owned(), control })
    }

    /// Makes it push everything to a subject, in order and at the pace of who reads there.
    fn deliver(&mut self, subject: &str) -> Result<()> {
        let question = json!({
            "stream_name": self.name,
            "config": {
                "deliver_subject": subject, "deliver_policy": "all", "ack_policy": "none",
                "replay_policy": "instant", "max_deliver": 1, "flow_control": true,
                "idle_heartbeat": 5_000_000_000_u64, "mem_storage": true, "num_replicas": 1,
            },
        });
        let (writer, reader) = &mut self.control;
        let api = format!("$JS.API.CONSUMER.CREATE.{}", self.name);
        within(|| writer.request(reader, &api, &question)).context("the stream delivers nothing")?;
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let (writer, reader) = &mut self.control;
        // The servers may be gone; else the next load should not find it.
        let _ = writer.request(reader, &format!("$JS.API.STREAM.DELETE.{}", self.name), &json!({}));
    }
}

/// Tries until it works.
fn within<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
}
