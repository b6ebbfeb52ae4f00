//! Readers of shuffles. What was before the shuffle has no part in their types: a loop may rebuild its
//! dataset in each turn.

use crate::aggregate::{Aggregation, Merged};
use crate::combine::Combine;
use crate::func::Func;
use crate::key::Key;
use crate::lists::{Lists, Values};
use crate::operator::{ENOUGH, Flow, MORE, Operator, sealed};
use crate::plan::{Needs, Parents, Partitioner, Shuffle, check_partitions};
use crate::record::{Reader, Record};
use crate::sorter::Sorter;
use crate::task::Task;
use firesteel_common::id::StageId;
use firesteel_common::{Error, ErrorCode, Result};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;
use std::sync::Arc;

sealed! {
    Shuffled<'s, T>, Combined<'s, K, V, C>, Grouped<'s, K, V>, Sorted<'s, K, V>, SortedBy<'s, T, F>,
}

/// A shuffle as its readers know it.
#[derive(Clone, Serialize, Deserialize)]
pub struct ShuffleRead<'s> {
    /// The stage that writes it.
    pub stage: StageId,
    /// Driver only: keeps the shuffle.
    #[serde(skip)]
    pub handle: Option<Arc<Shuffle<'s>>>,
}

impl<'s> ShuffleRead<'s> {
    /// A reader of a shuffle.
    pub fn new(shuffle: Arc<Shuffle<'s>>) -> Self {
        Self { stage: shuffle.id, handle: Some(shuffle) }
    }

    /// How many reducers there are.
    ///
    /// # Errors
    /// `INTERNAL` in a task.
    pub fn reducers(&self) -> Result<u32> {
        self.handle.as_ref().map(|shuffle| shuffle.reducers).ok_or_else(only_in_drivers)
    }

    /// One split for each reducer.
    ///
    /// # Errors
    /// `INTERNAL` in a task, `TOO_LARGE` if there are too many.
    pub fn splits(&self) -> Result<Vec<u32>> {
        let reducers = self.reducers()?;
        check_partitions(u64::from(reducers))?;
        Ok((0..reducers).collect())
    }

    /// Adds the shuffle to the parents of a stage.
    pub fn parents(&self, parents: &mut Parents<'s>) {
        if let Some(shuffle) = &self.handle {
            parents.add(shuffle);
        }
    }

    /// Gives what was written for a reducer, in the order of the map partitions.
    ///
    /// # Errors
    /// What reading fails with.
    #[inline(always)]
    pub fn run<T: Record<'s>>(
        &self,
        task: &Task<'s>,
        reducer: u32,
        mut sink: impl FnMut(T) -> Flow,
    ) -> Result<Flow> {
        let reading = task.read(self.stage, reducer)?;
        while let Some(segment) = task.next_segment::<T>(&reading)? {
            let records = segment.header.records;
            if T::OWNED {
                // The segment goes when its records have been read.
                let mut reader = Reader::new(segment.payload());
                for _ in 0..records {
                    if sink(T::decode_owned(&mut reader)?).is_break() {
                        return Ok(ENOUGH);
                    }
                }
            } else {
                let mut reader = Reader::new(task.hold_segment(segment));
                for _ in 0..records {
                    if sink(T::decode(&mut reader)?).is_break() {
                        return Ok(ENOUGH);
                    }
                }
            }
        }
        Ok(MORE)
    }
}

/// The error of asking a task what only the driver knows.
pub fn only_in_drivers() -> Error {
    Error::new(ErrorCode::Internal, "a task was asked for what only its driver knows")
}

/// What every reader of one shuffle answers to its driver.
macro_rules! reads_shuffle {
    () => {
        type Split = u32;

        fn splits(&self) -> Result<Vec<u32>> {
            self.read.splits()
        }

        fn describe(&self, split: &u32, needs: &mut Needs) -> Result<()> {
            needs.read(self.read.stage, *split);
            Ok(())
        }

        fn parents(&self, parents: &mut Parents<'s>) {
            self.read.parents(parents);
        }
    };
}

/// Records as they were written: after `repartition` and `partition_by`.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Shuffled<'s, T> {
    /// The shuffle.
    pub read: ShuffleRead<'s>,
    /// Driver only: how the records lie.
    #[serde(skip)]
    pub partitioner: Option<Partitioner>,
    /// The type of the records.
    pub record: PhantomData<fn() -> T>,
}

impl<T> Clone for Shuffled<'_, T> {
    fn clone(&self) -> Self {
        Self { read: self.read.clone(), partitioner: self.partitioner.clone(), record: PhantomData }
    }
}

impl<'s, T: Record<'s>> Operator<'s> for Shuffled<'s, T> {
    type Item = T;
    reads_shuffle!();

    fn partitioner(&self) -> Option<Partitioner> {
        self.partitioner.clone()
    }

    fn run<S: FnMut(T) -> Flow>(&self, task: &Task<'s>, split: &u32, sink: &mut S) -> Result<Flow> {
        self.read.run(task, *split, sink)
    }
}

/// One record for each key: after `reduce_by_key`, `aggregate_by_key` and `distinct`.
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "C: Serialize", deserialize = "C: serde::de::DeserializeOwned"))]
pub struct Combined<'s, K, V, C> {
    /// The shuffle.
    pub read: ShuffleRead<'s>,
    /// How values are combined.
    pub combine: C,
    /// The types of the keys and of the values before.
    pub pair: PhantomData<fn() -> (K, V)>,
}

impl<K, V, C: Clone> Clone for Combined<'_, K, V, C> {
    fn clone(&self) -> Self {
        Self { read: self.read.clone(), combine: self.combine.clone(), pair: PhantomData }
    }
}

impl<'s, K, V, C> Operator<'s> for Combined<'s, K, V, C>
where
    K: Key<'s>,
    V: 's,
    C: Combine<'s, V>,
{
    type Item = (K, C::Acc);
    reads_shuffle!();

    fn partitioner(&self) -> Option<Partitioner> {
        self.read.handle.as_ref().map(|shuffle| Partitioner::Hash(shuffle.reducers))
    }

    fn run<S>(&self, task: &Task<'s>, split: &u32, sink: &mut S) -> Result<Flow>
    where
        S: FnMut((K, C::Acc)) -> Flow,
    {
        let merge = |acc: &mut C::Acc, other| self.combine.merge(acc, other);
        let mut table =
            Aggregation::new(task, "a combination by key", |acc: C::Acc| acc, merge, Merged(merge));
        let _ = self.read.run(task, *split, |(key, acc): (K, C::Acc)| table.push(key, acc))?;
        table.finish(|_, key, acc| sink((key, acc)))
    }
}

/// All values of each key: after `group_by_key`.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Grouped<'s, K, V> {
    /// The shuffle.
    pub read: ShuffleRead<'s>,
    /// The types of keys and values.
    pub pair: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for Grouped<'_, K, V> {
    fn clone(&self) -> Self {
        Self { read: self.read.clone(), pair: PhantomData }
    }
}

impl<'s, K: Key<'s>, V: Record<'s>> Operator<'s> for Grouped<'s, K, V> {
    type Item = (K, Vec<V>);
    reads_shuffle!();

    fn partitioner(&self) -> Option<Partitioner> {
        self.read.handle.as_ref().map(|shuffle| Partitioner::Hash(shuffle.reducers))
    }

    fn run<S>(&self, task: &Task<'s>, split: &u32, sink: &mut S) -> Result<Flow>
    where
        S: FnMut((K, Vec<V>)) -> Flow,
    {
        let values = Values::new();
        let add = |list: &mut _, value| values.add(list, value);
        let mut table =
            Aggregation::new(task, "group_by_key", |value| values.first(value), add, Lists(&values));
        let _ = self.read.run(task, *split, |(key, value)| table.push(key, value))?;
        table.finish(|_, key, values| sink((key, values)))
    }
}

/// Records in the order of their keys: after `sort_by_key` and
/// `repartition_and_sort_within_partitions`. Equal keys keep their order.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Sorted<'s, K, V> {
    /// The shuffle.
    pub read: ShuffleRead<'s>,
    /// Whether the greatest key comes first.
    pub descending: bool,
    /// Driver only: how the records lie.
    #[serde(skip)]
    pub partitioner: Option<Partitioner>,
    /// The types of keys and values.
    pub pair: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for Sorted<'_, K, V> {
    fn clone(&self) -> Self {
        Self { read: self.read.clone(), partitioner: self.partitioner.clone(), ..*self }
    }
}

impl<'s, K: Record<'s> + Ord, V: Record<'s>> Operator<'s> for Sorted<'s, K, V> {
    type Item = (K, V);
    reads_shuffle!();

    fn partitioner(&self) -> Option<Partitioner> {
        self.partitioner.clone()
    }

    fn run<S: FnMut((K, V)) -> Flow>(&self, task: &Task<'s>, split: &u32, sink: &mut S) -> Result<Flow> {
        let mut sorter = Sorter::new(task, self.descending);
        let _ = self.read.run(task, *split, |record| sorter.push(record))?;
        sorter.finish(sink)
    }
}

/// Records in the order of what a function gives for them: after `sort_by`. Equal ones keep their order.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct SortedBy<'s, T, F> {
    /// The shuffle, which has the records alone.
    pub read: ShuffleRead<'s>,
    /// What they are ordered by.
    pub f: Func<F>,
    /// Whether the greatest comes first.
    pub descending: bool,
    /// The type of the records.
    pub record: PhantomData<fn() -> T>,
}

impl<T, F> Clone for SortedBy<'_, T, F> {
    fn clone(&self) -> Self {
        Self { read: self.read.clone(), ..*self }
    }
}

impl<'s, T, K, F> Operator<'s> for SortedBy<'s, T, F>
where
    T: Record<'s>,
    K: Record<'s> + Ord,
    F: Fn(&T) -> K + Copy + Send + Sync + 's,
{
    type Item = T;
    reads_shuffle!();

    fn run<S: FnMut(T) -> Flow>(&self, task: &Task<'s>, split: &u32, sink: &mut S) -> Result<Flow> {
        let f = self.f.get();
        let mut sorter = Sorter::new(task, self.descending);
        let _ = self.read.run(task, *split, |record| sorter.push((f(&record), record)))?;
        sorter.finish(&mut |(_, record)| sink(record))
    }
}
