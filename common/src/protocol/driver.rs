//! Between driver and master.

use crate::bytes::Payload;
use crate::error::Error;
use crate::graph::StageSpec;
use crate::id::{DatasetId, JobId, StageId, WorkerId};
use crate::job::{JobEvent, JobSpec, Target};
use serde::{Deserialize, Serialize};

/// What a driver tells the master.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromDriver {
    /// The first message of a link: the graph and the unfinished jobs, so that a restarted master knows them.
    Attach {
        /// Stages that still have handles, parents first.
        stages: Vec<StageSpec>,
        /// Unfinished jobs, without stages.
        jobs: Vec<JobSpec>,
    },
    /// See [`crate::job::JobRunner::submit`].
    Submit(JobSpec),
    /// See [`crate::job::JobRunner::extend`].
    Extend {
        /// The job.
        job: JobId,
        /// Stages that are new.
        stages: Vec<StageSpec>,
        /// Targets that are new.
        targets: Vec<Target>,
        /// Whether more may follow.
        open: bool,
    },
    /// See [`crate::job::JobRunner::release`].
    Release {
        /// Shuffle map stages, and result stages whose blocks were fetched.
        stages: Vec<StageId>,
        /// Datasets.
        datasets: Vec<DatasetId>,
    },
    /// See [`crate::job::JobRunner::cancel`].
    Cancel {
        /// The job.
        job: JobId,
        /// Why.
        reason: String,
    },
    /// See [`crate::job::JobRunner::cancel_group`].
    CancelGroup {
        /// The group.
        group: String,
        /// Why.
        reason: String,
    },
    /// What the driver prints in client mode travels with its own terminal; in cluster mode with its worker.
    /// This is the end of the application: its result or its error.
    Finish(Result<Payload, Error>),
    /// Before `Attach`, where the graph is long: stages that come before those of `Attach`. Gathered by who
    /// receives it; a scheduler sees `Attach` with all of them.
    AttachPart {
        /// Stages that still have handles, parents first.
        stages: Vec<StageSpec>,
    },
}

/// What the master tells a driver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToDriver {
    /// The answer to `Attach`.
    Attached {
        /// Task slots of the cluster now.
        slots: u32,
    },
    /// Something happened to a job.
    Job {
        /// The job.
        job: JobId,
        /// What.
        event: JobEvent,
    },
    /// The address of the data server of a worker that was named in an event before.
    WorkerAddress {
        /// The worker.
        worker: WorkerId,
        /// `host:port`.
        address: String,
    },
    /// The outcome is durable; the driver may exit.
    Committed,
    /// Stop at once.
    Kill {
        /// Why.
        reason: String,
    },
}
