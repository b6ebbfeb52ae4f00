//! Blocks of this machine: those in memory mapped once for all tasks of this process, each segment checked at
//! its first use; of those on disk one segment at a time is read and checked, each time.

use super::buffers::Buffer;
use super::held::hold;
use super::memory::TaskMemory;
use firesteel_common::block::{BlockId, BlockKind, Encoding, HEADER_LEN, MapStatus, SegmentHeader};
use firesteel_common::id::{AppAttemptId, DatasetId, StageId};
use firesteel_common::protocol::executor::{FromExecutor, OpenedBlock};
use firesteel_common::task::Segment;
use firesteel_common::{Error, ErrorCode, Result};
use firesteel_net::fds::FdSender;
use firesteel_store::FrameFile;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// Mappings that are kept at most; the kernel allows about four times as many in a process.
const MAPPINGS_MAX: usize = 16 * 1024;

/// That part of the worker's memory is kept mapped of other workers' blocks at most.
const FOREIGN_PART: u64 = 8;

type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A block of this machine, open in this process.
pub struct MappedBlock {
    data: Data,
    /// Where each segment begins, and the end of the last one.
    offsets: Vec<u64>,
    /// For a map output.
    status: Option<MapStatus>,
    checked: Vec<AtomicBool>,
}

/// Where the bytes of a block are.
enum Data {
    /// Mapped.
    Memory(Bytes),
    /// In a file on disk.
    Disk(FrameFile),
}

impl MappedBlock {
    /// Takes the bytes of a block, and its index if it is a map output.
    fn new(data: Data, status: Option<MapStatus>) -> Result<Self> {
        let len = match &data {
            Data::Memory(bytes) => bytes.as_ref().as_ref().len() as u64,
            Data::Disk(file) => file.plain(),
        };
        let mut offsets = vec![0];
        match &status {
            Some(status) => {
                let mut end = 0_u64;
                for stat in &status.segments {
                    end = end.saturating_add(stat.bytes);
                    offsets.push(end);
                }
            }
            None => offsets.push(len),
        }
        if offsets.last() != Some(&len) {
            return Err(Error::new(
                ErrorCode::BlockCorrupt,
                "a block has another length than its index says",
            ));
        }
        let checked = (1..offsets.len()).map(|_| AtomicBool::new(false)).collect();
        Ok(Self { data, offsets, status, checked })
    }

    /// Maps a block that is in memory, or takes the file of one that is on disk.
    ///
    /// # Errors
    /// If it is not sealed, does not fit its index, or cannot be mapped.
    pub fn open(found: OpenedBlock, fd: OwnedFd) -> Result<Self> {
        let data = if found.frames.is_empty() {
            Data::Memory(Arc::new(firesteel_store::map_sealed(fd.as_fd(), found.bytes)?))
        } else {
            Data::Disk(FrameFile::adopt(fd, found.frames)?)
        };
        Self::new(data, found.status)
    }

    /// Whether it is on disk.
    pub fn is_on_disk(&self) -> bool {
        matches!(self.data, Data::Disk(_))
    }

    /// Bytes of memory that stay as long as it is mapped.
    fn mapped_bytes(&self) -> u64 {
        if self.is_on_disk() { 0 } else { self.offsets.last().copied().unwrap_or_default() }
    }

    /// The segment that map partition `map` wrote for `reducer`, and its length as it is stored; `None` if it
    /// is empty. For a block that is not a map output there is only reducer 0. One that comes from disk is
    /// charged to `memory`.
    ///
    /// # Errors
    /// `BLOCK_CORRUPT` if the bytes are not what they should be.
    pub fn segment(
        &self,
        map: u32,
        reducer: u32,
        memory: &Arc<TaskMemory>,
    ) -> Result<Option<(Segment, u64)>> {
        let index = reducer as usize;
        let Some(checked) = self.checked.get(index) else {
            let message = format!("a map output has no segment for reducer {reducer}");
            return Err(Error::new(ErrorCode::BlockCorrupt, message));
        };
        let (start, end) = (self.offsets[index], self.offsets[index + 1]);
        if start == end {
            return Ok(None);
        }
        let whole = match &self.data {
            Data::Memory(whole) => whole,
            Data::Disk(file) => {
                let mut at = start;
                let buffer = hold(end - start, memory, Buffer::zeros, |piece| {
                    file.read_exact(at, piece)?;
                    at += piece.len() as u64;
                    Ok(())
                })?;
                let header = self.checked(index, buffer.as_ref())?;
                let segment = decoded(map, reducer, header, Arc::new(buffer), HEADER_LEN)?;
                return Ok(Some((segment, end - start)));
            }
        };
        let bytes = &whole.as_ref().as_ref()[start as usize..end as usize];
        let header = if checked.load(Ordering::Acquire) {
            SegmentHeader::decode(bytes, end - start)?
        } else {
            let header = self.checked(index, bytes)?;
            checked.store(true, Ordering::Release);
            header
        };
        let segment = decoded(map, reducer, header, whole.clone(), start as usize + HEADER_LEN)?;
        Ok(Some((segment, end - start)))
    }

    /// The header of a segment that is whole, and the one that the index names.
    fn checked(&self, index: usize, bytes: &[u8]) -> Result<SegmentHeader> {
        let (header, _) = SegmentHeader::open(bytes)?;
        if let Some(status) = &self.status {
            agree(&header, status.segments[index].checksum, status.segments[index].rows)?;
        }
        Ok(header)
    }
}

/// Checks a header against the index.
pub fn agree(header: &SegmentHeader, checksum: u64, rows: u64) -> Result<()> {
    if header.checksum == checksum && header.records == rows {
        return Ok(());
    }
    Err(Error::new(ErrorCode::BlockCorrupt, "a segment is not the one that its index names"))
}

/// The segment whose stored payload begins at `start` of `bytes`, decompressed if need be.
pub fn decoded(map: u32, reducer: u32, header: SegmentHeader, bytes: Bytes, start: usize) -> Result<Segment> {
    let segment = Segment::new(map, reducer, header, bytes, start);
    match header.encoding {
        Encoding::Plain => Ok(segment),
        Encoding::Lz4 => {
            let plain = firesteel_store::decompress(&header, segment.payload())?;
            let header = SegmentHeader { encoding: Encoding::Plain, stored_len: header.raw_len, ..header };
            Ok(Segment::new(map, reducer, header, Arc::new(Buffer::copy_of(&plain)?), 0))
        }
    }
}

/// What became of a block that was asked for.
#[derive(Clone)]
pub enum Lookup {
    /// Here it is.
    Mapped(Arc<MappedBlock>),
    /// The worker has not answered yet.
    Asked,
    /// The worker does not have it.
    Missing,
    /// It is there and no good.
    Corrupt(Error),
}

struct Entry {
    /// The number of the request that this is the answer to.
    request: u64,
    state: Lookup,
}

/// The blocks that this process has asked the own worker for, and those that it got from others of this
/// machine.
pub struct Mappings {
    app: AppAttemptId,
    inner: Mutex<Inner>,
    foreign_max: u64,
}

#[derive(Default)]
struct Inner {
    last: u64,
    entries: BTreeMap<BlockId, Entry>,
    asked: BTreeMap<u64, BlockId>,
    /// Mapped blocks of other workers in the order in which they came, and their bytes. Those workers do not
    /// say when a block has left their memory.
    foreign: VecDeque<(BlockId, Weak<MappedBlock>, u64)>,
    foreign_bytes: u64,
}

impl Inner {
    /// Unmaps what came first from other workers, until it is not too much.
    fn bound_foreign(&mut self, max: u64) {
        while self.foreign_bytes > max || self.foreign.len() > MAPPINGS_MAX {
            let Some((block, mapped, bytes)) = self.foreign.pop_front() else { return };
            self.foreign_bytes = self.foreign_bytes.saturating_sub(bytes);
            let same = |entry: &Entry| match &entry.state {
                Lookup::Mapped(now) => std::ptr::eq(Arc::as_ptr(now), mapped.as_ptr()),
                _ => false,
            };
            if self.entries.get(&block).is_some_and(same) {
                self.entries.remove(&block);
            }
        }
    }

    /// Unmaps what nobody reads now if there are too many.
    fn make_room(&mut self) {
        if self.entries.len() <= MAPPINGS_MAX {
            return;
        }
        self.entries.retain(|_, entry| match &entry.state {
            Lookup::Mapped(block) => Arc::strong_count(block) > 1,
            Lookup::Asked => true,
            Lookup::Missing | Lookup::Corrupt(_) => false,
        });
    }
}

impl Mappings {
    /// Nothing yet, in a worker with that much memory.
    pub fn new(app: AppAttemptId, memory: u64) -> Self {
        Self { app, inner: Mutex::default(), foreign_max: memory / FOREIGN_PART }
    }

    /// Forgets what is mapped of blocks that have left the own worker's memory. Segments that are still read
    /// stay mapped until they are dropped.
    pub fn unmap(&self, blocks: &[BlockId]) {
        let mut inner = self.inner.lock();
        for block in blocks {
            if inner.entries.get(block).is_some_and(|entry| matches!(entry.state, Lookup::Mapped(_))) {
                inner.entries.remove(block);
            }
        }
    }

    /// A mark in time, for [`Mappings::look_up`].
    pub fn now(&self) -> u64 {
        self.inner.lock().last
    }

    /// Looks for a block, and asks the worker for it if that was not done. That the worker does not have it
    /// counts only if it was asked after `since`.
    ///
    /// # Errors
    /// If the worker cannot be asked.
    pub fn look_up(&self, worker: &FdSender, kind: BlockKind, since: u64) -> Result<Lookup> {
        let block = BlockId { app: self.app, kind };
        let request = {
            let mut inner = self.inner.lock();
            match inner.entries.get(&block) {
                Some(Entry { state: state @ (Lookup::Mapped(_) | Lookup::Asked), .. }) => {
                    return Ok(state.clone());
                }
                Some(entry) if entry.request > since => return Ok(entry.state.clone()),
                _ => {}
            }
            inner.last += 1;
            let request = inner.last;
            inner.asked.insert(request, block);
            inner.entries.insert(block, Entry { request, state: Lookup::Asked });
            request
        };
        worker.send(&FromExecutor::OpenBlock { request, block }, None)?;
        Ok(Lookup::Asked)
    }

    /// A block that is mapped already, whoever had it.
    pub fn mapped(&self, block: &BlockId) -> Option<Arc<MappedBlock>> {
        match self.inner.lock().entries.get(block)?.state {
            Lookup::Mapped(ref mapped) => Some(mapped.clone()),
            _ => None,
        }
    }

    /// Takes a block of another worker of this machine. A block has one content, whoever has it.
    pub fn insert(&self, block: BlockId, mapped: Arc<MappedBlock>) {
        let mut inner = self.inner.lock();
        inner.make_room();
        let (request, bytes) = (inner.last, mapped.mapped_bytes());
        inner.foreign.push_back((block, Arc::downgrade(&mapped), bytes));
        inner.foreign_bytes += bytes;
        inner.entries.insert(block, Entry { request, state: Lookup::Mapped(mapped) });
        inner.bound_foreign(self.foreign_max);
    }

    /// Takes the worker's answer.
    pub fn opened(&self, request: u64, found: Option<OpenedBlock>, fd: Option<OwnedFd>) {
        let state = match (found, fd) {
            (Some(found), Some(fd)) => match MappedBlock::open(found, fd) {
                Ok(block) => Lookup::Mapped(Arc::new(block)),
                Err(error) => Lookup::Corrupt(error),
            },
            _ => Lookup::Missing,
        };
        let mut inner = self.inner.lock();
        let Some(block) = inner.asked.remove(&request) else { return };
        inner.make_room();
        if let Some(entry) = inner.entries.get_mut(&block).filter(|entry| entry.request == request) {
            entry.state = state;
        }
    }

    /// Forgets a block that was found to be no good, so that it is asked for again.
    pub fn drop_block(&self, kind: BlockKind) {
        self.inner.lock().entries.remove(&BlockId { app: self.app, kind });
    }

    /// Forgets stages and datasets. Segments that are still read stay mapped until they are dropped.
    pub fn forget(&self, stages: &[StageId], datasets: &[DatasetId]) {
        self.inner.lock().entries.retain(|block, _| match &block.kind {
            BlockKind::MapOutput { stage, .. } | BlockKind::Result { stage, .. } => !stages.contains(stage),
            BlockKind::Cached { dataset, .. } => !datasets.contains(dataset),
            BlockKind::Broadcast { .. } => true,
        });
    }
}
