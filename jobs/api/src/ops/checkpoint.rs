//! Sources that read checkpoints: from files, and from blocks that workers keep.

use crate::checkpoint::Checkpoint;
use crate::operator::{ENOUGH, Flow, MORE, Operator, sealed};
use crate::ops::binary::ObjectFiles;
use crate::plan::{Dataset, Needs, Parents, Partitioner};
use crate::record::{Reader, Record};
use crate::task::Task;
use firesteel_common::graph::CachedPartition;
use firesteel_common::id::DatasetId;
use firesteel_common::{Error, ErrorCode, Result};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;
use std::sync::Arc;

sealed! { Checkpointed<T>, LocallyCheckpointed<T> }

/// A checkpoint in files. See [`crate::Rdd::checkpoint`].
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Checkpointed<T> {
    /// The files.
    pub files: ObjectFiles<T>,
    /// Driver only: their directory.
    #[serde(skip)]
    pub dir: String,
    /// Driver only: how the records lay when they were written.
    #[serde(skip)]
    pub partitioner: Option<Partitioner>,
}

impl<T> Clone for Checkpointed<T> {
    fn clone(&self) -> Self {
        Self { files: self.files.clone(), dir: self.dir.clone(), partitioner: self.partitioner.clone() }
    }
}

impl<'s, T: Record<'s>> Operator<'s> for Checkpointed<T> {
    type Item = T;
    type Split = String;

    fn splits(&self) -> Result<Vec<String>> {
        self.files.splits()
    }

    fn describe(&self, _split: &String, _needs: &mut Needs) -> Result<()> {
        Ok(())
    }

    fn parents(&self, _parents: &mut Parents<'s>) {}

    fn partitioner(&self) -> Option<Partitioner> {
        self.partitioner.clone()
    }

    fn checkpoint(&self) -> Option<Checkpoint> {
        Some(Checkpoint::Files(self.dir.clone()))
    }

    fn run<S: FnMut(T) -> Flow>(&self, task: &Task<'s>, split: &String, sink: &mut S) -> Result<Flow> {
        self.files.run(task, split, sink)
    }
}

/// A checkpoint in blocks. See [`crate::Rdd::local_checkpoint`].
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct LocallyCheckpointed<T> {
    dataset: DatasetId,
    /// Driver only: what keeps the blocks.
    #[serde(skip)]
    handle: Option<Arc<Dataset>>,
    /// Driver only: how many there are.
    #[serde(skip)]
    partitions: u32,
    /// Driver only: how the records lay when they were stored.
    #[serde(skip)]
    partitioner: Option<Partitioner>,
    record: PhantomData<fn() -> T>,
}

impl<T> LocallyCheckpointed<T> {
    /// The partitions of a dataset that are all stored.
    pub fn new(dataset: Arc<Dataset>, partitions: u32, partitioner: Option<Partitioner>) -> Self {
        Self { dataset: dataset.id, handle: Some(dataset), partitions, partitioner, record: PhantomData }
    }
}

impl<T> Clone for LocallyCheckpointed<T> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), partitioner: self.partitioner.clone(), ..*self }
    }
}

impl<'s, T: Record<'s>> Operator<'s> for LocallyCheckpointed<T> {
    type Item = T;
    type Split = u32;

    fn splits(&self) -> Result<Vec<u32>> {
        Ok((0..self.partitions).collect())
    }

    fn describe(&self, split: &u32, needs: &mut Needs) -> Result<()> {
        needs.cached(CachedPartition { dataset: self.dataset, partition: *split }, |_| Ok(()))
    }

    fn parents(&self, _parents: &mut Parents<'s>) {}

    fn partitioner(&self) -> Option<Partitioner> {
        self.partitioner.clone()
    }

    fn checkpoint(&self) -> Option<Checkpoint> {
        Some(Checkpoint::Blocks)
    }

    fn run<S: FnMut(T) -> Flow>(&self, task: &Task<'s>, split: &u32, sink: &mut S) -> Result<Flow> {
        let lost = || {
            let message =
                format!("partition {split} of a local checkpoint is lost, with the worker that had it");
            Error::new(ErrorCode::BlockMissing, message)
                .with_help("checkpoint() writes to files, which outlive workers; cache() keeps the lineage")
        };
        let held = task.cached::<T>(self.dataset, *split)?.ok_or_else(lost)?;
        let mut reader = Reader::new(held.payload);
        for _ in 0..held.records {
            if sink(T::decode(&mut reader)?).is_break() {
                return Ok(ENOUGH);
            }
        }
        Ok(MORE)
    }
}
