//! TLS 1.3 between processes: who may be on the other end, and the session that carries the connection.
//!
//! A cluster has its own authority. A certificate says by a name which part its holder may play
//! ([`ROLE_MASTER`], [`ROLE_WORKER`]), so that a worker's cannot answer for a master. A driver shows none: it
//! checks the listener's, and proves itself with the key of its application in the hello, as before; a
//! certificate would have to lie beside code that is not ours. The hello goes on inside the session.

pub mod authority;
mod pump;
#[cfg(test)]
mod tests;

use crate::socket::Socket;
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::protocol::hello::Role;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

/// The name that every certificate of a listener bears.
pub const ROLE_ANY: &str = "firesteel.internal";
/// The name in the certificate of a master.
pub const ROLE_MASTER: &str = "master.firesteel.internal";
/// The name in the certificate of a worker.
pub const ROLE_WORKER: &str = "worker.firesteel.internal";

/// The authority a process trusts, and the certificate it shows, if it has one.
pub struct Tls {
    authority: String,
    dialling: Arc<ClientConfig>,
    listening: Option<Arc<ServerConfig>>,
    browsers: Option<ServerConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads the authority's certificate, and the own certificate with its key, all PEM.
    ///
    /// # Errors
    /// `CONFIG_INVALID` naming the file that is missing, holds something else, or (the key) is readable for
    /// others.
    pub fn load(authority: &Path, certificate: &Path, key: &Path) -> Result<Tls> {
        let mode = std::fs::metadata(key).map_err(|cause| unreadable(key, &cause))?.permissions().mode();
        if mode & 0o077 != 0 {
            let what = format!("the key {} can be read by others (mode {:o})", key.display(), mode & 0o777);
            return Err(invalid(what).with_help(format!("chmod 600 {}", key.display())));
        }
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
            .map_err(|cause| unreadable(certificate, &cause))?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|cause| unreadable(key, &cause))?;
        let text = std::fs::read_to_string(authority).map_err(|cause| unreadable(authority, &cause))?;
        Self::make(text, Some((chain, key)))
            .map_err(|error| error.context(format_args!("using the certificate {}", certificate.display())))
    }

    /// For a process that shows no certificate: a driver.
    ///
    /// # Errors
    /// `CONFIG_INVALID` if the text holds no certificate.
    pub fn trusting(authority_pem: &str) -> Result<Tls> {
        Self::make(authority_pem.to_owned(), None)
    }

    fn make(
        authority: String,
        own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Result<Tls> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(roots(&authority)?);
        let failed = |cause: rustls::Error| invalid(format!("setting up TLS: {cause}"));
        let client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(failed)?
            .with_root_certificates(roots.clone());
        let mut dialling = match &own {
            Some((chain, key)) => {
                client.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(failed)?
            }
            None => client.with_no_client_auth(),
        };
        dialling.resumption = Resumption::disabled();
        let (listening, browsers) = match own {
            Some((chain, key)) => {
                let browsers = server(&provider, None, chain.clone(), key.clone_key())?;
                (Some(Arc::new(server(&provider, Some(roots), chain, key)?)), Some(browsers))
            }
            None => (None, None),
        };
        Ok(Tls { authority, dialling: Arc::new(dialling), listening, browsers })
    }

    /// The authority's certificate as PEM; what a driver is given.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// For an HTTP server, whose clients show a token and no certificate. `None` without an own certificate.
    pub fn for_http(&self) -> Option<ServerConfig> {
        self.browsers.clone()
    }

    /// The dialling end of a session: up to the peer's certificate, which must be one for what is dialled.
    pub(crate) fn dial<S: Read + Write>(&self, stream: &mut S, role: Role) -> Result<ClientConnection> {
        let name = ServerName::try_from(ROLE_ANY).map_err(|_| invalid("a name".to_owned()))?;
        let session = ClientConnection::new(self.dialling.clone(), name);
        let mut session = session.map_err(|cause| invalid(format!("setting up TLS: {cause}")))?;
        shake(&mut session, stream)?;
        let names: &[&str] = match role {
            Role::Worker | Role::Driver(_) => &[ROLE_MASTER],
            Role::Reader(_) => &[ROLE_WORKER],
            Role::Fetcher | Role::Master => &[ROLE_MASTER, ROLE_WORKER],
        };
        let certificates = session.peer_certificates();
        if names.iter().any(|name| bears(certificates, name)) {
            return Ok(session);
        }
        let what = format!("the other end's certificate is not one of {}", names.join(" or "));
        Err(Error::new(ErrorCode::Unauthenticated, what)
            .with_help("start it with the certificate of its own role: master.crt or worker.crt"))
    }

    /// The accepting end of a session. A peer may show no certificate; [`is_worker`] tells.
    pub(crate) fn accept<S: Read + Write>(&self, stream: &mut S) -> Result<ServerConnection> {
        let Some(listening) = &self.listening else {
            return Err(invalid("a listener needs a certificate of its own".to_owned()));
        };
        let session = ServerConnection::new(listening.clone());
        let mut session = session.map_err(|cause| invalid(format!("setting up TLS: {cause}")))?;
        // Whoever looks whether a port is open, and leaves, is no more than that.
        shake(&mut session, stream).map_err(|error| match error.code {
            ErrorCode::Unauthenticated if error.message == LEFT => Error::new(ErrorCode::Unreachable, LEFT),
            _ => error,
        })?;
        Ok(session)
    }
}

fn server(
    provider: &Arc<CryptoProvider>,
    roots: Option<Arc<RootCertStore>>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig> {
    let failed = |cause: rustls::Error| invalid(format!("setting up TLS: {cause}"));
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(failed)?;
    let builder = match roots {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
                .allow_unauthenticated()
                .build()
                .map_err(|cause| invalid(format!("setting up TLS: {cause}")))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(failed)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The authorities in a PEM text.
fn roots(authority: &str) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        let added = certificate
            .map_err(|cause| cause.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|cause| cause.to_string()));
        added.map_err(|cause| invalid(format!("the certificate of the authority: {cause}")))?;
    }
    match roots.is_empty() {
        true => Err(invalid("the file of the authority holds no certificate".to_owned())),
        false => Ok(roots),
    }
}

/// Whether the peer of an accepted session has shown the certificate of a worker.
pub(crate) fn is_worker(session: &ServerConnection) -> bool {
    bears(session.peer_certificates(), ROLE_WORKER)
}

/// Whether a certificate that was verified bears a name.
fn bears(chain: Option<&[CertificateDer<'_>]>, name: &str) -> bool {
    let Some([certificate, ..]) = chain else { return false };
    let Ok(name) = ServerName::try_from(name) else { return false };
    webpki::EndEntityCert::try_from(certificate)
        .is_ok_and(|certificate| certificate.verify_is_valid_for_subject_name(&name).is_ok())
}

/// Carries a session that has said hello, until either end closes it; the socket is this process's end.
pub(crate) fn carry(session: impl Into<Connection>, stream: TcpStream) -> Result<Socket> {
    pump::start(session.into(), stream)
}

/// The handshake, in both directions of which the stream bounds every wait.
fn shake<D, T, S>(session: &mut T, stream: &mut S) -> Result<()>
where
    T: std::ops::DerefMut<Target = rustls::ConnectionCommon<D>>,
    D: rustls::SideData,
    S: Read + Write,
{
    while session.is_handshaking() {
        if let Err(cause) = session.complete_io(stream) {
            // So that the other end is told too, if it still listens.
            let _ = session.complete_io_writes(stream);
            return Err(handshake_failed(&cause));
        }
    }
    session.complete_io_writes(stream)
}

/// Writes what a session has to say.
trait Flush {
    fn complete_io_writes<S: Write>(&mut self, stream: &mut S) -> Result<()>;
}

impl<D> Flush for rustls::ConnectionCommon<D> {
    fn complete_io_writes<S: Write>(&mut self, stream: &mut S) -> Result<()> {
        while self.wants_write() {
            self.write_tls(stream).map_err(|cause| handshake_failed(&cause))?;
        }
        Ok(())
    }
}

/// What is said of a peer that is gone before the session is there.
const LEFT: &str = "the other end closed the connection in the TLS handshake; it may not speak TLS";

/// Why there is no session, in words.
fn handshake_failed(cause: &std::io::Error) -> Error {
    let said = cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (said, cause.kind()) {
        (Some(rustls::Error::InvalidMessage(_)), _) => {
            let what = "the other end does not speak TLS, and this one does";
            Error::new(ErrorCode::Unauthenticated, what).with_help(NO_TLS)
        }
        (Some(said), _) => {
            Error::new(ErrorCode::Unauthenticated, format!("the TLS handshake failed: {said}"))
                .with_help("both ends need certificates of the same authority that are valid now")
        }
        (None, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
            Error::new(ErrorCode::Unauthenticated, LEFT).with_help(NO_TLS)
        }
        (None, _) => crate::frame::lost("the TLS handshake", cause),
    }
}

/// What to do when one end speaks TLS and the other does not.
pub(crate) const NO_TLS: &str = "give ca, cert and key in [tls] to every process of the cluster, or to none";

fn unreadable(path: &Path, cause: &dyn fmt::Display) -> Error {
    invalid(format!("the file {} cannot be used: {cause}", path.display()))
        .with_help("certificates are made by `firesteel admin certs --out DIR --host NAME`")
}

fn invalid(what: String) -> Error {
    Error::new(ErrorCode::ConfigInvalid, what)
}
