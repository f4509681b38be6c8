//! Names and addresses, as people and programs write them.

use stentor_client::Address;
use stentor_membership::{DaemonName, GroupName, MemberName, SessionName, Target};

/// What is taken as a name or an address is written as it was read, or as something that means the same.
pub fn texts(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    again::<DaemonName>(&text);
    again::<GroupName>(&text);
    again::<SessionName>(&text);
    again::<MemberName>(&text);
    again::<Address>(&text);
    let _ = Target::parse(&text);
}

fn again<T: std::str::FromStr + ToString + PartialEq + std::fmt::Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let again = value.to_string().parse::<T>().ok();
        assert_eq!(again, Some(value), "read, written and read: {text:?}");
    }
}
