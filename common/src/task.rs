//! What a task is given, what it reports, and what it may ask of the process it runs in.

use crate::block::{BlockId, MapStatus, SegmentHeader, StorageLevel, StoredBlock};
use crate::bytes::Payload;
use crate::error::{Error, ErrorCode, Result};
use crate::graph::ReadRange;
use crate::id::{TaskId, WorkerId};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// What became of one attempt at a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// The attempt.
    pub task: TaskId,
    /// How it ended.
    pub outcome: TaskOutcome,
    /// What it cost.
    pub metrics: TaskMetrics,
    /// What it added to accumulators; counts only from the first successful attempt.
    pub accumulators: Vec<AccumulatorUpdate>,
    /// The cached partitions that this attempt has stored on its worker.
    pub stored: Vec<StoredBlock>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TaskOutcome {
    /// A map task wrote its output; it lies on the worker that ran the attempt.
    MapOutput(MapStatus),
    /// A result task has its value.
    Result(ResultValue),
    /// It failed; this counts against the task.
    Failed(Error),
    /// It was told to stop and did; this counts against nobody.
    Killed,
}

/// The value of a result task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ResultValue {
    /// Small enough to travel with the report.
    Inline(Payload),
    /// To be fetched from the worker's block server.
    Block {
        /// Who holds it.
        worker: WorkerId,
        /// Its name.
        block: BlockId,
        /// Bytes of the block, header included.
        bytes: u64,
    },
}

/// A result of up to this many bytes travels with the report of its task.
pub const INLINE_RESULT_MAX: usize = 256 * 1024;

/// An addition to one accumulator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccumulatorUpdate {
    /// Which one; given by the driver.
    pub id: u32,
    /// The addition, as its owner encodes it.
    pub value: Payload,
}

/// What an attempt cost. Bytes and records are counted once, where they are read or written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskMetrics {
    /// Time from its start to its end in the executor, in microseconds.
    pub run_us: u64,
    /// Of these, the time it waited for segments, in microseconds.
    pub fetch_wait_us: u64,
    /// Bytes read from files.
    pub input_bytes: u64,
    /// Records read from files.
    pub input_records: u64,
    /// Bytes of segments read from this machine's memory.
    pub local_read_bytes: u64,
    /// Bytes of segments that came over a socket.
    pub remote_read_bytes: u64,
    /// Records read from segments.
    pub read_records: u64,
    /// Bytes of segments written.
    pub written_bytes: u64,
    /// Records written to segments.
    pub written_records: u64,
    /// Bytes written to files.
    pub output_bytes: u64,
    /// Bytes spilled to disk.
    pub spilled_bytes: u64,
}

/// One task as its engine sees it.
#[derive(Clone, Debug)]
pub struct TaskDescription {
    /// Which attempt it is.
    pub task: TaskId,
    /// What the engine knows of the stage ([`crate::graph::StageSpec::payload`]).
    pub stage_payload: Payload,
    /// What is particular to this task ([`crate::graph::TaskSpec::payload`]).
    pub task_payload: Payload,
    /// How many segments its output needs; 0 for a result task.
    pub reducers: u32,
    /// What it reads of each input of its stage, in the stage's order. An input marked
    /// [`crate::graph::StageInput::unless_cached`] may never be computed if the task does not ask for it.
    pub inputs: Vec<Vec<ReadRange>>,
}

/// A verified segment: its header, and its payload where it lies.
#[derive(Clone)]
pub struct Segment {
    /// The map partition that wrote it (0 for a block that is not a map output).
    pub map: u32,
    /// The reducer that it was written for.
    pub reducer: u32,
    /// Its header.
    pub header: SegmentHeader,
    bytes: Arc<dyn AsRef<[u8]> + Send + Sync>,
    start: usize,
}

impl Segment {
    /// A segment whose payload begins at `start` of `bytes` and has been checked against `header`.
    pub fn new(
        map: u32,
        reducer: u32,
        header: SegmentHeader,
        bytes: Arc<dyn AsRef<[u8]> + Send + Sync>,
        start: usize,
    ) -> Self {
        Self { map, reducer, header, bytes, start }
    }

    /// The payload, aligned to [`crate::block::ALIGNMENT`] bytes.
    pub fn payload(&self) -> &[u8] {
        let bytes = self.bytes.as_ref().as_ref();
        &bytes[self.start..self.start + self.header.stored_len as usize]
    }

    /// What keeps the payload in place, for readers that borrow from it beyond this value.
    pub fn owner(&self) -> Arc<dyn AsRef<[u8]> + Send + Sync> {
        self.bytes.clone()
    }
}

/// What a task may ask of the executor. One value serves one attempt, from one thread at a time.
///
/// A method that waits (for a segment, for memory) returns `KILLED` soon after the attempt is told to stop.
pub trait TaskIo: Send + Sync {
    /// Which attempt this is, and what it was given.
    fn description(&self) -> &TaskDescription;

    /// The segments of one input, in the order that [`crate::graph::ReadPattern`] promises; empty ones are
    /// left out. A segment that is gone is waited for: its place is reported, and the reader goes on when a
    /// new one is known.
    fn read_input(&self, input: usize) -> Result<Box<dyn SegmentStream>>;

    /// Begins the output of a map task. Segments are appended in the order of the reducers.
    fn map_output(&self) -> Result<Box<dyn MapOutputWriter>>;

    /// A cached partition, wherever it is; `None` if no worker holds it.
    fn cached(&self, block: BlockId) -> Result<Option<Segment>>;

    /// Stores a cached partition on this worker, as its level says. `Ok(false)` if there is no room for it.
    fn store(
        &self,
        block: BlockId,
        level: StorageLevel,
        type_tag: u64,
        records: u64,
        payload: &[u8],
    ) -> Result<bool>;

    /// Adds to an accumulator; counted once, from the first successful attempt.
    fn accumulate(&self, id: u32, value: Payload);

    /// Adds to what the attempt has cost.
    fn add_metrics(&self, add: &dyn Fn(&mut TaskMetrics));

    /// Told of each frame of a run that was spilled for the attempt: the bytes `stored` of `file`. Nothing
    /// need be done; it is where tests damage runs.
    fn spilled(&self, file: BorrowedFd<'_>, stored: Range<u64>) {
        let _ = (file, stored);
    }

    /// Asks for execution memory; fewer bytes than asked for, even none, may be granted.
    fn acquire_memory(&self, bytes: u64) -> u64;

    /// Returns execution memory.
    fn release_memory(&self, bytes: u64);

    /// Whether the attempt was told to stop.
    fn cancelled(&self) -> bool;
}

/// Segments, one after the other.
pub trait SegmentStream: Send {
    /// The next segment, or `None` after the last.
    fn next(&mut self) -> Result<Option<Segment>>;
}

/// The output of a map task while it is written.
pub trait MapOutputWriter: Send {
    /// Appends the segment of the next reducer (they are counted from 0). A payload without records writes
    /// nothing.
    fn append(&mut self, type_tag: u64, records: u64, payload: &[u8]) -> Result<()>;

    /// Appends a part of the segment of the next reducer. `records` and `len` (bytes) are those of the whole
    /// segment, which ends with the part that makes it as long as that.
    fn append_part(&mut self, type_tag: u64, records: u64, len: u64, part: &[u8]) -> Result<()> {
        if part.len() as u64 == len {
            return self.append(type_tag, records, part);
        }
        Err(Error::new(ErrorCode::Unsupported, "this map output takes whole segments only"))
    }

    /// Ends the output: reducers that got no segment have an empty one. `statistics` travels to the driver.
    fn finish(self: Box<Self>, statistics: Payload) -> Result<MapStatus>;
}
