//! A connected stream socket as everything above the hello sees it: a TCP connection, or, under TLS, this
//! process's end of a pair whose other end is pumped into the TLS session. Which of the two it is makes no
//! difference to a reader or a writer. Not a listener, and it speaks no protocol.

use rustix::net::sockopt::{self, Timeout};
use rustix::net::{RecvFlags, SendFlags};
use std::io::{Read, Result, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// After how long without a word from a TCP peer the system begins to ask whether it is there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
/// How often it then asks, and how many answers may be missing.
const KEEPALIVE_PROBES: (Duration, u32) = (Duration::from_secs(5), 3);
/// How long bytes may stay unacknowledged before the connection counts as broken, in milliseconds.
const UNACKNOWLEDGED_MS: u32 = 20_000;

/// A connected stream socket. Closed with the last handle; [`Socket::try_clone`] makes another one.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// Another handle of the same socket.
    ///
    /// # Errors
    /// If the system has no descriptors left.
    pub fn try_clone(&self) -> Result<Socket> {
        self.0.try_clone().map(Socket)
    }

    /// How long a read may wait; `None` is for ever. It holds for all handles.
    ///
    /// # Errors
    /// If the system does not take it.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> Result<()> {
        Ok(sockopt::set_socket_timeout(&self.0, Timeout::Recv, timeout)?)
    }

    /// How long a write may wait; `None` is for ever. It holds for all handles.
    ///
    /// # Errors
    /// If the system does not take it.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> Result<()> {
        Ok(sockopt::set_socket_timeout(&self.0, Timeout::Send, timeout)?)
    }

    /// Ends one direction, or both, for all handles.
    ///
    /// # Errors
    /// If the socket is not connected any more.
    pub fn shutdown(&self, how: Shutdown) -> Result<()> {
        let how = match how {
            Shutdown::Read => rustix::net::Shutdown::Read,
            Shutdown::Write => rustix::net::Shutdown::Write,
            Shutdown::Both => rustix::net::Shutdown::Both,
        };
        Ok(rustix::net::shutdown(&self.0, how)?)
    }
}

/// Sends small messages at once, and has the system notice a peer that is gone without a word: a cut cable
/// acknowledges nothing, and a host without power answers no probe.
pub(crate) fn tune(stream: &TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_PROBES.0)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES.1)?;
    Ok(sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MS)?)
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Socket(stream.into())
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Socket(stream.into())
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        socket.0
    }
}

impl From<OwnedFd> for Socket {
    /// For a descriptor that another process has handed over; on one that is no socket every call fails.
    fn from(fd: OwnedFd) -> Self {
        Socket(fd)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Read for &Socket {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let (read, _) = rustix::net::recv(&self.0, &mut *buffer, RecvFlags::empty())?;
        Ok(read)
    }
}

impl Write for &Socket {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        Ok(rustix::net::send(&self.0, bytes, SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        (&*self).read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
