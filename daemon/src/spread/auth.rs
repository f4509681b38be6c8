//! Who may come in: the methods that Spread programs know.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::passwords::Passwords;

/// A way to prove who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Method {
    /// Nothing is asked.
    Null,
    /// The program's address is looked up in a list.
    Ip,
    /// The program names a user and a password.
    Pword,
}

impl Method {
    /// All methods, in the order in which they are offered.
    pub(crate) const ALL: [Self; 3] = [Self::Null, Self::Ip, Self::Pword];

    /// The name on the wire.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Ip => "IP",
            Self::Pword => "PWORD",
        }
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|method| method.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is no method: one of \"NULL\", \"IP\", \"PWORD\""))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a program connects from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// This machine, over a unix socket.
    Unix,
    Tcp(IpAddr),
}

/// Whom the method IP lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Programs on unix sockets.
    Unix,
    /// Programs on loopback addresses.
    Local,
    /// Programs on the addresses that begin with so many bits of this one.
    Network(IpAddr, u8),
}

impl Source {
    fn contains(self, peer: Peer) -> bool {
        match (self, peer) {
            (Self::Unix, Peer::Unix) => true,
            (Self::Local, Peer::Tcp(address)) => address.to_canonical().is_loopback(),
            (Self::Network(network, prefix), Peer::Tcp(address)) => {
                let same = |one: u128, other: u128, bits: u8| {
                    (one ^ other).checked_shr(u32::from(bits - prefix)).unwrap_or_default() == 0
                };
                match (network, address.to_canonical()) {
                    (IpAddr::V4(one), IpAddr::V4(other)) => {
                        same(u32::from(one).into(), u32::from(other).into(), 32)
                    }
                    (IpAddr::V6(one), IpAddr::V6(other)) => same(one.into(), other.into(), 128),
                    _ => false,
                }
            }
            (Self::Unix, Peer::Tcp(_)) | (Self::Local | Self::Network(..), Peer::Unix) => false,
        }
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no source: write \"unix\", \"local\", an address like \"10.1.2.3\" or a network like \
                 \"10.0.0.0/8\""
            )
        };
        match text {
            "unix" => return Ok(Self::Unix),
            "local" => return Ok(Self::Local),
            _ => {}
        }
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= bits).ok_or_else(wrong)?,
            None => bits,
        };
        Ok(Self::Network(address, prefix))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix => f.write_str("unix"),
            Self::Local => f.write_str("local"),
            Self::Network(address, prefix) => write!(f, "{address}/{prefix}"),
        }
    }
}

/// The rules at the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// The methods that a program may choose.
    pub(crate) allowed: Vec<Method>,
    /// The methods that every program must pass as well.
    pub(crate) required: Vec<Method>,
    /// Whom the method IP lets in.
    pub(crate) allow_from: Vec<Source>,
}

impl Rules {
    /// The list that is offered: each name with a space behind it.
    pub(super) fn offer(&self) -> String {
        let allowed = Method::ALL.into_iter().filter(|method| self.allowed.contains(method));
        allowed.map(|method| format!("{method} ")).collect()
    }

    /// What a program must pass that chose these methods by name; none if it may not choose so.
    pub(super) fn chosen(&self, names: &[&[u8]]) -> Option<Vec<Method>> {
        let mut chosen = Vec::new();
        for name in names.iter().filter(|name| !name.is_empty()) {
            let method = self.allowed.iter().find(|method| method.as_str().as_bytes() == *name)?;
            chosen.push(*method);
        }
        // A program that does not know of a required password would take the question for something else.
        let asks_password = self.required.contains(&Method::Pword) && !chosen.contains(&Method::Pword);
        if chosen.is_empty() || asks_password {
            return None;
        }
        chosen.extend(&self.required);
        let mut seen = Vec::new();
        chosen.retain(|method| {
            !seen.contains(method) && {
                seen.push(*method);
                true
            }
        });
        Some(chosen)
    }

    /// Whether a program may come in that is too old to be asked.
    pub(super) fn admits_unasked(&self, peer: Peer) -> bool {
        let applies = |method| self.allowed.contains(&method) || self.required.contains(&method);
        if self.required.contains(&Method::Pword) {
            false
        } else if applies(Method::Ip) {
            self.admits(peer)
        } else {
            applies(Method::Null)
        }
    }

    /// Whether the method IP lets a program in.
    pub(super) fn admits(&self, peer: Peer) -> bool {
        self.allow_from.iter().any(|source| source.contains(peer))
    }

    /// Whether every program is asked for more than nothing.
    pub(crate) fn guards(&self) -> bool {
        !self.required.iter().all(|method| *method == Method::Null) || !self.allowed.contains(&Method::Null)
    }
}

/// The rules, and what they need to be kept.
#[derive(Debug)]
pub(crate) struct Auth {
    pub(crate) rules: Rules,
    pub(crate) passwords: Passwords,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allowed: &[Method], required: &[Method], from: &[&str]) -> Rules {
        let allow_from = from.iter().map(|source| source.parse().unwrap()).collect();
        Rules { allowed: allowed.into(), required: required.into(), allow_from }
    }

    fn tcp(address: &str) -> Peer {
        Peer::Tcp(address.parse().unwrap())
    }

    #[test]
    fn the_offer_is_in_order_with_a_space_behind_each_name() {
        assert_eq!(rules(&[Method::Null], &[], &[]).offer(), "NULL ");
        assert_eq!(rules(&[Method::Pword, Method::Ip, Method::Null], &[], &[]).offer(), "NULL IP PWORD ");
        assert_eq!(rules(&[], &[], &[]).offer(), "");
    }

    #[test]
    fn a_choice_needs_one_allowed_method_and_nothing_else() {
        let both = rules(&[Method::Null, Method::Ip], &[], &[]);
        assert_eq!(both.chosen(&[b"NULL", b"", b""]), Some(vec![Method::Null]));
        assert_eq!(both.chosen(&[b"IP", b"NULL", b"IP"]), Some(vec![Method::Ip, Method::Null]));
        for refused in [&[&b""[..], b"", b""][..], &[b"PWORD", b"", b""], &[b"NULL", b"NULLX", b""]] {
            assert_eq!(both.chosen(refused), None, "{refused:?}");
        }
        let required = rules(&[Method::Null], &[Method::Ip], &[]);
        assert_eq!(required.chosen(&[b"NULL", b"", b""]), Some(vec![Method::Null, Method::Ip]));
        let password = rules(&[Method::Null, Method::Pword], &[Method::Pword], &[]);
        assert_eq!(password.chosen(&[b"NULL", b"", b""]), None);
        assert_eq!(password.chosen(&[b"PWORD", b"", b""]), Some(vec![Method::Pword]));
    }

    #[test]
    fn sources_are_matched_by_prefix() {
        let from = |source: &str, peer| rules(&[], &[], &[source]).admits(peer);
        assert!(from("unix", Peer::Unix) && !from("local", Peer::Unix) && !from("0.0.0.0/0", Peer::Unix));
        assert!(from("local", tcp("127.0.0.9")) && from("local", tcp("::1")));
        assert!(from("local", tcp("::ffff:127.0.0.1")) && !from("local", tcp("10.0.0.1")));
        assert!(from("10.1.0.0/16", tcp("10.1.255.1")) && !from("10.1.0.0/16", tcp("10.2.0.1")));
        assert!(from("10.1.2.3", tcp("10.1.2.3")) && !from("10.1.2.3", tcp("10.1.2.2")));
        assert!(from("0.0.0.0/0", tcp("8.8.8.8")) && !from("0.0.0.0/0", tcp("2001:db8::1")));
        assert!(from("2001:db8::/32", tcp("2001:db8:1::1")) && !from("2001:db8::/32", tcp("2001:db9::1")));
        assert!(from("::/0", tcp("2001:db9::1")));
        for wrong in ["", "unixx", "10.0.0.0/33", "10.0.0/8", "::1/129", "a/8", "10.0.0.0/-1"] {
            assert!(wrong.parse::<Source>().unwrap_err().contains("10.0.0.0/8"), "{wrong}");
        }
        for text in ["unix", "local", "10.0.0.0/8", "::1/128"] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn programs_too_old_to_be_asked_get_the_address_check_if_there_is_one() {
        assert!(rules(&[Method::Null], &[], &[]).admits_unasked(Peer::Unix));
        assert!(!rules(&[Method::Pword], &[], &[]).admits_unasked(Peer::Unix));
        assert!(!rules(&[Method::Null], &[Method::Ip], &["local"]).admits_unasked(Peer::Unix));
        assert!(rules(&[], &[Method::Ip], &["unix"]).admits_unasked(Peer::Unix));
        let password = rules(&[Method::Null, Method::Pword], &[Method::Pword], &[]);
        assert!(!password.admits_unasked(Peer::Unix));
    }

    #[test]
    fn a_door_is_guarded_if_nobody_gets_in_for_nothing() {
        assert!(!rules(&[Method::Null], &[], &[]).guards());
        assert!(!rules(&[Method::Null, Method::Ip], &[Method::Null], &[]).guards());
        assert!(rules(&[Method::Null], &[Method::Ip], &[]).guards());
        assert!(rules(&[Method::Pword], &[], &[]).guards());
    }
}
