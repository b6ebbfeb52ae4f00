//! Datasets of pairs: what is combined, grouped, joined and sorted by key.

use crate::combine::{Aggregate, Combine, Reduce};
use crate::func::Func;
use crate::key::Key;
use crate::operator::Operator;
use crate::ops::cogroup::{CoGrouped, Joined, Sides};
use crate::ops::erased::Erased;
use crate::ops::excerpts::Excerpts;
use crate::ops::keyed::{FlatMapValues, Keys, MapValues, Values};
use crate::ops::shuffled::{Combined, Grouped, ShuffleRead, Shuffled, Sorted};
use crate::output::action::SampleKeys;
use crate::output::shuffle::{CombineWrite, HashWrite, RangeWrite};
use crate::plan::{Partitioner, Ranges, Shuffle, check_partitions};
use crate::rdd::Rdd;
use crate::record::{Reader, Record};
use firesteel_common::{Payload, Result};
use std::marker::PhantomData;
use std::sync::Arc;

/// Keys that are sampled for each range of a sort.
const SAMPLES_PER_RANGE: u64 = 20;

impl<'s, K: 's, V: 's, Op: Operator<'s, Item = (K, V)>> Rdd<'s, Op> {
    /// The keys.
    pub fn keys(&self) -> Rdd<'s, Keys<Op>> {
        self.then(Keys { op: self.op.clone() })
    }

    /// The values.
    pub fn values(&self) -> Rdd<'s, Values<Op>> {
        self.then(Values { op: self.op.clone() })
    }

    /// Each value transformed. Keys stay where they are, so a later join needs no shuffle for it.
    pub fn map_values<U, F>(&self, f: F) -> Rdd<'s, MapValues<Op, F>>
    where
        U: 's,
        F: Fn(V) -> U + Copy + Send + Sync + 's,
    {
        self.then(MapValues { op: self.op.clone(), f: Func::new(f) })
    }

    /// For each value any number of others under its key. Keys stay where they are.
    pub fn flat_map_values<I, F>(&self, f: F) -> Rdd<'s, FlatMapValues<Op, F>>
    where
        K: Clone,
        I: IntoIterator,
        I::Item: 's,
        F: Fn(V) -> I + Copy + Send + Sync + 's,
    {
        self.then(FlatMapValues { op: self.op.clone(), f: Func::new(f) })
    }
}

/// What `reduce_by_key` makes.
pub type Reduced<'s, K, V, F> = Combined<'s, K, V, Reduce<F>>;
/// What `aggregate_by_key` makes.
pub type Aggregated<'s, K, V, A, Zero, Add, Merge> = Combined<'s, K, V, Aggregate<A, Zero, Add, Merge>>;

impl<'s, K: Key<'s>, V: 's, Op: Operator<'s, Item = (K, V)>> Rdd<'s, Op> {
    pub(crate) fn combine<C: Combine<'s, V>>(
        &self,
        name: &'static str,
        partitions: u32,
        combine: C,
    ) -> Rdd<'s, Combined<'s, K, V, C>> {
        let reducers = partitions.max(1);
        let output = CombineWrite { reducers, combine: combine.clone() };
        let shuffle = Shuffle::new(&self.driver, name, reducers, self.op.clone(), output);
        self.then(Combined { read: ShuffleRead::new(shuffle), combine, pair: PhantomData })
    }

    /// One aggregate for each key: `zero` begins it, `add` adds a value, `merge` adds another aggregate.
    pub fn aggregate_by_key<A, Zero, Add, Merge>(
        &self,
        zero: Zero,
        add: Add,
        merge: Merge,
    ) -> Rdd<'s, Aggregated<'s, K, V, A, Zero, Add, Merge>>
    where
        A: Record<'s>,
        Zero: Fn() -> A + Copy + Send + Sync + 's,
        Add: Fn(&mut A, V) + Copy + Send + Sync + 's,
        Merge: Fn(&mut A, A) + Copy + Send + Sync + 's,
    {
        let combine = Aggregate {
            zero: Func::new(zero),
            add: Func::new(add),
            merge: Func::new(merge),
            acc: PhantomData,
        };
        self.combine("aggregate_by_key", self.default_parallelism(), combine)
    }
}

impl<'s, K: Key<'s>, V: Record<'s>, Op: Operator<'s, Item = (K, V)>> Rdd<'s, Op> {
    /// One value for each key: `add` adds the second value to the first. It must not matter in which order
    /// values are added.
    pub fn reduce_by_key<F>(&self, add: F) -> Rdd<'s, Reduced<'s, K, V, F>>
    where
        F: Fn(&mut V, V) + Copy + Send + Sync + 's,
    {
        self.reduce_by_key_in(self.default_parallelism(), add)
    }

    /// [`Rdd::reduce_by_key`] into so many partitions.
    pub fn reduce_by_key_in<F>(&self, partitions: u32, add: F) -> Rdd<'s, Reduced<'s, K, V, F>>
    where
        F: Fn(&mut V, V) + Copy + Send + Sync + 's,
    {
        self.combine("reduce_by_key", partitions, Reduce { add: Func::new(add) })
    }

    /// All values of each key, in the order of the partitions that they come from. The values of a key are
    /// held in memory: where they can be combined, `aggregate_by_key` is better.
    pub fn group_by_key(&self) -> Rdd<'s, Grouped<'s, K, V>> {
        let shuffle = self.hash_shuffle("group_by_key", self.default_parallelism());
        self.then(Grouped { read: ShuffleRead::new(shuffle), pair: PhantomData })
    }

    /// The same records in so many partitions, equal keys in the same one. Joins of datasets that are
    /// partitioned alike need no shuffle.
    pub fn partition_by(&self, partitions: u32) -> Rdd<'s, Shuffled<'s, (K, V)>> {
        let reducers = partitions.max(1);
        let shuffle = self.hash_shuffle("partition_by", reducers);
        let partitioner = Some(Partitioner::Hash(reducers));
        self.then(Shuffled { read: ShuffleRead::new(shuffle), partitioner, record: PhantomData })
    }

    pub(crate) fn hash_shuffle(&self, name: &'static str, reducers: u32) -> Arc<Shuffle<'s>> {
        let reducers = reducers.max(1);
        Shuffle::new(&self.driver, name, reducers, self.op.clone(), HashWrite { reducers })
    }

    /// This side of a join as `partitioner` says: as it is where it is partitioned like that.
    fn side(&self, partitioner: &Partitioner, partitions: u32) -> Erased<'s, (K, V)> {
        if self.op.partitioner().as_ref() == Some(partitioner) {
            return Erased::new(self.op.clone());
        }
        Erased::new(self.partition_by(partitions).op)
    }

    /// Both sides of a join. Nothing is shuffled where both are partitioned alike; else both go by the hash
    /// of their keys, into as many partitions as the one that goes by it already.
    pub(crate) fn sides<W, Other>(&self, other: &Rdd<'s, Other>) -> Sides<'s, K, V, W>
    where
        W: Record<'s>,
        Other: Operator<'s, Item = (K, W)>,
    {
        let known = [self.op.partitioner(), other.op.partitioner()];
        let partitions = known
            .iter()
            .filter_map(|partitioner| match partitioner {
                Some(Partitioner::Hash(partitions)) => Some(*partitions),
                _ => None,
            })
            .max()
            .unwrap_or(self.default_parallelism());
        let [left, right] = known;
        let partitioner = left.filter(|left| right.as_ref() == Some(left));
        let partitioner = partitioner.unwrap_or(Partitioner::Hash(partitions));
        let left = self.side(&partitioner, partitions);
        Sides { left, right: other.side(&partitioner, partitions), partitioner: Some(partitioner) }
    }

    /// For each key of either dataset all its values in both.
    pub fn cogroup<W, Other>(&self, other: &Rdd<'s, Other>) -> Rdd<'s, CoGrouped<'s, K, V, W>>
    where
        W: Record<'s>,
        Other: Operator<'s, Item = (K, W)>,
    {
        self.then(CoGrouped { sides: self.sides(other) })
    }

    /// Each pair of values that have the same key. This dataset's partitions are held in memory, one at a
    /// time: it had better be the smaller one.
    pub fn join<W, Other>(&self, other: &Rdd<'s, Other>) -> Rdd<'s, Joined<'s, K, V, W>>
    where
        V: Clone,
        W: Record<'s> + Clone,
        Other: Operator<'s, Item = (K, W)>,
    {
        self.then(Joined { sides: self.sides(other) })
    }
}

impl<'s, K, V, Op> Rdd<'s, Op>
where
    K: Record<'s> + Ord,
    K::Owned: Ord,
    V: Record<'s>,
    Op: Operator<'s, Item = (K, V)>,
{
    /// The records in the order of their keys; equal keys keep their order. A job samples the keys first.
    ///
    /// # Errors
    /// What the job that samples failed with.
    pub fn sort_by_key(&self, ascending: bool) -> Result<Rdd<'s, Sorted<'s, K, V>>> {
        self.sort_by_key_in(self.default_parallelism(), ascending)
    }

    /// [`Rdd::sort_by_key`] into so many partitions.
    ///
    /// # Errors
    /// What the job that samples failed with.
    pub fn sort_by_key_in(&self, partitions: u32, ascending: bool) -> Result<Rdd<'s, Sorted<'s, K, V>>> {
        let output = self.ranges(partitions, ascending)?;
        let (reducers, bounds) = (output.reducers, output.bounds.clone());
        let shuffle = Shuffle::new(&self.driver, "sort_by_key", reducers, self.op.clone(), output);
        let ranges = Ranges { shuffle: shuffle.id, bounds, partitions: reducers, descending: !ascending };
        Ok(self.then(Sorted {
            read: ShuffleRead::new(shuffle),
            descending: !ascending,
            partitioner: Some(Partitioner::Range(Arc::new(ranges))),
            pair: PhantomData,
        }))
    }
}

impl<'s, K, V, Op> Rdd<'s, Op>
where
    K: Record<'s> + Ord,
    K::Owned: Ord,
    V: 's,
    Op: Operator<'s, Item = (K, V)>,
{
    /// How records are written into ranges of their keys.
    pub(crate) fn ranges(&self, partitions: u32, ascending: bool) -> Result<RangeWrite<K>> {
        let reducers = partitions.max(1);
        check_partitions(u64::from(reducers))?;
        let bounds = if reducers == 1 { Payload::empty() } else { self.bounds(reducers)? };
        Ok(RangeWrite { reducers, descending: !ascending, bounds, key: PhantomData })
    }

    /// Keys between ranges of about the same weight, from a sample.
    fn bounds(&self, ranges: u32) -> Result<Payload> {
        let partitions = self.partitions()? as u64;
        let wanted = (SAMPLES_PER_RANGE * u64::from(ranges) * 3).div_ceil(partitions.max(1));
        let mut samples: Vec<(u64, Vec<K::Owned>)> = (0..partitions).map(|_| (0, Vec::new())).collect();
        let excerpts = Excerpts { op: self.op.clone() };
        let shares = excerpts.shares()?;
        self.driver.run("sample keys", &excerpts, SampleKeys { wanted }, |partition, value| {
            if let Some(place) = samples.get_mut(partition as usize) {
                *place = Record::decode(&mut Reader::new(value))?;
            }
            Ok(())
        })?;
        // Each sampled key stands for as many records as its partition has for each sampled one.
        let mut weighted: Vec<(K::Owned, f64)> = Vec::new();
        for ((count, keys), share) in samples.into_iter().zip(shares) {
            let weight = count as f64 / share / keys.len().max(1) as f64;
            weighted.extend(keys.into_iter().map(|key| (key, weight)));
        }
        weighted.sort_by(|a, b| a.0.cmp(&b.0));
        let step = weighted.iter().map(|(_, weight)| weight).sum::<f64>() / f64::from(ranges);
        let mut bounds: Vec<&K::Owned> = Vec::new();
        let mut sum = 0.0;
        for (key, weight) in &weighted {
            sum += weight;
            let enough = sum >= step * (bounds.len() + 1) as f64;
            if enough && bounds.len() + 1 < ranges as usize && bounds.last().is_none_or(|last| *last < key) {
                bounds.push(key);
            }
        }
        let mut encoded = Vec::new();
        bounds.iter().for_each(|bound| bound.encode(&mut encoded));
        Ok(encoded.into())
    }
}
