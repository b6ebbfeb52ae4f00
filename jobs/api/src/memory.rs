//! What an operator asks of its task's memory, and the error of what cannot do with less. When less is
//! granted than is needed, the operator spills.

use crate::task::Task;
use firesteel_common::task::TaskIo;
use firesteel_common::{Error, ErrorCode};

/// What is asked for at least: each time is a round trip to the worker.
const STEP: u64 = 1024 * 1024;

/// So many bytes each operator holds without asking, so that small tasks ask for nothing, and a run is worth
/// its file whatever others hold.
const FREE: u64 = 64 * 1024;

/// The memory that one operator of a task has been granted. Dropping it gives everything back.
pub struct Ledger<'s> {
    io: &'s dyn TaskIo,
    granted: u64,
}

impl<'s> Ledger<'s> {
    /// An operator that holds nothing.
    pub fn new(task: &Task<'s>) -> Self {
        Self { io: task.io(), granted: 0 }
    }

    /// Asks for what is missing to `bytes` in all, and whether they are granted now.
    pub fn cover(&mut self, bytes: u64) -> bool {
        let asked = bytes.saturating_sub(FREE);
        if asked > self.granted {
            let missing = asked - self.granted;
            self.granted += self.io.acquire_memory(missing.max(STEP).max(self.granted / 8));
        }
        asked <= self.granted
    }

    /// Gives everything back.
    pub fn give_back(&mut self) {
        if self.granted > 0 {
            self.io.release_memory(self.granted);
            self.granted = 0;
        }
    }

    /// How much is granted now.
    pub fn granted(&self) -> u64 {
        self.granted
    }
}

impl Drop for Ledger<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// The error of an operator for which the values of a single key are too many.
#[cold]
pub fn key_too_large(task: &Task<'_>, operator: &str, needed: u64, granted: u64) -> Error {
    let id = task.io().description().task;
    let (stage, partition) = (id.stage, id.partition);
    let message = format!(
        "{operator} in partition {partition} of {stage}: the values of one key need more than {needed} \
         bytes of memory, of which {granted} are granted"
    );
    Error::new(ErrorCode::OutOfMemory, message).with_help(
        "combine the values (reduce_by_key, aggregate_by_key), add something to the key that spreads it, or \
         give each task more memory: a larger --memory, fewer slots",
    )
}
