//! Standard input, read by a thread of its own: such a read can not be given up.

use std::io::{self, Read};

use anyhow::Context;
use tokio::sync::mpsc;

/// Bytes of a read.
const PIECE: usize = 64 << 10;

/// Pieces that wait for this program.
const PIECES: usize = 4;

/// Standard input in pieces.
#[derive(Debug)]
pub(crate) struct Input {
    pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
    /// The begin of a line whose end has not come yet.
    begun: Vec<u8>,
    /// Pieces of lines that came together, in order, last first.
    ready: Vec<Vec<u8>>,
    ended: bool,
}

impl Input {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let (sender, pieces) = mpsc::channel(PIECES);
        let read = move || {
            let mut input = io::stdin().lock();
            loop {
                let mut piece = vec![0; PIECE];
                let result = match input.read(&mut piece) {
                    Ok(0) => return,
                    Ok(count) => {
                        piece.truncate(count);
                        Ok(piece)
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let failed = result.is_err();
                if sender.blocking_send(result).is_err() || failed {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("stdin".to_owned()).spawn(read).context("cannot start a thread")?;
        Ok(Self { pieces, begun: Vec::new(), ready: Vec::new(), ended: false })
    }

    /// All of it, if it is no longer than `limit` bytes.
    pub(crate) async fn read_all(mut self, limit: usize) -> anyhow::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = self.pieces.recv().await {
            all.extend(piece.context("cannot read standard input")?);
            anyhow::ensure!(
                all.len() <= limit,
                "standard input is longer than the daemon's limit for a message, {limit} bytes: \
                 send it by --lines, in parts, or raise max_message"
            );
        }
        Ok(all)
    }

    /// The next line without its end, or `None` behind the last. Safe to cancel.
    pub(crate) async fn next_line(&mut self, limit: usize) -> anyhow::Result<Option<Vec<u8>>> {
        loop {
            if let Some(line) = self.ready.pop() {
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(None);
            }
            match self.pieces.recv().await {
                Some(piece) => self.split(&piece.context("cannot read standard input")?),
                None => {
                    self.ended = true;
                    if !self.begun.is_empty() {
                        return Ok(Some(std::mem::take(&mut self.begun)));
                    }
                }
            }
            anyhow::ensure!(
                self.begun.len() <= limit,
                "a line is longer than the daemon's limit for a message, {limit} bytes: \
                 split it, or raise max_message"
            );
        }
    }

    /// Takes the lines that end in a piece.
    fn split(&mut self, piece: &[u8]) {
        let mut parts = piece.split(|byte| *byte == b'\n');
        // The last part has no end yet; there is always one.
        let rest = parts.next_back().unwrap_or_default();
        for part in parts {
            let mut line = std::mem::take(&mut self.begun);
            line.extend_from_slice(part);
            self.ready.push(line);
        }
        self.ready.reverse();
        self.begun.extend_from_slice(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_whole_however_they_are_cut() {
        let text = b"one\n\ntwo \xff\r\nthree";
        for step in 1..=text.len() {
            let (sender, pieces) = mpsc::channel(text.len());
            for piece in text.chunks(step) {
                sender.try_send(Ok(piece.to_vec())).unwrap();
            }
            drop(sender);
            let mut input = Input { pieces, begun: Vec::new(), ready: Vec::new(), ended: false };
            let mut lines = Vec::new();
            while let Some(line) = input.next_line(100).await.unwrap() {
                lines.push(line);
            }
            assert_eq!(lines, [&b"one"[..], b"", b"two \xff\r", b"three"]);
        }
    }

    #[tokio::test]
    async fn a_line_without_end_is_bounded() {
        let (sender, pieces) = mpsc::channel(3);
        for _ in 0..3 {
            sender.try_send(Ok(vec![b'x'; 50])).unwrap();
        }
        let mut input = Input { pieces, begun: Vec::new(), ready: Vec::new(), ended: false };
        let error = input.next_line(100).await.unwrap_err().to_string();
        assert!(error.contains("100 bytes"), "{error}");
    }
}
