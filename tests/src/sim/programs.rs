//! Random applications: chains, joins, shared stages, iterations that extend their job, caches, subsets,
//! releases, cancelled jobs, several jobs at once.

use super::clock::Rng;
use super::workload::{Action, Model, Program, ResultKey, StagePlan, digest, reducers_of, wanted};
use firesteel_common::graph::{
    CachedPartition, OutputOrder, ReadPattern, ReadRange, StageInput, StageKind, StageSpec, TaskCode,
    TaskSpec,
};
use firesteel_common::id::{DatasetId, JobId, PluginHash, StageId};
use firesteel_common::job::{JobSpec, Target};
use std::collections::BTreeMap;

/// The plugin of simulated applications number `n`.
pub(crate) fn plugin(n: u64) -> PluginHash {
    PluginHash([n as u8 + 1; 32])
}

/// A dataset that was cached by an earlier job: its seed, and the stage it is made from.
type Kept = (DatasetId, u64, StageId);

struct Builder<'a> {
    rng: &'a mut Rng,
    code: TaskCode,
    next_stage: u32,
    next_job: u32,
    next_dataset: u32,
    program: Program,
    /// Stages of the job that is being made.
    fresh: Vec<StageSpec>,
    /// Map stages that later jobs may read.
    shared: Vec<StageId>,
    kept: Vec<Kept>,
    running: Vec<JobId>,
}

/// A random application.
pub(crate) fn random_program(rng: &mut Rng, code: TaskCode) -> Program {
    let jobs = rng.between(1, 4);
    let (poison, unordered) = (rng.chance(4), rng.chance(12));
    let cluster = rng.chance(70);
    let program = Program { poison, unordered, cluster, ..Program::default() };
    let mut builder = Builder {
        rng,
        code,
        next_stage: 0,
        next_job: 0,
        next_dataset: 0,
        program,
        fresh: Vec::new(),
        shared: Vec::new(),
        kept: Vec::new(),
        running: Vec::new(),
    };
    for _ in 0..jobs {
        builder.job();
        if builder.rng.chance(60) {
            builder.await_all();
        }
        if builder.rng.chance(25) {
            builder.release();
        }
    }
    builder.await_all();
    let mut program = builder.program;
    // What was drawn is true only if a stage took it.
    program.large = program.stages.values().any(|stage| StagePlan::decode(&stage.payload).large);
    program.poison = program.stages.values().any(|stage| StagePlan::decode(&stage.payload).poison);
    program.unordered = program.stages.values().any(|stage| stage.order == OutputOrder::Unordered);
    program.digest = sequential(&program);
    program
}

fn sequential(program: &Program) -> u64 {
    let mut model = Model::new(&program.stages);
    let mut results: BTreeMap<ResultKey, u64> = BTreeMap::new();
    for action in &program.actions {
        let (job, targets) = match action {
            Action::Submit(spec) => (spec.id, &spec.targets),
            Action::Extend { job, targets, .. } => (*job, targets),
            _ => continue,
        };
        if program.cancelled.contains(&job) {
            continue;
        }
        for target in targets {
            let Some(stage) = program.stages.get(&target.stage) else { continue };
            if stage.kind == StageKind::Result {
                for partition in wanted(target, stage) {
                    results.insert((job, target.stage, partition), model.value(target.stage, partition));
                }
            }
        }
    }
    digest(&results)
}

impl Builder<'_> {
    fn job(&mut self) {
        match self.rng.below(7) {
            0 => self.chain(),
            1 => self.join(),
            2 => self.shared_job(),
            3 => self.iterate(),
            4 => self.cache(),
            5 => self.subset(),
            _ => self.cancelled(),
        }
    }

    fn source(&mut self) -> StageId {
        let (tasks, reducers) = (self.rng.between(1, 5), self.rng.between(1, 4));
        self.stage(tasks as u32, Some(reducers as u32), Vec::new(), None)
    }

    /// A source, or a map stage of an earlier job.
    fn origin(&mut self) -> StageId {
        let shared = self.shared.clone();
        match self.rng.pick(&shared) {
            Some(stage) if self.rng.chance(30) => stage,
            _ => self.source(),
        }
    }

    fn middle(&mut self, parent: StageId) -> StageId {
        let reducers = self.rng.between(1, 4) as u32;
        self.reader(&[parent], Some(reducers))
    }

    fn chain(&mut self) {
        let mut stage = self.origin();
        for _ in 0..self.rng.below(3) {
            stage = self.middle(stage);
        }
        let result = self.reader(&[stage], None);
        self.submit(vec![Target::all(result)], false);
    }

    fn join(&mut self) {
        let (left, right) = (self.origin(), self.origin());
        let left = if self.rng.chance(40) { self.middle(left) } else { left };
        let result = self.reader(&[left, right], None);
        self.submit(vec![Target::all(result)], false);
    }

    fn shared_job(&mut self) {
        let stage = self.origin();
        let (one, two) = (self.reader(&[stage], None), self.middle(stage));
        let three = self.reader(&[two, stage], None);
        self.submit(vec![Target::all(one), Target::all(three)], false);
    }

    fn subset(&mut self) {
        let stage = self.origin();
        let result = self.reader(&[stage], None);
        let tasks = self.program.stages.get(&result).map_or(1, |stage| stage.tasks.len() as u64);
        let mut partitions: Vec<u32> = (0..tasks as u32).filter(|_| self.rng.chance(50)).collect();
        if partitions.is_empty() {
            partitions.push(self.rng.below(tasks) as u32);
        }
        self.submit(vec![Target { stage: result, partitions: Some(partitions) }], false);
    }

    fn iterate(&mut self) {
        let mut stage = self.source();
        let job = self.submit(vec![Target::all(stage)], true);
        for _ in 0..self.rng.between(1, 3) {
            self.program.actions.push(Action::AwaitStage(job, stage));
            stage = self.middle(stage);
            self.extend(job, vec![Target::all(stage)], true);
        }
        self.program.actions.push(Action::AwaitStage(job, stage));
        let result = self.reader(&[stage], None);
        self.extend(job, vec![Target::all(result)], false);
    }

    /// A job that uses a cached dataset: a new one, or one that an earlier job has made.
    fn cache(&mut self) {
        let kept = self.kept.clone();
        let dataset = match self.rng.pick(&kept) {
            Some(kept) if self.rng.chance(70) => kept,
            _ => {
                let (source, seed) = (self.source(), self.rng.next());
                self.next_dataset += 1;
                let kept = (DatasetId(self.next_dataset), seed, source);
                self.kept.push(kept);
                kept
            }
        };
        let result = self.cached_reader(dataset);
        self.submit(vec![Target::all(result)], false);
    }

    fn cancelled(&mut self) {
        let stage = self.source();
        let result = self.reader(&[stage], None);
        let job = self.submit(vec![Target::all(result)], false);
        self.program.cancelled.insert(job);
        self.program.actions.push(Action::Cancel(job));
    }

    fn cached_reader(&mut self, (dataset, seed, source): Kept) -> StageId {
        let tasks = self.program.stages.get(&source).map_or(1, reducers_of);
        let read = ReadPattern::SameIndex;
        let input = StageInput { stage: source, read, unless_cached: Some(dataset) };
        self.stage(tasks, None, vec![input], Some((dataset, seed)))
    }

    /// A stage that reads these.
    fn reader(&mut self, parents: &[StageId], reducers: Option<u32>) -> StageId {
        let shape = |stage: &StageSpec| (stage.tasks.len() as u32, reducers_of(stage));
        let shapes: Vec<(u32, u32)> =
            parents.iter().filter_map(|parent| self.program.stages.get(parent)).map(shape).collect();
        let narrowest = shapes.iter().map(|(_, reducers)| *reducers).min().unwrap_or(1);
        let tasks = if self.rng.chance(80) { narrowest } else { self.rng.between(1, 3) as u32 };
        let mut inputs = Vec::new();
        for (parent, (maps, parent_reducers)) in parents.iter().zip(shapes) {
            let read = match self.rng.below(10) {
                0 | 1 => ReadPattern::Everything,
                2 | 3 => self.per_task(tasks, maps, parent_reducers),
                _ if tasks <= parent_reducers => ReadPattern::SameIndex,
                _ => self.per_task(tasks, maps, parent_reducers),
            };
            inputs.push(StageInput { stage: *parent, read, unless_cached: None });
        }
        self.stage(tasks, reducers, inputs, None)
    }

    /// Ranges at random: some tasks read nothing, some several rectangles.
    fn per_task(&mut self, tasks: u32, maps: u32, reducers: u32) -> ReadPattern {
        let mut reads = Vec::new();
        for _ in 0..tasks {
            let mut ranges = Vec::new();
            for _ in 0..self.rng.below(3) {
                let reducer = self.rng.below(u64::from(reducers)) as u32;
                let map = self.rng.below(u64::from(maps)) as u32;
                let map_end = if self.rng.chance(50) { u32::MAX } else { map + 1 };
                let reducer_end = self.rng.between(u64::from(reducer) + 1, u64::from(reducers)) as u32;
                ranges.push(ReadRange { reducers: reducer..reducer_end, maps: map..map_end });
            }
            reads.push(ranges);
        }
        ReadPattern::PerTask(reads)
    }

    fn stage(
        &mut self,
        tasks: u32,
        reducers: Option<u32>,
        inputs: Vec<StageInput>,
        cached: Option<(DatasetId, u64)>,
    ) -> StageId {
        self.next_stage += 1;
        let id = StageId(self.next_stage);
        let is_map = reducers.is_some();
        let unordered = self.program.unordered && is_map && self.rng.chance(40);
        let plan = StagePlan {
            seed: self.rng.next(),
            work_us: self.rng.between(2_000, 150_000),
            cached,
            cached_inputs: u32::from(cached.is_some()),
            unordered,
            large: !is_map && self.rng.chance(10),
            poison: self.program.poison && self.rng.chance(30),
        };
        let kind = reducers.map_or(StageKind::Result, |reducers| StageKind::ShuffleMap { reducers });
        let tasks = (0..tasks)
            .map(|partition| TaskSpec {
                cached: cached
                    .iter()
                    .map(|(dataset, _)| CachedPartition { dataset: *dataset, partition })
                    .collect(),
                ..TaskSpec::default()
            })
            .collect();
        let order = if unordered { OutputOrder::Unordered } else { OutputOrder::Ordered };
        let (name, code, payload) = (format!("stage {}", id.0), self.code, plan.encode());
        let spec = StageSpec { id, name, kind, code, payload, tasks, inputs, order };
        self.program.stages.insert(id, spec.clone());
        self.fresh.push(spec);
        if is_map && self.rng.chance(60) {
            self.shared.push(id);
        }
        id
    }

    fn submit(&mut self, targets: Vec<Target>, open: bool) -> JobId {
        let id = JobId(self.next_job);
        self.next_job += 1;
        let stages = std::mem::take(&mut self.fresh);
        let (name, group) = (format!("job {}", id.0), String::new());
        self.program.actions.push(Action::Submit(JobSpec { id, name, stages, targets, open, group }));
        self.running.push(id);
        id
    }

    fn extend(&mut self, job: JobId, targets: Vec<Target>, open: bool) {
        let stages = std::mem::take(&mut self.fresh);
        self.program.actions.push(Action::Extend { job, stages, targets, open });
    }

    fn await_all(&mut self) {
        for job in std::mem::take(&mut self.running) {
            self.program.actions.push(Action::AwaitJob(job));
        }
    }

    /// Gives up everything that later jobs could use; jobs that run go on needing it.
    fn release(&mut self) {
        let mut stages = std::mem::take(&mut self.shared);
        let kept = std::mem::take(&mut self.kept);
        stages.extend(kept.iter().map(|(.., source)| *source));
        stages.sort_unstable();
        stages.dedup();
        let datasets = kept.iter().map(|(dataset, ..)| *dataset).collect();
        self.program.actions.push(Action::Release { stages, datasets });
    }
}
