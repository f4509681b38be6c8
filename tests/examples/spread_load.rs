//! Measures the door for Spread programs with a client of the usual shape: blocking, one message a write.
//!
//! One sender at the first place, one receiver at each place, in a group of their own. Every receiver checks that all
//! messages come, in the sender's order and in one order for all.
//!
//! ```text
//! cargo run --release -p stentor-tests --example spread_load -- SIZE COUNT PLACE...
//! ```
//!
//! A place is the path of a unix socket, or a TCP address.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use stentor_tests::spread::client::{OFFER, choice, hello};
use stentor_tests::spread::frame::{HEADER, Message, Order, Request, follow, kind};

/// How long anything may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

struct Client {
    reader: BufReader<Box<dyn Stream>>,
    name: String,
}

impl Client {
    fn connect(place: &str, name: &str) -> Result<Self> {
        let stream: Box<dyn Stream> = if place.starts_with(['/', '.']) {
            let stream = UnixStream::connect(place)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Box::new(stream)
        } else {
            let stream = TcpStream::connect(place)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        };
        let mut client = Self { reader: BufReader::with_capacity(64 << 10, stream), name: String::new() };
        client.write(&hello([5, 0, 1], 1, name))?;
        ensure!(client.read(OFFER.len())? == OFFER, "{place} is no door of Spread");
        client.write(&choice(&["NULL"]))?;
        let accept = client.read(5)?;
        ensure!(accept[..4] == [1, 5, 0, 1], "refused: {accept:?}");
        client.name = String::from_utf8(client.read(usize::from(accept[4]))?)?;
        Ok(client)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.reader.get_mut().write_all(bytes)?)
    }

    fn read(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn message(&mut self) -> Result<Message> {
        let mut raw = self.read(HEADER)?;
        let (names, body) = follow(raw.first_chunk().context("no header")?)?;
        raw.extend(self.read(names + body)?);
        Message::parse(raw)
    }

    /// The number in the next message's payload; nothing else is looked at, to be fast.
    fn number(&mut self, buffer: &mut Vec<u8>) -> Result<u64> {
        let mut header = [0; HEADER];
        self.reader.read_exact(&mut header)?;
        let (names, body) = follow(&header)?;
        buffer.resize(names + body, 0);
        self.reader.read_exact(buffer)?;
        let number = buffer[names..].first_chunk().context("a message of something else")?;
        Ok(u64::from_le_bytes(*number))
    }

    fn join(&mut self, group: &str, members: usize) -> Result<()> {
        self.write(&Request::new(Order::Little, kind::JOIN, &self.name, &[group], b"").bytes())?;
        while self.message()?.names.len() < members {}
        Ok(())
    }
}

fn receive(place: &str, group: &str, count: u64, members: usize, ready: &Sender<()>) -> Result<Duration> {
    let mut client = Client::connect(place, "")?;
    client.join(group, members)?;
    ready.send(())?;
    let mut buffer = Vec::new();
    let mut begin = None;
    for expected in 0..count {
        let number = client.number(&mut buffer)?;
        ensure!(number == expected, "message {number} instead of {expected} at {place}");
        begin.get_or_insert_with(Instant::now);
    }
    Ok(begin.context("no messages")?.elapsed())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [size, count, places @ ..] = &arguments[..] else { bail!("say SIZE COUNT PLACE...") };
    let (size, count): (usize, u64) = (size.parse().context("SIZE")?, count.parse().context("COUNT")?);
    let first = places.first().context("at least one PLACE is needed")?;
    ensure!((8..=143_968).contains(&size) && count > 0, "SIZE is 8 to 143968, COUNT more than 0");
    let mut sender = Client::connect(first, "")?;
    let group = format!("load{}", std::process::id());
    let (ready, is_ready) = channel();
    let receivers: Vec<_> = places
        .iter()
        .map(|place| {
            let (place, group, ready, members) = (place.clone(), group.clone(), ready.clone(), places.len());
            thread::spawn(move || receive(&place, &group, count, members, &ready))
        })
        .collect();
    for _ in places {
        is_ready.recv_timeout(PATIENCE).context("a receiver does not get there")?;
    }
    let mut bytes =
        Request::new(Order::Little, kind::AGREED, &sender.name, &[&group], &vec![0; size]).bytes();
    let at = bytes.len() - size;
    let begin = Instant::now();
    for number in 0..count {
        bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        sender.write(&bytes)?;
    }
    let sent = begin.elapsed();
    let mut slowest = Duration::ZERO;
    for receiver in receivers {
        let took = receiver.join().map_err(|_| anyhow::anyhow!("a receiver panicked"))??;
        slowest = slowest.max(took);
    }
    let rate = |took: Duration| u128::from(count) * 1_000_000 / took.as_micros().max(1);
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{size} B: sent {}/s, received {}/s at the slowest of {}",
        rate(sent),
        rate(slowest),
        places.len()
    )?;
    Ok(())
}
