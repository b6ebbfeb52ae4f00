//! Aligned buffers for what comes over a socket, used again when their reader lets go of them.

use super::memory::{Charge, TaskMemory};
use firesteel_common::block::ALIGNMENT;
use firesteel_common::{Error, ErrorCode, Result};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// Bytes that are kept for later use, at most, however much memory there is.
const KEPT_MAX: u64 = 64 * 1024 * 1024;
/// That part of the worker's memory is kept for later use at most.
const KEPT_PART: u64 = 32;
/// A buffer smaller than this is cheaper to make than to keep.
const POOLED_MIN: usize = 16 * 1024;

/// Buffers that nobody uses now.
#[derive(Default)]
pub struct Buffers {
    kept: Mutex<Kept>,
    kept_max: usize,
}

#[derive(Default)]
struct Kept {
    bytes: usize,
    by_size: BTreeMap<usize, Vec<Vec<u8>>>,
}

impl Buffers {
    /// None yet, in a worker with that much memory.
    pub fn new(memory: u64) -> Self {
        let kept_max = (memory / KEPT_PART).min(KEPT_MAX) as usize;
        Self { kept: Mutex::default(), kept_max }
    }

    /// A buffer of `len` bytes with any content.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub fn take(self: &Arc<Self>, len: usize) -> Result<Buffer> {
        let wanted = len.saturating_add(ALIGNMENT);
        let size = if wanted < POOLED_MIN { wanted } else { rounded(wanted) };
        let kept = if size < POOLED_MIN { None } else { self.reuse(size) };
        let bytes = match kept {
            Some(bytes) => bytes,
            None => fresh(size)?,
        };
        Ok(Buffer::new(bytes, len, Arc::downgrade(self)))
    }

    fn reuse(&self, size: usize) -> Option<Vec<u8>> {
        let mut kept = self.kept.lock();
        let bytes = kept.by_size.get_mut(&size)?.pop()?;
        kept.bytes -= bytes.len();
        Some(bytes)
    }

    fn give_back(&self, bytes: Vec<u8>) {
        let mut kept = self.kept.lock();
        if bytes.len() >= POOLED_MIN && kept.bytes + bytes.len() <= self.kept_max {
            kept.bytes += bytes.len();
            kept.by_size.entry(bytes.len()).or_default().push(bytes);
        }
    }
}

/// A size that others have, too: at most an eighth more.
fn rounded(wanted: usize) -> usize {
    let step = wanted.checked_next_power_of_two().map_or(1, |size| size / 16);
    wanted.checked_next_multiple_of(step).unwrap_or(wanted)
}

fn fresh(size: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(|_| {
        Error::new(
            ErrorCode::OutOfMemory,
            format!("a segment needs {size} bytes of memory, which are not there"),
        )
        .with_help("use more partitions, so that each segment is smaller")
    })?;
    bytes.resize(size, 0);
    Ok(bytes)
}

/// Bytes that begin at a multiple of [`ALIGNMENT`].
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
    pool: Weak<Buffers>,
    charge: Option<Charge>,
}

impl Buffer {
    fn new(bytes: Vec<u8>, len: usize, pool: Weak<Buffers>) -> Self {
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        Self { bytes, start, len, pool, charge: None }
    }

    /// Charges it to an attempt for as long as it lives.
    pub fn charged(mut self, memory: &Arc<TaskMemory>) -> Self {
        self.charge = Some(memory.charge(self.bytes.len() as u64));
        self
    }

    /// A buffer of `len` zeros, outside any pool.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub fn zeros(len: usize) -> Result<Self> {
        Ok(Self::new(fresh(len.saturating_add(ALIGNMENT))?, len, Weak::new()))
    }

    /// An aligned copy, outside any pool.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub fn copy_of(content: &[u8]) -> Result<Self> {
        let mut buffer = Self::zeros(content.len())?;
        buffer.as_mut().copy_from_slice(content);
        Ok(buffer)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        drop(self.charge.take());
        if let Some(pool) = self.pool.upgrade() {
            pool.give_back(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_buffer_is_aligned_and_used_again() {
        let pool = Arc::new(Buffers::new(1 << 30));
        let mut buffer = pool.take(100_000).unwrap();
        buffer.as_mut().fill(7);
        assert_eq!(buffer.as_ref().as_ptr().align_offset(ALIGNMENT), 0);
        let address = buffer.as_ref().as_ptr();
        drop(buffer);
        assert_eq!(pool.take(100_001).unwrap().as_ref().as_ptr(), address);
    }
}
