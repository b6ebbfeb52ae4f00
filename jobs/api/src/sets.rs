//! Datasets as sets and as sorted lists: what is in both, what is not, groups, orders.

use crate::combine::KeepFirst;
use crate::func::Func;
use crate::key::Key;
use crate::operator::Operator;
use crate::ops::keyed::{KeyBy, WithUnit};
use crate::ops::shuffled::{Grouped, ShuffleRead, SortedBy};
use crate::output::shuffle::RangeWriteValues;
use crate::plan::Shuffle;
use crate::rdd::{Distinct, Rdd};
use crate::record::Record;
use firesteel_common::Result;
use std::marker::PhantomData;

impl<'s, T: Key<'s>, Op: Operator<'s, Item = T>> Rdd<'s, Op> {
    /// [`Rdd::distinct`] into so many partitions.
    pub fn distinct_in(&self, partitions: u32) -> Rdd<'s, Distinct<'s, T>> {
        self.then(WithUnit { op: self.op.clone() }).combine("distinct", partitions, KeepFirst).keys()
    }

    /// The records that are in both datasets, each once.
    pub fn intersection<Other: Operator<'s, Item = T>>(
        &self,
        other: &Rdd<'s, Other>,
    ) -> Rdd<'s, impl Operator<'s, Item = T> + use<'s, T, Op, Other>> {
        let partitions = self.default_parallelism();
        let left = self.then(WithUnit { op: self.op.clone() });
        let right = other.then(WithUnit { op: other.op.clone() });
        left.combine("intersection", partitions, KeepFirst)
            .cogroup(&right.combine("intersection", partitions, KeepFirst))
            .filter(|(_, (left, right))| !left.is_empty() && !right.is_empty())
            .keys()
    }

    /// The records that are not in another dataset, each as often as it is in this one.
    pub fn subtract<Other: Operator<'s, Item = T>>(
        &self,
        other: &Rdd<'s, Other>,
    ) -> Rdd<'s, impl Operator<'s, Item = T> + use<'s, T, Op, Other>> {
        let right = other.then(WithUnit { op: other.op.clone() });
        let right = right.combine("subtract", self.default_parallelism(), KeepFirst);
        self.then(WithUnit { op: self.op.clone() }).cogroup(&right).flat_map(|(record, (left, right))| {
            let often = if right.is_empty() { left.len() } else { 0 };
            std::iter::repeat_n(record, often)
        })
    }
}

impl<'s, T: Record<'s>, Op: Operator<'s, Item = T>> Rdd<'s, Op> {
    /// All records for each value of `f`. The records of a group are held in memory.
    pub fn group_by<K, F>(&self, f: F) -> Rdd<'s, Grouped<'s, K, T>>
    where
        K: Key<'s>,
        F: Fn(&T) -> K + Copy + Send + Sync + 's,
    {
        self.key_by(f).group_by_key()
    }

    /// The records in the order of what `f` gives for them, which must be the same each time it is called;
    /// equal ones keep their order. A job samples first.
    ///
    /// # Errors
    /// What the job that samples failed with.
    pub fn sort_by<K, F>(&self, f: F, ascending: bool) -> Result<Rdd<'s, SortedBy<'s, T, F>>>
    where
        K: Record<'s, Owned: Ord> + Ord,
        F: Fn(&T) -> K + Copy + Send + Sync + 's,
    {
        self.sort_by_in(f, self.default_parallelism(), ascending)
    }

    /// [`Rdd::sort_by`] into so many partitions.
    ///
    /// # Errors
    /// What the job that samples failed with.
    pub fn sort_by_in<K, F>(
        &self,
        f: F,
        partitions: u32,
        ascending: bool,
    ) -> Result<Rdd<'s, SortedBy<'s, T, F>>>
    where
        K: Record<'s, Owned: Ord> + Ord,
        F: Fn(&T) -> K + Copy + Send + Sync + 's,
    {
        let keyed: Rdd<'s, KeyBy<Op, F>> = self.key_by(f);
        let ranges = keyed.ranges(partitions, ascending)?;
        let (reducers, descending) = (ranges.reducers, ranges.descending);
        let output = RangeWriteValues { ranges };
        let shuffle = Shuffle::new(&self.driver, "sort_by", reducers, keyed.op, output);
        let (read, f) = (ShuffleRead::new(shuffle), Func::new(f));
        Ok(self.then(SortedBy { read, f, descending, record: PhantomData }))
    }
}
