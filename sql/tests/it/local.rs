//! A runtime in one process: stages run one after the other on real engines, segments lie in memory.
//!
//! Not here: anything that a cluster does about loss.

use datafusion::arrow::buffer::{Buffer, MutableBuffer};
use firesteel_common::block::{
    BlockId, Encoding, HEADER_LEN, MapStatus, SegmentHeader, SegmentStat, StorageLevel, padding,
};
use firesteel_common::graph::{JobGraph, StageKind, StageSpec};
use firesteel_common::id::{AppAttemptId, DatasetId, JobId, StageId, TaskId};
use firesteel_common::job::{JobEvent, JobRunner, JobSpec, Target};
use firesteel_common::task::{
    MapOutputWriter, ResultValue, Segment, SegmentStream, TaskDescription, TaskIo, TaskMetrics, TaskOutcome,
};
use firesteel_common::{Error, ErrorCode, Payload, Result};
use firesteel_sql::SqlEngine;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Clone)]
struct Aligned(Buffer);

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A map output of a task: its bytes and its index.
#[derive(Clone)]
pub struct Output {
    bytes: Aligned,
    pub status: MapStatus,
}

/// The runtime.
pub struct LocalRunner {
    slots: u32,
    engine: SqlEngine,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    graph: JobGraph,
    specs: Vec<StageSpec>,
    outputs: BTreeMap<StageId, Vec<Output>>,
    events: VecDeque<JobEvent>,
    released: Vec<StageId>,
    cancelled: usize,
    metrics: TaskMetrics,
}

impl LocalRunner {
    pub fn new(slots: u32) -> Arc<Self> {
        Self::with_memory(slots, 2 << 30)
    }

    pub fn with_memory(slots: u32, memory: u64) -> Arc<Self> {
        let engine = SqlEngine::new(slots, memory).unwrap();
        Arc::new(Self { slots, engine, state: Mutex::default() })
    }

    /// All stages that were submitted, in their order.
    pub fn specs(&self) -> Vec<StageSpec> {
        self.state.lock().unwrap().specs.clone()
    }

    /// What all tasks have cost.
    pub fn metrics(&self) -> TaskMetrics {
        self.state.lock().unwrap().metrics
    }

    /// Shuffle stages that were submitted and never released.
    pub fn leaked(&self) -> Vec<StageId> {
        let state = self.state.lock().unwrap();
        state.outputs.keys().filter(|stage| !state.released.contains(stage)).copied().collect()
    }

    pub fn cancelled(&self) -> usize {
        self.state.lock().unwrap().cancelled
    }

    /// The segments that map tasks wrote, in bytes.
    pub fn written(&self) -> u64 {
        let state = self.state.lock().unwrap();
        state.outputs.values().flatten().map(|output| output.status.bytes()).sum()
    }

    fn run(&self, stages: Vec<StageSpec>, targets: &[Target], open: bool) -> Result<()> {
        {
            let mut state = self.state.lock().unwrap();
            state.graph.extend(stages.clone())?;
            state.specs.extend(stages.clone());
        }
        for stage in &stages {
            if let Err(error) = self.run_stage(stage, targets) {
                self.state.lock().unwrap().events.push_back(JobEvent::Failed(error));
                return Ok(());
            }
        }
        if !open {
            self.state.lock().unwrap().events.push_back(JobEvent::Finished);
        }
        Ok(())
    }

    fn run_stage(&self, stage: &StageSpec, targets: &[Target]) -> Result<()> {
        let next = AtomicUsize::new(0);
        let done = Mutex::new(BTreeMap::new());
        std::thread::scope(|scope| {
            for _ in 0..self.slots {
                scope.spawn(|| {
                    loop {
                        let partition = next.fetch_add(1, Ordering::Relaxed);
                        if partition >= stage.tasks.len() {
                            break;
                        }
                        let outcome = self.run_task(stage, partition as u32);
                        done.lock().unwrap().insert(partition, outcome);
                    }
                });
            }
        });
        let mut outputs = Vec::new();
        for (partition, outcome) in done.into_inner().unwrap() {
            let (outcome, output, metrics) = outcome?;
            let mut state = self.state.lock().unwrap();
            state.metrics.input_records += metrics.input_records;
            state.metrics.input_bytes += metrics.input_bytes;
            state.metrics.spilled_bytes += metrics.spilled_bytes;
            match (outcome, output) {
                (TaskOutcome::MapOutput(_), Some(output)) => outputs.push(output),
                (TaskOutcome::Result(value), None) => {
                    assert!(targets.iter().any(|target| target.stage == stage.id));
                    let partition = partition as u32;
                    let accumulators = Vec::new();
                    let event = JobEvent::TaskResult { stage: stage.id, partition, value, accumulators };
                    state.events.push_back(event);
                }
                (outcome, _) => panic!("{outcome:?}"),
            }
        }
        if matches!(stage.kind, StageKind::ShuffleMap { .. }) {
            let statuses = outputs.iter().map(|output| output.status.clone()).collect();
            let mut state = self.state.lock().unwrap();
            state.events.push_back(JobEvent::StageFinished { stage: stage.id, statuses });
            state.outputs.insert(stage.id, outputs);
        }
        Ok(())
    }

    fn run_task(
        &self,
        stage: &StageSpec,
        partition: u32,
    ) -> Result<(TaskOutcome, Option<Output>, TaskMetrics)> {
        let io = Arc::new(self.io(stage, partition));
        let outcome = self.engine.run_task(io.clone())?;
        let output = io.output.lock().unwrap().take();
        let metrics = *io.metrics.lock().unwrap();
        Ok((outcome, output, metrics))
    }

    /// What a task of a stage is given, for tests that run one by themselves.
    pub fn io(&self, stage: &StageSpec, partition: u32) -> MemoryIo {
        let state = self.state.lock().unwrap();
        let reducers = |stage: &StageSpec| match stage.kind {
            StageKind::ShuffleMap { reducers } => reducers,
            StageKind::Result => 0,
        };
        let mut inputs = Vec::new();
        let mut sources = Vec::new();
        for input in &stage.inputs {
            let parent = state.graph.get(input.stage).unwrap();
            inputs.push(input.ranges(partition, parent.tasks.len() as u32, reducers(parent)));
            sources.push(state.outputs.get(&input.stage).cloned().unwrap());
        }
        let task = TaskId { app: AppAttemptId::default(), stage: stage.id, partition, attempt: 0 };
        let description = TaskDescription {
            task,
            stage_payload: stage.payload.clone(),
            task_payload: stage.tasks[partition as usize].payload.clone(),
            reducers: reducers(stage),
            inputs,
        };
        MemoryIo {
            description,
            sources,
            output: Arc::default(),
            metrics: Mutex::default(),
            stop: AtomicBool::new(false),
            panics: false,
        }
    }
}

impl JobRunner for LocalRunner {
    fn submit(&self, job: JobSpec) -> Result<()> {
        self.run(job.stages, &job.targets, job.open)
    }

    fn extend(&self, _: JobId, stages: Vec<StageSpec>, targets: Vec<Target>, open: bool) -> Result<()> {
        self.run(stages, &targets, open)
    }

    fn next_event(&self, _: JobId) -> Result<JobEvent> {
        let event = self.state.lock().unwrap().events.pop_front();
        event.ok_or_else(|| Error::new(ErrorCode::Internal, "nothing will happen any more"))
    }

    fn fetch(&self, _: &ResultValue) -> Result<Payload> {
        Err(Error::new(ErrorCode::Internal, "all results are inline"))
    }

    fn release(&self, stages: Vec<StageId>, _: Vec<DatasetId>) {
        self.state.lock().unwrap().released.extend(stages);
    }

    fn cancel(&self, _: JobId, _: &str) {
        self.state.lock().unwrap().cancelled += 1;
    }

    fn cancel_group(&self, _: &str, _: &str) {}

    fn slots(&self) -> u32 {
        self.slots
    }

    fn release_result(&self, _: BlockId) {}
}

/// A task's I/O over memory.
pub struct MemoryIo {
    description: TaskDescription,
    sources: Vec<Vec<Output>>,
    output: Arc<Mutex<Option<Output>>>,
    metrics: Mutex<TaskMetrics>,
    pub stop: AtomicBool,
    pub panics: bool,
}

impl TaskIo for MemoryIo {
    fn description(&self) -> &TaskDescription {
        &self.description
    }

    fn read_input(&self, input: usize) -> Result<Box<dyn SegmentStream>> {
        assert!(!self.panics, "told to panic");
        let mut segments = VecDeque::new();
        for range in &self.description.inputs[input] {
            for reducer in range.reducers.clone() {
                for map in range.maps.clone() {
                    let output = &self.sources[input][map as usize];
                    let (start, len) = output.status.span(reducer..reducer + 1);
                    if len == 0 {
                        continue;
                    }
                    let (start, len) = (start as usize, len as usize);
                    let (header, _) = SegmentHeader::open(&output.bytes.as_ref()[start..start + len])?;
                    let bytes = Arc::new(output.bytes.clone());
                    segments.push_back(Segment::new(map, reducer, header, bytes, start + HEADER_LEN));
                }
            }
        }
        Ok(Box::new(Segments(segments)))
    }

    fn map_output(&self) -> Result<Box<dyn MapOutputWriter>> {
        Ok(Box::new(Writer {
            bytes: MutableBuffer::new(0),
            status: MapStatus::default(),
            reducers: self.description.reducers as usize,
            output: self.output.clone(),
        }))
    }

    fn cached(&self, _: BlockId) -> Result<Option<Segment>> {
        Ok(None)
    }

    fn store(&self, _: BlockId, _: StorageLevel, _: u64, _: u64, _: &[u8]) -> Result<bool> {
        Ok(false)
    }

    fn accumulate(&self, _: u32, _: Payload) {}

    fn add_metrics(&self, add: &dyn Fn(&mut TaskMetrics)) {
        add(&mut self.metrics.lock().unwrap());
    }

    fn acquire_memory(&self, bytes: u64) -> u64 {
        bytes
    }

    fn release_memory(&self, _: u64) {}

    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

struct Segments(VecDeque<Segment>);

impl SegmentStream for Segments {
    fn next(&mut self) -> Result<Option<Segment>> {
        Ok(self.0.pop_front())
    }
}

struct Writer {
    bytes: MutableBuffer,
    status: MapStatus,
    reducers: usize,
    output: Arc<Mutex<Option<Output>>>,
}

impl MapOutputWriter for Writer {
    fn append(&mut self, type_tag: u64, records: u64, payload: &[u8]) -> Result<()> {
        assert!(self.status.segments.len() < self.reducers);
        if records == 0 {
            self.status.segments.push(SegmentStat::default());
            return Ok(());
        }
        let raw = payload.len() as u64;
        let header = SegmentHeader::seal(Encoding::Plain, type_tag, raw, records, payload);
        self.bytes.extend_from_slice(&header.encode());
        self.bytes.extend_from_slice(payload);
        self.bytes.extend_zeros(padding(payload.len()));
        self.status.segments.push(SegmentStat {
            bytes: header.segment_len(),
            rows: records,
            checksum: header.checksum,
        });
        Ok(())
    }

    fn finish(mut self: Box<Self>, statistics: Payload) -> Result<MapStatus> {
        self.status.segments.resize(self.reducers, SegmentStat::default());
        self.status.statistics = statistics;
        let output = Output { bytes: Aligned(self.bytes.into()), status: self.status.clone() };
        *self.output.lock().unwrap() = Some(output);
        Ok(self.status)
    }
}
