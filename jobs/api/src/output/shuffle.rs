//! Outputs that write a shuffle: combined by key, by key as they come, by a function of the job, in turns, or
//! by ranges of keys.

use crate::aggregate::{Aggregation, Merged};
use crate::combine::Combine;
use crate::func::Func;
use crate::key::Key;
use crate::operator::{Flow, Operator, sealed};
use crate::output::Output;
use crate::output::buffers::Buffers;
use crate::output::ranges::Bounds;
use crate::record::{Reader, Record};
use crate::task::{Produced, Task};
use firesteel_common::{Payload, Result};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

sealed! { CombineWrite<C>, HashWrite, FunctionWrite<F>, RoundRobinWrite, RangeWrite<K>, RangeWriteValues<K> }

/// Combines by key before it writes: one record for each key of the partition.
#[derive(Clone, Serialize, Deserialize)]
pub struct CombineWrite<C> {
    /// How many reducers there are.
    pub reducers: u32,
    /// How values are combined.
    pub combine: C,
}

impl<'s, K, V, C> Output<'s, (K, V)> for CombineWrite<C>
where
    K: Key<'s>,
    V: 's,
    C: Combine<'s, V>,
{
    fn run<Op>(&self, task: &Task<'s>, op: &Op, split: &Op::Split) -> Result<Produced>
    where
        Op: Operator<'s, Item = (K, V)>,
    {
        let mut table = Aggregation::new(
            task,
            "a combination by key, before the shuffle,",
            |value| self.combine.create(value),
            |acc: &mut C::Acc, value| self.combine.add(acc, value),
            Merged(|acc: &mut C::Acc, other| self.combine.merge(acc, other)),
        );
        let _ = op.run(task, split, &mut |(key, value)| table.push(key, value))?;
        let mut buffers = Buffers::new(task, self.reducers);
        let _ =
            table.finish(|digest, key, acc| buffers.push(digest.partition(self.reducers), &(key, acc)))?;
        buffers.write::<(K, C::Acc)>()
    }
}

/// Writes each record to the reducer of its key.
#[derive(Clone, Serialize, Deserialize)]
pub struct HashWrite {
    /// How many reducers there are.
    pub reducers: u32,
}

impl<'s, K: Key<'s>, V: Record<'s>> Output<'s, (K, V)> for HashWrite {
    fn run<Op>(&self, task: &Task<'s>, op: &Op, split: &Op::Split) -> Result<Produced>
    where
        Op: Operator<'s, Item = (K, V)>,
    {
        let mut buffers = Buffers::new(task, self.reducers);
        let _ = op.run(task, split, &mut |record: (K, V)| {
            buffers.push(record.0.digest().partition(self.reducers), &record)
        })?;
        buffers.write::<(K, V)>()
    }
}

/// Writes each record to the reducer that a function names.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct FunctionWrite<F> {
    /// How many reducers there are.
    pub reducers: u32,
    /// Gives the number of the reducer; beyond the last it starts again at the first.
    pub f: Func<F>,
}

impl<F> Clone for FunctionWrite<F> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<'s, K, V, F> Output<'s, (K, V)> for FunctionWrite<F>
where
    K: Record<'s>,
    V: Record<'s>,
    F: Fn(&K) -> u32 + Copy + Send + Sync + 's,
{
    fn run<Op>(&self, task: &Task<'s>, op: &Op, split: &Op::Split) -> Result<Produced>
    where
        Op: Operator<'s, Item = (K, V)>,
    {
        let f = self.f.get();
        let mut buffers = Buffers::new(task, self.reducers);
        let _ =
            op.run(task, split, &mut |record: (K, V)| buffers.push(f(&record.0) % self.reducers, &record))?;
        buffers.write::<(K, V)>()
    }
}

/// Deals records out in turns. Where it begins depends on the partition alone, so a repeated task deals the
/// same.
#[derive(Clone, Serialize, Deserialize)]
pub struct RoundRobinWrite {
    /// How many reducers there are.
    pub reducers: u32,
}

impl<'s, T: Record<'s>> Output<'s, T> for RoundRobinWrite {
    fn run<Op>(&self, task: &Task<'s>, op: &Op, split: &Op::Split) -> Result<Produced>
    where
        Op: Operator<'s, Item = T>,
    {
        let mut buffers = Buffers::new(task, self.reducers);
        let mut next = task.partition() % self.reducers;
        let _ = op.run(task, split, &mut |record: T| {
            let reducer = next;
            next = if next + 1 == self.reducers { 0 } else { next + 1 };
            buffers.push(reducer, &record)
        })?;
        buffers.write::<T>()
    }
}

/// Writes each record to the reducer whose range holds its key.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct RangeWrite<K> {
    /// How many reducers there are.
    pub reducers: u32,
    /// Whether the first reducer gets the greatest keys.
    pub descending: bool,
    /// The keys between the ranges, ascending, encoded one after the other.
    pub bounds: Payload,
    /// The type of the keys.
    pub key: PhantomData<fn() -> K>,
}

impl<K> Clone for RangeWrite<K> {
    fn clone(&self) -> Self {
        Self { bounds: self.bounds.clone(), key: PhantomData, ..*self }
    }
}

impl<K> RangeWrite<K> {
    /// Writes of each pair what `write` makes of it.
    fn run_writing<'t, 's, V: 's, Op>(
        &self,
        task: &'t Task<'s>,
        (op, split): (&Op, &Op::Split),
        write: impl Fn(&mut Buffers<'_, 's>, u32, &(K, V)) -> Flow,
    ) -> Result<Buffers<'t, 's>>
    where
        K: Record<'s> + Ord,
        Op: Operator<'s, Item = (K, V)>,
    {
        let mut reader = Reader::new(task.hold_payload(&self.bounds));
        let mut bounds = Vec::new();
        while !reader.is_empty() {
            bounds.push(K::decode(&mut reader)?);
        }
        let mut buffers = Buffers::new(task, self.reducers);
        let bounds = Bounds::new(bounds);
        let last = self.reducers - 1;
        let _ = op.run(task, split, &mut |record: (K, V)| {
            let range = bounds.below(&record.0).min(last);
            write(&mut buffers, if self.descending { last - range } else { range }, &record)
        })?;
        Ok(buffers)
    }
}

impl<'s, K: Record<'s> + Ord, V: Record<'s>> Output<'s, (K, V)> for RangeWrite<K> {
    fn run<Op>(&self, task: &Task<'s>, op: &Op, split: &Op::Split) -> Result<Produced>
    where
        Op: Operator<'s, Item = (K, V)>,
    {
        let write = |buffers: &mut Buffers<'_, 's>, range, record: &(K, V)| buffers.push(range, record);
        self.run_writing(task, (op, split), write)?.write::<(K, V)>()
    }
}

/// [`RangeWrite`] without the keys, which the reader makes again.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct RangeWriteValues<K> {
    /// How.
    pub ranges: RangeWrite<K>,
}

impl<K> Clone for RangeWriteValues<K> {
    fn clone(&self) -> Self {
        Self { ranges: self.ranges.clone() }
    }
}

impl<'s, K: Record<'s> + Ord, V: Record<'s>> Output<'s, (K, V)> for RangeWriteValues<K> {
    fn run<Op>(&self, task: &Task<'s>, op: &Op, split: &Op::Split) -> Result<Produced>
    where
        Op: Operator<'s, Item = (K, V)>,
    {
        let write = |buffers: &mut Buffers<'_, 's>, range, record: &(K, V)| buffers.push(range, &record.1);
        self.ranges.run_writing(task, (op, split), write)?.write::<V>()
    }
}
