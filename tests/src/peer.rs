//! A daemon played by the test: it has a certificate, and says what it likes.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Serialize;
use stentor_membership::{DaemonId, DaemonName};

use crate::wait::PATIENCE;

/// The version of the protocol between daemons.
pub const VERSION: u16 = 1;

/// The first frame of a link, as daemons write it.
#[derive(Clone, Debug, Serialize)]
pub struct Hello {
    /// The cluster's name.
    pub cluster: String,
    /// Who speaks.
    pub daemon: DaemonId,
}

impl Hello {
    /// A right one for daemon `name` of a cluster with the usual name.
    ///
    /// # Errors
    /// If it is no name.
    pub fn of(name: &str) -> Result<Self> {
        let daemon = DaemonId { name: DaemonName::new(name)?, incarnation: 7 };
        Ok(Self { cluster: "stentor".to_owned(), daemon })
    }

    /// The frame, without its length, in some version.
    ///
    /// # Errors
    /// If it has no encoding.
    pub fn frame(&self, version: u16) -> Result<Vec<u8>> {
        let mut frame = version.to_le_bytes().to_vec();
        frame.extend(postcard::to_allocvec(self)?);
        Ok(frame)
    }
}

/// Who a peer pretends to be.
#[derive(Clone, Debug)]
pub struct Identity {
    config: ClientConfig,
}

impl Identity {
    /// With the certificate of `name` and the authority in `dir`; without a certificate if there is no name.
    ///
    /// # Errors
    /// If the files are not there.
    pub fn load(dir: &Path, name: Option<&str>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(dir.join("ca.pem")).context("no authority")?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots);
        let mut config = match name {
            Some(name) => {
                let certificate = CertificateDer::from_pem_file(dir.join(format!("{name}.pem")))?;
                let key = PrivateKeyDer::from_pem_file(dir.join(format!("{name}.key")))?;
                config.with_client_auth_cert(vec![certificate], key)?
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"stentor/1".to_vec()];
        let config = QuicClientConfig::try_from(config)?;
        Ok(Self { config: ClientConfig::new(Arc::new(config)) })
    }
}

/// A connection to a daemon, and the stream to it.
#[derive(Debug)]
pub struct Peer {
    // Keeps the socket.
    _endpoint: Endpoint,
    connection: Connection,
    stream: SendStream,
}

impl Peer {
    /// Dials `daemon`, and says nothing.
    ///
    /// # Errors
    /// If the daemon does not accept the connection.
    pub async fn dial(identity: &Identity, address: SocketAddr, daemon: &str) -> Result<Self> {
        let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
        let name = format!("{daemon}.stentor");
        let connecting = endpoint.connect_with(identity.config.clone(), address, &name)?;
        let connection = tokio::time::timeout(PATIENCE, connecting).await.context("no answer")??;
        let stream = tokio::time::timeout(PATIENCE, connection.open_uni()).await.context("no stream")??;
        Ok(Self { _endpoint: endpoint, connection, stream })
    }

    /// Dials `daemon`, and introduces itself as `name`, as it should be done.
    ///
    /// # Errors
    /// If the daemon does not take it for `name`.
    pub async fn link(identity: &Identity, address: SocketAddr, daemon: &str, name: &str) -> Result<Self> {
        let mut peer = Self::dial(identity, address, daemon).await?;
        peer.frame(&Hello::of(name)?.frame(VERSION)?).await?;
        // It answers once it agrees.
        let answer = tokio::time::timeout(PATIENCE, peer.connection.accept_uni()).await;
        let answer: RecvStream = answer.context("no answer to the introduction")??;
        tokio::spawn(read_on(answer));
        Ok(peer)
    }

    /// Sends bytes on the stream.
    ///
    /// # Errors
    /// If the daemon has closed the connection.
    pub async fn say(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Sends a frame with this content.
    ///
    /// # Errors
    /// If the daemon has closed the connection.
    pub async fn frame(&mut self, content: &[u8]) -> Result<()> {
        // At once: the daemon may end the connection for its length alone.
        self.say(&[&u32::try_from(content.len())?.to_le_bytes(), content].concat()).await
    }

    /// Ends the stream.
    pub fn end(&mut self) {
        // It may be over already.
        let _ = self.stream.finish();
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// If the daemon has closed the connection.
    pub fn datagram(&self, content: &[u8]) -> Result<()> {
        Ok(self.connection.send_datagram(content.to_vec().into())?)
    }

    /// Waits until the daemon closes the connection, and gives its reason.
    ///
    /// # Errors
    /// If it does not, or gives none.
    pub async fn refused(&self) -> Result<String> {
        let closed = tokio::time::timeout(PATIENCE, self.connection.closed()).await;
        match closed.context("the daemon keeps the connection open")? {
            ConnectionError::ApplicationClosed(close) => Ok(String::from_utf8_lossy(&close.reason).into()),
            other => bail!("{other}"),
        }
    }
}

/// Takes what the daemon sends, so that it is not held up.
async fn read_on(mut stream: RecvStream) {
    while matches!(stream.read_chunk(64 << 10, false).await, Ok(Some(_))) {}
}
