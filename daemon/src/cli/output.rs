//! Standard output: bytes in large pieces, events as lines for programs or for people.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Serialize, Serializer};
use stentor_client::{Cause, Event, GroupName, MemberName, Membership, Message, Service};
use tokio::sync::{mpsc, oneshot};

/// A piece is written at the latest when it has this many bytes.
const PIECE: usize = 64 << 10;

/// Pieces that wait for whoever reads the output.
const PIECES: usize = 4;

/// Standard output, written by a thread of its own: whoever reads it slowly does not keep this process from hearing
/// the daemon or a signal.
#[derive(Debug)]
pub(crate) struct Output {
    piece: Vec<u8>,
    pieces: mpsc::Sender<Vec<u8>>,
    end: oneshot::Receiver<io::Result<()>>,
}

impl Output {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let (pieces, mut queue) = mpsc::channel::<Vec<u8>>(PIECES);
        let (report, end) = oneshot::channel();
        let write = move || {
            let mut out = io::stdout().lock();
            let result = std::iter::from_fn(|| queue.blocking_recv())
                .try_for_each(|piece| out.write_all(&piece).and_then(|()| out.flush()));
            drop(queue);
            // Nobody waits for it after a signal.
            let _ = report.send(result);
        };
        std::thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(write)
            .context("cannot start a thread")?;
        Ok(Self { piece: Vec::with_capacity(PIECE), pieces, end })
    }

    /// What to append to.
    pub(crate) fn piece(&mut self) -> &mut Vec<u8> {
        &mut self.piece
    }

    /// Whether it is time to [`flush`](Self::flush).
    pub(crate) fn is_full(&self) -> bool {
        self.piece.len() >= PIECE
    }

    /// Hands over what was appended, waiting for the reader if need be. False once nobody reads any more.
    pub(crate) async fn flush(&mut self) -> bool {
        if self.piece.is_empty() {
            return !self.pieces.is_closed();
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.pieces.send(piece).await.is_ok()
    }

    /// Waits until nobody reads any more.
    pub(crate) async fn closed(&self) {
        self.pieces.closed().await;
    }

    /// Waits until all is written.
    ///
    /// # Errors
    /// Says why it could not be; that nobody reads it any more is no error.
    pub(crate) async fn finish(mut self) -> anyhow::Result<()> {
        self.flush().await;
        drop(self.pieces);
        match self.end.await {
            Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(error).context("cannot write to standard output")
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// Writes a whole text; that nobody reads it is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether standard output shows colours: a terminal does, unless `NO_COLOR` is set.
pub(crate) fn has_colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Colours, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) colours: bool,
}

impl Style {
    pub(crate) fn of_stdout() -> Self {
        Self { colours: has_colours() }
    }

    pub(crate) fn bold<T: fmt::Display>(self, text: T) -> Painted<T> {
        Painted { text, code: self.code("1") }
    }

    pub(crate) fn dim<T: fmt::Display>(self, text: T) -> Painted<T> {
        Painted { text, code: self.code("2") }
    }

    pub(crate) fn red<T: fmt::Display>(self, text: T) -> Painted<T> {
        Painted { text, code: self.code("31") }
    }

    pub(crate) fn green<T: fmt::Display>(self, text: T) -> Painted<T> {
        Painted { text, code: self.code("32") }
    }

    pub(crate) fn yellow<T: fmt::Display>(self, text: T) -> Painted<T> {
        Painted { text, code: self.code("33") }
    }

    pub(crate) fn cyan<T: fmt::Display>(self, text: T) -> Painted<T> {
        Painted { text, code: self.code("36") }
    }

    fn code(self, code: &'static str) -> Option<&'static str> {
        self.colours.then_some(code)
    }
}

/// A text in a colour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Painted<T> {
    text: T,
    code: Option<&'static str>,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => {
                write!(f, "\x1b[{code}m")?;
                self.text.fmt(f)?;
                f.write_str("\x1b[0m")
            }
            None => self.text.fmt(f),
        }
    }
}

/// Appends an event as one line of JSON.
pub(crate) fn json_line(event: &Event, out: &mut Vec<u8>) {
    let line = match event {
        Event::Message(message) => {
            let payload = message.payload();
            serde_json::to_writer(&mut *out, &MessageLine::new(message, &payload))
        }
        Event::Membership(view) => serde_json::to_writer(&mut *out, &MembershipLine::new(view)),
        Event::Transitional { group } => {
            serde_json::to_writer(&mut *out, &TransitionalLine { event: "transitional", group })
        }
        // This command sends nothing that could be refused.
        _ => return,
    };
    // Writing to memory does not fail.
    if line.is_ok() {
        out.push(b'\n');
    }
}

#[derive(Serialize)]
struct MessageLine<'a> {
    event: &'static str,
    groups: Groups<'a>,
    sender: Shown<MemberName>,
    service: Service,
    tag: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

impl<'a> MessageLine<'a> {
    fn new(message: &'a Message, payload: &'a Bytes) -> Self {
        let data = std::str::from_utf8(payload).ok();
        Self {
            event: "message",
            groups: Groups(message),
            sender: Shown(message.sender()),
            service: message.service(),
            tag: message.tag(),
            data,
            data_base64: data.is_none().then(|| STANDARD.encode(payload)),
        }
    }
}

#[derive(Serialize)]
struct MembershipLine<'a> {
    event: &'static str,
    group: &'a GroupName,
    view: Shown<String>,
    members: Vec<Shown<MemberName>>,
    cause: &'static str,
    who: Option<Shown<MemberName>>,
    stayed: Vec<Shown<MemberName>>,
    sets: Vec<Vec<Shown<MemberName>>>,
}

impl<'a> MembershipLine<'a> {
    fn new(view: &'a Membership) -> Self {
        Self {
            event: "membership",
            group: &view.group,
            view: Shown(view.view.to_string()),
            members: view.members.iter().copied().map(Shown).collect(),
            cause: view.cause.as_str(),
            who: view.cause.who().map(Shown),
            stayed: view.stayed.iter().copied().map(Shown).collect(),
            sets: view.sets.iter().map(|set| set.iter().copied().map(Shown).collect()).collect(),
        }
    }
}

#[derive(Serialize)]
struct TransitionalLine<'a> {
    event: &'static str,
    group: &'a GroupName,
}

/// A name as people write it.
struct Shown<T>(T);

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// The destinations of a message.
struct Groups<'a>(&'a Message);

impl Serialize for Groups<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.groups())
    }
}

/// An event as one line for people.
pub(crate) fn text_line(event: &Event, style: Style) -> String {
    match event {
        Event::Message(message) => message_text(message, style),
        Event::Membership(view) => membership_text(view, style),
        Event::Transitional { group } => {
            style.yellow(format!("* {group}: daemons were lost; its next view follows")).to_string()
        }
        Event::Rejected { text, .. } => style.red(format!("* not sent: {text}")).to_string(),
        _ => String::new(),
    }
}

fn message_text(message: &Message, style: Style) -> String {
    let groups: Vec<_> = message.groups().collect();
    let mut line = format!("{} ", style.dim(format!("[{}]", groups.join(","))));
    // Writing to memory does not fail.
    let _ = write!(line, "{}", style.cyan(message.sender()));
    if message.service() != Service::Agreed {
        let _ = write!(line, " {}", style.dim(format!("({})", message.service())));
    }
    if message.tag() != 0 {
        let _ = write!(line, " {}", style.dim(format!("(tag {})", message.tag())));
    }
    line.push_str(": ");
    push_harmless(&mut line, &String::from_utf8_lossy(&message.payload()));
    line
}

/// Appends a text so that it stays one line and does nothing to a terminal.
fn push_harmless(line: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_control() && c != '\t' {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
}

fn membership_text(view: &Membership, style: Style) -> String {
    let what = match view.cause {
        Cause::Join(who) => format!("{who} joined"),
        Cause::Leave(who) => format!("{who} left"),
        Cause::Disconnect(who) => format!("{who} is gone"),
        Cause::Network => "the network changed".to_owned(),
    };
    let mut line = style.yellow(format!("* {}: {what}", view.group)).to_string();
    let _ =
        write!(line, "; {} member{}:", view.members.len(), if view.members.len() == 1 { "" } else { "s" });
    names(&mut line, &view.members);
    if view.cause == Cause::Network {
        line.push_str("; with the same history:");
        names(&mut line, &view.stayed);
    }
    line
}

/// The most names in a line for people.
const NAMES: usize = 20;

fn names(line: &mut String, members: &[MemberName]) {
    for member in members.iter().take(NAMES) {
        let _ = write!(line, " {member}");
    }
    if members.len() > NAMES {
        let _ = write!(line, " and {} more", members.len() - NAMES);
    }
}

#[cfg(test)]
mod tests {
    use stentor_client::{Content, GroupViewId};
    use stentor_membership::{DaemonId, Position, ViewId};

    use super::*;

    fn message(payload: &[u8]) -> Event {
        let content = Content::new(&["g", "h"], 7, payload).unwrap();
        Event::Message(Message::new("#s#d".parse().unwrap(), Service::Safe, content))
    }

    fn membership(cause: Cause) -> Event {
        let (s, t) = ("#s#d".parse().unwrap(), "#t#e".parse().unwrap());
        let proposer = DaemonId { name: "d".parse().unwrap(), incarnation: 0x1f };
        let view = ViewId { epoch: 3, proposer };
        let position = Position { clock: 5, rank: 1, index: 2 };
        Event::Membership(Box::new(Membership {
            group: "g".parse().unwrap(),
            view: GroupViewId { view, toward: None, position },
            members: [s, t].into(),
            cause,
            stayed: [s].into(),
            sets: [vec![s], vec![t]].into(),
        }))
    }

    fn json(event: &Event) -> String {
        let mut out = Vec::new();
        json_line(event, &mut out);
        assert_eq!(out.pop(), Some(b'\n'));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_lines_for_programs_have_these_keys() {
        const MESSAGE: &str =
            r##"{"event":"message","groups":["g","h"],"sender":"#s#d","service":"safe","tag":7,"##;
        assert_eq!(json(&message("a\n\"ä".as_bytes())), format!(r##"{MESSAGE}"data":"a\n\"ä"}}"##));
        assert_eq!(json(&message(b"a\xff")), format!(r##"{MESSAGE}"data_base64":"Yf8="}}"##));
        let joined = Cause::Join("#t#e".parse().unwrap());
        let expected = concat!(
            r##"{"event":"membership","group":"g","view":"3@d~1f/5.1.2","members":["#s#d","#t#e"],"##,
            r##""cause":"join","who":"#t#e","stayed":["#s#d"],"sets":[["#s#d"],["#t#e"]]}"##
        );
        assert_eq!(json(&membership(joined)), expected);
        assert!(json(&membership(Cause::Network)).contains(r##""cause":"network","who":null"##));
        let transitional = Event::Transitional { group: "g".parse().unwrap() };
        assert_eq!(json(&transitional), r##"{"event":"transitional","group":"g"}"##);
    }

    #[test]
    fn the_lines_for_people_are_one_line_each() {
        let style = Style { colours: false };
        assert_eq!(text_line(&message(b"a\nb"), style), "[g,h] #s#d (safe) (tag 7): a\\nb");
        assert_eq!(
            text_line(&membership(Cause::Network), style),
            "* g: the network changed; 2 members: #s#d #t#e; with the same history: #s#d"
        );
    }

    #[test]
    fn a_hostile_text_stays_one_harmless_line() {
        let mut line = String::new();
        push_harmless(&mut line, "a\tb\nc\x1b[31md\u{9b}e");
        assert_eq!(line, "a\tb\\nc\\u{1b}[31md\\u{9b}e");
    }

    #[test]
    fn without_colours_there_are_no_escapes() {
        let [plain, painted] =
            [false, true].map(|colours| Style { colours }.red(format!("{:>3}", 7)).to_string());
        assert_eq!((plain.as_str(), painted.as_str()), ("  7", "\x1b[31m  7\x1b[0m"));
    }
}
