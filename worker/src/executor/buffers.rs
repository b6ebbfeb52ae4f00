//! Aligned buffers for what comes over a socket, used again when their reader lets go of them.

use firesteel_common::block::ALIGNMENT;
use firesteel_common::{Error, ErrorCode, Result};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// Bytes that are kept for later use, at most.
const KEPT_MAX: usize = 64 * 1024 * 1024;
/// A buffer smaller than this is cheaper to make than to keep.
const POOLED_MIN: usize = 16 * 1024;

/// Buffers that nobody uses now.
#[derive(Default)]
pub struct Buffers {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    bytes: usize,
    by_size: BTreeMap<usize, Vec<Vec<u8>>>,
}

impl Buffers {
    /// A buffer of `len` bytes with any content.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub fn take(self: &Arc<Self>, len: usize) -> Result<Buffer> {
        let wanted = len.saturating_add(ALIGNMENT);
        let size =
            if wanted < POOLED_MIN { wanted } else { wanted.checked_next_power_of_two().unwrap_or(wanted) };
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
        if bytes.len() >= POOLED_MIN && kept.bytes + bytes.len() <= KEPT_MAX {
            kept.bytes += bytes.len();
            kept.by_size.entry(bytes.len()).or_default().push(bytes);
        }
    }
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
}

impl Buffer {
    fn new(bytes: Vec<u8>, len: usize, pool: Weak<Buffers>) -> Self {
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        Self { bytes, start, len, pool }
    }

    /// An aligned copy, outside any pool.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub fn copy_of(content: &[u8]) -> Result<Self> {
        let bytes = fresh(content.len().saturating_add(ALIGNMENT))?;
        let mut buffer = Self::new(bytes, content.len(), Weak::new());
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
        let pool = Arc::new(Buffers::default());
        let mut buffer = pool.take(100_000).unwrap();
        buffer.as_mut().fill(7);
        assert_eq!(buffer.as_ref().as_ptr().align_offset(ALIGNMENT), 0);
        let address = buffer.as_ref().as_ptr();
        drop(buffer);
        assert_eq!(pool.take(100_001).unwrap().as_ref().as_ptr(), address);
    }
}
