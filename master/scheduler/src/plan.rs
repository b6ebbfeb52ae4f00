//! Which stages must be computed now. It follows from the lineage of the unfinished jobs' targets: a stage
//! that is not complete is computed, after those of its inputs that are not. Complete stages cut the walk, so
//! what is lost and needed by nobody stays lost.
//!
//! A stage is *active* while it is computed; it is *open* when, besides, no input blocks it, and only then
//! its pending tasks are in a [`TaskSet`](crate::task_set::TaskSet).

use crate::PlantedBug;
use crate::app::Run;
use crate::cluster::Cluster;
use crate::stage::{Attempt, Stage, TaskState};
use crate::task_set::Places;
use firesteel_common::event::{AppEvent, LossReason, StartCause};
use firesteel_common::graph::{Place, ReadPattern};
use firesteel_common::id::{JobId, StageId};
use std::collections::BTreeSet;

impl Run {
    /// Whether nothing of a stage is wanted that is not there.
    pub fn is_complete(&self, stage: &Stage) -> bool {
        if stage.is_map {
            return stage.missing == 0;
        }
        let left = |job: &JobId| self.jobs.get(job)?.targets.get(&stage.id).map(|wanted| wanted.left);
        stage.targeted_by.iter().all(|job| left(job).unwrap_or(0) == 0)
    }

    /// How many tasks of a stage are complete.
    pub fn finished_tasks(&self, stage: &Stage) -> u32 {
        if stage.is_map {
            return (stage.tasks.len() as u32).saturating_sub(stage.missing);
        }
        let delivered =
            |job: &JobId| self.jobs.get(job)?.targets.get(&stage.id).map(|wanted| wanted.delivered);
        let most = stage.targeted_by.iter().filter_map(delivered).max();
        // Nobody wants more of it: what was started has ended.
        let started = || stage.tasks.iter().filter(|task| task.next > self.first_attempt).count() as u32;
        most.unwrap_or_else(started)
    }

    /// Whether a task of a stage is wanted and not there.
    pub fn is_wanted(&self, stage: &Stage, partition: u32) -> bool {
        if stage.is_map {
            return stage.tasks.get(partition as usize).is_some_and(|task| task.output.is_none());
        }
        let wants = |job: &JobId| {
            self.jobs
                .get(job)
                .and_then(|job| job.targets.get(&stage.id))
                .is_some_and(|w| w.contains(partition))
        };
        stage.targeted_by.iter().any(wants)
    }

    /// Computes these stages, and what they need, if they are not complete.
    pub fn demand(&mut self, cx: &mut Cluster, roots: impl IntoIterator<Item = StageId>) {
        if self.held {
            return;
        }
        let mut stack: Vec<StageId> = roots.into_iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(id) = stack.pop() {
            if !seen.insert(id) || self.stages.get(&id).is_none_or(|stage| self.is_complete(stage)) {
                continue;
            }
            if cx.is_planted(PlantedBug::Recompute) && self.was_complete(id) {
                continue;
            }
            let added = self.mark_pending(id);
            let blockers = self.unmet_inputs(id);
            stack.extend(blockers.iter().copied());
            let Some(stage) = self.stages.get_mut(&id) else { continue };
            if !std::mem::replace(&mut stage.active, true) {
                stage.durations.clear();
            }
            stage.blockers = blockers;
            match (stage.open, stage.blockers.is_empty()) {
                (false, true) => self.open(cx, id),
                (true, false) => self.close(cx, id),
                (true, true) => added.into_iter().for_each(|partition| self.enqueue(cx, id, partition)),
                (false, false) => {}
            }
        }
    }

    /// Demands the targets of all unfinished jobs again, after something was lost.
    pub fn replan(&mut self, cx: &mut Cluster) {
        let roots: BTreeSet<StageId> =
            self.jobs.values().flat_map(|job| job.targets.keys().copied()).collect();
        self.demand(cx, roots);
    }

    fn was_complete(&self, id: StageId) -> bool {
        let all_ran = |stage: &Stage| stage.tasks.iter().all(|task| task.status.is_some());
        self.stages.get(&id).is_some_and(|stage| stage.is_map && all_ran(stage))
    }

    /// The workers had time to report what they hold: what is missing now is computed.
    pub fn let_go(&mut self, cx: &mut Cluster) {
        self.held = false;
        let jobs: Vec<(JobId, Vec<StageId>)> =
            self.jobs.values().map(|job| (job.id, job.targets.keys().copied().collect())).collect();
        for (job, targets) in jobs {
            self.want(cx, job, targets);
        }
        self.adopt_attempts(cx);
    }

    /// Makes the wanted tasks of a stage pending, without queueing them; returns them.
    fn mark_pending(&mut self, id: StageId) -> Vec<u32> {
        let Some(stage) = self.stages.get(&id) else { return Vec::new() };
        let idle = |p: &u32| stage.tasks[*p as usize].state == TaskState::Idle && self.is_wanted(stage, *p);
        let wanted: Vec<u32> = (0..stage.tasks.len() as u32).filter(idle).collect();
        if let Some(stage) = self.stages.get_mut(&id) {
            wanted.iter().for_each(|p| stage.tasks[*p as usize].state = TaskState::Pending);
            stage.pending += wanted.len() as u32;
        }
        wanted
    }

    /// The inputs that some unfinished task needs and that are not complete.
    fn unmet_inputs(&self, id: StageId) -> BTreeSet<StageId> {
        let Some(stage) = self.stages.get(&id) else { return BTreeSet::new() };
        let unmet = |at: &usize| {
            let parent = self.stages.get(&stage.inputs[*at].stage);
            parent.is_some_and(|parent| parent.missing > 0) && self.needs_input(stage, *at)
        };
        (0..stage.inputs.len()).filter(unmet).map(|at| stage.inputs[at].stage).collect()
    }

    /// Whether a task that is to start, or that waits, reads an input. Without a dataset that could stand for
    /// the input every task does.
    pub fn needs_input(&self, stage: &Stage, at: usize) -> bool {
        let Some(dataset) = stage.inputs[at].unless_cached else { return true };
        let Some(spec) = self.graph.get(stage.id) else { return false };
        let held = |partition: u32| {
            let holders = self.datasets.get(&dataset).and_then(|dataset| dataset.holders.get(&partition));
            holders.is_some_and(|holders| !holders.is_empty())
        };
        let reads = |partition: usize| match &spec.inputs[at].read {
            ReadPattern::PerTask(reads) => reads.get(partition).is_some_and(|reads| !reads.is_empty()),
            ReadPattern::SameIndex | ReadPattern::Everything => true,
        };
        let waiters = self.stages.get(&stage.inputs[at].stage).map(|parent| &parent.waiters);
        let waits = |partition: u32, attempt: &Attempt| {
            attempt.waits > 0 && waiters.is_some_and(|w| w.contains(&(stage.id, partition, attempt.number)))
        };
        stage.tasks.iter().zip(&spec.tasks).enumerate().any(|(partition, (task, spec))| match task.state {
            TaskState::Idle => false,
            TaskState::Running(_) => task.attempts().any(|attempt| waits(partition as u32, attempt)),
            TaskState::Pending => {
                let mut cached = spec.cached.iter().filter(|cached| cached.dataset == dataset).peekable();
                let is_cached = cached.peek().is_some() && cached.all(|cached| held(cached.partition));
                reads(partition) && !is_cached
            }
        })
    }

    /// Nothing blocks the stage any more: its pending tasks go to the placement.
    pub fn open(&mut self, cx: &mut Cluster, id: StageId) {
        let Some(stage) = self.stages.get_mut(&id) else { return };
        stage.open = true;
        stage.set.clear();
        let pending: Vec<u32> =
            (0..stage.tasks.len() as u32).filter(|p| stage.tasks[*p as usize].is_pending()).collect();
        for partition in pending {
            self.enqueue(cx, id, partition);
        }
    }

    /// The stage is blocked, or no longer active: its tasks are withdrawn from the placement.
    pub fn close(&mut self, cx: &mut Cluster, id: StageId) {
        let Some(stage) = self.stages.get_mut(&id) else { return };
        stage.open = false;
        cx.placement.withdraw(stage);
        stage.set.clear();
    }

    /// Makes a task pending. If its stage is open, it is offered to workers.
    pub fn set_pending(&mut self, cx: &mut Cluster, id: StageId, partition: u32, cause: StartCause) {
        let Some(stage) = self.stages.get_mut(&id) else { return };
        let Some(task) = stage.tasks.get_mut(partition as usize) else { return };
        task.cause = cause;
        task.state = TaskState::Pending;
        stage.pending += 1;
        if stage.open {
            self.enqueue(cx, id, partition);
        }
    }

    /// Puts a pending task of an open stage in the stage's queue.
    fn enqueue(&mut self, cx: &mut Cluster, id: StageId, partition: u32) {
        let places = self.places(cx, id, partition);
        let first_job = |stage: &Stage| stage.jobs.first().copied().unwrap_or_default();
        let Some(stage) = self.stages.get_mut(&id) else { return };
        stage.set.push(partition, &places);
        let key = *stage.key.get_or_insert((self.app.app, first_job(stage), id));
        cx.placement.ready.insert(key);
        cx.placement.fresh.insert(key);
        if !places.is_empty() && stage.set.relax_at.is_none() {
            let at = cx.now + cx.settings.locality_wait;
            stage.set.relax_at = Some(at);
            cx.placement.relax.insert((at, key));
        }
    }

    /// Where a task had better run: beside its cached partitions and its reader, then where it prefers.
    /// Places that do not exist are left out.
    pub fn places(&self, cx: &Cluster, id: StageId, partition: u32) -> Places {
        let mut places = Places::default();
        let Some(spec) = self.graph.get(id).and_then(|spec| spec.tasks.get(partition as usize)) else {
            return places;
        };
        for cached in &spec.cached {
            let dataset = self.datasets.get(&cached.dataset);
            let holders = dataset.and_then(|dataset| dataset.holders.get(&cached.partition));
            places.workers.extend(holders.into_iter().flatten());
        }
        let task = self.stages.get(&id).and_then(|stage| stage.tasks.get(partition as usize));
        if let Some(near) = task.and_then(|task| task.trouble.as_ref()).and_then(|trouble| trouble.near) {
            places.workers.push(near);
        }
        for place in &spec.preferred {
            match place {
                Place::Worker(worker) => places.workers.push(*worker),
                Place::Host(name) => places.hosts.extend(cx.workers.host(name)),
            }
        }
        places.workers.retain(|worker| cx.workers.get(*worker).is_some());
        places.hosts.retain(|host| cx.placement.has_host(*host));
        places
    }

    /// A map stage has all its outputs: readers that wait go on, stages that were blocked start, drivers
    /// hear.
    pub fn complete_map(&mut self, cx: &mut Cluster, id: StageId) {
        self.deactivate(cx, id);
        cx.log(self.app, AppEvent::StageFinished { stage: id });
        self.tell_moved_outputs(cx, id);
        self.resume_waiters(cx, id);
        let Some(stage) = self.stages.get(&id) else { return };
        let jobs: Vec<JobId> = stage.jobs.iter().copied().collect();
        for consumer in stage.consumers.clone() {
            let Some(consumer) = self.stages.get_mut(&consumer) else { continue };
            let unblocked = consumer.blockers.remove(&id) && consumer.blockers.is_empty();
            let id = consumer.id;
            if unblocked && consumer.active {
                self.open(cx, id);
            }
        }
        for job in jobs {
            self.tell_stage_finished(cx, job, id);
            self.check_job(cx, job);
        }
    }

    /// A stage is not computed any more, because it is complete or because nobody wants it. Attempts that run
    /// are stopped.
    pub fn deactivate(&mut self, cx: &mut Cluster, id: StageId) {
        self.close(cx, id);
        let complete = self.stages.get(&id).is_some_and(|stage| self.is_complete(stage));
        self.close_failures(cx, id, complete);
        let app = self.app;
        let Some(stage) = self.stages.get_mut(&id) else { return };
        stage.active = false;
        stage.blockers.clear();
        stage.pending = 0;
        for task in &mut stage.tasks {
            if task.is_pending() {
                task.state = TaskState::Idle;
            }
        }
        if stage.running == 0 {
            return;
        }
        let stopped = self.stop_attempts(cx, id, |_| true);
        for (_, task) in &stopped {
            cx.log(app, AppEvent::TaskLost { task: *task, reason: LossReason::Cancelled });
        }
        cx.tell_kills(stopped);
    }

    /// Stops computing what no unfinished job needs any more, among these stages.
    pub fn sweep(&mut self, cx: &mut Cluster, stages: &BTreeSet<StageId>) {
        let is_active = |id: &&StageId| self.stages.get(id).is_some_and(|stage| stage.active);
        let active: Vec<StageId> = stages.iter().filter(is_active).copied().collect();
        if active.is_empty() {
            return;
        }
        let needed = self.needed_now(self.jobs.keys().copied());
        for id in active {
            if !needed.contains(&id) {
                self.deactivate(cx, id);
                continue;
            }
            if let Some(stage) = self.stages.get_mut(&id) {
                let job = stage.jobs.first().copied().unwrap_or_default();
                cx.placement.rename(stage, (self.app.app, job, id));
            }
        }
    }

    /// The incomplete stages that these jobs need now.
    pub fn needed_now(&self, jobs: impl Iterator<Item = JobId>) -> BTreeSet<StageId> {
        let targets = jobs.filter_map(|job| self.jobs.get(&job)).flat_map(|job| job.targets.keys().copied());
        let mut stack: Vec<StageId> = targets.collect();
        let mut needed = BTreeSet::new();
        while let Some(id) = stack.pop() {
            let Some(stage) = self.stages.get(&id) else { continue };
            if !self.is_complete(stage) && needed.insert(id) {
                stack.extend(stage.blockers.iter().copied());
            }
        }
        needed
    }

    /// The unfinished jobs that cannot end without a stage.
    pub fn jobs_that_need(&self, id: StageId) -> Vec<JobId> {
        let Some(stage) = self.stages.get(&id) else { return Vec::new() };
        let needs = |job: &JobId| self.needed_now(std::iter::once(*job)).contains(&id);
        stage.jobs.iter().copied().filter(needs).collect()
    }

    /// An output of a stage is gone: whoever was to read it is blocked until it is there again.
    pub fn block_consumers(&mut self, cx: &mut Cluster, id: StageId) {
        let Some(consumers) = self.stages.get(&id).map(|stage| stage.consumers.clone()) else { return };
        for consumer in consumers {
            let Some(stage) = self.stages.get(&consumer) else { continue };
            let at = stage.inputs.iter().position(|input| input.stage == id);
            if !stage.active || at.is_none_or(|at| !self.needs_input(stage, at)) {
                continue;
            }
            if stage.open {
                self.close(cx, consumer);
            }
            if let Some(stage) = self.stages.get_mut(&consumer) {
                stage.blockers.insert(id);
            }
        }
    }
}
