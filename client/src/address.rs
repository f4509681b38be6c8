//! Where a daemon takes its clients.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

/// Where a daemon listens for clients: written `unix:PATH` or `tcp:HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A unix socket: the usual way.
    Unix(PathBuf),
    /// A TCP port, for daemons that are configured to offer one.
    Tcp {
        /// A name or an address, an IPv6 address without its brackets.
        host: String,
        /// The port.
        port: u16,
    },
}

/// A text that is no [`Address`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{text:?} is not an address: {problem}; write unix:PATH or tcp:HOST:PORT")]
pub struct AddressError {
    text: String,
    problem: &'static str,
}

impl Address {
    /// The environment variable that names the daemon to use.
    pub const VARIABLE: &'static str = "STENTOR_CONNECT";

    /// The daemon that the environment names: [`Address::VARIABLE`] if it is set, else [`Address::local`].
    ///
    /// # Errors
    /// [`AddressError`] if the variable is set to something else than an address.
    pub fn from_env() -> Result<Self, AddressError> {
        match std::env::var_os(Self::VARIABLE) {
            Some(value) if !value.is_empty() => value.to_string_lossy().parse(),
            _ => Ok(Self::local()),
        }
    }

    /// The socket of a daemon that runs without a configuration file: `stentor/stentor.sock` in `$XDG_RUNTIME_DIR`,
    /// or in `/run` if that is not set.
    pub fn local() -> Self {
        let directory = std::env::var_os("XDG_RUNTIME_DIR").filter(|d| !d.is_empty());
        let directory = directory.map_or_else(|| PathBuf::from("/run"), PathBuf::from);
        Self::Unix(directory.join("stentor/stentor.sock"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = |problem| AddressError { text: text.chars().take(200).collect(), problem };
        match text.split_once(':') {
            Some(("unix", "")) => Err(wrong("the path is missing")),
            Some(("unix", path)) => Ok(Self::Unix(path.into())),
            Some(("tcp", place)) => {
                let (host, port) = place.rsplit_once(':').ok_or_else(|| wrong("the port is missing"))?;
                let port = port.parse().ok().filter(|port| *port != 0);
                let port = port.ok_or_else(|| wrong("the port is not a number from 1 to 65535"))?;
                let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
                match inner.unwrap_or(host) {
                    "" => Err(wrong("the host is missing")),
                    host if host.contains(':') && inner.is_none() => {
                        Err(wrong("an IPv6 address needs brackets"))
                    }
                    host => Ok(Self::Tcp { host: host.to_owned(), port }),
                }
            }
            _ => Err(wrong("it does not begin with unix: or tcp:")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_as_it_is_written() {
        for text in ["unix:/run/s.sock", "unix:relative path", "tcp:localhost:4803", "tcp:[::1]:4803"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_wrong_address_says_what_is_wrong() {
        for (text, problem) in [
            ("/run/s.sock", "begin with unix: or tcp:"),
            ("unix:", "the path is missing"),
            ("tcp:localhost", "the port is missing"),
            ("tcp:localhost:http", "1 to 65535"),
            ("tcp:localhost:0", "1 to 65535"),
            ("tcp:localhost:70000", "1 to 65535"),
            ("tcp::4803", "the host is missing"),
            ("tcp:::1:4803", "brackets"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains("tcp:HOST:PORT"), "{text}: {error}");
        }
    }
}
