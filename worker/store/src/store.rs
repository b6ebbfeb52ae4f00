//! The block store of a worker: sealed blocks by their names, in memory as far as the budget goes.
//!
//! Map outputs, results and broadcast values are always taken: without them nothing goes on. Cached
//! partitions go first when there is no room: the least recently used one that nobody reads, but never one of
//! the dataset that is being stored, or a dataset that is larger than the memory would push out exactly what
//! is read next. A block whose level allows it is spilled to disk; another cached partition is dropped, since
//! lineage can make it again. When that is not enough, map outputs and the like are spilled too. What is read
//! from disk stays in memory where there is room.

use crate::memfd::{length, seal};
use crate::spill::Spilled;
use firesteel_common::block::{BlockId, BlockKind, MapStatus, StorageLevel};
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::id::{AppAttemptId, DatasetId, StageId};
use firesteel_net::{BlockSource, OpenBlock};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// Told of blocks that the store has given up: cached partitions without room, and what cannot be read back.
pub type Lost = Box<dyn Fn(Vec<BlockId>) + Send + Sync>;

/// The blocks that a worker keeps. Shared by all its threads.
pub struct BlockStore {
    budget: u64,
    /// Where blocks are spilled; without it nothing is.
    dir: Option<PathBuf>,
    blocks: Mutex<Blocks>,
    lost: OnceLock<Lost>,
}

#[derive(Default)]
struct Blocks {
    by_id: BTreeMap<BlockId, Entry>,
    /// Bytes in memory.
    used: u64,
    /// Counts what is done, for the order of use.
    clock: u64,
    counts: Counts,
}

struct Entry {
    place: Place,
    bytes: u64,
    status: Option<Arc<MapStatus>>,
    level: StorageLevel,
    used_at: u64,
}

/// Where a block is.
enum Place {
    Memory(Arc<OwnedFd>),
    /// On disk; whoever reads it holds the lock.
    Disk(Arc<Mutex<Spilled>>),
}

/// What the store has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes of blocks that were spilled, before packing.
    pub spilled_bytes: u64,
    /// Bytes that they took on disk.
    pub stored_bytes: u64,
    /// Blocks that were read back from disk.
    pub restored: u64,
    /// Cached partitions that were dropped for lack of room.
    pub dropped: u64,
    /// Blocks on disk that could not be read back.
    pub corrupt: u64,
}

/// A block that leaves memory.
struct Victim {
    id: BlockId,
    fd: Arc<OwnedFd>,
    bytes: u64,
}

impl BlockStore {
    /// An empty store with a budget in bytes. Blocks are spilled into `dir`, if there is one.
    pub fn new(budget_bytes: u64, dir: Option<PathBuf>) -> Self {
        Self { budget: budget_bytes, dir, blocks: Mutex::default(), lost: OnceLock::new() }
    }

    /// Says who is told of lost blocks; only the first one is.
    pub fn on_lost(&self, lost: Lost) {
        self.lost.set(lost).ok();
    }

    /// Keeps a block: seals its file, and checks that it has `bytes` bytes and fits its index. `Ok(false)` if
    /// it is a cached partition for which there is no room. A block that is here already stays as it is, and
    /// the new file is dropped. May wait for the disk.
    ///
    /// # Errors
    /// As [`seal`]; `BLOCK_CORRUPT` if the file has another length, or its index sums to another.
    pub fn put(
        &self,
        id: BlockId,
        fd: OwnedFd,
        bytes: u64,
        status: Option<MapStatus>,
        level: StorageLevel,
    ) -> Result<bool> {
        seal(&fd)?;
        check(&id, &fd, bytes, status.as_ref())?;
        if self.blocks.lock().by_id.contains_key(&id) {
            return Ok(true);
        }
        let fd = Arc::new(fd);
        let is_cached = matches!(id.kind, BlockKind::Cached { .. });
        // Only cached partitions have a choice.
        let to_disk = is_cached && !level.uses_memory();
        let fits = !to_disk && self.make_room(&id, bytes);
        let place = if fits || !is_cached {
            Place::Memory(fd)
        } else if !level.uses_disk() {
            return Ok(false);
        } else {
            match self.spill(&fd, bytes) {
                Some(spilled) => Place::Disk(spilled),
                None => return Ok(false),
            }
        };
        let mut blocks = self.blocks.lock();
        let in_memory = matches!(place, Place::Memory(_));
        let used_at = blocks.tick();
        let entry = Entry { place, bytes, status: status.map(Arc::new), level, used_at };
        if blocks.by_id.contains_key(&id) {
            return Ok(true);
        }
        blocks.by_id.insert(id, entry);
        if in_memory {
            let before = blocks.used;
            blocks.used = before.saturating_add(bytes);
            if blocks.used > self.budget && before <= self.budget {
                tracing::warn!(used = blocks.used, budget = self.budget, block = %id,
                    "the block store is over its budget");
            }
        }
        Ok(true)
    }

    /// Moves blocks out of memory until `bytes` more fit; says whether they do.
    fn make_room(&self, id: &BlockId, bytes: u64) -> bool {
        let (spills, drops) = {
            let mut blocks = self.blocks.lock();
            let Some(mut over) = blocks.over(self.budget, bytes) else { return true };
            let (dropped, cached) = blocks.cached_victims(id, self.dir.is_some(), &mut over);
            let mut spills = cached;
            if over > 0 && self.dir.is_some() && !matches!(id.kind, BlockKind::Cached { .. }) {
                spills.extend(blocks.other_victims(&mut over));
            }
            // A cached partition takes no room that is not there, so for its sake nothing is dropped in vain.
            if over > 0 && matches!(id.kind, BlockKind::Cached { .. }) {
                return false;
            }
            let ids: Vec<BlockId> = dropped.iter().map(|victim| victim.id).collect();
            blocks.counts.dropped += ids.len() as u64;
            (spills, blocks.remove(&ids))
        };
        let mut gone: Vec<BlockId> = drops.iter().map(|(id, _)| *id).collect();
        drop(drops);
        for victim in spills {
            gone.extend(self.move_to_disk(victim));
        }
        self.tell_lost(gone);
        self.blocks.lock().over(self.budget, bytes).is_none()
    }

    /// Spills a block that was chosen; its name if it had to be given up instead.
    fn move_to_disk(&self, victim: Victim) -> Option<BlockId> {
        let spilled = self.spill(&victim.fd, victim.bytes);
        let mut blocks = self.blocks.lock();
        // It may have been freed meanwhile.
        let entry = blocks.by_id.get_mut(&victim.id)?;
        match spilled {
            Some(spilled) => {
                entry.place = Place::Disk(spilled);
                blocks.used = blocks.used.saturating_sub(victim.bytes);
                None
            }
            None if matches!(victim.id.kind, BlockKind::Cached { .. }) => {
                blocks.counts.dropped += 1;
                let removed = blocks.remove(&[victim.id]);
                drop(blocks);
                drop(removed);
                Some(victim.id)
            }
            // It stays in memory, beyond the budget.
            None => None,
        }
    }

    fn spill(&self, fd: &OwnedFd, bytes: u64) -> Option<Arc<Mutex<Spilled>>> {
        match Spilled::write(self.dir.as_ref()?, fd, bytes) {
            Ok(spilled) => {
                let mut blocks = self.blocks.lock();
                blocks.counts.spilled_bytes += bytes;
                blocks.counts.stored_bytes += spilled.stored();
                Some(Arc::new(Mutex::new(spilled)))
            }
            Err(error) => {
                tracing::warn!(%error, "a block stays out of the spill directory");
                None
            }
        }
    }

    fn tell_lost(&self, lost: Vec<BlockId>) {
        if let Some(tell) = self.lost.get().filter(|_| !lost.is_empty()) {
            tell(lost);
        }
    }

    /// A block, to be read. It stays readable for whoever holds it, also after it was freed. One on disk is
    /// read back, which may take a while; one that cannot be read is lost.
    pub fn open(&self, id: &BlockId) -> Option<OpenBlock> {
        let (spilled, bytes, status) = {
            let mut blocks = self.blocks.lock();
            let now = blocks.tick();
            let entry = blocks.by_id.get_mut(id)?;
            entry.used_at = now;
            let (bytes, status) = (entry.bytes, entry.status.clone());
            match &entry.place {
                Place::Memory(fd) => return Some(OpenBlock { fd: fd.clone(), bytes, status }),
                Place::Disk(spilled) => (spilled.clone(), bytes, status),
            }
        };
        let reading = spilled.lock();
        let read = reading.read();
        drop(reading);
        match read {
            Ok(fd) => Some(self.restored(id, Arc::new(fd), bytes, status)),
            Err(error) => {
                tracing::warn!(%error, block = %id, "a spilled block is lost");
                let mut blocks = self.blocks.lock();
                blocks.counts.corrupt += 1;
                let removed = blocks.remove(&[*id]);
                drop(blocks);
                self.tell_lost(removed.iter().map(|(id, _)| *id).collect());
                None
            }
        }
    }

    /// Keeps what was read back in memory if it fits without pushing anything out.
    fn restored(
        &self,
        id: &BlockId,
        fd: Arc<OwnedFd>,
        bytes: u64,
        status: Option<Arc<MapStatus>>,
    ) -> OpenBlock {
        let mut blocks = self.blocks.lock();
        blocks.counts.restored += 1;
        let fits = blocks.over(self.budget, bytes).is_none();
        if let Some(entry) = blocks.by_id.get_mut(id)
            && fits
            && entry.level.uses_memory()
            && matches!(entry.place, Place::Disk(_))
        {
            entry.place = Place::Memory(fd.clone());
            blocks.used = blocks.used.saturating_add(bytes);
        }
        OpenBlock { fd, bytes, status }
    }

    /// Drops blocks; names that are not here are passed over.
    pub fn free(&self, ids: &[BlockId]) {
        let removed = self.blocks.lock().remove(ids);
        // The memory goes back to the system here, outside the lock.
        drop(removed);
    }

    /// Drops all blocks of an application attempt.
    pub fn free_app(&self, app: AppAttemptId) {
        let first =
            BlockId { app, kind: BlockKind::MapOutput { stage: StageId(0), partition: 0, attempt: 0 } };
        let blocks = self.blocks.lock();
        let of_app = blocks.by_id.range(first..).map(|(id, _)| *id).take_while(|id| id.app == app);
        let ids: Vec<BlockId> = of_app.collect();
        drop(blocks);
        self.free(&ids);
    }

    /// Bytes of all blocks in memory.
    pub fn used(&self) -> u64 {
        self.blocks.lock().used
    }

    /// What was spilled, dropped and read back so far.
    pub fn counts(&self) -> Counts {
        self.blocks.lock().counts
    }

    /// The names of all blocks, in their order.
    pub fn list(&self) -> Vec<BlockId> {
        self.blocks.lock().by_id.keys().copied().collect()
    }

    /// The file behind a block on disk, to be damaged by tests.
    #[cfg(test)]
    pub(crate) fn spilled(&self, id: &BlockId) -> Option<std::fs::File> {
        match &self.blocks.lock().by_id.get(id)?.place {
            Place::Memory(_) => None,
            Place::Disk(spilled) => spilled.lock().file().try_clone().ok(),
        }
    }
}

/// A block must be as long as was said, and as its index sums to.
fn check(id: &BlockId, fd: &OwnedFd, bytes: u64, status: Option<&MapStatus>) -> Result<()> {
    let corrupt =
        |what: String| Error::new(ErrorCode::BlockCorrupt, format!("keeping block {id}: it {what}"));
    let length = length(fd)?;
    if length != bytes {
        return Err(corrupt(format!("has {length} bytes, not the {bytes} it should have")));
    }
    if let Some(indexed) = status.map(MapStatus::bytes)
        && indexed != bytes
    {
        return Err(corrupt(format!("has {bytes} bytes, its index has {indexed}")));
    }
    Ok(())
}

fn dataset_of(id: &BlockId) -> Option<(AppAttemptId, DatasetId)> {
    match id.kind {
        BlockKind::Cached { dataset, .. } => Some((id.app, dataset)),
        _ => None,
    }
}

impl Blocks {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// By how many bytes memory would be over the budget with `more`; `None` if it would not.
    fn over(&self, budget: u64, more: u64) -> Option<u64> {
        let over = self.used.saturating_add(more).saturating_sub(budget);
        (over > 0).then_some(over)
    }

    /// Blocks in memory that nobody reads, the least recently used first.
    fn idle(&self, wanted: impl Fn(&BlockId, &Entry) -> bool) -> Vec<(u64, Victim)> {
        let mut idle: Vec<(u64, Victim)> = Vec::new();
        for (id, entry) in &self.by_id {
            if let Place::Memory(fd) = &entry.place
                && entry.bytes > 0
                && Arc::strong_count(fd) == 1
                && wanted(id, entry)
            {
                idle.push((entry.used_at, Victim { id: *id, fd: fd.clone(), bytes: entry.bytes }));
            }
        }
        idle.sort_by_key(|(used_at, _)| *used_at);
        idle
    }

    /// Cached partitions that make room for a block: those to drop, and those to spill.
    fn cached_victims(&self, id: &BlockId, can_spill: bool, over: &mut u64) -> (Vec<Victim>, Vec<Victim>) {
        let storing = dataset_of(id);
        let idle = self.idle(|id, _| dataset_of(id).is_some_and(|dataset| Some(dataset) != storing));
        let (mut drops, mut spills) = (Vec::new(), Vec::new());
        for (_, victim) in idle {
            if *over == 0 {
                break;
            }
            *over = over.saturating_sub(victim.bytes);
            let uses_disk = self.by_id.get(&victim.id).is_some_and(|entry| entry.level.uses_disk());
            let spill = can_spill && uses_disk;
            if spill { spills.push(victim) } else { drops.push(victim) }
        }
        (drops, spills)
    }

    /// Map outputs, results and broadcast values that make room.
    fn other_victims(&self, over: &mut u64) -> Vec<Victim> {
        let mut victims = Vec::new();
        for (_, victim) in self.idle(|id, _| dataset_of(id).is_none()) {
            if *over == 0 {
                break;
            }
            *over = over.saturating_sub(victim.bytes);
            victims.push(victim);
        }
        victims
    }

    fn remove(&mut self, ids: &[BlockId]) -> Vec<(BlockId, Entry)> {
        let mut removed = Vec::new();
        for id in ids {
            if let Some(entry) = self.by_id.remove(id) {
                if matches!(entry.place, Place::Memory(_)) {
                    // Saturating like the addition: an absurd length is counted as the most there can be.
                    self.used = self.used.saturating_sub(entry.bytes);
                }
                removed.push((*id, entry));
            }
        }
        removed
    }
}

impl BlockSource for BlockStore {
    fn open(&self, block: &BlockId) -> Option<OpenBlock> {
        BlockStore::open(self, block)
    }
}
