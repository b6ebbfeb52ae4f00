//! Map outputs that are lost, move, or come back as something else.
//!
//! A reader whose input is gone keeps waiting inside its attempt. Its slot is free meanwhile, so the
//! repetition of the map task never waits for its readers.

use crate::app::Run;
use crate::cluster::Cluster;
use crate::job::Job;
use crate::stage::{Output, Stage, TaskState};
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::event::{AppEvent, FetchCause, LossReason, StartCause};
use firesteel_common::graph::ReadPattern;
use firesteel_common::id::{DatasetId, StageId, TaskId, WorkerId};
use firesteel_common::protocol::worker::{MapPlace, ToWorker};
use std::collections::BTreeSet;

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
                if !self.stages.get(&task.stage).is_some_and(|reader| reader.blockers.contains(&id)) {
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
                "the output of {id}, partition {map}, could not be read {losses} times, the last time from \
                 {} ({cause:?})",
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
        let waiter = (task.stage, task.partition, task.attempt);
        if !self.stages.get_mut(&id).is_some_and(|parent| parent.waiters.insert(waiter)) {
            return;
        }
        let Some(stage) = self.stages.get_mut(&task.stage) else { return };
        let Some(attempt) = stage.tasks[task.partition as usize].attempt_mut(task.attempt) else { return };
        attempt.waits += 1;
        let worker = attempt.worker;
        if attempt.waits == 1
            && let Some(state) = cx.workers.get_mut(worker)
        {
            state.used = state.used.saturating_sub(1);
            cx.touch(worker);
            self.give_slot_back(cx);
        }
    }

    /// The readers that wait for a stage go on, and hold their slots again.
    pub fn resume_waiters(&mut self, cx: &mut Cluster, id: StageId) {
        let Some(parent) = self.stages.get_mut(&id) else { return };
        for (stage, partition, number) in std::mem::take(&mut parent.waiters) {
            let task = self.stages.get_mut(&stage).and_then(|s| s.tasks.get_mut(partition as usize));
            let Some(attempt) = task.and_then(|task| task.attempt_mut(number)) else { continue };
            attempt.waits = attempt.waits.saturating_sub(1);
            let worker = attempt.worker;
            if attempt.waits == 0
                && let Some(state) = cx.workers.get_mut(worker)
            {
                state.used += 1;
                cx.touch(worker);
                self.take_slot(cx);
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

    /// A repeated map task wrote something else than the first time. The two must not be mixed: all that was
    /// made of the first starts anew. A job that has given results of it to its driver, and needs more,
    /// fails.
    pub fn roll_back_consumers(&mut self, cx: &mut Cluster, id: StageId, map: u32) {
        let below = self.stages_below(id);
        self.roll_back_datasets(cx, id, &below);
        let mut rolled_back = Vec::new();
        let mut stopped = Vec::new();
        for stage in &below {
            let is_direct = self.stages.get(stage).is_some_and(|s| s.inputs.iter().any(|i| i.stage == id));
            let select = |run: &Self, partition| !is_direct || run.reads(*stage, partition, id, map);
            if let Some(kills) = self.roll_back(cx, *stage, select) {
                rolled_back.push(*stage);
                stopped.extend(kills);
            }
        }
        for job in self.jobs.values_mut() {
            job.told.retain(|stage| *stage != id && !below.contains(stage));
        }
        if rolled_back.is_empty() && !self.has_results_of(&below) {
            return;
        }
        if !rolled_back.is_empty() {
            cx.log(self.app, AppEvent::RolledBack { stage: id, consumers: rolled_back });
        }
        for (_, task) in &stopped {
            cx.log(self.app, AppEvent::TaskLost { task: *task, reason: LossReason::RolledBack });
            self.repeat(cx, *task, StartCause::RollBack);
        }
        cx.tell_kills(stopped);
        self.replan(cx);
        self.fail_mixed(cx, id, &below);
    }

    /// Frees the cached partitions that are made of what a stage wrote, and those below it.
    fn roll_back_datasets(&mut self, cx: &mut Cluster, id: StageId, below: &BTreeSet<StageId>) {
        let inputs = below.iter().filter_map(|stage| self.stages.get(stage)).flat_map(|s| &s.inputs);
        let made_of_it = inputs.filter(|input| input.stage == id || below.contains(&input.stage));
        let datasets: BTreeSet<DatasetId> = made_of_it.filter_map(|input| input.unless_cached).collect();
        for dataset in datasets {
            let Some(known) = self.datasets.get_mut(&dataset) else { continue };
            known.rolled_back = true;
            let holders: BTreeSet<WorkerId> =
                std::mem::take(&mut known.holders).into_values().flatten().collect();
            for worker in holders {
                let free = ToWorker::Free { app: self.app, stages: Vec::new(), datasets: vec![dataset] };
                cx.tell_worker(worker, free);
            }
        }
    }

    /// All stages that read a stage, directly or not.
    fn stages_below(&self, id: StageId) -> BTreeSet<StageId> {
        let mut below = BTreeSet::new();
        let mut stack = vec![id];
        while let Some(next) = stack.pop() {
            for consumer in self.stages.get(&next).map_or(&[][..], |stage| &stage.consumers) {
                if below.insert(*consumer) {
                    stack.push(*consumer);
                }
            }
        }
        below
    }

    fn has_results_of(&self, stages: &BTreeSet<StageId>) -> bool {
        self.jobs.values().any(|job| has_results_of(job, stages))
    }

    /// Fails the jobs that have results of these stages, which are made of what `id` wrote first, and still
    /// need something of them.
    fn fail_mixed(&mut self, cx: &mut Cluster, id: StageId, below: &BTreeSet<StageId>) {
        let ordered = self.stages.get(&id).is_some_and(|stage| stage.ordered);
        let needs = |job: &Job| self.needed_now(std::iter::once(job.id)).iter().any(|s| below.contains(s));
        let mixed = self.jobs.values().filter(|job| has_results_of(job, below) && needs(job));
        for job in mixed.map(|job| job.id).collect::<Vec<_>>() {
            let (what, help) = if ordered {
                let help =
                    "make the job's functions give the same output for the same input: no chance, no clock";
                ("other bytes", help)
            } else {
                ("its rows in another order", "submit the job again")
            };
            let message = format!(
                "{id} wrote {what} when a task of it was repeated, but results made of what it wrote first \
                 have left the cluster"
            );
            self.fail_job(cx, job, Error::new(ErrorCode::NotDeterministic, message).with_help(help));
        }
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
        for partition in (0..tasks).filter(|partition| selected[*partition as usize]) {
            stage.tasks[partition as usize].is_rolled_back = true;
            let Some(output) = stage.clear_output(partition) else { continue };
            stage.tasks[partition as usize].cause = StartCause::RollBack;
            freed.push((output.worker, TaskId { app, stage: id, partition, attempt: output.attempt }));
        }
        let stopped = self.stop_attempts(cx, id, |partition| selected[partition as usize]);
        let any = !freed.is_empty() || !stopped.is_empty();
        cx.tell_free_outputs(freed);
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
}

fn has_results_of(job: &Job, stages: &BTreeSet<StageId>) -> bool {
    job.targets.iter().any(|(stage, wanted)| wanted.delivered > 0 && stages.contains(stage))
}
