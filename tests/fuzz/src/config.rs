//! The configuration of a daemon, as people write it.

use std::path::Path;

use stentor::config::Config;

/// A text is read as a configuration that is written as something that reads back to the same, or refused with an error
/// that names the file.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let path = Path::new("/etc/stentor/a.toml");
    let again = |config: &Config| {
        let written = config.to_toml().unwrap();
        (Config::parse(&written, path).unwrap(), written)
    };
    match Config::parse(&text, path) {
        Ok(config) => {
            // What was left to the defaults is written out, and a choice from then on.
            let (chosen, written) = again(&config);
            assert_eq!(again(&chosen), (chosen, written), "read, written and read: {text:?}");
        }
        Err(error) => {
            let reason = error.to_string();
            assert!(reason.contains("/etc/stentor/a.toml"), "the file is not named: {reason}");
        }
    }
}
