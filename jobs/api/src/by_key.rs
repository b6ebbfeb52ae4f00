//! Keyed datasets: more ways to combine, partitions by a function of the job, and what is asked of keys.

use crate::combine::{Create, Reduce};
use crate::func::Func;
use crate::key::Key;
use crate::operator::Operator;
use crate::ops::erased::Erased;
use crate::ops::folded::LocallyCombined;
use crate::ops::indexed::Pruned;
use crate::ops::keyed::KeyIs;
use crate::ops::shuffled::{Combined, Grouped, ShuffleRead, Shuffled};
use crate::output::shuffle::FunctionWrite;
use crate::pair::Aggregated;
use crate::plan::{Partitioner, Shuffle};
use crate::rdd::Rdd;
use crate::record::Record;
use firesteel_common::Result;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

/// What `combine_by_key` makes.
pub type CreatedCombined<'s, K, V, A, First, Add, Merge> = Combined<'s, K, V, Create<A, First, Add, Merge>>;

impl<'s, K: Key<'s>, V: 's, Op: Operator<'s, Item = (K, V)>> Rdd<'s, Op> {
    /// One aggregate for each key: `create` makes it of a first value, `add` adds a value, `merge` adds
    /// another aggregate.
    pub fn combine_by_key<A, First, Add, Merge>(
        &self,
        create: First,
        add: Add,
        merge: Merge,
    ) -> Rdd<'s, CreatedCombined<'s, K, V, A, First, Add, Merge>>
    where
        A: Record<'s>,
        First: Fn(V) -> A + Copy + Send + Sync + 's,
        Add: Fn(&mut A, V) + Copy + Send + Sync + 's,
        Merge: Fn(&mut A, A) + Copy + Send + Sync + 's,
    {
        let (create, add, merge) = (Func::new(create), Func::new(add), Func::new(merge));
        let combine = Create { create, add, merge, acc: PhantomData };
        self.combine("combine_by_key", self.default_parallelism(), combine)
    }
}

impl<'s, K: Key<'s>, V: Record<'s>, Op: Operator<'s, Item = (K, V)>> Rdd<'s, Op> {
    /// One value for each key: `zero` begins it (once for each key of each partition), `add` adds a value.
    pub fn fold_by_key<Zero, Add>(
        &self,
        zero: Zero,
        add: Add,
    ) -> Rdd<'s, Aggregated<'s, K, V, V, Zero, Add, Add>>
    where
        Zero: Fn() -> V + Copy + Send + Sync + 's,
        Add: Fn(&mut V, V) + Copy + Send + Sync + 's,
    {
        self.aggregate_by_key(zero, add, add)
    }

    /// [`Rdd::group_by_key`] into so many partitions.
    pub fn group_by_key_in(&self, partitions: u32) -> Rdd<'s, Grouped<'s, K, V>> {
        let shuffle = self.hash_shuffle("group_by_key", partitions.max(1));
        self.then(Grouped { read: ShuffleRead::new(shuffle), pair: PhantomData })
    }

    /// The records as a map; of several values of a key the last one.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn collect_as_map(&self) -> Result<BTreeMap<K::Owned, V::Owned>>
    where
        K::Owned: Ord,
    {
        Ok(self.collect()?.into_iter().collect())
    }

    /// All values of a key. Where the dataset is partitioned by key only one partition is looked at.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn lookup(&self, key: &K::Owned) -> Result<Vec<V::Owned>>
    where
        K::Owned: for<'x> Key<'x>,
    {
        let mut encoded = Vec::new();
        key.encode(&mut encoded);
        let op = match self.op.partitioner() {
            Some(Partitioner::Hash(partitions)) => {
                let keep = Arc::new(vec![key.digest().partition(partitions)]);
                Erased::new(Pruned { op: self.op.clone(), keep })
            }
            _ => Erased::new(self.op.clone()),
        };
        let found = self.then(KeyIs::<_, K> { op, key: encoded.into(), of: PhantomData });
        Ok(found.collect()?.into_iter().map(|(_, value)| value).collect())
    }
}

impl<'s, K, V, Op> Rdd<'s, Op>
where
    K: Key<'s>,
    V: for<'x> Record<'x, Owned = V>,
    Op: Operator<'s, Item = (K, V)>,
{
    /// One value for each key, put together in the driver without a shuffle: for few keys.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn reduce_by_key_locally<F>(&self, add: F) -> Result<BTreeMap<K::Owned, V>>
    where
        K::Owned: Ord,
        F: Fn(&mut V, V) + Copy + Send + Sync + 's,
    {
        let combine = Reduce { add: Func::new(add) };
        let mut merged: BTreeMap<K::Owned, V> = BTreeMap::new();
        for (key, value) in self.then(LocallyCombined { op: self.op.clone(), combine }).collect()? {
            match merged.entry(key) {
                std::collections::btree_map::Entry::Occupied(mut known) => add(known.get_mut(), value),
                std::collections::btree_map::Entry::Vacant(free) => {
                    free.insert(value);
                }
            }
        }
        Ok(merged)
    }
}

impl<'s, K: Key<'s>, V: 's, Op: Operator<'s, Item = (K, V)>> Rdd<'s, Op> {
    /// How many records each key has.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn count_by_key(&self) -> Result<BTreeMap<K::Owned, u64>>
    where
        K::Owned: Ord,
    {
        let ones = self.map(|(key, _)| (key, 1_u64));
        ones.reduce_by_key(|sum, more| *sum += more).collect_as_map()
    }
}

impl<'s, T: Key<'s, Owned: Ord>, Op: Operator<'s, Item = T>> Rdd<'s, Op> {
    /// How often each record is there.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn count_by_value(&self) -> Result<BTreeMap<T::Owned, u64>> {
        self.map(|record| (record, ())).count_by_key()
    }
}

/// What a partition function is known by: its code.
fn code_of<K, F: Fn(&K) -> u32 + Copy + Send + Sync>() -> usize {
    /// One for each type of closure; what is merged by the linker does the same.
    fn call<K, F: Fn(&K) -> u32 + Copy + Send + Sync>(f: Func<F>, key: &K) -> u32 {
        (f.get())(key)
    }
    let function: fn(Func<F>, &K) -> u32 = call::<K, F>;
    function as usize
}

impl<'s, K: Record<'s>, V: Record<'s>, Op: Operator<'s, Item = (K, V)>> Rdd<'s, Op> {
    /// The same records in `partitions` partitions (at least one), each in the one that `f` names for its
    /// key; beyond the last it begins again at the first. Joins of datasets that were partitioned by the same
    /// function into as many partitions need no shuffle.
    pub fn partition_by_function<F>(&self, partitions: u32, f: F) -> Rdd<'s, Shuffled<'s, (K, V)>>
    where
        F: Fn(&K) -> u32 + Copy + Send + Sync + 's,
    {
        let reducers = partitions.max(1);
        let output = FunctionWrite { reducers, f: Func::new(f) };
        let shuffle = Shuffle::new(&self.driver, "partition_by", reducers, self.op.clone(), output);
        let partitioner = Partitioner::Custom { code: code_of::<K, F>(), partitions: reducers };
        let read = ShuffleRead::new(shuffle);
        self.then(Shuffled { read, partitioner: Some(partitioner), record: PhantomData })
    }
}
