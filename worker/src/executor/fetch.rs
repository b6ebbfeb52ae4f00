//! Fetches segments from the data servers of other workers: requests are sent ahead, answers are read in
//! their order, and what arrives is checked before the reader sees it.

use super::answers::Answer;
use super::flight::{CellState, Flight, Loss, Peer};
use super::host::Host;
use super::mapped::{agree, decoded};
use super::signal::Signal;
use firesteel_common::block::{BlockId, BlockKind, HEADER_LEN, MapStatus, SegmentHeader};
use firesteel_common::event::FetchCause;
use firesteel_common::id::StageId;
use firesteel_common::protocol::data::BlockRequest;
use firesteel_common::protocol::executor::FromExecutor;
use firesteel_common::protocol::worker::MapPlace;
use firesteel_common::task::Segment;
use firesteel_common::{Error, ErrorCode, Result};
use firesteel_net::DataClient;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// Requests that are on their way on one connection. They fit into any socket's buffer, so that sending them
/// never waits for answers to be read.
const REQUESTS_AHEAD: usize = 32;
/// Idle connections that are kept for each peer.
const IDLE_MAX: usize = 4;
/// How often a peer is dialled again without any segment having arrived in between.
const TRIES_MAX: u32 = 2;
/// How long a peer may be silent before it counts as unreachable.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// One segment to be fetched.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// Its place in the flight.
    pub index: usize,
    /// Who wrote it.
    pub map: u32,
    /// For whom.
    pub reducer: u32,
    /// Where it should be.
    pub place: MapPlace,
    /// The version of that knowledge.
    pub version: u64,
}

/// Segments to be fetched from one peer, in the order in which they are wanted.
pub struct FetchJob {
    /// Whose map outputs.
    pub stage: StageId,
    /// From whom.
    pub peer: Peer,
    /// What.
    pub fetches: Vec<Fetch>,
    /// For whom.
    pub flight: Arc<Flight>,
    /// Reports a loss to the worker.
    pub report: Arc<dyn Fn(Loss) + Send + Sync>,
    /// Of the attempt.
    pub signal: Arc<Signal>,
}

/// Connections to other workers that nobody uses now.
#[derive(Default)]
pub struct Peers {
    idle: Mutex<BTreeMap<Peer, Vec<DataClient>>>,
}

impl Peers {
    fn take(&self, peer: &Peer) -> Option<DataClient> {
        self.idle.lock().get_mut(peer)?.pop()
    }

    fn give_back(&self, peer: &Peer, client: DataClient) {
        let mut idle = self.idle.lock();
        let clients = idle.entry(peer.clone()).or_default();
        if clients.len() < IDLE_MAX {
            clients.push(client);
        }
    }

    fn forget(&self, peer: &Peer) {
        self.idle.lock().remove(peer);
    }
}

/// A connection to a peer, made by the worker.
fn connect(host: &Host, peer: &Peer, signal: &Signal) -> Result<DataClient> {
    let request = |request| FromExecutor::Connect { request, worker: peer.0, address: peer.1.to_string() };
    match host.answers.ask(&host.worker, signal, None, request)? {
        Answer::Peer(Some(fd)) => {
            let stream = TcpStream::from(fd);
            let failed = |cause| Error::io("setting up the connection to a peer", &cause);
            // The client sets its own, longer timeout on the socket, which this handle shares.
            let socket = stream.try_clone().map_err(failed)?;
            let client = DataClient::new(stream);
            socket.set_read_timeout(Some(SILENCE_MAX)).map_err(failed)?;
            Ok(client)
        }
        _ => Err(Error::new(ErrorCode::Unreachable, format!("{} at {} cannot be reached", peer.0, peer.1))),
    }
}

/// Fetches all segments of a job; each gets its state in the flight.
pub fn run(host: &Host, job: &FetchJob) {
    let (mut done, mut tries) = (0, 0);
    let mut pooled = host.peers.take(&job.peer);
    while done < job.fetches.len() && !job.flight.closed() {
        let before = done;
        let fresh = pooled.is_none();
        let client = pooled.take().map_or_else(|| connect(host, &job.peer, &job.signal), Ok);
        let ended = client.and_then(|mut client| {
            drive(host, job, &mut client, &mut done)?;
            if done == job.fetches.len() {
                host.peers.give_back(&job.peer, client);
            }
            Ok(())
        });
        let Err(error) = ended else { return };
        tracing::debug!("fetching from {} at {}: {error}", job.peer.0, job.peer.1);
        // A kept connection may have been closed long ago; that says nothing about the peer.
        host.peers.forget(&job.peer);
        tries = if done > before { 0 } else { tries };
        tries += u32::from(fresh);
        if tries >= TRIES_MAX {
            break;
        }
    }
    if !job.flight.closed() {
        for fetch in &job.fetches[done..] {
            lost(job, fetch, FetchCause::Unreachable);
        }
    }
}

fn lost(job: &FetchJob, fetch: &Fetch, cause: FetchCause) {
    job.flight.arrived(fetch.index, fetch.version, CellState::Gone { version: fetch.version });
    if job.flight.first_report(fetch.map, fetch.version) {
        (job.report)(Loss { map: fetch.map, place: Some(fetch.place.clone()), cause });
    }
}

/// Sends requests ahead and reads their answers. An error is one of the connection; `done` says how far it
/// came.
fn drive(host: &Host, job: &FetchJob, client: &mut DataClient, done: &mut usize) -> Result<()> {
    let mut sent = *done;
    while *done < job.fetches.len() {
        // Half a window at a time, so that requests and answers do not alternate one by one.
        if sent - *done <= REQUESTS_AHEAD / 2 {
            let until = job.fetches.len().min(*done + REQUESTS_AHEAD);
            for fetch in &job.fetches[sent..until] {
                client.request(&request(host, job.stage, fetch))?;
            }
            sent = until;
        }
        let fetch = &job.fetches[*done];
        let Some((status, bytes)) = client.reply()? else {
            lost(job, fetch, FetchCause::Missing);
            *done += 1;
            continue;
        };
        if !job.flight.admit(&job.peer, bytes) {
            return Ok(());
        }
        let state = match receive(host, client, bytes) {
            Ok(buffer) => match open(fetch, &status, buffer) {
                Ok(segment) => CellState::Here(segment, job.peer.clone(), bytes),
                Err(error) => {
                    tracing::warn!("map {} of {} from {}: {error}", fetch.map, job.stage, job.peer.0);
                    job.flight.give_back(&job.peer, bytes);
                    lost(job, fetch, FetchCause::Corrupt);
                    *done += 1;
                    continue;
                }
            },
            Err(error) => {
                job.flight.give_back(&job.peer, bytes);
                if error.code != ErrorCode::OutOfMemory {
                    return Err(error);
                }
                job.flight.arrived(fetch.index, fetch.version, CellState::Failed(error));
                return Ok(());
            }
        };
        job.flight.arrived(fetch.index, fetch.version, state);
        *done += 1;
    }
    Ok(())
}

fn request(host: &Host, stage: StageId, fetch: &Fetch) -> BlockRequest {
    let kind = BlockKind::MapOutput { stage, partition: fetch.map, attempt: fetch.place.attempt };
    let block = BlockId { app: host.setup.app, kind };
    BlockRequest { block, reducers: Some(fetch.reducer..fetch.reducer + 1) }
}

fn receive(host: &Host, client: &mut DataClient, bytes: u64) -> Result<super::buffers::Buffer> {
    let mut buffer = host.buffers.take(usize::try_from(bytes).unwrap_or(usize::MAX))?;
    client.read_exact(buffer.as_mut())?;
    Ok(buffer)
}

/// Checks what has arrived for one reducer.
fn open(fetch: &Fetch, status: &MapStatus, buffer: super::buffers::Buffer) -> Result<Option<Segment>> {
    let corrupt = |what: &str| Error::new(ErrorCode::BlockCorrupt, what);
    let [stat] = status.segments[..] else {
        return Err(corrupt("a peer answered for other reducers than it was asked for"));
    };
    if stat.bytes != buffer.as_ref().len() as u64 {
        return Err(corrupt("a peer sent another number of bytes than its index says"));
    }
    if stat.bytes == 0 {
        return Ok(None);
    }
    let (header, _) = SegmentHeader::open(buffer.as_ref())?;
    agree(&header, stat.checksum, stat.rows)?;
    decoded(fetch.map, fetch.reducer, header, Arc::new(buffer), HEADER_LEN).map(Some)
}

/// Fetches a whole block of one segment; `None` if the peer does not have it.
///
/// # Errors
/// If the peer cannot be reached, or what it sends is damaged.
pub fn whole_block(
    host: &Host,
    peer: &Peer,
    block: BlockId,
    signal: &Signal,
) -> Result<Option<(Segment, u64)>> {
    let once = |mut client: DataClient| {
        client.request(&BlockRequest { block, reducers: None })?;
        let found = match client.reply()? {
            Some((_, bytes)) => Some((receive(host, &mut client, bytes)?, bytes)),
            None => None,
        };
        host.peers.give_back(peer, client);
        Ok(found)
    };
    let found = match host.peers.take(peer).map(once) {
        Some(Ok(found)) => found,
        _ => connect(host, peer, signal).and_then(once)?,
    };
    let Some((buffer, bytes)) = found else { return Ok(None) };
    let (header, _) = SegmentHeader::open(buffer.as_ref())?;
    Ok(Some((decoded(0, 0, header, Arc::new(buffer), HEADER_LEN)?, bytes)))
}
