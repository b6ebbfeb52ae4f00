//! What becomes of attempts: they succeed, fail, are killed, or are lost with their executor. Everything is
//! checked against the attempt that runs; reports of others are stale, and what they left behind is freed.

use crate::PlantedBug;
use crate::app::Run;
use crate::cluster::Cluster;
use crate::stage::{Attempt, Output, Task, TaskState};
use firesteel_common::block::{BlockId, BlockKind, MapStatus, StoredBlock};
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::event::{AppEvent, LossReason, StartCause};
use firesteel_common::id::{JobId, StageId, TaskId, WorkerId};
use firesteel_common::job::JobEvent;
use firesteel_common::protocol::driver::ToDriver;
use firesteel_common::protocol::worker::ToWorker;
use firesteel_common::sandbox::Ending;
use firesteel_common::task::{AccumulatorUpdate, ResultValue, TaskOutcome, TaskReport};

/// Errors that a repetition cannot mend.
const FINAL_CODES: [ErrorCode; 5] = [
    ErrorCode::Unsupported,
    ErrorCode::BadArgument,
    ErrorCode::OutputExists,
    ErrorCode::InputNotReadable,
    ErrorCode::SqlInvalid,
];

impl Run {
    /// An attempt ended.
    pub fn task_reported(&mut self, cx: &mut Cluster, worker: WorkerId, report: TaskReport) {
        let TaskReport { task, outcome, metrics, accumulators, stored } = report;
        self.progressed = true;
        let is_current = self.running_on(task) == Some(worker);
        let took = self.attempt(task).map(|attempt| cx.now - attempt.since);
        self.partitions_stored(cx, worker, &stored, is_current);
        let is_let_through = !is_current && self.lets_through(cx, task, &outcome);
        if !is_current && !is_let_through {
            cx.counters.stale += 1;
            return self.free_stale(cx, worker, task, &outcome);
        }
        if is_current {
            self.stop_attempt(cx, task);
            if let Some(state) = cx.workers.get_mut(worker) {
                state.note_run(task, metrics.run_us);
            }
            cx.touch(worker);
        }
        if !self.fits(task, &outcome) {
            self.free_stale(cx, worker, task, &outcome);
            let what = "it reports something else than its stage makes";
            return self.task_failed(cx, worker, task, Error::new(ErrorCode::Internal, what));
        }
        match outcome {
            TaskOutcome::MapOutput(_) | TaskOutcome::Result(_) => {
                cx.counters.finished += 1;
                if let Some(stage) = self.stages.get_mut(&task.stage) {
                    stage.note_read(&metrics);
                }
                cx.log(self.app, AppEvent::TaskFinished { task, metrics });
                if is_current {
                    self.note_duration(task.stage, took);
                    self.stop_rivals(cx, task);
                }
                match outcome {
                    TaskOutcome::MapOutput(status) => {
                        self.map_finished(cx, worker, task, status, accumulators)
                    }
                    TaskOutcome::Result(value) => self.result_finished(cx, worker, task, value, accumulators),
                    TaskOutcome::Failed(_) | TaskOutcome::Killed => {}
                }
            }
            TaskOutcome::Failed(error) => self.task_failed(cx, worker, task, error),
            TaskOutcome::Killed => {
                let error = Error::new(ErrorCode::Killed, "it was stopped by its worker");
                self.task_failed(cx, worker, task, error);
            }
        }
    }

    /// Whether an outcome is one that the stage of a task has. An executor runs code of a user, which may
    /// have taken it over; what it reports is not taken at its word.
    fn fits(&self, task: TaskId, outcome: &TaskOutcome) -> bool {
        let Some(stage) = self.stages.get(&task.stage) else { return true };
        match outcome {
            TaskOutcome::MapOutput(status) => {
                stage.is_map && status.segments.len() == stage.code.reducers as usize
            }
            TaskOutcome::Result(_) => !stage.is_map,
            TaskOutcome::Failed(_) | TaskOutcome::Killed => true,
        }
    }

    /// The worker on which an attempt runs, if it does.
    pub fn running_on(&self, task: TaskId) -> Option<WorkerId> {
        self.attempt(task).map(|attempt| attempt.worker)
    }

    /// An attempt, if it runs.
    pub fn attempt(&self, task: TaskId) -> Option<&Attempt> {
        let of = self.stages.get(&task.stage)?.tasks.get(task.partition as usize)?;
        of.attempt(task.attempt).filter(|_| task.app == self.app)
    }

    /// Whether a planted fault takes a stale report for a current one.
    fn lets_through(&self, cx: &Cluster, task: TaskId, outcome: &TaskOutcome) -> bool {
        let Some(stage) = self.stages.get(&task.stage) else { return false };
        let Some(state) = stage.tasks.get(task.partition as usize) else { return false };
        match outcome {
            TaskOutcome::MapOutput(_) => {
                cx.is_planted(PlantedBug::Fencing) && stage.is_map && state.state == TaskState::Idle
            }
            TaskOutcome::Result(_) => cx.is_planted(PlantedBug::Commit) && !stage.is_map,
            TaskOutcome::Failed(_) | TaskOutcome::Killed => false,
        }
    }

    /// Frees what an attempt left behind that was given up, unless it is what is used.
    fn free_stale(&mut self, cx: &mut Cluster, worker: WorkerId, task: TaskId, outcome: &TaskOutcome) {
        if !matches!(outcome, TaskOutcome::MapOutput(_)) {
            return;
        }
        let state = self.stages.get(&task.stage).and_then(|stage| stage.tasks.get(task.partition as usize));
        let used = state.and_then(|state| state.output);
        if used != Some(Output { worker, attempt: task.attempt }) {
            cx.tell_free_outputs(vec![(worker, task)]);
        }
    }

    /// Takes a running attempt off its worker. Its task is idle then, unless another attempt at it runs.
    /// Gives the worker.
    pub fn stop_attempt(&mut self, cx: &mut Cluster, task: TaskId) -> Option<WorkerId> {
        let TaskId { stage: id, partition, attempt: number, .. } = task;
        let stage = self.stages.get_mut(&id)?;
        let Attempt { worker, waits, .. } = stage.tasks.get_mut(partition as usize)?.take_attempt(number)?;
        stage.running -= 1;
        cx.stop(worker, task, waits == 0);
        if waits == 0 {
            self.give_slot_back(cx);
        }
        let Some(stage) = self.stages.get(&id) else { return Some(worker) };
        if waits > 0 {
            let inputs: Vec<StageId> = stage.inputs.iter().map(|input| input.stage).collect();
            for input in inputs {
                if let Some(parent) = self.stages.get_mut(&input) {
                    parent.waiters.remove(&(id, partition, number));
                }
            }
        }
        Some(worker)
    }

    /// Takes those running attempts of a stage off their workers that `select` names by partition.
    pub fn stop_attempts(
        &mut self,
        cx: &mut Cluster,
        id: StageId,
        select: impl Fn(u32) -> bool,
    ) -> Vec<(WorkerId, TaskId)> {
        let Some(stage) = self.stages.get(&id) else { return Vec::new() };
        let mut running = Vec::new();
        for (partition, task) in (0u32..).zip(&stage.tasks) {
            if task.is_running() && select(partition) {
                running.extend(task.attempts().map(|attempt| self.task_id(id, partition, attempt.number)));
            }
        }
        let stop = |task: TaskId| self.stop_attempt(cx, task).map(|worker| (worker, task));
        running.into_iter().filter_map(stop).collect()
    }

    fn map_finished(
        &mut self,
        cx: &mut Cluster,
        worker: WorkerId,
        task: TaskId,
        status: MapStatus,
        accumulators: Vec<AccumulatorUpdate>,
    ) {
        let Some(stage) = self.stages.get_mut(&task.stage) else { return };
        stage.set_output(task.partition, Output { worker, attempt: task.attempt });
        stage.tasks[task.partition as usize].is_rolled_back = false;
        let earlier = stage.tasks[task.partition as usize].status.replace(status);
        let now = stage.tasks[task.partition as usize].status.as_ref();
        let differs = earlier.as_ref().zip(now).is_some_and(|(earlier, now)| !earlier.same_output(now));
        // What an earlier master has seen of an unordered task is not known: it must be taken for different.
        let differs = differs || (self.recovered && !stage.ordered && earlier.is_none());
        let job = stage.jobs.first().copied();
        if let Some(job) = job
            && earlier.is_none()
            && !accumulators.is_empty()
        {
            self.tell_job(cx, job, JobEvent::Accumulated(accumulators));
        }
        if differs {
            self.roll_back_consumers(cx, task.stage, task.partition);
        }
        if self.stages.get(&task.stage).is_some_and(|stage| stage.missing == 0) {
            self.complete_map(cx, task.stage);
        }
    }

    fn result_finished(
        &mut self,
        cx: &mut Cluster,
        worker: WorkerId,
        task: TaskId,
        value: ResultValue,
        accumulators: Vec<AccumulatorUpdate>,
    ) {
        let Some(stage) = self.stages.get_mut(&task.stage) else { return };
        if let ResultValue::Block { .. } = value {
            stage.result_holders.insert(worker);
            self.tell_address(cx, worker);
        }
        let Some(stage) = self.stages.get(&task.stage) else { return };
        let app = self.app;
        let mut event =
            Some(JobEvent::TaskResult { stage: task.stage, partition: task.partition, value, accumulators });
        let mut complete: Option<Vec<JobId>> = None;
        for (at, id) in stage.targeted_by.iter().enumerate() {
            let Some(wanted) = self.jobs.get_mut(id).and_then(|job| job.targets.get_mut(&task.stage)) else {
                continue;
            };
            if !wanted.deliver(task.partition) && !cx.is_planted(PlantedBug::Commit) {
                continue;
            }
            let is_last = at + 1 == stage.targeted_by.len();
            if let Some(event) = if is_last { event.take() } else { event.clone() }
                && self.listening
            {
                cx.tell_job(app, *id, event);
            }
            if wanted.left == 0 {
                complete.get_or_insert_default().push(*id);
            }
        }
        if let Some(jobs) = complete {
            self.result_jobs_complete(cx, task.stage, jobs);
        }
    }

    /// These jobs have all they want of a result stage.
    fn result_jobs_complete(&mut self, cx: &mut Cluster, id: StageId, jobs: Vec<JobId>) {
        if self.stages.get(&id).is_some_and(|stage| stage.active && self.is_complete(stage)) {
            self.deactivate(cx, id);
            cx.log(self.app, AppEvent::StageFinished { stage: id });
        }
        for job in jobs {
            self.check_job(cx, job);
        }
    }

    /// Makes sure that the driver knows the address of a worker.
    fn tell_address(&mut self, cx: &mut Cluster, worker: WorkerId) {
        self.workers.insert(worker);
        if self.addresses_told.insert(worker)
            && let Some(address) = cx.workers.get(worker).map(|state| state.address.to_string())
        {
            cx.tell_driver(self.app, ToDriver::WorkerAddress { worker, address });
        }
    }

    pub fn task_failed(&mut self, cx: &mut Cluster, worker: WorkerId, task: TaskId, error: Error) {
        cx.log(self.app, AppEvent::TaskFailed { task, error: error.clone() });
        let Some(state) = self.stages.get_mut(&task.stage) else { return };
        state.failed += 1;
        let trouble = state.tasks[task.partition as usize].trouble();
        trouble.failures += 1;
        let failures = trouble.failures;
        if FINAL_CODES.contains(&error.code) {
            return self.fail_jobs_of(cx, task.stage, error.context(format!("{task} failed")));
        }
        if failures >= self.task_failures_max(cx) {
            let message = format!("{task} failed {failures} times, the last time with {error}");
            let exhausted = Error { code: ErrorCode::TaskRetriesExhausted, message, ..error };
            return self.fail_jobs_of(cx, task.stage, exhausted);
        }
        if cx.is_planted(PlantedBug::Retry) {
            return;
        }
        self.note_failure(cx, worker, task);
        self.repeat(cx, task, StartCause::Retry);
        self.fail_if_waits_nowhere(cx, task, &error);
    }

    /// Runs a task again whose attempt has come to nothing, if it still is to be run.
    pub fn repeat(&mut self, cx: &mut Cluster, task: TaskId, cause: StartCause) {
        let Some(stage) = self.stages.get(&task.stage) else { return };
        let is_idle = stage.tasks.get(task.partition as usize).is_some_and(Task::is_idle);
        if stage.active && is_idle && self.is_wanted(stage, task.partition) {
            self.set_pending(cx, task.stage, task.partition, cause);
        }
    }

    /// Fails the jobs that need a pending task for which every worker is left out.
    fn fail_if_waits_nowhere(&mut self, cx: &mut Cluster, task: TaskId, last: &Error) {
        let stage = self.stages.get(&task.stage);
        if stage.and_then(|s| s.tasks.get(task.partition as usize)).is_some_and(Task::is_pending) {
            self.fail_if_nowhere(cx, task.stage, task.partition, Some(last));
        }
    }

    /// Fails every job that cannot end without a stage.
    pub fn fail_jobs_of(&mut self, cx: &mut Cluster, stage: StageId, error: Error) {
        for job in self.jobs_that_need(stage) {
            self.fail_job(cx, job, error.clone());
        }
    }

    /// An executor died, and these attempts with it. What it had finished is its worker's, and stays;
    /// so does what the worker was told of stages and inputs.
    pub fn executor_lost(
        &mut self,
        cx: &mut Cluster,
        worker: WorkerId,
        (reason, stopped): (&Ending, bool),
        tasks: Vec<TaskId>,
    ) {
        cx.log(self.app, AppEvent::ExecutorLost { worker, reason: reason.words.clone() });
        let lost: Vec<TaskId> =
            tasks.into_iter().filter(|task| self.running_on(*task) == Some(worker)).collect();
        for task in &lost {
            self.stop_attempt(cx, *task);
            cx.log(self.app, AppEvent::TaskLost { task: *task, reason: LossReason::ExecutorDied });
        }
        for task in lost {
            if let Some(stage) = self.stages.get_mut(&task.stage) {
                stage.failed += 1;
            }
            if stopped {
                self.repeat(cx, task, StartCause::Lost);
                continue;
            }
            self.killed_executor(cx, worker, reason, task);
        }
    }

    fn killed_executor(&mut self, cx: &mut Cluster, worker: WorkerId, reason: &Ending, task: TaskId) {
        let failures_max = self.task_failures_max(cx) as usize;
        let Some(stage) = self.stages.get_mut(&task.stage) else { return };
        let killers = &mut stage.tasks[task.partition as usize].trouble().killers;
        killers.push(worker);
        if killers.len() < failures_max {
            self.note_failure(cx, worker, task);
            self.repeat(cx, task, StartCause::Lost);
            let message = format!("the executor that ran it died: {reason}");
            let error = Error::new(reason.code(), message);
            return self.fail_if_waits_nowhere(cx, task, &error);
        }
        let workers: Vec<String> = killers.iter().map(|worker| worker.to_string()).collect();
        let message = format!(
            "{task} was running {} times when its executor died (on {}), the last time with: {reason}",
            killers.len(),
            workers.join(", ")
        );
        let help = "look for a crash, an exit or too much memory in the code that this task runs";
        self.fail_jobs_of(cx, task.stage, Error::new(reason.code(), message).with_help(help));
    }

    /// A worker holds these cached partitions now; `fresh` says whether they were made of what there is now.
    pub fn partitions_stored(
        &mut self,
        cx: &mut Cluster,
        worker: WorkerId,
        stored: &[StoredBlock],
        fresh: bool,
    ) {
        for StoredBlock { block, level } in stored {
            if let BlockKind::Cached { dataset, .. } = block.kind
                && let Some(known) = self.datasets.get_mut(&dataset)
            {
                known.level = *level;
            }
        }
        let blocks: Vec<BlockId> = stored.iter().map(|stored| stored.block).collect();
        self.partitions_held(cx, worker, &blocks, fresh);
        if fresh {
            self.replicate(cx, worker, stored);
        }
    }

    /// The same, without their levels and without replicas.
    pub fn partitions_held(&mut self, cx: &mut Cluster, worker: WorkerId, held: &[BlockId], fresh: bool) {
        for block in held {
            let BlockKind::Cached { dataset, partition } = block.kind else { continue };
            match self.datasets.get_mut(&dataset) {
                Some(known) if fresh || !known.rolled_back => {
                    known.holders.entry(partition).or_default().insert(worker);
                    self.workers.insert(worker);
                }
                None if cx.is_planted(PlantedBug::Release) => {}
                stale => {
                    for holders in stale.into_iter().flat_map(|known| known.holders.values_mut()) {
                        holders.remove(&worker);
                    }
                    let app = self.app;
                    let free = ToWorker::Free { app, stages: Vec::new(), datasets: vec![dataset] };
                    cx.tell_worker(worker, free);
                }
            }
        }
    }
}
