//! Between executor and worker, over the socket pair that the executor inherits. Descriptors travel beside
//! the frames that mention them, in order.

use crate::block::{BlockId, Frame, MapStatus, StorageLevel};
use crate::event::FetchCause;
use crate::id::{AppAttemptId, DatasetId, StageId, TaskId, WorkerId};
use crate::options::Limits;
use crate::protocol::worker::{MapPlace, TaskLaunches};
use crate::task::TaskReport;
use serde::{Deserialize, Serialize};

/// What the worker tells its executor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToExecutor {
    /// The first message.
    Start(ExecutorSetup),
    /// Run tasks. How many run at once is the master's business; the executor starts them all.
    Launch(TaskLaunches),
    /// Where map outputs are now.
    InputsChanged {
        /// The shuffle map stage.
        stage: StageId,
        /// The new places, by map partition.
        places: Vec<(u32, MapPlace)>,
    },
    /// Stop these attempts.
    Kill(Vec<TaskId>),
    /// Forget these stages and datasets: what is mapped of them may be unmapped.
    Forget {
        /// Stages.
        stages: Vec<StageId>,
        /// Datasets.
        datasets: Vec<DatasetId>,
    },
    /// These blocks are not in memory any more: what is mapped of them keeps memory that counts as free.
    Unmap(Vec<BlockId>),
    /// The answer to `OpenBlock`.
    Block {
        /// Of the request.
        request: u64,
        /// What it is; with it comes one descriptor. `None` if this worker does not hold it.
        found: Option<OpenedBlock>,
    },
    /// The answer to `Connect`.
    Peer {
        /// Of the request.
        request: u64,
        /// Whether one descriptor comes with it: a socket to the peer's data server, authenticated for this
        /// application.
        connected: bool,
    },
    /// The answer to `Store`, and to `Offer`.
    Stored {
        /// Of the request.
        request: u64,
        /// Whether there was room.
        kept: bool,
    },
    /// The answer to `AcquireMemory`.
    Memory {
        /// Of the request.
        request: u64,
        /// The bytes that were granted.
        granted: u64,
    },
}

/// A block that was opened for reading; its descriptor comes beside the frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenedBlock {
    /// Bytes of the block.
    pub bytes: u64,
    /// The index, if it is a map output.
    pub status: Option<MapStatus>,
    /// If it is on disk, the index of its file; empty if it is in memory, to be mapped.
    pub frames: Vec<Frame>,
}

/// What an executor is told at birth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutorSetup {
    /// Whose executor it is.
    pub app: AppAttemptId,
    /// Its worker.
    pub worker: WorkerId,
    /// The plugin as a path on this machine; `None` for SQL.
    pub plugin: Option<(crate::id::PluginHash, String)>,
    /// How many tasks run at once, at most; for sizing what is shared by them.
    pub slots: u32,
    /// What it may use.
    pub limits: Limits,
    /// Its share of execution memory in bytes.
    pub memory: u64,
    /// Whether segments of this machine are fetched over TCP like those of others (`shuffle.same_host =
    /// tcp`).
    pub fetch_over_tcp: bool,
    /// The directory of fault tokens; `None` outside tests.
    pub faults: Option<String>,
}

/// What an executor tells its worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromExecutor {
    /// It is ready for tasks.
    Ready,
    /// Attempts that ended.
    Finished(Vec<TaskReport>),
    /// The output of a map task, before its report; its descriptor comes beside the frame. The executor has
    /// unmapped it.
    MapOutput {
        /// The attempt that wrote it.
        task: TaskId,
        /// Its index.
        status: MapStatus,
        /// If it did not fit into memory and is on disk, the index of its file; else empty.
        frames: Vec<Frame>,
    },
    /// The value of a result task that is too large for a report, before its report; with a descriptor.
    ResultBlock {
        /// Its name.
        block: BlockId,
        /// Its length.
        bytes: u64,
    },
    /// A reader found an input gone, and waits for `InputsChanged`.
    FetchFailed {
        /// The reader.
        task: TaskId,
        /// The stage whose output it wanted.
        stage: StageId,
        /// The map partition.
        map: u32,
        /// Where it looked; `None` if it knew no place.
        place: Option<MapPlace>,
        /// What was wrong.
        cause: FetchCause,
    },
    /// Asks for a block of this worker.
    OpenBlock {
        /// Chosen by the executor.
        request: u64,
        /// The block.
        block: BlockId,
    },
    /// Asks for a connection to another worker's data server.
    Connect {
        /// Chosen by the executor.
        request: u64,
        /// Who.
        worker: WorkerId,
        /// Its address.
        address: String,
    },
    /// Asks whether a cached partition of this length would be kept, before it is written for the store. The
    /// answer is `Stored`.
    Offer {
        /// Chosen by the executor.
        request: u64,
        /// Its name.
        block: BlockId,
        /// Its length.
        bytes: u64,
        /// Where it may be kept.
        level: StorageLevel,
    },
    /// Stores a cached partition; its descriptor comes beside the frame.
    Store {
        /// Chosen by the executor.
        request: u64,
        /// Its name.
        block: BlockId,
        /// Its length.
        bytes: u64,
        /// Where it may be kept.
        level: StorageLevel,
    },
    /// What this worker says of this block, and what its bytes are, do not fit: look at it.
    Damaged(BlockId),
    /// Asks for execution memory for a task.
    AcquireMemory {
        /// Chosen by the executor.
        request: u64,
        /// Bytes.
        bytes: u64,
        /// What its engine has been granted so far. `None` asks for memory that the task can do without:
        /// that is granted only as far as nobody else has it.
        held: Option<u64>,
    },
    /// Returns execution memory.
    ReleaseMemory {
        /// Bytes.
        bytes: u64,
    },
}
