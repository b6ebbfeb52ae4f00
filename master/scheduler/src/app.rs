//! What is known of one application: where its driver is, and the run of that driver.

use crate::adopt::Found;
use crate::exclusion::Excluded;
use crate::job::Job;
use crate::stage::Stage;
use firesteel_common::block::{MapStatus, StorageLevel, StoredBlock};
use firesteel_common::error::Error;
use firesteel_common::graph::JobGraph;
use firesteel_common::id::{AppAttemptId, AppId, DatasetId, JobId, StageId, TaskId, WorkerId};
use firesteel_common::options::AppOptions;
use firesteel_common::protocol::worker::{DriverLaunch, DriverProgram};
use firesteel_common::sandbox::Ending;
use firesteel_common::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where an application is in its life.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Its driver waits for a place.
    Queued { since: Timestamp },
    /// Its driver may run somewhere, or will attach by itself; nobody has said so yet.
    Expected { until: Timestamp },
    /// The number of its next driver attempt is being made durable.
    Journaling,
    /// Its driver was started, or attached by itself.
    Running(Driver),
    /// Its outcome is being made durable.
    Ending {
        error: Option<Error>,
        /// Whether its driver has said that it finished, and waits to be let go.
        finished: bool,
    },
}

/// A driver that was started.
#[derive(Debug, Default)]
pub(crate) struct Driver {
    /// The worker whose child it is; `None` in client mode, or while no worker has said so.
    pub worker: Option<WorkerId>,
    /// Whether it was ever attached.
    pub attached: bool,
    /// Whether its connection stands.
    pub connected: bool,
    /// Until when it must be attached again.
    pub deadline: Option<Timestamp>,
    /// How its process ended, if it did while its last words may still be on their way.
    pub exited: Option<Ending>,
}

/// An application without a durable outcome.
#[derive(Debug)]
pub(crate) struct App {
    pub id: AppId,
    /// When it was accepted, in milliseconds since 1970; its drivers are told.
    pub submitted_ms: u64,
    /// What its driver runs; `None` in client mode.
    pub program: Option<DriverProgram>,
    pub phase: Phase,
    /// Since when this master knows it; its time limit counts from here.
    pub since: Timestamp,
    /// How often its driver was lost, with its worker or by itself.
    pub losses: u32,
    /// What its current driver attempt has asked for.
    pub run: Run,
}

impl App {
    /// Whether it has its outcome, which is being made durable.
    pub fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending { .. })
    }

    /// What a worker needs to start its current driver attempt.
    pub fn launch(&self, program: DriverProgram) -> DriverLaunch {
        let (app, limits) = (self.run.app, self.run.options.driver);
        DriverLaunch { app, submitted_ms: self.submitted_ms, program, limits }
    }
}

/// Cached partitions of a dataset.
#[derive(Debug, Default)]
pub(crate) struct Dataset {
    /// Who holds which partition.
    pub holders: BTreeMap<u32, BTreeSet<WorkerId>>,
    /// Where its partitions may be, as the last one said.
    pub level: StorageLevel,
    /// Whether something that it is made of has changed. Partitions that turn up from before are not used.
    pub rolled_back: bool,
    pub released: bool,
}

/// Everything that one attempt at a driver has asked for.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub app: AppAttemptId,
    /// How the application is run.
    pub options: Arc<AppOptions>,
    /// Task slots that its attempts hold.
    pub slots: u32,
    /// Until when running attempts must have ended, if there is a limit.
    pub deadlines: BTreeSet<(Timestamp, TaskId)>,
    /// Whether it began under an earlier epoch of the master.
    pub recovered: bool,
    /// Whether nothing is started yet, because workers may still report what an earlier master has had made.
    pub held: bool,
    /// Whether the driver's connection stands and it has said what it wants over it. Before that nothing is
    /// said to it: it must not hear of an event whose predecessors were lost with the connection before.
    pub listening: bool,
    /// Whether the driver has given its graph.
    pub attached: bool,
    /// The number of the first attempt at its tasks.
    pub first_attempt: u32,
    pub graph: JobGraph,
    pub stages: BTreeMap<StageId, Stage>,
    pub jobs: BTreeMap<JobId, Job>,
    pub datasets: BTreeMap<DatasetId, Dataset>,
    /// How jobs have failed, as far as the driver may not know: the news may be lost with its connection.
    pub failed: BTreeMap<JobId, Error>,
    /// Map outputs that workers reported before the graph was known.
    pub found: BTreeMap<StageId, Vec<(TaskId, WorkerId, MapStatus)>>,
    /// Attempts that workers reported and that nothing is known of yet.
    pub found_attempts: Found,
    /// Of the found outputs, those that may not be what an earlier master had accepted.
    pub unsure: BTreeSet<(StageId, u32)>,
    /// Cached partitions, likewise.
    pub found_cached: Vec<(WorkerId, StoredBlock)>,
    /// Workers that hold or run anything of it.
    pub workers: BTreeSet<WorkerId>,
    /// Workers whose address the driver knows.
    pub addresses_told: BTreeSet<WorkerId>,
    /// Released stages and datasets that could not be freed yet.
    pub releasing: bool,
    /// Whether something has happened since progress was last reported.
    pub progressed: bool,
    /// When slow attempts are looked for next.
    pub speculates_at: Timestamp,
    /// Workers that failures have left out; `None` while there were none.
    pub excluded: Option<Box<Excluded>>,
}

/// How many failed jobs of a run are remembered.
const FAILED_JOBS_MAX: usize = 1_000;

impl Run {
    /// Remembers how a job has failed, in case that the driver asks for it again.
    pub fn remember_failure(&mut self, job: JobId, error: Error) {
        self.failed.insert(job, error);
        if self.failed.len() > FAILED_JOBS_MAX {
            self.failed.pop_first();
        }
    }

    pub fn new(app: AppAttemptId, options: Arc<AppOptions>, recovered: bool, first_attempt: u32) -> Self {
        Self { app, options, recovered, held: recovered, first_attempt, ..Self::default() }
    }

    /// The id of an attempt.
    pub fn task_id(&self, stage: StageId, partition: u32, attempt: u32) -> TaskId {
        TaskId { app: self.app, stage, partition, attempt }
    }
}
