//! Moves bytes between a TLS session and the process's end of a socket pair: one thread for each connection,
//! one piece in either direction at most, so that a reader that does not read holds up the peer as without
//! TLS. Not a protocol, and it decides nothing; when the session is damaged, both sockets are closed.

use crate::socket::Socket;
use firesteel_common::error::{Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustls::Connection;
use std::io::{Error as IoError, ErrorKind, Read, Result as IoResult, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Bytes that are moved at once.
const PIECE_LEN: usize = 64 * 1024;
/// How long the peer may take to end after this end did.
const LINGER: Duration = Duration::from_secs(30);

/// Starts the thread; returns the process's end.
pub(super) fn start(mut session: Connection, stream: TcpStream) -> Result<Socket> {
    let failed = |cause: IoError| Error::io("carrying a TLS session", &cause);
    let (near, far) = UnixStream::pair().map_err(failed)?;
    stream.set_nonblocking(true).and_then(|()| far.set_nonblocking(true)).map_err(failed)?;
    session.set_buffer_limit(None);
    let pump = Pump {
        session,
        stream,
        far,
        inbound: Vec::with_capacity(PIECE_LEN),
        at: 0,
        piece: vec![0; PIECE_LEN],
        far_ended: None,
        far_gone: false,
        peer_ended: false,
        told: false,
    };
    let run = move || {
        if let Err(cause) = pump.run() {
            tracing::debug!(%cause, "a TLS session ended");
        }
    };
    std::thread::Builder::new().name("tls".to_owned()).spawn(run).map_err(failed)?;
    Ok(near.into())
}

struct Pump {
    session: Connection,
    stream: TcpStream,
    far: UnixStream,
    /// Plaintext for the process, written up to `at`.
    inbound: Vec<u8>,
    at: usize,
    piece: Vec<u8>,
    /// Since when the process sends nothing more.
    far_ended: Option<Instant>,
    /// The process has closed its end.
    far_gone: bool,
    /// The peer has said that it sends nothing more.
    peer_ended: bool,
    /// The process was told so.
    told: bool,
}

impl Pump {
    fn run(mut self) -> IoResult<()> {
        loop {
            self.deliver()?;
            self.send()?;
            if self.peer_ended && self.inbound.is_empty() && !self.told {
                self.told = true;
                let _ = self.far.shutdown(Shutdown::Write);
            }
            let flushed = !self.session.wants_write();
            if let Some(since) = self.far_ended
                && flushed
            {
                if self.told || self.far_gone || since.elapsed() > LINGER {
                    return Ok(());
                }
                let _ = self.stream.shutdown(Shutdown::Write);
            }
            let (from_peer, from_far) = self.wait(flushed)?;
            if from_peer {
                self.receive()?;
            }
            if from_far && !self.session.wants_write() {
                self.take()?;
            }
        }
    }

    /// Hands plaintext to the process, as far as it takes it.
    fn deliver(&mut self) -> IoResult<()> {
        loop {
            if self.at == self.inbound.len() {
                self.inbound.clear();
                self.at = 0;
                self.inbound.resize(PIECE_LEN, 0);
                let read = match self.session.reader().read(&mut self.inbound) {
                    Ok(read) => read,
                    Err(cause) if cause.kind() == ErrorKind::WouldBlock => 0,
                    Err(cause) => return Err(cause),
                };
                self.inbound.truncate(read);
                if read == 0 {
                    return Ok(());
                }
            }
            if self.far_gone {
                self.at = self.inbound.len();
                continue;
            }
            match (&self.far).write(&self.inbound[self.at..]) {
                Ok(written) => self.at += written,
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                // It has closed its end, and may have sent something before.
                Err(_) => self.far_gone = true,
            }
        }
    }

    /// Sends ciphertext to the peer, as far as it takes it.
    fn send(&mut self) -> IoResult<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                Err(cause) => return Err(cause),
            }
        }
        Ok(())
    }

    /// Waits until there is something to do; says whether the peer, and the process, can be read.
    fn wait(&mut self, flushed: bool) -> IoResult<(bool, bool)> {
        let (mut of_peer, mut of_far) = (PollFlags::empty(), PollFlags::empty());
        of_peer.set(PollFlags::IN, !self.peer_ended && self.inbound.is_empty());
        of_peer.set(PollFlags::OUT, !flushed);
        of_far.set(PollFlags::IN, self.far_ended.is_none() && flushed);
        of_far.set(PollFlags::OUT, !self.inbound.is_empty());
        let mut waiting = Vec::with_capacity(2);
        // A descriptor that has hung up is ready for ever, also for who wants nothing of it.
        if !of_peer.is_empty() {
            waiting.push(PollFd::new(&self.stream, of_peer));
        }
        let peers = waiting.len();
        if !of_far.is_empty() || !self.far_gone {
            waiting.push(PollFd::new(&self.far, of_far));
        }
        let limit = self.far_ended.map(|_| Timespec { tv_sec: 1, tv_nsec: 0 });
        match poll(&mut waiting, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(cause) => return Err(cause.into()),
        }
        let readable = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        let seen = |list: &[PollFd<'_>]| list.first().map_or(PollFlags::empty(), PollFd::revents);
        let (peer, far) = (seen(&waiting[..peers]), seen(&waiting[peers..]));
        self.far_gone |= far.contains(PollFlags::HUP);
        Ok((
            of_peer.contains(PollFlags::IN) && peer.intersects(readable),
            of_far.contains(PollFlags::IN) && far.intersects(readable),
        ))
    }

    /// Takes ciphertext from the peer.
    fn receive(&mut self) -> IoResult<()> {
        match self.session.read_tls(&mut self.stream) {
            // Whoever ends says so inside the session; an end without it is a cut.
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(cause) if matches!(cause.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(cause) => return Err(cause),
        }
        match self.session.process_new_packets() {
            Ok(state) => {
                self.peer_ended |= state.peer_has_closed();
                Ok(())
            }
            Err(cause) => {
                // The alert, if the peer takes it.
                let _ = self.send();
                Err(IoError::new(ErrorKind::InvalidData, cause))
            }
        }
    }

    /// Takes plaintext from the process.
    fn take(&mut self) -> IoResult<()> {
        match (&self.far).read(&mut self.piece) {
            Ok(0) => {
                self.far_ended = Some(Instant::now());
                self.session.send_close_notify();
                Ok(())
            }
            Ok(read) => self.session.writer().write_all(&self.piece[..read]),
            Err(cause) if matches!(cause.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(cause) => Err(cause),
        }
    }
}
