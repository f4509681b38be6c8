//! A connection to a NATS server: no more than a load needs, and as fast as the machine allows.

use std::io::{BufWriter, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::words::{Word, read};

/// How long a read waits: whoever reads looks that often whether it is over.
const LOOK: Duration = Duration::from_millis(50);
/// How long a server may take for an answer, or for taking a message.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much is written at a time, at most.
const WRITTEN: usize = 64 << 10;
/// What is read at a time, at most; it grows for larger messages.
const READ: usize = 256 << 10;
/// The subject of requests' answers.
const ANSWERS: &str = "_INBOX.answers";

/// The half that publishes.
#[derive(Debug)]
pub(super) struct Writer {
    stream: BufWriter<TcpStream>,
    /// Subscriptions so far.
    subscriptions: u64,
}

/// The half that reads.
#[derive(Debug)]
pub(super) struct Reader {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What is read and not yet looked at.
    unread: Range<usize>,
}

/// A message that arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// Where an answer is expected; empty if nowhere.
    pub(super) reply: &'a [u8],
    pub(super) headers: &'a [u8],
    pub(super) payload: &'a [u8],
}

/// Connects, and waits until the server is content. Its questions whether anybody is there stay unanswered, so that no
/// reader needs a writer: servers have to be told to ask seldom.
pub(super) fn connect(address: SocketAddr) -> Result<(Writer, Reader)> {
    let stream =
        TcpStream::connect(address).with_context(|| format!("cannot connect to NATS at {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut writer =
        Writer { stream: BufWriter::with_capacity(WRITTEN, stream.try_clone()?), subscriptions: 0 };
    let mut reader = Reader { stream, buffer: vec![0; READ], unread: 0..0 };
    let options = json!({
        "verbose": false, "pedantic": false, "echo": true, "headers": true, "no_responders": true, "protocol": 1,
        "name": "peers", "lang": "rust", "version": env!("CARGO_PKG_VERSION"),
    });
    writer.say(&format!("CONNECT {options}"))?;
    writer.settle(&mut reader)?;
    Ok((writer, reader))
}

impl Writer {
    fn say(&mut self, line: &str) -> Result<()> {
        self.stream.write_all(line.as_bytes())?;
        self.stream.write_all(b"\r\n")?;
        Ok(())
    }

    /// What is published to `subject` comes to this connection from now on.
    pub(super) fn subscribe(&mut self, subject: &str) -> Result<()> {
        self.subscriptions += 1;
        self.say(&format!("SUB {subject} {}", self.subscriptions))
    }

    /// Publishes, with a subject for answers if it is not empty. It is sent when much has come together, or by a flush.
    pub(super) fn publish(&mut self, subject: &str, reply: &str, payload: &[u8]) -> Result<()> {
        // As bytes: this is the hot path of the load, and formatting is slow.
        let mut digits = [0; 20];
        let mut left = payload.len();
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b"0123456789"[left % 10];
            left /= 10;
            if left == 0 {
                break;
            }
        }
        for part in [&b"PUB "[..], subject.as_bytes(), b" ", reply.as_bytes()] {
            self.stream.write_all(part)?;
        }
        self.stream.write_all(if reply.is_empty() { b"" } else { b" " })?;
        for part in [&digits[first..], b"\r\n", payload, b"\r\n"] {
            self.stream.write_all(part)?;
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        self.stream.flush().context("the NATS server takes no more")
    }

    /// Waits until the server has dealt with all that was written. Messages that come meanwhile are passed over.
    pub(super) fn settle(&mut self, reader: &mut Reader) -> Result<()> {
        self.say("PING")?;
        self.flush()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match reader.next_word()? {
                Some((Word::Pong, _)) => return Ok(()),
                _ => ensure!(Instant::now() < deadline, "the NATS server gave no answer within {PATIENCE:?}"),
            }
        }
    }

    /// Asks, and waits for an answer in JSON: on a connection with no other subscription.
    pub(super) fn request(&mut self, reader: &mut Reader, subject: &str, question: &Value) -> Result<Value> {
        self.subscribe(ANSWERS)?;
        self.publish(subject, ANSWERS, question.to_string().as_bytes())?;
        // It ends with the first message.
        self.say(&format!("UNSUB {} 1", self.subscriptions))?;
        self.flush()?;
        let deadline = Instant::now() + PATIENCE;
        let answer = loop {
            if let Some(message) = reader.next()? {
                if message.payload.is_empty() {
                    bail!("{subject}: {}", String::from_utf8_lossy(message.headers).trim());
                }
                break serde_json::from_slice::<Value>(message.payload)?;
            }
            ensure!(Instant::now() < deadline, "{subject}: no answer within {PATIENCE:?}");
        };
        match answer.get("error") {
            Some(error) => bail!("{subject}: {error}"),
            None => Ok(answer),
        }
    }
}

impl Reader {
    /// The next message, or nothing if none came for a moment.
    pub(super) fn next(&mut self) -> Result<Option<Message<'_>>> {
        loop {
            match self.next_word()? {
                None => return Ok(None),
                Some((Word::Message { reply, headers, payload }, start)) => {
                    let word = &self.buffer[start..];
                    let (reply, headers, payload) = (&word[reply], &word[headers], &word[payload]);
                    return Ok(Some(Message { reply, headers, payload }));
                }
                Some(_) => {}
            }
        }
    }

    /// The next word, and where it begins in the buffer.
    fn next_word(&mut self) -> Result<Option<(Word, usize)>> {
        loop {
            let start = self.unread.start;
            if let Some((word, length)) = read(&self.buffer[self.unread.clone()])? {
                self.unread.start += length;
                if let Word::Refused(reason) = word {
                    bail!("the NATS server said {reason}");
                }
                return Ok(Some((word, start)));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Reads what there is; says whether there was something.
    fn fill(&mut self) -> Result<bool> {
        if self.unread.is_empty() {
            self.unread = 0..0;
        } else if self.unread.start > 0 && self.buffer.len() - self.unread.end < READ / 4 {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        if self.unread.end == self.buffer.len() {
            // A message that is larger than the buffer; their size has a bound.
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        match self.stream.read(&mut self.buffer[self.unread.end..]) {
            Ok(0) => bail!("the NATS server closed the connection"),
            Ok(count) => {
                self.unread.end += count;
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error).context("the connection to the NATS server broke"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::thread::{JoinHandle, spawn};

    use super::*;

    /// A server that takes one client, answers its first PING, and then says this.
    fn server(says: Vec<u8>) -> (SocketAddr, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"INFO {}\r\n").unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let mut heard: Vec<String> = lines.by_ref().take(2).map(Result::unwrap).collect();
            stream.write_all(b"PING\r\nPONG\r\n").unwrap();
            stream.write_all(&says).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            heard.extend(lines.map_while(Result::ok));
            heard
        });
        (address, thread)
    }

    #[test]
    fn messages_of_all_sizes_are_read_and_the_end_is_an_error() {
        let large = vec![b'x'; 3 * READ];
        let mut says = b"MSG a 1 1\r\n1\r\n".to_vec();
        says.extend(format!("MSG a 1 back {}\r\n", large.len()).bytes());
        says.extend(&large);
        says.extend(b"\r\nHMSG a 1 12 12\r\nNATS/1.0 100\r\n");
        let (address, thread) = server(says);
        let (mut writer, mut reader) = connect(address).unwrap();
        writer.subscribe("a").unwrap();
        writer.publish("b", "", b"hello").unwrap();
        writer.publish("b", "c", &[b'y'; 1234]).unwrap();
        writer.flush().unwrap();
        let mut got = Vec::new();
        let error = loop {
            match reader.next() {
                Ok(Some(message)) => {
                    got.push((message.reply.to_vec(), message.headers.to_vec(), message.payload.len()));
                }
                Ok(None) => {}
                Err(error) => break error.to_string(),
            }
        };
        let expected = [
            (Vec::new(), Vec::new(), 1),
            (b"back".to_vec(), Vec::new(), large.len()),
            (Vec::new(), b"NATS/1.0 100".to_vec(), 0),
        ];
        assert!(got == expected && error.contains("closed"), "{error}");
        drop((writer, reader));
        let heard = thread.join().unwrap();
        assert!(heard[0].starts_with("CONNECT {") && heard[1] == "PING", "{heard:?}");
        let rest: Vec<&str> = heard[2..].iter().map(String::as_str).collect();
        assert_eq!(rest[..4], ["SUB a 1", "PUB b 5", "hello", "PUB b c 1234"]);
    }

    #[test]
    fn a_refusal_is_an_error_with_its_reason() {
        let (address, thread) = server(b"-ERR 'Slow Consumer'\r\n".to_vec());
        let (writer, mut reader) = connect(address).unwrap();
        let error = loop {
            match reader.next() {
                Ok(_) => {}
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("Slow Consumer"), "{error}");
        drop((writer, reader));
        thread.join().unwrap();
    }

    #[test]
    fn requests_are_answered_or_fail() {
        for (says, expected) in [
            (&b"MSG _INBOX.answers 1 7\r\n{\"a\":1}\r\n"[..], "ok"),
            (b"MSG _INBOX.answers 1 28\r\n{\"error\":{\"code\":\"no room\"}}\r\n", "no room"),
            (b"HMSG _INBOX.answers 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n", "503"),
        ] {
            let (address, thread) = server(says.to_vec());
            let (mut writer, mut reader) = connect(address).unwrap();
            match writer.request(&mut reader, "ask", &json!({})) {
                Ok(answer) => assert_eq!((answer, expected), (json!({ "a": 1 }), "ok")),
                Err(error) => assert!(format!("{error:#}").contains(expected), "{error:#}"),
            }
            drop((writer, reader));
            thread.join().unwrap();
        }
    }
}
