//! A runtime in this process, for unit tests of jobs: real operators, real encodings, no cluster. It reads
//! plain files and directories. It repeats nothing, unless it is made to run each task twice at once.

mod files;
mod jobs;
mod memory;
mod planned;
mod submitted;

pub use self::memory::MemoryUse;
pub use self::submitted::Submitted;

use self::files::LocalHost;
use self::jobs::Jobs;
use self::memory::Memory;
use self::planned::Planned;
use crate::context::Context;
use crate::driver::Driver;
use crate::task::run_task;
use firesteel_common::block::{BlockId, Encoding, MapStatus, SegmentHeader, SegmentStat, StorageLevel};
use firesteel_common::graph::{JobGraph, StageKind, StageSpec};
use firesteel_common::id::{AppAttemptId, AppId, DatasetId, JobId, PluginHash, StageId, TaskId};
use firesteel_common::job::{JobEvent, JobRunner, JobSpec, Target};
use firesteel_common::task::{
    AccumulatorUpdate, MapOutputWriter, ResultValue, Segment, SegmentStream, TaskDescription, TaskIo,
    TaskMetrics, TaskOutcome,
};
use firesteel_common::{Error, ErrorCode, Payload, Result};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Runs `job` with a context over a runtime in this process that says it has two slots.
///
/// # Errors
/// What the job answers.
pub fn run<T>(job: impl for<'s> FnOnce(&Context<'s>) -> Result<T>) -> Result<T> {
    run_on(&LocalRunner::new(2), job)
}

/// Runs `job` on a given runtime.
///
/// # Errors
/// What the job answers.
pub fn run_on<T>(
    runner: &Arc<LocalRunner>,
    job: impl for<'s> FnOnce(&Context<'s>) -> Result<T>,
) -> Result<T> {
    let driver =
        Driver::new(Arc::new(Planned(runner.clone())), Arc::new(LocalHost::DRIVER), PluginHash([0; 32]));
    job(&Context::new(driver))
}

/// What runs a task: the operators themselves, or a plugin that is loaded.
pub type Engine = Box<dyn Fn(Arc<dyn TaskIo>) -> Result<TaskOutcome> + Send + Sync>;

/// The runtime of [`run`].
pub struct LocalRunner {
    slots: u32,
    /// `None`: the operators of this object run.
    engine: Option<Engine>,
    rivals: bool,
    memory: Arc<Memory>,
    state: Arc<Mutex<State>>,
}

/// What the runtime remembers.
#[derive(Default)]
struct State {
    graph: JobGraph,
    jobs: Jobs,
    /// Segments of each finished shuffle stage: by map partition, then by reducer.
    outputs: BTreeMap<StageId, Vec<Vec<Option<Segment>>>>,
    blocks: BTreeMap<BlockId, Segment>,
    metrics: TaskMetrics,
    tasks: u64,
    submitted: Submitted,
}

/// The id of everything that runs here.
const APP: AppAttemptId = AppAttemptId { app: AppId(1), attempt: 1 };

impl LocalRunner {
    /// A runtime that says it has so many slots.
    pub fn new(slots: u32) -> Arc<Self> {
        Arc::new(Self::with(slots))
    }

    fn with(slots: u32) -> Self {
        let memory = Memory::new(u64::MAX);
        Self { slots, engine: None, rivals: false, memory, state: Arc::default() }
    }

    /// A runtime whose tasks, one at a time, are granted at most so many bytes of memory.
    pub fn with_memory(slots: u32, bytes: u64) -> Arc<Self> {
        Arc::new(Self { memory: Memory::new(bytes), ..Self::with(slots) })
    }

    /// A runtime whose tasks are run by something else.
    pub fn with_engine(slots: u32, engine: Engine) -> Arc<Self> {
        Arc::new(Self { engine: Some(engine), ..Self::with(slots) })
    }

    /// A runtime that runs two attempts at each task at the same time, as a cluster does for a straggler.
    /// Both run to their end; the first wins in partitions of even number, the second in the others.
    pub fn with_rivals(slots: u32) -> Arc<Self> {
        Arc::new(Self { rivals: true, ..Self::with(slots) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// How many tasks have run.
    pub fn tasks(&self) -> u64 {
        self.state().tasks
    }

    /// What all tasks have cost.
    pub fn metrics(&self) -> TaskMetrics {
        let mut metrics = self.state().metrics;
        metrics.spilled_bytes += self.memory.in_use().spilled;
        metrics
    }

    /// What memory tasks have been granted, and what they have spilled.
    pub fn memory(&self) -> MemoryUse {
        self.memory.in_use()
    }

    /// What is kept: stages with outputs, and cached blocks. Both are empty when no handle is left.
    pub fn kept(&self) -> (usize, usize) {
        let state = self.state();
        (state.outputs.len(), state.blocks.len())
    }

    /// Forgets all cached blocks, as if there were no room for them.
    pub fn evict(&self) {
        self.state().blocks.clear();
    }

    fn submit_planned(&self, job: &JobSpec) {
        let events = self.run_job(job).unwrap_or_else(|error| vec![JobEvent::Failed(error)]);
        self.state().jobs.insert(job, events);
    }

    fn run_job(&self, spec: &JobSpec) -> Result<Vec<JobEvent>> {
        self.state().submitted.add(spec);
        self.state().graph.extend(spec.stages.clone())?;
        let mut events = Vec::new();
        for target in &spec.targets {
            self.run_target(target, &mut events)?;
        }
        events.push(JobEvent::Finished);
        Ok(events)
    }

    fn stage(&self, id: StageId) -> Result<StageSpec> {
        let unknown = || Error::new(ErrorCode::GraphInvalid, format!("{id} is not known"));
        self.state().graph.get(id).cloned().ok_or_else(unknown)
    }

    /// Runs what a target needs and is not there, then the target.
    fn run_target(&self, target: &Target, events: &mut Vec<JobEvent>) -> Result<()> {
        let mut needed = BTreeSet::new();
        let mut open = vec![target.stage];
        while let Some(id) = open.pop() {
            if needed.insert(id) {
                let inputs = self.stage(id)?.inputs.into_iter().map(|input| input.stage);
                open.extend(inputs.filter(|input| !self.state().outputs.contains_key(input)));
            }
        }
        while let Some(id) = self.next_of(&needed)? {
            needed.remove(&id);
            let stage = self.stage(id)?;
            let all = (0..stage.tasks.len() as u32).collect();
            let partitions = if id == target.stage { target.partitions.clone().unwrap_or(all) } else { all };
            for partition in partitions {
                self.run_one(&stage, partition, events)?;
            }
        }
        Ok(())
    }

    /// The first stage that reads none of the others.
    fn next_of(&self, needed: &BTreeSet<StageId>) -> Result<Option<StageId>> {
        for id in needed {
            if !self.stage(*id)?.inputs.iter().any(|input| needed.contains(&input.stage)) {
                return Ok(Some(*id));
            }
        }
        Ok(None)
    }

    fn run_one(&self, stage: &StageSpec, partition: u32, events: &mut Vec<JobEvent>) -> Result<()> {
        let description = self.describe(stage, partition)?;
        let parents: Vec<StageId> = stage.inputs.iter().map(|input| input.stage).collect();
        let attempt = |number: u32| {
            let mut description = description.clone();
            description.task.attempt = number;
            self.attempt(description, parents.clone())
        };
        let (outcome, segments, accumulators) = if self.rivals {
            let both = std::thread::scope(|scope| {
                let rival = scope.spawn(|| attempt(1));
                let first = attempt(0);
                [first, rival.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))]
            });
            let [first, rival] = both;
            if partition.is_multiple_of(2) { first } else { rival }
        } else {
            attempt(0)
        };
        match outcome? {
            TaskOutcome::Result(value) => {
                events.push(JobEvent::TaskResult { stage: stage.id, partition, value, accumulators });
            }
            TaskOutcome::MapOutput(_) => {
                self.state().outputs.entry(stage.id).or_default().push(segments);
                if !accumulators.is_empty() {
                    events.push(JobEvent::Accumulated(accumulators));
                }
            }
            TaskOutcome::Failed(error) => return Err(error),
            TaskOutcome::Killed => return Err(Error::new(ErrorCode::Killed, "a task was killed")),
        }
        Ok(())
    }

    fn describe(&self, stage: &StageSpec, partition: u32) -> Result<TaskDescription> {
        let reducers = match stage.kind {
            StageKind::ShuffleMap { reducers } => reducers,
            StageKind::Result => 0,
        };
        let inputs = stage.inputs.iter().map(|input| {
            let parent = self.stage(input.stage)?;
            let StageKind::ShuffleMap { reducers } = parent.kind else {
                return Err(Error::new(ErrorCode::GraphInvalid, "an input is no shuffle"));
            };
            Ok(input.ranges(partition, parent.tasks.len() as u32, reducers))
        });
        Ok(TaskDescription {
            task: TaskId { app: APP, stage: stage.id, partition, attempt: 0 },
            stage_payload: stage.payload.clone(),
            task_payload: stage.tasks[partition as usize].payload.clone(),
            reducers,
            inputs: inputs.collect::<Result<_>>()?,
        })
    }

    /// One attempt at a task: how it ended, what it wrote for a shuffle, and what it added to accumulators.
    fn attempt(
        &self,
        description: TaskDescription,
        parents: Vec<StageId>,
    ) -> (Result<TaskOutcome>, Vec<Option<Segment>>, Vec<AccumulatorUpdate>) {
        let host = LocalHost::of_task(description.task.attempt, self.memory.clone());
        let written = Arc::default();
        let accumulated = Arc::default();
        let io = LocalTask {
            state: self.state.clone(),
            description,
            parents,
            written: Arc::clone(&written),
            accumulated: Arc::clone(&accumulated),
            memory: self.memory.clone(),
        };
        self.state().tasks += 1;
        let outcome = match &self.engine {
            Some(engine) => engine(Arc::new(io)),
            None => run_task(&io, &host),
        };
        let segments = std::mem::take(&mut *lock(&written));
        let accumulated = std::mem::take(&mut *lock(&accumulated));
        (outcome, segments, accumulated)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl JobRunner for LocalRunner {
    /// Only for runtimes with an engine: a stage names code by numbers, so those whose operators run right
    /// here are taken from the driver of [`run_on`] alone.
    fn submit(&self, job: JobSpec) -> Result<()> {
        if self.engine.is_none() {
            let message = "the local runtime takes jobs from its own driver only";
            return Err(
                Error::new(ErrorCode::Unsupported, message).with_help("call firesteel::testing::run_on")
            );
        }
        self.submit_planned(&job);
        Ok(())
    }

    fn extend(&self, _job: JobId, _stages: Vec<StageSpec>, _targets: Vec<Target>, _open: bool) -> Result<()> {
        Err(Error::new(ErrorCode::Unsupported, "the local runtime has no open jobs"))
    }

    fn next_event(&self, job: JobId) -> Result<JobEvent> {
        self.state().jobs.next_event(job)
    }

    fn next_event_within(&self, job: JobId, _at_most: Duration) -> Result<Option<JobEvent>> {
        if self.state().jobs.is_in_time() { self.next_event(job).map(Some) } else { Ok(None) }
    }

    fn fetch(&self, value: &ResultValue) -> Result<Payload> {
        match value {
            ResultValue::Inline(payload) => Ok(payload.clone()),
            ResultValue::Block { block, .. } => {
                Err(Error::new(ErrorCode::BlockMissing, format!("{block} is not there")))
            }
        }
    }

    fn release(&self, stages: Vec<StageId>, datasets: Vec<DatasetId>) {
        use firesteel_common::block::BlockKind;
        let mut state = self.state();
        for stage in stages {
            state.outputs.remove(&stage);
            state.graph.remove(stage);
        }
        state.blocks.retain(
            |id, _| !matches!(id.kind, BlockKind::Cached { dataset, .. } if datasets.contains(&dataset)),
        );
    }

    fn cancel(&self, job: JobId, reason: &str) {
        self.state().jobs.stop(|id, _| *id == job, reason);
    }

    fn cancel_group(&self, group: &str, reason: &str) {
        self.state().jobs.stop(|_, of| of == group, reason);
    }

    fn slots(&self) -> u32 {
        self.slots
    }

    fn release_result(&self, _block: BlockId) {}
}

/// One task of the local runtime.
struct LocalTask {
    state: Arc<Mutex<State>>,
    description: TaskDescription,
    parents: Vec<StageId>,
    written: Arc<Mutex<Vec<Option<Segment>>>>,
    accumulated: Arc<Mutex<Vec<AccumulatorUpdate>>>,
    memory: Arc<Memory>,
}

fn segment(map: u32, reducer: u32, type_tag: u64, records: u64, payload: &[u8]) -> Segment {
    let header = SegmentHeader {
        encoding: Encoding::Plain,
        type_tag,
        raw_len: payload.len() as u64,
        stored_len: payload.len() as u64,
        records,
        checksum: 0,
    };
    Segment::new(map, reducer, header, Arc::new(payload.to_vec()), 0)
}

impl TaskIo for LocalTask {
    fn description(&self) -> &TaskDescription {
        &self.description
    }

    fn read_input(&self, input: usize) -> Result<Box<dyn SegmentStream>> {
        let state = lock(&self.state);
        let maps = state.outputs.get(&self.parents[input]).map_or(&[][..], Vec::as_slice);
        let mut segments = VecDeque::new();
        for range in &self.description.inputs[input] {
            for reducer in range.reducers.clone() {
                for map in range.maps.clone() {
                    segments.extend(maps[map as usize][reducer as usize].clone());
                }
            }
        }
        Ok(Box::new(LocalStream(segments)))
    }

    fn map_output(&self) -> Result<Box<dyn MapOutputWriter>> {
        let map = self.description.task.partition;
        let (written, reducers) = (self.written.clone(), self.description.reducers);
        Ok(Box::new(LocalWriter { map, written, reducers, parts: Vec::new() }))
    }

    fn cached(&self, block: BlockId) -> Result<Option<Segment>> {
        Ok(lock(&self.state).blocks.get(&block).cloned())
    }

    fn store(
        &self,
        block: BlockId,
        _level: StorageLevel,
        type_tag: u64,
        records: u64,
        payload: &[u8],
    ) -> Result<bool> {
        lock(&self.state).blocks.insert(block, segment(0, 0, type_tag, records, payload));
        Ok(true)
    }

    fn accumulate(&self, id: u32, value: Payload) {
        lock(&self.accumulated).push(AccumulatorUpdate { id, value });
    }

    fn add_metrics(&self, add: &dyn Fn(&mut TaskMetrics)) {
        add(&mut lock(&self.state).metrics);
    }

    fn acquire_memory(&self, bytes: u64) -> u64 {
        self.memory.acquire(bytes)
    }

    fn release_memory(&self, bytes: u64) {
        self.memory.release(bytes);
    }

    fn cancelled(&self) -> bool {
        false
    }
}

struct LocalStream(VecDeque<Segment>);

impl SegmentStream for LocalStream {
    fn next(&mut self) -> Result<Option<Segment>> {
        Ok(self.0.pop_front())
    }
}

struct LocalWriter {
    map: u32,
    reducers: u32,
    written: Arc<Mutex<Vec<Option<Segment>>>>,
    /// The segment that is put together.
    parts: Vec<u8>,
}

impl MapOutputWriter for LocalWriter {
    fn append(&mut self, type_tag: u64, records: u64, payload: &[u8]) -> Result<()> {
        let mut written = lock(&self.written);
        let reducer = written.len() as u32;
        written.push((records > 0).then(|| segment(self.map, reducer, type_tag, records, payload)));
        Ok(())
    }

    fn append_part(&mut self, type_tag: u64, records: u64, len: u64, part: &[u8]) -> Result<()> {
        self.parts.extend_from_slice(part);
        if (self.parts.len() as u64) < len {
            return Ok(());
        }
        let payload = std::mem::take(&mut self.parts);
        self.append(type_tag, records, &payload)
    }

    fn finish(self: Box<Self>, statistics: Payload) -> Result<MapStatus> {
        let mut written = lock(&self.written);
        written.resize(self.reducers as usize, None);
        let stat = |segment: &Option<Segment>| {
            segment.as_ref().map_or(SegmentStat::default(), |segment| SegmentStat {
                bytes: segment.header.segment_len(),
                rows: segment.header.records,
                checksum: 0,
            })
        };
        Ok(MapStatus { segments: written.iter().map(stat).collect(), statistics })
    }
}
