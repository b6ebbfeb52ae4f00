//! Where a segment lies that came over a socket, or from a file in frames: in memory; if it is large beside
//! what a task may have, in a file on disk that is mapped, so that it takes no memory from anybody.

use super::buffers::Buffer;
use super::memory::TaskMemory;
use firesteel_common::Result;
use firesteel_store::{OnDisk, Scratch};
use std::sync::Arc;

/// Bytes that go to disk at once.
const PIECE: usize = 256 * 1024;

/// A segment that was read.
pub enum Held {
    /// In memory.
    Memory(Buffer),
    /// On disk.
    Disk(OnDisk),
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Memory(buffer) => buffer.as_ref(),
            Self::Disk(file) => file.as_ref(),
        }
    }
}

/// Reads `len` bytes: `read` fills a slice with the next ones, `take` makes a buffer for all of them. What is
/// in memory is charged to the attempt.
///
/// # Errors
/// What `read` and `take` fail with, and what the disk does.
pub fn hold(
    len: u64,
    memory: &Arc<TaskMemory>,
    take: impl FnOnce(usize) -> Result<Buffer>,
    mut read: impl FnMut(&mut [u8]) -> Result<()>,
) -> Result<Held> {
    if len > memory.large() {
        match Scratch::create(&std::env::temp_dir(), len) {
            Ok(scratch) => return on_disk(scratch, len, read).map(Held::Disk),
            Err(error) => tracing::warn!("a segment of {len} bytes stays in memory: {error}"),
        }
    }
    let mut buffer = take(usize::try_from(len).unwrap_or(usize::MAX))?.charged(memory);
    read(buffer.as_mut())?;
    Ok(Held::Memory(buffer))
}

fn on_disk(mut scratch: Scratch, len: u64, mut read: impl FnMut(&mut [u8]) -> Result<()>) -> Result<OnDisk> {
    let mut piece = vec![0; PIECE];
    let mut left = len;
    while left > 0 {
        let now = PIECE.min(usize::try_from(left).unwrap_or(PIECE));
        read(&mut piece[..now])?;
        scratch.write(&piece[..now])?;
        left -= now as u64;
    }
    scratch.map()
}
