//! Checkpoints: a dataset written down once, so that it is read from there and what it was made of can go.

use crate::context::Context;
use crate::operator::Operator;
use crate::ops::binary::ObjectFiles;
use crate::ops::cached::Cached;
use crate::ops::checkpoint::{Checkpointed, LocallyCheckpointed};
use crate::output::action::Count;
use crate::output::save::{Codec, SaveObjects, part_name};
use crate::plan::Dataset;
use crate::rdd::Rdd;
use crate::record::Record;
use firesteel_common::block::StorageLevel;
use firesteel_common::{Error, ErrorCode, Result};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Where a checkpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// In the files of this directory.
    Files(String),
    /// In blocks of the workers.
    Blocks,
}

/// Where the checkpoints of an application go.
#[derive(Default)]
pub(crate) struct Checkpoints {
    dir: Mutex<Option<String>>,
    next: AtomicU32,
}

impl Checkpoints {
    fn set(&self, dir: &str) {
        // Applications may share a directory, also those of several clusters, so what is below it has a name
        // that nobody else has.
        let unique = RandomState::new().build_hasher().finish();
        let below = format!("{}/checkpoints-{unique:016x}", dir.trim_end_matches('/'));
        *self.dir.lock().unwrap_or_else(PoisonError::into_inner) = Some(below);
    }

    /// A directory for one more checkpoint.
    fn next(&self) -> Result<String> {
        let dir = self.dir.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        dir.map(|dir| format!("{dir}-{number}")).ok_or_else(|| {
            Error::new(ErrorCode::BadArgument, "there is no directory for checkpoints")
                .with_help("call Context::set_checkpoint_dir first, with a directory that workers may write")
        })
    }
}

impl<'s> Context<'s> {
    /// Checkpoints from now on go into new directories below this one, which every worker must be able to
    /// read and to write. They stay when the application ends.
    pub fn set_checkpoint_dir(&self, dir: &str) {
        self.driver().checkpoints().set(dir);
    }

    /// The dataset of a checkpoint, perhaps of another application: its partitions as they were. The type of
    /// the records must be the one that was written.
    ///
    /// # Errors
    /// `INPUT_NOT_READABLE` if there is no whole checkpoint. One that is damaged, or holds records of another
    /// type, fails the job so.
    pub fn checkpoint_file<T: Record<'s>>(&self, dir: &str) -> Result<Rdd<'s, Checkpointed<T>>> {
        let host = self.driver().host();
        let broken =
            |what: String| Error::new(ErrorCode::InputNotReadable, format!("{dir} is no checkpoint: {what}"));
        host.open_file(&format!("{dir}/_SUCCESS")).map_err(|cause| broken(cause.message))?;
        let mut paths: Vec<String> = host.list_files(dir)?.into_iter().map(|file| file.path).collect();
        // Beyond 99,999 the numbers have more digits.
        paths.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        for (number, path) in (0..).zip(&paths) {
            let name = part_name(number);
            if path.rsplit('/').next() != Some(&name) {
                return Err(broken(format!("{name} is missing")));
            }
        }
        let files = ObjectFiles { splits: Arc::new(paths), record: PhantomData };
        Ok(Rdd::new(&self.shared_driver(), Checkpointed { files, dir: dir.to_owned(), partitioner: None }))
    }
}

impl<'s, T: Record<'s>, Op: Operator<'s, Item = T>> Rdd<'s, Op> {
    /// Writes the partitions into files now, and gives the dataset that reads them: the same partitions, and
    /// nothing of what they were made of. Drop this dataset, and what only it needs is freed.
    ///
    /// # Errors
    /// `BAD_ARGUMENT` if no directory was set ([`Context::set_checkpoint_dir`]), `OUTPUT_NOT_WRITABLE`, or
    /// what the job failed with.
    pub fn checkpoint(&self) -> Result<Rdd<'s, Checkpointed<T>>> {
        let dir = self.driver.checkpoints().next()?;
        let partitions = self.partitions()? as u32;
        self.save("checkpoint", &dir, Codec::Plain, SaveObjects { dir: dir.clone() })?;
        let paths = (0..partitions).map(|partition| format!("{dir}/{}", part_name(partition))).collect();
        let files = ObjectFiles { splits: Arc::new(paths), record: PhantomData };
        Ok(self.then(Checkpointed { files, dir, partitioner: self.op.partitioner() }))
    }

    /// Keeps the partitions with the workers now, in memory or on their disks, and gives the dataset that
    /// reads them: the same partitions, and nothing of what they were made of. Cheaper than
    /// [`Rdd::checkpoint`], and gone with a worker: the tasks of a job that reads it then fail with
    /// `BLOCK_MISSING`, and the job when they have been tried often enough.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY` if a worker has room for a partition neither in memory nor on its disk, or what the
    /// job failed with.
    pub fn local_checkpoint(&self) -> Result<Rdd<'s, LocallyCheckpointed<T>>> {
        let dataset = Dataset::new(&self.driver);
        let partitions = self.partitions()? as u32;
        let kept = Cached::needed(dataset.clone(), StorageLevel::MemoryAndDisk, self.op.clone());
        self.driver.run("local_checkpoint", &kept, Count, |_, _| Ok(()))?;
        Ok(self.then(LocallyCheckpointed::new(dataset, partitions, self.op.partitioner())))
    }
}

impl<'s, Op: Operator<'s>> Rdd<'s, Op> {
    /// Whether this dataset is read from a checkpoint.
    pub fn is_checkpointed(&self) -> bool {
        self.op.checkpoint().is_some()
    }

    /// The directory of the checkpoint that this dataset is read from; `None` if it is read from none, or
    /// from one that workers keep.
    pub fn checkpoint_file(&self) -> Option<String> {
        match self.op.checkpoint() {
            Some(Checkpoint::Files(dir)) => Some(dir),
            _ => None,
        }
    }
}
