//! From a configuration of Spread to one of Stentor: what can be said in it, and what has no counterpart.

mod conf;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;

use stentor_membership::DaemonName;

use self::conf::{Conf, Daemon, Setting};
use super::auth::{Method, Rules, Source};
use super::names::DAEMON_MAX;
use crate::cli::init::DaemonAt;
use crate::config::units::HostPort;
use crate::config::{ClusterName, Config, template};

/// The UDP port of daemons, unless several run on one machine. Spread's own stays free, so that both can run.
const PORT: u16 = 4810;

/// What to make of a configuration.
#[derive(Debug)]
pub(crate) struct Wish<'a> {
    /// The text of `spread.conf`.
    pub(crate) conf: &'a str,
    /// The text of `spread.access_ip`, if there is one.
    pub(crate) access_ip: Option<&'a str>,
    /// Which daemon's configuration is wanted, by its name in Spread or here; the first one's without.
    pub(crate) daemon: Option<&'a str>,
    pub(crate) cluster: &'a ClusterName,
}

/// The configuration of one daemon, with notes in front of it.
///
/// # Errors
/// Says what is wrong with the files.
pub(crate) fn translate(wish: &Wish<'_>) -> Result<String, String> {
    let conf = conf::parse(wish.conf)?;
    let mut notes = Notes::default();
    let daemons = daemons(&conf, &mut notes)?;
    let chosen = match wish.daemon {
        None => daemons.first(),
        Some(name) => daemons.iter().find(|d| d.old.as_deref() == Some(name) || d.at.name.as_str() == name),
    };
    let all = || daemons.iter().map(|d| d.at.name.as_str()).collect::<Vec<_>>().join(", ");
    let chosen = chosen
        .ok_or_else(|| format!("no daemon {:?}: there are {}", wish.daemon.unwrap_or_default(), all()))?;
    let auth = auth(&conf.settings, wish.access_ip, &mut notes)?;
    let listen = listen(chosen, &auth, &mut notes);
    conf.settings.iter().for_each(|setting| notes.setting(setting));

    let places: Vec<DaemonAt> = daemons.iter().map(|daemon| daemon.at.clone()).collect();
    let config = template::render(chosen.at.name, wish.cluster, &places);
    let values = [
        ("#listen = [", format!("listen = {}", quoted(&listen))),
        ("#auth = [", format!("auth = {}", quoted(&auth.allowed))),
        ("#require = [", format!("require = {}", quoted(&auth.required))),
        ("#allow_from = [", format!("allow_from = {}", quoted(&auth.allow_from))),
        ("# For the method PWORD: passwords", "passwords = \"spread.passwords\"".to_owned()),
    ];
    let needed = |key: &str| match key {
        "#allow_from = [" => !auth.allow_from.is_empty(),
        "# For the method PWORD: passwords" => auth.allowed.contains(&Method::Pword),
        _ => true,
    };
    let mut out = notes.text(wish, &places);
    for line in config.lines() {
        let value = values.iter().find(|(begin, _)| line.starts_with(begin) && needed(begin));
        let _ = writeln!(out, "{}", value.map_or(line, |(_, value)| value));
    }
    // What is printed can be used.
    Config::parse(&out, Path::new("imported.toml"))
        .map_err(|error| format!("this cannot be said here: {error}"))?;
    Ok(out)
}

fn quoted(values: &[impl ToString]) -> String {
    let values: Vec<_> = values.iter().map(|value| format!("{:?}", value.to_string())).collect();
    format!("[{}]", values.join(", "))
}

/// A daemon as it is called and reached here.
struct Imported {
    at: DaemonAt,
    /// Its name in Spread.
    old: Option<String>,
    port: u16,
    for_clients: Vec<IpAddr>,
}

fn daemons(conf: &Conf, notes: &mut Notes) -> Result<Vec<Imported>, String> {
    let (mut names, mut places) = (BTreeSet::new(), BTreeSet::new());
    let mut imported = Vec::new();
    for segment in &conf.segments {
        for daemon in &segment.daemons {
            let host = daemon.host.clone().or_else(|| daemon.name.clone()).unwrap_or_default();
            let name = name(daemon, &host, &mut names, notes)?;
            let mut addresses = (PORT..=u16::MAX).map(|port| HostPort { host: host.clone(), port });
            let address = addresses.find(|address| !places.contains(address));
            let address =
                address.ok_or_else(|| format!("line {}: no port is left at {host}", daemon.line))?;
            // Only what can be written is a host.
            let address: HostPort =
                address.to_string().parse().map_err(|error| format!("line {}: {error}", daemon.line))?;
            places.insert(address.clone());
            for extra in &daemon.extras {
                notes
                    .add(format!("{name}: {extra}: daemons have one address, and their names are their ids"));
            }
            let (old, for_clients) = (daemon.name.clone(), daemon.for_clients.clone());
            imported.push(Imported { at: DaemonAt { name, address }, old, port: segment.port, for_clients });
        }
    }
    Ok(imported)
}

/// A name that is allowed here, as near to Spread's as can be.
fn name(
    daemon: &Daemon,
    host: &str,
    taken: &mut BTreeSet<DaemonName>,
    notes: &mut Notes,
) -> Result<DaemonName, String> {
    let old = daemon.name.as_deref();
    let base: String = old.map_or_else(|| format!("host-{host}"), str::to_owned);
    let legal = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' };
    let base: String = base.chars().map(legal).collect();
    let base = base.trim_matches(['-', '_']);
    let fits = |suffix: String| {
        let cut: String = base.chars().take(DAEMON_MAX - suffix.len()).collect();
        format!("{}{suffix}", cut.trim_end_matches(['-', '_']))
    };
    let candidates =
        std::iter::once(fits(String::new())).chain((2..1000).map(|number| fits(format!("-{number}"))));
    let free = |text: String| DaemonName::new(&text).ok().filter(|name| !taken.contains(name));
    let name = candidates.into_iter().find_map(free);
    let name = name.ok_or_else(|| format!("line {}: no daemon name can be made of {base:?}", daemon.line))?;
    taken.insert(name);
    match old {
        Some(old) if old == name.as_str() => {}
        Some(old) => notes.add(format!(
            "daemon {old:?} is called {name} here: names have a-z, 0-9, '-' and '_'. Private groups end in #{name}"
        )),
        None => notes.add(format!("daemon {host} has no name of its own: it is called {name}")),
    }
    Ok(name)
}

/// Who may come in.
fn auth(settings: &[Setting], access_ip: Option<&str>, notes: &mut Notes) -> Result<Rules, String> {
    let mut methods = |key: &str| -> Option<Vec<Method>> {
        let setting = settings.iter().rev().find(|setting| setting.key.eq_ignore_ascii_case(key))?;
        let mut methods = Vec::new();
        for word in setting.value.as_deref().unwrap_or_default().split_whitespace() {
            match word.parse() {
                Ok(method) if methods.contains(&method) => {}
                Ok(method) => methods.push(method),
                Err(_) => notes.add(format!("{key}: there is no method {word}")),
            }
        }
        Some(methods)
    };
    let (allowed, required) = (methods("AllowedAuthMethods"), methods("RequiredAuthMethods"));
    // Whoever says either does not get NULL by default.
    let default = if required.is_some() { Vec::new() } else { vec![Method::Null] };
    let (mut allowed, required) = (allowed.unwrap_or(default), required.unwrap_or_default());
    if required.contains(&Method::Pword) && !allowed.contains(&Method::Pword) {
        allowed.push(Method::Pword);
    }
    let uses = |method| allowed.contains(&method) || required.contains(&method);
    let allow_from = match (uses(Method::Ip), access_ip) {
        (false, _) => Vec::new(),
        (true, Some(text)) => sources(text)?,
        (true, None) => {
            notes.add(
                "IP: allow_from holds nobody but this machine: give the file spread.access_ip with --access-ip".to_owned(),
            );
            vec![Source::Unix, Source::Local]
        }
    };
    if uses(Method::Pword) {
        notes.add(
            "PWORD: the hashes of spread.access_pword cannot be used: make the file spread.passwords with `stentor \
             spread-password USER`"
                .to_owned(),
        );
    }
    Ok(Rules { allowed, required, allow_from })
}

fn sources(text: &str) -> Result<Vec<Source>, String> {
    let lines = text.lines().enumerate();
    let lines = lines.map(|(at, line)| (at, line.split('#').next().unwrap_or_default().trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty());
    lines
        .map(|(at, line)| line.parse().map_err(|error| format!("access file, line {}: {error}", at + 1)))
        .collect()
}

/// Where clients are let in.
fn listen(daemon: &Imported, auth: &Rules, notes: &mut Notes) -> Vec<String> {
    let port = daemon.port;
    let (local, far): (Vec<IpAddr>, Vec<IpAddr>) =
        daemon.for_clients.iter().copied().partition(IpAddr::is_loopback);
    let at = |address: IpAddr| std::net::SocketAddr::from((address, port)).to_string();
    let mut places: Vec<String> = local.into_iter().map(at).collect();
    let everywhere = daemon.for_clients.is_empty();
    if auth.guards() {
        places.extend(far.iter().copied().map(at));
        if everywhere {
            places.push(format!("0.0.0.0:{port}"));
        }
    } else {
        if places.is_empty() {
            places.push(format!("127.0.0.1:{port}"));
        }
        if everywhere || !far.is_empty() {
            notes.add(format!(
                "programs on other machines are not let in, because NULL asks for nothing: to let them in, set [spread] \
                 listen = [\"0.0.0.0:{port}\", ..], require = [\"IP\"] and allow_from"
            ));
        }
    }
    places.push(format!("unix:/tmp/{port}"));
    places
}

/// What has to be said beside the configuration.
#[derive(Debug, Default)]
struct Notes(Vec<String>);

impl Notes {
    fn add(&mut self, note: String) {
        if !self.0.contains(&note) {
            self.0.push(note);
        }
    }

    /// Says what became of a directive, if it is not in the configuration.
    fn setting(&mut self, setting: &Setting) {
        let known = |keys: &[&str]| keys.iter().any(|key| setting.key.eq_ignore_ascii_case(key));
        let why = if known(&["AllowedAuthMethods", "RequiredAuthMethods"]) {
            return;
        } else if known(&["MaxSessionMessages"]) {
            "the bound is in bytes: [clients] session_queue_out"
        } else if known(&[
            "TokenTimeout",
            "HurryTimeout",
            "AliveTimeout",
            "JoinTimeout",
            "RepTimeout",
            "SegTimeout",
            "GatherTimeout",
            "FormTimeout",
            "LookupTimeout",
            "WideAreaNetwork",
        ]) {
            "there is no token: failure detection adapts within [membership] suspect_after_min and _max"
        } else if known(&["Window", "PersonalWindow", "AcceleratedRing", "AcceleratedWindow"]) {
            "there is no ring: [membership] window bounds the bytes on their way"
        } else if known(&[
            "DebugFlags",
            "EventPriority",
            "EventLogFile",
            "EventTimeStamp",
            "EventPreciseTimeStamp",
        ]) {
            "the log goes to standard error: `stentor daemon --log LEVEL`, --log-json"
        } else if known(&["DangerousMonitor"]) {
            "there is no monitor: `stentor status`, and changes of the configuration by a restart"
        } else if known(&["DaemonUser", "DaemonGroup", "RuntimeDir"]) {
            "start the daemon as the user that it is to run as"
        } else if known(&[
            "SocketPortReuse",
            "ActiveIPVersion",
            "ExcludeSegAddrsFromHash",
            "IgnoreMulticastJoinErrors",
        ]) {
            "not needed: each daemon has one UDP address, IPv4 or IPv6, and no multicast is used"
        } else if known(&["AccessControlPolicy"]) {
            if setting.value.as_deref() == Some("PERMIT") {
                return;
            }
            "policies other than PERMIT are code in Spread: none of them is known here"
        } else {
            "this directive is not known"
        };
        let value = setting.value.as_ref().map(|value| format!(" = {value}")).unwrap_or_default();
        self.add(format!("line {}, {}{value}: {why}", setting.line, setting.key));
    }

    fn text(&self, wish: &Wish<'_>, daemons: &[DaemonAt]) -> String {
        let mut out = String::from(
            "# Made from a configuration of Spread.\n#\n# Keys and certificates of the cluster:\n#   stentor init DIR",
        );
        if *wish.cluster != ClusterName::default() {
            let _ = write!(out, " --cluster {}", wish.cluster);
        }
        for daemon in daemons {
            let _ = write!(out, " \\\n#     --daemon {}={}", daemon.name, daemon.address);
        }
        out.push_str(
            "\n# Then put each daemon's file in place of DIR/NAME.toml:\n\
             #   stentor import-spread FILE --daemon NAME > DIR/NAME.toml\n#\n",
        );
        if !self.0.is_empty() {
            out.push_str("# What has no counterpart, or is different:\n");
        }
        for note in &self.0 {
            // A note stays a comment whatever the file says.
            let _ = writeln!(out, "# - {}", note.replace(['\n', '\r'], " "));
        }
        out.push('\n');
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = "Spread_Segment 10.0.0.255:4803 {\n one 10.0.0.1\n Two.Example 10.0.0.2\n}\n\
                        Spread_Segment 10.1.0.255:4804 { 10.1.0.1 }\n";

    fn import(conf: &str, access_ip: Option<&str>, daemon: Option<&str>) -> Result<(String, Config), String> {
        let cluster = ClusterName::default();
        let text = translate(&Wish { conf, access_ip, daemon, cluster: &cluster })?;
        let config = Config::parse(&text, Path::new("/etc/stentor/x.toml")).unwrap();
        Ok((text, config))
    }

    #[test]
    fn daemons_and_doors_are_taken_over() {
        let (text, config) = import(CONF, None, None).unwrap();
        let network = config.network.unwrap();
        let daemons: Vec<_> = network.daemons.iter().map(|(name, at)| format!("{name}={at}")).collect();
        assert_eq!(
            daemons,
            ["host-10-1-0-1=10.1.0.1:4810", "one=10.0.0.1:4810", "two-example=10.0.0.2:4810"]
        );
        assert_eq!((config.name.as_str(), network.listen.to_string().as_str()), ("one", "10.0.0.1:4810"));
        let spread = config.spread.unwrap();
        let places: Vec<_> = spread.listen.iter().map(ToString::to_string).collect();
        assert_eq!(places, ["127.0.0.1:4803", "unix:/tmp/4803"]);
        for expected in [
            "\"Two.Example\" is called two-example",
            "10.1.0.1 has no name",
            "--daemon two-example=10.0.0.2:4810",
            "NULL asks for nothing",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        for name in ["Two.Example", "two-example"] {
            assert_eq!(import(CONF, None, Some(name)).unwrap().1.name.as_str(), "two-example");
        }
        let error = import(CONF, None, Some("three")).unwrap_err();
        assert!(error.contains("three") && error.contains("one, two-example"), "{error}");
        let listen = import(CONF, None, Some("host-10-1-0-1")).unwrap().1.spread.unwrap().listen;
        assert!(listen[1].to_string() == "unix:/tmp/4804");
    }

    #[test]
    fn several_daemons_on_one_machine_get_a_port_each() {
        let conf =
            "Spread_Segment 127.0.0.255 { a 127.0.0.1 }\nSpread_Segment 127.0.0.254:4903 { A 127.0.0.1 }";
        let daemons = import(conf, None, None).unwrap().1.network.unwrap().daemons;
        let daemons: Vec<_> = daemons.iter().map(|(name, at)| format!("{name}={at}")).collect();
        assert_eq!(daemons, ["a=127.0.0.1:4810", "a-2=127.0.0.1:4811"]);
        let long = format!("Spread_Segment 127.0.0.255 {{ {} 127.0.0.1 }}", "n".repeat(25));
        assert_eq!(import(&long, None, None).unwrap().1.name.as_str().len(), DAEMON_MAX);
    }

    #[test]
    fn methods_are_taken_over_with_what_they_need() {
        let conf = format!("{CONF}RequiredAuthMethods = \"IP\"\nAllowedAuthMethods = \"NULL IP\"\n");
        let (text, config) = import(&conf, None, None).unwrap();
        let spread = config.spread.unwrap();
        assert_eq!(spread.rules.allow_from, [Source::Unix, Source::Local]);
        assert!(text.contains("--access-ip") && spread.listen[0].to_string() == "0.0.0.0:4803", "{text}");
        let access = "# who\nlocal\n10.0.0.0/8 # all of us\n";
        let rules = import(&conf, Some(access), None).unwrap().1.spread.unwrap().rules;
        assert_eq!(rules.allow_from.len(), 2);
        let error = import(&conf, Some("local\nhere\n"), None).unwrap_err();
        assert!(error.contains("line 2") && error.contains("here"), "{error}");

        let conf = format!("{CONF}RequiredAuthMethods = \"PWORD\"\nAllowedAuthMethods = \"NULL KERBEROS\"\n");
        let (text, config) = import(&conf, None, None).unwrap();
        let spread = config.spread.unwrap();
        assert_eq!(spread.rules.allowed, [Method::Null, Method::Pword]);
        assert_eq!(spread.passwords.unwrap(), Path::new("/etc/stentor/spread.passwords"));
        assert!(text.contains("KERBEROS") && text.contains("spread-password"), "{text}");
    }

    #[test]
    fn every_directive_that_has_no_counterpart_is_named() {
        let directives = [
            "MaxSessionMessages = 5000",
            "TokenTimeout = 5000",
            "Window = 160",
            "AcceleratedRing = true",
            "DebugFlags = { PRINT EXIT }",
            "EventLogFile = \"x.log\"",
            "EventTimeStamp",
            "DangerousMonitor = true",
            "DaemonUser = spread",
            "SocketPortReuse = AUTO",
            "AccessControlPolicy = \"MINE\"",
            "Bogus = 1",
        ];
        let (text, _) = import(&format!("{CONF}{}", directives.join("\n")), None, None).unwrap();
        for (at, directive) in directives.iter().enumerate() {
            let key = directive.split(' ').next().unwrap();
            assert!(text.contains(&format!("line {}, {key}", at + 6)), "{key}: {text}");
        }
        let (text, _) = import(&format!("{CONF}AccessControlPolicy = PERMIT"), None, None).unwrap();
        assert!(!text.contains("PERMIT"));
    }
}
