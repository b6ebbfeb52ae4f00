//! Chains whose type is forgotten, as one boxes an iterator: for loops that rebuild their dataset, for the
//! sides of a join, and for what is cached. Records are handed over in batches.

use crate::checkpoint::Checkpoint;
use crate::code::{BatchFn, Code};
use crate::operator::{ENOUGH, Flow, MORE, Operator, sealed};
use crate::ops::shuffled::only_in_drivers;
use crate::plan::{Dataset, Needs, Parents, Partitioner};
use crate::record::{Reader, Record};
use crate::task::Task;
use firesteel_common::block::StorageLevel;
use firesteel_common::graph::CachedPartition;
use firesteel_common::id::DatasetId;
use firesteel_common::protocol::codec;
use firesteel_common::{Error, ErrorCode, Payload, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::Arc;

sealed! { Erased<'s, T>, Cached<'s, T> }

/// How many records are handed over at once.
const BATCH: usize = 1024;

/// A chain of which only the type of its records is known.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Erased<'s, T> {
    code: Code<BatchFn<'s, T>>,
    chain: Chain<'s>,
}

/// The chain itself in the driver, and as bytes in a task.
#[derive(Clone)]
enum Chain<'s> {
    Known(Arc<dyn Plan<'s> + 's>),
    Encoded(Payload),
}

impl Serialize for Chain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Chain::Known(plan) => plan.encode().map_err(serde::ser::Error::custom)?.serialize(serializer),
            Chain::Encoded(bytes) => bytes.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Chain<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Payload::deserialize(deserializer).map(Chain::Encoded)
    }
}

impl<T> Clone for Erased<'_, T> {
    fn clone(&self) -> Self {
        Self { code: self.code, chain: self.chain.clone() }
    }
}

/// What the driver asks of a chain whose type is forgotten.
trait Plan<'s>: Send + Sync {
    fn encode(&self) -> Result<Payload>;
    fn splits(&self) -> Result<Vec<Payload>>;
    fn describe(&self, split: &[u8], needs: &mut Needs) -> Result<()>;
    fn parents(&self, parents: &mut Parents<'s>);
    fn partitioner(&self) -> Option<Partitioner>;
    fn checkpoint(&self) -> Option<Checkpoint>;
    fn label(&self) -> String;
    fn storage_level(&self) -> Option<StorageLevel>;
}

struct Known<Op>(Op);

impl<'s, Op: Operator<'s>> Plan<'s> for Known<Op> {
    fn encode(&self) -> Result<Payload> {
        Ok(codec::encode(&self.0)?.into())
    }
    fn splits(&self) -> Result<Vec<Payload>> {
        self.0.splits()?.iter().map(|split| Ok(codec::encode(split)?.into())).collect()
    }
    fn describe(&self, split: &[u8], needs: &mut Needs) -> Result<()> {
        self.0.describe(&codec::decode(split)?, needs)
    }
    fn parents(&self, parents: &mut Parents<'s>) {
        self.0.parents(parents);
    }
    fn partitioner(&self) -> Option<Partitioner> {
        self.0.partitioner()
    }
    fn checkpoint(&self) -> Option<Checkpoint> {
        self.0.checkpoint()
    }
    fn label(&self) -> String {
        self.0.label()
    }
    fn storage_level(&self) -> Option<StorageLevel> {
        self.0.storage_level()
    }
}

impl<'s, T: 's> Erased<'s, T> {
    /// Forgets the type of a chain.
    pub fn new<Op: Operator<'s, Item = T>>(op: Op) -> Self {
        Self { code: Code::of(run_batches::<Op> as BatchFn<'s, T>), chain: Chain::Known(Arc::new(Known(op))) }
    }

    fn plan(&self) -> Result<&Arc<dyn Plan<'s> + 's>> {
        match &self.chain {
            Chain::Known(plan) => Ok(plan),
            Chain::Encoded(_) => Err(only_in_drivers()),
        }
    }
}

/// The code of an erased chain.
fn run_batches<'s, Op: Operator<'s>>(
    task: &Task<'s>,
    program: &[u8],
    split: &[u8],
    sink: &mut dyn FnMut(&mut Vec<Op::Item>) -> Flow,
) -> Result<Flow> {
    let op: Op = codec::decode(program)?;
    let split: Op::Split = codec::decode(split)?;
    let mut batch = Vec::with_capacity(BATCH);
    let flow = op.run(task, &split, &mut |record| {
        batch.push(record);
        if batch.len() == BATCH { sink(&mut batch) } else { MORE }
    })?;
    if flow.is_break() || batch.is_empty() {
        return Ok(flow);
    }
    Ok(sink(&mut batch))
}

impl<'s, T: 's> Operator<'s> for Erased<'s, T> {
    type Item = T;
    type Split = Payload;

    fn splits(&self) -> Result<Vec<Payload>> {
        self.plan()?.splits()
    }

    fn describe(&self, split: &Payload, needs: &mut Needs) -> Result<()> {
        self.plan()?.describe(split, needs)
    }

    fn parents(&self, parents: &mut Parents<'s>) {
        if let Ok(plan) = self.plan() {
            plan.parents(parents);
        }
    }

    fn partitioner(&self) -> Option<Partitioner> {
        self.plan().ok()?.partitioner()
    }

    fn checkpoint(&self) -> Option<Checkpoint> {
        self.plan().ok()?.checkpoint()
    }

    fn label(&self) -> String {
        self.plan().map_or_else(|_| crate::described::operators::<Self>(), |plan| plan.label())
    }

    fn storage_level(&self) -> Option<StorageLevel> {
        self.plan().ok()?.storage_level()
    }

    fn run<S: FnMut(T) -> Flow>(&self, task: &Task<'s>, split: &Payload, sink: &mut S) -> Result<Flow> {
        let Chain::Encoded(program) = &self.chain else {
            return Err(Error::new(ErrorCode::Internal, "a driver was asked to run a task"));
        };
        let mut batches = |batch: &mut Vec<T>| batch.drain(..).try_for_each(&mut *sink);
        (self.code.get())(task, program, split, &mut batches)
    }
}

/// A dataset whose partitions are kept where they were made. See [`crate::Rdd::cache`].
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Cached<'s, T> {
    dataset: DatasetId,
    level: StorageLevel,
    upstream: Erased<'s, T>,
    /// Whether a task whose partition finds no room has failed.
    needed: bool,
    #[serde(skip)]
    handle: Option<Arc<Dataset>>,
}

impl<T> Clone for Cached<'_, T> {
    fn clone(&self) -> Self {
        Self { upstream: self.upstream.clone(), handle: self.handle.clone(), ..*self }
    }
}

impl<'s, T: Record<'s>> Cached<'s, T> {
    /// Keeps the partitions of a chain.
    pub fn new(dataset: Arc<Dataset>, level: StorageLevel, upstream: Erased<'s, T>) -> Self {
        Self { dataset: dataset.id, level, upstream, needed: false, handle: Some(dataset) }
    }

    /// Keeps the partitions of a chain, each of them.
    pub fn needed(dataset: Arc<Dataset>, level: StorageLevel, upstream: Erased<'s, T>) -> Self {
        Self { needed: true, ..Self::new(dataset, level, upstream) }
    }

    /// A partition as it lies in memory: how many records, and their bytes. It is made if it is not there.
    ///
    /// # Errors
    /// What reading or making it fails with.
    pub fn held(&self, task: &Task<'s>, split: &CachedSplit) -> Result<(u64, &'s [u8])> {
        if let Some(held) = task.cached::<T>(self.dataset, split.partition)? {
            return Ok((held.records, held.payload));
        }
        let (records, bytes) = self.make(task, split)?;
        Ok((records, task.hold(Arc::new(bytes))))
    }

    /// Makes a partition, and stores it if there is room.
    fn make(&self, task: &Task<'s>, split: &CachedSplit) -> Result<(u64, Vec<u8>)> {
        let mut records = 0;
        let mut bytes = Vec::new();
        let _ = self.upstream.run(task, &split.upstream, &mut |record: T| {
            records += 1;
            record.encode(&mut bytes);
            MORE
        })?;
        let kept = task.store::<T>(self.dataset, split.partition, self.level, records, &bytes)?;
        if self.needed && !kept {
            let message = format!("a worker has no room for the {} bytes of a partition", bytes.len());
            return Err(Error::new(ErrorCode::OutOfMemory, message)
                .with_help("give workers more memory or disk, or write the dataset to files"));
        }
        Ok((records, bytes))
    }
}

/// A cached partition, and how to make it.
#[derive(Serialize, Deserialize)]
pub struct CachedSplit {
    partition: u32,
    upstream: Payload,
}

impl<'s, T: Record<'s>> Operator<'s> for Cached<'s, T> {
    type Item = T;
    type Split = CachedSplit;

    fn splits(&self) -> Result<Vec<CachedSplit>> {
        let splits = self.upstream.splits()?;
        Ok((0..).zip(splits).map(|(partition, upstream)| CachedSplit { partition, upstream }).collect())
    }

    fn describe(&self, split: &CachedSplit, needs: &mut Needs) -> Result<()> {
        let partition = CachedPartition { dataset: self.dataset, partition: split.partition };
        needs.cached(partition, |needs| self.upstream.describe(&split.upstream, needs))
    }

    fn parents(&self, parents: &mut Parents<'s>) {
        self.upstream.parents(parents);
    }

    fn partitioner(&self) -> Option<Partitioner> {
        self.upstream.partitioner()
    }

    fn label(&self) -> String {
        format!("Cached <- {}", self.upstream.label())
    }

    fn storage_level(&self) -> Option<StorageLevel> {
        Some(self.level)
    }

    fn run<S: FnMut(T) -> Flow>(&self, task: &Task<'s>, split: &CachedSplit, sink: &mut S) -> Result<Flow> {
        let (records, bytes) = self.held(task, split)?;
        let mut reader = Reader::new(bytes);
        for _ in 0..records {
            if sink(T::decode(&mut reader)?).is_break() {
                return Ok(ENOUGH);
            }
        }
        Ok(MORE)
    }
}
