//! The blocks of this worker as readers see them: the store, behind the fault points of data requests
//! and of what is spilled.

use crate::fault::{Fault, Faults, flip as flip_bit, mixed};
use firesteel_common::block::{BlockId, BlockKind, HEADER_LEN, MapStatus};
use firesteel_net::{BlockData, BlockSource, OpenBlock};
use firesteel_store::{BlockStore, create_memfd, map_sealed, seal};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// The blocks of this worker, for its own executors and for other workers.
pub struct Blocks {
    store: Arc<BlockStore>,
    faults: Arc<Faults>,
}

impl Blocks {
    /// What is in the store.
    pub fn new(store: Arc<BlockStore>, faults: Arc<Faults>) -> Self {
        if faults.are_on() {
            let faults = faults.clone();
            store.on_written(Box::new(move |block, file, bytes| spoil(&faults, block, file, bytes)));
        }
        Self { store, faults }
    }
}

/// Flips a bit of a block that was spilled, if the standing token of this point says so. Cached partitions
/// are damaged each time, map outputs of first attempts only, and what cannot be made again never.
fn spoil(faults: &Faults, block: &BlockId, file: BorrowedFd<'_>, bytes: u64) {
    let name = "worker.spilled";
    let words = match block.kind {
        BlockKind::MapOutput { stage, partition, attempt: 0 } => [u64::from(stage.0), u64::from(partition)],
        BlockKind::Cached { dataset, partition } => [u64::from(dataset.0), u64::from(partition)],
        _ => return,
    };
    let Some(what) = faults.standing(name).filter(|_| bytes > 0) else { return };
    let Some(("flip", seed)) = what.split_once(' ') else {
        return tracing::warn!("fault: {name}* says '{what}', which is no fault");
    };
    let [first, second] = words;
    let bit = mixed([seed.parse().unwrap_or(0), first, second]) % (bytes * 8);
    match flip_bit(file, bit) {
        Ok(()) => faults.has_fired(name, &format!("{block} flip {bit}")),
        Err(cause) => tracing::warn!("fault: {name}*: {cause}"),
    }
}

impl BlockSource for Blocks {
    fn open(&self, block: &BlockId) -> Option<OpenBlock> {
        let found = self.store.open(block)?;
        match self.faults.hit("worker.data_request") {
            None => Some(found),
            Some(Fault::Refuse) => None,
            Some(Fault::Corrupt) => damaged(&found),
        }
    }
}

/// A copy of a block with one bit of each segment flipped.
fn damaged(block: &OpenBlock) -> Option<OpenBlock> {
    let mut bytes = match &block.data {
        BlockData::Memory(fd) => map_sealed(fd.as_fd(), block.bytes).ok()?.as_ref().to_vec(),
        BlockData::Disk(disk) => {
            let mut bytes = Vec::new();
            while (bytes.len() as u64) < block.bytes {
                bytes.extend(disk.read(bytes.len() as u64, u64::MAX).ok()?);
            }
            bytes
        }
    };
    let whole = MapStatus::default();
    let segments = &block.status.as_deref().unwrap_or(&whole).segments;
    let mut start = 0;
    for stat in segments {
        flip(&mut bytes, start, stat.bytes as usize);
        start += stat.bytes as usize;
    }
    if segments.is_empty() {
        let len = bytes.len();
        flip(&mut bytes, 0, len);
    }
    let fd = create_memfd("firesteel-damaged").ok()?;
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let written = rustix::io::write(&fd, rest).ok()?;
        rest = &rest[written..];
    }
    seal(&fd).ok()?;
    Some(OpenBlock::in_memory(Arc::new(fd), block.bytes, block.status.clone()))
}

/// Flips a bit of the payload, or the last one of the header's checksum if there is no payload.
fn flip(bytes: &mut [u8], start: usize, len: usize) {
    let at = if len > HEADER_LEN { start + HEADER_LEN } else { start + 47 };
    if let Some(byte) = bytes.get_mut(at).filter(|_| len > 0) {
        *byte ^= 1;
    }
}
