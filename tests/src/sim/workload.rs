//! What simulated applications do: random job graphs, what their tasks compute, and what a trivially simple
//! sequential run of them gives.
//!
//! A task's value is a hash of everything it reads, so that a wrong, missing or doubled input gives a wrong
//! answer at the end.

use super::clock::mix;
use firesteel_common::Payload;
use firesteel_common::graph::{ReadRange, StageKind, StageSpec};
use firesteel_common::id::{DatasetId, JobId, StageId};
use firesteel_common::job::{JobSpec, Target};
use firesteel_common::protocol::codec;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What the engine of the simulation knows of a stage; its payload.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct StagePlan {
    pub(crate) seed: u64,
    /// How long a task works, in microseconds.
    pub(crate) work_us: u64,
    /// The dataset whose partitions its tasks use, with what its content depends on.
    pub(crate) cached: Option<(DatasetId, u64)>,
    /// How many of its inputs, from the first, are read only to make the cached partition.
    pub(crate) cached_inputs: u32,
    /// Whether a repeated task writes its rows in another order.
    pub(crate) unordered: bool,
    /// Whether its results are too large for a message.
    pub(crate) large: bool,
    /// Whether every attempt at its first task fails.
    pub(crate) poison: bool,
}

impl StagePlan {
    pub(crate) fn encode(&self) -> Payload {
        codec::encode(self).map(Payload::from).unwrap_or_default()
    }

    pub(crate) fn decode(payload: &Payload) -> Self {
        codec::decode(payload).unwrap_or_default()
    }
}

/// What a driver does next.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Submit(JobSpec),
    Extend {
        job: JobId,
        stages: Vec<StageSpec>,
        targets: Vec<Target>,
        open: bool,
    },
    /// Waits until all outputs of a stage are there.
    AwaitStage(JobId, StageId),
    /// Waits until a job has ended.
    AwaitJob(JobId),
    Cancel(JobId),
    Release {
        stages: Vec<StageId>,
        datasets: Vec<DatasetId>,
    },
}

/// What an application does, and what it must come to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    pub(crate) actions: Vec<Action>,
    /// What a sequential run gives.
    pub(crate) digest: u64,
    /// Whether a task of it fails always.
    pub(crate) poison: bool,
    /// Whether a stage of it writes other bytes when it is run again.
    pub(crate) unordered: bool,
    /// Whether it has results that are too large for a message.
    pub(crate) large: bool,
    /// Whether its driver runs on a worker.
    pub(crate) cluster: bool,
    /// Jobs that are cancelled; their results do not count.
    pub(crate) cancelled: BTreeSet<JobId>,
    /// Every stage.
    pub(crate) stages: BTreeMap<StageId, StageSpec>,
}

/// The value of a task from what it has read: `inputs` by input, `cached` the cached partition if it was
/// there (then the inputs that make it are not looked at).
pub(crate) fn task_value(plan: &StagePlan, partition: u32, inputs: &[Vec<u64>], cached: Option<u64>) -> u64 {
    let of_cached = (plan.cached_inputs as usize).min(inputs.len());
    let mut value = mix(plan.seed, u64::from(partition));
    if let Some((_, seed)) = plan.cached {
        let made = || dataset_value(seed, partition, &inputs[..of_cached]);
        value = mix(value, cached.unwrap_or_else(made));
    }
    fold(value, &inputs[of_cached..])
}

/// The value of a cached partition from the inputs that make it.
pub(crate) fn dataset_value(seed: u64, partition: u32, inputs: &[Vec<u64>]) -> u64 {
    fold(mix(seed, u64::from(partition)), inputs)
}

fn fold(value: u64, inputs: &[Vec<u64>]) -> u64 {
    inputs
        .iter()
        .fold(value, |value, input| input.iter().fold(mix(value, 7), |value, read| mix(value, *read)))
}

/// What a map task of this value writes for one reducer.
pub(crate) fn segment_value(value: u64, reducer: u32) -> u64 {
    mix(value, u64::from(reducer) + 1)
}

/// Every (reducer, map partition) that ranges name, in the order in which segments are read.
pub(crate) fn segments_of(ranges: &[ReadRange]) -> impl Iterator<Item = (u32, u32)> + '_ {
    ranges.iter().flat_map(|range| {
        range.reducers.clone().flat_map(move |reducer| range.maps.clone().map(move |map| (reducer, map)))
    })
}

/// How many reducers a stage writes for.
pub(crate) fn reducers_of(stage: &StageSpec) -> u32 {
    match stage.kind {
        StageKind::ShuffleMap { reducers } => reducers,
        StageKind::Result => 0,
    }
}

/// The sequential run: every task once, in the order in which it is asked for.
pub(crate) struct Model<'a> {
    stages: &'a BTreeMap<StageId, StageSpec>,
    known: BTreeMap<(StageId, u32), u64>,
}

impl<'a> Model<'a> {
    pub(crate) fn new(stages: &'a BTreeMap<StageId, StageSpec>) -> Self {
        Self { stages, known: BTreeMap::new() }
    }

    pub(crate) fn value(&mut self, id: StageId, partition: u32) -> u64 {
        if let Some(value) = self.known.get(&(id, partition)) {
            return *value;
        }
        let Some(stage) = self.stages.get(&id) else { return 0 };
        let mut inputs = Vec::new();
        for input in &stage.inputs {
            let Some(parent) = self.stages.get(&input.stage) else { continue };
            let ranges = input.ranges(partition, parent.tasks.len() as u32, reducers_of(parent));
            let read = segments_of(&ranges)
                .map(|(reducer, map)| segment_value(self.value(input.stage, map), reducer))
                .collect();
            inputs.push(read);
        }
        let value = task_value(&StagePlan::decode(&stage.payload), partition, &inputs, None);
        self.known.insert((id, partition), value);
        value
    }
}

/// One result: of which job, stage and partition.
pub(crate) type ResultKey = (JobId, StageId, u32);

/// The digest of an application: all results of its jobs in order.
pub(crate) fn digest(results: &BTreeMap<ResultKey, u64>) -> u64 {
    results.iter().fold(1, |digest, ((job, stage, partition), value)| {
        let key = mix(mix(u64::from(job.0), u64::from(stage.0)), u64::from(*partition));
        mix(digest, mix(key, *value))
    })
}

/// The partitions that a target wants of a stage.
pub(crate) fn wanted(target: &Target, stage: &StageSpec) -> Vec<u32> {
    match &target.partitions {
        Some(partitions) => partitions.clone(),
        None => (0..stage.tasks.len() as u32).collect(),
    }
}
