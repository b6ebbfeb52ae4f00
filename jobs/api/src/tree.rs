//! Aggregations over several levels: for many partitions whose aggregates are large, so that the driver gets
//! few of them.

use crate::driver::empty_dataset;
use crate::func::Func;
use crate::operator::Operator;
use crate::ops::folded::Folded;
use crate::rdd::{ErasedRdd, Rdd};
use crate::record::Record;
use firesteel_common::Result;
use std::marker::PhantomData;

impl<'s, Op: Operator<'s>> Rdd<'s, Op> {
    /// One value of all records: for each partition `zero` begins it and `add` adds a record; then `merge`
    /// puts the values together in about `depth` levels (at least 1), the last of them in the driver. It must
    /// not matter in which order they are put together.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn tree_aggregate<A, Zero, Add, Merge>(
        &self,
        zero: Zero,
        add: Add,
        merge: Merge,
        depth: u32,
    ) -> Result<A>
    where
        A: for<'x> Record<'x, Owned = A>,
        Zero: Fn() -> A + Copy + Send + Sync + 's,
        Add: Fn(&mut A, Op::Item) + Copy + Send + Sync + 's,
        Merge: Fn(&mut A, A) + Copy + Send + Sync + 's,
    {
        let (zero, add) = (Func::new(zero), Func::new(add));
        let folded = Folded { op: self.op.clone(), zero, add, acc: PhantomData };
        let values = self.then(folded).erased().levels(merge, depth)?.collect()?;
        let sum = values.into_iter().reduce(|mut sum, value| {
            merge(&mut sum, value);
            sum
        });
        sum.ok_or_else(|| empty_dataset("tree_aggregate"))
    }
}

impl<'s, T, Op> Rdd<'s, Op>
where
    T: for<'x> Record<'x, Owned = T>,
    Op: Operator<'s, Item = T>,
{
    /// [`Rdd::reduce`] in about `depth` levels, the last of them in the driver.
    ///
    /// # Errors
    /// `JOB_FAILED` if there is no record, or what the job failed with.
    pub fn tree_reduce<F>(&self, add: F, depth: u32) -> Result<T>
    where
        F: Fn(T, T) -> T + Copy + Send + Sync + 's,
    {
        let one = move |sum: &mut Option<T>, more: Option<T>| {
            *sum = match (sum.take(), more) {
                (Some(sum), Some(more)) => Some(add(sum, more)),
                (sum, more) => sum.or(more),
            };
        };
        let sum = self.tree_aggregate(|| None, move |sum, record| one(sum, Some(record)), one, depth)?;
        sum.ok_or_else(|| empty_dataset("tree_reduce"))
    }

    /// [`Rdd::reduce`] of all records and of `zero`, which is also the answer for none.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn fold<F>(&self, zero: T, add: F) -> Result<T>
    where
        F: Fn(T, T) -> T + Copy + Send + Sync + 's,
    {
        let output = crate::output::action::ReduceAll { add: Func::new(add) };
        let parts: Vec<Option<T>> = self.values_of("fold", output)?;
        Ok(parts.into_iter().flatten().fold(zero, add))
    }
}

impl<'s, A: for<'x> Record<'x, Owned = A>> ErasedRdd<'s, A> {
    /// Puts values together until there are few enough for the driver.
    fn levels<Merge>(self, merge: Merge, depth: u32) -> Result<Self>
    where
        Merge: Fn(&mut A, A) + Copy + Send + Sync + 's,
    {
        let mut values = self;
        let mut partitions = values.partitions()? as u32;
        // As Spark does: so many go into one that `depth` levels are enough, and a level is left out that
        // would hardly make fewer of them.
        let scale = (f64::from(partitions).powf(1.0 / f64::from(depth.max(1))).ceil() as u32).max(2);
        while partitions > scale + partitions.div_ceil(scale) {
            partitions /= scale;
            let keyed = values.map_partitions_with_index_with(partitions, |partitions, number, values| {
                let place = number % partitions;
                values.into_iter().map(move |value| (place, value))
            });
            values = keyed.reduce_by_key_in(partitions, merge).values().erased();
        }
        Ok(values)
    }
}
