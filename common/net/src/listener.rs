//! Accepts connections and their hello, for whoever serves them. Bounded: so many peers that have not proved
//! their key yet, so many that have. Peers that say nothing cannot keep out those that do: when there are too
//! many in their hello, one is closed to make room: the oldest of the source that has the most of them.

#[cfg(test)]
mod tests;

use crate::hello::HELLO_TIMEOUT;
use crate::key::Key;
use crate::socket::Socket;
use crate::transport::Transport;
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::protocol::hello::Role;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Connections that may be in their hello at once.
pub const UNPROVED_MAX: usize = 64;
/// Of these, as many threads may be ending beside.
const ENDING_MAX: usize = UNPROVED_MAX;
/// Connections whose `on_connection` may run at once.
pub const SERVED_MAX: usize = 1024;
/// At most one warning of a refusal in this time; all are counted.
const WARN_PAUSE: Duration = Duration::from_millis(200);
/// How long the accepting thread rests when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Why a connection was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// It was in its hello when another one came and there were too many.
    Crowded,
    /// It ended, or was too slow, before its hello was over.
    Unfinished,
    /// It proved no key, showed the wrong certificate, or spoke another protocol or version.
    Unproved,
    /// Too many are served.
    Full,
}

/// How many connections were not served, and why; counted as long as the listener lives.
#[derive(Debug, Default)]
pub struct Refusals {
    counts: [AtomicU64; 4],
}

impl Refusals {
    /// How many, for one reason.
    pub fn count(&self, why: Refusal) -> u64 {
        self.counts[why as usize].load(Ordering::Relaxed)
    }
}

/// What is told of each refusal: why, from where, and the error if there is one.
pub type OnRefusal = Box<dyn Fn(Refusal, IpAddr, Option<&Error>) + Send + Sync>;

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
    transport: Transport,
    stopped: AtomicBool,
    unproved: Mutex<BTreeMap<u64, Unproved>>,
    greeting: AtomicUsize,
    served: AtomicUsize,
    refusals: Arc<Refusals>,
    warned: Mutex<Option<Instant>>,
    on_refusal: OnRefusal,
    key_for: Box<dyn Fn(Role) -> Option<Key> + Send + Sync>,
    on_connection: Box<dyn Fn(Socket, Role) + Send + Sync>,
}

/// A connection in its hello.
struct Unproved {
    from: IpAddr,
    stream: TcpStream,
}

/// Which of the connections in their hello is closed for a new one: the oldest of the source that has the
/// most. So one source crowds out itself before it crowds out others.
fn victim<'a>(connections: impl Iterator<Item = (u64, &'a IpAddr)>) -> Option<u64> {
    let mut sources: BTreeMap<&IpAddr, (usize, u64)> = BTreeMap::new();
    for (id, from) in connections {
        let (count, oldest) = sources.entry(from).or_insert((0, id));
        *count += 1;
        *oldest = id.min(*oldest);
    }
    let most = sources.into_values().max_by_key(|(count, oldest)| (*count, std::cmp::Reverse(*oldest)));
    most.map(|(_, oldest)| oldest)
}

/// What a listener does with its connections.
pub struct Service {
    /// What its threads are called.
    pub name: String,
    /// As what it greets.
    pub role: Role,
    /// How connections are made.
    pub transport: Transport,
    /// Is told of each connection that is not served; it must not wait.
    pub on_refusal: OnRefusal,
}

impl Service {
    /// A service without TLS that only counts refusals.
    pub fn plain(name: &str, role: Role) -> Self {
        Self::over(Transport::loopback(), name, role)
    }

    /// A service that only counts refusals.
    pub fn over(transport: Transport, name: &str, role: Role) -> Self {
        Self { name: name.to_owned(), role, transport, on_refusal: Box::new(|_, _, _| ()) }
    }
}

impl Listener {
    /// [`Listener::serve`] without TLS.
    ///
    /// # Errors
    /// As that.
    pub fn start(
        listener: TcpListener,
        name: &str,
        role: Role,
        key_for: impl Fn(Role) -> Option<Key> + Send + Sync + 'static,
        on_connection: impl Fn(Socket, Role) + Send + Sync + 'static,
    ) -> Result<Listener> {
        Self::serve(listener, Service::plain(name, role), key_for, on_connection)
    }

    /// Starts to accept: greets as the service's role, has each peer prove the key that `key_for` has for the
    /// peer's role, and calls `on_connection` with the socket and that role, on a thread of the connection's
    /// own, which it may keep as long as it serves it.
    ///
    /// # Errors
    /// `IO` if no thread can be had.
    pub fn serve(
        listener: TcpListener,
        service: Service,
        key_for: impl Fn(Role) -> Option<Key> + Send + Sync + 'static,
        on_connection: impl Fn(Socket, Role) + Send + Sync + 'static,
    ) -> Result<Listener> {
        let Service { name, role, transport, on_refusal } = service;
        let failed = |cause: &std::io::Error| Error::io(format!("starting the listener {name}"), cause);
        let address = listener.local_addr().map_err(|cause| failed(&cause))?;
        let socket = listener.try_clone().map_err(|cause| failed(&cause))?;
        let shared = Arc::new(Shared {
            name: name.clone(),
            role,
            transport,
            stopped: AtomicBool::new(false),
            unproved: Mutex::default(),
            greeting: AtomicUsize::new(0),
            served: AtomicUsize::new(0),
            refusals: Arc::default(),
            warned: Mutex::default(),
            on_refusal,
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

    /// The connections that were not served, counted.
    pub fn refusals(&self) -> Arc<Refusals> {
        self.shared.refusals.clone()
    }

    /// Stops accepting, and closes the socket. Connections that are served stay with who serves them.
    pub fn stop(self) {
        drop(self);
    }
}

impl Shared {
    fn refuse(&self, why: Refusal, from: IpAddr, error: Option<&Error>) {
        self.refusals.counts[why as usize].fetch_add(1, Ordering::Relaxed);
        // At debug for what any stray or half-open connection does; a wrong key or version deserves a look.
        match (why, error) {
            (Refusal::Unproved, Some(error)) if self.may_warn() => {
                tracing::warn!(listener = self.name, %from, %error, "a peer is refused");
            }
            _ => tracing::debug!(listener = self.name, %from, ?why, ?error, "a peer is refused"),
        }
        (self.on_refusal)(why, from, error);
    }

    /// Whether a warning is due: one in a while, so that who is refused without end does not fill the log.
    fn may_warn(&self) -> bool {
        let mut warned = self.warned.lock();
        let due = warned.is_none_or(|last| last.elapsed() >= WARN_PAUSE);
        if due {
            *warned = Some(Instant::now());
        }
        due
    }

    /// Notes that a connection is in its hello; closes one if there are too many.
    fn note(&self, id: u64, from: IpAddr, stream: TcpStream) {
        let mut unproved = self.unproved.lock();
        unproved.insert(id, Unproved { from, stream });
        if unproved.len() > UNPROVED_MAX
            && let Some(victim) = victim(unproved.iter().map(|(id, unproved)| (*id, &unproved.from)))
            && let Some(closed) = unproved.remove(&victim)
        {
            drop(unproved);
            if let Err(cause) = closed.stream.shutdown(Shutdown::Both) {
                tracing::trace!(%cause, "closing a connection in its hello");
            }
            self.refuse(Refusal::Crowded, closed.from, None);
        }
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
struct Place {
    shared: Arc<Shared>,
    count: fn(&Shared) -> &AtomicUsize,
}

impl Place {
    fn take(shared: &Arc<Shared>, count: fn(&Shared) -> &AtomicUsize, max: usize) -> Option<Self> {
        let taken = count(shared).fetch_add(1, Ordering::SeqCst);
        let place = Place { shared: shared.clone(), count };
        (taken < max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.count)(&self.shared).fetch_sub(1, Ordering::SeqCst);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut number = 0;
    loop {
        let accepted = listener.accept();
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let (stream, from) = match accepted {
            Ok((stream, from)) => (stream, from.ip()),
            Err(cause) => {
                tracing::warn!(listener = shared.name, %cause, "accepting a connection");
                std::thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        // Those that were closed to make room need a moment to notice.
        let Some(place) = Place::take(shared, |shared| &shared.greeting, UNPROVED_MAX + ENDING_MAX) else {
            shared.refuse(Refusal::Crowded, from, None);
            continue;
        };
        let noted = stream.try_clone().map(|handle| shared.note(number, from, handle));
        let id = number;
        number += 1;
        let spawned = noted.and_then(|()| {
            let shared = shared.clone();
            let thread = std::thread::Builder::new().name(format!("{}-conn", shared.name));
            thread.spawn(move || greet(stream, from, id, &shared, place))
        });
        if let Err(cause) = spawned {
            shared.unproved.lock().remove(&id);
            tracing::warn!(listener = shared.name, %cause, "starting a thread for a connection");
        }
    }
}

fn greet(stream: TcpStream, from: IpAddr, id: u64, shared: &Arc<Shared>, place: Place) {
    let deadline = Instant::now() + HELLO_TIMEOUT;
    let proved = shared.transport.accept(stream, deadline, shared.role, &shared.key_for);
    // Whoever was closed to make room was counted then.
    let kept = shared.unproved.lock().remove(&id).is_some();
    drop(place);
    match proved {
        Ok(_) if shared.stopped.load(Ordering::SeqCst) || !kept => {}
        Ok((socket, peer)) => match Place::take(shared, |shared| &shared.served, SERVED_MAX) {
            Some(_place) => (shared.on_connection)(socket, peer),
            None => {
                tracing::warn!(listener = shared.name, ?peer, "too many connections; one is turned away");
                shared.refuse(Refusal::Full, from, None);
            }
        },
        Err(error) if kept => {
            let why = match error.code {
                ErrorCode::Unreachable => Refusal::Unfinished,
                _ => Refusal::Unproved,
            };
            shared.refuse(why, from, Some(&error));
        }
        Err(_) => {}
    }
}
