//! The loopback TCP socket for programs that cannot use the unix socket.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;
use tokio::net::TcpListener;

/// Why there is no socket. The daemon does not start.
#[derive(Debug, Error)]
#[error("cannot listen on [clients] tcp {address}: {source}{}", hint(source))]
pub(crate) struct TcpError {
    address: SocketAddr,
    source: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ": another program has the port: set another one",
        io::ErrorKind::PermissionDenied => ": ports below 1024 need privileges: set another one",
        _ => "",
    }
}

/// Opens the socket. The configuration has made sure that it is a loopback address.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, TcpError> {
    TcpListener::bind(address).await.map_err(|source| TcpError { address, source })
}
