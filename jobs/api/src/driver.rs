//! The driver's side of jobs: numbers stages, submits what the runtime does not know yet, gathers results.

use crate::accumulator::Registry;
use crate::broadcast::Out;
use crate::checkpoint::Checkpoints;
use crate::control::Control;
use crate::files::Host;
use crate::operator::Operator;
use crate::output::Output;
use crate::plan::{Parents, build_stage, shuffle_stage};
use crate::task::Program;
use firesteel_common::graph::{StageKind, StageSpec};
use firesteel_common::id::{DatasetId, JobId, PluginHash, StageId};
use firesteel_common::job::{JobEvent, JobRunner, JobSpec, Target};
use firesteel_common::task::{AccumulatorUpdate, ResultValue};
use firesteel_common::{Error, ErrorCode, Payload, Result};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What all datasets of an application share.
pub struct Driver {
    runner: Arc<dyn JobRunner>,
    host: Arc<dyn Host>,
    plugin: PluginHash,
    next_job: AtomicU32,
    next_stage: AtomicU32,
    next_dataset: AtomicU32,
    next_broadcast: AtomicU32,
    control: Control,
    accumulators: Registry,
    checkpoints: Checkpoints,
    /// Held while stages are chosen and submitted, so that no two jobs submit one stage.
    submitting: Mutex<()>,
}

/// A result stage whose job runs or has run; frees its results at the end.
pub(crate) struct ResultStage {
    driver: Arc<Driver>,
    id: StageId,
    total: u32,
    /// The broadcast values that it uses.
    uses: Vec<Arc<Out>>,
}

impl ResultStage {
    /// How many partitions it has.
    pub(crate) fn partitions(&self) -> u32 {
        self.total
    }
}

impl Drop for ResultStage {
    fn drop(&mut self) {
        self.driver.release(vec![self.id], Vec::new());
    }
}

impl Driver {
    /// A driver that talks to a runtime and a host.
    pub fn new(runner: Arc<dyn JobRunner>, host: Arc<dyn Host>, plugin: PluginHash) -> Arc<Self> {
        Arc::new(Self {
            runner,
            host,
            plugin,
            next_job: AtomicU32::new(0),
            next_stage: AtomicU32::new(0),
            next_dataset: AtomicU32::new(0),
            next_broadcast: AtomicU32::new(0),
            control: Control::default(),
            accumulators: Registry::default(),
            checkpoints: Checkpoints::default(),
            submitting: Mutex::new(()),
        })
    }

    /// The plugin whose code tasks run.
    pub fn plugin(&self) -> PluginHash {
        self.plugin
    }

    /// Files and the rest.
    pub fn host(&self) -> &dyn Host {
        &*self.host
    }

    /// What tasks add to.
    pub(crate) fn accumulators(&self) -> &Registry {
        &self.accumulators
    }

    /// Where checkpoints go.
    pub(crate) fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }

    /// Task slots of the cluster now, at least 1.
    pub fn slots(&self) -> u32 {
        self.runner.slots().max(1)
    }

    /// A stage number.
    pub fn new_stage(&self) -> StageId {
        StageId(self.next_stage.fetch_add(1, Ordering::Relaxed))
    }

    /// A dataset number.
    pub fn new_dataset(&self) -> DatasetId {
        DatasetId(self.next_dataset.fetch_add(1, Ordering::Relaxed))
    }

    /// The number of a broadcast value.
    pub(crate) fn new_broadcast(&self) -> u32 {
        self.next_broadcast.fetch_add(1, Ordering::Relaxed)
    }

    /// What is said of jobs, and which of them run.
    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    /// Stops all jobs of a group.
    pub fn cancel_group(&self, group: &str, reason: &str) {
        self.runner.cancel_group(group, reason);
    }

    /// Frees what nobody refers to any more.
    pub fn release(&self, stages: Vec<StageId>, datasets: Vec<DatasetId>) {
        self.runner.release(stages, datasets);
    }

    /// Runs a job over all partitions of a chain. `on_value` gets each partition with its value, as they
    /// come.
    ///
    /// # Errors
    /// What the job or `on_value` failed with.
    pub fn run<'s, Op: Operator<'s>, Out: Output<'s, Op::Item>>(
        self: &Arc<Self>,
        name: &str,
        op: &Op,
        output: Out,
        on_value: impl FnMut(u32, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let (stage, spec) = self.plan(name, op, output)?;
        self.run_part(name, op, &stage, Some(spec), None, on_value)
    }

    /// Runs jobs over more and more partitions, from the first on, until `on_part` has enough. It gets the
    /// values of some further partitions in their order.
    ///
    /// # Errors
    /// What a job or `on_part` failed with.
    pub fn run_until<'s, Op: Operator<'s>, Out: Output<'s, Op::Item>>(
        self: &Arc<Self>,
        name: &str,
        op: &Op,
        output: Out,
        mut on_part: impl FnMut(&[Payload]) -> Result<bool>,
    ) -> Result<()> {
        let (stage, spec) = self.plan(name, op, output)?;
        let mut spec = Some(spec);
        let (mut start, mut width) = (0, 1);
        while start < stage.total {
            let end = stage.total.min(start + width);
            let mut values = vec![Payload::empty(); (end - start) as usize];
            self.run_part(
                name,
                op,
                &stage,
                spec.take(),
                Some((start..end).collect()),
                |partition, value| {
                    if let Some(place) = values.get_mut(partition.wrapping_sub(start) as usize) {
                        *place = value.into();
                    }
                    Ok(())
                },
            )?;
            if on_part(&values)? {
                return Ok(());
            }
            start = end;
            width = width.saturating_mul(4);
        }
        Ok(())
    }

    pub(crate) fn plan<'s, Op: Operator<'s>, Out: Output<'s, Op::Item>>(
        self: &Arc<Self>,
        name: &str,
        op: &Op,
        output: Out,
    ) -> Result<(ResultStage, StageSpec)> {
        let id = self.new_stage();
        let program = Program { op: op.clone(), output };
        let (spec, uses) = build_stage(self, id, name, StageKind::Result, &program)?;
        Ok((ResultStage { driver: self.clone(), id, total: spec.tasks.len() as u32, uses }, spec))
    }

    fn run_part<'s, Op: Operator<'s>>(
        &self,
        name: &str,
        op: &Op,
        stage: &ResultStage,
        spec: Option<StageSpec>,
        partitions: Option<Vec<u32>>,
        on_value: impl FnMut(u32, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let job = self.start(name, op, stage, spec, partitions)?;
        self.gather(job, stage, on_value)
    }

    /// Starts a job over some partitions of a result stage (all of them for `None`), which goes along the
    /// first time.
    ///
    /// # Errors
    /// What the runtime refuses.
    pub(crate) fn start<'s, Op: Operator<'s>>(
        &self,
        name: &str,
        op: &Op,
        stage: &ResultStage,
        spec: Option<StageSpec>,
        partitions: Option<Vec<u32>>,
    ) -> Result<JobId> {
        let job = JobId(self.next_job.fetch_add(1, Ordering::Relaxed));
        let submitting = self.submitting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stages = Vec::new();
        let mut parents = Parents::default();
        op.parents(&mut parents);
        let unknown = parents.unknown();
        let mut uses = stage.uses.clone();
        for shuffle in &unknown {
            stages.push(shuffle_stage(shuffle, &mut uses)?);
        }
        stages.extend(spec);
        // What brings broadcast values reads nothing, so it may stand before all others.
        uses.retain(|out| !out.shuffle.is_submitted());
        uses.sort_by_key(|out| out.shuffle.id);
        uses.dedup_by_key(|out| out.shuffle.id);
        let brought: Vec<StageSpec> =
            uses.iter().map(|out| shuffle_stage(&out.shuffle, &mut Vec::new())).collect::<Result<_>>()?;
        stages.splice(0..0, brought);
        let targets = vec![Target { stage: stage.id, partitions }];
        let (name, group) = self.control.begin(job, name);
        let spec = JobSpec { id: job, name, stages, targets, open: false, group };
        self.runner.submit(spec).inspect_err(|_| self.control.end(job))?;
        unknown.iter().for_each(|shuffle| shuffle.mark_submitted());
        uses.iter().for_each(|out| out.shuffle.mark_submitted());
        drop(submitting);
        Ok(job)
    }

    /// Stops a job.
    pub(crate) fn cancel(&self, job: JobId, reason: &str) {
        self.runner.cancel(job, reason);
    }

    /// Stops a job for which nobody waits any more.
    pub(crate) fn abandon(&self, job: JobId, reason: &str) {
        self.control.end(job);
        self.runner.cancel(job, reason);
    }

    /// Hands each value of a job over as it comes, until the job ends.
    ///
    /// # Errors
    /// What the job or `on_value` failed with.
    pub(crate) fn gather(
        &self,
        job: JobId,
        stage: &ResultStage,
        mut on_value: impl FnMut(u32, &[u8]) -> Result<()>,
    ) -> Result<()> {
        while !self.take_event(job, stage, self.runner.next_event(job)?, &mut on_value)? {}
        Ok(())
    }

    /// [`Driver::gather`] until the job ends or the time is over; says whether it has ended.
    ///
    /// # Errors
    /// What the job or `on_value` failed with.
    pub(crate) fn gather_within(
        &self,
        job: JobId,
        stage: &ResultStage,
        at_most: Duration,
        mut on_value: impl FnMut(u32, &[u8]) -> Result<()>,
    ) -> Result<bool> {
        let started = Instant::now();
        loop {
            let left = at_most.saturating_sub(started.elapsed());
            let Some(event) = self.runner.next_event_within(job, left)? else { return Ok(false) };
            if self.take_event(job, stage, event, &mut on_value)? {
                return Ok(true);
            }
        }
    }

    /// Whether it was the last event of the job.
    fn take_event(
        &self,
        job: JobId,
        stage: &ResultStage,
        event: JobEvent,
        on_value: &mut impl FnMut(u32, &[u8]) -> Result<()>,
    ) -> Result<bool> {
        match event {
            JobEvent::Accumulated(updates) => self.accumulate(&updates)?,
            JobEvent::TaskResult { stage: of, partition, value, accumulators } if of == stage.id => {
                self.accumulate(&accumulators)?;
                if let Err(error) = self.hand_over(partition, &value, on_value) {
                    self.abandon(job, "its driver could not use a result");
                    return Err(error);
                }
            }
            JobEvent::Progress(progress) => self.control.progress(job, progress),
            JobEvent::Finished => {
                self.control.end(job);
                return Ok(true);
            }
            JobEvent::Failed(error) => {
                self.control.end(job);
                return Err(error);
            }
            JobEvent::TaskResult { .. } | JobEvent::StageFinished { .. } => {}
        }
        Ok(false)
    }

    fn accumulate(&self, updates: &[AccumulatorUpdate]) -> Result<()> {
        updates.iter().try_for_each(|update| self.accumulators.merge(update.id, &update.value))
    }

    fn hand_over(
        &self,
        partition: u32,
        value: &ResultValue,
        on_value: &mut impl FnMut(u32, &[u8]) -> Result<()>,
    ) -> Result<()> {
        match value {
            ResultValue::Inline(payload) => on_value(partition, payload),
            ResultValue::Block { block, .. } => {
                let used = self.runner.fetch(value).and_then(|payload| on_value(partition, &payload));
                self.runner.release_result(*block);
                used
            }
        }
    }
}

/// The error of an action on a dataset that has no record to answer with.
pub fn empty_dataset(action: &str) -> Error {
    Error::new(ErrorCode::JobFailed, format!("{action} of a dataset without records"))
}
