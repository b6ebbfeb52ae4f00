//! Actions: what starts a job and gives the driver a value.

use crate::driver::empty_dataset;
use crate::func::Func;
use crate::operator::Operator;
use crate::ops::narrow::Captures;
use crate::output::action::{AggregateAll, Collect, Count, Foreach, ForeachPartition, ReduceAll};
use crate::output::save::{Codec, SaveObjects, SaveText, part_name};
use crate::rdd::Rdd;
use crate::record::{Reader, Record};
use firesteel_common::Result;
use std::fmt::Display;
use std::marker::PhantomData;

impl<'s, Op: Operator<'s>> Rdd<'s, Op> {
    /// How many records there are.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn count(&self) -> Result<u64> {
        let mut count = 0;
        self.driver.run("count", &self.op, Count, |_, value| {
            count += Reader::new(value).varint()?;
            Ok(())
        })?;
        Ok(count)
    }

    /// One value of all records: for each partition `zero` begins it and `add` adds a record; in the driver
    /// `merge` adds the values of the partitions, in their order.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn aggregate<A, Zero, Add, Merge>(&self, zero: Zero, add: Add, merge: Merge) -> Result<A::Owned>
    where
        A: Record<'s>,
        Zero: Fn() -> A + Copy + Send + Sync + 's,
        Add: Fn(&mut A, Op::Item) + Copy + Send + Sync + 's,
        Merge: FnMut(&mut A::Owned, A::Owned),
    {
        self.aggregate_with(
            (),
            move |_: &()| zero(),
            move |_: &(), acc: &mut A, record| add(acc, record),
            merge,
        )
    }

    /// [`Rdd::aggregate`] with values that the closures need.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn aggregate_with<C, A, Zero, Add, Merge>(
        &self,
        captures: C,
        zero: Zero,
        add: Add,
        mut merge: Merge,
    ) -> Result<A::Owned>
    where
        C: Captures<'s>,
        A: Record<'s>,
        Zero: Fn(&C) -> A + Copy + Send + Sync + 's,
        Add: Fn(&C, &mut A, Op::Item) + Copy + Send + Sync + 's,
        Merge: FnMut(&mut A::Owned, A::Owned),
    {
        let output = AggregateAll { captures, zero: Func::new(zero), add: Func::new(add), acc: PhantomData };
        let mut values = self.values_of::<A::Owned, _>("aggregate", output)?.into_iter();
        let mut sum = values.next().ok_or_else(|| empty_dataset("aggregate"))?;
        values.for_each(|value| merge(&mut sum, value));
        Ok(sum)
    }

    /// Calls a function for each record. It may be called again for records whose task is repeated.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn foreach<C, F>(&self, captures: C, f: F) -> Result<()>
    where
        C: Captures<'s>,
        F: Fn(&C, Op::Item) + Copy + Send + Sync + 's,
    {
        let output = Foreach { captures, f: Func::new(f) };
        self.driver.run("foreach", &self.op, output, |_, _| Ok(()))
    }

    /// Calls a function once for each partition, with its number and all its records. It may be called again
    /// for a partition whose task is repeated.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn foreach_partition<C, F>(&self, captures: C, f: F) -> Result<()>
    where
        C: Captures<'s>,
        F: Fn(&C, u32, Vec<Op::Item>) + Copy + Send + Sync + 's,
    {
        let output = ForeachPartition { captures, f: Func::new(f) };
        self.driver.run("foreach_partition", &self.op, output, |_, _| Ok(()))
    }

    /// Writes each record as a line of text, one file `part-00000` for each partition, into a directory that
    /// must not exist. The files appear when all are complete, those of one attempt at each partition; then
    /// `_SUCCESS`.
    ///
    /// # Errors
    /// `OUTPUT_EXISTS`, `OUTPUT_NOT_WRITABLE`, or what the job failed with.
    pub fn save_as_text_file(&self, dir: &str) -> Result<()>
    where
        Op::Item: Display,
    {
        self.save_as_text_file_with(dir, Codec::Plain)
    }

    /// [`Rdd::save_as_text_file`], with a choice of how the files are packed.
    ///
    /// # Errors
    /// As [`Rdd::save_as_text_file`].
    pub fn save_as_text_file_with(&self, dir: &str, codec: Codec) -> Result<()>
    where
        Op::Item: Display,
    {
        self.save("save_as_text_file", dir, codec, SaveText { dir: dir.to_owned(), codec })
    }

    /// Writes the files of all partitions into a new directory, and makes those of the winning attempts
    /// visible.
    pub(crate) fn save<Out: crate::output::Output<'s, Op::Item>>(
        &self,
        name: &str,
        dir: &str,
        codec: Codec,
        output: Out,
    ) -> Result<()> {
        let host = self.driver.host();
        host.prepare_output(dir)?;
        let mut winners = Vec::new();
        self.driver.run(name, &self.op, output, |partition, value| {
            winners.push((part_name(partition) + codec.suffix(), u32::decode(&mut Reader::new(value))?));
            Ok(())
        })?;
        winners.sort();
        host.commit_output(dir, &winners)
    }

    /// The value of each partition, in their order.
    pub(crate) fn values_of<A, Out>(&self, name: &str, output: Out) -> Result<Vec<A>>
    where
        A: for<'x> Record<'x>,
        Out: crate::output::Output<'s, Op::Item>,
    {
        let mut values = Vec::new();
        self.driver.run(name, &self.op, output, |partition, value| {
            values.push((partition, A::decode(&mut Reader::new(value))?));
            Ok(())
        })?;
        values.sort_by_key(|(partition, _)| *partition);
        Ok(values.into_iter().map(|(_, value)| value).collect())
    }
}

impl<'s, T: Record<'s>, Op: Operator<'s, Item = T>> Rdd<'s, Op> {
    /// All records, in order.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn collect(&self) -> Result<Vec<T::Owned>> {
        let parts: Vec<Vec<T::Owned>> = self.values_of("collect", Collect { max: u64::MAX })?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// Writes the records as they are, one file `part-00000` for each partition, into a directory that must
    /// not exist: what [`crate::Context::object_file`] reads. The files appear when all are complete.
    ///
    /// # Errors
    /// `OUTPUT_EXISTS`, `OUTPUT_NOT_WRITABLE`, or what the job failed with.
    pub fn save_as_object_file(&self, dir: &str) -> Result<()> {
        self.save("save_as_object_file", dir, Codec::Plain, SaveObjects { dir: dir.to_owned() })
    }

    /// The first `count` records. Looks at one partition first, then at more and more.
    ///
    /// # Errors
    /// What the jobs failed with.
    pub fn take(&self, count: usize) -> Result<Vec<T::Owned>> {
        let mut taken = Vec::new();
        if count == 0 {
            return Ok(taken);
        }
        self.driver.run_until("take", &self.op, Collect { max: count as u64 }, |values| {
            for value in values {
                let records = Vec::<T::Owned>::decode(&mut Reader::new(value))?;
                taken.extend(records.into_iter().take(count - taken.len()));
            }
            Ok(taken.len() == count)
        })?;
        Ok(taken)
    }

    /// Whether there is no record. Looks at one partition first, then at more and more.
    ///
    /// # Errors
    /// What the jobs failed with.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.take(1)?.is_empty())
    }

    /// The first record.
    ///
    /// # Errors
    /// `JOB_FAILED` if there is none, or what the jobs failed with.
    pub fn first(&self) -> Result<T::Owned> {
        self.take(1)?.pop().ok_or_else(|| empty_dataset("first"))
    }
}

impl<'s, T, Op> Rdd<'s, Op>
where
    T: for<'x> Record<'x, Owned = T>,
    Op: Operator<'s, Item = T>,
{
    /// One record of all: `add` makes one of two. It must not matter how they are put together.
    ///
    /// # Errors
    /// `JOB_FAILED` if there is none, or what the job failed with.
    pub fn reduce<F>(&self, add: F) -> Result<T>
    where
        F: Fn(T, T) -> T + Copy + Send + Sync + 's,
    {
        let parts: Vec<Option<T>> = self.values_of("reduce", ReduceAll { add: Func::new(add) })?;
        parts.into_iter().flatten().reduce(add).ok_or_else(|| empty_dataset("reduce"))
    }
}
