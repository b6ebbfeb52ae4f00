//! The waist: what any front end asks of the runtime, whatever it is.
//!
//! A [`JobGraph`] is a list of stages that only grows. RDD plugins, SQL text and every later front end lower
//! to it; below it nothing knows where it came from. What a task does is in opaque payloads. What the runtime
//! must know in order to place, feed, repeat and clean up is in the open: partitions, inputs, cached
//! partitions, preferred places.

#[cfg(test)]
pub(crate) mod tests;

use crate::bytes::Payload;
use crate::error::{Error, ErrorCode};
use crate::id::{DatasetId, PluginHash, StageId, WorkerId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// The most tasks of a stage.
pub const TASKS_MAX: u64 = 1 << 20;
/// The most shuffles that a stage reads.
pub const INPUTS_MAX: usize = 1 << 14;

/// The stages of an application attempt, by id. Append-only: a submitted stage never changes.
#[derive(Clone, Debug, Default)]
pub struct JobGraph {
    stages: BTreeMap<StageId, StageSpec>,
    /// Of all stages together.
    size: Size,
}

/// How much of the master's memory a graph takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    stages: u64,
    tasks: u64,
    /// Segments that the tasks write: the index of each stays with the master until its stage is released.
    segments: u64,
    /// Ranges of segments that are named one by one.
    reads: u64,
    /// Payloads and names.
    bytes: u64,
}

impl Size {
    /// The most of each for the graph of one application.
    const MAX: Size =
        Size { stages: 1 << 17, tasks: 1 << 22, segments: 1 << 24, reads: 1 << 22, bytes: 256 << 20 };

    fn of(stage: &StageSpec) -> Self {
        let tasks = stage.tasks.len() as u64;
        let reducers = match stage.kind {
            StageKind::ShuffleMap { reducers } => u64::from(reducers),
            StageKind::Result => 0,
        };
        let reads = stage.inputs.iter().map(|input| match &input.read {
            ReadPattern::PerTask(reads) => reads.iter().map(|reads| reads.len() as u64).sum(),
            ReadPattern::SameIndex | ReadPattern::Everything => 1,
        });
        let bytes = stage.tasks.iter().map(|task| {
            let preferred = task.preferred.iter().map(|place| match place {
                Place::Worker(_) => size_of::<Place>(),
                Place::Host(name) => size_of::<Place>() + name.len(),
            });
            let cached = task.cached.len() * size_of::<CachedPartition>();
            (task.payload.len() + preferred.sum::<usize>() + cached) as u64
        });
        Self {
            stages: 1,
            tasks,
            segments: tasks.saturating_mul(reducers),
            reads: reads.sum(),
            bytes: bytes.sum::<u64>() + (stage.payload.len() + stage.name.len()) as u64,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            stages: self.stages + other.stages,
            tasks: self.tasks + other.tasks,
            segments: self.segments.saturating_add(other.segments),
            reads: self.reads + other.reads,
            bytes: self.bytes + other.bytes,
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            stages: self.stages.saturating_sub(other.stages),
            tasks: self.tasks.saturating_sub(other.tasks),
            segments: self.segments.saturating_sub(other.segments),
            reads: self.reads.saturating_sub(other.reads),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    /// What is too much, and how much it may be.
    fn excess(self) -> Option<(&'static str, u64, u64)> {
        let max = Self::MAX;
        [
            ("stages", self.stages, max.stages),
            ("tasks", self.tasks, max.tasks),
            ("segments between its tasks (map partitions times reducers)", self.segments, max.segments),
            ("ranges of segments", self.reads, max.reads),
            ("bytes of payloads", self.bytes, max.bytes),
        ]
        .into_iter()
        .find(|(_, found, max)| found > max)
    }
}

impl JobGraph {
    /// Adds stages. A stage that is there already with the same content is accepted (a driver resends its
    /// graph after the master has restarted).
    ///
    /// # Errors
    /// `GRAPH_INVALID` if a stage contradicts the one of its id, has no task, reads a stage that is not a
    /// shuffle map stage submitted before it, or a read pattern that does not fit; `TOO_LARGE` if the graph
    /// would take more of the master's memory than one application may. Nothing is added then.
    pub fn extend(&mut self, stages: Vec<StageSpec>) -> Result<(), Error> {
        let mut added = BTreeMap::new();
        let mut size = self.size;
        for stage in stages {
            if let Some(known) = self.stages.get(&stage.id).or_else(|| added.get(&stage.id)) {
                if *known != stage {
                    return Err(invalid(stage.id, "differs from the stage submitted under this id"));
                }
                continue;
            }
            check(&stage, |id| added.get(&id).or_else(|| self.stages.get(&id)))?;
            size = size.plus(Size::of(&stage));
            if let Some((what, found, max)) = size.excess() {
                let message = format!("with {} the graph has {found} {what}; {max} are allowed", stage.id);
                let help = "use fewer partitions, and destroy broadcast values that are not needed any more";
                return Err(Error::new(ErrorCode::TooLarge, message).with_help(help));
            }
            added.insert(stage.id, stage);
        }
        self.stages.append(&mut added);
        self.size = size;
        Ok(())
    }

    /// The stage of this id.
    pub fn get(&self, id: StageId) -> Option<&StageSpec> {
        self.stages.get(&id)
    }

    /// Forgets a stage (its handle was released, and nothing that runs reads it).
    pub fn remove(&mut self, id: StageId) -> Option<StageSpec> {
        let removed = self.stages.remove(&id);
        if let Some(stage) = &removed {
            self.size = self.size.minus(Size::of(stage));
        }
        removed
    }

    /// All stages in the order of their ids.
    pub fn stages(&self) -> impl Iterator<Item = &StageSpec> {
        self.stages.values()
    }
}

fn invalid(stage: StageId, what: &str) -> Error {
    Error::new(ErrorCode::GraphInvalid, format!("{stage} {what}"))
}

fn check<'a>(stage: &StageSpec, find: impl Fn(StageId) -> Option<&'a StageSpec>) -> Result<(), Error> {
    if stage.tasks.is_empty() || stage.tasks.len() as u64 > TASKS_MAX {
        return Err(invalid(stage.id, &format!("needs between 1 and {TASKS_MAX} tasks")));
    }
    if stage.inputs.len() > INPUTS_MAX {
        return Err(invalid(stage.id, &format!("reads more than {INPUTS_MAX} shuffles")));
    }
    if matches!(stage.kind, StageKind::ShuffleMap { reducers: 0 }) {
        return Err(invalid(stage.id, "writes for no reducer"));
    }
    for input in &stage.inputs {
        let parent = find(input.stage).ok_or_else(|| invalid(stage.id, "reads a stage that is not known"))?;
        let StageKind::ShuffleMap { reducers } = parent.kind else {
            return Err(invalid(stage.id, "reads a stage that has no map outputs"));
        };
        let fits = match &input.read {
            ReadPattern::SameIndex => reducers as usize >= stage.tasks.len(),
            ReadPattern::Everything => true,
            ReadPattern::PerTask(reads) => {
                reads.len() == stage.tasks.len()
                    && reads.iter().flatten().all(|read| read.reducers.end <= reducers)
            }
        };
        if !fits {
            return Err(invalid(stage.id, "has a read pattern that does not fit its input"));
        }
    }
    Ok(())
}

/// Tasks between two shuffle boundaries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageSpec {
    /// Given by the driver.
    pub id: StageId,
    /// What pages and logs call it; not unique.
    pub name: String,
    /// What its tasks leave behind.
    pub kind: StageKind,
    /// Which engine runs its tasks.
    pub code: TaskCode,
    /// What the engine needs to know, the same for all tasks; sent once to each executor.
    pub payload: Payload,
    /// One for each partition.
    pub tasks: Vec<TaskSpec>,
    /// The shuffles it reads.
    pub inputs: Vec<StageInput>,
    /// Whether a repeated task writes the same bytes. An ordered stage whose recomputed output differs is a
    /// broken promise of the job; an unordered one's consumers simply start anew.
    pub order: OutputOrder,
}

/// What the tasks of a stage leave behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StageKind {
    /// Each task writes one map output with a segment for each reducer.
    ShuffleMap {
        /// How many reducers read it.
        reducers: u32,
    },
    /// Each task gives a value to the driver.
    Result,
}

/// Which engine an executor hands a task to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskCode {
    /// The compiled plugin of this hash.
    Plugin(PluginHash),
    /// The SQL engine built into the binary.
    Sql,
}

/// The promise of a stage about a second run of one of its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputOrder {
    /// The same bytes.
    Ordered,
    /// The same rows, in any order.
    Unordered,
}

/// What is particular to one task of a stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Read by the engine (a split, a slice of a plan).
    pub payload: Payload,
    /// Where it had better run, best first; empty for anywhere.
    pub preferred: Vec<Place>,
    /// Cached partitions that it reads where they are, and makes where they are not.
    pub cached: Vec<CachedPartition>,
}

/// A partition of a cached dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CachedPartition {
    /// The dataset.
    pub dataset: DatasetId,
    /// Its partition.
    pub partition: u32,
}

/// A place that a task prefers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Place {
    /// This worker, because it holds something.
    Worker(WorkerId),
    /// Any worker of this host name.
    Host(String),
}

/// A shuffle that a stage reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageInput {
    /// The shuffle map stage that writes it.
    pub stage: StageId,
    /// Which segments each task reads.
    pub read: ReadPattern,
    /// If set, a task reads this input only when its partition of that dataset (see [`TaskSpec::cached`]) is
    /// not cached: where it is, the input needs not even be computed.
    pub unless_cached: Option<DatasetId>,
}

/// Which segments of a shuffle the tasks of a reading stage are given. Segments always come in the order of
/// the ranges, then of the reducers, then of the map partitions, however they arrive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ReadPattern {
    /// Task `p` reads what every map task wrote for reducer `p`.
    SameIndex,
    /// Each task reads all of it (a broadcast side, a final merge).
    Everything,
    /// Task `p` reads these ranges; an empty list reads nothing (unions, coalesced or split partitions).
    PerTask(Vec<Vec<ReadRange>>),
}

/// A rectangle of segments: these reducers of these map tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadRange {
    /// Reducers, by index.
    pub reducers: Range<u32>,
    /// Map partitions, by index; an end beyond the last one means all.
    pub maps: Range<u32>,
}

impl StageInput {
    /// The segments that task `partition` reads, of an input with `maps` map tasks and `reducers` reducers.
    pub fn ranges(&self, partition: u32, maps: u32, reducers: u32) -> Vec<ReadRange> {
        match &self.read {
            ReadPattern::SameIndex => vec![ReadRange { reducers: partition..partition + 1, maps: 0..maps }],
            ReadPattern::Everything => vec![ReadRange { reducers: 0..reducers, maps: 0..maps }],
            ReadPattern::PerTask(reads) => reads
                .get(partition as usize)
                .into_iter()
                .flatten()
                .map(|read| ReadRange {
                    reducers: read.reducers.clone(),
                    maps: read.maps.start.min(maps)..read.maps.end.min(maps),
                })
                .collect(),
        }
    }
}
