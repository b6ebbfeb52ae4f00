//! The block store of a worker: sealed memory files by the names of blocks, and how many bytes they are.
//!
//! Map outputs, results and broadcast values are always taken: without them nothing goes on. Cached
//! partitions are refused when they do not fit the budget, since lineage can make them again.

use crate::memfd::{length, seal};
use firesteel_common::block::{BlockId, BlockKind, MapStatus};
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::id::{AppAttemptId, StageId};
use firesteel_net::{BlockSource, OpenBlock};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The blocks that a worker keeps. Shared by all its threads.
pub struct BlockStore {
    budget: u64,
    blocks: Mutex<Blocks>,
}

#[derive(Default)]
struct Blocks {
    by_id: BTreeMap<BlockId, OpenBlock>,
    used: u64,
}

impl BlockStore {
    /// An empty store with a budget in bytes.
    pub fn new(budget_bytes: u64) -> Self {
        Self { budget: budget_bytes, blocks: Mutex::default() }
    }

    /// Keeps a block: seals its file, and checks that it has `bytes` bytes and fits its index. `Ok(false)` if
    /// it is a cached partition for which there is no room. A block that is here already stays as it is, and
    /// the new file is dropped.
    ///
    /// # Errors
    /// As [`seal`]; `BLOCK_CORRUPT` if the file has another length, or its index sums to another.
    pub fn put(&self, id: BlockId, fd: OwnedFd, bytes: u64, status: Option<MapStatus>) -> Result<bool> {
        seal(&fd)?;
        let corrupt =
            |what: String| Error::new(ErrorCode::BlockCorrupt, format!("keeping block {id}: it {what}"));
        let length = length(&fd)?;
        if length != bytes {
            return Err(corrupt(format!("has {length} bytes, not the {bytes} it should have")));
        }
        if let Some(indexed) = status.as_ref().map(MapStatus::bytes)
            && indexed != bytes
        {
            return Err(corrupt(format!("has {bytes} bytes, its index has {indexed}")));
        }
        let mut blocks = self.blocks.lock();
        if blocks.by_id.contains_key(&id) {
            return Ok(true);
        }
        let used = blocks.used.saturating_add(bytes);
        if matches!(id.kind, BlockKind::Cached { .. }) && used > self.budget {
            return Ok(false);
        }
        if used > self.budget && blocks.used <= self.budget {
            tracing::warn!(used, budget = self.budget, block = %id, "the block store is over its budget");
        }
        blocks.used = used;
        blocks.by_id.insert(id, OpenBlock { fd: Arc::new(fd), bytes, status: status.map(Arc::new) });
        Ok(true)
    }

    /// A block, to be read. It stays readable for whoever holds it, also after it was freed.
    pub fn open(&self, id: &BlockId) -> Option<OpenBlock> {
        self.blocks.lock().by_id.get(id).cloned()
    }

    /// Drops blocks; names that are not here are passed over.
    pub fn free(&self, ids: &[BlockId]) {
        let mut freed = Vec::new();
        let mut blocks = self.blocks.lock();
        for id in ids {
            freed.extend(blocks.by_id.remove(id));
        }
        blocks.forget(&freed);
        drop(blocks);
        // The memory goes back to the system here, outside the lock.
        drop(freed);
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

    /// Bytes of all blocks.
    pub fn used(&self) -> u64 {
        self.blocks.lock().used
    }

    /// The names of all blocks, in their order.
    pub fn list(&self) -> Vec<BlockId> {
        self.blocks.lock().by_id.keys().copied().collect()
    }
}

impl Blocks {
    fn forget(&mut self, freed: &[OpenBlock]) {
        // Saturating like the addition: an absurd length (a sparse file) is counted as the most there can be.
        self.used = freed.iter().fold(self.used, |used, block| used.saturating_sub(block.bytes));
    }
}

impl BlockSource for BlockStore {
    fn open(&self, block: &BlockId) -> Option<OpenBlock> {
        BlockStore::open(self, block)
    }
}
