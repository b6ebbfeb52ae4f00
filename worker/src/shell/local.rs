//! Blocks for the other workers of this machine: whoever shares the run directory gets descriptors over a
//! unix socket in it and maps them, instead of having the bytes sent. What may be read is fenced as on the
//! data port.

use firesteel_common::protocol::data::{BlockReply, BlockRequest};
use firesteel_common::protocol::hello::Role;
use firesteel_common::{Error, Result};
use firesteel_net::{BlockSource, Key, accept_hello, dial_hello, fd_channel};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Connections that are served at once.
const CONNECTIONS_MAX: usize = 256;
/// How long a peer may take for each step of its hello.
const HELLO_MAX: Duration = Duration::from_secs(5);

/// The socket of the worker whose data server is at `address`, beside its directory's other files.
fn name(address: &str) -> Option<String> {
    let port = address.rsplit_once(':')?.1;
    Some(format!("data-{port}.sock"))
}

/// Gives out descriptors until it is dropped.
pub struct LocalServer {
    listener: Arc<UnixListener>,
}

impl LocalServer {
    /// Serves the blocks of `source` in `directory`, for the worker whose data server is at `address`.
    ///
    /// # Errors
    /// If the socket or the thread cannot be had. A worker goes on without: it has its data port.
    pub fn start(directory: &Path, address: &str, key: Key, source: Arc<dyn BlockSource>) -> Result<Self> {
        let path = directory.join(name(address).unwrap_or_default());
        let failed = |cause| Error::io(format!("listening at {}", path.display()), &cause);
        let listener = Arc::new(UnixListener::bind(&path).map_err(failed)?);
        let accepting = listener.clone();
        let served = Arc::new(AtomicUsize::new(0));
        std::thread::Builder::new()
            .name("local-accept".to_owned())
            .spawn(move || {
                while let Ok((stream, _)) = accepting.accept() {
                    if served.load(Ordering::Acquire) >= CONNECTIONS_MAX {
                        continue;
                    }
                    served.fetch_add(1, Ordering::AcqRel);
                    let (key, source, done) = (key.clone(), source.clone(), served.clone());
                    let spawned =
                        std::thread::Builder::new().name("local-conn".to_owned()).spawn(move || {
                            if let Err(error) = serve(stream, &key, source.as_ref()) {
                                tracing::debug!("a reader of this machine: {error}");
                            }
                            done.fetch_sub(1, Ordering::AcqRel);
                        });
                    if spawned.is_err() {
                        served.fetch_sub(1, Ordering::AcqRel);
                    }
                }
            })
            .map_err(failed)?;
        Ok(Self { listener })
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        // On Linux this ends an `accept` that waits.
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
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
                let reply = BlockReply::Found { bytes: open.bytes, segments };
                sender.send(&reply, Some(open.fd.as_fd()))?;
            }
            None => sender.send(&BlockReply::Missing, None)?,
        }
    }
    Ok(())
}

/// A connection to the worker at `address`, if it shares this run directory.
///
/// # Errors
/// If it is there and does not answer.
pub fn dial(run_dir: &Path, address: &str, role: Role, key: &Key) -> Result<Option<UnixStream>> {
    let Some(path) = find(run_dir, address) else { return Ok(None) };
    let failed = |cause| Error::io(format!("connecting to {}", path.display()), &cause);
    let mut stream = UnixStream::connect(&path).map_err(failed)?;
    timeouts(&stream, Some(HELLO_MAX))?;
    dial_hello(&mut stream, role, key)?;
    timeouts(&stream, None)?;
    Ok(Some(stream))
}

fn find(run_dir: &Path, address: &str) -> Option<PathBuf> {
    let name = name(address)?;
    let workers = std::fs::read_dir(run_dir).ok()?.filter_map(|entry| {
        let entry = entry.ok()?;
        entry.file_name().to_str()?.starts_with("worker-").then(|| entry.path().join(&name))
    });
    workers.into_iter().find(|path| path.exists())
}
