//! Map outputs that are lost, move, or come back as something else.
//!
//! A reader whose input is gone keeps waiting inside its attempt. Its slot is free meanwhile, so the repetition
//! of the map task never waits for its readers.

use crate::app::Run;
use crate::cluster::Cluster;
use crate::stage::{Output, Stage, TaskState};
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::event::{AppEvent, FetchCause, LossReason, StartCause};
use firesteel_common::graph::ReadPattern;
use firesteel_common::id::{StageId, TaskId, WorkerId};
use firesteel_common::protocol::worker::{MapPlace, ToWorker};

/// What a reader says about an input that it could not get.
#[derive(Debug)]
pub(crate) struct FetchFailure {
    pub task: TaskId,
    pub stage: StageId,
    pub map: u32,
    pub place: Option<MapPlace>,
    pub cause: FetchCause,
}

impl Run {
    /// A map output is gone. Says whether its stage was complete before. Nothing is repeated by this alone.
    pub fn lose_output(&mut self, cx: &mut Cluster, id: StageId, map: u32, reason: LossReason) -> bool {
        let Some(stage) = self.stages.get_mut(&id) else { return false };
        let was_complete = stage.missing == 0;
        let Some(output) = stage.clear_output(map) else { return false };
        let task = &mut stage.tasks[map as usize];
        task.trouble().lost = Some((output, reason));
        if task.state == TaskState::Idle {
            task.cause = StartCause::Recompute;
        }
        if was_complete {
            self.block_consumers(cx, id);
        }
        was_complete
    }

    /// A running reader found an input gone.
    pub fn fetch_failed(&mut self, cx: &mut Cluster, worker: WorkerId, failure: FetchFailure) {
        let FetchFailure { task, stage: id, map, place, cause } = failure;
        let reads = |stage: &Stage| stage.inputs.iter().any(|input| input.stage == id);
        if self.running_on(task) != Some(worker) || !self.stages.get(&task.stage).is_some_and(reads) {
            cx.counters.stale += 1;
            return;
        }
        let Some(parent) = self.stages.get(&id) else { return };
        let Some(state) = parent.tasks.get(map as usize) else { return };
        let named = place.as_ref().map(|place| Output { worker: place.worker, attempt: place.attempt });
        if let Some(holder) = named {
            cx.log(self.app, AppEvent::FetchFailed { task, stage: id, map, worker: holder.worker, cause });
        }
        match state.output {
            Some(output) if named == Some(output) => {
                self.wait_for(cx, task, id);
                self.output_not_fetched(cx, worker, id, map, output, cause);
            }
            Some(_) => {
                let places = parent.place_of(cx, map).map(|place| (map, place)).into_iter().collect();
                cx.tell_worker(worker, ToWorker::InputsChanged { app: self.app, stage: id, places });
            }
            None => {
                self.wait_for(cx, task, id);
                if !self.stages.get(&id).is_some_and(|parent| parent.active) {
                    self.forget_cached_for(task, id);
                    self.replan(cx);
                }
            }
        }
    }

    /// The output that a reader on `reader` could not get is made again, best near that reader.
    fn output_not_fetched(
        &mut self,
        cx: &mut Cluster,
        reader: WorkerId,
        id: StageId,
        map: u32,
        output: Output,
        cause: FetchCause,
    ) {
        let was_complete = self.lose_output(cx, id, map, LossReason::FetchFailed);
        let lost = self.task_id(id, map, output.attempt);
        cx.tell_free_outputs(vec![(output.worker, lost)]);
        let Some(parent) = self.stages.get_mut(&id) else { return };
        let trouble = parent.tasks[map as usize].trouble();
        trouble.fetch_losses += 1;
        trouble.near = Some(reader);
        let losses = trouble.fetch_losses;
        if losses > cx.settings.stage_attempts_max {
            let message = format!(
                "the output of {id}, partition {map}, could not be read {losses} times, the last time from {} ({cause:?})",
                output.worker
            );
            let error = Error::new(ErrorCode::StageRetriesExhausted, message)
                .with_help("look for a broken network, disk or memory on the workers that hold it");
            return self.fail_jobs_of(cx, id, error);
        }
        if was_complete || !self.stages.get(&id).is_some_and(|parent| parent.active) {
            self.replan(cx);
        } else {
            self.set_pending(cx, id, map, StartCause::Recompute);
        }
    }

    /// A running attempt waits for an input, and gives its slot back meanwhile.
    fn wait_for(&mut self, cx: &mut Cluster, task: TaskId, id: StageId) {
        let waiter = (task.stage, task.partition);
        if !self.stages.get_mut(&id).is_some_and(|parent| parent.waiters.insert(waiter)) {
            return;
        }
        let Some(stage) = self.stages.get_mut(&task.stage) else { return };
        let TaskState::Running { worker, waits } = &mut stage.tasks[task.partition as usize].state else {
            return;
        };
        *waits += 1;
        if *waits == 1
            && let Some(state) = cx.workers.get_mut(*worker)
        {
            state.used = state.used.saturating_sub(1);
            cx.touch(*worker);
        }
    }

    /// The readers that wait for a stage go on, and hold their slots again.
    pub fn resume_waiters(&mut self, cx: &mut Cluster, id: StageId) {
        let Some(parent) = self.stages.get_mut(&id) else { return };
        for (stage, partition) in std::mem::take(&mut parent.waiters) {
            let Some(task) = self.stages.get_mut(&stage).and_then(|s| s.tasks.get_mut(partition as usize))
            else {
                continue;
            };
            let TaskState::Running { worker, waits } = &mut task.state else { continue };
            *waits = waits.saturating_sub(1);
            if *waits == 0
                && let Some(state) = cx.workers.get_mut(*worker)
            {
                state.used += 1;
                cx.touch(*worker);
            }
        }
    }

    /// A task that was to read cached partitions asks for the input that they stand for: they are not there.
    fn forget_cached_for(&mut self, task: TaskId, input: StageId) {
        let Some(stage) = self.stages.get(&task.stage) else { return };
        let Some(spec) = self.graph.get(task.stage).and_then(|spec| spec.tasks.get(task.partition as usize))
        else {
            return;
        };
        let datasets: Vec<_> =
            stage.inputs.iter().filter(|i| i.stage == input).filter_map(|i| i.unless_cached).collect();
        for cached in spec.cached.iter().filter(|cached| datasets.contains(&cached.dataset)) {
            if let Some(dataset) = self.datasets.get_mut(&cached.dataset) {
                dataset.holders.remove(&cached.partition);
            }
        }
    }

    /// Tells every worker that knows the places of a stage's outputs which of them have changed.
    pub fn tell_moved_outputs(&mut self, cx: &mut Cluster, id: StageId) {
        let Some(stage) = self.stages.get_mut(&id) else { return };
        let changed = std::mem::take(&mut stage.changed);
        let Some(stage) = self.stages.get(&id).filter(|_| !changed.is_empty()) else { return };
        let places: Vec<(u32, MapPlace)> =
            changed.into_iter().filter_map(|map| Some((map, stage.place_of(cx, map)?))).collect();
        let app = self.app;
        for worker in &stage.table_told {
            cx.tell_worker(*worker, ToWorker::InputsChanged { app, stage: id, places: places.clone() });
        }
    }

    /// A repeated map task wrote something else than the first time. Readers must not mix the two: what
    /// incomplete stages have made of the first starts anew. Where a driver has a result already, the job fails.
    pub fn roll_back_consumers(&mut self, cx: &mut Cluster, id: StageId, map: u32) {
        let Some(stage) = self.stages.get_mut(&id) else { return };
        stage.version += 1;
        let version = stage.version;
        let consumers = stage.consumers.clone();
        for job in stage.jobs.clone() {
            if let Some(job) = self.jobs.get_mut(&job) {
                job.told.remove(&id);
            }
        }
        let mut rolled_back = Vec::new();
        let mut stopped = Vec::new();
        for consumer in consumers {
            let Some(stage) = self.stages.get_mut(&consumer) else { continue };
            if stage.is_map && stage.missing == 0 {
                continue;
            }
            for input in stage.inputs.iter_mut().filter(|input| input.stage == id) {
                if input.version + 1 == version {
                    input.version = version;
                }
            }
            if !stage.is_map && self.fail_delivered(cx, id, consumer) {
                continue;
            }
            let kills =
                self.roll_back(cx, consumer, |run, partition| run.reads(consumer, partition, id, map));
            if let Some(kills) = kills {
                rolled_back.push(consumer);
                stopped.extend(kills);
            }
        }
        if !rolled_back.is_empty() {
            cx.log(self.app, AppEvent::RolledBack { stage: id, consumers: rolled_back });
        }
        for (_, task) in &stopped {
            cx.log(self.app, AppEvent::TaskLost { task: *task, reason: LossReason::RolledBack });
            self.repeat(cx, *task, StartCause::RollBack);
        }
        cx.tell_kills(stopped);
    }

    /// Fails the jobs that have results of `consumer`, which read the first output of `id`. Says whether nobody
    /// else wants the stage.
    fn fail_delivered(&mut self, cx: &mut Cluster, id: StageId, consumer: StageId) -> bool {
        let Some(stage) = self.stages.get(&consumer) else { return true };
        let ordered = self.stages.get(&id).is_some_and(|stage| stage.ordered);
        let has_results = |job: &firesteel_common::id::JobId| {
            let wanted = self.jobs.get(job).and_then(|job| job.targets.get(&consumer));
            wanted.is_some_and(|wanted| wanted.delivered > 0 && wanted.left > 0)
        };
        let failed: Vec<_> = stage.targeted_by.iter().copied().filter(has_results).collect();
        for job in failed {
            let message = if ordered {
                format!(
                    "{id} wrote other bytes when a task of it was repeated, and results made of the first ones have left the cluster"
                )
            } else {
                format!(
                    "{id} wrote its rows in another order when a task of it was repeated, and results made of the first order have left the cluster"
                )
            };
            let help = if ordered {
                "make the job's functions give the same output for the same input; nothing random, no clock"
            } else {
                "submit the job again"
            };
            self.fail_job(cx, job, Error::new(ErrorCode::NotDeterministic, message).with_help(help));
        }
        self.stages.get(&consumer).is_none_or(|stage| !stage.active)
    }

    /// Drops the selected finished outputs of a stage and stops its selected attempts, which are returned;
    /// `None` if there was neither.
    fn roll_back(
        &mut self,
        cx: &mut Cluster,
        id: StageId,
        select: impl Fn(&Self, u32) -> bool,
    ) -> Option<Vec<(WorkerId, TaskId)>> {
        let tasks = self.stages.get(&id)?.tasks.len() as u32;
        let selected: Vec<bool> = (0..tasks).map(|partition| select(self, partition)).collect();
        let app = self.app;
        let stage = self.stages.get_mut(&id)?;
        let mut freed = Vec::new();
        let mut repeated = Vec::new();
        for partition in (0..tasks).filter(|partition| selected[*partition as usize]) {
            let Some(output) = stage.clear_output(partition) else { continue };
            let task = &mut stage.tasks[partition as usize];
            task.cause = StartCause::RollBack;
            freed.push((output.worker, TaskId { app, stage: id, partition, attempt: output.attempt }));
            repeated.push(TaskId { app, stage: id, partition, attempt: output.attempt });
        }
        let stopped = self.stop_attempts(cx, id, |partition| selected[partition as usize]);
        let any = !freed.is_empty() || !stopped.is_empty();
        cx.tell_free_outputs(freed);
        for task in repeated {
            self.repeat(cx, task, StartCause::RollBack);
        }
        any.then_some(stopped)
    }

    /// Whether a task reads a map output.
    fn reads(&self, id: StageId, partition: u32, input: StageId, map: u32) -> bool {
        let Some(spec) = self.graph.get(id) else { return false };
        spec.inputs.iter().filter(|read| read.stage == input).any(|read| match &read.read {
            ReadPattern::SameIndex | ReadPattern::Everything => true,
            ReadPattern::PerTask(reads) => reads
                .get(partition as usize)
                .is_some_and(|reads| reads.iter().any(|range| range.maps.contains(&map))),
        })
    }

    /// Before a stage is computed (further): its finished outputs must come from what its inputs are now.
    pub fn drop_stale_outputs(&mut self, cx: &mut Cluster, id: StageId) {
        let Some(stage) = self.stages.get(&id) else { return };
        let version = |input: StageId| self.stages.get(&input).map_or(0, |parent| parent.version);
        let stale: Vec<StageId> =
            stage.inputs.iter().filter(|i| i.version != version(i.stage)).map(|i| i.stage).collect();
        if stale.is_empty() {
            return;
        }
        if stage.has_outputs() {
            self.roll_back(cx, id, |_, _| true);
            for input in &stale {
                cx.log(self.app, AppEvent::RolledBack { stage: *input, consumers: vec![id] });
            }
        }
        let versions: Vec<u32> = match self.stages.get(&id) {
            Some(stage) => stage.inputs.iter().map(|input| version_of(self, input.stage)).collect(),
            None => return,
        };
        let Some(stage) = self.stages.get_mut(&id) else { return };
        for (input, version) in stage.inputs.iter_mut().zip(versions) {
            input.version = version;
        }
    }
}

fn version_of(run: &Run, id: StageId) -> u32 {
    run.stages.get(&id).map_or(0, |stage| stage.version)
}
