//! What one application may take, and for how long: slots in all and on one worker, failures of a task, the
//! time of an attempt and that of the whole application.
//!
//! Not here: memory and other things of processes, which their worker bounds.

use crate::Scheduler;
use crate::app::{Phase, Run};
use crate::cluster::Cluster;
use crate::stage::Task;
use crate::worker::Worker;
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::id::{AppId, StageId, TaskId, WorkerId};
use firesteel_common::protocol::worker::ToWorker;
use firesteel_common::time::Micros;

/// How long an attempt that has run out of time may take to notice it, in milliseconds.
const TIMEOUT_GRACE_MS: u64 = 2_000;

impl Scheduler {
    /// Ends what has run longer than it may: attempts, and applications.
    pub(crate) fn expire_limits(&mut self) {
        let now = self.cluster.now;
        let mut over: Vec<(AppId, u64)> = Vec::new();
        for app in self.apps.values_mut() {
            let limit = app.run.options.timeout_ms;
            if limit > 0
                && now - app.since > Micros::from_millis(limit)
                && !matches!(app.phase, Phase::Ending { .. })
            {
                over.push((app.id, limit));
                continue;
            }
            app.run.expire_attempts(&mut self.cluster);
        }
        for id in self.queue.over_limit(now) {
            let limit = self.queue.apps.get(&id).map_or(0, |app| app.run.options.timeout_ms);
            over.push((id, limit));
        }
        for (app, limit) in over {
            let message = format!("{app} ran longer than the {limit} ms that it may");
            let error = Error::new(ErrorCode::TimedOut, message).with_help("raise firesteel.app.timeout");
            self.end_app(app, Err(error), Some("its time is over"));
        }
    }
}

impl Run {
    /// How often one task of this application may fail.
    pub fn task_failures_max(&self, cx: &Cluster) -> u32 {
        match self.options.task_failures_max {
            0 => cx.settings.task_failures_max,
            own => own,
        }
    }

    /// One of its attempts holds a slot from now on.
    pub fn take_slot(&mut self, cx: &mut Cluster) {
        self.slots += 1;
        cx.pools.took_slot(&self.options.pool);
    }

    /// One of its attempts holds its slot no longer.
    pub fn give_slot_back(&mut self, cx: &mut Cluster) {
        self.slots = self.slots.saturating_sub(1);
        cx.pools.gave_slot_back(&self.options.pool);
        if self.options.cores_max == 0 {
            return;
        }
        // That slot is offered to all that wait, and another application may take it; but what it was of this
        // one's share may be used on any worker.
        if self.excludes() {
            return self.offer_all(cx);
        }
        for stage in self.stages.values_mut() {
            let Some(key) = stage.key else { continue };
            let tasks = &stage.tasks;
            let pending = |p: u32| tasks.get(p as usize).is_some_and(Task::is_pending);
            let next = stage.set.first_pending(pending);
            stage.set.fresh.extend(next);
            cx.placement.fresh.insert(key);
        }
    }

    /// Whether it may take one slot more in the cluster.
    pub fn may_take_slot(&self) -> bool {
        self.options.cores_max == 0 || self.slots < self.options.cores_max
    }

    /// Whether it may take one slot more of a worker, if there is a free one.
    pub fn may_run_on(&self, worker: &Worker) -> bool {
        let most = self.options.executor.cores as usize;
        if most == 0 {
            return true;
        }
        let holds_slot = |task: &&TaskId| {
            task.app == self.app && self.attempt(**task).is_some_and(|attempt| attempt.waits == 0)
        };
        worker.running.iter().filter(holds_slot).count() < most
    }

    /// The worker with most free slots of which it may take one for a task.
    pub fn freest(&self, cx: &Cluster, stage: StageId, partition: u32) -> Option<WorkerId> {
        let may = |id: &WorkerId| {
            let worker = cx.workers.get(*id);
            worker.is_some_and(|worker| self.may_run_on(worker) && self.admits(stage, partition, worker))
        };
        cx.placement.free_workers().find(may)
    }

    /// Notes until when an attempt that starts now must have ended.
    pub fn limit_attempt(&mut self, cx: &Cluster, task: TaskId) {
        if self.options.task_timeout_ms > 0 {
            let at = cx.now + Micros::from_millis(self.options.task_timeout_ms);
            self.deadlines.insert((at, task));
        }
    }

    /// Stops attempts that have run out of time. That counts as their own failure.
    fn expire_attempts(&mut self, cx: &mut Cluster) {
        while let Some((at, task)) = self.deadlines.first().copied()
            && at < cx.now
        {
            self.deadlines.pop_first();
            if self.running_on(task).is_none() {
                continue;
            }
            let Some(worker) = self.stop_attempt(cx, task) else { continue };
            let kill = ToWorker::KillTasks { tasks: vec![task], grace_ms: TIMEOUT_GRACE_MS };
            cx.tell_worker(worker, kill);
            let limit = self.options.task_timeout_ms;
            let error = Error::new(ErrorCode::TimedOut, format!("it ran longer than the {limit} ms it may"))
                .with_help("raise firesteel.task.timeout, or look for a loop without end");
            self.task_failed(cx, worker, task, error);
        }
    }
}
