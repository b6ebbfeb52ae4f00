//! Simulated executors: attempts that read what they were told to read where they were told to, wait for what
//! is gone, work for a while, and leave a value that depends on all of it.

use super::content::Content;
use super::trace::say;
use super::worker::Found;
use super::workload::{StagePlan, dataset_value, segment_value, segments_of, task_value};
use super::world::{ExecutorRef, Happening, World};
use firesteel_common::block::{BlockId, BlockKind, MapStatus, SegmentStat, StorageLevel, StoredBlock};
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::event::FetchCause;
use firesteel_common::id::{AppAttemptId, DatasetId, StageId, TaskId};
use firesteel_common::protocol::executor::{FromExecutor, ToExecutor};
use firesteel_common::protocol::worker::{InputTable, MapPlace, StageCode, TaskLaunch, TaskLaunches};
use firesteel_common::task::{AccumulatorUpdate, ResultValue, TaskMetrics, TaskOutcome, TaskReport};
use firesteel_common::{Payload, id::WorkerId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a child says to its worker's shell.
#[derive(Clone, Debug)]
pub(crate) enum ToWorkerShell {
    /// With it the block that comes beside the message.
    Executor {
        of: ExecutorRef,
        message: FromExecutor,
        block: Option<(BlockId, Content)>,
    },
    ExecutorEnded {
        app: AppAttemptId,
        reason: String,
    },
    DriverEnded {
        app: AppAttemptId,
        reason: String,
    },
}

/// An attempt that runs.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    launch: TaskLaunch,
    code: Arc<StageCode>,
    plan: StagePlan,
    /// Map outputs that were read.
    got: BTreeMap<(StageId, u32), Content>,
    waits: BTreeSet<(StageId, u32)>,
    cached: Option<Content>,
    /// Whether a cached partition was looked for.
    looked: bool,
    /// The request to store the cached partition, while it is not answered.
    storing: Option<u64>,
    stored: Vec<StoredBlock>,
    works: bool,
    /// Its work is done, but a request is not answered.
    due: bool,
    pub(crate) fails: bool,
    /// It does not end before.
    pub(crate) slow_until: u64,
}

impl Attempt {
    pub(crate) fn task(&self) -> TaskId {
        self.launch.task
    }
}

/// An executor process.
#[derive(Debug)]
pub(crate) struct ExecutorProcess {
    pub(crate) life: u64,
    ready: bool,
    stages: BTreeMap<StageId, Arc<StageCode>>,
    tables: BTreeMap<StageId, InputTable>,
    pub(crate) attempts: BTreeMap<TaskId, Attempt>,
    requests: u64,
    /// When the last thing that it said, or was told, arrives.
    pub(crate) last_said: u64,
    last_told: u64,
}

impl ExecutorProcess {
    pub(crate) fn new(life: u64) -> Self {
        Self {
            life,
            ready: false,
            stages: BTreeMap::new(),
            tables: BTreeMap::new(),
            attempts: BTreeMap::new(),
            requests: 0,
            last_said: 0,
            last_told: 0,
        }
    }
}

impl World {
    fn executor(&mut self, of: ExecutorRef) -> Option<&mut ExecutorProcess> {
        let process = self.process(of.host, of.worker_life)?;
        process.executors.get_mut(&of.app).filter(|executor| executor.life == of.life)
    }

    pub(crate) fn tell_executor(&mut self, to: ExecutorRef, message: ToExecutor) {
        let at = self.clock.now() + self.rng.between(20, 200);
        let Some(executor) = self.executor(to) else { return };
        executor.last_told = executor.last_told.max(at);
        let at = executor.last_told;
        self.clock.at(at, Happening::ToExecutor { to, message });
    }

    fn tell_shell(&mut self, of: ExecutorRef, message: FromExecutor, block: Option<(BlockId, Content)>) {
        let at = self.clock.now() + self.rng.between(20, 200);
        let Some(executor) = self.executor(of) else { return };
        executor.last_said = executor.last_said.max(at);
        let at = executor.last_said;
        let message = ToWorkerShell::Executor { of, message, block };
        self.clock.at(at, Happening::ToShell { host: of.host, life: of.worker_life, message });
    }

    pub(crate) fn executor_ready(&mut self, of: ExecutorRef) {
        if let Some(executor) = self.executor(of) {
            executor.ready = true;
            self.tell_shell(of, FromExecutor::Ready, None);
        }
    }

    pub(crate) fn executor_hears(&mut self, to: ExecutorRef, message: ToExecutor) {
        let Some(executor) = self.executor(to) else { return };
        if !executor.ready {
            self.fail(format!(
                "inconsistent: the executor of {} was told something before it was ready",
                to.app
            ));
            return;
        }
        match message {
            ToExecutor::Launch(launches) => self.start_attempts(to, launches),
            ToExecutor::InputsChanged { stage, places } => self.inputs_changed(to, stage, &places),
            ToExecutor::Kill(tasks) => {
                for task in tasks {
                    let killed = self.executor(to).and_then(|executor| executor.attempts.remove(&task));
                    if let Some(attempt) = killed {
                        self.report(to, &attempt, TaskOutcome::Killed);
                    }
                }
            }
            ToExecutor::Forget { stages, .. } => {
                for stage in stages {
                    executor.stages.remove(&stage);
                    executor.tables.remove(&stage);
                }
            }
            ToExecutor::Stored { request, kept } => self.stored(to, request, kept),
            ToExecutor::Start(_)
            | ToExecutor::Block { .. }
            | ToExecutor::Peer { .. }
            | ToExecutor::Memory { .. }
            | ToExecutor::Unmap(_) => {}
        }
    }

    fn start_attempts(&mut self, to: ExecutorRef, launches: TaskLaunches) {
        for mut launch in launches.tasks {
            let Some(executor) = self.executor(to) else { return };
            for code in &launches.stages {
                executor.stages.insert(code.stage, code.clone());
            }
            for table in &launches.inputs {
                executor.tables.insert(table.stage, (**table).clone());
            }
            let task = launch.task;
            let Some(code) = executor.stages.get(&task.stage).cloned() else {
                self.fail(format!(
                    "inconsistent: {task} was given to an executor that does not know its stage"
                ));
                return;
            };
            for (stage, ranges) in code.inputs.iter().zip(&mut launch.reads) {
                // An end beyond the last map partition means all of them.
                let maps = executor.tables.get(stage).map_or(0, |table| table.places.len() as u32);
                ranges.iter_mut().for_each(|range| range.maps.end = range.maps.end.min(maps));
            }
            let attempt = Attempt {
                plan: StagePlan::decode(&code.payload),
                launch,
                code,
                got: BTreeMap::new(),
                waits: BTreeSet::new(),
                cached: None,
                looked: false,
                storing: None,
                stored: Vec::new(),
                works: false,
                due: false,
                fails: false,
                slow_until: 0,
            };
            executor.requests += 1;
            let request = executor.requests;
            if executor.attempts.insert(task, attempt).is_some() {
                self.fail(format!("duplicated: {task} runs twice in one executor"));
            }
            self.tell_shell(to, FromExecutor::AcquireMemory { request, bytes: 4096, held: Some(0) }, None);
            let delay = self.rng.between(100, 2_000);
            self.clock.after(delay, Happening::TaskReads { of: to, task });
        }
    }

    fn inputs_changed(&mut self, of: ExecutorRef, stage: StageId, places: &[(u32, MapPlace)]) {
        let Some(executor) = self.executor(of) else { return };
        let table = executor.tables.entry(stage).or_insert(InputTable { stage, places: Vec::new() });
        for (map, place) in places {
            let at = *map as usize;
            if table.places.len() <= at {
                table.places.resize(at + 1, None);
            }
            if let Some(slot) = table.places.get_mut(at) {
                *slot = Some(place.clone());
            }
        }
        let mut again = Vec::new();
        for (task, attempt) in &mut executor.attempts {
            let before = attempt.waits.len();
            attempt.waits.retain(|(of, map)| *of != stage || !places.iter().any(|(at, _)| at == map));
            if attempt.waits.len() < before {
                again.push(*task);
            }
        }
        for task in again {
            let delay = self.rng.between(50, 1_000);
            self.clock.after(delay, Happening::TaskReads { of, task });
        }
    }

    /// Looks for what an attempt still has to read; when it has all, its work begins.
    pub(crate) fn task_reads(&mut self, of: ExecutorRef, task: TaskId) {
        let Some(attempt) = self.executor(of).and_then(|executor| executor.attempts.get(&task)).cloned()
        else {
            return;
        };
        if attempt.works {
            return;
        }
        let cached = if attempt.looked { attempt.cached.clone() } else { self.find_cached(of, &attempt) };
        let needed = needed(&attempt, cached.is_some());
        if let Some(attempt) = self.attempt(of, task) {
            (attempt.looked, attempt.cached) = (true, cached);
        }
        let missing: Vec<_> = needed
            .iter()
            .filter(|key| !attempt.got.contains_key(key) && !attempt.waits.contains(key))
            .copied()
            .collect();
        for (stage, map) in missing {
            self.fetch(of, task, stage, map);
        }
        let Some(attempt) = self.attempt(of, task) else { return };
        if needed.iter().all(|key| attempt.got.contains_key(key)) {
            attempt.works = true;
            let work = attempt.plan.work_us;
            self.store_cached(of, task);
            self.clock.after(work, Happening::TaskEnds { of, task });
        }
    }

    fn attempt(&mut self, of: ExecutorRef, task: TaskId) -> Option<&mut Attempt> {
        self.executor(of)?.attempts.get_mut(&task)
    }

    fn fetch(&mut self, of: ExecutorRef, task: TaskId, stage: StageId, map: u32) {
        let table = self.executor(of).and_then(|executor| executor.tables.get(&stage));
        let place = table.and_then(|table| table.places.get(map as usize).cloned().flatten());
        let Some(known) = place.clone() else {
            self.fetch_fails(of, task, (stage, map), None, FetchCause::Missing);
            return;
        };
        let kind = BlockKind::MapOutput { stage, partition: map, attempt: known.attempt };
        let found = self.look_up(of.host, &known.address, &BlockId { app: of.app, kind });
        match found {
            Found::Content(content) => {
                if let Some(attempt) = self.attempt(of, task) {
                    attempt.got.insert((stage, map), content);
                }
            }
            Found::Missing => self.fetch_fails(of, task, (stage, map), place, FetchCause::Missing),
            Found::Corrupt => self.fetch_fails(of, task, (stage, map), place, FetchCause::Corrupt),
            Found::Unreachable => {
                if let Some(attempt) = self.attempt(of, task) {
                    attempt.waits.insert((stage, map));
                }
                let delay = self.rng.between(1_000, 200_000);
                self.clock.after(delay, Happening::FetchTimesOut { of, task, stage, map, place: known });
            }
        }
    }

    pub(crate) fn fetch_times_out(
        &mut self,
        of: ExecutorRef,
        task: TaskId,
        (stage, map): (StageId, u32),
        place: MapPlace,
    ) {
        let Some(executor) = self.executor(of) else { return };
        let table = executor.tables.get(&stage);
        let now = table.and_then(|table| table.places.get(map as usize).cloned().flatten());
        let waits = executor.attempts.get(&task).is_some_and(|attempt| attempt.waits.contains(&(stage, map)));
        if waits && now.as_ref() == Some(&place) {
            self.fetch_fails(of, task, (stage, map), Some(place), FetchCause::Unreachable);
        }
    }

    fn fetch_fails(
        &mut self,
        of: ExecutorRef,
        task: TaskId,
        (stage, map): (StageId, u32),
        place: Option<MapPlace>,
        cause: FetchCause,
    ) {
        if let Some(attempt) = self.attempt(of, task) {
            attempt.waits.insert((stage, map));
            self.tell_shell(of, FromExecutor::FetchFailed { task, stage, map, place, cause }, None);
        }
    }

    fn find_cached(&mut self, of: ExecutorRef, attempt: &Attempt) -> Option<Content> {
        let (dataset, _) = attempt.plan.cached?;
        let partition = attempt.launch.task.partition;
        let block = BlockId { app: of.app, kind: BlockKind::Cached { dataset, partition } };
        let own = super::worker::address(of.host);
        let listed = attempt.launch.cached.iter().filter(|place| place.dataset == dataset);
        let listed =
            listed.filter(|place| place.partition == partition).map(|place| place.address.to_string());
        std::iter::once(own).chain(listed).find_map(|address| match self.look_up(of.host, &address, &block) {
            Found::Content(content) => Some(content),
            _ => None,
        })
    }

    /// Stores the cached partition that an attempt had to make.
    fn store_cached(&mut self, of: ExecutorRef, task: TaskId) {
        let room = !self.rng.chance(15);
        let Some(executor) = self.executor(of) else { return };
        let Some(attempt) = executor.attempts.get_mut(&task) else { return };
        let Some((dataset, seed)) = attempt.plan.cached.filter(|_| attempt.cached.is_none()) else { return };
        executor.requests += 1;
        let request = executor.requests;
        attempt.storing = Some(request);
        let (inputs, mut content) = read(attempt);
        let of_cached = (attempt.plan.cached_inputs as usize).min(inputs.len());
        content.value = dataset_value(seed, task.partition, &inputs[..of_cached]);
        let kind = BlockKind::Cached { dataset, partition: task.partition };
        let block = BlockId { app: of.app, kind };
        self.tell_shell(
            of,
            FromExecutor::Store { request, block, bytes: 64, level: level_of(dataset) },
            room.then_some((block, content)),
        );
    }

    fn stored(&mut self, of: ExecutorRef, request: u64, kept: bool) {
        let Some(executor) = self.executor(of) else { return };
        let found = executor.attempts.values_mut().find(|attempt| attempt.storing == Some(request));
        let Some(attempt) = found else { return };
        attempt.storing = None;
        let (task, due) = (attempt.launch.task, attempt.due);
        if let Some((dataset, _)) = attempt.plan.cached.filter(|_| kept) {
            let kind = BlockKind::Cached { dataset, partition: task.partition };
            attempt
                .stored
                .push(StoredBlock { block: BlockId { app: of.app, kind }, level: level_of(dataset) });
        }
        if due {
            self.task_ends(of, task);
        }
    }

    /// The work of an attempt is done: it leaves what it made, and reports.
    pub(crate) fn task_ends(&mut self, of: ExecutorRef, task: TaskId) {
        let Some(executor) = self.executor(of) else { return };
        let Some(attempt) = executor.attempts.get_mut(&task) else { return };
        if attempt.storing.is_some() {
            attempt.due = true;
            return;
        }
        let slow_until = attempt.slow_until;
        if slow_until > self.clock.now() {
            return self.clock.at(slow_until, Happening::TaskEnds { of, task });
        }
        let Some(executor) = self.executor(of) else { return };
        let Some(attempt) = executor.attempts.remove(&task) else { return };
        if attempt.fails || (attempt.plan.poison && task.partition == 0) {
            let error = Error::new(ErrorCode::JobFailed, "the task fails on purpose");
            self.report(of, &attempt, TaskOutcome::Failed(error));
            return;
        }
        let (inputs, mut content) = read(&attempt);
        let cached = attempt.cached.as_ref().map(|content| content.value);
        content.value = task_value(&attempt.plan, task.partition, &inputs, cached);
        if attempt.code.reducers > 0 {
            self.map_ends(of, &attempt, content);
        } else {
            self.result_ends(of, &attempt, content);
        }
    }

    fn map_ends(&mut self, of: ExecutorRef, attempt: &Attempt, mut content: Content) {
        let task = attempt.launch.task;
        let mut other = 0;
        if attempt.plan.unordered {
            content.truths.insert((task.stage, task.partition), task.attempt);
            other = u64::from(task.attempt) + 1;
        } else {
            // It promises the same bytes whatever the order of its input is, so nothing depends on that any
            // more.
            content.truths.clear();
        }
        let segment = |reducer| {
            let checksum = super::clock::mix(segment_value(content.value, reducer), other);
            SegmentStat { bytes: 128, rows: 1, checksum }
        };
        let segments = (0..attempt.code.reducers).map(segment).collect();
        let status = MapStatus { segments, statistics: Payload::empty() };
        let TaskId { stage, partition, attempt: number, .. } = task;
        let block = BlockId { app: of.app, kind: BlockKind::MapOutput { stage, partition, attempt: number } };
        let message = FromExecutor::MapOutput { task, status: status.clone(), frames: Vec::new() };
        self.tell_shell(of, message, Some((block, content)));
        self.report(of, attempt, TaskOutcome::MapOutput(status));
    }

    fn result_ends(&mut self, of: ExecutorRef, attempt: &Attempt, content: Content) {
        let TaskId { stage, partition, attempt: number, .. } = attempt.launch.task;
        let value = if attempt.plan.large {
            let kind = BlockKind::Result { stage, partition, attempt: number };
            let block = BlockId { app: of.app, kind };
            self.tell_shell(of, FromExecutor::ResultBlock { block, bytes: 128 }, Some((block, content)));
            ResultValue::Block { worker: WorkerId(0), block, bytes: 128 }
        } else {
            ResultValue::Inline(content.encode())
        };
        self.report(of, attempt, TaskOutcome::Result(value));
    }

    fn report(&mut self, of: ExecutorRef, attempt: &Attempt, outcome: TaskOutcome) {
        let task = attempt.launch.task;
        say!(self, "host-{}: {task} ends", of.host);
        let report = TaskReport {
            task,
            outcome,
            metrics: TaskMetrics::default(),
            accumulators: vec![AccumulatorUpdate { id: 0, value: Payload::from(vec![1]) }],
            stored: attempt.stored.clone(),
        };
        self.tell_shell(of, FromExecutor::ReleaseMemory { bytes: 4096 }, None);
        self.tell_shell(of, FromExecutor::Finished(vec![report]), None);
    }
}

/// Every other dataset has replicas.
fn level_of(dataset: DatasetId) -> StorageLevel {
    if dataset.0.is_multiple_of(2) { StorageLevel::MemoryOnly } else { StorageLevel::MemoryAndDisk2 }
}

/// The map outputs that an attempt reads.
fn needed(attempt: &Attempt, cached: bool) -> BTreeSet<(StageId, u32)> {
    let skip = if cached { attempt.plan.cached_inputs as usize } else { 0 };
    let inputs = attempt.code.inputs.iter().zip(&attempt.launch.reads).skip(skip);
    inputs.flat_map(|(stage, ranges)| segments_of(ranges).map(|(_, map)| (*stage, map))).collect()
}

/// What an attempt has read, by input and in order, and what that depends on.
fn read(attempt: &Attempt) -> (Vec<Vec<u64>>, Content) {
    let mut all = Content::default();
    if let Some(cached) = &attempt.cached {
        all.depend_on(cached);
    }
    let mut inputs = Vec::new();
    for (stage, ranges) in attempt.code.inputs.iter().zip(&attempt.launch.reads) {
        let mut values = Vec::new();
        for (reducer, map) in segments_of(ranges) {
            if let Some(content) = attempt.got.get(&(*stage, map)) {
                all.depend_on(content);
                values.push(segment_value(content.value, reducer));
            }
        }
        inputs.push(values);
    }
    (inputs, all)
}
