//! The commented configuration that `stentor init` writes. Every optional key stands in it with its default.

use stentor_membership::DaemonName;

use super::ClusterName;
use crate::cli::init::DaemonAt;

/// The configuration of daemon `name` in a cluster of `daemons`, with its files beside it.
pub(crate) fn render(name: DaemonName, cluster: &ClusterName, daemons: &[DaemonAt]) -> String {
    let own = daemons.iter().find(|daemon| daemon.name == name);
    let listen = own.map(listen).unwrap_or_default();
    let width = daemons.iter().map(|daemon| daemon.name.as_str().len()).max().unwrap_or_default();
    let list: String =
        daemons.iter().map(|d| format!("{:width$} = \"{}\"\n", d.name.as_str(), d.address)).collect();
    let values = [
        ("@NAME@", name.as_str()),
        ("@CLUSTER@", cluster.as_str()),
        ("@LISTEN@", &listen),
        ("@DAEMONS@\n", &list),
    ];
    values.into_iter().fold(TEMPLATE.to_owned(), |text, (mark, value)| text.replace(mark, value))
}

/// Where to listen so that peers reach the daemon at its address.
fn listen(daemon: &DaemonAt) -> String {
    if daemon.address.host.parse::<std::net::IpAddr>().is_ok() {
        daemon.address.to_string()
    } else {
        format!("0.0.0.0:{}", daemon.address.port)
    }
}

const TEMPLATE: &str = r#"# The configuration of the Stentor daemon @NAME@.
#
# Keys behind a single '#' are optional; they stand here with their defaults. Relative paths start at the directory of
# this file. Check a change with `stentor daemon --config FILE --check-config`; it takes effect at the next start.

# Which of [daemons] this one is.
name = "@NAME@"

# The cluster: daemons with another cluster name are refused.
cluster = "@CLUSTER@"

# The UDP socket for all peers. Behind address translation it differs from the address in [daemons].
listen = "@LISTEN@"

# All daemons of the cluster and where they are reached, the same on each. A majority is counted from this list.
[daemons]
@DAEMONS@

# Daemons prove to each other that the cluster's authority signed them.
[tls]
ca = "ca.pem"
certificate = "@NAME@.pem"
key = "@NAME@.key"

# The doors for programs on this machine.
[clients]
socket = "@NAME@.sock"

# Who may connect: permissions of the socket file.
#socket_mode = "0660"

# A TCP socket for programs that cannot use the unix socket; loopback only, everybody on this machine may connect.
#tcp = "127.0.0.1:4800"

# Bytes that may wait for a program that reads too slowly; beyond it the program is cut off and told so.
#session_queue_out = "64MiB"

# The most programs at a time.
#max_sessions = 10000

# The most groups that one program may be in at a time.
#max_groups = 100000

# How long a new connection may take to introduce itself.
#handshake_timeout = "10s"

# A door for programs of the Spread toolkit, which then run unchanged; off without a place to listen. SPREAD.md tells more.
[spread]

# Where they are let in. Addresses that other machines reach need more than the method NULL.
#listen = ["127.0.0.1:4803", "unix:/tmp/4803"]

# Who may connect by the unix socket: permissions of the socket file.
#socket_mode = "0666"

# The methods that a program may choose to prove who it is: NULL, IP, PWORD.
#auth = ["NULL"]

# The methods that every program must pass as well.
#require = []

# Whom the method IP lets in: "unix", "local", addresses and networks like "10.0.0.0/8".
#allow_from = []

# For the method PWORD: passwords = "spread.passwords", a file of lines as `stentor spread-password USER` prints them.

# The protocol. All daemons should have the same settings; nothing breaks if they differ.
[membership]

# How often a sign of life goes to each peer.
#heartbeat = "100ms"

# A silent peer is suspected after a time that adapts to the rhythm of its signs of life, within these bounds.
# Lower is faster to notice a crash, higher forgives longer pauses of a busy machine.
#suspect_after_min = "500ms"
#suspect_after_max = "5s"

# Bytes on their way that not every daemon has confirmed; at the bound, senders wait. Each daemon may cost every other
# one this much memory. While somebody sends messages that fit a frame, larger ones leave most of it free for them.
#window = "8MiB"

# Bytes that one program may have waiting to be sent; at the bound, it waits.
#session_queue = "1MiB"

# The largest message, destinations included.
#max_message = "16MiB"

# The frames between daemons; larger messages are split.
#frame = "64KiB"

# true: a part of the cluster without a majority refuses ordered messages. false: it goes on by itself.
#require_primary = false
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, RawConfig};

    fn example() -> String {
        let daemons: Vec<DaemonAt> =
            ["a=10.0.0.1:4810", "b=10.0.0.2:4810", "c=c.example.org:4810"].map(|d| d.parse().unwrap()).into();
        render(daemons[0].name, &"stentor".parse().unwrap(), &daemons)
    }

    #[test]
    fn the_example_file_is_what_init_writes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/stentor.example.toml");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, example()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), example(), "run the test with UPDATE=1");
    }

    #[test]
    fn what_is_commented_out_is_the_default() {
        let stated: String = example()
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => format!("{key}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let read = |text: &str| Config::parse(text, "/etc/stentor/a.toml".as_ref()).unwrap();
        let (silent, mut stated_config) = (read(&example()), read(&stated));
        // The doors that are shut by default.
        assert_eq!(stated_config.clients.tcp.take(), Some("127.0.0.1:4800".parse().unwrap()));
        assert!(stated_config.spread.take().is_some());
        assert_eq!(silent, stated_config);

        // And no key is missing from the file.
        let keys = |value: &toml::Value| -> Vec<String> {
            let table = value.as_table().unwrap();
            table
                .iter()
                .filter(|(name, _)| *name != "daemons")
                .flat_map(|(name, value)| match value.as_table() {
                    Some(inner) => inner.keys().map(|key| format!("{name}.{key}")).collect(),
                    None => vec![name.clone()],
                })
                .collect()
        };
        let written: toml::Value = toml::from_str(&stated).unwrap();
        let mut all = silent;
        all.clients.tcp = Some("127.0.0.1:4800".parse().unwrap());
        all.spread = read(&stated).spread;
        let effective: toml::Value = toml::from_str(&all.to_toml().unwrap()).unwrap();
        assert_eq!(keys(&written), keys(&effective));
        let _: RawConfig = toml::from_str(&stated).unwrap();
    }
}
