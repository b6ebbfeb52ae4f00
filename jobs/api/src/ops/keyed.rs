//! Transformations of keyed records that leave the keys alone: `map_values`, `keys`, `values`, a choice of
//! keys; and `key_by`.

use crate::func::Func;
use crate::key::Key;
use crate::operator::{Flow, MORE, Operator, sealed};
use crate::ops::narrow::{passes_on, passes_on_records};
use crate::plan::{Needs, Parents, Partitioner};
use crate::record::{Reader, Record};
use crate::task::Task;
use firesteel_common::{Payload, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

sealed! {
    MapValues<Op, F>, FlatMapValues<Op, F>, KeyBy<Op, F>, Keys<Op>, Values<Op>, WithUnit<Op>, KeyIs<Op, K>,
    KeyBetween<Op, K>,
}

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
    passes_on_records!();

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

/// See [`crate::Rdd::flat_map_values`]. Keys stay where they are.
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "Op: Serialize", deserialize = "Op: DeserializeOwned"))]
pub struct FlatMapValues<Op, F> {
    /// What it transforms.
    pub op: Op,
    /// How.
    pub f: Func<F>,
}

impl<Op: Clone, F> Clone for FlatMapValues<Op, F> {
    fn clone(&self) -> Self {
        Self { op: self.op.clone(), f: self.f }
    }
}

impl<'s, Op, K, V, I, F> Operator<'s> for FlatMapValues<Op, F>
where
    Op: Operator<'s, Item = (K, V)>,
    K: Clone + 's,
    V: 's,
    I: IntoIterator,
    I::Item: 's,
    F: Fn(V) -> I + Copy + Send + Sync + 's,
{
    type Item = (K, I::Item);
    passes_on_records!();

    fn partitioner(&self) -> Option<Partitioner> {
        self.op.partitioner()
    }

    #[inline(always)]
    fn run<S>(&self, task: &Task<'s>, split: &Op::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(Self::Item) -> Flow,
    {
        let f = self.f.get();
        self.op.run(task, split, &mut |(key, value)| {
            f(value).into_iter().try_for_each(|made| sink((key.clone(), made)))
        })
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
    passes_on_records!();

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
            passes_on_records!();

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
    passes_on_records!();

    #[inline(always)]
    fn run<S>(&self, task: &Task<'s>, split: &Op::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut((Op::Item, ())) -> Flow,
    {
        self.op.run(task, split, &mut |record| sink((record, ())))
    }
}

/// The records of one key. See [`crate::Rdd::lookup`].
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "Op: Serialize", deserialize = "Op: DeserializeOwned"))]
pub struct KeyIs<Op, K> {
    /// Of what.
    pub op: Op,
    /// The key, encoded.
    pub key: Payload,
    /// The type of the key.
    pub of: PhantomData<fn() -> K>,
}

impl<Op: Clone, K> Clone for KeyIs<Op, K> {
    fn clone(&self) -> Self {
        Self { op: self.op.clone(), key: self.key.clone(), of: PhantomData }
    }
}

impl<'s, K: Key<'s>, V: 's, Op: Operator<'s, Item = (K, V)>> Operator<'s> for KeyIs<Op, K> {
    type Item = (K, V);
    passes_on_records!();

    fn partitioner(&self) -> Option<Partitioner> {
        self.op.partitioner()
    }

    fn run<S>(&self, task: &Task<'s>, split: &Op::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut((K, V)) -> Flow,
    {
        let wanted = K::decode(&mut Reader::new(task.hold_payload(&self.key)))?;
        self.op.run(task, split, &mut |pair| if pair.0 == wanted { sink(pair) } else { MORE })
    }
}

/// The records whose keys lie in a range. See [`crate::Rdd::filter_by_range`].
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "Op: Serialize", deserialize = "Op: DeserializeOwned"))]
pub struct KeyBetween<Op, K> {
    /// Of what.
    pub op: Op,
    /// The least and the greatest key, encoded.
    pub range: Payload,
    /// The type of the keys.
    pub of: PhantomData<fn() -> K>,
}

impl<Op: Clone, K> Clone for KeyBetween<Op, K> {
    fn clone(&self) -> Self {
        Self { op: self.op.clone(), range: self.range.clone(), of: PhantomData }
    }
}

impl<'s, K, V, Op> Operator<'s> for KeyBetween<Op, K>
where
    K: Record<'s> + Ord,
    V: 's,
    Op: Operator<'s, Item = (K, V)>,
{
    type Item = (K, V);
    passes_on_records!();

    fn partitioner(&self) -> Option<Partitioner> {
        self.op.partitioner()
    }

    fn run<S>(&self, task: &Task<'s>, split: &Op::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut((K, V)) -> Flow,
    {
        let (least, greatest) = <(K, K)>::decode(&mut Reader::new(task.hold_payload(&self.range)))?;
        self.op.run(task, split, &mut |pair| {
            if least <= pair.0 && pair.0 <= greatest { sink(pair) } else { MORE }
        })
    }
}
