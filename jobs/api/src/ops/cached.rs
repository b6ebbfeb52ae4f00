//! Cached datasets: their partitions are kept as the bytes that their records encode to.

use crate::operator::{ENOUGH, Flow, MORE, Operator, sealed};
use crate::ops::erased::Erased;
use crate::ops::narrow::passes_on;
use crate::plan::{Dataset, Needs, Parents, Partitioner};
use crate::record::{Reader, Record};
use crate::task::Task;
use firesteel_common::block::StorageLevel;
use firesteel_common::graph::CachedPartition;
use firesteel_common::id::DatasetId;
use firesteel_common::{Error, ErrorCode, Payload, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;
use std::sync::Arc;

sealed! { Cached<'s, T>, Encode<Op> }

/// A partition as it is stored.
#[derive(Default)]
struct Encoded {
    records: u64,
    bytes: Vec<u8>,
}

/// Each partition as one record: what its records encode to. They are encoded where they are made, and not
/// handed over one by one.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound(serialize = "Op: Serialize", deserialize = "Op: DeserializeOwned"))]
struct Encode<Op> {
    op: Op,
}

impl<'s, Op: Operator<'s, Item: Record<'s>>> Operator<'s> for Encode<Op> {
    type Item = Encoded;
    passes_on!();

    fn partitioner(&self) -> Option<Partitioner> {
        self.op.partitioner()
    }

    fn label(&self) -> String {
        self.op.label()
    }

    fn run<S>(&self, task: &Task<'s>, split: &Op::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(Encoded) -> Flow,
    {
        let Encoded { mut records, mut bytes } = Encoded::default();
        let _ = self.op.run(task, split, &mut |record| {
            records += 1;
            record.encode(&mut bytes);
            MORE
        })?;
        Ok(sink(Encoded { records, bytes }))
    }
}

/// A dataset whose partitions are kept where they were made. See [`crate::Rdd::cache`].
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Cached<'s, T> {
    dataset: DatasetId,
    level: StorageLevel,
    /// Gives each partition as it is stored.
    upstream: Erased<'s, Encoded>,
    record: PhantomData<fn() -> T>,
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
    pub fn new<Op>(dataset: Arc<Dataset>, level: StorageLevel, op: Op) -> Self
    where
        Op: Operator<'s, Item = T>,
    {
        let (id, upstream) = (dataset.id, Erased::new(Encode { op }));
        Self { dataset: id, level, upstream, record: PhantomData, needed: false, handle: Some(dataset) }
    }

    /// Keeps the partitions of a chain, each of them.
    pub fn needed<Op>(dataset: Arc<Dataset>, level: StorageLevel, op: Op) -> Self
    where
        Op: Operator<'s, Item = T>,
    {
        Self { needed: true, ..Self::new(dataset, level, op) }
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
        let mut encoded = Encoded::default();
        let _ = self.upstream.run(task, &split.upstream, &mut |whole| {
            encoded = whole;
            MORE
        })?;
        let Encoded { records, bytes } = encoded;
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
