//! Values as people write them: durations, sizes, addresses and file modes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::spread::auth::{Method, Source};
use crate::spread::listen::Listen;

/// A duration written like `200ms` or `1m 30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|e| format!("{text:?} is no duration ({e}): write for example \"200ms\" or \"5s\""))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// A number of bytes, written like `8MiB` or `65536`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) usize);

const UNITS: [(&str, usize); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is no size: write a whole number of B, KiB, MiB or GiB, for example \"8MiB\"")
        };
        let (digits, unit) = text
            .find(|c: char| !c.is_ascii_digit())
            .map_or((text, "B"), |at| (text[..at].trim(), text[at..].trim()));
        let number: usize = digits.parse().map_err(|_| wrong())?;
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        number.checked_mul(*factor).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = UNITS
            .iter()
            .find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor))
            .unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

/// A host, by name or address, and a port. Names are looked up anew whenever they are used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostPort {
    /// A DNS name, an IPv4 address, or an IPv6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!(
                "{text:?} is no address ({what}): write \"host:port\", \"1.2.3.4:4810\" or \"[::1]:4810\""
            )
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("no port"))?;
        let port =
            port.parse().ok().filter(|port| *port != 0).ok_or_else(|| wrong("port is not 1 to 65535"))?;
        let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(ip) => {
                ip.parse::<std::net::Ipv6Addr>().map_err(|_| wrong("no IPv6 address in the brackets"))?;
                ip
            }
            None if host.contains(':') => return Err(wrong("IPv6 addresses need brackets")),
            None => host,
        };
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'))
        };
        let host_name = host.strip_suffix('.').unwrap_or(host);
        let numeric = |label: &str| label.bytes().all(|c| c.is_ascii_digit());
        if let Ok(ip) = host.parse::<std::net::IpAddr>() {
            if ip.to_canonical().is_unspecified() {
                return Err(format!(
                    "{text:?} is no address at which others reach a daemon: write its host name, or the machine's own \
                     address, for example \"192.168.1.10:{port}\"; only `listen` may say that it takes all"
                ));
            }
        } else {
            if host.len() > 253 || !host_name.split('.').all(is_label) {
                return Err(wrong("host is neither an address nor a host name"));
            }
            if host_name.split('.').all(numeric) {
                return Err(wrong("host looks like an IPv4 address but is none"));
            }
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// File permissions in octal, like `0660`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode(pub(crate) u32);

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777).map(Self).ok_or_else(|| {
            format!("{text:?} is no file mode: write permissions in octal, for example \"0660\"")
        })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

macro_rules! text_in_serde {
    ($($Type:ident: $expected:literal,)*) => {$(
        impl Serialize for $Type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $Type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $Type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$Type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    )*};
}

text_in_serde! {
    HostPort: "an address in quotes, for example \"10.0.0.1:4810\"",
    Listen: "a place to listen in quotes, for example \"127.0.0.1:4803\" or \"unix:/tmp/4803\"",
    Method: "a method in quotes: \"NULL\", \"IP\" or \"PWORD\"",
    Mode: "permissions in octal and in quotes, for example \"0660\"",
    Size: "a size in quotes, for example \"8MiB\"",
    Source: "a source in quotes, for example \"local\" or \"10.0.0.0/8\"",
    Span: "a duration in quotes, for example \"200ms\"",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_printed() {
        for (text, bytes) in [("8MiB", 8 << 20), ("1GiB", 1 << 30), ("65537B", 65537), ("0B", 0)] {
            assert_eq!(text.parse(), Ok(Size(bytes)));
            assert_eq!(Size(bytes).to_string(), text);
        }
        assert_eq!("4096".parse(), Ok(Size(4096)));
        assert_eq!("64 KiB".parse(), Ok(Size(65536)));
        for wrong in ["", "MiB", "8MB", "-1", "1.5MiB", "99999999999GiB", "8 Mi B"] {
            assert!(wrong.parse::<Size>().unwrap_err().contains("8MiB"), "{wrong}");
        }
    }

    #[test]
    fn an_address_needs_a_host_and_a_port() {
        for right in ["127.0.0.1:4810", "[::1]:1", "host:65535", "a-b.example.org.:4810", "1a:2"] {
            assert_eq!(right.parse::<HostPort>().unwrap().to_string(), right);
        }
        for wrong in [
            "",
            "host",
            ":1",
            "host:",
            "host:0",
            "host:65536",
            "::1:4810",
            "[::g]:1",
            "a b:1",
            "1.2.3:4",
            "1.2.3.400:4",
        ] {
            assert!(wrong.parse::<HostPort>().unwrap_err().contains("host:port"), "{wrong}");
        }
    }

    #[test]
    fn an_address_is_one_that_others_can_dial() {
        for wrong in ["0.0.0.0:4810", "[::]:4810", "[0:0::0]:1", "[::ffff:0.0.0.0]:4810"] {
            let error = wrong.parse::<HostPort>().unwrap_err();
            assert!(error.contains(wrong) && error.contains("host name"), "{error}");
            assert!(error.contains("`listen`"), "{error}");
        }
    }

    #[test]
    fn durations_and_modes_say_how_to_write_them() {
        assert_eq!("1m 30s".parse(), Ok(Span(Duration::from_secs(90))));
        assert!("fast".parse::<Span>().unwrap_err().contains("200ms"));
        assert_eq!("0660".parse::<Mode>().unwrap().to_string(), "0660");
        assert!("0999".parse::<Mode>().unwrap_err().contains("0660"));
        assert!("7777".parse::<Mode>().is_err());
    }
}
