//! Proof of belonging: both ends of a link show a certificate that the cluster's own authority signed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, RootCertStore};
use stentor_membership::DaemonName;
use thiserror::Error;

use crate::config::TlsFiles;

/// The protocol between daemons, for TLS: other software, and releases with another handshake, are told apart early.
pub(crate) const ALPN: &[u8] = b"stentor/1";

/// The DNS name that a daemon's certificate carries.
pub(crate) fn certificate_name(daemon: DaemonName) -> String {
    format!("{daemon}.stentor")
}

/// What a daemon needs to prove who it is and to check who others are.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) server: Arc<QuicServerConfig>,
    pub(crate) client: Arc<QuicClientConfig>,
    /// Derived from the private key, so the same in every run of the daemon: a restarted daemon can tell its peers that it
    /// does not know their old connections.
    pub(crate) reset_key: Arc<ring::hmac::Key>,
    /// Marks this daemon's connection ids, likewise.
    pub(crate) id_key: u64,
}

/// Why the files cannot prove anything. The daemon does not start.
#[derive(Debug, Error)]
pub(crate) enum TlsError {
    #[error("cannot read [tls] {key} {}: {error}", path.display())]
    Read { key: &'static str, path: PathBuf, error: std::io::Error },
    #[error("[tls] {key} {}: {reason}", path.display())]
    Bad { key: &'static str, path: PathBuf, reason: String },
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

impl Identity {
    /// Reads and checks the files: what peers would refuse is refused here already.
    pub(crate) fn load(files: &TlsFiles, name: DaemonName) -> Result<Self, TlsError> {
        let provider = Arc::new(provider());
        let ca = certificates("ca", &files.ca)?;
        let chain = certificates("certificate", &files.certificate)?;
        let key = private_key(&files.key)?;
        let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.secret_der());

        let mut roots = RootCertStore::empty();
        for root in ca {
            roots.add(root).map_err(|e| bad("ca", &files.ca, explain(&e)))?;
        }
        let roots = Arc::new(roots);
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|e| match e {
            rustls::Error::InconsistentKeys(_) => {
                bad("key", &files.key, format!("is not the key of {}", files.certificate.display()))
            }
            e => bad("key", &files.key, explain(&e)),
        })?;
        check_own(&certified, name, &roots, &provider, files)?;
        Self::build(certified, roots, provider, &secret).map_err(|e| TlsError::Setup(e.to_string()))
    }

    fn build(
        certified: CertifiedKey,
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
        secret: &ring::hmac::Key,
    ) -> Result<Self, rustls::Error> {
        let setup = |e: &dyn std::fmt::Display| rustls::Error::General(e.to_string());
        let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|e| setup(&e))?;
        let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(resolver.clone());
        server.alpn_protocols = vec![ALPN.to_vec()];
        // Each link is authenticated anew.
        server.send_tls13_tickets = 0;
        let mut client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_cert_resolver(resolver);
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = rustls::client::Resumption::disabled();
        Ok(Self {
            server: Arc::new(QuicServerConfig::try_from(server).map_err(|e| setup(&e))?),
            client: Arc::new(QuicClientConfig::try_from(client).map_err(|e| setup(&e))?),
            reset_key: Arc::new(reset_key(secret)),
            id_key: id_key(secret),
        })
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Whether `certificate`, which TLS has traced to the cluster's authority, is that of `daemon`.
pub(crate) fn covers(certificate: &CertificateDer<'_>, daemon: DaemonName) -> bool {
    let Ok(name) = ServerName::try_from(certificate_name(daemon)) else { return false };
    webpki::EndEntityCert::try_from(certificate)
        .is_ok_and(|cert| cert.verify_is_valid_for_subject_name(&name).is_ok())
}

/// What is wrong with a certificate, for people.
fn explain(error: &rustls::Error) -> String {
    use CertificateError as C;
    let rustls::Error::InvalidCertificate(error) = error else { return error.to_string() };
    let text = match error {
        C::BadEncoding => "is no X.509 certificate",
        C::Expired | C::ExpiredContext { .. } => "has expired: make a new one, or set the clock right",
        C::NotValidYet | C::NotValidYetContext { .. } => "is not valid yet: is the clock right?",
        C::UnknownIssuer | C::BadSignature => "is not signed by the cluster's authority ([tls] ca)",
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => {
            "must allow both server and client authentication (extended key usage)"
        }
        other => return other.to_string(),
    };
    text.to_owned()
}

/// Would a peer take this daemon's certificate?
fn check_own(
    certified: &CertifiedKey,
    name: DaemonName,
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
    files: &TlsFiles,
) -> Result<(), TlsError> {
    let wrong = |reason: String| bad("certificate", &files.certificate, reason);
    let (own, intermediates) = certified.cert.split_first().ok_or_else(|| wrong("is empty".to_owned()))?;
    let now = UnixTime::now();
    let dns_name = certificate_name(name);
    let server_name =
        ServerName::try_from(dns_name.as_str()).map_err(|e| wrong(format!("{dns_name}: {e}")))?;
    let setup = |e: &dyn std::fmt::Display| TlsError::Setup(e.to_string());
    let servers = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone())
        .build()
        .map_err(|e| setup(&e))?;
    servers.verify_server_cert(own, intermediates, &server_name, &[], now).map_err(|e| match e {
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => wrong(format!("is not that of daemon {name}: it must be valid for the DNS name {dns_name}")),
        e => wrong(explain(&e)),
    })?;
    let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
        .build()
        .map_err(|e| setup(&e))?;
    clients.verify_client_cert(own, intermediates, now).map_err(|e| wrong(explain(&e)))?;
    Ok(())
}

fn provider() -> CryptoProvider {
    use rustls::crypto::ring::cipher_suite;
    // The smaller key is as good for links whose keys live hours, and costs a fifth less.
    let cipher_suites = vec![
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    CryptoProvider { cipher_suites, ..rustls::crypto::ring::default_provider() }
}

fn bad(key: &'static str, path: &Path, reason: impl Into<String>) -> TlsError {
    TlsError::Bad { key, path: path.to_owned(), reason: reason.into() }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::Read { key, path: path.to_owned(), error })
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(key, path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|e| bad(key, path, format!("is no PEM file: {e}")))?;
    if certificates.is_empty() {
        return Err(bad(key, path, "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"));
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read("key", path)?;
    if fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o007 != 0) {
        tracing::warn!(path = %path.display(), "everybody on this machine may read the private key: chmod 600 it");
    }
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| bad("key", path, "holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)"))
}

fn reset_key(secret: &ring::hmac::Key) -> ring::hmac::Key {
    let derived = ring::hmac::sign(secret, b"stentor stateless reset");
    ring::hmac::Key::new(ring::hmac::HMAC_SHA256, derived.as_ref())
}

fn id_key(secret: &ring::hmac::Key) -> u64 {
    let derived = ring::hmac::sign(secret, b"stentor connection id");
    derived.as_ref().iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::transport::tests::{cluster, files};

    fn refused(files: &TlsFiles, name: &str, texts: &[&str]) {
        let error = Identity::load(files, DaemonName::new(name).unwrap()).unwrap_err().to_string();
        for text in texts {
            assert!(error.contains(text), "{error:?} does not contain {text:?}");
        }
    }

    #[test]
    fn each_thing_wrong_with_the_files_is_named() {
        let (ours, foreign) = (cluster(), cluster());
        let good = files(ours.path(), "a");
        let name = DaemonName::new("a").unwrap();
        Identity::load(&good, name).unwrap();

        let missing = TlsFiles { key: ours.path().join("none.key"), ..good.clone() };
        refused(&missing, "a", &["cannot read [tls] key", "none.key", "No such file"]);
        let swapped = TlsFiles { certificate: good.key.clone(), ..good.clone() };
        refused(&swapped, "a", &["[tls] certificate", "a.key", "holds no certificate"]);
        let swapped = TlsFiles { key: good.certificate.clone(), ..good.clone() };
        refused(&swapped, "a", &["[tls] key", "a.pem", "holds no private key"]);
        let other_key = TlsFiles { key: ours.path().join("b.key"), ..good.clone() };
        refused(&other_key, "a", &["[tls] key", "b.key", "is not the key of", "a.pem"]);
        refused(&good, "b", &["a.pem", "is not that of daemon b", "b.stentor"]);
        let other_ca = TlsFiles { ca: foreign.path().join("ca.pem"), ..good.clone() };
        refused(&other_ca, "a", &["a.pem", "not signed by the cluster's authority"]);
        let garbage = ours.path().join("garbage.pem");
        fs::write(&garbage, "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n").unwrap();
        refused(&TlsFiles { certificate: garbage, ..good }, "a", &["garbage.pem", "no PEM file"]);
    }

    #[test]
    fn every_name_of_a_daemon_goes_into_a_certificate() {
        // All of up to three of these, and the longest.
        let letters = || ["", "a", "9", "-", "_"].into_iter();
        let pairs = || letters().flat_map(|a| letters().map(move |b| format!("{a}{b}")));
        let names = pairs().flat_map(|ab| letters().map(move |c| format!("{ab}{c}")));
        let names = names.chain(["a".repeat(DaemonName::MAX_LEN)]);
        let names: Vec<_> = names.filter_map(|name| DaemonName::new(&name).ok()).collect();
        assert!(names.len() > 30, "{names:?}");
        for name in names {
            assert!(ServerName::try_from(certificate_name(name)).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_certificate_covers_its_own_daemon_only() {
        let dir = cluster();
        let pem = fs::read(dir.path().join("a.pem")).unwrap();
        let certificate = CertificateDer::from_pem_slice(&pem).unwrap();
        assert!(covers(&certificate, DaemonName::new("a").unwrap()));
        assert!(!covers(&certificate, DaemonName::new("b").unwrap()));
    }

    #[test]
    fn a_daemon_has_the_same_reset_key_in_every_run() {
        let dir = cluster();
        let load = |name| Identity::load(&files(dir.path(), name), DaemonName::new(name).unwrap()).unwrap();
        assert_eq!(load("a").id_key, load("a").id_key);
        assert_ne!(load("a").id_key, load("b").id_key);
        let tag = |identity: &Identity| ring::hmac::sign(&identity.reset_key, b"x").as_ref().to_vec();
        assert_eq!(tag(&load("a")), tag(&load("a")));
        assert_ne!(tag(&load("a")), tag(&load("b")));
    }
}
