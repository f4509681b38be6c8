//! The words of a NATS server.

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};

/// The longest line before it is taken for nonsense.
const LINE_MAX: usize = 64 << 10;
/// The largest message before it is taken for nonsense.
const MESSAGE_MAX: usize = 64 << 20;

/// Something that the server said. Ranges are places in the bytes that were read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// A message for a subscription.
    Message {
        /// Where an answer is expected; empty if nowhere.
        reply: Range<usize>,
        /// Headers, if any.
        headers: Range<usize>,
        payload: Range<usize>,
    },
    Ping,
    Pong,
    /// `INFO` and `+OK`.
    Aside,
    /// `-ERR`, with the reason.
    Refused(String),
}

/// The first word of `bytes` and its length, once all of it is there.
pub(super) fn read(bytes: &[u8]) -> Result<Option<(Word, usize)>> {
    let Some(end) = bytes.iter().take(LINE_MAX).position(|byte| *byte == b'\n') else {
        ensure!(bytes.len() < LINE_MAX, "the NATS server sent a line of more than {LINE_MAX} bytes");
        return Ok(None);
    };
    let line = bytes[..end].trim_ascii_end();
    let next = end + 1;
    let word = match line.first() {
        Some(b'M' | b'H') => return message(line, next, bytes.len()),
        Some(b'P') if line == b"PING" => Word::Ping,
        Some(b'P') if line == b"PONG" => Word::Pong,
        Some(b'I' | b'+') => Word::Aside,
        Some(b'-') => Word::Refused(String::from_utf8_lossy(line).into_owned()),
        _ => bail!("the NATS server sent a strange line: {:?}", String::from_utf8_lossy(line)),
    };
    Ok(Some((word, next)))
}

/// `MSG subject sid [reply] bytes`, `HMSG subject sid [reply] header-bytes bytes`, then the bytes and an end of line.
fn message(line: &[u8], start: usize, there: usize) -> Result<Option<(Word, usize)>> {
    let mut fields = [0..0, 0..0, 0..0, 0..0, 0..0, 0..0];
    let (mut count, mut at) = (0, 0);
    for part in line.split(|byte| *byte == b' ') {
        let place = fields.get_mut(count).context("the NATS server sent a head with too many fields")?;
        *place = at..at + part.len();
        at += part.len() + 1;
        count += 1;
    }
    let number = |field: usize| number(&line[fields[field].clone()]);
    let with_headers = line.starts_with(b"HMSG ");
    let fixed = if with_headers { 5 } else { 4 };
    ensure!(
        (with_headers || line.starts_with(b"MSG ")) && (count == fixed || count == fixed + 1),
        "the NATS server sent a strange head: {:?}",
        String::from_utf8_lossy(line)
    );
    let reply = if count > fixed { fields[3].clone() } else { 0..0 };
    let length = number(count - 1)?;
    let headers = if with_headers { number(count - 2)? } else { 0 };
    ensure!(headers <= length && length <= MESSAGE_MAX, "the NATS server sent a message of {length} bytes");
    let end = start + length;
    let word = Word::Message { reply, headers: start..start + headers, payload: start + headers..end };
    Ok((there >= end + 2).then_some((word, end + 2)))
}

fn number(digits: &[u8]) -> Result<usize> {
    let text = std::str::from_utf8(digits)?;
    text.parse().with_context(|| format!("the NATS server sent {text:?} for a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> (Word, usize) {
        for cut in 0..bytes.len() {
            assert_eq!(
                read(&bytes[..cut]).unwrap(),
                None,
                "{cut} bytes of {:?}",
                String::from_utf8_lossy(bytes)
            );
        }
        let mut more = bytes.to_vec();
        more.extend(b"MSG");
        read(&more).unwrap().unwrap()
    }

    #[test]
    fn words_are_read_when_they_are_whole() {
        for (bytes, word) in [
            (&b"PING\r\n"[..], Word::Ping),
            (b"PONG\r\n", Word::Pong),
            (b"+OK\r\n", Word::Aside),
            (b"INFO {}\r\n", Word::Aside),
            (b"-ERR 'no'\r\n", Word::Refused("-ERR 'no'".to_owned())),
            (b"MSG s 1 2\r\n\r\n\r\n", Word::Message { reply: 0..0, headers: 11..11, payload: 11..13 }),
            (b"MSG s 1 r 1\r\nx\r\n", Word::Message { reply: 8..9, headers: 13..13, payload: 13..14 }),
            (b"HMSG s 1 2 3\r\nhhp\r\n", Word::Message { reply: 0..0, headers: 14..16, payload: 16..17 }),
            (b"HMSG s 1 r 2 2\r\nhh\r\n", Word::Message { reply: 9..10, headers: 16..18, payload: 18..18 }),
        ] {
            assert_eq!(whole(bytes), (word, bytes.len()));
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        for bytes in [
            &b"HELLO\r\n"[..],
            b"\r\n",
            b"PINGPONG\r\n",
            b"MSG\r\n",
            b"MSG s 1\r\n",
            b"MSG s 1 r x 5\r\n",
            b"MSG s 1 -5\r\n",
            b"MSG s 1 99999999999\r\n",
            b"HMSG s 1 3 2\r\n",
            b"MSG a b c d e f g h\r\n",
        ] {
            assert!(read(bytes).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
        assert!(read(&vec![b'M'; LINE_MAX]).is_err());
    }
}
