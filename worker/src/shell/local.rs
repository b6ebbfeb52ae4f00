//! Blocks for the other workers of this machine: whoever shares the run directory gets descriptors over a
//! unix socket in it and maps them, instead of having the bytes sent. What may be read is fenced as on the
//! data port.

use firesteel_common::protocol::data::{BlockReply, BlockRequest};
use firesteel_common::protocol::hello::Role;
use firesteel_common::{Error, ErrorCode, Result};
use firesteel_net::{BlockSource, Key, accept_hello, dial_hello, fd_channel};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Connections that are served at once.
const CONNECTIONS_MAX: usize = 256;
/// How long a peer may take for each step of its hello.
const HELLO_MAX: Duration = Duration::from_secs(5);
/// How long nothing is accepted after an error, which is most often a lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The socket of the worker whose data server is at `address`, beside its directory's other files. Addresses
/// come from other processes, so that nothing of one but a number gets into a path.
fn name(address: &str) -> Option<String> {
    let address: SocketAddr = address.parse().ok()?;
    Some(format!("data-{}.sock", address.port()))
}

/// Gives out descriptors until it is dropped.
pub struct LocalServer {
    listener: Arc<UnixListener>,
    stopped: Arc<AtomicBool>,
}

impl LocalServer {
    /// Serves the blocks of `source` in `directory`, for the worker whose data server is at `address`.
    ///
    /// # Errors
    /// If the socket or the thread cannot be had. A worker goes on without: it has its data port.
    pub fn start(directory: &Path, address: &str, key: Key, source: Arc<dyn BlockSource>) -> Result<Self> {
        let no_address = || Error::new(ErrorCode::Internal, format!("'{address}' is not an address"));
        let path = directory.join(name(address).ok_or_else(no_address)?);
        let failed = |cause| Error::io(format!("listening at {}", path.display()), &cause);
        let listener = Arc::new(UnixListener::bind(&path).map_err(failed)?);
        let stopped = Arc::new(AtomicBool::new(false));
        let (accepting, ends) = (listener.clone(), stopped.clone());
        std::thread::Builder::new()
            .name("local-accept".to_owned())
            .spawn(move || accept(&accepting, &ends, &key, &source))
            .map_err(failed)?;
        Ok(Self { listener, stopped })
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // On Linux this ends an `accept` that waits.
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
    }
}

fn accept(listener: &UnixListener, stopped: &AtomicBool, key: &Key, source: &Arc<dyn BlockSource>) {
    let served = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = listener.accept();
        if stopped.load(Ordering::SeqCst) {
            return;
        }
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(cause) => {
                tracing::warn!("accepting a reader of this machine: {cause}");
                std::thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        if served.load(Ordering::Acquire) >= CONNECTIONS_MAX {
            continue;
        }
        served.fetch_add(1, Ordering::AcqRel);
        let (key, source, done) = (key.clone(), source.clone(), served.clone());
        let spawned = std::thread::Builder::new().name("local-conn".to_owned()).spawn(move || {
            if let Err(error) = serve(stream, &key, source.as_ref()) {
                tracing::debug!("a reader of this machine: {error}");
            }
            done.fetch_sub(1, Ordering::AcqRel);
        });
        if spawned.is_err() {
            served.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn timeouts(stream: &UnixStream, timeout: Option<Duration>) -> Result<()> {
    let set = stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout));
    set.map_err(|cause| Error::io("setting up a connection", &cause))
}

fn serve(mut stream: UnixStream, key: &Key, source: &dyn BlockSource) -> Result<()> {
    timeouts(&stream, Some(HELLO_MAX))?;
    let key_for = |role| match role {
        Role::Reader(app) => Some(key.for_app(app)),
        _ => None,
    };
    let Role::Reader(app) = accept_hello(&mut stream, Role::Worker, &key_for)? else { return Ok(()) };
    timeouts(&stream, None)?;
    let (sender, mut requests) = fd_channel(stream)?;
    while let Some((BlockRequest { block, .. }, _)) = requests.recv()? {
        // Of another application's block a reader does not learn whether there is one.
        match Some(block).filter(|block| block.app == app).and_then(|block| source.open(&block)) {
            Some(open) => {
                let segments = open.status.as_deref().cloned().unwrap_or_default();
                let frames = open.frames().to_vec();
                let reply = BlockReply::Found { bytes: open.bytes, segments, frames };
                sender.send(&reply, Some(open.fd()))?;
            }
            None => sender.send(&BlockReply::Missing, None)?,
        }
    }
    Ok(())
}

/// A connection to the worker at `address`, if it shares this run directory.
///
/// # Errors
/// If it is there and does not answer, or has too many connections to accept already.
pub fn dial(run_dir: &Path, address: &str, role: Role, key: &Key) -> Result<Option<UnixStream>> {
    let Some(path) = find(run_dir, address) else { return Ok(None) };
    let failed = |cause| Error::io(format!("connecting to {}", path.display()), &cause);
    let mut stream = connect(&path).map_err(failed)?;
    timeouts(&stream, Some(HELLO_MAX))?;
    dial_hello(&mut stream, role, key)?;
    timeouts(&stream, None)?;
    Ok(Some(stream))
}

/// Connects at once or not at all: a server that has stopped accepting would be waited for without end.
fn connect(path: &Path) -> std::io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn find(run_dir: &Path, address: &str) -> Option<PathBuf> {
    let name = name(address)?;
    let workers = std::fs::read_dir(run_dir).ok()?.filter_map(|entry| {
        let entry = entry.ok()?;
        entry.file_name().to_str()?.starts_with("worker-").then(|| entry.path().join(&name))
    });
    workers.into_iter().find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_number_of_a_port_gets_into_a_path() {
        assert_eq!(name("127.0.0.1:7000").as_deref(), Some("data-7000.sock"));
        assert_eq!(name("[::1]:7000").as_deref(), Some("data-7000.sock"));
        for odd in ["", "7000", "127.0.0.1:", "127.0.0.1:/../../x", "127.0.0.1:99999"] {
            assert_eq!(name(odd), None, "{odd}");
        }
    }
}
