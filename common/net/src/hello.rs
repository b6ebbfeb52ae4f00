//! The hello: both ends of a connection prove that they know a key before anything is decoded, and until a
//! deadline. Also the two ways to a connection, [`bind_loopback`] and [`connect`]; this version has no TLS,
//! so both refuse an address that is not of this machine.

#[cfg(test)]
mod tests;

use crate::frame::lost;
use crate::key::{Key, random};
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::protocol::VERSION;
use firesteel_common::protocol::hello::{
    GREETING_LEN, GREETING_MAGIC, Greeting, PROOF_LEN, Role, proof_text,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How long a peer may take for its whole hello.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Says hello on a connection that this end has dialled: greets as `role`, proves `key`, and has the other
/// end prove it too.
///
/// # Errors
/// `VERSION_MISMATCH` naming both versions; `UNAUTHENTICATED` if one end does not accept the other's key;
/// `UNREACHABLE` if the connection breaks or is too slow.
pub fn dial_hello<S: Read + Write>(stream: &mut S, role: Role, key: &Key) -> Result<()> {
    let mine = Greeting { version: VERSION, role, nonce: random()? };
    send(stream, &mine.encode())?;
    let theirs = read_greeting(stream)?;
    send(stream, &key.proof(&proof_text(true, &mine, &theirs)))?;
    let mut proof = [0; PROOF_LEN];
    match stream.read_exact(&mut proof) {
        Ok(()) if key.verifies(&proof_text(false, &mine, &theirs), &proof) => Ok(()),
        Ok(()) => Err(unauthenticated("the other end does not prove the key")),
        Err(cause) if closed(&cause) => Err(unauthenticated("the other end does not accept the key")),
        Err(cause) => Err(lost("saying hello", &cause)),
    }
}

/// Says hello on a connection that was accepted: greets as `role`, and proves the key that belongs to the
/// role of the other end once that has proved it. Returns who the other end is.
///
/// A peer whose first bytes are not a greeting is sent nothing; one of another version is sent the greeting,
/// so that it can say so too; one without the key is sent no proof.
///
/// # Errors
/// `VERSION_MISMATCH` naming both versions; `UNAUTHENTICATED` if the peer does not prove its key, or
/// `key_for` has none for its role; `UNREACHABLE` if the connection breaks or is too slow.
pub fn accept_hello<S: Read + Write>(
    stream: &mut S,
    role: Role,
    key_for: &dyn Fn(Role) -> Option<Key>,
) -> Result<Role> {
    let mut bytes = [0; GREETING_LEN];
    stream.read_exact(&mut bytes).map_err(|cause| lost("saying hello", &cause))?;
    if bytes[..4] != GREETING_MAGIC {
        return Err(unauthenticated("the other end does not speak the protocol of Firesteel"));
    }
    let mine = Greeting { version: VERSION, role, nonce: random()? };
    send(stream, &mine.encode())?;
    let theirs = check_greeting(&bytes)?;
    let mut proof = [0; PROOF_LEN];
    stream.read_exact(&mut proof).map_err(|cause| lost("saying hello", &cause))?;
    let key = key_for(theirs.role)
        .filter(|key| key.verifies(&proof_text(true, &theirs, &mine), &proof))
        .ok_or_else(|| unauthenticated("the other end does not prove the key of its role"))?;
    send(stream, &key.proof(&proof_text(false, &theirs, &mine)))?;
    Ok(theirs.role)
}

/// Dials `address` (`host:port`) and says hello as `role`. The stream has no timeouts and TCP_NODELAY set.
///
/// # Errors
/// As [`dial_hello`]; `UNREACHABLE` if nobody listens there; `UNSUPPORTED` if it is not an address of this
/// machine.
pub fn connect(address: &str, role: Role, key: &Key, timeout: Duration) -> Result<TcpStream> {
    let deadline = Instant::now() + timeout;
    let target = first(&loopback(address)?, address)?;
    let dialled = TcpStream::connect_timeout(&target, timeout.max(Duration::from_millis(1)));
    let stream = dialled.map_err(|cause| lost(&format!("connecting to {address}"), &cause))?;
    prepare(&stream)?;
    dial_hello(&mut Timed { stream: &stream, deadline }, role, key)
        .map_err(|error| error.context(format_args!("connecting to {address}")))?;
    clear_timeouts(&stream)?;
    Ok(stream)
}

/// Listens at `listen` (`host:port`; port 0 takes a free one).
///
/// # Errors
/// `UNSUPPORTED` if it is not an address of this machine's loopback; `IO` if it cannot be had.
pub fn bind_loopback(listen: &str) -> Result<TcpListener> {
    let addresses = loopback(listen)?;
    TcpListener::bind(addresses.as_slice())
        .map_err(|cause| Error::io(format!("listening at {listen}"), &cause))
}

/// Accepts the hello on a TCP stream until `deadline`, and leaves it without timeouts.
pub(crate) fn accept_until(
    stream: &TcpStream,
    deadline: Instant,
    role: Role,
    key_for: &dyn Fn(Role) -> Option<Key>,
) -> Result<Role> {
    prepare(stream)?;
    let peer = accept_hello(&mut Timed { stream, deadline }, role, key_for)?;
    clear_timeouts(stream)?;
    Ok(peer)
}

/// A stream on which all reads and writes together end at a deadline, however slowly the peer feeds them.
struct Timed<'a> {
    stream: &'a TcpStream,
    deadline: Instant,
}

impl Timed<'_> {
    fn left(&self) -> std::io::Result<Option<Duration>> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn prepare(stream: &TcpStream) -> Result<()> {
    stream.set_nodelay(true).map_err(|cause| Error::io("setting up a connection", &cause))
}

fn clear_timeouts(stream: &TcpStream) -> Result<()> {
    let cleared = stream.set_read_timeout(None).and_then(|()| stream.set_write_timeout(None));
    cleared.map_err(|cause| Error::io("setting up a connection", &cause))
}

fn loopback(address: &str) -> Result<Vec<SocketAddr>> {
    let resolved = address.to_socket_addrs().map_err(|cause| {
        Error::new(
            ErrorCode::ConfigInvalid,
            format!("'{address}' is not an address of the form host:port: {cause}"),
        )
    })?;
    let resolved: Vec<SocketAddr> = resolved.collect();
    match resolved.iter().find(|address| !address.ip().is_loopback()) {
        Some(other) => Err(Error::new(
            ErrorCode::Unsupported,
            format!("the address {address} ({other}) is not of this machine's loopback"),
        )
        .with_help("connections off loopback need TLS, which this version does not have; use 127.0.0.1")),
        None => Ok(resolved),
    }
}

fn first(resolved: &[SocketAddr], address: &str) -> Result<SocketAddr> {
    let missing = || Error::new(ErrorCode::Unreachable, format!("the name in '{address}' has no address"));
    resolved.first().copied().ok_or_else(missing)
}

fn send<S: Write>(stream: &mut S, bytes: &[u8]) -> Result<()> {
    stream.write_all(bytes).map_err(|cause| lost("saying hello", &cause))
}

fn read_greeting<S: Read>(stream: &mut S) -> Result<Greeting> {
    let mut bytes = [0; GREETING_LEN];
    stream.read_exact(&mut bytes).map_err(|cause| lost("saying hello", &cause))?;
    if bytes[..4] != GREETING_MAGIC {
        return Err(unauthenticated("the other end does not speak the protocol of Firesteel"));
    }
    check_greeting(&bytes)
}

/// The version is compared before the rest is looked at, which may be laid out in another way.
fn check_greeting(bytes: &[u8; GREETING_LEN]) -> Result<Greeting> {
    let theirs = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    if theirs != VERSION {
        let message = format!("the other end speaks protocol version {theirs}, this one version {VERSION}");
        return Err(Error::new(ErrorCode::VersionMismatch, message)
            .with_help("run the same version of firesteel everywhere"));
    }
    Greeting::decode(bytes).ok_or_else(|| unauthenticated("the greeting of the other end is not understood"))
}

fn unauthenticated(what: &str) -> Error {
    Error::new(ErrorCode::Unauthenticated, format!("saying hello: {what}")).with_help(
        "both processes must use the same secret, and a driver or executor the key of its application",
    )
}

fn closed(cause: &std::io::Error) -> bool {
    matches!(
        cause.kind(),
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
    )
}
