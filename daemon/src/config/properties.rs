//! Whatever is written in a configuration, it is read as something right, or refused with the reason.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::Config;

/// Keys with values around what is allowed, tables in the order in which they are written. The first of each are right.
const LINES: &[&[&str]] = &[
    &["name = \"a\"", "", "name = \"b\"", "name = \"A\"", "name = 7"],
    &["cluster = \"c.d_e-f\"", "", "cluster = \"\"", "cluster = \"a b\""],
    &["listen = \"127.0.0.1:4810\"", "", "listen = \"[::]:0\"", "listen = \"host:1\""],
    &["", "unknown = 1"],
    &[
        "[daemons]\na = \"h:1\"\nb = \"127.0.0.1:65535\"",
        "",
        "[daemons]\na = \"h:1\"\nb = \"h:1\"",
        "[daemons]\na = \"h\"",
    ],
    &["[tls]\nca = \"ca.pem\"\ncertificate = \"/c.pem\"\nkey = \"../k\"", "", "[tls]\nca = \"\"", "[tls]"],
    &["[clients]"],
    &["socket = \"s.sock\"", "", "socket = \"\"", "socket = \"/\"", "socket = \"relative/../s\""],
    &["socket_mode = \"600\"", "", "socket_mode = \"0o777\"", "socket_mode = \"1777\"", "socket_mode = 384"],
    &["tcp = \"127.0.0.1:4900\"", "", "tcp = \"[::1]:99\"", "tcp = \"0.0.0.0:1\""],
    &["session_queue_out = \"1GiB\"", "", "session_queue_out = \"16GiB\"", "session_queue_out = \"0B\""],
    &["max_sessions = 1", "", "max_sessions = 0", "max_sessions = 1000001", "max_sessions = -1"],
    &["max_groups = 10000000", "", "max_groups = 0", "max_groups = \"1\""],
    &["handshake_timeout = \"100ms\"", "", "handshake_timeout = \"0s\"", "handshake_timeout = \"1000y\""],
    &["[membership]"],
    &["heartbeat = \"1ms\"", "", "heartbeat = \"1us\"", "heartbeat = \"1000000000y\"", "heartbeat = \"\""],
    &["suspect_after_min = \"2ms\"", "", "suspect_after_min = \"1h\"", "suspect_after_min = 1"],
    &["suspect_after_max = \"10s\"", "", "suspect_after_max = \"1ns\"", "suspect_after_max = \"584y\""],
    &[
        "window = \"64KiB\"",
        "",
        "window = \"1GiB\"",
        "window = \"99999999999999999999GiB\"",
        "window = \"1 KiB\"",
    ],
    &["session_queue = \"1KiB\"", "", "session_queue = \"1B\""],
    &[
        "max_message = \"64MiB\"",
        "",
        "max_message = \"1KiB\"",
        "max_message = \"65MiB\"",
        "max_message = \"\u{e9}\"",
    ],
    &["frame = \"1KiB\"", "", "frame = \"1MiB\"", "frame = \"2MiB\""],
    &["require_primary = true", "", "require_primary = 1"],
];

fn plausible() -> impl Strategy<Value = String> {
    let lines: Vec<_> = LINES.iter().map(|choices| select(*choices)).collect();
    lines.prop_map(|lines| lines.join("\n"))
}

/// Mostly the first choices, which fit each other, so that one wrong value at a time is looked at as well.
fn nearly_right() -> impl Strategy<Value = String> {
    vec((0..LINES.len(), any::<prop::sample::Index>()), 0..3).prop_map(|changes| {
        let mut lines: Vec<&str> = LINES.iter().map(|choices| choices[0]).collect();
        for (at, choice) in changes {
            lines[at] = choice.get::<&str>(LINES[at]);
        }
        lines.join("\n")
    })
}

fn read(text: &str) -> Result<(), TestCaseError> {
    let path = Path::new("/etc/stentor/a.toml");
    match Config::parse(text, path) {
        Ok(mut config) => {
            prop_assert_eq!(config.membership.check(), Ok(()));
            let written = config.to_toml().unwrap();
            let again = Config::parse(&written, path).map_err(|e| TestCaseError::fail(e.to_string()))?;
            // What is written out is a choice.
            config.clients.socket_is_default = false;
            prop_assert_eq!(again, config, "read, written and read:\n{}", written);
        }
        Err(error) => {
            let reason = error.to_string();
            prop_assert!(reason.contains("/etc/stentor/a.toml"), "the file is named: {}", reason);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(bytes: Vec<u8>) {
        read(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn any_values_are_read_or_refused(text in plausible()) {
        read(&text)?;
    }

    #[test]
    fn few_wrong_values_are_read_or_refused(text in nearly_right()) {
        read(&text)?;
    }

    #[test]
    fn damaged_texts_are_read_or_refused(text in nearly_right(), at: prop::sample::Index, by: char) {
        let mut text: Vec<char> = text.chars().collect();
        let at = at.index(text.len());
        text[at] = by;
        read(&text.into_iter().collect::<String>())?;
    }
}

/// The properties say nothing if nothing is ever right.
#[test]
fn the_first_choices_are_right() {
    let text: Vec<_> = LINES.iter().map(|choices| choices[0]).collect();
    let config = Config::parse(&text.join("\n"), Path::new("/etc/stentor/a.toml")).unwrap();
    assert_eq!(config.network.map(|network| network.daemons.len()), Some(2));
}
