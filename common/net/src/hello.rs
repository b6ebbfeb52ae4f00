//! The hello: both ends of a connection prove that they know a key before anything is decoded, and until a
//! deadline. How a connection comes to be is the work of `transport`.

#[cfg(test)]
mod tests;

use crate::frame::lost;
use crate::key::{Key, random};
use crate::socket::Socket;
use crate::tls::NO_TLS;
use crate::transport::Transport;
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::protocol::VERSION;
use firesteel_common::protocol::hello::{
    GREETING_LEN, GREETING_MAGIC, Greeting, PROOF_LEN, Role, proof_text,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
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
        Err(cause) => Err(broken(&cause)),
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
    let bytes = read_bytes(stream)?;
    let mine = Greeting { version: VERSION, role, nonce: random()? };
    send(stream, &mine.encode())?;
    let theirs = check_greeting(&bytes)?;
    let mut proof = [0; PROOF_LEN];
    stream.read_exact(&mut proof).map_err(|cause| broken(&cause))?;
    let key = key_for(theirs.role)
        .filter(|key| key.verifies(&proof_text(true, &theirs, &mine), &proof))
        .ok_or_else(|| unauthenticated("the other end does not prove the key of its role"))?;
    send(stream, &key.proof(&proof_text(false, &theirs, &mine)))?;
    Ok(theirs.role)
}

/// Dials `address` on loopback without TLS: [`Transport::connect`] of [`Transport::loopback`].
///
/// # Errors
/// As that.
pub fn connect(address: &str, role: Role, key: &Key, timeout: Duration) -> Result<Socket> {
    Transport::loopback().connect(address, role, key, timeout)
}

/// Listens on loopback: [`Transport::bind`] of [`Transport::loopback`].
///
/// # Errors
/// As that.
pub fn bind_loopback(listen: &str) -> Result<TcpListener> {
    Transport::loopback().bind(listen)
}

/// A stream on which all reads and writes together end at a deadline, however slowly the peer feeds them.
pub(crate) struct Timed<'a> {
    /// The stream.
    pub(crate) stream: &'a TcpStream,
    /// The end.
    pub(crate) deadline: Instant,
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

fn send<S: Write>(stream: &mut S, bytes: &[u8]) -> Result<()> {
    stream.write_all(bytes).map_err(|cause| broken(&cause))
}

fn read_greeting<S: Read>(stream: &mut S) -> Result<Greeting> {
    let bytes = read_bytes(stream)?;
    check_greeting(&bytes)
}

/// The bytes of a greeting; the first tell whether it is one.
fn read_bytes<S: Read>(stream: &mut S) -> Result<[u8; GREETING_LEN]> {
    let mut bytes = [0; GREETING_LEN];
    let (magic, rest) = bytes.split_at_mut(GREETING_MAGIC.len());
    stream.read_exact(magic).map_err(|cause| broken(&cause))?;
    match magic {
        // The type of a record, and the version that every record bears.
        [0x15 | 0x16, 3, ..] => {
            let what = "saying hello: the other end speaks TLS, and this one does not";
            return Err(Error::new(ErrorCode::Unauthenticated, what).with_help(NO_TLS));
        }
        magic if *magic == GREETING_MAGIC => {}
        _ => {
            // Taken, so that closing does not reset the connection; how it ends makes no difference.
            let _ = stream.read_exact(rest);
            return Err(unauthenticated("the other end does not speak the protocol of Firesteel"));
        }
    }
    stream.read_exact(rest).map_err(|cause| broken(&cause))?;
    Ok(bytes)
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

/// The connection is gone; in a session, the other end may have said why.
fn broken(cause: &std::io::Error) -> Error {
    match cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(said) => Error::new(ErrorCode::Unauthenticated, format!("saying hello: {said}"))
            .with_help("both ends need certificates of the same authority that are valid now"),
        None => lost("saying hello", cause),
    }
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
