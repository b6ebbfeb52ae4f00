//! What looks at whole partitions: with their numbers, side by side with others, or chosen from.

use crate::func::Func;
use crate::operator::Operator;
use crate::ops::folded::Folded;
use crate::ops::indexed::{Numbered, WithIndex};
use crate::ops::narrow::Captures;
use crate::ops::product::{Cartesian, Zip, ZipPartitions};
use crate::output::action::Count;
use crate::rdd::Rdd;
use crate::record::Reader;
use firesteel_common::Result;
use std::marker::PhantomData;
use std::sync::Arc;

impl<'s, Op: Operator<'s>> Rdd<'s, Op> {
    /// All records of a partition transformed at once, with the number of the partition.
    pub fn map_partitions_with_index<I, F>(
        &self,
        f: F,
    ) -> Rdd<'s, impl Operator<'s, Item = I::Item> + use<'s, Op, I, F>>
    where
        I: IntoIterator,
        I::Item: 's,
        F: Fn(u32, Vec<Op::Item>) -> I + Copy + Send + Sync + 's,
    {
        self.map_partitions_with_index_with((), move |_: &(), partition, records| f(partition, records))
    }

    /// [`Rdd::map_partitions_with_index`] with values that the closure needs.
    pub fn map_partitions_with_index_with<C, I, F>(&self, captures: C, f: F) -> Rdd<'s, WithIndex<Op, C, F>>
    where
        C: Captures<'s>,
        I: IntoIterator,
        I::Item: 's,
        F: Fn(&C, u32, Vec<Op::Item>) -> I + Copy + Send + Sync + 's,
    {
        self.then(WithIndex { op: self.op.clone(), captures, f: Func::new(f), keeps_partitioner: false })
    }

    /// One value of each partition: `zero` begins it, `add` adds a record. Unlike [`Rdd::map_partitions`] it
    /// holds no records; the value may be a table or a list of the job's own.
    pub fn fold_partitions<A, Zero, Add>(&self, zero: Zero, add: Add) -> Rdd<'s, Folded<Op, A, Zero, Add>>
    where
        A: 's,
        Zero: Fn() -> A + Copy + Send + Sync + 's,
        Add: Fn(&mut A, Op::Item) + Copy + Send + Sync + 's,
    {
        let (zero, add) = (Func::new(zero), Func::new(add));
        self.then(Folded { op: self.op.clone(), zero, add, acc: PhantomData })
    }

    /// Each partition as one list.
    pub fn glom(&self) -> Rdd<'s, impl Operator<'s, Item = Vec<Op::Item>> + use<'s, Op>> {
        self.map_partitions(Some)
    }

    /// Each record with its number: all are counted from 0 in the order of the partitions. A job counts the
    /// records first if there is more than one partition.
    ///
    /// # Errors
    /// What the job that counts failed with.
    pub fn zip_with_index(&self) -> Result<Rdd<'s, Numbered<Op>>> {
        let partitions = self.partitions()?;
        let mut counts = vec![0; partitions];
        if partitions > 1 {
            self.driver.run("zip_with_index", &self.op, Count, |partition, value| {
                if let Some(count) = counts.get_mut(partition as usize) {
                    *count = Reader::new(value).varint()?;
                }
                Ok(())
            })?;
        }
        let mut sum = 0_u64;
        let mut first = Vec::with_capacity(partitions);
        for count in counts {
            first.push(sum);
            sum = sum.wrapping_add(count);
        }
        Ok(self.then(Numbered { op: self.op.clone(), step: 1, first: Arc::new(first) }))
    }

    /// Each record with a number that no other has: in partition `k` of `n` they are `k`, `k + n`, `k + 2n`,
    /// and so on. No job is needed for it.
    ///
    /// # Errors
    /// What its operators fail with.
    pub fn zip_with_unique_id(&self) -> Result<Rdd<'s, Numbered<Op>>> {
        let step = self.partitions()? as u64;
        Ok(self.then(Numbered { op: self.op.clone(), step, first: Arc::new((0..step).collect()) }))
    }

    /// The first record with the first of the other dataset, the second with the second, and so on. Both must
    /// have the same number of partitions, and each two partitions the same number of records; else the job
    /// fails with `JOB_FAILED`.
    pub fn zip<Other: Operator<'s>>(&self, other: &Rdd<'s, Other>) -> Rdd<'s, Zip<Op, Other>> {
        self.then(Zip { left: self.op.clone(), right: other.op.clone() })
    }

    /// Partitions of the same number transformed together. Both datasets must have the same number of
    /// partitions, else the job fails with `JOB_FAILED`.
    pub fn zip_partitions<C, Other, I, F>(
        &self,
        other: &Rdd<'s, Other>,
        captures: C,
        f: F,
    ) -> Rdd<'s, ZipPartitions<Op, Other, C, F>>
    where
        C: Captures<'s>,
        Other: Operator<'s>,
        I: IntoIterator,
        I::Item: 's,
        F: Fn(&C, Vec<Op::Item>, Vec<Other::Item>) -> I + Copy + Send + Sync + 's,
    {
        let (left, right) = (self.op.clone(), other.op.clone());
        self.then(ZipPartitions { left, right, captures, f: Func::new(f) })
    }

    /// Every record with every record of another dataset, whose partitions are held in memory, one at a time.
    pub fn cartesian<Other>(&self, other: &Rdd<'s, Other>) -> Rdd<'s, Cartesian<Op, Other>>
    where
        Op::Item: Clone,
        Other: Operator<'s, Item: Clone>,
    {
        self.then(Cartesian { left: self.op.clone(), right: other.op.clone() })
    }
}
