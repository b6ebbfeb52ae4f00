//! Between master and worker.

use crate::block::{BlockCopy, BlockId, MapStatus, StoredBlock};
use crate::bytes::Payload;
use crate::error::Error;
use crate::event::FetchCause;
use crate::graph::{ReadRange, TaskCode};
use crate::id::{AppAttemptId, DatasetId, Epoch, Incarnation, StageId, TaskId, WorkerId};
use crate::options::Limits;
use crate::plugin::Args;
use crate::sandbox::{Ending, Sandbox};
use crate::task::TaskReport;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the master tells a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToWorker {
    /// The answer to `Register`.
    Registered {
        /// The worker's id.
        worker: WorkerId,
        /// The master's epoch.
        epoch: Epoch,
        /// How often to send a heartbeat, in milliseconds.
        heartbeat_ms: u64,
    },
    /// The worker cannot be had; the link closes after this.
    Refused(Error),
    /// Start a driver.
    StartDriver(DriverLaunch),
    /// Stop a driver: SIGTERM, then SIGKILL.
    KillDriver(AppAttemptId),
    /// Run tasks.
    LaunchTasks(TaskLaunches),
    /// Where map outputs are now; for readers that wait and for those that will ask.
    InputsChanged {
        /// Whose they are.
        app: AppAttemptId,
        /// The shuffle map stage.
        stage: StageId,
        /// The new places, by map partition.
        places: Vec<(u32, MapPlace)>,
    },
    /// Stop these attempts; each is reported as killed unless it ended before.
    KillTasks {
        /// Which.
        tasks: Vec<TaskId>,
        /// After how long the executor of an attempt that does not listen is stopped, with all that runs in
        /// it, in milliseconds.
        grace_ms: u64,
    },
    /// Free what was kept of these.
    Free {
        /// Whose they are.
        app: AppAttemptId,
        /// Map outputs of these stages, and results.
        stages: Vec<StageId>,
        /// Cached partitions of these datasets.
        datasets: Vec<DatasetId>,
    },
    /// Free single map outputs (an attempt that lost, or one that was replaced).
    FreeOutputs(Vec<TaskId>),
    /// The application attempt is over: stop its executor and free everything of it.
    EndApp(AppAttemptId),
    /// Copy map outputs and cached partitions of another worker, and answer with `BlocksCopied`.
    FetchBlocks {
        /// Whose they are.
        app: AppAttemptId,
        /// Who holds them.
        from: WorkerId,
        /// The address of its data server, `host:port`.
        address: Arc<str>,
        /// Which, and what they are.
        blocks: Vec<BlockCopy>,
    },
    /// Nothing of this worker is needed any more, or its time is over: it may leave.
    Drained,
    /// Somebody wants this worker to leave. It goes on until it is told that it may, and says that it is to
    /// leave (`Draining`) to every master that it registers with.
    Drain,
}

/// A driver to be started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriverLaunch {
    /// The application attempt.
    pub app: AppAttemptId,
    /// When the application was accepted, in milliseconds since 1970.
    pub submitted_ms: u64,
    /// What it runs.
    pub program: DriverProgram,
    /// What it may use.
    pub limits: Limits,
}

/// What a driver runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum DriverProgram {
    /// An entry point of a plugin.
    Plugin {
        /// The plugin.
        plugin: crate::id::PluginHash,
        /// The entry point.
        entry: String,
        /// Its arguments.
        args: Args,
    },
    /// A SQL text over named tables.
    Sql {
        /// The text: statements separated by semicolons; the last one's rows are the result.
        text: String,
        /// Parquet files or directories by table name.
        tables: BTreeMap<String, String>,
    },
}

/// Tasks of one application for one worker, and what it needs to know about their stages. Complete: a worker
/// never has to ask the master about a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskLaunches {
    /// Whose tasks they are.
    pub app: AppAttemptId,
    /// What its executor may use; it is the same in every message of an application attempt.
    pub limits: Limits,
    /// Stages of these tasks that were not sent to this worker before.
    pub stages: Vec<Arc<StageCode>>,
    /// Map outputs that these tasks read and that were not sent to this worker before.
    pub inputs: Vec<Arc<InputTable>>,
    /// The tasks.
    pub tasks: Vec<TaskLaunch>,
}

/// What all tasks of a stage have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageCode {
    /// The stage.
    pub stage: StageId,
    /// Its name.
    pub name: String,
    /// Which engine runs it.
    pub code: TaskCode,
    /// What the engine knows of it.
    pub payload: Payload,
    /// The stages that it reads, in order.
    pub inputs: Vec<StageId>,
    /// How many segments each task writes; 0 for a result stage.
    pub reducers: u32,
}

/// Where the map outputs of a stage are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputTable {
    /// The shuffle map stage.
    pub stage: StageId,
    /// By map partition; `None` if it is not there (yet, or no longer).
    pub places: Vec<Option<MapPlace>>,
}

/// Where one map output is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapPlace {
    /// Who holds it.
    pub worker: WorkerId,
    /// The address of its data server, `host:port`.
    pub address: Arc<str>,
    /// The attempt that wrote it.
    pub attempt: u32,
}

/// One task to be run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskLaunch {
    /// The attempt.
    pub task: TaskId,
    /// What is particular to it.
    pub payload: Payload,
    /// What it reads of each input of its stage, in order.
    pub reads: Vec<Vec<ReadRange>>,
    /// Workers that hold cached partitions that it reads, with their data servers' addresses.
    pub cached: Vec<CachedPlace>,
}

/// Where a cached partition is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedPlace {
    /// The dataset.
    pub dataset: DatasetId,
    /// Its partition.
    pub partition: u32,
    /// Who holds it.
    pub worker: WorkerId,
    /// The address of its data server, `host:port`.
    pub address: Arc<str>,
}

/// What a worker tells the master, with what fences it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FromWorker {
    /// The epoch of the registration that this belongs to; 0 for `Register`.
    pub epoch: Epoch,
    /// The worker process.
    pub incarnation: Incarnation,
    /// The message.
    pub message: ToMaster,
}

/// The message of a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToMaster {
    /// The first message of a link.
    Register(Registration),
    /// It lives.
    Heartbeat,
    /// Attempts that ended.
    TasksFinished(Vec<TaskReport>),
    /// A running reader found an input gone, and waits.
    FetchFailed {
        /// The reader.
        task: TaskId,
        /// The stage whose output it wanted.
        stage: StageId,
        /// The map partition.
        map: u32,
        /// Who should have had it, and which attempt of it.
        place: Option<MapPlace>,
        /// What was wrong.
        cause: FetchCause,
    },
    /// The executor of an application died, and with it these attempts.
    ExecutorLost {
        /// The application attempt.
        app: AppAttemptId,
        /// How it died.
        reason: Ending,
        /// The attempts that ran in it.
        tasks: Vec<TaskId>,
        /// Whether the worker stopped it because of other attempts than these.
        stopped: bool,
    },
    /// An executor runs; said again whenever the master has answered a registration. Only for showing.
    ExecutorStarted {
        /// The application attempt.
        app: AppAttemptId,
        /// Its process, as the worker's machine numbers it.
        pid: u32,
    },
    /// A driver process ended (its outcome comes over its own link, or not at all).
    DriverExited {
        /// The application attempt.
        app: AppAttemptId,
        /// How it ended.
        reason: Ending,
    },
    /// Lines that a driver or an executor of an application has printed.
    Output {
        /// The application attempt.
        app: AppAttemptId,
        /// Who printed it: `driver`, or `executor on worker-N`.
        source: String,
        /// The bytes.
        bytes: Payload,
    },
    /// It wants to leave: give it nothing new, and say `Drained` when it may.
    Draining,
    /// What became of the copies that `FetchBlocks` asked for.
    BlocksCopied {
        /// Whose they are.
        app: AppAttemptId,
        /// Who held them.
        from: WorkerId,
        /// The blocks, each with whether it is held here now.
        blocks: Vec<(BlockId, bool)>,
    },
    /// Connections to its data server that were refused since it last said so; for the audit log.
    Refusals {
        /// The address of its data server, `host:port`.
        at: String,
        /// From where, why, and how often; at most [`REFUSALS_MAX`].
        refusals: Vec<(String, String, u64)>,
    },
}

/// The most entries of [`ToMaster::Refusals`].
pub const REFUSALS_MAX: usize = 64;

/// What a worker says when it (re)connects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// The id it was given by this or an earlier epoch, if any.
    pub worker: Option<WorkerId>,
    /// The host name for locality.
    pub host: String,
    /// The address of its data server, `host:port`.
    pub address: String,
    /// Task slots.
    pub slots: u32,
    /// How many drivers it runs at most.
    pub drivers_max: u32,
    /// The budget of its block store in bytes.
    pub memory: u64,
    /// What keeps its executors and drivers apart from everything else.
    pub sandbox: Sandbox,
    /// The drivers it runs.
    pub drivers: Vec<AppAttemptId>,
    /// The attempts that run in its executors, and those whose report is kept until this registration is
    /// answered.
    pub running: Vec<TaskId>,
    /// The map outputs it holds.
    pub outputs: Vec<(TaskId, MapStatus)>,
    /// The cached partitions it holds.
    pub cached: Vec<StoredBlock>,
    /// Every application attempt of which it keeps anything (an executor, blocks, tables of inputs), so that
    /// the master can end those that are over: an `EndApp` may have been lost with a connection.
    pub apps: Vec<AppAttemptId>,
}
