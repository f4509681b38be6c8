//! What a story does to its daemons, and the text that comes of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use stentor_membership::wire::Header;
use stentor_membership::{Config, DaemonId, Event, Service, SessionId, Timestamp, ViewId};

use super::net::{Happening, Net, id};
use super::words::{self, Members};

/// How long a frame is on its way, if the story says nothing else.
pub(crate) const DELAY: Duration = Duration::from_millis(1);

/// How wide the text is, if it can be broken.
const WIDTH: usize = 118;

/// A net, and the text of what happened in it so far.
pub(crate) struct Script {
    net: Net,
    begin: Timestamp,
    members: Members,
    /// The view of each daemon as far as the text goes.
    views: BTreeMap<DaemonId, ViewId>,
    text: String,
}

impl Deref for Script {
    type Target = Net;

    fn deref(&self) -> &Net {
        &self.net
    }
}

impl DerefMut for Script {
    fn deref_mut(&mut self) -> &mut Net {
        &mut self.net
    }
}

impl Script {
    /// Daemons in a view of all of them, with all groups known.
    pub(crate) fn together(names: &[&str]) -> Self {
        Self::together_with(names, &Config::default())
    }

    /// The same with other settings.
    pub(crate) fn together_with(names: &[&str], config: &Config) -> Self {
        Self::begin(Net::together(names, config, DELAY))
    }

    /// Daemons without links.
    pub(crate) fn alone(names: &[&str]) -> Self {
        let mut net = Net::alone(names, &Config::default(), DELAY);
        net.drain();
        Self::begin(net)
    }

    fn begin(net: Net) -> Self {
        let views = net.nodes.iter().map(|(&id, node)| (id, node.view().id)).collect();
        let members = net.nodes.values().map(|node| (node.view().id, node.view().members.to_vec())).collect();
        Self { begin: net.now, net, members, views, text: String::new() }
    }

    /// The story goes on from here; what happened before is not told.
    pub(crate) fn skip(&mut self) {
        let text = std::mem::take(&mut self.text);
        self.flush();
        self.text = text;
        self.net.forget();
        self.begin = self.net.now;
    }

    /// A remark for the reader.
    pub(crate) fn say(&mut self, remark: &str) {
        self.flush();
        let mut line = String::from("\n#");
        for word in remark.split_whitespace() {
            if line.chars().count() + word.chars().count() > WIDTH {
                writeln!(self.text, "{line}").unwrap();
                "#".clone_into(&mut line);
            }
            line.push(' ');
            line.push_str(word);
        }
        writeln!(self.text, "{line}").unwrap();
    }

    pub(crate) fn sends(
        &mut self,
        daemon: &str,
        session: SessionId,
        service: Service,
        to: &[&str],
        text: &str,
    ) {
        let name = self.net.node(daemon).session_name(session).unwrap();
        self.net.note(daemon, format!("{name} sends {text:?} to {}, {service}", to.join(" ")));
        self.net.send(daemon, session, service, to, text);
    }

    pub(crate) fn joins(&mut self, daemon: &str, name: &str, group: &str) -> SessionId {
        self.net.note(daemon, format!("#{name}#{daemon} connects and joins {group}"));
        self.net.named(daemon, name, &[group])
    }

    /// The texts that a daemon delivered to `session`, and what it was told of groups.
    pub(crate) fn heard(&self, daemon: &str, session: SessionId) -> Vec<String> {
        self.net.story(daemon, session)
    }

    /// The members of a daemon's view, by name.
    pub(crate) fn view_of(&self, daemon: &str) -> String {
        words::names(&self.net.nodes[&id(daemon)].view().members[..])
    }

    pub(crate) fn finish(mut self) -> String {
        self.flush();
        self.text
    }

    /// Turns the log into text.
    fn flush(&mut self) {
        let log = std::mem::take(&mut self.net.log);
        let mut at = 0;
        let mut told = vec![false; log.len()];
        while at < log.len() {
            let (time, who, what) = &log[at];
            at += 1;
            if std::mem::replace(&mut told[at - 1], true) {
                continue;
            }
            let rest = log[at..].iter().take_while(|(t, ..)| t == time);
            match what {
                Happening::Received { frame, .. } | Happening::Sent { frame, .. }
                    if words::is_heartbeat(frame) => {}
                // What goes to several at a time stands in one line.
                Happening::Received { from, frame } => {
                    let mut receivers = vec![*who];
                    for (next, (_, whose, happening)) in rest.enumerate() {
                        if matches!(happening, Happening::Received { from: f, frame: g } if (f, g) == (from, frame))
                        {
                            receivers.push(*whose);
                            told[at + next] = true;
                        }
                    }
                    let who = format!("{} ← {}", words::names(&receivers), from.name);
                    self.line(*time, &who, &words::short(frame));
                }
                Happening::Sent { to, frame } => {
                    let mut receivers = vec![*to];
                    for (next, (_, whose, happening)) in rest.enumerate() {
                        match happening {
                            Happening::Sent { to, frame: other } if whose == who && other == frame => {
                                receivers.push(*to);
                                told[at + next] = true;
                            }
                            _ => {}
                        }
                    }
                    let sender = *who;
                    let who = format!("{} → {}", who.name, words::names(&receivers));
                    if let Ok((Header::Propose { id, members }, _)) = Header::decode(frame) {
                        self.members.insert(id, members);
                    }
                    let text = words::frame(frame, &self.members, self.views[&sender]);
                    self.line(*time, &who, &text);
                }
                Happening::Reported(event) => {
                    if let Event::View(view) = &**event {
                        self.members.insert(view.id, view.members.to_vec());
                        self.views.insert(*who, view.id);
                    }
                    self.line(*time, &format!("{} |", who.name), &words::event(event));
                }
                Happening::Entered { from, to } => {
                    if let Some(text) = words::phase(*from, *to) {
                        self.line(*time, &format!("{} |", who.name), text);
                    }
                }
                Happening::Suffered(text) => self.line(*time, &format!("{} *", who.name), text),
            }
        }
    }

    fn line(&mut self, time: Timestamp, who: &str, text: &str) {
        let micros = (time - self.begin).as_micros();
        let ms = format!("{}.{:03}", micros / 1000, micros % 1000);
        let head = format!("{ms:>9}  {who:<13} ");
        let indent = head.chars().count();
        self.text.push_str(&head);
        let mut width = indent;
        for (at, part) in text.split("; ").enumerate() {
            if at > 0 && width + part.chars().count() > WIDTH {
                write!(self.text, ";\n{:indent$}  ", "").unwrap();
                width = indent + 2;
            } else if at > 0 {
                self.text.push_str("; ");
            }
            self.text.push_str(part);
            width += part.chars().count() + 2;
        }
        self.text.push('\n');
    }
}
