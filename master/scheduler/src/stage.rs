//! What is known of one stage and of its tasks. Here are the data and what can be said of one stage alone;
//! what concerns several stages is in `plan`, `map_output` and `reports`.

use crate::cluster::SetKey;
use crate::task_set::TaskSet;
use firesteel_common::block::MapStatus;
use firesteel_common::event::{LossReason, StartCause};
use firesteel_common::graph::{OutputOrder, StageKind, StageSpec};
use firesteel_common::id::{DatasetId, JobId, StageId, WorkerId};
use firesteel_common::protocol::worker::{InputTable, StageCode};
use firesteel_common::task::TaskMetrics;
use firesteel_common::time::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskState {
    /// Not to be run: complete, or not asked for.
    Idle,
    /// To be run as soon as the stage's inputs are there and a slot is free.
    Pending,
    /// An attempt at it runs; see [`Task::copy`] for a second one.
    Running(Attempt),
}

/// An attempt that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub number: u32,
    pub worker: WorkerId,
    /// How many inputs it waits for; it holds a slot only if this is 0.
    pub waits: u32,
    /// When it was sent to its worker, or found there.
    pub since: Timestamp,
}

/// Where a map output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub worker: WorkerId,
    pub attempt: u32,
}

/// What went wrong with a task so far; most have none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble {
    /// Attempts that failed by themselves.
    pub failures: u32,
    /// Outputs that a reader could not get.
    pub fetch_losses: u32,
    /// The workers whose executor died while it ran there.
    pub killers: Vec<WorkerId>,
    /// The output that was lost last; logged when the repetition starts.
    pub lost: Option<(Output, LossReason)>,
    /// The worker of the reader that misses its output.
    pub near: Option<WorkerId>,
}

/// One partition of a stage.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub state: TaskState,
    /// The number of the next attempt.
    pub next: u32,
    /// Why the next attempt will run.
    pub cause: StartCause,
    /// For a map task: where its output is.
    pub output: Option<Output>,
    /// For a map task: what its last successful attempt wrote. Stays when the output is lost.
    pub status: Option<MapStatus>,
    /// Whether an input has changed since `status` was reported, so that no output of then may be used.
    pub is_rolled_back: bool,
    pub trouble: Option<Box<Trouble>>,
    /// A second attempt on another worker, beside a slow one that runs; the first success of the two counts.
    pub copy: Option<Box<Attempt>>,
}

impl Task {
    /// The attempts that run.
    pub fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        let first = match &self.state {
            TaskState::Running(attempt) => Some(attempt),
            TaskState::Idle | TaskState::Pending => None,
        };
        first.into_iter().chain(self.copy.as_deref())
    }

    /// The running attempt of this number.
    pub fn attempt(&self, number: u32) -> Option<&Attempt> {
        self.attempts().find(|attempt| attempt.number == number)
    }

    /// The same, to be changed.
    pub fn attempt_mut(&mut self, number: u32) -> Option<&mut Attempt> {
        match &mut self.state {
            TaskState::Running(attempt) if attempt.number == number => Some(attempt),
            _ => self.copy.as_deref_mut().filter(|attempt| attempt.number == number),
        }
    }

    /// Takes a running attempt away. If another one runs, the task goes on with that.
    pub fn take_attempt(&mut self, number: u32) -> Option<Attempt> {
        if self.copy.as_ref().is_some_and(|copy| copy.number == number) {
            return self.copy.take().map(|copy| *copy);
        }
        let TaskState::Running(attempt) = self.state else { return None };
        if attempt.number != number {
            return None;
        }
        self.state = self.copy.take().map_or(TaskState::Idle, |copy| TaskState::Running(*copy));
        Some(attempt)
    }

    pub fn is_pending(&self) -> bool {
        self.state == TaskState::Pending
    }

    pub fn is_idle(&self) -> bool {
        self.state == TaskState::Idle
    }

    pub fn is_running(&self) -> bool {
        matches!(self.state, TaskState::Running(_))
    }

    pub fn trouble(&mut self) -> &mut Trouble {
        self.trouble.get_or_insert_default()
    }
}

/// A shuffle that the stage reads.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub stage: StageId,
    pub unless_cached: Option<DatasetId>,
    pub maps: u32,
    pub reducers: u32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Stage {
    pub id: StageId,
    pub is_map: bool,
    pub ordered: bool,
    pub code: Arc<StageCode>,
    pub inputs: Vec<Input>,
    /// The stages that read it.
    pub consumers: Vec<StageId>,
    pub datasets: BTreeSet<DatasetId>,
    pub tasks: Vec<Task>,
    /// For a map stage: tasks without output.
    pub missing: u32,
    pub pending: u32,
    /// Attempts that run, waiting ones included.
    pub running: u32,
    /// Whether it is being computed.
    pub active: bool,
    /// Inputs that must be complete before its pending tasks may start.
    pub blockers: BTreeSet<StageId>,
    /// Whether it is active and has no blocker: then `set` holds its pending tasks.
    pub open: bool,
    pub set: TaskSet,
    /// Where the placement has it, while it is open and has pending tasks.
    pub key: Option<SetKey>,
    /// Unfinished jobs whose lineage it is in.
    pub jobs: BTreeSet<JobId>,
    /// Of these, those that have it as a target.
    pub targeted_by: Vec<JobId>,
    /// Workers that were sent `code`.
    pub code_told: BTreeSet<WorkerId>,
    /// Workers that were sent the places of its outputs.
    pub table_told: BTreeSet<WorkerId>,
    /// The places of its outputs as they are now; made when it is asked for.
    pub table: Option<Arc<InputTable>>,
    /// Outputs that moved since `table_told` were told.
    pub changed: BTreeSet<u32>,
    /// Running readers that wait for it: stage, partition, attempt.
    pub waiters: BTreeSet<(StageId, u32, u32)>,
    /// Workers that hold large results of it.
    pub result_holders: BTreeSet<WorkerId>,
    /// Whether the driver refers to it no longer.
    pub released: bool,
    /// Attempts that failed or were lost.
    pub failed: u32,
    /// Records that its finished attempts have read.
    pub records: u64,
    /// Bytes that its finished attempts have read.
    pub bytes: u64,
    /// How long attempts took that succeeded since it became active, in microseconds; only kept where slow
    /// ones are looked for.
    pub durations: Vec<u64>,
}

impl Stage {
    /// Counts what an attempt has read. The numbers come from a process that runs code of a user.
    pub fn note_read(&mut self, metrics: &TaskMetrics) {
        let sum = |of: &[u64]| of.iter().fold(0, |sum: u64, more| sum.saturating_add(*more));
        self.records = sum(&[self.records, metrics.input_records, metrics.read_records]);
        let read = [metrics.input_bytes, metrics.local_read_bytes, metrics.remote_read_bytes];
        self.bytes = self.bytes.saturating_add(sum(&read));
    }

    /// A stage none of whose tasks has run; attempts count from `first_attempt`.
    pub fn new(spec: &StageSpec, inputs: Vec<Input>, first_attempt: u32) -> Self {
        let reducers = match spec.kind {
            StageKind::ShuffleMap { reducers } => reducers,
            StageKind::Result => 0,
        };
        let task = Task {
            state: TaskState::Idle,
            next: first_attempt,
            cause: StartCause::First,
            output: None,
            status: None,
            is_rolled_back: false,
            trouble: None,
            copy: None,
        };
        let code = StageCode {
            stage: spec.id,
            name: spec.name.clone(),
            code: spec.code,
            payload: spec.payload.clone(),
            inputs: spec.inputs.iter().map(|input| input.stage).collect(),
            reducers,
        };
        let is_map = reducers > 0;
        Self {
            id: spec.id,
            is_map,
            ordered: spec.order == OutputOrder::Ordered,
            code: Arc::new(code),
            inputs,
            consumers: Vec::new(),
            datasets: spec.tasks.iter().flat_map(|task| &task.cached).map(|cached| cached.dataset).collect(),
            missing: if is_map { spec.tasks.len() as u32 } else { 0 },
            tasks: vec![task; spec.tasks.len()],
            pending: 0,
            running: 0,
            active: false,
            blockers: BTreeSet::new(),
            open: false,
            set: TaskSet::default(),
            key: None,
            jobs: BTreeSet::new(),
            targeted_by: Vec::new(),
            code_told: BTreeSet::new(),
            table_told: BTreeSet::new(),
            table: None,
            changed: BTreeSet::new(),
            waiters: BTreeSet::new(),
            result_holders: BTreeSet::new(),
            released: false,
            failed: 0,
            records: 0,
            bytes: 0,
            durations: Vec::new(),
        }
    }

    /// Whether it has any finished map output.
    pub fn has_outputs(&self) -> bool {
        self.is_map && (self.missing as usize) < self.tasks.len()
    }

    /// Puts an output in its place.
    pub fn set_output(&mut self, partition: u32, output: Output) {
        let Some(task) = self.tasks.get_mut(partition as usize) else { return };
        if task.output.replace(output).is_none() {
            self.missing -= 1;
        }
        if let Some(trouble) = &mut task.trouble {
            trouble.lost = None;
            trouble.near = None;
        }
        self.output_changed(partition);
    }

    /// Takes an output away.
    pub fn clear_output(&mut self, partition: u32) -> Option<Output> {
        let output = self.tasks.get_mut(partition as usize)?.output.take()?;
        self.missing += 1;
        self.output_changed(partition);
        Some(output)
    }

    fn output_changed(&mut self, partition: u32) {
        self.table = None;
        if !self.table_told.is_empty() {
            self.changed.insert(partition);
        }
    }

    /// Statuses of all map outputs, for a driver.
    pub fn statuses(&self) -> Vec<MapStatus> {
        self.tasks.iter().map(|task| task.status.clone().unwrap_or_default()).collect()
    }
}
