//! What a driver has asked for and not released: enough to say it all again to a master that does not know
//! it. Pure; the link and the waiting are the parent's.

use firesteel_common::Payload;
use firesteel_common::block::{BlockId, BlockKind};
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::graph::{StageKind, StageSpec};
use firesteel_common::id::{DatasetId, JobId, StageId};
use firesteel_common::job::{JobEvent, JobSpec, Target};
use firesteel_common::protocol::codec;
use firesteel_common::protocol::driver::FromDriver;
use firesteel_common::task::ResultValue;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How long the parts of a graph are, in bytes, when it is told to a master again.
const PART_LEN: usize = 16 * 1024 * 1024;

/// Everything that an attachment is made of, and the events that were not taken yet.
///
/// The queue of a job's events has no bound of its own: its length is bounded by the tasks of the job's graph
/// (progress is kept once), its bytes by the inline results among them.
#[derive(Default)]
pub(super) struct Session {
    stages: BTreeMap<StageId, KnownStage>,
    submitted: u64,
    jobs: BTreeMap<JobId, Job>,
    /// Result blocks that were received and not released, by their stage.
    results: BTreeMap<StageId, BTreeSet<BlockId>>,
    datasets_released: BTreeSet<DatasetId>,
    outcome: Option<Result<Payload, Error>>,
}

struct KnownStage {
    spec: StageSpec,
    /// Counts submissions: parents come before their readers.
    order: u64,
    released: bool,
}

struct Job {
    /// As it is now, without stages.
    spec: JobSpec,
    events: VecDeque<JobEvent>,
    /// Results that were received.
    delivered: BTreeMap<StageId, BTreeSet<u32>>,
    /// The last event was received.
    ended: bool,
    cancelled: Option<String>,
}

impl Session {
    pub(super) fn submit(&mut self, job: JobSpec) -> Result<FromDriver> {
        if self.jobs.contains_key(&job.id) {
            let message = format!("{} was submitted before", job.id);
            return Err(Error::new(ErrorCode::GraphInvalid, message));
        }
        self.know(&job.stages);
        let spec = JobSpec { stages: Vec::new(), ..job.clone() };
        let empty =
            Job { spec, events: VecDeque::new(), delivered: BTreeMap::new(), ended: false, cancelled: None };
        self.jobs.insert(job.id, empty);
        Ok(FromDriver::Submit(job))
    }

    /// Forgets a job that could not be submitted, if it is one.
    pub(super) fn abandon(&mut self, job: JobId) {
        if self.jobs.get(&job).is_some_and(|job| job.events.is_empty() && !job.ended) {
            self.jobs.remove(&job);
            self.prune();
        }
    }

    pub(super) fn extend(
        &mut self,
        job: JobId,
        stages: Vec<StageSpec>,
        targets: Vec<Target>,
        open: bool,
    ) -> Result<FromDriver> {
        let known = self.jobs.get_mut(&job).filter(|known| !known.ended && known.spec.open);
        let Some(known) = known else {
            return Err(Error::new(ErrorCode::GraphInvalid, format!("{job} is not open for more stages")));
        };
        known.spec.targets.extend(targets.iter().cloned());
        known.spec.open = open;
        self.know(&stages);
        Ok(FromDriver::Extend { job, stages, targets, open })
    }

    pub(super) fn release(&mut self, stages: Vec<StageId>, datasets: Vec<DatasetId>) -> FromDriver {
        for stage in &stages {
            self.results.remove(stage);
            if let Some(known) = self.stages.get_mut(stage) {
                known.released = true;
            }
        }
        self.datasets_released.extend(&datasets);
        self.prune();
        FromDriver::Release { stages, datasets }
    }

    /// Notes that a result block is no longer needed; returns its stage if it was the last one.
    pub(super) fn release_result(&mut self, block: BlockId) -> Option<StageId> {
        let BlockKind::Result { stage, .. } = block.kind else { return None };
        let blocks = self.results.get_mut(&stage)?;
        blocks.remove(&block);
        let wanted = self.jobs.values().any(|job| !job.ended && job.targets_stage(stage));
        (blocks.is_empty() && !wanted).then_some(stage)
    }

    pub(super) fn cancel(&mut self, job: JobId, reason: &str) -> FromDriver {
        if let Some(known) = self.jobs.get_mut(&job) {
            known.cancelled.get_or_insert_with(|| reason.to_owned());
        }
        FromDriver::Cancel { job, reason: reason.to_owned() }
    }

    pub(super) fn cancel_group(&mut self, group: &str, reason: &str) -> FromDriver {
        for known in self.jobs.values_mut().filter(|known| known.spec.group == group) {
            known.cancelled.get_or_insert_with(|| reason.to_owned());
        }
        FromDriver::CancelGroup { group: group.to_owned(), reason: reason.to_owned() }
    }

    pub(super) fn finish(&mut self, outcome: Result<Payload, Error>) -> Result<FromDriver> {
        self.stages.clear();
        self.jobs.clear();
        self.results.clear();
        self.outcome = Some(outcome.clone());
        Ok(FromDriver::Finish(outcome))
    }

    /// Takes in an event. What was delivered before (a master that started again sends it twice) is dropped.
    pub(super) fn receive(&mut self, job: JobId, event: JobEvent) {
        let Some(known) = self.jobs.get_mut(&job).filter(|known| !known.ended) else { return };
        match &event {
            JobEvent::TaskResult { stage, partition, value, .. } => {
                if !known.delivered.entry(*stage).or_default().insert(*partition) {
                    return;
                }
                if let ResultValue::Block { block, .. } = value {
                    self.results.entry(*stage).or_default().insert(*block);
                }
            }
            JobEvent::Progress(_) => known.events.retain(|event| !matches!(event, JobEvent::Progress(_))),
            JobEvent::Finished | JobEvent::Failed(_) => known.ended = true,
            JobEvent::StageFinished { .. } | JobEvent::Accumulated(_) => {}
        }
        known.events.push_back(event);
        if known.ended {
            self.prune();
        }
    }

    /// The oldest event of a job that was not taken, if there is one.
    ///
    /// # Errors
    /// `GRAPH_INVALID` if there is no such job, or its last event was taken.
    pub(super) fn next_event(&mut self, job: JobId) -> Result<Option<JobEvent>> {
        let over = || Error::new(ErrorCode::GraphInvalid, format!("{job} does not run"));
        let known = self.jobs.get_mut(&job).ok_or_else(over)?;
        let event = known.events.pop_front();
        if matches!(event, Some(JobEvent::Finished | JobEvent::Failed(_))) {
            self.jobs.remove(&job);
        }
        Ok(event)
    }

    /// What to say first over a new link: the graph and the unfinished jobs, then what was released,
    /// cancelled, and the outcome.
    pub(super) fn attach(&mut self) -> Vec<FromDriver> {
        self.prune();
        let mut stages: Vec<&KnownStage> = self.stages.values().collect();
        stages.sort_by_key(|known| known.order);
        let released: Vec<StageId> =
            stages.iter().filter(|known| known.released).map(|known| known.spec.id).collect();
        let stages = stages.iter().map(|known| known.spec.clone()).collect();
        let unfinished = || self.jobs.values().filter(|job| !job.ended);
        let jobs = unfinished().map(|job| job.unfinished(&self.stages)).collect();
        let (mut messages, stages) = in_parts(stages, PART_LEN);
        messages.push(FromDriver::Attach { stages, jobs });
        let datasets: Vec<DatasetId> = self.datasets_released.iter().copied().collect();
        if !released.is_empty() || !datasets.is_empty() {
            messages.push(FromDriver::Release { stages: released, datasets });
        }
        messages.extend(unfinished().filter_map(|job| {
            let reason = job.cancelled.clone()?;
            Some(FromDriver::Cancel { job: job.spec.id, reason })
        }));
        messages.extend(self.outcome.clone().map(FromDriver::Finish));
        messages
    }

    fn know(&mut self, stages: &[StageSpec]) {
        for spec in stages {
            self.submitted += 1;
            let order = self.submitted;
            self.stages.entry(spec.id).or_insert_with(|| KnownStage {
                spec: spec.clone(),
                order,
                released: false,
            });
        }
    }

    /// Forgets the stages that were released, are no target of an unfinished job, and are read by no stage
    /// that is kept.
    fn prune(&mut self) {
        let targets = self.jobs.values().filter(|job| !job.ended).flat_map(|job| &job.spec.targets);
        let handles = self.stages.values().filter(|known| !known.released);
        let mut open: Vec<StageId> = targets.map(|target| target.stage).collect();
        open.extend(handles.map(|known| known.spec.id));
        let mut kept = BTreeSet::new();
        while let Some(stage) = open.pop() {
            if kept.insert(stage)
                && let Some(known) = self.stages.get(&stage)
            {
                open.extend(known.spec.inputs.iter().map(|input| input.stage));
            }
        }
        self.stages.retain(|id, _| kept.contains(id));
    }
}

/// Divides a long graph such that no part has much more than `max` bytes, unless it is one stage; the last
/// part is for the attachment itself.
pub(super) fn in_parts(stages: Vec<StageSpec>, max: usize) -> (Vec<FromDriver>, Vec<StageSpec>) {
    let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
    for stage in stages {
        // One without a frame is refused where it is sent.
        let len = codec::encode(&stage).map_or(0, |encoded| encoded.len());
        if bytes + len > max && !part.is_empty() {
            parts.push(FromDriver::AttachPart { stages: std::mem::take(&mut part) });
            bytes = 0;
        }
        bytes += len;
        part.push(stage);
    }
    (parts, part)
}

impl Job {
    fn targets_stage(&self, stage: StageId) -> bool {
        self.spec.targets.iter().any(|target| target.stage == stage)
    }

    /// The job without the results that were received.
    fn unfinished(&self, stages: &BTreeMap<StageId, KnownStage>) -> JobSpec {
        let targets = self.spec.targets.iter().filter_map(|target| {
            let spec = stages.get(&target.stage).map(|known| &known.spec);
            let Some(spec) = spec.filter(|spec| spec.kind == StageKind::Result) else {
                return Some(target.clone());
            };
            let delivered = self.delivered.get(&target.stage);
            let is_missing =
                |partition: &u32| !delivered.is_some_and(|delivered| delivered.contains(partition));
            let missing: Vec<u32> = match &target.partitions {
                Some(partitions) => partitions.iter().copied().filter(is_missing).collect(),
                None => (0..spec.tasks.len() as u32).filter(is_missing).collect(),
            };
            (!missing.is_empty()).then_some(Target { stage: target.stage, partitions: Some(missing) })
        });
        JobSpec { targets: targets.collect(), ..self.spec.clone() }
    }
}
