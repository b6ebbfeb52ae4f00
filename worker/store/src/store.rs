//! The block store of a worker: sealed blocks by their names, in memory as far as the budget goes.
//!
//! There is one budget for blocks and for execution memory (what tasks aggregate and sort in). Blocks may use
//! what execution does not; execution pushes blocks out, and blocks never push out execution.
//!
//! Map outputs, results and broadcast values are always taken: without them nothing goes on. Cached
//! partitions go first when there is no room: the least recently used one that nobody reads, but never one of
//! the dataset that is being stored, or a dataset that is larger than the memory would push out exactly what
//! is read next. A block whose level allows it is spilled to disk; another cached partition is dropped, since
//! lineage can make it again. When that is not enough, map outputs and the like are spilled too, the new one
//! itself at last. What is on disk is read part by part, where it is; only cached partitions, results and
//! broadcast values come back into memory, where there is room.

use crate::blocks::{Blocks, Counts, Place, Victim, Victims, dataset_of};
use crate::frames::FrameFile;
use crate::memfd::{length, seal};
use crate::spill::Spilled;
use firesteel_common::block::{BlockId, BlockKind, MapStatus, StorageLevel};
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::id::{AppAttemptId, StageId};
use firesteel_net::{BlockData, BlockSource, DiskBlock, OpenBlock};
use parking_lot::Mutex;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// Told of blocks, by their names.
pub type Told = Box<dyn Fn(Vec<BlockId>) + Send + Sync>;

/// Told of a block that was written to disk: its name, its file, and the bytes of that.
pub type Written = Box<dyn Fn(&BlockId, BorrowedFd<'_>, u64) + Send + Sync>;

/// The blocks that a worker keeps. Shared by all its threads.
pub struct BlockStore {
    budget: u64,
    /// Where blocks are spilled; without it nothing is.
    dir: Option<PathBuf>,
    blocks: Mutex<Blocks>,
    lost: OnceLock<Told>,
    unmapped: OnceLock<Told>,
    written: OnceLock<Written>,
    /// Whoever makes room for execution memory: one after the other, so that nobody moves out what is moved
    /// out already.
    making_room: Mutex<()>,
}

impl BlockStore {
    /// An empty store with a budget in bytes. Blocks are spilled into `dir`, if there is one.
    pub fn new(budget_bytes: u64, dir: Option<PathBuf>) -> Self {
        let (lost, unmapped, written) = Default::default();
        Self {
            budget: budget_bytes,
            dir,
            blocks: Mutex::default(),
            lost,
            unmapped,
            written,
            making_room: Mutex::new(()),
        }
    }

    /// Says who is told of blocks that the store has given up (cached partitions without room, and what is
    /// damaged); only the first one is.
    pub fn on_lost(&self, lost: Told) {
        self.lost.set(lost).ok();
    }

    /// Says who is told of blocks that have left memory, so that nobody keeps them mapped; only the first
    /// one is.
    pub fn on_unmapped(&self, unmapped: Told) {
        self.unmapped.set(unmapped).ok();
    }

    /// Says who is told of blocks that were spilled, before anybody reads them there: tests damage them. Only
    /// the first one is.
    pub fn on_written(&self, written: Written) {
        self.written.set(written).ok();
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
        check(&id, length(&fd)?, bytes, status.as_ref())?;
        if self.blocks.lock().by_id.contains_key(&id) {
            return Ok(true);
        }
        let is_cached = dataset_of(&id).is_some();
        // Only cached partitions have a choice.
        let to_disk = is_cached && !level.uses_memory();
        let place = if !to_disk && self.make_room(&id, bytes) {
            Place::Memory(Arc::new(fd))
        } else if is_cached && !level.uses_disk() {
            return Ok(false);
        } else {
            match self.spill(&id, &fd, bytes) {
                Some(spilled) => Place::Disk(spilled),
                None if is_cached => return Ok(false),
                None => Place::Memory(Arc::new(fd)),
            }
        };
        let mut blocks = self.blocks.lock();
        let before = blocks.used;
        blocks.insert(id, place, bytes, status, level);
        let used = blocks.used;
        drop(blocks);
        if used > self.budget && before <= self.budget {
            tracing::warn!(used, budget = self.budget, block = %id, "the block store is over its budget");
        }
        Ok(true)
    }

    /// Whether a cached partition of so many bytes would be kept now, as [`BlockStore::put`] decides it.
    /// Nothing is moved.
    pub fn would_keep(&self, id: &BlockId, bytes: u64, level: StorageLevel) -> bool {
        if level.uses_disk() {
            return true;
        }
        let blocks = self.blocks.lock();
        let mut over = blocks.over(self.budget, bytes);
        if over > 0 {
            let _ = blocks.cached_victims(dataset_of(id), self.dir.is_some(), &mut over);
        }
        over == 0 || blocks.by_id.contains_key(id)
    }

    /// Keeps a block that is on disk already.
    ///
    /// # Errors
    /// `BLOCK_CORRUPT` if it has another length, or its index sums to another.
    pub fn put_on_disk(
        &self,
        id: BlockId,
        file: FrameFile,
        bytes: u64,
        status: Option<MapStatus>,
    ) -> Result<()> {
        check(&id, file.plain(), bytes, status.as_ref())?;
        let place = Place::Disk(Arc::new(Spilled::from(file)));
        self.blocks.lock().insert(id, place, bytes, status, StorageLevel::MemoryAndDisk);
        Ok(())
    }

    /// Moves blocks out of memory until `bytes` more fit; says whether they do.
    fn make_room(&self, id: &BlockId, bytes: u64) -> bool {
        let victims = {
            let mut blocks = self.blocks.lock();
            let mut over = blocks.over(self.budget, bytes);
            if over == 0 {
                return true;
            }
            let storing = dataset_of(id);
            let mut victims = blocks.cached_victims(storing, self.dir.is_some(), &mut over);
            if over > 0 && self.dir.is_some() && storing.is_none() {
                victims.spills.extend(blocks.other_victims(&mut over));
            }
            // A cached partition takes no room that is not there, so for its sake nothing is dropped in vain.
            if over > 0 && storing.is_some() {
                return false;
            }
            blocks.counts.dropped += victims.drops.len() as u64;
            victims
        };
        self.evict(victims);
        self.blocks.lock().over(self.budget, bytes) == 0
    }

    /// Says how much of the budget is execution memory. Nothing is moved by that.
    pub fn set_execution(&self, bytes: u64) {
        self.blocks.lock().execution = bytes;
    }

    /// Moves blocks out of memory until execution memory and they fit the budget together. Map outputs and
    /// the like are spilled first: they are read once more, where a cached partition may be computed anew.
    /// Gives by how many bytes memory is still over the budget. May wait for the disk.
    pub fn make_room_for_execution(&self) -> u64 {
        let _turn = self.making_room.lock();
        let victims = {
            let mut blocks = self.blocks.lock();
            let mut over = blocks.over(self.budget, 0);
            let mut victims = Victims::default();
            if over > 0 && self.dir.is_some() {
                victims.spills = blocks.other_victims(&mut over);
            }
            let cached = blocks.cached_victims(None, self.dir.is_some(), &mut over);
            victims.spills.extend(cached.spills);
            victims.drops = cached.drops;
            blocks.counts.dropped += victims.drops.len() as u64;
            victims
        };
        self.evict(victims);
        self.blocks.lock().over(self.budget, 0)
    }

    fn evict(&self, victims: Victims) {
        let dropped = self.blocks.lock().remove(&victims.drops);
        let mut gone: Vec<BlockId> = dropped.iter().map(|(id, _)| *id).collect();
        drop(dropped);
        let mut moved = gone.clone();
        for victim in victims.spills {
            moved.push(victim.id);
            gone.extend(self.move_to_disk(victim));
        }
        tell(&self.unmapped, moved);
        tell(&self.lost, gone);
    }

    /// Spills a block that was chosen; its name if it had to be given up instead.
    fn move_to_disk(&self, victim: Victim) -> Option<BlockId> {
        let spilled = self.spill(&victim.id, &victim.fd, victim.bytes);
        let mut blocks = self.blocks.lock();
        match spilled {
            // It may have been freed meanwhile.
            Some(spilled) => {
                let old = blocks.moved(&victim.id, Place::Disk(spilled));
                drop(blocks);
                drop(old);
                None
            }
            None if dataset_of(&victim.id).is_some() => {
                let removed = blocks.remove(&[victim.id]);
                blocks.counts.dropped += removed.len() as u64;
                drop(blocks);
                removed.first().map(|(id, _)| *id)
            }
            // It stays in memory, beyond the budget.
            None => None,
        }
    }

    fn spill(&self, id: &BlockId, fd: &OwnedFd, bytes: u64) -> Option<Arc<Spilled>> {
        match Spilled::write(self.dir.as_ref()?, fd, bytes) {
            Ok(spilled) => {
                if let Some(written) = self.written.get() {
                    written(id, spilled.fd(), spilled.stored());
                }
                let mut blocks = self.blocks.lock();
                blocks.counts.spilled_bytes += bytes;
                blocks.counts.stored_bytes += spilled.stored();
                Some(Arc::new(spilled))
            }
            Err(error) => {
                tracing::warn!(%error, "a block stays out of the spill directory");
                None
            }
        }
    }

    /// A block, to be read. It stays readable for whoever holds it, also after it was freed. One on disk is
    /// read where it is, or comes back into memory, which may take a while; one that was found damaged there
    /// is lost.
    pub fn open(&self, id: &BlockId) -> Option<OpenBlock> {
        let (spilled, bytes, status, restore) = {
            let mut blocks = self.blocks.lock();
            let entry = blocks.touch(id)?;
            let (bytes, status, level) = (entry.bytes, entry.status.clone(), entry.level);
            match entry.place.clone() {
                Place::Memory(fd) => return Some(OpenBlock::in_memory(fd, bytes, status)),
                Place::Disk(spilled) => {
                    let kept = level.uses_memory() && !matches!(id.kind, BlockKind::MapOutput { .. });
                    (spilled, bytes, status, kept && blocks.over(self.budget, bytes) == 0)
                }
            }
        };
        if restore && let Some(fd) = self.restore(id, &spilled, bytes) {
            return Some(OpenBlock::in_memory(fd, bytes, status));
        }
        if spilled.is_damaged() {
            self.give_up(id);
            return None;
        }
        Some(OpenBlock { data: BlockData::Disk(spilled), bytes, status })
    }

    /// Brings a block back into memory; `None` if it cannot be read.
    fn restore(&self, id: &BlockId, spilled: &Spilled, bytes: u64) -> Option<Arc<OwnedFd>> {
        let fd = match spilled.restore() {
            Ok(fd) => Arc::new(fd),
            Err(error) => {
                tracing::warn!(%error, block = %id, "reading a spilled block");
                return None;
            }
        };
        let mut blocks = self.blocks.lock();
        blocks.counts.restored += 1;
        if blocks.over(self.budget, bytes) == 0 {
            let old = blocks.moved(id, Place::Memory(fd.clone()));
            drop(blocks);
            drop(old);
        }
        Some(fd)
    }

    fn give_up(&self, id: &BlockId) {
        tracing::warn!(block = %id, "a spilled block is damaged, and lost");
        let removed = {
            let mut blocks = self.blocks.lock();
            let removed = blocks.remove(&[*id]);
            blocks.counts.corrupt += removed.len() as u64;
            removed
        };
        tell(&self.lost, removed.iter().map(|(id, _)| *id).collect());
    }

    /// Somebody has found that a block is not what it should be: one on disk is read through, and lost if
    /// that is so. A cached partition goes in any case, for what it holds only its readers can judge, and
    /// lineage makes it again.
    pub fn inspect(&self, id: &BlockId) {
        if matches!(id.kind, BlockKind::Cached { .. }) {
            return self.give_up(id);
        }
        let place = self.blocks.lock().by_id.get(id).map(|entry| entry.place.clone());
        if let Some(Place::Disk(spilled)) = place {
            spilled.check();
            if spilled.is_damaged() {
                self.give_up(id);
            }
        }
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
}

fn tell(whom: &OnceLock<Told>, of: Vec<BlockId>) {
    if let Some(tell) = whom.get().filter(|_| !of.is_empty()) {
        tell(of);
    }
}

/// A block must be as long as was said, and as its index sums to.
fn check(id: &BlockId, length: u64, bytes: u64, status: Option<&MapStatus>) -> Result<()> {
    let corrupt =
        |what: String| Error::new(ErrorCode::BlockCorrupt, format!("keeping block {id}: it {what}"));
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

impl BlockSource for BlockStore {
    fn open(&self, block: &BlockId) -> Option<OpenBlock> {
        BlockStore::open(self, block)
    }
}
