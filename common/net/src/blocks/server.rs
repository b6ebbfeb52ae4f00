//! The serving end: one thread for each connection, which answers one request after the other.

use super::{BlockData, BlockSource, DiskBlock, OpenBlock};
use crate::frame::{encode_frame, lost, read_frame};
use crate::key::Key;
use crate::listener::{Listener, Refusal, Service};
use crate::socket::Socket;
use crate::transport::Transport;
use firesteel_common::block::MapStatus;
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::id::AppAttemptId;
use firesteel_common::protocol::data::{BlockReply, BlockRequest, DATA_FRAME_LEN_MAX};
use firesteel_common::protocol::hello::Role;
use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::collections::BTreeMap;
use std::io::BufReader;
use std::net::{IpAddr, Ipv6Addr, Shutdown, TcpListener};
use std::sync::Arc;
use std::time::Duration;

/// How long a reader may take none of the bytes that it asked for.
const READER_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest request.
const REQUEST_LEN_MAX: usize = 4 * 1024;
/// A part of at most this many bytes is copied behind its answer; a longer one goes from file to socket.
const COPIED_LEN: u64 = 16 * 1024;
/// Answers are put together until they are as long as this.
const OUT_LEN: usize = 64 * 1024;
/// Bytes of one call of sendfile.
const SEND_LEN: u64 = 8 * 1024 * 1024;

/// A data server. It serves the blocks of an application to who proves the key of that application, and all
/// to who proves the cluster secret as a fetcher.
pub struct DataServer {
    listener: Listener,
    refused: Arc<Refused>,
    connections: Arc<Connections>,
}

/// The most sources that are told apart; more are counted together, under the address `::`.
const SOURCES_MAX: usize = 48;

/// Connections that were refused, by source and reason, until somebody takes the counts. Bounded.
#[derive(Default)]
pub struct Refused {
    counts: Mutex<BTreeMap<(IpAddr, Refusal), u64>>,
}

impl Refused {
    fn note(&self, why: Refusal, from: IpAddr) {
        let mut counts = self.counts.lock();
        let known = counts.len() < SOURCES_MAX || counts.contains_key(&(from, why));
        let from = if known { from } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
        *counts.entry((from, why)).or_default() += 1;
    }

    /// The counts since they were last taken.
    pub fn take(&self) -> Vec<(IpAddr, Refusal, u64)> {
        let counts = std::mem::take(&mut *self.counts.lock());
        counts.into_iter().map(|((from, why), count)| (from, why, count)).collect()
    }
}

/// The open connections, so that they can be closed.
#[derive(Default)]
struct Connections {
    open: Mutex<(u64, BTreeMap<u64, Arc<Socket>>)>,
}

impl DataServer {
    /// [`DataServer::serve`] without TLS.
    ///
    /// # Errors
    /// As that.
    pub fn start(listener: TcpListener, key: Key, source: Arc<dyn BlockSource>) -> Result<DataServer> {
        Self::serve(listener, Transport::loopback(), key, source)
    }

    /// Serves the blocks of `source` at `listener`; `key` is the cluster secret.
    ///
    /// # Errors
    /// `IO` if no thread can be had.
    pub fn serve(
        listener: TcpListener,
        transport: Transport,
        key: Key,
        source: Arc<dyn BlockSource>,
    ) -> Result<DataServer> {
        let connections = Arc::new(Connections::default());
        let key_for = move |role| match role {
            Role::Fetcher => Some(key.clone()),
            Role::Reader(app) => Some(key.for_app(app)),
            Role::Master | Role::Worker | Role::Driver(_) => None,
        };
        let serve = {
            let connections = connections.clone();
            move |stream: Socket, role: Role| {
                let only = match role {
                    Role::Reader(app) => Some(app),
                    _ => None,
                };
                let stream = Arc::new(stream);
                let id = connections.add(&stream);
                if let Err(error) = serve_connection(&stream, source.as_ref(), only) {
                    tracing::debug!(%error, ?role, "a data connection ended");
                }
                connections.remove(id);
            }
        };
        let refused = Arc::<Refused>::default();
        let mut service = Service::over(transport, "data", Role::Worker);
        let noted = refused.clone();
        service.on_refusal = Box::new(move |why, from, _| noted.note(why, from));
        let listener = Listener::serve(listener, service, key_for, serve)?;
        Ok(DataServer { listener, refused, connections })
    }

    /// Where it listens, `host:port`.
    pub fn address(&self) -> String {
        self.listener.address().to_string()
    }

    /// The connections that it has refused.
    pub fn refused(&self) -> Arc<Refused> {
        self.refused.clone()
    }

    /// Stops it and closes its connections.
    pub fn stop(self) {
        self.listener.stop();
        for stream in self.connections.open.lock().1.values() {
            if let Err(cause) = stream.shutdown(Shutdown::Both) {
                tracing::trace!(%cause, "closing a data connection");
            }
        }
    }
}

impl Connections {
    fn add(&self, stream: &Arc<Socket>) -> u64 {
        let mut open = self.open.lock();
        open.0 += 1;
        let id = open.0;
        open.1.insert(id, stream.clone());
        id
    }

    fn remove(&self, id: u64) {
        self.open.lock().1.remove(&id);
    }
}

fn serve_connection(stream: &Socket, source: &dyn BlockSource, only: Option<AppAttemptId>) -> Result<()> {
    stream
        .set_write_timeout(Some(READER_TIMEOUT))
        .map_err(|cause| Error::io("setting up a data connection", &cause))?;
    let mut reader = BufReader::with_capacity(4 * 1024, stream);
    // Answers that wait to be sent together, while further requests are here already.
    let mut out = Vec::new();
    while let Some(request) = read_frame::<BlockRequest>(&mut reader, REQUEST_LEN_MAX)? {
        // Of another application's block a reader does not learn whether there is one.
        let allowed = only.is_none_or(|app| app == request.block.app);
        let found = if allowed { source.open(&request.block) } else { None };
        match found.and_then(|block| part(&request, block)) {
            Some((block, segments, offset, bytes)) => {
                push_reply(&mut out, &BlockReply::Found { bytes, segments, frames: Vec::new() })?;
                if bytes <= COPIED_LEN {
                    copy_bytes(&mut out, &block, offset, bytes)?;
                } else {
                    // With MORE the answer leaves in one packet with the first of its bytes.
                    flush(stream, &mut out, SendFlags::NOSIGNAL | SendFlags::MORE)?;
                    send_bytes(stream, &block, offset, bytes)?;
                }
            }
            None => push_reply(&mut out, &BlockReply::Missing)?,
        }
        if reader.buffer().is_empty() || out.len() > OUT_LEN {
            flush(stream, &mut out, SendFlags::NOSIGNAL)?;
        }
    }
    Ok(())
}

/// What of a block a request means: the index of the segments, and where they lie. `None` if it has no such
/// part.
fn part(request: &BlockRequest, block: OpenBlock) -> Option<(OpenBlock, MapStatus, u64, u64)> {
    let (segments, offset, bytes) = match (&request.reducers, &block.status) {
        (None, status) => (status.as_deref().cloned().unwrap_or_default(), 0, block.bytes),
        (Some(reducers), Some(status)) => {
            let wanted = status.segments.get(reducers.start as usize..reducers.end as usize)?;
            let (offset, bytes) = status.span(reducers.clone());
            let segments = MapStatus { segments: wanted.to_vec(), ..MapStatus::default() };
            (segments, offset, bytes)
        }
        (Some(_), None) => return None,
    };
    let fits = offset.checked_add(bytes).is_some_and(|end| end <= block.bytes);
    fits.then_some((block, segments, offset, bytes))
}

fn push_reply(out: &mut Vec<u8>, reply: &BlockReply) -> Result<()> {
    let frame = encode_frame(reply)?;
    if frame.len() > DATA_FRAME_LEN_MAX {
        return Err(Error::new(ErrorCode::TooLarge, "the index of a block is too long for an answer"));
    }
    out.extend_from_slice(&frame);
    Ok(())
}

fn flush(stream: &Socket, out: &mut Vec<u8>, flags: SendFlags) -> Result<()> {
    send_all(stream, out, flags)?;
    out.clear();
    Ok(())
}

fn send_all(stream: &Socket, mut rest: &[u8], flags: SendFlags) -> Result<()> {
    while !rest.is_empty() {
        match rustix::net::send(stream, rest, flags) {
            Ok(sent) => rest = &rest[sent..],
            Err(Errno::INTR) => {}
            Err(cause) => return Err(lost("sending an answer", &cause.into())),
        }
    }
    Ok(())
}

fn too_short() -> Error {
    Error::new(ErrorCode::BlockCorrupt, "a block is shorter than its index says")
}

fn copy_bytes(out: &mut Vec<u8>, block: &OpenBlock, offset: u64, bytes: u64) -> Result<()> {
    let fd = match &block.data {
        BlockData::Memory(fd) => fd,
        BlockData::Disk(disk) => {
            return unpack(disk.as_ref(), offset, bytes, |piece| {
                out.extend_from_slice(piece);
                Ok(())
            });
        }
    };
    let mut filled = out.len();
    out.resize(filled + bytes as usize, 0);
    let start = filled;
    while filled < out.len() {
        let at = offset + (filled - start) as u64;
        match rustix::io::pread(fd, &mut out[filled..], at) {
            Ok(0) => return Err(too_short()),
            Ok(read) => filled += read,
            Err(Errno::INTR) => {}
            Err(cause) => return Err(Error::io("reading a block", &cause.into())),
        }
    }
    Ok(())
}

/// The bytes of a part of a block on disk, piece by piece.
fn unpack(
    disk: &dyn DiskBlock,
    offset: u64,
    bytes: u64,
    mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let (mut at, end) = (offset, offset + bytes);
    while at < end {
        let piece = disk.read(at, end - at)?;
        if piece.is_empty() {
            return Err(too_short());
        }
        each(&piece)?;
        at += piece.len() as u64;
    }
    Ok(())
}

fn send_bytes(stream: &Socket, block: &OpenBlock, offset: u64, bytes: u64) -> Result<()> {
    let fd = match &block.data {
        BlockData::Memory(fd) => fd,
        BlockData::Disk(disk) => {
            return unpack(disk.as_ref(), offset, bytes, |piece| {
                send_all(stream, piece, SendFlags::NOSIGNAL)
            });
        }
    };
    let mut at = offset;
    let end = offset + bytes;
    while at < end {
        let count = (end - at).min(SEND_LEN) as usize;
        match rustix::fs::sendfile(stream, fd, Some(&mut at), count) {
            Ok(0) => return Err(too_short()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(cause) => return Err(lost("sending a block", &cause.into())),
        }
    }
    Ok(())
}
