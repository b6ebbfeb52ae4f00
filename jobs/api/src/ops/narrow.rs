//! Transformations of single records: `map`, `filter`, `flat_map`, and the forms that are given captures.

use crate::func::Func;
use crate::operator::{Flow, MORE, Operator, sealed};
use crate::plan::{Needs, Parents, Partitioner};
use crate::task::Task;
use firesteel_common::Result;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

sealed! {
    Map<Op, F>,
    MapWith<Op, C, F>,
    Filter<Op, F>,
    FilterWith<Op, C, F>,
    FlatMap<Op, F>,
    FlatMapWith<Op, C, F>,
    MapPartitions<Op, F>,
    MapPartitionsWith<Op, C, F>,
}

/// Values that closures are given: serde types that can be cloned.
pub trait Captures<'s>: Serialize + DeserializeOwned + Clone + Send + Sync + 's {}
impl<'s, C: Serialize + DeserializeOwned + Clone + Send + Sync + 's> Captures<'s> for C {}

/// What an operator over one other operator passes on.
macro_rules! passes_on {
    () => {
        type Split = Op::Split;

        fn splits(&self) -> Result<Vec<Op::Split>> {
            self.op.splits()
        }

        fn describe(&self, split: &Op::Split, needs: &mut Needs) -> Result<()> {
            self.op.describe(split, needs)
        }

        fn parents(&self, parents: &mut Parents<'s>) {
            self.op.parents(parents);
        }
    };
}
pub(crate) use passes_on;

/// What an operator passes on that looks at each record by itself.
macro_rules! passes_on_records {
    () => {
        passes_on!();

        fn excerpt(&self, split: &Op::Split) -> Option<crate::operator::Excerpt<Op::Split>> {
            self.op.excerpt(split)
        }
    };
}
pub(crate) use passes_on_records;

macro_rules! operator_with_closure {
    ($(#[$doc:meta])* $name:ident, $(#[$doc_with:meta])* $with:ident) => {
        $(#[$doc])*
        #[derive(Serialize, Deserialize)]
        #[serde(bound(serialize = "Op: Serialize", deserialize = "Op: DeserializeOwned"))]
        pub struct $name<Op, F> {
            /// What it transforms.
            pub op: Op,
            /// How.
            pub f: Func<F>,
        }

        impl<Op: Clone, F> Clone for $name<Op, F> {
            fn clone(&self) -> Self {
                Self { op: self.op.clone(), f: self.f }
            }
        }

        $(#[$doc_with])*
        #[derive(Serialize, Deserialize)]
        #[serde(bound(
            serialize = "Op: Serialize, C: Serialize",
            deserialize = "Op: DeserializeOwned, C: DeserializeOwned"
        ))]
        pub struct $with<Op, C, F> {
            /// What it transforms.
            pub op: Op,
            /// What the closure is given.
            #[serde(with = "crate::serial::framed")]
            pub captures: C,
            /// How.
            pub f: Func<F>,
        }

        impl<Op: Clone, C: Clone, F> Clone for $with<Op, C, F> {
            fn clone(&self) -> Self {
                Self { op: self.op.clone(), captures: self.captures.clone(), f: self.f }
            }
        }
    };
}

operator_with_closure!(
    /// See [`crate::Rdd::map`].
    Map,
    /// See [`crate::Rdd::map_with`].
    MapWith
);
operator_with_closure!(
    /// See [`crate::Rdd::filter`].
    Filter,
    /// See [`crate::Rdd::filter_with`].
    FilterWith
);
operator_with_closure!(
    /// See [`crate::Rdd::flat_map`].
    FlatMap,
    /// See [`crate::Rdd::flat_map_with`].
    FlatMapWith
);
operator_with_closure!(
    /// See [`crate::Rdd::map_partitions`].
    MapPartitions,
    /// See [`crate::Rdd::map_partitions_with`].
    MapPartitionsWith
);

impl<'s, Op, U, F> Operator<'s> for Map<Op, F>
where
    Op: Operator<'s>,
    U: 's,
    F: Fn(Op::Item) -> U + Copy + Send + Sync + 's,
{
    type Item = U;
    passes_on_records!();

    #[inline(always)]
    fn run<S: FnMut(U) -> Flow>(&self, task: &Task<'s>, split: &Op::Split, sink: &mut S) -> Result<Flow> {
        let f = self.f.get();
        self.op.run(task, split, &mut |record| sink(f(record)))
    }
}

impl<'s, Op, C, U, F> Operator<'s> for MapWith<Op, C, F>
where
    Op: Operator<'s>,
    C: Captures<'s>,
    U: 's,
    F: Fn(&C, Op::Item) -> U + Copy + Send + Sync + 's,
{
    type Item = U;
    passes_on_records!();

    #[inline(always)]
    fn run<S: FnMut(U) -> Flow>(&self, task: &Task<'s>, split: &Op::Split, sink: &mut S) -> Result<Flow> {
        let f = self.f.get();
        self.op.run(task, split, &mut |record| sink(f(&self.captures, record)))
    }
}

impl<'s, Op, F> Operator<'s> for Filter<Op, F>
where
    Op: Operator<'s>,
    F: Fn(&Op::Item) -> bool + Copy + Send + Sync + 's,
{
    type Item = Op::Item;
    passes_on_records!();

    fn partitioner(&self) -> Option<Partitioner> {
        self.op.partitioner()
    }

    #[inline(always)]
    fn run<S>(&self, task: &Task<'s>, split: &Op::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(Op::Item) -> Flow,
    {
        let f = self.f.get();
        self.op.run(task, split, &mut |record| if f(&record) { sink(record) } else { MORE })
    }
}

impl<'s, Op, C, F> Operator<'s> for FilterWith<Op, C, F>
where
    Op: Operator<'s>,
    C: Captures<'s>,
    F: Fn(&C, &Op::Item) -> bool + Copy + Send + Sync + 's,
{
    type Item = Op::Item;
    passes_on_records!();

    fn partitioner(&self) -> Option<Partitioner> {
        self.op.partitioner()
    }

    #[inline(always)]
    fn run<S>(&self, task: &Task<'s>, split: &Op::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(Op::Item) -> Flow,
    {
        let f = self.f.get();
        self.op.run(task, split, &mut |record| if f(&self.captures, &record) { sink(record) } else { MORE })
    }
}

impl<'s, Op, I, F> Operator<'s> for FlatMap<Op, F>
where
    Op: Operator<'s>,
    I: IntoIterator,
    I::Item: 's,
    F: Fn(Op::Item) -> I + Copy + Send + Sync + 's,
{
    type Item = I::Item;
    passes_on_records!();

    #[inline(always)]
    fn run<S>(&self, task: &Task<'s>, split: &Op::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(I::Item) -> Flow,
    {
        let f = self.f.get();
        self.op.run(task, split, &mut |record| f(record).into_iter().try_for_each(&mut *sink))
    }
}

impl<'s, Op, C, I, F> Operator<'s> for FlatMapWith<Op, C, F>
where
    Op: Operator<'s>,
    C: Captures<'s>,
    I: IntoIterator,
    I::Item: 's,
    F: Fn(&C, Op::Item) -> I + Copy + Send + Sync + 's,
{
    type Item = I::Item;
    passes_on_records!();

    #[inline(always)]
    fn run<S>(&self, task: &Task<'s>, split: &Op::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(I::Item) -> Flow,
    {
        let f = self.f.get();
        self.op.run(task, split, &mut |record| f(&self.captures, record).into_iter().try_for_each(&mut *sink))
    }
}

impl<'s, Op, I, F> Operator<'s> for MapPartitions<Op, F>
where
    Op: Operator<'s>,
    I: IntoIterator,
    I::Item: 's,
    F: Fn(Vec<Op::Item>) -> I + Copy + Send + Sync + 's,
{
    type Item = I::Item;
    passes_on!();

    fn run<S>(&self, task: &Task<'s>, split: &Op::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(I::Item) -> Flow,
    {
        Ok((self.f.get())(gather(&self.op, task, split)?).into_iter().try_for_each(&mut *sink))
    }
}

impl<'s, Op, C, I, F> Operator<'s> for MapPartitionsWith<Op, C, F>
where
    Op: Operator<'s>,
    C: Captures<'s>,
    I: IntoIterator,
    I::Item: 's,
    F: Fn(&C, Vec<Op::Item>) -> I + Copy + Send + Sync + 's,
{
    type Item = I::Item;
    passes_on!();

    fn run<S>(&self, task: &Task<'s>, split: &Op::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(I::Item) -> Flow,
    {
        let records = gather(&self.op, task, split)?;
        Ok((self.f.get())(&self.captures, records).into_iter().try_for_each(&mut *sink))
    }
}

/// All records of a partition.
pub(crate) fn gather<'s, Op: Operator<'s>>(
    op: &Op,
    task: &Task<'s>,
    split: &Op::Split,
) -> Result<Vec<Op::Item>> {
    let mut records = Vec::new();
    let _ = op.run(task, split, &mut |record| {
        records.push(record);
        MORE
    })?;
    Ok(records)
}
