//! TCP sockets for programs that cannot use a unix socket.

use std::io;
use std::net::SocketAddr;

use socket2::SockRef;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tracing::warn;

/// Why there is no socket. The daemon does not start.
#[derive(Debug, Error)]
#[error("cannot listen on {key} {address}: {error}{}", hint(error))]
pub(crate) struct TcpError {
    key: &'static str,
    address: SocketAddr,
    error: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ": another program has the port: set another one",
        io::ErrorKind::AddrNotAvailable => ": this machine does not have the address: set another one",
        io::ErrorKind::PermissionDenied => ": ports below 1024 need privileges: set another one",
        _ => "",
    }
}

/// Opens the socket that the setting `key` wants. The configuration has made sure that it may have this address.
pub(crate) async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, TcpError> {
    TcpListener::bind(address).await.map_err(|error| TcpError { key, address, error })
}

/// Small messages go out at once, and a program whose machine is gone is noticed.
pub(crate) fn prepare(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        warn!(%error, "small messages may be late on this connection");
    }
    if let Err(error) = SockRef::from(stream).set_keepalive(true) {
        warn!(%error, "a program that is gone may keep this connection");
    }
}
