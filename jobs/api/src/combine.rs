//! How the values of a key become one: by a reduction, or by an aggregate of another type.

use crate::func::Func;
use crate::record::Record;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

/// Makes one value of many, first on the side that writes a shuffle, then on the side that reads it.
pub trait Combine<'s, V>: Serialize + DeserializeOwned + Clone + Send + Sync + 's {
    /// What values are combined to.
    type Acc: Record<'s>;
    /// From the first value.
    fn create(&self, value: V) -> Self::Acc;
    /// Adds a further value.
    fn add(&self, acc: &mut Self::Acc, value: V);
    /// Adds what was combined elsewhere.
    fn merge(&self, acc: &mut Self::Acc, other: Self::Acc);
}

/// See [`crate::Rdd::reduce_by_key`].
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Reduce<F> {
    /// Adds the second value to the first.
    pub add: Func<F>,
}

impl<F> Clone for Reduce<F> {
    fn clone(&self) -> Self {
        Self { add: self.add }
    }
}

impl<'s, V, F> Combine<'s, V> for Reduce<F>
where
    V: Record<'s>,
    F: Fn(&mut V, V) + Copy + Send + Sync + 's,
{
    type Acc = V;
    #[inline(always)]
    fn create(&self, value: V) -> V {
        value
    }
    #[inline(always)]
    fn add(&self, acc: &mut V, value: V) {
        (self.add.get())(acc, value);
    }
    #[inline(always)]
    fn merge(&self, acc: &mut V, other: V) {
        (self.add.get())(acc, other);
    }
}

/// See [`crate::Rdd::aggregate_by_key`].
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Aggregate<A, Zero, Add, Merge> {
    /// The aggregate of nothing.
    pub zero: Func<Zero>,
    /// Adds a value.
    pub add: Func<Add>,
    /// Adds another aggregate.
    pub merge: Func<Merge>,
    /// The type of the aggregate.
    pub acc: PhantomData<fn() -> A>,
}

impl<A, Zero, Add, Merge> Clone for Aggregate<A, Zero, Add, Merge> {
    fn clone(&self) -> Self {
        Self { zero: self.zero, add: self.add, merge: self.merge, acc: PhantomData }
    }
}

impl<'s, V, A, Zero, Add, Merge> Combine<'s, V> for Aggregate<A, Zero, Add, Merge>
where
    A: Record<'s>,
    Zero: Fn() -> A + Copy + Send + Sync + 's,
    Add: Fn(&mut A, V) + Copy + Send + Sync + 's,
    Merge: Fn(&mut A, A) + Copy + Send + Sync + 's,
{
    type Acc = A;
    #[inline(always)]
    fn create(&self, value: V) -> A {
        let mut acc = (self.zero.get())();
        (self.add.get())(&mut acc, value);
        acc
    }
    #[inline(always)]
    fn add(&self, acc: &mut A, value: V) {
        (self.add.get())(acc, value);
    }
    #[inline(always)]
    fn merge(&self, acc: &mut A, other: A) {
        (self.merge.get())(acc, other);
    }
}

/// See [`crate::Rdd::combine_by_key`].
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Create<A, First, Add, Merge> {
    /// The aggregate of a first value.
    pub create: Func<First>,
    /// Adds a value.
    pub add: Func<Add>,
    /// Adds another aggregate.
    pub merge: Func<Merge>,
    /// The type of the aggregate.
    pub acc: PhantomData<fn() -> A>,
}

impl<A, First, Add, Merge> Clone for Create<A, First, Add, Merge> {
    fn clone(&self) -> Self {
        Self { create: self.create, add: self.add, merge: self.merge, acc: PhantomData }
    }
}

impl<'s, V, A, First, Add, Merge> Combine<'s, V> for Create<A, First, Add, Merge>
where
    A: Record<'s>,
    First: Fn(V) -> A + Copy + Send + Sync + 's,
    Add: Fn(&mut A, V) + Copy + Send + Sync + 's,
    Merge: Fn(&mut A, A) + Copy + Send + Sync + 's,
{
    type Acc = A;
    #[inline(always)]
    fn create(&self, value: V) -> A {
        (self.create.get())(value)
    }
    #[inline(always)]
    fn add(&self, acc: &mut A, value: V) {
        (self.add.get())(acc, value);
    }
    #[inline(always)]
    fn merge(&self, acc: &mut A, other: A) {
        (self.merge.get())(acc, other);
    }
}

/// Keeps the first value: what `distinct` does with nothing.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeepFirst;

impl<'s, V: Record<'s>> Combine<'s, V> for KeepFirst {
    type Acc = V;
    fn create(&self, value: V) -> V {
        value
    }
    fn add(&self, _acc: &mut V, _value: V) {}
    fn merge(&self, _acc: &mut V, _other: V) {}
}
