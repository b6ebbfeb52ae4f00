//! Connections to other workers, as the executor got them from its own: over TCP bytes come, over a unix
//! socket the descriptors of whole blocks, which are then mapped as if they were the own worker's.

use super::answers::Answer;
use super::flight::Peer;
use super::host::Host;
use super::mapped::MappedBlock;
use super::signal::Signal;
use firesteel_common::block::BlockId;
use firesteel_common::protocol::data::{BlockReply, BlockRequest};
use firesteel_common::protocol::executor::{FromExecutor, OpenedBlock};
use firesteel_common::{Error, ErrorCode, Result};
use firesteel_net::fds::{FdReceiver, FdSender, fd_channel};
use firesteel_net::{DataClient, Socket};
use parking_lot::Mutex;
use rustix::net::SocketAddrUnix;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// Idle connections that are kept for each peer.
const IDLE_MAX: usize = 4;
/// How long a peer may be silent before it counts as unreachable.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A connection to another worker.
pub enum Client {
    /// To its data server.
    Remote(DataClient),
    /// To a worker of this machine.
    Local(LocalClient),
}

/// Gets descriptors from a worker of this machine.
pub struct LocalClient {
    requests: FdSender,
    replies: FdReceiver,
}

impl LocalClient {
    /// Asks for a block. A few may be asked for before the first answer is taken.
    ///
    /// # Errors
    /// If the worker is gone.
    pub fn request(&self, block: BlockId) -> Result<()> {
        self.requests.send(&BlockRequest { block, reducers: None }, None)
    }

    /// The oldest block that was asked for and not taken; `None` if the worker does not have it. The inner
    /// error is one of the block.
    ///
    /// # Errors
    /// If the worker is gone.
    pub fn reply(&mut self) -> Result<Option<Result<Arc<MappedBlock>>>> {
        let gone = || Error::new(ErrorCode::Unreachable, "the other worker closed the connection");
        match self.replies.recv::<BlockReply>()?.ok_or_else(gone)? {
            (BlockReply::Found { bytes, segments, frames }, Some(fd)) => {
                let status = Some(segments).filter(|status| !status.segments.is_empty());
                Ok(Some(MappedBlock::open(OpenedBlock { bytes, status, frames }, fd).map(Arc::new)))
            }
            (BlockReply::Found { .. }, None) => {
                Err(Error::new(ErrorCode::Codec, "a block came without its descriptor"))
            }
            (BlockReply::Missing, _) => Ok(None),
        }
    }
}

/// Connections that nobody uses now.
#[derive(Default)]
pub struct Peers {
    idle: Mutex<BTreeMap<Peer, Vec<Client>>>,
}

impl Peers {
    /// An idle connection.
    pub fn take(&self, peer: &Peer) -> Option<Client> {
        self.idle.lock().get_mut(peer)?.pop()
    }

    /// Keeps a connection on which nothing is under way.
    pub fn give_back(&self, peer: &Peer, client: Client) {
        let mut idle = self.idle.lock();
        let clients = idle.entry(peer.clone()).or_default();
        if clients.len() < IDLE_MAX {
            clients.push(client);
        }
    }

    /// Closes what is kept for a peer that seems to be gone.
    pub fn forget(&self, peer: &Peer) {
        self.idle.lock().remove(peer);
    }
}

/// A new connection to a peer, made by the own worker.
///
/// # Errors
/// `UNREACHABLE` if that cannot make one, `KILLED` if the attempt is told to stop.
pub fn connect(host: &Host, peer: &Peer, signal: &Signal) -> Result<Client> {
    let request = |request| FromExecutor::Connect { request, worker: peer.0, address: peer.1.to_string() };
    match host.answers.ask(&host.worker, signal, None, request)? {
        Answer::Peer(Some(socket)) => client(socket),
        _ => Err(Error::new(ErrorCode::Unreachable, format!("{} at {} cannot be reached", peer.0, peer.1))),
    }
}

fn client(socket: OwnedFd) -> Result<Client> {
    let failed = |cause| Error::io("setting up the connection to a peer", &cause);
    // Only a socket in the file system hands over descriptors; a pair without a name carries a TLS session.
    let address = rustix::net::getpeername(&socket).map_err(|cause| failed(cause.into()))?;
    let is_local = match address.map(SocketAddrUnix::try_from) {
        Some(Ok(address)) => address.path().is_some(),
        _ => false,
    };
    if is_local {
        let stream = UnixStream::from(socket);
        stream.set_read_timeout(Some(SILENCE_MAX)).map_err(failed)?;
        let (requests, replies) = fd_channel(stream)?;
        return Ok(Client::Local(LocalClient { requests, replies }));
    }
    let stream = Socket::from(socket);
    // The client sets its own, longer timeout on the socket, which this handle shares.
    let shared = stream.try_clone().map_err(failed)?;
    let client = DataClient::new(stream);
    shared.set_read_timeout(Some(SILENCE_MAX)).map_err(failed)?;
    Ok(Client::Remote(client))
}
