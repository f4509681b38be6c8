//! From a stream of Spread messages to requests of the session protocol.

use bytes::BytesMut;
use stentor_client::wire::{ClientFrame, GoodbyeCode, Intake};
use stentor_membership::{Content, MemberName};

use super::header::{HEADER, Header, Hint, LENGTH_AT, NAME};
use super::kind::{self, Kind};
use super::marks::Marks;
use super::names::{self, Aliases};
use super::{MAX_DESTINATIONS, MAX_MESSAGE};
use crate::driver::inbox::Violation;
use crate::session::connection::Requests;

/// Cuts what a Spread program sends into requests. Memory grows with the bytes that arrive, never with what a header
/// claims.
#[derive(Debug)]
pub(super) struct Decoder {
    intake: Intake,
    /// The header in front, checked, until its message is complete.
    header: Option<(Kind, Header)>,
    /// The private group that the program must name as the sender.
    own: String,
    aliases: Aliases,
    /// What stood in front of the last message's payload, and what it was made from.
    head: BytesMut,
    last: Last,
    failed: bool,
}

impl Requests for Decoder {
    fn next(&mut self) -> Result<Option<ClientFrame>, Violation> {
        loop {
            if self.failed {
                return Ok(None);
            }
            match self.cut() {
                Ok(Cut::Request(request)) => return Ok(Some(request)),
                Ok(Cut::Nothing) => {}
                Ok(Cut::Incomplete) => return Ok(None),
                Err(text) => {
                    self.failed = true;
                    return Err(Violation { code: GoodbyeCode::Protocol, text });
                }
            }
        }
    }

    fn space(&mut self) -> &mut BytesMut {
        self.intake.space(0)
    }
}

/// What stood at the beginning of the buffer.
enum Cut {
    Request(ClientFrame),
    /// Something that has no effect.
    Nothing,
    Incomplete,
}

impl Decoder {
    pub(super) fn new(own: MemberName, aliases: Aliases) -> Self {
        let own = own.to_string();
        let (intake, head, last) = (Intake::default(), BytesMut::new(), Last::default());
        Self { intake, header: None, own, aliases, head, last, failed: false }
    }

    fn cut(&mut self) -> Result<Cut, String> {
        let (kind, header) = match self.header {
            Some(header) => header,
            None => {
                let Some(bytes) = self.intake.bytes.first_chunk::<HEADER>() else {
                    return Ok(Cut::Incomplete);
                };
                let header = Header::read(bytes);
                *self.header.insert((self.check(&header)?, header))
            }
        };
        // Both are within their bounds.
        let names = usize::try_from(header.names).unwrap_or_default() * NAME;
        let payload = usize::try_from(header.length).unwrap_or_default();
        if self.intake.bytes.len() < HEADER + names + payload {
            return Ok(Cut::Incomplete);
        }
        self.header = None;
        let message = self.intake.bytes.split_to(HEADER + names + payload);
        match kind {
            Kind::Kill => Ok(Cut::Request(ClientFrame::Goodbye)),
            Kind::Join => {
                let field = first_name(&message, names).ok_or("a join names no group: it needs one")?;
                let group = names::group(field).ok_or_else(|| {
                    let name = String::from_utf8_lossy(names::text(field)).into_owned();
                    format!("cannot join {name:?}: a group is 1 to 31 characters between '$' and '~'")
                })?;
                Ok(Cut::Request(ClientFrame::Join { request: 0, group }))
            }
            Kind::Leave => {
                let field = first_name(&message, names).ok_or("a leave names no group: it needs one")?;
                // A program cannot be in a group with another name, so it has left it already.
                Ok(names::group(field)
                    .map_or(Cut::Nothing, |group| Cut::Request(ClientFrame::Leave { request: 0, group })))
            }
            Kind::Message(word) => self.multicast(word, &header, message, names),
        }
    }

    /// The rules for headers. A program that breaks one is no Spread program, or has lost its place in its own stream.
    fn check(&self, header: &Header) -> Result<Kind, String> {
        let kind =
            Kind::of_request(header.word).map_err(|rule| format!("type {:#010x} {rule}", header.word))?;
        let sender = names::text(&header.name);
        if sender != self.own.as_bytes() {
            let sender = String::from_utf8_lossy(sender);
            return Err(format!("sender {sender:?}: a program sends in its own name, {}", self.own));
        }
        let names = usize::try_from(header.names).ok().filter(|names| *names <= MAX_DESTINATIONS);
        let Some(names) = names else {
            return Err(format!("{} destinations: at most {MAX_DESTINATIONS} are allowed", header.names));
        };
        if !header.hint.is_valid() {
            let hint = u32::from_be_bytes(header.hint.0);
            return Err(format!("hint {hint:#010x}: only 16 bits of mark and the byte order are allowed"));
        }
        let length =
            usize::try_from(header.length).ok().filter(|length| names * NAME + length <= MAX_MESSAGE);
        if length.is_none() {
            let length = header.length;
            return Err(format!(
                "message of {length} bytes and {names} destinations: at most {MAX_MESSAGE} bytes are allowed, 32 for \
                 each destination included"
            ));
        }
        Ok(kind)
    }

    fn multicast(
        &mut self,
        word: u32,
        header: &Header,
        mut message: BytesMut,
        names: usize,
    ) -> Result<Cut, String> {
        let payload_at = HEADER + names;
        // Most messages of a program look like the one before.
        if !self.last.is(&message, names) {
            self.last.clear();
            self.make_head(word, header.hint, &message[HEADER..payload_at])?;
            self.last.set(&message, names);
        }
        if self.head.is_empty() {
            return Ok(Cut::Nothing);
        }
        // The head is nearly always smaller than what it replaces: the payload stays where it is.
        let content = match payload_at.checked_sub(self.head.len()) {
            Some(at) => {
                message[at..payload_at].copy_from_slice(&self.head);
                message.freeze().slice(at..)
            }
            None => [&self.head, &message[payload_at..]].concat().into(),
        };
        let service = kind::service(word);
        let discard_self = word & kind::SELF_DISCARD != 0;
        Ok(Cut::Request(ClientFrame::Multicast { service, discard_self, content }))
    }

    /// Makes what stands in front of the payload; nothing if the message is for nobody.
    fn make_head(&mut self, word: u32, hint: Hint, fields: &[u8]) -> Result<(), String> {
        self.head.clear();
        let fields = fields.chunks_exact(NAME).map(whole);
        let targets: Vec<_> = fields.clone().map(|field| self.aliases.resolve(&field)).collect();
        let told = |(target, field): (&Option<String>, [u8; NAME])| {
            target.as_ref().is_some_and(|target| self.aliases.field(target) == field)
        };
        let all_told = targets.iter().zip(fields.clone()).all(told);
        let destinations = if all_told { Vec::new() } else { fields.flatten().collect() };
        let targets: Vec<_> = targets.into_iter().flatten().collect();
        if targets.is_empty() {
            return Ok(());
        }
        let marks = Marks { word, hint, destinations: &destinations };
        let mut attributes = BytesMut::new();
        if !marks.are_needless() {
            marks.put(&mut attributes);
        }
        Content::put_head(&mut self.head, &targets, hint.mark(), &attributes).map_err(|e| e.to_string())
    }
}

/// Everything of a message but its length and payload, in the sender's bytes.
#[derive(Debug, Default)]
struct Last(Vec<u8>);

impl Last {
    fn is(&self, message: &[u8], names: usize) -> bool {
        let (header, fields) = Self::parts(message, names);
        self.0.len() == header.len() + fields.len() && self.0.starts_with(header) && self.0.ends_with(fields)
    }

    fn set(&mut self, message: &[u8], names: usize) {
        let (header, fields) = Self::parts(message, names);
        self.0.extend_from_slice(header);
        self.0.extend_from_slice(fields);
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn parts(message: &[u8], names: usize) -> (&[u8], &[u8]) {
        (&message[..LENGTH_AT], &message[HEADER..HEADER + names])
    }
}

/// A name with nothing behind its end.
fn whole(field: &[u8]) -> [u8; NAME] {
    let (mut whole, text) = ([0; NAME], names::text(field));
    whole[..text.len()].copy_from_slice(text);
    whole
}

fn first_name(message: &[u8], names: usize) -> Option<&[u8]> {
    message[HEADER..HEADER + names].chunks_exact(NAME).next()
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;
    use proptest::prelude::*;
    use stentor_membership::Service;

    use super::super::names::padded;
    use super::*;

    fn decoder() -> Decoder {
        Decoder::new("#alice#d1".parse().unwrap(), Aliases::default())
    }

    fn message(word: u32, sender: &str, names: &[&str], hint: Hint, payload: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        let (count, length) = (names.len().try_into().unwrap(), payload.len().try_into().unwrap());
        Header { word, name: padded(sender), names: count, hint, length }.put(&mut out);
        names.iter().for_each(|name| out.put_slice(&padded(name)));
        out.put_slice(payload);
        out
    }

    fn all(decoder: &mut Decoder, bytes: &[u8]) -> Result<Vec<ClientFrame>, Violation> {
        decoder.space().put_slice(bytes);
        let mut requests = Vec::new();
        while let Some(request) = decoder.next()? {
            requests.push(request);
        }
        Ok(requests)
    }

    fn content(request: &ClientFrame) -> (Service, bool, Content) {
        match request {
            ClientFrame::Multicast { service, discard_self, content } => {
                (*service, *discard_self, Content::parse(content.clone()).unwrap())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_message_becomes_a_multicast_and_its_payload_stays_where_it_is() {
        let bytes = message(0x10, "#alice#d1", &["room", "#bob#d2"], Hint::new(42), b"hello");
        let requests = all(&mut decoder(), &bytes).unwrap();
        let (service, discard_self, content) = content(&requests[0]);
        assert_eq!((service, discard_self, content.tag()), (Service::Agreed, false, 42));
        assert_eq!(content.targets().collect::<Vec<_>>(), ["room", "#bob#d2"]);
        assert_eq!((content.payload().as_ref(), content.attributes()), (b"hello".as_ref(), b"".as_ref()));
    }

    #[test]
    fn what_does_not_fit_is_noted() {
        let names = ["room", "#bogus", "a b"];
        let bytes = message(0x44, "#alice#d1", &names, Hint([0, 0, 7, 0]), b"x");
        let requests = all(&mut decoder(), &bytes).unwrap();
        let (service, discard_self, content) = content(&requests[0]);
        assert_eq!((service, discard_self, content.tag()), (Service::Agreed, true, 7));
        assert_eq!(content.targets().collect::<Vec<_>>(), ["room"]);
        let marks = Marks::of(&content, service);
        assert_eq!((marks.word, marks.hint), (0x44, Hint([0, 0, 7, 0])));
        assert_eq!(marks.destinations, names.map(padded).concat());
    }

    #[test]
    fn names_that_only_other_programs_can_have_are_told_as_they_were_written() {
        let bytes = message(0x10, "#alice#d1", &["room!"], Hint::new(0), b"x");
        let requests = all(&mut decoder(), &bytes).unwrap();
        let (service, _, content) = content(&requests[0]);
        assert_eq!(content.targets().collect::<Vec<_>>(), ["room!"]);
        assert_eq!(Marks::of(&content, service).destinations, padded("room!"));
    }

    #[test]
    fn each_message_has_its_own_head_also_if_it_looks_like_the_one_before() {
        let mut decoder = decoder();
        let mut bytes = BytesMut::new();
        let kinds = [
            (0x10, "a", 1),
            (0x10, "a", 1),
            (0x10, "b", 1),
            (0x10, "a", 2),
            (0x50, "a", 2),
            (0x10, "#", 2),
            (0x10, "#", 2),
            (0x20, "a", 1),
        ];
        for (word, name, mark) in kinds {
            bytes.put(message(word, "#alice#d1", &[name], Hint::new(mark), name.as_bytes()));
        }
        let requests = all(&mut decoder, &bytes).unwrap();
        let expected: Vec<_> = kinds.iter().filter(|(_, name, _)| *name != "#").collect();
        assert_eq!(requests.len(), expected.len());
        for (request, (word, name, mark)) in requests.iter().zip(expected) {
            let (service, discard_self, content) = content(request);
            assert_eq!((service, discard_self), (kind::service(*word), word & 0x40 != 0));
            assert_eq!(content.targets().collect::<Vec<_>>(), [*name]);
            assert_eq!((content.tag(), content.payload().as_ref()), (*mark, name.as_bytes()));
        }
    }

    #[test]
    fn messages_to_nobody_have_no_effect() {
        let mut decoder = decoder();
        let mut bytes = message(0x10, "#alice#d1", &[], Hint::new(0), b"to nobody");
        bytes.put(message(0x10, "#alice#d1", &["#bogus", ""], Hint::new(0), b"to nobody"));
        bytes.put(message(0x2_0000, "#alice#d1", &["#alice#d1"], Hint::new(0), b""));
        bytes.put(message(0x1_0000, "#alice#d1", &["room", "more"], Hint::new(0), b"ignored"));
        let requests = all(&mut decoder, &bytes).unwrap();
        assert_eq!(requests, [ClientFrame::Join { request: 0, group: "room".parse().unwrap() }]);
    }

    #[test]
    fn every_split_of_the_stream_gives_the_same() {
        let mut bytes = message(0x1_0000, "#alice#d1", &["room"], Hint::new(0), b"");
        bytes.put(message(0x10, "#alice#d1", &["room"], Hint::new(42), b"hello"));
        bytes.put(message(0x4_0000, "#alice#d1", &["#alice#d1"], Hint::new(0), b""));
        let expected = all(&mut decoder(), &bytes).unwrap();
        assert_eq!(expected.len(), 3);
        for at in 0..bytes.len() {
            let mut decoder = decoder();
            let mut requests = all(&mut decoder, &bytes[..at]).unwrap();
            requests.extend(all(&mut decoder, &bytes[at..]).unwrap());
            assert_eq!(requests, expected, "split at {at}");
        }
    }

    #[test]
    fn each_broken_rule_is_named_and_known_from_the_header_alone() {
        let header = |word, sender: &str, names, hint, length| {
            let mut out = BytesMut::new();
            Header { word, name: padded(sender), names, hint: Hint(hint), length }.put(&mut out);
            out
        };
        let own = "#alice#d1";
        for (bytes, text) in [
            (header(0x30, own, 1, [0; 4], 0), "exactly one"),
            (header(0x8_0010, own, 1, [0; 4], 0), "only daemons"),
            (header(0x40_0010, own, 1, [0; 4], 0), "only daemons"),
            (header(0x10, "#bob#d1", 1, [0; 4], 0), "#alice#d1"),
            (header(0x10, "#alice#d2", 1, [0; 4], 0), "#alice#d1"),
            (header(0x10, own, -1, [0; 4], 0), "-1 destinations"),
            (header(0x10, own, 101, [0; 4], 0), "at most 100"),
            (header(0x10, own, 1, [1, 0, 0, 0], 0), "hint 0x01000000"),
            (header(0x10, own, 1, [0; 4], -1), "-1 bytes"),
            (header(0x10, own, 1, [0; 4], 144_000 - 31), "at most 144000"),
            (message(0x1_0000, own, &[], Hint::new(0), b""), "names no group"),
            (message(0x1_0000, own, &["#x"], Hint::new(0), b""), "\"#x\""),
        ] {
            let violation = all(&mut decoder(), &bytes).unwrap_err();
            assert!(violation.text.contains(text), "{violation:?} {text}");
        }
        assert_eq!(all(&mut decoder(), &header(0x10, own, 1, [0; 4], 144_000 - 32)), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_requests_or_a_violation(bytes: Vec<u8>, own_header: bool) {
            let mut decoder = decoder();
            let mut stream = BytesMut::new();
            if own_header {
                stream.put(message(0x10, "#alice#d1", &["room"], Hint::new(0), b""));
            }
            stream.put_slice(&bytes);
            let _ = all(&mut decoder, &stream);
            prop_assert_eq!(decoder.next().is_ok(), true);
        }
    }
}
