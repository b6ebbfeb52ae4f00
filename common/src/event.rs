//! The event log: everything that happened to an application, as a closed list, one JSON object a line.
//!
//! Pages, history and the tests that count what ran again read this and nothing else. The log is written by
//! the master from the scheduler's effects, in their order.

use crate::error::Error;
use crate::id::{AppAttemptId, JobId, StageId, TaskId, WorkerId};
use crate::task::TaskMetrics;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The version of the log's format; stands in every [`AppEvent::AppStarted`].
pub const EVENT_LOG_VERSION: u32 = 1;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoggedEvent {
    /// When the master decided it, on its own clock.
    pub at: Timestamp,
    /// The application attempt.
    pub app: AppAttemptId,
    /// What happened.
    #[serde(flatten)]
    pub event: AppEvent,
}

/// What can happen to an application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum AppEvent {
    /// A driver attempt was placed.
    AppStarted {
        /// [`EVENT_LOG_VERSION`].
        version: u32,
        /// The worker that runs the driver; `None` in client mode.
        worker: Option<WorkerId>,
    },
    /// The application has its outcome.
    AppEnded {
        /// `None` if it succeeded.
        error: Option<Error>,
    },
    /// A job was submitted.
    JobStarted {
        /// The job.
        job: JobId,
        /// Its name.
        name: String,
    },
    /// A job ended.
    JobEnded {
        /// The job.
        job: JobId,
        /// `None` if it succeeded.
        error: Option<Error>,
    },
    /// A stage was added to the graph.
    StageAdded {
        /// The stage.
        stage: StageId,
        /// Its name.
        name: String,
        /// How many tasks it has.
        tasks: u32,
        /// The stages it reads.
        inputs: Vec<StageId>,
    },
    /// All tasks that were wanted of a stage are complete.
    StageFinished {
        /// The stage.
        stage: StageId,
    },
    /// An attempt was sent to a worker.
    TaskStarted {
        /// The attempt.
        task: TaskId,
        /// Where.
        worker: WorkerId,
        /// Why it runs: the first time, or again.
        cause: StartCause,
    },
    /// An attempt succeeded, and its work is used.
    TaskFinished {
        /// The attempt.
        task: TaskId,
        /// What it cost.
        metrics: TaskMetrics,
    },
    /// An attempt failed by itself.
    TaskFailed {
        /// The attempt.
        task: TaskId,
        /// Why.
        error: Error,
    },
    /// A running attempt was lost with its executor or its worker, or was told to stop.
    TaskLost {
        /// The attempt.
        task: TaskId,
        /// Why.
        reason: LossReason,
    },
    /// A map output is gone that somebody still needs.
    OutputLost {
        /// The attempt that wrote it.
        task: TaskId,
        /// Where it lay.
        worker: WorkerId,
        /// Why.
        reason: LossReason,
    },
    /// A running reader found an input gone and waits for its new place.
    FetchFailed {
        /// The reader.
        task: TaskId,
        /// The stage whose output it wanted.
        stage: StageId,
        /// The map partition.
        map: u32,
        /// The worker that should have had it.
        worker: WorkerId,
        /// What was wrong.
        cause: FetchCause,
    },
    /// An executor died.
    ExecutorLost {
        /// Its worker.
        worker: WorkerId,
        /// How it died, in words.
        reason: String,
    },
    /// A worker is gone.
    WorkerLost {
        /// The worker.
        worker: WorkerId,
        /// How it was noticed.
        reason: LossReason,
    },
    /// A recomputed output differs from the first one, so what was made from the first starts anew.
    RolledBack {
        /// The stage whose output differs.
        stage: StageId,
        /// The stages that start anew.
        consumers: Vec<StageId>,
    },
    /// Failures on a worker leave it out from now on.
    WorkerExcluded {
        /// The worker.
        worker: WorkerId,
        /// The stage that leaves it out; `None` for all of the application.
        stage: Option<StageId>,
        /// How many tasks have failed there.
        failures: u32,
    },
    /// A host is left out, because enough of its workers are.
    HostExcluded {
        /// The name of the host.
        host: String,
        /// The stage that leaves it out; `None` for all of the application.
        stage: Option<StageId>,
        /// How many of its workers are left out.
        workers: u32,
    },
    /// The application does not leave a worker out any more.
    WorkerIncluded {
        /// The worker.
        worker: WorkerId,
    },
    /// The application does not leave a host out any more.
    HostIncluded {
        /// The name of the host.
        host: String,
    },
    /// An attempt that an earlier master has started runs on, and this one goes on with it.
    TaskAdopted {
        /// The attempt.
        task: TaskId,
        /// Where.
        worker: WorkerId,
    },
}

/// Why an attempt was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartCause {
    /// The first attempt at this partition.
    First,
    /// The last attempt failed by itself.
    Retry,
    /// The last attempt was lost while it ran.
    Lost,
    /// The last attempt succeeded, but its output is gone.
    Recompute,
    /// An input changed under it.
    RollBack,
    /// The other attempt at it, which still runs, is slow.
    Speculation,
}

/// Why something is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossReason {
    /// Its worker has not been heard of for too long.
    WorkerSilent,
    /// Its worker's connection closed and did not come back.
    WorkerGone,
    /// Its worker came back as a new process.
    WorkerRestarted,
    /// Its executor died.
    ExecutorDied,
    /// A reader could not get it.
    FetchFailed,
    /// Nobody needs it any more.
    Cancelled,
    /// An input of it changed.
    RolledBack,
    /// The other attempt at it was done first.
    Superseded,
}

/// What was wrong with a segment that a reader asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FetchCause {
    /// The worker could not be reached.
    Unreachable,
    /// The worker does not have it.
    Missing,
    /// It did not match its checksum.
    Corrupt,
}
