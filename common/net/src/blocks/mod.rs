//! The data plane: blocks by their names, between workers and readers.
//!
//! Requests are frames, and so is what precedes the bytes of an answer; the bytes themselves go from the
//! block's descriptor to the socket without passing through this process. The receiver verifies them.

mod client;
mod server;
#[cfg(test)]
mod tests;

pub use client::DataClient;
pub use server::{DataServer, Refused};

use firesteel_common::block::{BlockId, Frame, MapStatus};
use firesteel_common::error::Result;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Where a data server finds blocks.
pub trait BlockSource: Send + Sync {
    /// The block, or `None` if it is not here.
    fn open(&self, block: &BlockId) -> Option<OpenBlock>;
}

/// A sealed block. Whoever holds it can read it, also after it was freed.
#[derive(Clone)]
pub struct OpenBlock {
    /// Its bytes.
    pub data: BlockData,
    /// How many.
    pub bytes: u64,
    /// Its index, if it is a map output.
    pub status: Option<Arc<MapStatus>>,
}

/// Where the bytes of a block are.
#[derive(Clone)]
pub enum BlockData {
    /// In this file, as they are.
    Memory(Arc<OwnedFd>),
    /// On disk, in frames.
    Disk(Arc<dyn DiskBlock>),
}

/// A block on disk, any part of which can be read without the rest.
pub trait DiskBlock: Send + Sync {
    /// Its file.
    fn fd(&self) -> BorrowedFd<'_>;

    /// The index of its file.
    fn frames(&self) -> &[Frame];

    /// Bytes from an offset on: at most so many, and fewer where a frame ends. None only at the end.
    ///
    /// # Errors
    /// `BLOCK_CORRUPT` if they are damaged; `IO`.
    fn read(&self, from: u64, max: u64) -> Result<Vec<u8>>;
}

impl OpenBlock {
    /// A block in memory.
    pub fn in_memory(fd: Arc<OwnedFd>, bytes: u64, status: Option<Arc<MapStatus>>) -> Self {
        Self { data: BlockData::Memory(fd), bytes, status }
    }

    /// The file that it is in.
    pub fn fd(&self) -> BorrowedFd<'_> {
        match &self.data {
            BlockData::Memory(fd) => fd.as_fd(),
            BlockData::Disk(disk) => disk.fd(),
        }
    }

    /// The index of that file, if it is on disk; empty if it is in memory.
    pub fn frames(&self) -> &[Frame] {
        match &self.data {
            BlockData::Memory(_) => &[],
            BlockData::Disk(disk) => disk.frames(),
        }
    }
}
