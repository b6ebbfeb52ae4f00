//! What is known of one unfinished job.

use firesteel_common::id::{JobId, StageId};
use firesteel_common::job::JobProgress;
use firesteel_common::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// The partitions of a result stage that a job still wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    bits: Vec<u64>,
    /// How many are wanted.
    pub left: u32,
    /// How many were delivered.
    pub delivered: u32,
}

impl Wanted {
    /// Nothing is wanted, but so many were delivered.
    pub fn nothing(delivered: u32) -> Self {
        Self { delivered, ..Self::default() }
    }

    pub fn contains(&self, partition: u32) -> bool {
        self.bits.get(partition as usize / 64).is_some_and(|word| word & (1 << (partition % 64)) != 0)
    }

    pub fn insert(&mut self, partition: u32) {
        let at = partition as usize / 64;
        if self.bits.len() <= at {
            self.bits.resize(at + 1, 0);
        }
        if !self.contains(partition) {
            self.bits[at] |= 1 << (partition % 64);
            self.left += 1;
        }
    }

    /// Takes one out that has been delivered; false if it was not wanted.
    pub fn deliver(&mut self, partition: u32) -> bool {
        let wanted = self.contains(partition);
        if wanted {
            self.bits[partition as usize / 64] &= !(1 << (partition % 64));
            self.left -= 1;
            self.delivered += 1;
        }
        wanted
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Job {
    pub id: JobId,
    pub name: String,
    pub group: String,
    pub open: bool,
    /// What must be complete. Of a shuffle map stage all is wanted, and the value says nothing.
    pub targets: BTreeMap<StageId, Wanted>,
    /// The lineage of the targets.
    pub stages: BTreeSet<StageId>,
    /// Finished map stages that its driver was told of.
    pub told: BTreeSet<StageId>,
    pub submitted: Timestamp,
    pub progress: JobProgress,
}
