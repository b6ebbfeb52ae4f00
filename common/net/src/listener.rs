//! Accepts connections and their hello, for whoever serves them. Bounded: so many peers that have not proved
//! their key yet, so many that have; what comes beyond is closed at once.

#[cfg(test)]
mod tests;

use crate::hello::{HELLO_TIMEOUT, accept_until};
use crate::key::Key;
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::protocol::hello::Role;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Connections that may be in their hello at once.
pub const UNPROVED_MAX: usize = 64;
/// Connections whose `on_connection` may run at once.
pub const SERVED_MAX: usize = 1024;
/// How long the accepting thread rests when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// A listening socket with a thread that accepts. Stops when it is dropped.
pub struct Listener {
    address: SocketAddr,
    socket: TcpListener,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    name: String,
    role: Role,
    stopped: AtomicBool,
    unproved: AtomicUsize,
    served: AtomicUsize,
    key_for: Box<dyn Fn(Role) -> Option<Key> + Send + Sync>,
    on_connection: Box<dyn Fn(TcpStream, Role) + Send + Sync>,
}

impl Listener {
    /// Starts to accept: greets as `role`, has each peer prove the key that `key_for` has for the peer's
    /// role, and calls `on_connection` with the stream and that role, on a thread of the connection's own,
    /// which it may keep as long as it serves it.
    ///
    /// # Errors
    /// `IO` if no thread can be had.
    pub fn start(
        listener: TcpListener,
        name: &str,
        role: Role,
        key_for: impl Fn(Role) -> Option<Key> + Send + Sync + 'static,
        on_connection: impl Fn(TcpStream, Role) + Send + Sync + 'static,
    ) -> Result<Listener> {
        let failed = |cause: &std::io::Error| Error::io(format!("starting the listener {name}"), cause);
        let address = listener.local_addr().map_err(|cause| failed(&cause))?;
        let socket = listener.try_clone().map_err(|cause| failed(&cause))?;
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            role,
            stopped: AtomicBool::new(false),
            unproved: AtomicUsize::new(0),
            served: AtomicUsize::new(0),
            key_for: Box::new(key_for),
            on_connection: Box::new(on_connection),
        });
        let accepting = std::thread::Builder::new()
            .name(format!("{name}-accept"))
            .spawn({
                let shared = shared.clone();
                move || accept(&listener, &shared)
            })
            .map_err(|cause| failed(&cause))?;
        Ok(Listener { address, socket, shared, accepting: Some(accepting) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, and closes the socket. Connections that are served stay with who serves them.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // On Linux this ends an `accept` that waits.
        if let Err(cause) = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both) {
            tracing::debug!(listener = self.shared.name, %cause, "stopping a listener");
        }
        if let Some(thread) = self.accepting.take()
            && thread.join().is_err()
        {
            tracing::error!(listener = self.shared.name, "the accepting thread has panicked");
        }
    }
}

/// A place among a bounded number; given back when it is dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(count: &'a AtomicUsize, max: usize) -> Option<Self> {
        let taken = count.fetch_add(1, Ordering::SeqCst);
        let place = Place(count);
        (taken < max).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let accepted = listener.accept();
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(cause) => {
                tracing::warn!(listener = shared.name, %cause, "accepting a connection");
                std::thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        if shared.unproved.load(Ordering::SeqCst) >= UNPROVED_MAX {
            tracing::warn!(listener = shared.name, "too many peers are in their hello; one is turned away");
            continue;
        }
        let spawned = std::thread::Builder::new().name(format!("{}-conn", shared.name)).spawn({
            let shared = shared.clone();
            move || greet(stream, &shared)
        });
        if let Err(cause) = spawned {
            tracing::warn!(listener = shared.name, %cause, "starting a thread for a connection");
        }
    }
}

fn greet(stream: TcpStream, shared: &Shared) {
    let proved = {
        let Some(_place) = Place::take(&shared.unproved, UNPROVED_MAX) else { return };
        accept_until(&stream, Instant::now() + HELLO_TIMEOUT, shared.role, &shared.key_for)
    };
    match proved {
        Ok(_) if shared.stopped.load(Ordering::SeqCst) => {}
        Ok(peer) => match Place::take(&shared.served, SERVED_MAX) {
            Some(_place) => (shared.on_connection)(stream, peer),
            None => tracing::warn!(listener = shared.name, ?peer, "too many connections; one is turned away"),
        },
        Err(error) => {
            // At debug for what any stray or half-open connection does; a wrong key or version deserves a
            // look.
            match error.code {
                ErrorCode::Unreachable => tracing::debug!(listener = shared.name, %error, "hello"),
                _ => tracing::warn!(listener = shared.name, %error, "hello"),
            }
            drain_and_close(&stream);
        }
    }
}

/// Closes such that the peer still gets what it was sent: a close with unread bytes would reset the
/// connection.
fn drain_and_close(stream: &TcpStream) {
    let ended = stream.shutdown(Shutdown::Write).and_then(|()| {
        stream.set_read_timeout(Some(Duration::from_millis(100)))?;
        std::io::Read::read(&mut &*stream, &mut [0; 256])
    });
    if let Err(cause) = ended {
        tracing::trace!(%cause, "closing a connection after its hello");
    }
}
