//! Reads Spread's configuration file.

use std::net::{IpAddr, SocketAddr};

/// The port of a segment that names none.
pub(super) const DEFAULT_PORT: u16 = 4803;

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Conf {
    pub(super) segments: Vec<Segment>,
    /// All other directives in their order.
    pub(super) settings: Vec<Setting>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) port: u16,
    pub(super) daemons: Vec<Daemon>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Daemon {
    pub(super) line: usize,
    /// Daemons may be listed by their address alone.
    pub(super) name: Option<String>,
    /// An address or a host name; without one, the name is looked up.
    pub(super) host: Option<String>,
    /// Where clients are let in; empty if nothing is said of it.
    pub(super) for_clients: Vec<IpAddr>,
    /// What else stands in its stanza.
    pub(super) extras: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) line: usize,
    pub(super) key: String,
    /// One word, several in braces, or none.
    pub(super) value: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    line: usize,
    text: String,
    quoted: bool,
}

impl Token {
    fn is(&self, mark: &str) -> bool {
        !self.quoted && self.text == mark
    }

    /// An address, perhaps with a port or an interface.
    fn address(&self) -> Option<(IpAddr, Option<u16>)> {
        let (front, interface) = self.text.split_once('%').unwrap_or((&self.text, ""));
        let text = format!("{front}{}", interface.find(']').map_or("", |at| &interface[at..]));
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(&text);
        let whole = bare.parse().ok().map(|address| (address, None));
        whole.or_else(|| text.parse().ok().map(|a: SocketAddr| (a.ip(), Some(a.port()))))
    }
}

/// Reads a file.
///
/// # Errors
/// Names the line and what is wrong there.
pub(super) fn parse(text: &str) -> Result<Conf, String> {
    let mut reader = Reader { tokens: tokens(text)?, at: 0 };
    let mut conf = Conf::default();
    while let Some(token) = reader.next() {
        if token.is(";") {
            continue;
        }
        if token.text.eq_ignore_ascii_case("Spread_Segment") {
            conf.segments.push(reader.segment()?);
            continue;
        }
        if is_mark(&token) {
            return Err(format!("line {}: {:?} stands where a directive should", token.line, token.text));
        }
        let value = if reader.take("=") { Some(reader.value(token.line)?) } else { None };
        conf.settings.push(Setting { line: token.line, key: token.text, value });
    }
    if conf.segments.iter().all(|segment| segment.daemons.is_empty()) {
        return Err("no daemons: a configuration of Spread lists them in Spread_Segment ADDRESS:PORT { .. }"
            .to_owned());
    }
    Ok(conf)
}

fn is_mark(token: &Token) -> bool {
    ["{", "}", "=", ";", ","].iter().any(|mark| token.is(mark))
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
}

impl Reader {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned()?;
        self.at += 1;
        Some(token)
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, mark: &str) -> bool {
        let is = self.peek().is_some_and(|token| token.is(mark));
        self.at += usize::from(is);
        is
    }

    /// Addresses, and daemons in braces.
    fn segment(&mut self) -> Result<Segment, String> {
        let mut port = DEFAULT_PORT;
        while !self.take("{") {
            let token = self.next().ok_or("the last Spread_Segment has no daemons in braces")?;
            let wrong = || format!("line {}: {:?} is no address of a segment", token.line, token.text);
            port = token.address().ok_or_else(wrong)?.1.unwrap_or(port);
        }
        let mut daemons: Vec<Daemon> = Vec::new();
        while !self.take("}") {
            let token = self.next().ok_or("a Spread_Segment is not closed: a '}' is missing at the end")?;
            if token.is(";") {
                continue;
            }
            if token.text.eq_ignore_ascii_case("VirtualID") {
                let value = self.assigned(&token)?;
                if let Some(daemon) = daemons.last_mut() {
                    daemon.extras.push(format!("VirtualID = {value}"));
                }
                continue;
            }
            if token.is("{") {
                let wrong = || format!("line {}: interfaces without a daemon in front of them", token.line);
                self.interfaces(daemons.last_mut().ok_or_else(wrong)?)?;
                continue;
            }
            if is_mark(&token) {
                return Err(format!("line {}: {:?} stands where a daemon should", token.line, token.text));
            }
            let line = token.line;
            let (name, host) = match token.address() {
                Some((address, _)) => (None, Some(address.to_string())),
                None => (Some(token.text), self.host(line)),
            };
            daemons.push(Daemon { line, name, host, for_clients: Vec::new(), extras: Vec::new() });
        }
        Ok(Segment { port, daemons })
    }

    /// The address or host behind a daemon's name.
    fn host(&mut self, line: usize) -> Option<String> {
        let token = self.peek()?;
        let host = match token.address() {
            Some((address, _)) => address.to_string(),
            None if token.line == line && !is_mark(token) => token.text.clone(),
            None => return None,
        };
        self.at += 1;
        Some(host)
    }

    /// Flags and addresses in braces.
    fn interfaces(&mut self, daemon: &mut Daemon) -> Result<(), String> {
        let mut flags = String::new();
        while !self.take("}") {
            let token = self.next().ok_or("the interfaces of a daemon are not closed: a '}' is missing")?;
            if token.text.eq_ignore_ascii_case("VirtualID") {
                let value = self.assigned(&token)?;
                daemon.extras.push(format!("VirtualID = {value}"));
            } else if let Some((address, _)) = token.address() {
                if flags.is_empty() || flags.contains(['C', 'c']) {
                    daemon.for_clients.push(address);
                } else {
                    daemon.extras.push(format!("{flags} {address}"));
                }
                flags.clear();
            } else if token.text.chars().all(|c| matches!(c, 'C' | 'D' | 'M' | 'c' | 'd' | 'm')) {
                flags.push_str(&token.text);
            } else if !token.is(";") {
                return Err(format!("line {}: {:?} is no interface", token.line, token.text));
            }
        }
        Ok(())
    }

    fn assigned(&mut self, key: &Token) -> Result<String, String> {
        if self.take("=") {
            self.value(key.line)
        } else {
            Err(format!("line {}: {} has no value", key.line, key.text))
        }
    }

    /// What stands behind an equals sign.
    fn value(&mut self, line: usize) -> Result<String, String> {
        let missing = || format!("line {line}: nothing behind the '='");
        if !self.take("{") {
            return self.next().filter(|token| !is_mark(token)).map(|token| token.text).ok_or_else(missing);
        }
        let mut words = Vec::new();
        while !self.take("}") {
            words.push(self.next().ok_or_else(|| format!("line {line}: a '}}' is missing"))?.text);
        }
        Ok(words.join(" "))
    }
}

/// Words, quoted texts and marks; comments begin with '#'.
fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    for (index, content) in text.lines().enumerate() {
        let line = index + 1;
        let mut rest = content.trim_start();
        while let Some(first) = rest.chars().next() {
            let (text, after, quoted) = match first {
                '#' => break,
                '"' => {
                    let inside = &rest[1..];
                    let end =
                        inside.find('"').ok_or_else(|| format!("line {line}: a quote is not closed"))?;
                    (&inside[..end], &inside[end + 1..], true)
                }
                '{' | '}' | '=' | ';' | ',' => (&rest[..1], &rest[1..], false),
                _ => {
                    let ends = |c: char| {
                        c.is_whitespace() || matches!(c, '{' | '}' | '=' | ';' | ',' | '"' | '#' | '!')
                    };
                    let begin = first.len_utf8();
                    let end = rest[begin..].find(ends).map_or(rest.len(), |at| begin + at);
                    (&rest[..end], &rest[end..], false)
                }
            };
            // Event types are taken away by a '!' in front of them.
            tokens.push(Token { line, text: text.to_owned(), quoted });
            rest = after.trim_start();
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(segment: &Segment) -> Vec<(Option<&str>, Option<&str>)> {
        segment.daemons.iter().map(|d| (d.name.as_deref(), d.host.as_deref())).collect()
    }

    #[test]
    fn the_usual_shapes_are_read() {
        let conf = parse(
            "# a comment\n\
             Spread_Segment 10.0.0.255:4804 10.1.0.255 { # two addresses\n\
               one 10.0.0.1\n\
               10.0.0.2 ; three 10.0.0.3 { D 10.0.0.3\n C 127.0.0.1 CM 10.1.0.3 10.2.0.3 }\n\
               VirtualID = 7\n\
               four\n\
             }\n\
             Spread_Segment [ff02::1%eth0]:4805 { six fe80::6 }\n\
             DebugFlags = { PRINT !EXIT }\n\
             EventTimeStamp\n\
             EventLogFile = \"a # b.log\"\n\
             MaxSessionMessages=5000\n",
        )
        .unwrap();
        assert_eq!(conf.segments.iter().map(|s| s.port).collect::<Vec<_>>(), [4804, 4805]);
        assert_eq!(
            names(&conf.segments[0]),
            [
                (Some("one"), Some("10.0.0.1")),
                (None, Some("10.0.0.2")),
                (Some("three"), Some("10.0.0.3")),
                (Some("four"), None)
            ]
        );
        let three = &conf.segments[0].daemons[2];
        let for_clients: Vec<_> = three.for_clients.iter().map(ToString::to_string).collect();
        assert_eq!(for_clients, ["127.0.0.1", "10.1.0.3", "10.2.0.3"]);
        assert_eq!(three.extras, ["D 10.0.0.3", "VirtualID = 7"]);
        assert_eq!(names(&conf.segments[1]), [(Some("six"), Some("fe80::6"))]);
        let settings: Vec<_> = conf.settings.iter().map(|s| (s.key.as_str(), s.value.as_deref())).collect();
        assert_eq!(
            settings,
            [
                ("DebugFlags", Some("PRINT !EXIT")),
                ("EventTimeStamp", None),
                ("EventLogFile", Some("a # b.log")),
                ("MaxSessionMessages", Some("5000"))
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, expected) in [
            ("", "no daemons"),
            ("Spread_Segment 10.0.0.255 {", "'}' is missing"),
            ("Spread_Segment 10.0.0.255", "no daemons in braces"),
            ("\nSpread_Segment here { a 1.2.3.4 }", "line 2: \"here\""),
            ("Spread_Segment 1.2.3.255 { a 1.2.3.4 { X 1.2.3.4 } }", "line 1: \"X\""),
            ("Spread_Segment 1.2.3.255 { a 1.2.3.4 { D 1.2.3.4 }", "'}' is missing"),
            ("Spread_Segment 1.2.3.255 { = }", "line 1: \"=\""),
            ("Spread_Segment 1.2.3.255 { { D 1.2.3.4 } }", "without a daemon"),
            ("a = \"b", "line 1: a quote"),
            ("\n\na =", "line 3: nothing"),
            ("a = { b", "line 1: a '}'"),
            ("} a", "line 1: \"}\""),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
