//! What the end of a connection means, for people.

use quinn::ConnectionError;

use super::board::Severity;

/// Why a connection ended.
pub(crate) fn explain(error: &ConnectionError) -> String {
    match error {
        ConnectionError::TimedOut => "no answer".to_owned(),
        ConnectionError::Reset => {
            "the peer does not know it any more: it was restarted, or gave it up".to_owned()
        }
        ConnectionError::LocallyClosed => "closed by this daemon".to_owned(),
        ConnectionError::ApplicationClosed(close) => {
            let reason = String::from_utf8_lossy(&close.reason);
            // Only what can stand in one line of a log.
            let reason: String = reason.chars().filter(|c| !c.is_control()).take(300).collect();
            format!("the peer closed it: {reason}")
        }
        ConnectionError::ConnectionClosed(close) => match alert(u64::from(close.error_code)) {
            Some(alert) => {
                format!("the peer refused this daemon's side of the handshake: {}", alert_text(alert))
            }
            None => format!("the peer gave up: {close}"),
        },
        ConnectionError::TransportError(error) => match alert(u64::from(error.code)) {
            Some(_) => format!("the peer failed the handshake: {}", certificate_text(&error.reason)),
            None => error.to_string(),
        },
        ConnectionError::VersionMismatch => "it speaks no version of QUIC that this daemon knows".to_owned(),
        ConnectionError::CidsExhausted => "too many connections".to_owned(),
    }
}

/// Whether somebody should look at it.
pub(crate) fn severity(error: &ConnectionError) -> Severity {
    match error {
        ConnectionError::ConnectionClosed(close) if alert(u64::from(close.error_code)).is_some() => {
            Severity::Lasting
        }
        ConnectionError::TransportError(error) if alert(u64::from(error.code)).is_some() => Severity::Lasting,
        ConnectionError::ApplicationClosed(close)
            if close.error_code.into_inner() == super::link::Close::Refused as u64 =>
        {
            Severity::Lasting
        }
        ConnectionError::VersionMismatch => Severity::Lasting,
        ConnectionError::ApplicationClosed(_)
        | ConnectionError::CidsExhausted
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::LocallyClosed
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::TransportError(_) => Severity::Passing,
    }
}

/// The TLS alert in a QUIC error code (RFC 9001, 4.8).
fn alert(code: u64) -> Option<u64> {
    code.checked_sub(0x100).filter(|alert| *alert < 0x100)
}

fn alert_text(alert: u64) -> String {
    let text = match alert {
        42 | 43 | 46 => "it does not accept this daemon's certificate",
        45 => "this daemon's certificate has expired, by the peer's clock",
        // Unknown authority, or one of the same name with another key.
        48 | 51 => {
            "this daemon's certificate is not signed by the peer's authority: do both have the same [tls] ca?"
        }
        116 => "it wants a certificate and got none",
        120 => "it speaks another protocol, or another version of it",
        other => return format!("TLS alert {other}"),
    };
    text.to_owned()
}

fn certificate_text(reason: &str) -> String {
    let known = [
        (
            "UnknownIssuer",
            "its certificate is not signed by this cluster's authority: do both have the same [tls] ca?",
        ),
        (
            "BadSignature",
            "its certificate is not signed by this cluster's authority: do both have the same [tls] ca?",
        ),
        ("NotValidForName", "its certificate is that of another daemon: is its address right?"),
        ("not valid for name", "its certificate is that of another daemon: is its address right?"),
        ("expired", "its certificate has expired, by this daemon's clock"),
        ("Expired", "its certificate has expired, by this daemon's clock"),
        ("peer sent no certificates", "it showed no certificate"),
        ("NoCertificatesPresented", "it showed no certificate"),
    ];
    let found = known.iter().find(|(mark, _)| reason.contains(mark));
    found.map_or_else(|| reason.to_owned(), |(_, text)| format!("{text} ({reason})"))
}
