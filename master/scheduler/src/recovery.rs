//! What is lost with a worker, what a worker that comes back still has, and what workers have kept while the
//! master was away.

use crate::Scheduler;
use crate::app::{App, Run};
use crate::cluster::Cluster;
use crate::stage::{Output, Stage};
use firesteel_common::block::{MapStatus, StoredBlock};
use firesteel_common::event::{AppEvent, LossReason, StartCause};
use firesteel_common::id::{AppAttemptId, StageId, TaskId, WorkerId};
use firesteel_common::protocol::worker::{Registration, ToWorker};
use std::collections::{BTreeMap, BTreeSet};

impl Run {
    /// A worker is gone with all it ran and held. What an unfinished job still needs of it is made again.
    pub fn worker_lost(
        &mut self,
        cx: &mut Cluster,
        worker: WorkerId,
        running: &[TaskId],
        reason: LossReason,
    ) {
        let was_here = self.workers.remove(&worker);
        if !was_here && !running.iter().any(|task| task.app == self.app) {
            return;
        }
        cx.log(self.app, AppEvent::WorkerLost { worker, reason });
        self.addresses_told.remove(&worker);
        for dataset in self.datasets.values_mut() {
            dataset.holders.values_mut().for_each(|holders| {
                holders.remove(&worker);
            });
        }
        self.attempts_lost(cx, running, reason);
        let lost = self.outputs_on(worker, |_, _, _| true);
        for (stage, map) in lost {
            self.lose_output(cx, stage, map, reason);
        }
        for found in self.found.values_mut() {
            found.retain(|(_, holder, _)| *holder != worker);
        }
        self.found_cached.retain(|(holder, _)| *holder != worker);
        self.found_attempts.forget_worker(worker, true);
        for stage in self.stages.values_mut() {
            stage.code_told.remove(&worker);
            stage.table_told.remove(&worker);
            stage.result_holders.remove(&worker);
            let tasks = &stage.tasks;
            let pending = |p: &u32| tasks.get(*p as usize).is_some_and(|task| task.is_pending());
            let orphans = stage.set.remove_worker(worker);
            let orphans: Vec<u32> = orphans.into_iter().filter(pending).collect();
            if let Some(key) = stage.key.filter(|_| !orphans.is_empty()) {
                orphans.iter().for_each(|task| stage.set.push(*task, &Default::default()));
                cx.placement.fresh.insert(key);
            }
        }
        self.replan(cx);
    }

    /// These attempts are lost; those of other applications are passed over.
    pub fn attempts_lost(&mut self, cx: &mut Cluster, tasks: &[TaskId], reason: LossReason) {
        let mut tasks: Vec<TaskId> = tasks.iter().copied().filter(|task| task.app == self.app).collect();
        tasks.sort();
        for task in tasks {
            if self.running_on(task).is_some() {
                self.stop_attempt(cx, task);
                cx.log(self.app, AppEvent::TaskLost { task, reason });
                self.repeat(cx, task, StartCause::Lost);
            }
        }
    }

    /// The outputs that are thought to be on a worker, of those that `select` chooses.
    pub fn outputs_on(
        &self,
        worker: WorkerId,
        select: impl Fn(StageId, u32, Output) -> bool,
    ) -> Vec<(StageId, u32)> {
        let mut found = Vec::new();
        for stage in self.stages.values().filter(|stage| stage.has_outputs()) {
            for (partition, task) in (0u32..).zip(&stage.tasks) {
                if task.output.is_some_and(|o| o.worker == worker && select(stage.id, partition, o)) {
                    found.push((stage.id, partition));
                }
            }
        }
        found
    }

    /// A stage is known now: outputs of it that workers had reported before are taken.
    pub fn adopt_found(&mut self, cx: &mut Cluster, id: StageId) {
        for (task, worker, status) in self.found.remove(&id).unwrap_or_default() {
            self.output_found(cx, worker, task, status);
        }
    }

    /// A worker reports a map output. It is used if it is missed and known to be right; else it is freed.
    pub fn output_found(&mut self, cx: &mut Cluster, worker: WorkerId, task: TaskId, status: MapStatus) {
        let output = Output { worker, attempt: task.attempt };
        let Some(stage) = self.stages.get(&task.stage) else {
            if self.attached {
                cx.tell_free_outputs(vec![(worker, task)]);
            } else {
                self.found.entry(task.stage).or_default().push((task, worker, status));
            }
            return;
        };
        if stage.tasks.get(task.partition as usize).is_some_and(|state| state.output == Some(output)) {
            return;
        }
        if self.is_adoptable(stage, task, &status) {
            // What was made of an earlier attempt at an unordered task must not meet this one, and which of
            // them an earlier master has accepted is not known.
            let known = stage.tasks.get(task.partition as usize).is_some_and(|t| t.status.is_some());
            let is_unsure = !stage.ordered && !known && task.attempt > 0;
            self.adopt(cx, task.stage, task.partition, output, status);
            if is_unsure {
                self.unsure.insert((task.stage, task.partition));
                self.settle_unsure(cx);
            }
        } else if self.running_on(task) != Some(worker) {
            cx.tell_free_outputs(vec![(worker, task)]);
        }
    }

    /// Whether a reported output can be used: its task is neither complete nor running, and either it was
    /// accepted before with the same content, or an earlier master may have accepted it.
    fn is_adoptable(&self, stage: &Stage, task: TaskId, status: &MapStatus) -> bool {
        let Some(state) = stage.tasks.get(task.partition as usize) else { return false };
        let is_missing = stage.is_map && state.output.is_none();
        let fits = status.segments.len() == stage.code.reducers as usize;
        let is_idle = !state.is_running();
        let is_right = match &state.status {
            Some(known) => known.same_output(status) && !state.is_rolled_back,
            None => self.recovered && task.attempt < self.first_attempt && !state.is_rolled_back,
        };
        is_missing && fits && is_idle && is_right && !(stage.released && stage.jobs.is_empty())
    }
}

impl Run {
    /// Takes back what may have been made of other attempts at unordered tasks than those that were found.
    /// The jobs must be known, since some may have given results of that to their driver.
    pub fn settle_unsure(&mut self, cx: &mut Cluster) {
        if self.attached {
            for (stage, partition) in std::mem::take(&mut self.unsure) {
                self.roll_back_consumers(cx, stage, partition);
            }
        }
    }
}

impl Scheduler {
    /// Brings what is thought of a worker in line with what it says: its word counts.
    pub(crate) fn reconcile(&mut self, worker: WorkerId, registration: Registration) {
        let Registration { drivers, running, outputs, cached, apps, .. } = registration;
        let mut over: BTreeSet<AppAttemptId> = BTreeSet::new();
        for id in apps {
            match self.apps.get_mut(&id.app).filter(|app| app.run.app == id) {
                Some(app) => app.run.workers.insert(worker),
                None => over.insert(id),
            };
        }
        self.reconcile_running(worker, &running, &mut over);
        let mut reported: BTreeMap<AppAttemptId, Vec<(TaskId, MapStatus)>> = BTreeMap::new();
        for (task, status) in outputs {
            reported.entry(task.app).or_default().push((task, status));
        }
        for app in self.apps.values_mut() {
            let reported = reported.remove(&app.run.app).unwrap_or_default();
            app.reconcile_outputs(&mut self.cluster, worker, reported);
        }
        over.extend(reported.into_keys());
        for app in self.apps.values_mut() {
            app.run.reconcile_cached(&mut self.cluster, worker, &cached);
            app.run.adopt_attempts(&mut self.cluster);
        }
        self.reconcile_drivers(worker, &drivers, &mut over);
        if let Some(state) = self.cluster.workers.get_mut(worker) {
            over.extend(std::mem::take(&mut state.owed));
        }
        for app in over {
            self.cluster.tell_end(worker, app);
        }
        let running = self.cluster.workers.get(worker).map(|state| state.running.clone()).unwrap_or_default();
        let running: BTreeSet<AppAttemptId> = running.into_iter().map(|task| task.app).collect();
        for attempt in running {
            if let Some(app) = self.apps.get_mut(&attempt.app) {
                app.run.tell_tables_again(&mut self.cluster, worker);
            }
        }
    }

    fn reconcile_running(&mut self, worker: WorkerId, running: &[TaskId], over: &mut BTreeSet<AppAttemptId>) {
        for app in self.apps.values_mut() {
            app.run.found_attempts.forget_worker(worker, false);
        }
        let mut kills = Vec::new();
        for task in running {
            match self.apps.get_mut(&task.app.app).filter(|app| app.run.app == task.app) {
                Some(app) if app.run.running_on(*task) == Some(worker) => {}
                Some(app) => {
                    if app.is_ending() || !app.run.attempt_found(worker, *task) {
                        kills.push((worker, *task));
                    }
                }
                None => {
                    over.insert(task.app);
                }
            }
        }
        self.cluster.tell_kills(kills);
        let reported: BTreeSet<&TaskId> = running.iter().collect();
        let thought = self.cluster.workers.get(worker).map(|state| state.running.clone()).unwrap_or_default();
        let lost: Vec<TaskId> = thought.into_iter().filter(|task| !reported.contains(task)).collect();
        if lost.is_empty() {
            return;
        }
        for app in self.apps.values_mut() {
            app.run.attempts_lost(&mut self.cluster, &lost, LossReason::WorkerGone);
        }
    }
}

impl App {
    fn reconcile_outputs(&mut self, cx: &mut Cluster, worker: WorkerId, reported: Vec<(TaskId, MapStatus)>) {
        let is_ending = self.is_ending();
        let run = &mut self.run;
        let names: BTreeSet<(StageId, u32, u32)> =
            reported.iter().map(|(task, _)| (task.stage, task.partition, task.attempt)).collect();
        let lost = run.outputs_on(worker, |stage, partition, output| {
            !names.contains(&(stage, partition, output.attempt))
        });
        for (stage, map) in lost {
            run.lose_output(cx, stage, map, LossReason::WorkerGone);
        }
        for stage in run.stages.values_mut() {
            stage.code_told.remove(&worker);
            stage.table_told.remove(&worker);
        }
        if !reported.is_empty() {
            run.workers.insert(worker);
        }
        for (task, status) in reported {
            if is_ending {
                break;
            }
            run.output_found(cx, worker, task, status);
        }
    }
}

impl Run {
    /// Brings what is thought of a worker's cached partitions in line with what it says, then plans again.
    fn reconcile_cached(&mut self, cx: &mut Cluster, worker: WorkerId, cached: &[StoredBlock]) {
        for dataset in self.datasets.values_mut() {
            dataset.holders.values_mut().for_each(|holders| {
                holders.remove(&worker);
            });
        }
        let of_this = |stored: &&StoredBlock| stored.block.app == self.app;
        let mine: Vec<StoredBlock> = cached.iter().filter(of_this).copied().collect();
        if self.attached {
            self.partitions_stored(cx, worker, &mine, false);
            self.replan(cx);
        } else {
            self.found_cached.extend(mine.into_iter().map(|stored| (worker, stored)));
        }
    }

    /// The graph is known now: what workers had reported before is used, or freed.
    pub fn settle_found(&mut self, cx: &mut Cluster) {
        let unknown = std::mem::take(&mut self.found).into_values().flatten();
        cx.tell_free_outputs(unknown.map(|(task, worker, _)| (worker, task)).collect());
        for (worker, stored) in std::mem::take(&mut self.found_cached) {
            self.partitions_stored(cx, worker, &[stored], false);
        }
    }

    /// A worker that comes back may have missed where outputs are now: its running readers are told.
    pub fn tell_tables_again(&mut self, cx: &mut Cluster, worker: WorkerId) {
        let running = cx.workers.get(worker).map(|state| state.running.clone()).unwrap_or_default();
        let read: BTreeSet<StageId> = running
            .iter()
            .filter(|task| task.app == self.app)
            .filter_map(|task| self.stages.get(&task.stage))
            .flat_map(|stage| stage.inputs.iter().map(|input| input.stage))
            .collect();
        for id in read {
            let Some(stage) = self.stages.get_mut(&id) else { continue };
            stage.table_told.insert(worker);
            let Some(stage) = self.stages.get(&id) else { continue };
            let places: Vec<_> = (0..stage.tasks.len() as u32)
                .filter_map(|map| Some((map, stage.place_of(cx, map)?)))
                .collect();
            if !places.is_empty() {
                cx.tell_worker(worker, ToWorker::InputsChanged { app: self.app, stage: id, places });
            }
        }
    }
}
