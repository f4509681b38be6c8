//! The unix socket: making it, replacing one that a dead daemon left, and removing it at the end.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};

/// Why there is no socket. The daemon does not start.
#[derive(Debug, Error)]
pub(crate) enum SocketError {
    #[error("another daemon is listening on {}: stop it, or set another {key}", path.display())]
    InUse { key: &'static str, path: PathBuf },
    #[error(
        "{} exists and is not a socket, so it is not removed: move it away, or set another {key}",
        path.display()
    )]
    NotASocket { key: &'static str, path: PathBuf },
    #[error("cannot use the socket {}: {error}{}", path.display(), hint(path, error))]
    Io { path: PathBuf, error: io::Error },
}

fn hint(path: &Path, error: &io::Error) -> String {
    let directory = path.parent().unwrap_or_else(|| Path::new("/")).display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!(": this user must be able to read and write the directory {directory}")
        }
        io::ErrorKind::NotFound => format!(": the directory {directory} must exist; make it first"),
        io::ErrorKind::NotADirectory => format!(": {directory} is no directory"),
        _ => String::new(),
    }
}

/// A listening socket whose file goes away with it.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) listener: UnixListener,
    pub(crate) file: SocketFile,
}

/// The file of a socket.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode: only the own file is removed.
    identity: Option<(u64, u64)>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // It is of no use to anybody, and the next daemon replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// How long a daemon that holds the socket may take to show that it lives.
const PROBE: Duration = Duration::from_secs(2);

/// Opens the socket at `path`, which the setting `key` wants, with permissions `mode`; with `make_directory`, makes its
/// directory if need be.
pub(crate) async fn bind(
    key: &'static str,
    path: &Path,
    mode: u32,
    make_directory: bool,
) -> Result<Socket, SocketError> {
    let failed = |error| SocketError::Io { path: path.to_owned(), error };
    if let Some(directory) = path.parent().filter(|_| make_directory) {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(failed)?;
    }
    clear(key, path).await?;
    let listener = UnixListener::bind(path).map_err(failed)?;
    let file = SocketFile { path: path.to_owned(), identity: identity(path) };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
    Ok(Socket { listener, file })
}

/// Finds what would keep [`bind`] from opening the socket, as far as it can be known without doing it. Another daemon that
/// listens there is no obstacle: it may be the one that will be restarted.
pub(crate) fn check(key: &'static str, path: &Path, make_directory: bool) -> Result<(), SocketError> {
    let failed = |error| SocketError::Io { path: path.to_owned(), error };
    if let Some(directory) = path.parent().filter(|_| !make_directory)
        && !fs::metadata(directory).map_err(failed)?.is_dir()
    {
        return Err(failed(io::ErrorKind::NotADirectory.into()));
    }
    exists(key, path).map(|_| ())
}

/// Whether there is a socket at `path`, which the setting `key` wants.
///
/// # Errors
/// If there is something else, which stays there.
fn exists(key: &'static str, path: &Path) -> Result<bool, SocketError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(SocketError::Io { path: path.to_owned(), error }),
        Ok(meta) if meta.file_type().is_socket() => Ok(true),
        Ok(_) => Err(SocketError::NotASocket { key, path: path.to_owned() }),
    }
}

/// Removes what a dead daemon left at `path`.
async fn clear(key: &'static str, path: &Path) -> Result<(), SocketError> {
    let failed = |error| SocketError::Io { path: path.to_owned(), error };
    if !exists(key, path)? {
        return Ok(());
    }
    // Nobody listens on a stale socket. One whose queue is full keeps us waiting, so it is alive.
    match tokio::time::timeout(PROBE, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "replacing the socket of a daemon that is gone");
            fs::remove_file(path).map_err(failed)
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => Err(failed(error)),
        Ok(_) | Err(_) => Err(SocketError::InUse { key, path: path.to_owned() }),
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let socket = bind("[clients] socket", &path, 0o600, false).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let error = bind("[clients] socket", &path, 0o600, false).await.unwrap_err().to_string();
        assert!(error.contains("another daemon is listening"), "{error}");
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn only_sockets_are_removed_and_only_the_own_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        fs::write(&path, "precious").unwrap();
        let error = bind("[clients] socket", &path, 0o600, false).await.unwrap_err().to_string();
        assert!(error.contains("is not a socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();

        let socket = bind("[clients] socket", &path, 0o600, false).await.unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another's").unwrap();
        drop(socket);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_directory_is_made_only_for_the_default() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("not/there/s");
        let error = bind("[clients] socket", &path, 0o600, false).await.unwrap_err().to_string();
        assert!(error.contains("not/there must exist"), "{error}");
        bind("[clients] socket", &path, 0o600, true).await.unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = bind("[clients] socket", &file.join("s"), 0o600, false).await.unwrap_err().to_string();
        assert!(error.contains("is no directory"), "{error}");
    }
}
