//! Where rows cross from one stage to the next: Arrow IPC streams in the segments of map outputs.
//!
//! Not here: where segments come from and go to; that is the executor's `TaskIo`.

mod batches;
mod read;
mod write;

pub(crate) use batches::{BatchSource, TaskSource, decode_stream};
pub(crate) use read::{ReadKind, ReadSource, ShuffleReadExec};
pub(crate) use write::{StreamWriter, batches_of, write_map_output};

/// The type tag of a segment that holds an Arrow IPC stream.
pub(crate) const ARROW_STREAM: u64 = u64::from_le_bytes(*b"arrowipc");

/// Rows in a batch of a segment.
pub(crate) const BATCH_ROWS: usize = 8192;
