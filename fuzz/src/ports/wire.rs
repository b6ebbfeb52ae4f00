//! A connection of a peer that may say anything: plain, or inside a TLS session with the cluster. What is
//! said is not known here.

use super::PATIENCE;
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_net::Transport;
use firesteel_net::tls::ROLE_ANY;
use firesteel_net::transport::Trust;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How connections are made: without TLS, or with the cluster's certificates.
#[derive(Clone, Default)]
pub(super) struct Way {
    sessions: Option<Arc<ClientConfig>>,
    /// As a worker connects.
    pub worker: Transport,
    /// As a driver connects.
    pub driver: Transport,
}

impl Way {
    /// With the certificates of a directory that `firesteel admin certs` has made.
    ///
    /// # Errors
    /// `CONFIG_INVALID` if they cannot be used.
    pub fn with_certificates(dir: &Path) -> Result<Self> {
        let invalid = |cause: String| Error::new(ErrorCode::ConfigInvalid, cause);
        let authority = std::fs::read_to_string(dir.join("ca.crt"))
            .map_err(|cause| Error::io("reading the certificate of the authority", &cause))?;
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(authority.as_bytes());
        roots
            .add(certificate.map_err(|cause| invalid(cause.to_string()))?)
            .map_err(|cause| invalid(cause.to_string()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let sessions = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|cause| invalid(cause.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let file = |name: &str| dir.join(name);
        let tls = firesteel_net::Tls::load(&file("ca.crt"), &file("worker.crt"), &file("worker.key"))?;
        let trust = Trust { authority: Some(authority), insecure: false };
        Ok(Self {
            sessions: Some(Arc::new(sessions)),
            worker: Transport::tls(tls),
            driver: Transport::trusting(&trust)?,
        })
    }

    /// Whether there is TLS.
    pub fn is_tls(&self) -> bool {
        self.sessions.is_some()
    }

    /// A connection, inside a session if there is TLS.
    ///
    /// # Errors
    /// `UNREACHABLE` if nobody takes it.
    pub fn connect(&self, address: &str) -> Result<Wire> {
        let stream = connect(address)?;
        let Some(sessions) = &self.sessions else { return Ok(Wire::Plain(stream)) };
        let name = ServerName::try_from(ROLE_ANY).map_err(|cause| lost(&cause))?;
        let session = ClientConnection::new(sessions.clone(), name).map_err(|cause| lost(&cause))?;
        Ok(Wire::Session(Box::new(StreamOwned::new(session, stream))))
    }
}

/// A connection.
pub(super) enum Wire {
    /// The bytes as they are.
    Plain(TcpStream),
    /// Inside a session.
    Session(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    fn stream(&self) -> &TcpStream {
        match self {
            Wire::Plain(stream) => stream,
            Wire::Session(session) => &session.sock,
        }
    }

    /// How long a read may wait.
    pub fn wait_at_most(&self, time: Duration) {
        drop(self.stream().set_read_timeout(Some(time)));
    }

    /// Says that all is said.
    ///
    /// # Errors
    /// If the other end is gone.
    pub fn finish(&mut self) -> std::io::Result<()> {
        if let Wire::Session(session) = self {
            session.conn.send_close_notify();
            session.flush()?;
        }
        self.stream().shutdown(Shutdown::Write)
    }

    /// What there is to hear, to the end; `true` if the end did not come in time.
    pub fn hear(&mut self, most: u64, answer: &mut Vec<u8>) -> bool {
        let heard = Read::by_ref(self).take(most).read_to_end(answer);
        heard.is_err_and(|cause| is_timeout(&cause))
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.read(buffer),
            Wire::Session(session) => session.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.write(bytes),
            Wire::Session(session) => session.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Wire::Plain(stream) => stream.flush(),
            Wire::Session(session) => session.flush(),
        }
    }
}

/// A connection without a session.
///
/// # Errors
/// `UNREACHABLE` if nobody takes it.
pub(super) fn connect(address: &str) -> Result<TcpStream> {
    let target: SocketAddr = address.parse().map_err(|cause| lost(&cause))?;
    let stream = TcpStream::connect_timeout(&target, PATIENCE).map_err(|cause| lost(&cause))?;
    let tuned = stream
        .set_nodelay(true)
        .and_then(|()| stream.set_read_timeout(Some(PATIENCE)))
        .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
    tuned.map_err(|cause| lost(&cause))?;
    Ok(stream)
}

fn lost(cause: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorCode::Unreachable, format!("connecting: {cause}"))
}

/// Whether an error says that it took too long.
pub(super) fn is_timeout(cause: &std::io::Error) -> bool {
    matches!(cause.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
