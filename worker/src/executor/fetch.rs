//! Fetches segments of other workers: requests are sent ahead, answers are read in
//! their order, and what arrives is checked before the reader sees it.

use super::flight::{CellState, Flight, Loss, Peer};
use super::held::{Held, hold};
use super::host::Host;
use super::mapped::{MappedBlock, agree, decoded};
use super::memory::TaskMemory;
use super::peer::{Client, LocalClient, connect};
use super::signal::Signal;
use firesteel_common::block::{BlockId, BlockKind, HEADER_LEN, MapStatus, SegmentHeader};
use firesteel_common::event::FetchCause;
use firesteel_common::id::StageId;
use firesteel_common::protocol::data::BlockRequest;
use firesteel_common::protocol::worker::MapPlace;
use firesteel_common::task::Segment;
use firesteel_common::{Error, ErrorCode, Result};
use firesteel_net::DataClient;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// Requests that are on their way on one connection. They fit into any socket's buffer, so that sending them
/// never waits for answers to be read.
const REQUESTS_AHEAD: usize = 32;
/// Descriptors that are on their way on one connection.
const DESCRIPTORS_AHEAD: usize = 16;
/// How often a peer is dialled again without any segment having arrived in between.
const TRIES_MAX: u32 = 2;

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
    /// Of the attempt; what arrives is charged to it.
    pub memory: Arc<TaskMemory>,
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
            match &mut client {
                Client::Remote(remote) => drive(host, job, remote, &mut done)?,
                Client::Local(local) => drive_local(host, job, local, &mut done)?,
            }
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
        if !job.flight.admit(&job.peer, fetch.index, bytes) {
            return Ok(());
        }
        let state = match receive(host, client, bytes, &job.memory) {
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
    BlockRequest { block: block(host, stage, fetch), reducers: Some(fetch.reducer..fetch.reducer + 1) }
}

fn block(host: &Host, stage: StageId, fetch: &Fetch) -> BlockId {
    let kind = BlockKind::MapOutput { stage, partition: fetch.map, attempt: fetch.place.attempt };
    BlockId { app: host.setup.app, kind }
}

fn receive(host: &Host, client: &mut DataClient, bytes: u64, memory: &Arc<TaskMemory>) -> Result<Held> {
    hold(bytes, memory, |len| host.buffers.take(len), |piece| client.read_exact(piece))
}

/// Checks what has arrived for one reducer.
fn open(fetch: &Fetch, status: &MapStatus, buffer: Held) -> Result<Option<Segment>> {
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

/// Gets the blocks of a worker of this machine, and takes the segments out of them.
fn drive_local(host: &Host, job: &FetchJob, client: &mut LocalClient, done: &mut usize) -> Result<()> {
    while *done < job.fetches.len() {
        if job.flight.closed() {
            return Ok(());
        }
        let until = job.fetches.len().min(*done + DESCRIPTORS_AHEAD);
        let ahead = &job.fetches[*done..until];
        let mut blocks: BTreeMap<BlockId, Result<Arc<MappedBlock>, FetchCause>> = BTreeMap::new();
        let mut asked = Vec::new();
        for id in ahead.iter().map(|fetch| block(host, job.stage, fetch)) {
            if let Entry::Vacant(vacant) = blocks.entry(id) {
                match host.mappings.mapped(&id) {
                    Some(mapped) => drop(vacant.insert(Ok(mapped))),
                    None => {
                        vacant.insert(Err(FetchCause::Missing));
                        client.request(id)?;
                        asked.push(id);
                    }
                }
            }
        }
        for id in asked {
            match client.reply()? {
                Some(Ok(mapped)) => {
                    host.mappings.insert(id, mapped.clone());
                    blocks.insert(id, Ok(mapped));
                }
                Some(Err(error)) => {
                    tracing::warn!("{id} from {}: {error}", job.peer.0);
                    blocks.insert(id, Err(FetchCause::Corrupt));
                }
                None => {}
            }
        }
        for fetch in ahead {
            let id = block(host, job.stage, fetch);
            let found = blocks.get(&id).cloned().unwrap_or(Err(FetchCause::Missing));
            match found.map(|mapped| mapped.segment(fetch.map, fetch.reducer, &job.memory)) {
                Ok(Ok(segment)) => {
                    job.flight.arrived(fetch.index, fetch.version, CellState::Mapped(segment));
                }
                Ok(Err(error)) => {
                    tracing::warn!("{id} from {}: {error}", job.peer.0);
                    host.mappings.drop_block(id.kind);
                    lost(job, fetch, FetchCause::Corrupt);
                }
                Err(cause) => lost(job, fetch, cause),
            }
            *done += 1;
        }
    }
    Ok(())
}

/// A whole block of one segment.
pub struct WholeBlock {
    /// Its segment.
    pub segment: Segment,
    /// Bytes of the block.
    pub bytes: u64,
    /// Whether it is mapped, or came over a socket.
    pub mapped: bool,
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
    memory: &Arc<TaskMemory>,
) -> Result<Option<WholeBlock>> {
    let over = |client| whole_block_over(host, peer, block, client, memory);
    match host.peers.take(peer).map(over) {
        Some(Ok(found)) => Ok(found),
        // A kept connection may have been closed long ago; that says nothing about the peer.
        _ => connect(host, peer, signal).and_then(over),
    }
}

fn whole_block_over(
    host: &Host,
    peer: &Peer,
    block: BlockId,
    mut client: Client,
    memory: &Arc<TaskMemory>,
) -> Result<Option<WholeBlock>> {
    let found = match &mut client {
        Client::Remote(remote) => {
            remote.request(&BlockRequest { block, reducers: None })?;
            match remote.reply()? {
                Some((_, bytes)) => {
                    let buffer = receive(host, remote, bytes, memory)?;
                    let (header, _) = SegmentHeader::open(buffer.as_ref())?;
                    let segment = decoded(0, 0, header, Arc::new(buffer), HEADER_LEN)?;
                    Some(WholeBlock { segment, bytes, mapped: false })
                }
                None => None,
            }
        }
        Client::Local(local) => {
            local.request(block)?;
            match local.reply()?.transpose()? {
                Some(mapped) => {
                    host.mappings.insert(block, mapped.clone());
                    let segment = mapped.segment(0, 0, memory)?;
                    segment.map(|(segment, bytes)| WholeBlock { segment, bytes, mapped: true })
                }
                None => None,
            }
        }
    };
    host.peers.give_back(peer, client);
    Ok(found)
}
