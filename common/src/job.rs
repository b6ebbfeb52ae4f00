//! The driver's side of the waist: a conversation about jobs.
//!
//! A front end (the RDD context, the SQL session) submits stages and names the ones it wants run; it hears of
//! finished stages and their statistics, gets results, may add stages when it knows more, and releases what
//! it no longer needs. A job with `open` set may be extended; one without it ends with its last target.

use crate::block::{BlockId, MapStatus};
use crate::bytes::Payload;
use crate::error::{Error, Result};
use crate::graph::StageSpec;
use crate::id::{DatasetId, JobId, StageId};
use crate::task::{AccumulatorUpdate, ResultValue};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What an action asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Given by the driver, counted from 0.
    pub id: JobId,
    /// What pages and logs call it.
    pub name: String,
    /// Stages that the runtime does not know yet, parents first.
    pub stages: Vec<StageSpec>,
    /// What must be complete for the job to be finished.
    pub targets: Vec<Target>,
    /// Whether more stages and targets may follow.
    pub open: bool,
    /// For cancelling several jobs at once; empty for none.
    pub group: String,
}

/// A stage whose tasks are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The stage: a result stage for its values, a shuffle map stage for its outputs and statistics.
    pub stage: StageId,
    /// The partitions that are wanted; `None` for all. A shuffle map stage is always wanted whole.
    pub partitions: Option<Vec<u32>>,
}

impl Target {
    /// All partitions of `stage`.
    pub fn all(stage: StageId) -> Self {
        Self { stage, partitions: None }
    }
}

/// What a driver hears of a job, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum JobEvent {
    /// All map outputs of a stage are there. It may happen again after a recomputation; the statistics stay.
    StageFinished {
        /// The stage.
        stage: StageId,
        /// One for each map partition.
        statuses: Vec<MapStatus>,
    },
    /// A partition of a result stage has its value. Happens once for each partition.
    TaskResult {
        /// The stage.
        stage: StageId,
        /// The partition.
        partition: u32,
        /// The value.
        value: ResultValue,
        /// What the successful attempt added to accumulators.
        accumulators: Vec<AccumulatorUpdate>,
    },
    /// Accumulators of a map task that succeeded for the first time.
    Accumulated(Vec<AccumulatorUpdate>),
    /// How far it is, from time to time.
    Progress(JobProgress),
    /// Every target is complete and the job is not open.
    Finished,
    /// It will not be finished.
    Failed(Error),
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobProgress {
    /// Stages that the job needs.
    pub stages: u32,
    /// Of these, complete ones.
    pub stages_done: u32,
    /// Tasks that the job needs.
    pub tasks: u32,
    /// Of these, complete ones.
    pub tasks_done: u32,
    /// Attempts that run now.
    pub tasks_running: u32,
}

/// The runtime as a driver sees it. Methods may be called from several threads.
pub trait JobRunner: Send + Sync {
    /// Starts a job. A job that was submitted under the same id with the same content is the same job.
    fn submit(&self, job: JobSpec) -> Result<()>;

    /// Adds stages and targets to an open job; with `open` false nothing can be added after.
    fn extend(&self, job: JobId, stages: Vec<StageSpec>, targets: Vec<Target>, open: bool) -> Result<()>;

    /// The next event of a job; waits for it.
    ///
    /// # Errors
    /// When the runtime is gone for good. A job that failed is not an error here but [`JobEvent::Failed`],
    /// after which nothing comes.
    fn next_event(&self, job: JobId) -> Result<JobEvent>;

    /// The next event of a job, waited for at most so long; `None` if none has come by then. A runtime that
    /// cannot stop waiting waits without a limit.
    ///
    /// # Errors
    /// As [`JobRunner::next_event`].
    fn next_event_within(&self, job: JobId, at_most: Duration) -> Result<Option<JobEvent>> {
        let _ = at_most;
        self.next_event(job).map(Some)
    }

    /// The payload of a result that was too large to travel with its event.
    fn fetch(&self, value: &ResultValue) -> Result<Payload>;

    /// Says that these shuffle map stages and datasets are no longer referred to: their outputs and blocks
    /// are freed as soon as nothing that runs needs them.
    fn release(&self, stages: Vec<StageId>, datasets: Vec<DatasetId>);

    /// Stops a job.
    fn cancel(&self, job: JobId, reason: &str);

    /// Stops all jobs of a group.
    fn cancel_group(&self, group: &str, reason: &str);

    /// How many task slots the cluster has now; what a front end takes as its default parallelism.
    fn slots(&self) -> u32;

    /// Drops the name of a result block once it was fetched.
    fn release_result(&self, block: BlockId);
}
