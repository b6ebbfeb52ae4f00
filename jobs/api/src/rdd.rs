//! Datasets and what makes one of another. Everything here is lazy; `action.rs` has what starts jobs,
//! `pair.rs` what needs keys.

use crate::combine::KeepFirst;
use crate::driver::Driver;
use crate::func::Func;
use crate::key::Key;
use crate::operator::Operator;
use crate::ops::cached::Cached;
use crate::ops::erased::Erased;
use crate::ops::keyed::{KeyBy, Keys, WithUnit};
use crate::ops::narrow::{
    Captures, Filter, FilterWith, FlatMap, FlatMapWith, Map, MapPartitions, MapPartitionsWith, MapWith,
};
use crate::ops::shape::{Coalesce, Union};
use crate::ops::shuffled::{Combined, ShuffleRead, Shuffled};
use crate::ops::slices::Slices;
use crate::output::shuffle::RoundRobinWrite;
use crate::plan::{Dataset, Shuffle};
use crate::record::Record;
use crate::record::plain::Plain;
use firesteel_common::Result;
use firesteel_common::block::StorageLevel;
use std::marker::PhantomData;
use std::sync::Arc;

/// A dataset in partitions, as the recipe that makes it. Cloning is cheap; nothing runs before an action.
///
/// Closures capture nothing (the compiler says so when they do); what they need is passed to the `_with`
/// forms.
pub struct Rdd<'s, Op> {
    pub(crate) driver: Arc<Driver>,
    pub(crate) op: Op,
    pub(crate) name: Option<Arc<str>>,
    brand: PhantomData<fn(&'s ()) -> &'s ()>,
}

impl<Op: Clone> Clone for Rdd<'_, Op> {
    fn clone(&self) -> Self {
        let (driver, name) = (self.driver.clone(), self.name.clone());
        Self { driver, op: self.op.clone(), name, brand: PhantomData }
    }
}

/// A dataset whose recipe is not in its type: for loops that make a new one in each turn.
pub type ErasedRdd<'s, T> = Rdd<'s, Erased<'s, T>>;

impl<'s, Op: Operator<'s>> Rdd<'s, Op> {
    pub(crate) fn new(driver: &Arc<Driver>, op: Op) -> Self {
        Self { driver: driver.clone(), op, name: None, brand: PhantomData }
    }

    pub(crate) fn then<Next: Operator<'s>>(&self, op: Next) -> Rdd<'s, Next> {
        Rdd::new(&self.driver, op)
    }

    /// How many partitions it has.
    ///
    /// # Errors
    /// What its operators fail with.
    pub fn partitions(&self) -> Result<usize> {
        Ok(self.op.splits()?.len())
    }

    /// Each record transformed.
    pub fn map<U, F>(&self, f: F) -> Rdd<'s, Map<Op, F>>
    where
        U: 's,
        F: Fn(Op::Item) -> U + Copy + Send + Sync + 's,
    {
        self.then(Map { op: self.op.clone(), f: Func::new(f) })
    }

    /// Each record transformed, with values that the closure needs.
    pub fn map_with<C, U, F>(&self, captures: C, f: F) -> Rdd<'s, MapWith<Op, C, F>>
    where
        C: Captures<'s>,
        U: 's,
        F: Fn(&C, Op::Item) -> U + Copy + Send + Sync + 's,
    {
        self.then(MapWith { op: self.op.clone(), captures, f: Func::new(f) })
    }

    /// The records for which `f` is true.
    pub fn filter<F>(&self, f: F) -> Rdd<'s, Filter<Op, F>>
    where
        F: Fn(&Op::Item) -> bool + Copy + Send + Sync + 's,
    {
        self.then(Filter { op: self.op.clone(), f: Func::new(f) })
    }

    /// The records for which `f` is true, with values that the closure needs.
    pub fn filter_with<C, F>(&self, captures: C, f: F) -> Rdd<'s, FilterWith<Op, C, F>>
    where
        C: Captures<'s>,
        F: Fn(&C, &Op::Item) -> bool + Copy + Send + Sync + 's,
    {
        self.then(FilterWith { op: self.op.clone(), captures, f: Func::new(f) })
    }

    /// For each record any number of others.
    pub fn flat_map<I, F>(&self, f: F) -> Rdd<'s, FlatMap<Op, F>>
    where
        I: IntoIterator,
        I::Item: 's,
        F: Fn(Op::Item) -> I + Copy + Send + Sync + 's,
    {
        self.then(FlatMap { op: self.op.clone(), f: Func::new(f) })
    }

    /// For each record any number of others, with values that the closure needs.
    pub fn flat_map_with<C, I, F>(&self, captures: C, f: F) -> Rdd<'s, FlatMapWith<Op, C, F>>
    where
        C: Captures<'s>,
        I: IntoIterator,
        I::Item: 's,
        F: Fn(&C, Op::Item) -> I + Copy + Send + Sync + 's,
    {
        self.then(FlatMapWith { op: self.op.clone(), captures, f: Func::new(f) })
    }

    /// All records of a partition transformed at once. They are held in memory for that.
    pub fn map_partitions<I, F>(&self, f: F) -> Rdd<'s, MapPartitions<Op, F>>
    where
        I: IntoIterator,
        I::Item: 's,
        F: Fn(Vec<Op::Item>) -> I + Copy + Send + Sync + 's,
    {
        self.then(MapPartitions { op: self.op.clone(), f: Func::new(f) })
    }

    /// All records of a partition transformed at once, with values that the closure needs.
    pub fn map_partitions_with<C, I, F>(&self, captures: C, f: F) -> Rdd<'s, MapPartitionsWith<Op, C, F>>
    where
        C: Captures<'s>,
        I: IntoIterator,
        I::Item: 's,
        F: Fn(&C, Vec<Op::Item>) -> I + Copy + Send + Sync + 's,
    {
        self.then(MapPartitionsWith { op: self.op.clone(), captures, f: Func::new(f) })
    }

    /// The partitions of this dataset, then those of another.
    pub fn union<Other: Operator<'s, Item = Op::Item>>(
        &self,
        other: &Rdd<'s, Other>,
    ) -> Rdd<'s, Union<Op, Other>> {
        self.then(Union { first: self.op.clone(), second: other.op.clone() })
    }

    /// At most so many partitions, without a shuffle: neighbours are put together.
    pub fn coalesce(&self, partitions: u32) -> Rdd<'s, Coalesce<Op>> {
        self.then(Coalesce { op: self.op.clone(), partitions })
    }

    /// Each record with a key.
    pub fn key_by<K, F>(&self, f: F) -> Rdd<'s, KeyBy<Op, F>>
    where
        K: 's,
        F: Fn(&Op::Item) -> K + Copy + Send + Sync + 's,
    {
        self.then(KeyBy { op: self.op.clone(), f: Func::new(f) })
    }

    /// The same dataset with its recipe taken out of its type.
    pub fn erased(&self) -> ErasedRdd<'s, Op::Item> {
        self.then(Erased::new(self.op.clone()))
    }

    pub(crate) fn default_parallelism(&self) -> u32 {
        self.driver.slots().saturating_mul(2)
    }
}

impl<'s, T: Record<'s>, Op: Operator<'s, Item = T>> Rdd<'s, Op> {
    /// The same records dealt out evenly to so many partitions (at least one), by a shuffle.
    pub fn repartition(&self, partitions: u32) -> Rdd<'s, Shuffled<'s, T>> {
        let reducers = partitions.max(1);
        let output = RoundRobinWrite { reducers };
        let shuffle = Shuffle::new(&self.driver, "repartition", reducers, self.op.clone(), output);
        self.then(Shuffled { read: ShuffleRead::new(shuffle), partitioner: None, record: PhantomData })
    }

    /// The same dataset, whose partitions are kept in memory where they are first made, as long as there is
    /// room. A partition that is gone is made again. Dropping the last clone frees them.
    pub fn cache(&self) -> Rdd<'s, Cached<'s, T>> {
        self.persist(StorageLevel::MemoryOnly)
    }

    /// [`Rdd::cache`] with a choice of what happens when there is no room in memory.
    pub fn persist(&self, level: StorageLevel) -> Rdd<'s, Cached<'s, T>> {
        self.then(Cached::new(Dataset::new(&self.driver), level, self.op.clone()))
    }
}

impl<'s, T: Plain> Rdd<'s, Cached<'s, T>> {
    /// The partitions as slices of their records, read where they lie in memory: nothing is decoded or
    /// copied. For loops over numbers, best with [`crate::vectorised`].
    pub fn slices(&self) -> Rdd<'s, Slices<'s, T>> {
        self.then(Slices { cached: self.op.clone() })
    }
}

/// What `distinct` makes.
pub type Distinct<'s, T> = Keys<Combined<'s, T, (), KeepFirst>>;

impl<'s, T: Key<'s>, Op: Operator<'s, Item = T>> Rdd<'s, Op> {
    /// Each record once.
    pub fn distinct(&self) -> Rdd<'s, Distinct<'s, T>> {
        let pairs = self.then(WithUnit { op: self.op.clone() });
        pairs.combine("distinct", pairs.default_parallelism(), KeepFirst).keys()
    }
}
