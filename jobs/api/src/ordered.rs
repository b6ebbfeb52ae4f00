//! What needs an order: the greatest and the least records, partitions that are sorted, ranges of keys.

use crate::driver::empty_dataset;
use crate::func::Func;
use crate::key::Key;
use crate::operator::Operator;
use crate::ops::erased::Erased;
use crate::ops::indexed::Pruned;
use crate::ops::keyed::KeyBetween;
use crate::ops::shuffled::{ShuffleRead, Sorted};
use crate::output::action::{ReduceAll, Smallest};
use crate::plan::{Partitioner, Ranges};
use crate::rdd::Rdd;
use crate::record::{Reader, Record};
use firesteel_common::Result;
use std::marker::PhantomData;
use std::sync::Arc;

impl<'s, T, Op> Rdd<'s, Op>
where
    T: Record<'s, Owned: Ord> + Ord,
    Op: Operator<'s, Item = T>,
{
    /// The `count` greatest records, the greatest first.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn top(&self, count: usize) -> Result<Vec<T::Owned>> {
        let mut records = self.outermost("top", count, true)?;
        records.sort_by(|a, b| b.cmp(a));
        records.truncate(count);
        Ok(records)
    }

    /// The `count` least records, the least first.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn take_ordered(&self, count: usize) -> Result<Vec<T::Owned>> {
        let mut records = self.outermost("take_ordered", count, false)?;
        records.sort();
        records.truncate(count);
        Ok(records)
    }

    fn outermost(&self, name: &str, count: usize, greatest: bool) -> Result<Vec<T::Owned>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let output = Smallest { count: count as u64, greatest };
        let parts: Vec<Vec<T::Owned>> = self.values_of(name, output)?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// The greatest record.
    ///
    /// # Errors
    /// `JOB_FAILED` if there is none, or what the job failed with.
    pub fn max(&self) -> Result<T::Owned> {
        let output = ReduceAll { add: Func::new(|a: T, b: T| if b > a { b } else { a }) };
        let parts: Vec<Option<T::Owned>> = self.values_of("max", output)?;
        parts.into_iter().flatten().max().ok_or_else(|| empty_dataset("max"))
    }

    /// The least record.
    ///
    /// # Errors
    /// `JOB_FAILED` if there is none, or what the job failed with.
    pub fn min(&self) -> Result<T::Owned> {
        let output = ReduceAll { add: Func::new(|a: T, b: T| if b < a { b } else { a }) };
        let parts: Vec<Option<T::Owned>> = self.values_of("min", output)?;
        parts.into_iter().flatten().min().ok_or_else(|| empty_dataset("min"))
    }
}

impl<'s, K, V, Op> Rdd<'s, Op>
where
    K: Key<'s> + Ord,
    V: Record<'s>,
    Op: Operator<'s, Item = (K, V)>,
{
    /// The same records in so many partitions, equal keys in the same one, each partition in the order of its
    /// keys: cheaper than a sort of each partition after [`Rdd::partition_by`].
    pub fn repartition_and_sort_within_partitions(&self, partitions: u32) -> Rdd<'s, Sorted<'s, K, V>> {
        let reducers = partitions.max(1);
        let shuffle = self.hash_shuffle("repartition_and_sort_within_partitions", reducers);
        self.then(Sorted {
            read: ShuffleRead::new(shuffle),
            descending: false,
            partitioner: Some(Partitioner::Hash(reducers)),
            pair: PhantomData,
        })
    }
}

/// What `filter_by_range` makes.
pub type InRange<'s, K, V> = KeyBetween<Erased<'s, (K, V)>, K>;

impl<'s, K, V, Op> Rdd<'s, Op>
where
    K: Record<'s, Owned: Ord + Clone> + Ord,
    V: 's,
    Op: Operator<'s, Item = (K, V)>,
{
    /// The records whose keys lie between `least` and `greatest`, both included. After a sort by key only the
    /// partitions that can have such keys are looked at.
    ///
    /// # Errors
    /// `CODEC` if the bounds of the sort cannot be read.
    pub fn filter_by_range(
        &self,
        least: &K::Owned,
        greatest: &K::Owned,
    ) -> Result<Rdd<'s, InRange<'s, K, V>>> {
        let op = match self.op.partitioner() {
            Some(Partitioner::Range(ranges)) => {
                let keep = partitions_between::<K::Owned>(&ranges, least, greatest)?;
                Erased::new(Pruned { op: self.op.clone(), keep: Arc::new(keep) })
            }
            _ => Erased::new(self.op.clone()),
        };
        let mut range = Vec::new();
        least.encode(&mut range);
        greatest.encode(&mut range);
        Ok(self.then(KeyBetween { op, range: range.into(), of: PhantomData }))
    }
}

/// The partitions of a sort that can have keys of a range.
fn partitions_between<K>(ranges: &Ranges, least: &K, greatest: &K) -> Result<Vec<u32>>
where
    K: for<'x> Record<'x> + Ord,
{
    let mut reader = Reader::new(&ranges.bounds);
    let mut bounds = Vec::new();
    while !reader.is_empty() {
        bounds.push(K::decode(&mut reader)?);
    }
    let last = ranges.partitions - 1;
    let range_of = |key: &K| (bounds.partition_point(|bound| bound <= key) as u32).min(last);
    let kept = if least <= greatest { range_of(least)..range_of(greatest) + 1 } else { 0..0 };
    let mut kept: Vec<u32> = kept.map(|range| if ranges.descending { last - range } else { range }).collect();
    kept.sort_unstable();
    Ok(kept)
}
