//! Partitions made smaller where they are: one value of each, or one for each key of each.

use crate::aggregate::{Aggregation, Merged};
use crate::combine::Combine;
use crate::func::Func;
use crate::key::Key;
use crate::operator::{Flow, MORE, Operator, sealed};
use crate::ops::narrow::passes_on;
use crate::plan::{Needs, Parents, Partitioner};
use crate::task::Task;
use firesteel_common::Result;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

sealed! { Folded<Op, A, Zero, Add>, LocallyCombined<Op, C> }

/// One value of each partition.
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "Op: Serialize", deserialize = "Op: DeserializeOwned"))]
pub struct Folded<Op, A, Zero, Add> {
    /// What it folds.
    pub op: Op,
    /// The value of nothing.
    pub zero: Func<Zero>,
    /// Adds a record.
    pub add: Func<Add>,
    /// The type of the value.
    pub acc: PhantomData<fn() -> A>,
}

impl<Op: Clone, A, Zero, Add> Clone for Folded<Op, A, Zero, Add> {
    fn clone(&self) -> Self {
        Self { op: self.op.clone(), zero: self.zero, add: self.add, acc: PhantomData }
    }
}

impl<'s, Op, A, Zero, Add> Operator<'s> for Folded<Op, A, Zero, Add>
where
    Op: Operator<'s>,
    A: 's,
    Zero: Fn() -> A + Copy + Send + Sync + 's,
    Add: Fn(&mut A, Op::Item) + Copy + Send + Sync + 's,
{
    type Item = A;
    passes_on!();

    fn run<S: FnMut(A) -> Flow>(&self, task: &Task<'s>, split: &Op::Split, sink: &mut S) -> Result<Flow> {
        let add = self.add.get();
        let mut acc = (self.zero.get())();
        let _ = self.op.run(task, split, &mut |record| {
            add(&mut acc, record);
            MORE
        })?;
        Ok(sink(acc))
    }
}

/// One value for each key of each partition, without a shuffle.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound(
    serialize = "Op: Serialize, C: Serialize",
    deserialize = "Op: DeserializeOwned, C: DeserializeOwned"
))]
pub struct LocallyCombined<Op, C> {
    /// What it combines.
    pub op: Op,
    /// How.
    pub combine: C,
}

impl<'s, K, V, C, Op> Operator<'s> for LocallyCombined<Op, C>
where
    K: Key<'s>,
    V: 's,
    C: Combine<'s, V>,
    Op: Operator<'s, Item = (K, V)>,
{
    type Item = (K, C::Acc);
    passes_on!();

    fn partitioner(&self) -> Option<Partitioner> {
        self.op.partitioner()
    }

    fn run<S>(&self, task: &Task<'s>, split: &Op::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(Self::Item) -> Flow,
    {
        let add = |acc: &mut C::Acc, value| self.combine.add(acc, value);
        let merge = Merged(|acc: &mut C::Acc, other| self.combine.merge(acc, other));
        let create = |value| self.combine.create(value);
        let mut table = Aggregation::new(task, "a combination by key", create, add, merge);
        let _ = self.op.run(task, split, &mut |(key, value)| table.push(key, value))?;
        table.finish(|_, key, acc| sink((key, acc)))
    }
}
