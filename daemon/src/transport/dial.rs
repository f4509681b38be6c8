//! Keeping a link to a peer: dial, serve, and dial again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use stentor_membership::DaemonName;

use super::board::Severity;
use super::explain::{explain, severity};
use super::handshake;
use super::link::Established;
use super::quic::Context;
use super::tls::certificate_name;
use crate::config::units::HostPort;

/// The pause before dialling again, doubled after each failure.
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_millis(500);

/// A link that lasted this long was a good one: the next pause is short again.
const GOOD_LINK: Duration = Duration::from_secs(2);

/// How long one attempt may take. Short, because packets to a daemon that is just starting are lost, and a new
/// attempt reaches it sooner than the repetitions of an old one.
const ATTEMPT: Duration = Duration::from_secs(1);

/// How long a name server may take. The thread that asks it goes on until it gives up by itself.
const LOOK_UP: Duration = Duration::from_secs(5);

/// Every few attempts one is given more time, for slow machines and long paths.
const PATIENT_ATTEMPT: Duration = Duration::from_secs(5);
const PATIENT_EVERY: u32 = 4;

/// Dials `peer` and serves the link, over and over, until the transport stops.
pub(super) async fn keep_linked(context: Arc<Context>, peer: DaemonName, address: HostPort) {
    let mut back_off = BACK_OFF_MIN;
    let mut attempt: u32 = 0;
    loop {
        attempt = attempt.wrapping_add(1);
        let dialled = tokio::select! {
            dialled = dial(&context, peer, &address, attempt) => dialled,
            () = context.stop.cancelled() => return,
        };
        match dialled {
            Ok(established) => {
                let since = Instant::now();
                context.run(established).await;
                if since.elapsed() >= GOOD_LINK {
                    back_off = BACK_OFF_MIN;
                    attempt = 0;
                }
            }
            Err((severity, reason)) => {
                context.board.trouble(Some(peer), severity, format!("dialling {address}: {reason}"));
            }
        }
        // Spread, so that daemons that lost a peer together do not return together.
        let pause = back_off.mul_f64(rand::rng().random_range(0.5..1.5));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = context.stop.cancelled() => return,
        }
        back_off = (back_off * 2).min(BACK_OFF_MAX);
    }
}

async fn dial(
    context: &Context,
    peer: DaemonName,
    address: &HostPort,
    attempt: u32,
) -> Result<Established, (Severity, String)> {
    let remote = resolve(context, address, attempt).await.map_err(|text| (Severity::Passing, text))?;
    let config = context.client_config(remote);
    let connecting = context
        .endpoint
        .connect_with(config, remote, &certificate_name(peer))
        .map_err(|e| (Severity::Lasting, e.to_string()))?;
    let patience = if attempt.is_multiple_of(PATIENT_EVERY) { PATIENT_ATTEMPT } else { ATTEMPT };
    let connection = tokio::time::timeout(patience, connecting)
        .await
        .map_err(|_| (Severity::Passing, "no answer".to_owned()))?
        .map_err(|e| (severity(&e), explain(&e)))?;
    handshake::dialled(connection, peer, context).await.map_err(|e| (e.severity(), e.to_string()))
}

/// Looks the address up anew; of several addresses each attempt takes the next.
async fn resolve(context: &Context, address: &HostPort, attempt: u32) -> Result<SocketAddr, String> {
    let look_up = tokio::net::lookup_host((address.host.as_str(), address.port));
    let found = tokio::time::timeout(LOOK_UP, look_up)
        .await
        .map_err(|_| {
            format!("cannot look up {}: the name server does not answer within {LOOK_UP:?}", address.host)
        })?
        .map_err(|e| format!("cannot look up {}: {e}", address.host))?;
    let v4_only = context.endpoint.local_addr().is_ok_and(|own| own.is_ipv4());
    let usable: Vec<SocketAddr> = found.filter(|remote| remote.is_ipv4() || !v4_only).collect();
    let index = usize::try_from(attempt).unwrap_or_default().checked_rem(usable.len());
    index.and_then(|index| usable.get(index).copied()).ok_or_else(|| {
        format!("{} has no IPv4 address, and `listen` is one: listen on [::] for both", address.host)
    })
}
