//! The door for programs of Spread: off unless it is told where to listen.

use std::path::{Path, PathBuf};

use super::check::{Origin, socket_path};
use super::raw::RawSpread;
use super::units::{Mode, Size};
use super::{Clients, ConfigError};
use crate::spread::MAX_MESSAGE_NEEDED;
use crate::spread::auth::{Method, Rules};
use crate::spread::listen::Listen;
use crate::spread::names::DAEMON_MAX;

/// Spread's sockets are everybody's; its programs run under many users.
const DEFAULT_SOCKET_MODE: Mode = Mode(0o666);

/// The settings of the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spread {
    /// Where programs are let in; at least one place.
    pub(crate) listen: Vec<Listen>,
    /// The permissions of unix sockets.
    pub(crate) socket_mode: Mode,
    /// Who may come in.
    pub(crate) rules: Rules,
    /// The users of the method PWORD.
    pub(crate) passwords: Option<PathBuf>,
}

impl Spread {
    pub(super) fn to_raw(&self) -> RawSpread {
        RawSpread {
            listen: self.listen.clone(),
            socket_mode: Some(self.socket_mode),
            auth: Some(self.rules.allowed.clone()),
            require: Some(self.rules.required.clone()),
            allow_from: Some(self.rules.allow_from.clone()),
            passwords: self.passwords.clone(),
        }
    }
}

pub(super) fn check(
    raw: RawSpread,
    clients: &Clients,
    membership: &stentor_membership::Config,
    base: &Path,
    at: &Origin<'_>,
) -> Result<Option<Spread>, ConfigError> {
    if raw == RawSpread::default() {
        return Ok(None);
    }
    let RawSpread { listen, socket_mode, auth, require, allow_from, passwords } = raw;
    let rules = Rules {
        allowed: auth.unwrap_or_else(|| vec![Method::Null]),
        required: require.unwrap_or_default(),
        allow_from: allow_from.unwrap_or_default(),
    };
    methods(&rules, passwords.as_deref(), at)?;
    let listen = places(listen, &rules, clients, base, at)?;
    if membership.max_message < MAX_MESSAGE_NEEDED {
        let value = Size(membership.max_message);
        let allowed =
            format!("with [spread], at least {}: its programs send so much", Size(MAX_MESSAGE_NEEDED));
        return Err(at.wrong("[membership] max_message", value, allowed));
    }
    if let Some(long) = membership.daemons.iter().find(|name| name.as_str().len() > DAEMON_MAX) {
        let allowed =
            format!("with [spread], daemon names have at most {DAEMON_MAX} characters: choose a shorter one");
        return Err(at.wrong("name", long, allowed));
    }
    Ok(Some(Spread {
        listen,
        socket_mode: socket_mode.unwrap_or(DEFAULT_SOCKET_MODE),
        rules,
        passwords: passwords.map(|path| base.join(path)),
    }))
}

/// The methods fit together, and each has what it needs.
fn methods(rules: &Rules, passwords: Option<&Path>, at: &Origin<'_>) -> Result<(), ConfigError> {
    for (key, methods) in [("[spread] auth", &rules.allowed), ("[spread] require", &rules.required)] {
        let twice = |(at, method): (usize, &Method)| methods[..at].contains(method).then_some(*method);
        if let Some(method) = methods.iter().enumerate().find_map(twice) {
            return Err(at.wrong(key, method, "stands there twice: once is enough"));
        }
    }
    let uses = |method| rules.allowed.contains(&method) || rules.required.contains(&method);
    if rules.required.contains(&Method::Pword) && !rules.allowed.contains(&Method::Pword) {
        let why = "must stand in auth as well: a program that does not choose it cannot be asked";
        return Err(at.wrong("[spread] require", Method::Pword, why));
    }
    match (uses(Method::Ip), rules.allow_from.first()) {
        (true, None) => {
            let why = "needed for the method IP: for example [\"unix\", \"local\", \"10.0.0.0/8\"]";
            return Err(at.missing("[spread] allow_from", why));
        }
        (false, Some(source)) => {
            let why = "useful with the method IP only: add it to require or auth";
            return Err(at.wrong("[spread] allow_from", source, why));
        }
        _ => {}
    }
    match (uses(Method::Pword), passwords) {
        (true, None) => Err(at.missing(
            "[spread] passwords",
            "needed for the method PWORD: a file of lines as `stentor spread-password USER` prints them",
        )),
        (false, Some(path)) => Err(at.wrong(
            "[spread] passwords",
            path.display(),
            "useful with the method PWORD only: add it to auth",
        )),
        _ => Ok(()),
    }
}

/// The places to listen are there, are different, and are not open to everybody.
fn places(
    listen: Vec<Listen>,
    rules: &Rules,
    clients: &Clients,
    base: &Path,
    at: &Origin<'_>,
) -> Result<Vec<Listen>, ConfigError> {
    const KEY: &str = "[spread] listen";
    if listen.is_empty() {
        let why =
            "say where programs of Spread are let in: for example [\"127.0.0.1:4803\", \"unix:/tmp/4803\"]";
        return Err(at.missing(KEY, why));
    }
    let mut places: Vec<Listen> = Vec::new();
    for place in listen {
        let (place, taken) = match place {
            Listen::Tcp(address) => {
                if address.port() == 0 {
                    return Err(at.wrong(KEY, address, "programs must know the port: 1 to 65535"));
                }
                if !address.ip().is_loopback() && !rules.guards() {
                    let why = "an address that other machines reach needs require = [\"IP\"] with allow_from, or auth \
                               = [\"PWORD\"]: programs are not encrypted, and NULL lets everybody in";
                    return Err(at.wrong(KEY, address, why));
                }
                (place, clients.tcp == Some(address))
            }
            Listen::Unix(path) => {
                let path = base.join(path);
                socket_path(KEY, &path, at)?;
                let taken = clients.socket == path;
                (Listen::Unix(path), taken)
            }
        };
        if taken || places.contains(&place) {
            return Err(at.wrong(
                KEY,
                place,
                "stands there twice, or in [clients]: each door needs its own place",
            ));
        }
        places.push(place);
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    const LISTEN: &str = "listen = [\"127.0.0.1:4803\", \"unix:s\"]";

    fn parse(spread: &str) -> Result<Option<Spread>, String> {
        let text = format!("name = \"d\"\n[clients]\nsocket = \"d.sock\"\n[spread]\n{spread}\n");
        parse_all(&text)
    }

    fn parse_all(text: &str) -> Result<Option<Spread>, String> {
        Config::parse(text, Path::new("/etc/stentor/a.toml")).map(|c| c.spread).map_err(|e| e.to_string())
    }

    fn refused(spread: &str, texts: &[&str]) {
        let error = parse(spread).unwrap_err();
        for expected in texts {
            assert!(error.contains(expected), "{error:?} does not contain {expected:?}");
        }
    }

    #[test]
    fn the_door_is_shut_unless_it_is_told_where_to_listen() {
        assert_eq!(parse(""), Ok(None));
        let spread = parse(LISTEN).unwrap().unwrap();
        let places: Vec<_> = spread.listen.iter().map(ToString::to_string).collect();
        assert_eq!(places, ["127.0.0.1:4803", "unix:/etc/stentor/s"]);
        assert_eq!((spread.rules.allowed, spread.rules.required), (vec![Method::Null], vec![]));
        refused("socket_mode = \"0600\"", &["[spread] listen = (missing)", "unix:/tmp/4803"]);
    }

    #[test]
    fn what_is_printed_reads_back_to_the_same() {
        let text = format!(
            "[spread]\n{LISTEN}\nauth = [\"NULL\", \"PWORD\"]\nrequire = [\"IP\"]\nallow_from = [\"unix\", \
             \"10.0.0.0/8\"]\npasswords = \"p\"\nsocket_mode = \"0600\""
        );
        let config = Config::parse(&text, Path::new("/etc/stentor/a.toml")).unwrap();
        let again = parse_all(&config.to_toml().unwrap()).unwrap();
        assert!(again.is_some());
        assert_eq!(again, config.spread);
        assert_eq!(again.unwrap().passwords.unwrap(), Path::new("/etc/stentor/p"));
    }

    #[test]
    fn places_are_checked() {
        refused("listen = [\"4803\"]", &["4803", "no place to listen", "unix:/tmp/4803"]);
        refused("listen = [\"127.0.0.1:0\"]", &["[spread] listen = 127.0.0.1:0", "1 to 65535"]);
        refused("listen = [\"unix:d.sock\"]", &["unix:/etc/stentor/d.sock", "[clients]"]);
        refused("listen = [\"unix:s\", \"unix:s\"]", &["unix:/etc/stentor/s", "twice"]);
        refused("listen = [\"unix:/\"]", &["[spread] listen = /", "must name a file"]);
        let open = "listen = [\"0.0.0.0:4803\"]";
        refused(open, &["0.0.0.0:4803", "require = [\"IP\"]", "NULL lets everybody in"]);
        let guarded = format!("{open}\nrequire = [\"IP\"]\nallow_from = [\"10.0.0.0/8\"]");
        assert!(parse(&guarded).unwrap().is_some());
    }

    #[test]
    fn methods_have_what_they_need() {
        let with = |line: &str| format!("{LISTEN}\n{line}");
        refused(&with("auth = [\"KERBEROS\"]"), &["KERBEROS", "PWORD"]);
        refused(&with("auth = [\"NULL\", \"NULL\"]"), &["[spread] auth = NULL", "twice"]);
        refused(&with("require = [\"IP\"]"), &["[spread] allow_from = (missing)", "local"]);
        refused(&with("allow_from = [\"local\"]"), &["allow_from = local", "IP"]);
        refused(&with("auth = [\"IP\"]\nallow_from = [\"here\"]"), &["here", "10.0.0.0/8"]);
        refused(&with("auth = [\"PWORD\"]"), &["[spread] passwords = (missing)", "spread-password"]);
        refused(&with("passwords = \"p\""), &["passwords = p", "PWORD"]);
        refused(&with("require = [\"PWORD\"]\npasswords = \"p\""), &["require = PWORD", "auth as well"]);
    }

    #[test]
    fn the_rest_of_the_configuration_has_to_fit() {
        let small = format!("[spread]\n{LISTEN}\n[membership]\nmax_message = \"128KiB\"");
        let error = parse_all(&small).unwrap_err();
        assert!(error.contains("max_message = 128KiB") && error.contains("160KiB"), "{error}");
        let long = format!("name = \"{}\"\n[spread]\n{LISTEN}", "d".repeat(20));
        let error = parse_all(&long).unwrap_err();
        assert!(error.contains("name = dddd") && error.contains("at most 19"), "{error}");
    }
}
