//! What the store knows of its blocks, and which of them leave memory when there is no room. No bytes are
//! touched here: whoever asks has the lock, and must not wait under it.

use crate::spill::Spilled;
use firesteel_common::block::{BlockId, BlockKind, MapStatus, StorageLevel};
use firesteel_common::id::{AppAttemptId, DatasetId};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A dataset of an application attempt.
pub type Dataset = (AppAttemptId, DatasetId);

/// All blocks.
#[derive(Default)]
pub struct Blocks {
    pub by_id: BTreeMap<BlockId, Entry>,
    /// Bytes in memory.
    pub used: u64,
    /// Bytes of execution memory, which come out of the same budget.
    pub execution: u64,
    pub counts: Counts,
    /// Counts what is done, for the order of use.
    clock: u64,
    /// Cached partitions in memory, the least recently used first.
    cached: BTreeMap<u64, BlockId>,
    /// Other blocks in memory, likewise.
    others: BTreeMap<u64, BlockId>,
    /// Bytes in memory of each dataset.
    datasets: BTreeMap<Dataset, u64>,
}

/// A block.
pub struct Entry {
    pub place: Place,
    pub bytes: u64,
    pub status: Option<Arc<MapStatus>>,
    pub level: StorageLevel,
    used_at: u64,
}

/// Where a block is.
#[derive(Clone)]
pub enum Place {
    /// In a sealed memory file.
    Memory(Arc<OwnedFd>),
    /// On disk.
    Disk(Arc<Spilled>),
}

/// What the store has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes of blocks that were spilled, before packing.
    pub spilled_bytes: u64,
    /// Bytes that they took on disk.
    pub stored_bytes: u64,
    /// Blocks that were read back from disk into memory.
    pub restored: u64,
    /// Cached partitions that were dropped for lack of room.
    pub dropped: u64,
    /// Blocks on disk that were found damaged.
    pub corrupt: u64,
}

/// A block that leaves memory.
pub struct Victim {
    pub id: BlockId,
    pub fd: Arc<OwnedFd>,
    pub bytes: u64,
}

/// Blocks that leave memory.
#[derive(Default)]
pub struct Victims {
    /// To disk.
    pub spills: Vec<Victim>,
    /// For good.
    pub drops: Vec<BlockId>,
}

/// The dataset of a cached partition; `None` for other blocks.
pub fn dataset_of(id: &BlockId) -> Option<Dataset> {
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

    /// By how many bytes memory would be over the budget with `more`; 0 if it would not.
    pub fn over(&self, budget: u64, more: u64) -> u64 {
        self.used.saturating_add(self.execution).saturating_add(more).saturating_sub(budget)
    }

    fn order(&mut self, id: &BlockId) -> &mut BTreeMap<u64, BlockId> {
        if dataset_of(id).is_some() { &mut self.cached } else { &mut self.others }
    }

    /// Counts a block as one in memory.
    fn enters(&mut self, id: BlockId, used_at: u64, bytes: u64) {
        // Saturating: an absurd length is counted as the most there can be.
        self.used = self.used.saturating_add(bytes);
        if bytes == 0 {
            return;
        }
        self.order(&id).insert(used_at, id);
        if let Some(dataset) = dataset_of(&id) {
            let of_dataset = self.datasets.entry(dataset).or_default();
            *of_dataset = of_dataset.saturating_add(bytes);
        }
    }

    /// Counts it as one no more.
    fn leaves(&mut self, id: BlockId, used_at: u64, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
        self.order(&id).remove(&used_at);
        if let Some(dataset) = dataset_of(&id)
            && let Some(of_dataset) = self.datasets.get_mut(&dataset)
        {
            *of_dataset = of_dataset.saturating_sub(bytes);
            if *of_dataset == 0 {
                self.datasets.remove(&dataset);
            }
        }
    }

    /// Takes a block in; `false` if there is one of this name, which stays.
    pub fn insert(
        &mut self,
        id: BlockId,
        place: Place,
        bytes: u64,
        status: Option<MapStatus>,
        level: StorageLevel,
    ) -> bool {
        if self.by_id.contains_key(&id) {
            return false;
        }
        let used_at = self.tick();
        if matches!(place, Place::Memory(_)) {
            self.enters(id, used_at, bytes);
        }
        self.by_id.insert(id, Entry { place, bytes, status: status.map(Arc::new), level, used_at });
        true
    }

    /// A block that is used now.
    pub fn touch(&mut self, id: &BlockId) -> Option<&Entry> {
        let now = self.tick();
        let entry = self.by_id.get_mut(id)?;
        let before = std::mem::replace(&mut entry.used_at, now);
        if matches!(entry.place, Place::Memory(_)) && entry.bytes > 0 {
            let order = self.order(id);
            order.remove(&before);
            order.insert(now, *id);
        }
        self.by_id.get(id)
    }

    /// Moves a block, if it is still where it was; gives its old place, to be dropped without the lock.
    pub fn moved(&mut self, id: &BlockId, to: Place) -> Option<Place> {
        let entry = self.by_id.get_mut(id)?;
        let (used_at, bytes) = (entry.used_at, entry.bytes);
        let (was, is) = (matches!(entry.place, Place::Memory(_)), matches!(to, Place::Memory(_)));
        let old = std::mem::replace(&mut entry.place, to);
        match (was, is) {
            (true, false) => self.leaves(*id, used_at, bytes),
            (false, true) => self.enters(*id, used_at, bytes),
            _ => {}
        }
        Some(old)
    }

    /// Takes blocks out, to be dropped without the lock; names that are not here are passed over.
    pub fn remove(&mut self, ids: &[BlockId]) -> Vec<(BlockId, Entry)> {
        let mut removed = Vec::new();
        for id in ids {
            if let Some(entry) = self.by_id.remove(id) {
                if matches!(entry.place, Place::Memory(_)) {
                    self.leaves(*id, entry.used_at, entry.bytes);
                }
                removed.push((*id, entry));
            }
        }
        removed
    }

    /// A block in memory that nobody reads.
    fn idle(&self, id: &BlockId) -> Option<(Victim, StorageLevel)> {
        let entry = self.by_id.get(id)?;
        match &entry.place {
            Place::Memory(fd) if Arc::strong_count(fd) == 1 => {
                Some((Victim { id: *id, fd: fd.clone(), bytes: entry.bytes }, entry.level))
            }
            _ => None,
        }
    }

    /// Cached partitions that make room, the least recently used first, but none of the dataset `storing`:
    /// those to drop, and those to spill. `over` is how much room is still missing.
    pub fn cached_victims(&self, storing: Option<Dataset>, can_spill: bool, over: &mut u64) -> Victims {
        let mut victims = Victims::default();
        // If that is the only dataset there is, the search would see all of it, for each of its partitions.
        let alone = self.datasets.len() == 1;
        if alone && storing.is_some_and(|dataset| self.datasets.contains_key(&dataset)) {
            return victims;
        }
        for id in self.cached.values() {
            if *over == 0 {
                break;
            }
            if storing.is_some() && dataset_of(id) == storing {
                continue;
            }
            let Some((victim, level)) = self.idle(id) else { continue };
            *over = over.saturating_sub(victim.bytes);
            if can_spill && level.uses_disk() {
                victims.spills.push(victim);
            } else {
                victims.drops.push(*id);
            }
        }
        victims
    }

    /// Map outputs, results and broadcast values that make room, likewise; all of them are spilled.
    pub fn other_victims(&self, over: &mut u64) -> Vec<Victim> {
        let mut victims = Vec::new();
        for id in self.others.values() {
            if *over == 0 {
                break;
            }
            let Some((victim, _)) = self.idle(id) else { continue };
            *over = over.saturating_sub(victim.bytes);
            victims.push(victim);
        }
        victims
    }
}
