//! The memory of the tasks of the runtime in this process, counted, and their runs. Runs lie in memory too:
//! what is shown with them is that operators ask, spill, merge and give back, not that disks work.

use crate::arena::Owner;
use crate::files::SpillFile;
use firesteel_common::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the tasks of a runtime may hold, hold, and have spilled, in bytes.
#[derive(Default)]
pub struct Memory {
    budget: u64,
    granted: AtomicU64,
    most: AtomicU64,
    runs: AtomicU64,
    open: AtomicU64,
    spilled: AtomicU64,
}

/// What [`Memory`] has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes that tasks have been granted and have not given back.
    pub granted: u64,
    /// The most that was granted at once.
    pub most: u64,
    /// Runs that were begun.
    pub runs: u64,
    /// Runs that have not been dropped.
    pub open_runs: u64,
    /// Bytes written to runs.
    pub spilled: u64,
}

impl Memory {
    /// Memory of so many bytes.
    pub fn new(budget: u64) -> Arc<Self> {
        Arc::new(Self { budget, ..Self::default() })
    }

    /// Grants as much of what is asked for as there is.
    pub fn acquire(&self, bytes: u64) -> u64 {
        let mut granted = 0;
        let grant = |before: u64| {
            granted = bytes.min(self.budget.saturating_sub(before));
            Some(before + granted)
        };
        let before = self.granted.fetch_update(Ordering::AcqRel, Ordering::Acquire, grant).unwrap_or(0);
        self.most.fetch_max(before + granted, Ordering::AcqRel);
        granted
    }

    /// Takes memory back.
    pub fn release(&self, bytes: u64) {
        let given_back = |before: u64| Some(before.saturating_sub(bytes));
        let _ = self.granted.fetch_update(Ordering::AcqRel, Ordering::Acquire, given_back);
    }

    /// What has been counted.
    pub fn in_use(&self) -> MemoryUse {
        let of = |count: &AtomicU64| count.load(Ordering::Acquire);
        MemoryUse {
            granted: of(&self.granted),
            most: of(&self.most),
            runs: of(&self.runs),
            open_runs: of(&self.open),
            spilled: of(&self.spilled),
        }
    }
}

/// A run.
pub struct LocalSpill {
    memory: Arc<Memory>,
    /// Frames, each with the offset of its first byte.
    frames: Vec<(u64, Arc<Vec<u8>>)>,
    len: u64,
}

impl LocalSpill {
    /// An empty run.
    pub fn new(memory: Arc<Memory>) -> Self {
        memory.runs.fetch_add(1, Ordering::AcqRel);
        memory.open.fetch_add(1, Ordering::AcqRel);
        Self { memory, frames: Vec::new(), len: 0 }
    }
}

impl SpillFile for LocalSpill {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if !bytes.is_empty() {
            self.frames.push((self.len, Arc::new(bytes.to_vec())));
            self.len += bytes.len() as u64;
            self.memory.spilled.fetch_add(bytes.len() as u64, Ordering::AcqRel);
        }
        Ok(())
    }

    fn read(&self, from: u64, max: u64) -> Result<Owner> {
        let after = self.frames.partition_point(|(start, _)| *start <= from);
        let Some((start, frame)) = after.checked_sub(1).and_then(|at| self.frames.get(at)) else {
            return Ok(Arc::new(Vec::new()));
        };
        let begin = usize::try_from(from - start).unwrap_or(usize::MAX).min(frame.len());
        let len = usize::try_from(max).unwrap_or(usize::MAX).min(frame.len() - begin);
        Ok(Arc::new(frame[begin..begin + len].to_vec()))
    }
}

impl Drop for LocalSpill {
    fn drop(&mut self) {
        self.memory.open.fetch_sub(1, Ordering::AcqRel);
    }
}
