//! Messages of Spread's client protocol, byte for byte.

use std::fmt;

use anyhow::{Context, Result, ensure};

/// Set in a word whose bytes are little-endian.
pub const LITTLE: u32 = 0x8000_0080;

/// Service levels and other bits of the type word.
pub mod kind {
    #![expect(missing_docs, reason = "the names are those of Spread's own headers")]
    pub const UNRELIABLE: u32 = 0x01;
    pub const RELIABLE: u32 = 0x02;
    pub const FIFO: u32 = 0x04;
    pub const CAUSAL: u32 = 0x08;
    pub const AGREED: u32 = 0x10;
    pub const SAFE: u32 = 0x20;
    pub const SELF_DISCARD: u32 = 0x40;
    pub const BY_JOIN: u32 = 0x1100;
    pub const BY_LEAVE: u32 = 0x1200;
    pub const BY_DISCONNECT: u32 = 0x1400;
    pub const BY_NETWORK: u32 = 0x1800;
    pub const SELF_LEAVE: u32 = 0x0200;
    pub const TRANSITIONAL: u32 = 0x2000;
    pub const JOIN: u32 = 0x1_0000;
    pub const LEAVE: u32 = 0x2_0000;
    pub const KILL: u32 = 0x4_0000;
    pub const REJECT: u32 = 0x40_0000;
}

/// The bytes of a header.
pub const HEADER: usize = 48;
/// The bytes of a name.
pub const NAME: usize = 32;

/// A program's byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As on most machines.
    Little,
    /// As Java writes.
    Big,
}

impl Order {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Little, Self::Big];

    /// A number in this order.
    pub fn number(self, number: i32) -> [u8; 4] {
        match self {
            Self::Little => number.to_le_bytes(),
            Self::Big => number.to_be_bytes(),
        }
    }

    /// A word that says that it has this order.
    pub fn word(self, word: u32) -> [u8; 4] {
        match self {
            Self::Little => (word | LITTLE).to_le_bytes(),
            Self::Big => word.to_be_bytes(),
        }
    }

    /// The word of a 16-bit mark.
    pub fn hint(self, mark: u16) -> [u8; 4] {
        self.word(u32::from(mark) << 8)
    }
}

/// A name with its zeros.
pub fn name(text: &str) -> [u8; NAME] {
    let mut field = [0; NAME];
    field[..text.len()].copy_from_slice(text.as_bytes());
    field
}

/// A message as a program writes it; every part can be wrong.
#[derive(Clone, Debug)]
pub struct Request {
    /// The byte order of the numbers.
    pub order: Order,
    /// The type word, without its byte order.
    pub word: u32,
    /// The sender's field.
    pub sender: [u8; NAME],
    /// How many names it says there are.
    pub count: i32,
    /// The hint.
    pub hint: [u8; 4],
    /// How many bytes it says that the payload has.
    pub length: i32,
    /// The names.
    pub names: Vec<[u8; NAME]>,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Request {
    /// A message whose numbers are right.
    pub fn new(order: Order, word: u32, sender: &str, names: &[&str], payload: &[u8]) -> Self {
        Self {
            order,
            word,
            sender: name(sender),
            count: i32::try_from(names.len()).unwrap_or(i32::MAX),
            hint: order.hint(0),
            length: i32::try_from(payload.len()).unwrap_or(i32::MAX),
            names: names.iter().map(|text| name(text)).collect(),
            payload: payload.to_vec(),
        }
    }

    /// With a mark.
    #[must_use]
    pub fn mark(self, mark: u16) -> Self {
        Self { hint: self.order.hint(mark), ..self }
    }

    /// All its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.order.word(self.word).to_vec();
        out.extend(self.sender);
        out.extend(self.order.number(self.count));
        out.extend(self.hint);
        out.extend(self.order.number(self.length));
        self.names.iter().for_each(|name| out.extend(name));
        out.extend(&self.payload);
        out
    }
}

/// A message as a program gets it.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// All its bytes.
    pub raw: Vec<u8>,
    /// The type word, without its byte order.
    pub word: u32,
    /// The sender, or the group of a membership.
    pub name: String,
    /// The hint as it came.
    pub hint: [u8; 4],
    /// The type of the message that a reject gives back.
    pub old_word: Option<u32>,
    /// The destinations or members.
    pub names: Vec<String>,
    /// What follows.
    pub body: Vec<u8>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Bytes of the body that are shown.
        const SHOWN: usize = 64;
        let Self { word, name, names, hint, old_word, body, raw: _ } = self;
        let begin = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]);
        write!(
            f,
            "{word:#x} of {name} to {names:?}, hint {hint:02x?}, {old_word:x?}: {} bytes {begin:?}",
            body.len()
        )
    }
}

/// How many bytes follow a header: those of the names with what is in front of them, and those of the body.
///
/// # Errors
/// If it is no little-endian header with counts in their ranges.
pub fn follow(header: &[u8; HEADER]) -> Result<(usize, usize)> {
    let word = integer(header, 0)?;
    ensure!(word & LITTLE == LITTLE, "type {word:#010x} is not little-endian");
    let extra = if word & kind::REJECT != 0 { 4 } else { 0 };
    let (names, body) = (count(header, 36)?, count(header, 44)?);
    ensure!(names <= 1_000_000 && body <= 100 << 20, "{names} names, {body} bytes");
    Ok((extra + names * NAME, body))
}

impl Message {
    /// Reads the bytes of one message.
    ///
    /// # Errors
    /// If they are not exactly one as a daemon must write it.
    pub fn parse(raw: Vec<u8>) -> Result<Self> {
        let header: &[u8; HEADER] = raw.first_chunk().context("no header")?;
        let (names, body) = follow(header)?;
        ensure!(raw.len() == HEADER + names + body, "{} bytes", raw.len());
        let word = integer(&raw, 0)? & !LITTLE;
        let mut rest = &raw[HEADER..HEADER + names];
        let mut old_word = None;
        if word & kind::REJECT != 0 {
            old_word = Some(integer(rest, 0)? & !LITTLE);
            rest = &rest[4..];
        }
        let names: Result<_> = rest.chunks_exact(NAME).map(text).collect();
        let mut hint = [0; 4];
        hint.copy_from_slice(&raw[40..44]);
        let (name, names) = (text(&raw[4..36])?, names?);
        let body = raw[raw.len() - body..].to_vec();
        Ok(Self { word, name, hint, old_word, names, body, raw })
    }
}

/// The text of a name; behind it there are zeros alone.
///
/// # Errors
/// If it is none.
pub fn text(field: &[u8]) -> Result<String> {
    let end = field.iter().position(|byte| *byte == 0).context("a name without an end")?;
    ensure!(field[end..].iter().all(|byte| *byte == 0), "something behind a name: {field:?}");
    Ok(String::from_utf8(field[..end].to_vec())?)
}

/// A little-endian word.
///
/// # Errors
/// If there are not enough bytes.
pub fn integer(bytes: &[u8], at: usize) -> Result<u32> {
    let word = bytes.get(at..).and_then(<[u8]>::first_chunk).context("too short")?;
    Ok(u32::from_le_bytes(*word))
}

/// A little-endian count.
///
/// # Errors
/// If there are not enough bytes, or it is negative.
pub fn count(bytes: &[u8], at: usize) -> Result<usize> {
    let number = integer(bytes, at)?.cast_signed();
    usize::try_from(number).with_context(|| format!("{number} at {at}"))
}

/// Bytes as they stand in a dump: two digits each, with spaces where one likes.
///
/// # Errors
/// If it is something else.
pub fn hex(dump: &str) -> Result<Vec<u8>> {
    let digits: Vec<char> = dump.chars().filter(|c| !c.is_whitespace()).collect();
    digits.chunks(2).map(|pair| Ok(u8::from_str_radix(&pair.iter().collect::<String>(), 16)?)).collect()
}
