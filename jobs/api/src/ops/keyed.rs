//! Transformations of keyed records that leave the keys alone: `map_values`, `keys`, `values`; and `key_by`.

use crate::func::Func;
use crate::operator::{Flow, Operator, sealed};
use crate::ops::narrow::passes_on;
use crate::plan::{Needs, Parents, Partitioner};
use crate::task::Task;
use firesteel_common::Result;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

sealed! { MapValues<Op, F>, KeyBy<Op, F>, Keys<Op>, Values<Op>, WithUnit<Op> }

/// See [`crate::Rdd::map_values`]. Keys stay where they are.
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "Op: Serialize", deserialize = "Op: DeserializeOwned"))]
pub struct MapValues<Op, F> {
    /// What it transforms.
    pub op: Op,
    /// How.
    pub f: Func<F>,
}

impl<Op: Clone, F> Clone for MapValues<Op, F> {
    fn clone(&self) -> Self {
        Self { op: self.op.clone(), f: self.f }
    }
}

impl<'s, Op, K, V, U, F> Operator<'s> for MapValues<Op, F>
where
    Op: Operator<'s, Item = (K, V)>,
    K: 's,
    U: 's,
    F: Fn(V) -> U + Copy + Send + Sync + 's,
{
    type Item = (K, U);
    passes_on!();

    fn partitioner(&self) -> Option<Partitioner> {
        self.op.partitioner()
    }

    #[inline(always)]
    fn run<S>(&self, task: &Task<'s>, split: &Op::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut((K, U)) -> Flow,
    {
        let f = self.f.get();
        self.op.run(task, split, &mut |(key, value)| sink((key, f(value))))
    }
}

/// See [`crate::Rdd::key_by`].
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "Op: Serialize", deserialize = "Op: DeserializeOwned"))]
pub struct KeyBy<Op, F> {
    /// What it transforms.
    pub op: Op,
    /// Gives the key of a record.
    pub f: Func<F>,
}

impl<Op: Clone, F> Clone for KeyBy<Op, F> {
    fn clone(&self) -> Self {
        Self { op: self.op.clone(), f: self.f }
    }
}

impl<'s, Op, K, F> Operator<'s> for KeyBy<Op, F>
where
    Op: Operator<'s>,
    K: 's,
    F: Fn(&Op::Item) -> K + Copy + Send + Sync + 's,
{
    type Item = (K, Op::Item);
    passes_on!();

    #[inline(always)]
    fn run<S>(&self, task: &Task<'s>, split: &Op::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut((K, Op::Item)) -> Flow,
    {
        let f = self.f.get();
        self.op.run(task, split, &mut |record| sink((f(&record), record)))
    }
}

macro_rules! half_of_pair {
    ($(#[$doc:meta])* $name:ident, $key:ident, $value:ident, $item:ident) => {
        $(#[$doc])*
        #[derive(Clone, Serialize, Deserialize)]
        pub struct $name<Op> {
            /// What it transforms.
            pub op: Op,
        }

        impl<'s, Op, $key: 's, $value: 's> Operator<'s> for $name<Op>
        where
            Op: Operator<'s, Item = ($key, $value)>,
        {
            type Item = $item;
            passes_on!();

            #[inline(always)]
            fn run<S>(&self, task: &Task<'s>, split: &Op::Split, sink: &mut S) -> Result<Flow>
            where
                S: FnMut($item) -> Flow,
            {
                self.op.run(task, split, &mut |pair| sink(half_of_pair!(@half $item, pair)))
            }
        }
    };
    (@half K, $pair:ident) => { $pair.0 };
    (@half V, $pair:ident) => { $pair.1 };
}
half_of_pair!(
    /// See [`crate::Rdd::keys`].
    Keys, K, V, K
);
half_of_pair!(
    /// See [`crate::Rdd::values`].
    Values, K, V, V
);

/// Each record with nothing, so that it can be a key.
#[derive(Clone, Serialize, Deserialize)]
pub struct WithUnit<Op> {
    /// What it transforms.
    pub op: Op,
}

impl<'s, Op: Operator<'s>> Operator<'s> for WithUnit<Op> {
    type Item = (Op::Item, ());
    passes_on!();

    #[inline(always)]
    fn run<S>(&self, task: &Task<'s>, split: &Op::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut((Op::Item, ())) -> Flow,
    {
        self.op.run(task, split, &mut |record| sink((record, ())))
    }
}
