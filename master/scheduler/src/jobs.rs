//! What drivers ask for: jobs submitted, extended, cancelled; and what they hear of them.

use crate::app::Run;
use crate::cluster::Cluster;
use crate::job::{Job, Wanted};
use crate::stage::{Input, Output, Stage, TaskState};
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::event::AppEvent;
use firesteel_common::graph::{StageKind, StageSpec};
use firesteel_common::id::{JobId, StageId};
use firesteel_common::job::{JobEvent, JobProgress, JobSpec, Target};
use std::collections::{BTreeMap, BTreeSet};

impl Run {
    /// A job, unless it is known already.
    pub fn submit(&mut self, cx: &mut Cluster, spec: JobSpec) {
        if self.jobs.contains_key(&spec.id) {
            return;
        }
        let job = Job {
            id: spec.id,
            name: spec.name.clone(),
            group: spec.group,
            open: true,
            targets: BTreeMap::new(),
            stages: BTreeSet::new(),
            told: BTreeSet::new(),
            submitted: cx.now,
            progress: JobProgress::default(),
        };
        self.jobs.insert(spec.id, job);
        cx.log(self.app, AppEvent::JobStarted { job: spec.id, name: spec.name });
        self.extend(cx, spec.id, spec.stages, spec.targets, spec.open);
    }

    /// Adds to an open job. What is said about a job that has ended is ignored: its driver knows, or will.
    pub fn extend(
        &mut self,
        cx: &mut Cluster,
        id: JobId,
        stages: Vec<StageSpec>,
        targets: Vec<Target>,
        open: bool,
    ) {
        let Some(job) = self.jobs.get(&id) else { return };
        let added = if job.open {
            self.add_stages(cx, stages)
        } else {
            let known = targets.iter().all(|target| job.targets.contains_key(&target.stage));
            let message = format!("{id} was declared complete, and cannot be extended");
            if known { Ok(()) } else { Err(Error::new(ErrorCode::GraphInvalid, message)) }
        };
        let wanted = added.and_then(|()| self.add_targets(id, targets));
        if let Some(job) = self.jobs.get_mut(&id) {
            job.open &= open;
        }
        match wanted {
            Ok(targets) => self.want(cx, id, targets),
            Err(error) => self.fail_job(cx, id, error),
        }
    }

    /// Computes new targets of a job; says of those that are there already that they are.
    pub fn want(&mut self, cx: &mut Cluster, job: JobId, targets: Vec<StageId>) {
        self.progressed = true;
        for target in &targets {
            if self.stages.get(target).is_some_and(|stage| stage.is_map && stage.missing == 0) {
                self.tell_stage_finished(cx, job, *target);
            }
        }
        self.demand(cx, targets);
        self.check_job(cx, job);
    }

    /// Tells the driver of an event of a job, if it listens.
    pub fn tell_job(&self, cx: &mut Cluster, job: JobId, event: JobEvent) {
        if self.listening {
            cx.tell_job(self.app, job, event);
        }
    }

    /// Adds stages to the graph.
    pub fn add_stages(&mut self, cx: &mut Cluster, stages: Vec<StageSpec>) -> Result<(), Error> {
        let new: Vec<StageId> =
            stages.iter().map(|stage| stage.id).filter(|id| !self.stages.contains_key(id)).collect();
        self.graph.extend(stages)?;
        for id in new {
            let Some(spec) = self.graph.get(id).filter(|_| !self.stages.contains_key(&id)) else { continue };
            let mut inputs = Vec::with_capacity(spec.inputs.len());
            for input in &spec.inputs {
                let parent = self.graph.get(input.stage);
                let maps = parent.map_or(0, |parent| parent.tasks.len() as u32);
                let reducers = match parent.map(|parent| parent.kind) {
                    Some(StageKind::ShuffleMap { reducers }) => reducers,
                    Some(StageKind::Result) | None => 0,
                };
                inputs.push(Input { stage: input.stage, unless_cached: input.unless_cached, maps, reducers });
            }
            let stage = Stage::new(spec, inputs, self.first_attempt);
            for dataset in &stage.datasets {
                self.datasets.entry(*dataset).or_default();
            }
            let inputs: BTreeSet<StageId> = stage.inputs.iter().map(|input| input.stage).collect();
            for input in &inputs {
                if let Some(parent) = self.stages.get_mut(input) {
                    parent.consumers.push(id);
                }
            }
            let event = AppEvent::StageAdded {
                stage: id,
                name: stage.code.name.clone(),
                tasks: stage.tasks.len() as u32,
                inputs: stage.code.inputs.clone(),
            };
            cx.log(self.app, event);
            self.stages.insert(id, stage);
            self.adopt_found(cx, id);
        }
        Ok(())
    }

    /// Adds targets to a job; nothing is computed by this. Gives the targets.
    fn add_targets(&mut self, id: JobId, targets: Vec<Target>) -> Result<Vec<StageId>, Error> {
        let mut added = Vec::with_capacity(targets.len());
        for target in targets {
            let Some(stage) = self.stages.get_mut(&target.stage) else {
                let message = format!("{id} asks for {}, which is not known", target.stage);
                return Err(Error::new(ErrorCode::GraphInvalid, message));
            };
            let tasks = stage.tasks.len() as u32;
            let partitions = target.partitions.unwrap_or_else(|| (0..tasks).collect());
            if partitions.iter().any(|partition| *partition >= tasks) {
                let message = format!("{id} asks for a partition that {} does not have", target.stage);
                return Err(Error::new(ErrorCode::GraphInvalid, message));
            }
            let Some(job) = self.jobs.get_mut(&id) else { return Ok(added) };
            let is_new = !job.targets.contains_key(&target.stage);
            let wanted = job.targets.entry(target.stage).or_default();
            if is_new {
                stage.targeted_by.push(id);
            }
            if !stage.is_map {
                partitions.into_iter().for_each(|partition| wanted.insert(partition));
            }
            added.push(target.stage);
            self.add_lineage(id, target.stage);
        }
        Ok(added)
    }

    fn add_lineage(&mut self, id: JobId, target: StageId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let mut stack = vec![target];
        while let Some(id_of_stage) = stack.pop() {
            if !job.stages.insert(id_of_stage) {
                continue;
            }
            if let Some(stage) = self.stages.get_mut(&id_of_stage) {
                stage.jobs.insert(id);
                stack.extend(stage.inputs.iter().map(|input| input.stage));
            }
        }
    }

    /// Tells a job's driver that a map stage is complete, unless it knows.
    pub fn tell_stage_finished(&mut self, cx: &mut Cluster, job: JobId, id: StageId) {
        let Some(stage) = self.stages.get(&id) else { return };
        let Some(state) = self.jobs.get_mut(&job) else { return };
        if state.told.insert(id) {
            let event = JobEvent::StageFinished { stage: id, statuses: stage.statuses() };
            self.tell_job(cx, job, event);
        }
    }

    /// Ends a job if it has all it wants.
    pub fn check_job(&mut self, cx: &mut Cluster, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        let is_there = |(target, wanted): (&StageId, &Wanted)| {
            let stage = self.stages.get(target);
            stage.is_some_and(|stage| if stage.is_map { stage.missing == 0 } else { wanted.left == 0 })
        };
        if !job.open && job.targets.iter().all(is_there) {
            cx.log(self.app, AppEvent::JobEnded { job: id, error: None });
            self.tell_job(cx, id, JobEvent::Finished);
            self.retire(cx, id);
        }
    }

    /// Ends a job without what it wants.
    pub fn fail_job(&mut self, cx: &mut Cluster, id: JobId, error: Error) {
        if self.jobs.contains_key(&id) {
            cx.log(self.app, AppEvent::JobEnded { job: id, error: Some(error.clone()) });
            self.tell_job(cx, id, JobEvent::Failed(error.clone()));
            self.remember_failure(id, error);
            self.retire(cx, id);
        }
    }

    /// Ends jobs that their driver asks to be ended.
    pub fn cancel(&mut self, cx: &mut Cluster, select: impl Fn(&Job) -> bool, reason: &str) {
        let jobs: Vec<JobId> = self.jobs.values().filter(|job| select(job)).map(|job| job.id).collect();
        for job in jobs {
            let message = format!("{job} was cancelled: {reason}");
            self.fail_job(cx, job, Error::new(ErrorCode::Killed, message));
        }
    }

    /// Forgets a job, and stops and frees what only it has needed.
    pub fn retire(&mut self, cx: &mut Cluster, id: JobId) {
        let Some(job) = self.jobs.remove(&id) else { return };
        for stage in &job.stages {
            if let Some(stage) = self.stages.get_mut(stage) {
                stage.jobs.remove(&id);
                stage.targeted_by.retain(|other| *other != id);
            }
        }
        self.sweep(cx, &job.stages);
        self.unwant(cx, &job);
        self.free_released(cx);
    }

    /// Stops the attempts at result partitions that only an ended job has wanted.
    fn unwant(&mut self, cx: &mut Cluster, job: &Job) {
        for (id, wanted) in &job.targets {
            let Some(stage) = self.stages.get(id) else { continue };
            if stage.is_map || !stage.active || wanted.left == 0 {
                continue;
            }
            let ended = |p: &u32| wanted.contains(*p) && !self.is_wanted(stage, *p);
            let ended: BTreeSet<u32> = (0..stage.tasks.len() as u32).filter(ended).collect();
            let stopped = self.stop_attempts(cx, *id, |partition| ended.contains(&partition));
            let app = self.app;
            for (_, task) in &stopped {
                let reason = firesteel_common::event::LossReason::Cancelled;
                cx.log(app, AppEvent::TaskLost { task: *task, reason });
            }
            cx.tell_kills(stopped);
            let Some(stage) = self.stages.get_mut(id) else { continue };
            for partition in ended {
                let task = &mut stage.tasks[partition as usize];
                if task.state == TaskState::Pending {
                    task.state = TaskState::Idle;
                    stage.pending -= 1;
                }
            }
            if stage.pending == 0 {
                cx.placement.withdraw(stage);
            }
        }
    }

    /// Tells drivers how far their jobs are, of those that have moved.
    pub fn tell_progress(&mut self, cx: &mut Cluster) {
        if !self.listening || !std::mem::take(&mut self.progressed) {
            return;
        }
        let app = self.app;
        for job in self.jobs.values_mut() {
            let mut progress = JobProgress { stages: job.stages.len() as u32, ..JobProgress::default() };
            for id in &job.stages {
                let Some(stage) = self.stages.get(id) else { continue };
                let (tasks, left) = match job.targets.get(id) {
                    Some(wanted) if !stage.is_map => (wanted.left + wanted.delivered, wanted.left),
                    Some(_) | None => (stage.tasks.len() as u32, stage.missing),
                };
                progress.stages_done += u32::from(left == 0);
                progress.tasks += tasks;
                progress.tasks_done += tasks - left;
                progress.tasks_running += stage.running;
            }
            if progress != job.progress {
                job.progress = progress;
                cx.tell_job(app, job.id, JobEvent::Progress(progress));
            }
        }
    }

    /// A driver is attached again and says what it still wants of a job: its word counts, since events may
    /// have been lost with its connection.
    pub fn reattach_job(&mut self, cx: &mut Cluster, spec: JobSpec) {
        if let Some(error) = self.failed.get(&spec.id) {
            return self.tell_job(cx, spec.id, JobEvent::Failed(error.clone()));
        }
        let Some(job) = self.jobs.get_mut(&spec.id) else {
            let (id, targets) = (spec.id, spec.targets.clone());
            self.submit(cx, spec);
            return self.count_delivered(id, &targets);
        };
        job.told.clear();
        job.open = true;
        for target in &spec.targets {
            let wanted = job.targets.get(&target.stage);
            if let Some(delivered) = wanted.map(|wanted| wanted.delivered)
                && target.partitions.is_some()
            {
                job.targets.insert(target.stage, Wanted::nothing(delivered));
            }
        }
        self.extend(cx, spec.id, spec.stages, spec.targets, spec.open);
    }

    /// What a driver that attaches again does not ask for has been delivered, perhaps by an earlier master.
    fn count_delivered(&mut self, id: JobId, targets: &[Target]) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        for target in targets.iter().filter(|target| target.partitions.is_some()) {
            let tasks = self.stages.get(&target.stage).map_or(0, |stage| stage.tasks.len() as u32);
            if let Some(wanted) = job.targets.get_mut(&target.stage) {
                wanted.delivered = tasks.saturating_sub(wanted.left);
            }
        }
    }

    /// Takes a map output as it lies on a worker.
    pub fn adopt(
        &mut self,
        cx: &mut Cluster,
        id: StageId,
        partition: u32,
        output: Output,
        status: firesteel_common::block::MapStatus,
    ) {
        let Some(stage) = self.stages.get_mut(&id) else { return };
        let Some(task) = stage.tasks.get_mut(partition as usize) else { return };
        task.next = task.next.max(output.attempt.saturating_add(1));
        task.status = Some(status);
        let was_pending = task.is_pending();
        if was_pending {
            task.state = TaskState::Idle;
            stage.pending -= 1;
        }
        stage.set_output(partition, output);
        self.workers.insert(output.worker);
        let Some(stage) = self.stages.get_mut(&id) else { return };
        if stage.pending == 0 {
            cx.placement.withdraw(stage);
        }
        if stage.missing == 0 && stage.active {
            self.complete_map(cx, id);
        }
    }
}
