//! From what is written to what is meant: defaults, ranges, and what must fit together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use stentor_membership::DaemonName;

use super::raw::{RawClients, RawConfig, RawMembership, RawTls};
use super::units::{HostPort, Mode, Size, Span};
use super::{Clients, ClusterName, Config, ConfigError, Network, TlsFiles, default_socket};

const DEFAULT_SOCKET_MODE: Mode = Mode(0o660);
const DEFAULT_QUEUE_OUT: usize = 64 << 20;
const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

const QUEUE_OUT_MAX: usize = 16 << 30;
const HANDSHAKE_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(600);
/// What a message may weigh beside its content when it waits for a program.
const MESSAGE_OVERHEAD: usize = 64 << 10;
/// The kernel's `sun_path` less its closing zero.
const SOCKET_PATH_MAX: usize = 107;

/// Checks `raw`, which came from `origin`; relative paths start at `base`.
pub(super) fn config(raw: RawConfig, origin: &str, base: &Path) -> Result<Config, ConfigError> {
    let at = Origin(origin);
    let name = daemon_name(raw.name, &raw.daemons, &at)?;
    let cluster = match &raw.cluster {
        Some(text) => text.parse().map_err(|e: String| at.wrong("cluster", text, e))?,
        None => ClusterName::default(),
    };
    let mut membership = membership(&raw.membership, &raw.clients, &at)?;
    membership.daemons =
        if raw.daemons.is_empty() { vec![name] } else { raw.daemons.keys().copied().collect() };
    let clients = clients(&raw.clients, membership.max_message, base, &at)?;
    let spread = super::spread::check(raw.spread, &clients, &membership, base, &at)?;
    let network = network(name, raw.listen, raw.daemons, raw.tls, base, &at)?;
    Ok(Config { name, cluster, network, clients, spread, membership })
}

pub(super) struct Origin<'a>(&'a str);

impl Origin<'_> {
    pub(super) fn wrong(
        &self,
        key: &str,
        value: impl std::fmt::Display,
        allowed: impl Into<String>,
    ) -> ConfigError {
        ConfigError::Value {
            origin: self.0.to_owned(),
            key: key.to_owned(),
            value: value.to_string(),
            allowed: allowed.into(),
        }
    }

    pub(super) fn missing(&self, key: &str, allowed: impl Into<String>) -> ConfigError {
        self.wrong(key, "(missing)", allowed)
    }
}

fn daemon_name(
    name: Option<DaemonName>,
    daemons: &BTreeMap<DaemonName, HostPort>,
    at: &Origin<'_>,
) -> Result<DaemonName, ConfigError> {
    let all = || daemons.keys().map(DaemonName::as_str).collect::<Vec<_>>().join(", ");
    match name {
        Some(name) if daemons.is_empty() || daemons.contains_key(&name) => Ok(name),
        Some(name) => {
            Err(at.wrong("name", name, format!("must be one of the names in [daemons]: {}", all())))
        }
        None if daemons.is_empty() => host_name(at),
        None => Err(at.missing("name", format!("say which of [daemons] this one is: {}", all()))),
    }
}

/// A daemon name made from the host's, or `local`.
fn host_name(at: &Origin<'_>) -> Result<DaemonName, ConfigError> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let label = host.trim().split('.').next().unwrap_or_default().to_ascii_lowercase();
    DaemonName::new(&label)
        .or_else(|_| DaemonName::new("local"))
        .map_err(|e| at.wrong("name", label, e.to_string()))
}

fn network(
    name: DaemonName,
    listen: Option<SocketAddr>,
    daemons: BTreeMap<DaemonName, HostPort>,
    tls: Option<RawTls>,
    base: &Path,
    at: &Origin<'_>,
) -> Result<Option<Network>, ConfigError> {
    let Some(own) = daemons.get(&name) else {
        return match (listen, tls) {
            (Some(listen), _) => Err(at.wrong("listen", listen, "useful with peers only: list [daemons]")),
            (None, Some(tls)) => {
                Err(at.wrong("[tls] ca", tls.ca.display(), "useful with peers only: list [daemons]"))
            }
            (None, None) => Ok(None),
        };
    };
    let mut seen = BTreeMap::new();
    for (daemon, address) in &daemons {
        if let Some(other) = seen.insert(address, daemon) {
            let key = format!("[daemons] {daemon}");
            return Err(at.wrong(&key, address, format!("{other} has the same address: each needs its own")));
        }
    }
    let listen = match listen {
        Some(listen) if listen.port() == 0 => {
            return Err(at.wrong("listen", listen, "peers must know the port: 1 to 65535"));
        }
        Some(listen) => listen,
        None => own.to_string().parse().map_err(|_| {
            let allowed = format!(
                "needed because this daemon's address {own} is a host name: for example \"0.0.0.0:{}\"",
                own.port
            );
            at.missing("listen", allowed)
        })?,
    };
    let tls = tls.ok_or_else(|| {
        at.missing("[tls]", "ca, certificate and key are needed with [daemons]; `stentor init` makes them")
    })?;
    let tls =
        TlsFiles { ca: base.join(tls.ca), certificate: base.join(tls.certificate), key: base.join(tls.key) };
    Ok(Some(Network { listen, daemons, tls }))
}

fn clients(
    raw: &RawClients,
    max_message: usize,
    base: &Path,
    at: &Origin<'_>,
) -> Result<Clients, ConfigError> {
    let socket = raw.socket.as_ref().map_or_else(default_socket, |socket| base.join(socket));
    socket_path("[clients] socket", &socket, at)?;
    if let Some(tcp) = raw.tcp {
        let key = "[clients] tcp";
        if !tcp.ip().is_loopback() {
            let why = "must be a loopback address (127.0.0.1:PORT or [::1]:PORT), because sessions are neither \
                       encrypted nor authenticated; run a daemon on each machine instead";
            return Err(at.wrong(key, tcp, why));
        }
        if tcp.port() == 0 {
            return Err(at.wrong(key, tcp, "programs must know the port: 1 to 65535"));
        }
    }
    let session_queue_out = raw.session_queue_out.map_or(DEFAULT_QUEUE_OUT, |size| size.0);
    let least = max_message + MESSAGE_OVERHEAD;
    if !(least..=QUEUE_OUT_MAX).contains(&session_queue_out) {
        let allowed = format!(
            "{} (max_message and 64KiB) to {}, or one large message would cut its receivers off",
            Size(least),
            Size(QUEUE_OUT_MAX)
        );
        return Err(at.wrong("[clients] session_queue_out", Size(session_queue_out), allowed));
    }
    let handshake_timeout = raw.handshake_timeout.map_or(DEFAULT_HANDSHAKE_TIMEOUT, |span| span.0);
    if !HANDSHAKE_TIMEOUT.contains(&handshake_timeout) {
        let allowed = format!("{} to {}", Span(*HANDSHAKE_TIMEOUT.start()), Span(*HANDSHAKE_TIMEOUT.end()));
        return Err(at.wrong("[clients] handshake_timeout", Span(handshake_timeout), allowed));
    }
    Ok(Clients {
        socket,
        socket_is_default: raw.socket.is_none(),
        socket_mode: raw.socket_mode.unwrap_or(DEFAULT_SOCKET_MODE),
        tcp: raw.tcp,
        session_queue_out,
        handshake_timeout,
    })
}

pub(super) fn socket_path(key: &str, socket: &Path, at: &Origin<'_>) -> Result<(), ConfigError> {
    let length = socket.as_os_str().len();
    if length > SOCKET_PATH_MAX {
        let allowed = format!(
            "{length} bytes, but the path of a unix socket has at most {SOCKET_PATH_MAX}: use a shorter one"
        );
        return Err(at.wrong(key, socket.display(), allowed));
    }
    if socket.file_name().is_none() {
        return Err(at.wrong(key, socket.display(), "must name a file, for example \"a.sock\""));
    }
    Ok(())
}

fn membership(
    raw: &RawMembership,
    clients: &RawClients,
    at: &Origin<'_>,
) -> Result<stentor_membership::Config, ConfigError> {
    let default = stentor_membership::Config::default();
    let span = |raw: Option<Span>, default| raw.map_or(default, |span| span.0);
    let size = |raw: Option<Size>, default| raw.map_or(default, |size| size.0);
    let config = stentor_membership::Config {
        heartbeat: span(raw.heartbeat, default.heartbeat),
        suspect_after_min: span(raw.suspect_after_min, default.suspect_after_min),
        suspect_after_max: span(raw.suspect_after_max, default.suspect_after_max),
        window: size(raw.window, default.window),
        session_queue: size(raw.session_queue, default.session_queue),
        max_message: size(raw.max_message, default.max_message),
        frame: size(raw.frame, default.frame),
        max_sessions: clients.max_sessions.unwrap_or(default.max_sessions),
        max_groups: clients.max_groups.unwrap_or(default.max_groups),
        require_primary: raw.require_primary.unwrap_or(default.require_primary),
        ..default
    };
    config.check().map_err(|e| {
        let table = if matches!(e.key, "max_sessions" | "max_groups") { "clients" } else { "membership" };
        at.wrong(&format!("[{table}] {}", e.key), e.value, e.allowed)
    })?;
    if config.suspect_after_max > Duration::from_secs(3600) {
        let value = Span(config.suspect_after_max);
        return Err(at.wrong("[membership] suspect_after_max", value, "at most 1h"));
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        name = "a"
        listen = "127.0.0.1:4810"
        [daemons]
        a = "127.0.0.1:4810"
        b = "b.example.org:4810"
        [tls]
        ca = "ca.pem"
        certificate = "/keys/a.pem"
        key = "a.key"
        [clients]
        socket = "a.sock"
        [membership]
    "#;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("/etc/stentor/a.toml"))
    }

    /// The good configuration with a piece replaced.
    fn with(old: &str, new: &str) -> String {
        assert!(GOOD.contains(old), "{old}");
        GOOD.replacen(old, new, 1)
    }

    /// The error for a configuration contains all of `texts`, and always the file.
    fn refused(text: &str, texts: &[&str]) {
        let error = parse(text).unwrap_err().to_string();
        for expected in texts.iter().chain(&["/etc/stentor/a.toml"]) {
            assert!(error.contains(expected), "{error:?} does not contain {expected:?}");
        }
    }

    #[test]
    fn paths_are_relative_to_the_file_and_defaults_fill_the_rest() {
        let config = parse(GOOD).unwrap();
        let network = config.network.unwrap();
        assert_eq!(network.tls.ca, Path::new("/etc/stentor/ca.pem"));
        assert_eq!(network.tls.certificate, Path::new("/keys/a.pem"));
        assert_eq!(config.clients.socket, Path::new("/etc/stentor/a.sock"));
        assert_eq!(config.cluster.as_str(), "stentor");
        let names: Vec<_> = config.membership.daemons.iter().map(DaemonName::as_str).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(config.membership.window, stentor_membership::Config::default().window);
    }

    #[test]
    fn a_daemon_alone_needs_nothing() {
        let config = Config::alone().unwrap();
        assert!(config.network.is_none() && config.clients.socket_is_default);
        assert_eq!(config.membership.daemons, [config.name]);
        assert_eq!(parse("").unwrap(), config);
        assert_eq!(parse("name = \"x\"").unwrap().name.as_str(), "x");
    }

    #[test]
    fn what_is_printed_reads_back_to_the_same() {
        for text in [GOOD, "", &with("[clients]", "[clients]\ntcp = \"[::1]:4800\"\nsocket_mode = \"0600\"")]
        {
            let config = parse(text).unwrap();
            let mut again = parse(&config.to_toml().unwrap()).unwrap();
            // The path is now written down, so its directory is the user's affair.
            again.clients.socket_is_default = config.clients.socket_is_default;
            assert_eq!(again, config);
        }
    }

    #[test]
    fn the_own_address_is_where_to_listen_unless_it_is_a_name() {
        let silent = with("listen = \"127.0.0.1:4810\"", "");
        assert_eq!(parse(&silent).unwrap().network.unwrap().listen, "127.0.0.1:4810".parse().unwrap());
        let named = silent.replace("a = \"127.0.0.1:4810\"", "a = \"a.example.org:4810\"");
        refused(&named, &["listen = (missing)", "a.example.org", "0.0.0.0:4810"]);
    }

    #[test]
    fn each_mistake_names_the_key_the_value_and_what_is_allowed() {
        refused("nonsense", &["line 1"]);
        refused(&with("name =", "nam ="), &["nam", "expected one of", "`name`"]);
        refused(&with("[membership]", "[membership]\nhartbeat = \"1s\""), &["hartbeat", "`heartbeat`"]);
        refused(&with("name = \"a\"", "name = \"A\""), &["daemon name", "A", "a-z"]);
        refused(&with("name = \"a\"", "name = \"c\""), &["name = c", "a, b"]);
        refused(&with("name = \"a\"", ""), &["name = (missing)", "a, b"]);
        refused(&with("listen =", "cluster = \"ä\"\nlisten ="), &["cluster", "ä", "a-z"]);
        refused(&with("127.0.0.1:4810", "localhost:4810"), &["listen", "socket address"]);
        refused(&with("127.0.0.1:4810", "127.0.0.1:0"), &["listen = 127.0.0.1:0", "1 to 65535"]);
        refused(&with("b.example.org:4810", "b.example.org"), &["b.example.org", "no port", "host:port"]);
        refused(&with("b.example.org:4810", "0.0.0.0:4810"), &["b = ", "0.0.0.0:4810", "others reach"]);
        refused(&with("b =", "a ="), &["duplicate key"]);
        refused(&with("b.example.org:4810", "127.0.0.1:4810"), &["[daemons] b", "a has the same address"]);
        refused(&with("b =", "b- ="), &["daemon name", "b-", "not ending in '-'"]);
        refused(&with("key = \"a.key\"", ""), &["tls", "missing field `key`"]);
        let no_tls = GOOD.replace("[tls]", "#").replace("ca =", "#").replace("certificate =", "#");
        refused(&no_tls.replace("key =", "#"), &["[tls] = (missing)", "stentor init"]);
    }

    #[test]
    fn settings_without_a_use_are_mistakes_too() {
        refused("listen = \"127.0.0.1:4810\"", &["listen = 127.0.0.1:4810", "list [daemons]"]);
        refused("[tls]\nca = \"a\"\ncertificate = \"b\"\nkey = \"c\"", &["[tls] ca", "list [daemons]"]);
    }

    #[test]
    fn the_doors_for_programs_are_checked() {
        let clients = |line: &str| with("socket = \"a.sock\"", line);
        refused(
            &clients("tcp = \"0.0.0.0:4800\""),
            &["[clients] tcp = 0.0.0.0:4800", "loopback", "encrypted"],
        );
        refused(&clients("tcp = \"127.0.0.1:0\""), &["[clients] tcp = 127.0.0.1:0", "1 to 65535"]);
        refused(&clients("socket_mode = \"rw\""), &["rw", "octal", "0660"]);
        refused(
            &clients(&format!("socket = \"{}\"", "x".repeat(100))),
            &["[clients] socket", "113 bytes", "107"],
        );
        refused(&clients("socket = \"/\""), &["[clients] socket = /", "must name a file"]);
        refused(&clients("session_queue_out = \"1MiB\""), &["session_queue_out = 1MiB", "16448KiB", "16GiB"]);
        refused(&clients("session_queue_out = 5"), &["session_queue_out", "8MiB"]);
        refused(&clients("handshake_timeout = \"1ms\""), &["handshake_timeout = 1ms", "100ms to 10m"]);
        refused(&clients("max_sessions = 0"), &["[clients] max_sessions = 0", "1 to 1000000"]);
        refused(&clients("max_groups = 0"), &["[clients] max_groups = 0", "1 to 10000000"]);
    }

    #[test]
    fn the_protocol_settings_are_checked() {
        let membership = |line: &str| with("[membership]", &format!("[membership]\n{line}"));
        refused(&membership("heartbeat = \"fast\""), &["heartbeat", "fast", "200ms"]);
        refused(&membership("heartbeat = \"0ms\""), &["[membership] heartbeat", "at least 1ms"]);
        refused(&membership("suspect_after_min = \"150ms\""), &["suspect_after_min", "twice the heartbeat"]);
        refused(&membership("suspect_after_max = \"1day\""), &["suspect_after_max = 1day", "at most 1h"]);
        refused(&membership("window = \"1KiB\""), &["[membership] window = 1024", "64 KiB"]);
        refused(&membership("max_message = \"8GiB\""), &["[membership] max_message", "1 KiB"]);
        refused(&membership("frame = \"3 apples\""), &["frame", "3 apples", "8MiB"]);
        refused(&membership("require_primary = 1"), &["require_primary", "boolean"]);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let error = Config::load(Path::new("/nowhere/a.toml")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/a.toml") && error.contains("No such file"), "{error}");
    }
}
