//! The ways to a connection: where a process may listen and dial, and with or without TLS. Off this
//! machine's loopback there is none without TLS, unless the operator insists. What is said over a connection
//! is not known here.

#[cfg(test)]
mod tests;

use crate::frame::lost;
use crate::hello::{Timed, accept_hello, dial_hello};
use crate::key::Key;
use crate::socket::{Socket, tune};
use crate::tls::{self, Tls};
use firesteel_common::config::TlsConfig;
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::protocol::hello::Role;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How connections are made. With TLS all of them are, also on loopback.
#[derive(Clone, Debug, Default)]
pub struct Transport {
    tls: Option<Arc<Tls>>,
    insecure: bool,
}

/// What a driver is told of the transport: nothing of it is secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// The certificate of the authority, PEM, if connections are TLS.
    pub authority: Option<String>,
    /// Whether connections without TLS may leave this machine.
    pub insecure: bool,
}

impl Transport {
    /// Plain connections, on loopback only.
    pub fn loopback() -> Self {
        Self::default()
    }

    /// With these certificates.
    pub fn tls(tls: Tls) -> Self {
        Self { tls: Some(Arc::new(tls)), insecure: false }
    }

    /// What the configuration says. An insecure one is complained of, at each start.
    ///
    /// # Errors
    /// `CONFIG_INVALID` if only a part of `ca`, `cert` and `key` is set, or a file cannot be used.
    pub fn from_config(config: &TlsConfig) -> Result<Self> {
        let given = [&config.ca, &config.cert, &config.key].map(|path| !path.is_empty());
        let tls = match given {
            [true, true, true] => {
                let (ca, cert, key) = (&config.ca, &config.cert, &config.key);
                Some(Arc::new(Tls::load(Path::new(ca), Path::new(cert), Path::new(key))?))
            }
            [false, false, false] => None,
            _ => {
                let what = "of tls.ca, tls.cert and tls.key some are set and some are not";
                return Err(Error::new(ErrorCode::ConfigInvalid, what).with_help("set all three, or none"));
            }
        };
        let insecure = config.insecure_i_know && tls.is_none();
        if insecure {
            tracing::error!(
                "INSECURE: connections may leave this machine without TLS (tls.insecure_i_know); whoever \
                 shares the network can read all data, and change it"
            );
        }
        Ok(Self { tls, insecure })
    }

    /// What a driver needs to know.
    pub fn trust(&self) -> Trust {
        let authority = self.tls.as_ref().map(|tls| tls.authority().to_owned());
        Trust { authority, insecure: self.insecure }
    }

    /// As a driver connects.
    ///
    /// # Errors
    /// `CONFIG_INVALID` if the authority is none.
    pub fn trusting(trust: &Trust) -> Result<Self> {
        let tls = trust.authority.as_deref().map(Tls::trusting).transpose()?;
        Ok(Self { tls: tls.map(Arc::new), insecure: trust.insecure })
    }

    /// The certificates, if there are any.
    pub fn certificates(&self) -> Option<&Tls> {
        self.tls.as_deref()
    }

    /// Listens at `listen` (`host:port`; port 0 takes a free one).
    ///
    /// # Errors
    /// `UNSUPPORTED` if that is not on loopback and there is no TLS, or if it names no single address; `IO`
    /// if it cannot be had.
    pub fn bind(&self, listen: &str) -> Result<TcpListener> {
        let addresses = self.resolve(listen)?;
        if addresses.iter().any(|address| address.ip().is_unspecified()) {
            let what = format!("the address {listen} stands for all networks of this machine");
            return Err(Error::new(ErrorCode::Unsupported, what)
                .with_help("name the one address under which the other machines reach this one"));
        }
        TcpListener::bind(addresses.as_slice())
            .map_err(|cause| Error::io(format!("listening at {listen}"), &cause))
    }

    /// Dials `address` (`host:port`) and says hello as `role`. The socket has no timeouts.
    ///
    /// # Errors
    /// As [`dial_hello`]; `UNREACHABLE` if nobody listens there; `UNAUTHENTICATED` if the certificates do not
    /// allow it; `UNSUPPORTED` if it is off loopback and there is no TLS.
    pub fn connect(&self, address: &str, role: Role, key: &Key, timeout: Duration) -> Result<Socket> {
        let deadline = Instant::now() + timeout;
        let target = first(&self.resolve(address)?, address)?;
        let dialled = TcpStream::connect_timeout(&target, timeout.max(Duration::from_millis(1)));
        let stream = dialled.map_err(|cause| lost(&format!("connecting to {address}"), &cause))?;
        self.greet(stream, deadline, role, key)
            .map_err(|error| error.context(format_args!("connecting to {address}")))
    }

    fn greet(&self, stream: TcpStream, deadline: Instant, role: Role, key: &Key) -> Result<Socket> {
        prepare(&stream)?;
        let mut timed = Timed { stream: &stream, deadline };
        let Some(tls) = &self.tls else {
            dial_hello(&mut timed, role, key)?;
            clear_timeouts(&stream)?;
            return Ok(stream.into());
        };
        let mut session = tls.dial(&mut timed, role).inspect_err(|_| drain_and_close(&stream))?;
        dial_hello(&mut rustls::Stream::new(&mut session, &mut timed), role, key)?;
        clear_timeouts(&stream)?;
        tls::carry(session, stream)
    }

    /// Accepts the hello on a connection until `deadline`; returns it and who dialled.
    pub(crate) fn accept(
        &self,
        stream: TcpStream,
        deadline: Instant,
        role: Role,
        key_for: &dyn Fn(Role) -> Option<Key>,
    ) -> Result<(Socket, Role)> {
        prepare(&stream)?;
        let mut timed = Timed { stream: &stream, deadline };
        let Some(tls) = &self.tls else {
            let peer = accept_hello(&mut timed, role, key_for);
            let peer = peer.inspect_err(|_| drain_and_close(&stream))?;
            clear_timeouts(&stream)?;
            return Ok((stream.into(), peer));
        };
        let mut session = tls.accept(&mut timed).inspect_err(|_| drain_and_close(&stream))?;
        let (is_worker, refused) = (tls::is_worker(&session), Cell::new(false));
        // The key alone does not make a worker: it lies on more machines than the certificate's key.
        let admitted = |peer: Role| {
            refused.set(matches!(peer, Role::Worker | Role::Fetcher) && !is_worker);
            key_for(peer).filter(|_| !refused.get())
        };
        let peer = accept_hello(&mut rustls::Stream::new(&mut session, &mut timed), role, &admitted);
        let peer = peer.inspect_err(|_| drain_and_close(&stream)).map_err(|error| match refused.get() {
            false => error,
            true => {
                let what = "a peer that says it is a worker has not shown the certificate of one";
                Error::new(ErrorCode::Unauthenticated, what).with_help("start it with worker.crt")
            }
        })?;
        clear_timeouts(&stream)?;
        Ok((tls::carry(session, stream)?, peer))
    }

    /// The addresses of `host:port`, if this transport may use them.
    fn resolve(&self, address: &str) -> Result<Vec<SocketAddr>> {
        let resolved = address.to_socket_addrs().map_err(|cause| {
            let what = format!("'{address}' is not an address of the form host:port: {cause}");
            Error::new(ErrorCode::ConfigInvalid, what)
        })?;
        let resolved: Vec<SocketAddr> = resolved.collect();
        let outside = resolved.iter().find(|address| !address.ip().is_loopback());
        match outside.filter(|_| self.tls.is_none() && !self.insecure) {
            Some(other) => {
                let what = format!("the address {address} ({other}) is not of this machine's loopback");
                Err(Error::new(ErrorCode::Unsupported, what).with_help(
                    "connections off loopback need TLS: make certificates with `firesteel admin certs`, \
                     and name them in [tls]; or use 127.0.0.1",
                ))
            }
            None => Ok(resolved),
        }
    }
}

fn first(resolved: &[SocketAddr], address: &str) -> Result<SocketAddr> {
    let missing = || Error::new(ErrorCode::Unreachable, format!("the name in '{address}' has no address"));
    resolved.first().copied().ok_or_else(missing)
}

fn prepare(stream: &TcpStream) -> Result<()> {
    tune(stream).map_err(|cause| Error::io("setting up a connection", &cause))
}

fn clear_timeouts(stream: &TcpStream) -> Result<()> {
    let cleared = stream.set_read_timeout(None).and_then(|()| stream.set_write_timeout(None));
    cleared.map_err(|cause| Error::io("setting up a connection", &cause))
}

/// Closes such that the peer still gets what it was sent: a close with unread bytes would reset the
/// connection.
fn drain_and_close(stream: &TcpStream) {
    let ended = stream.shutdown(std::net::Shutdown::Write).and_then(|()| {
        stream.set_read_timeout(Some(Duration::from_millis(100)))?;
        std::io::Read::read(&mut &*stream, &mut [0; 1024])
    });
    if let Err(cause) = ended {
        tracing::trace!(%cause, "closing a connection after its hello");
    }
}
