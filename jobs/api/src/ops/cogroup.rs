//! `cogroup` and the joins: two keyed datasets whose equal keys lie in partitions of the same number.

use crate::aggregate::{Aggregation, Groups};
use crate::key::Key;
use crate::lists::{BothSides, List, Lists, TwoLists, Values};
use crate::operator::{ENOUGH, Flow, MORE, Operator, sealed};
use crate::ops::erased::Erased;
use crate::plan::{Needs, Parents, Partitioner};
use crate::record::Record;
use crate::table::QUEUE;
use crate::task::Task;
use firesteel_common::{Error, ErrorCode, Payload, Result};
use serde::{Deserialize, Serialize};

sealed! { CoGrouped<'s, K, V, W>, Joined<'s, K, V, W> }

/// Two datasets partitioned alike, partition by partition.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Sides<'s, K, V, W> {
    /// The left side.
    pub left: Erased<'s, (K, V)>,
    /// The right side.
    pub right: Erased<'s, (K, W)>,
    /// Driver only: how both are partitioned.
    #[serde(skip)]
    pub partitioner: Option<Partitioner>,
}

impl<K, V, W> Clone for Sides<'_, K, V, W> {
    fn clone(&self) -> Self {
        Self { left: self.left.clone(), right: self.right.clone(), partitioner: self.partitioner.clone() }
    }
}

/// What both operators on two sides answer to their driver.
macro_rules! two_sides {
    () => {
        type Split = (Payload, Payload);

        fn splits(&self) -> Result<Vec<Self::Split>> {
            let (left, right) = (self.sides.left.splits()?, self.sides.right.splits()?);
            if left.len() != right.len() {
                return Err(Error::new(ErrorCode::Internal, "the sides of a join are not partitioned alike"));
            }
            Ok(left.into_iter().zip(right).collect())
        }

        fn describe(&self, split: &Self::Split, needs: &mut Needs) -> Result<()> {
            self.sides.left.describe(&split.0, needs)?;
            self.sides.right.describe(&split.1, needs)
        }

        fn parents(&self, parents: &mut Parents<'s>) {
            self.sides.left.parents(parents);
            self.sides.right.parents(parents);
        }

        fn partitioner(&self) -> Option<Partitioner> {
            self.sides.partitioner.clone()
        }
    };
}

/// All values of both sides for each key. See [`crate::Rdd::cogroup`].
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct CoGrouped<'s, K, V, W> {
    /// The sides.
    pub sides: Sides<'s, K, V, W>,
}

impl<K, V, W> Clone for CoGrouped<'_, K, V, W> {
    fn clone(&self) -> Self {
        Self { sides: self.sides.clone() }
    }
}

/// A value of one of the sides.
enum Side<V, W> {
    Left(V),
    Right(W),
}

impl<'s, K: Key<'s>, V: Record<'s>, W: Record<'s>> Operator<'s> for CoGrouped<'s, K, V, W> {
    type Item = (K, (Vec<V>, Vec<W>));
    two_sides!();

    fn run<S>(&self, task: &Task<'s>, split: &Self::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(Self::Item) -> Flow,
    {
        let (lefts, rights) = (Values::new(), Values::new());
        let add = |both: &mut TwoLists, value| match value {
            Side::Left(value) => lefts.add(&mut both.0, value),
            Side::Right(value) => rights.add(&mut both.1, value),
        };
        let create = |value| {
            let mut both = (lefts.list(), rights.list());
            add(&mut both, value);
            both
        };
        let mut table = Aggregation::new(task, "cogroup", create, add, BothSides(&lefts, &rights));
        let _ =
            self.sides.left.run(task, &split.0, &mut |(key, value)| table.push(key, Side::Left(value)))?;
        let _ =
            self.sides.right.run(task, &split.1, &mut |(key, value)| table.push(key, Side::Right(value)))?;
        table.finish(|_, key, both| sink((key, both)))
    }
}

/// Each pair of values of the same key. See [`crate::Rdd::join`]. The left side is held in a table, the right
/// side passes by it: pairs come in the order of the right side, then of the left.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Joined<'s, K, V, W> {
    /// The sides.
    pub sides: Sides<'s, K, V, W>,
}

impl<K, V, W> Clone for Joined<'_, K, V, W> {
    fn clone(&self) -> Self {
        Self { sides: self.sides.clone() }
    }
}

impl<'s, K, V, W> Operator<'s> for Joined<'s, K, V, W>
where
    K: Key<'s>,
    V: Record<'s> + Clone,
    W: Record<'s> + Clone,
{
    type Item = (K, (V, W));
    two_sides!();

    fn run<S>(&self, task: &Task<'s>, split: &Self::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(Self::Item) -> Flow,
    {
        let values = Values::new();
        let add = |list: &mut _, value| values.add(list, value);
        let mut table = Aggregation::new(task, "join", |value| values.first(value), add, Lists(&values));
        let _ = self.sides.left.run(task, &split.0, &mut |(key, value)| table.push(key, value))?;
        table.settle()?;
        if table.has_spilled() {
            return self.run_spilled(task, split, table.into_groups()?, sink);
        }
        values.arrange(table.values_mut());
        let pair = |(key, right): (K, W), sink: &mut S| {
            let Some(list) = table.get(&key) else { return MORE };
            values.show(*list, |lefts| pairs(key, lefts, right, sink))
        };
        let mut waiting: Vec<(K, W)> = Vec::with_capacity(QUEUE);
        let flow = self.sides.right.run(task, &split.1, &mut |record| {
            waiting.push(record);
            if waiting.len() < QUEUE {
                return MORE;
            }
            table.touch(waiting.iter().map(|(key, _)| key));
            waiting.drain(..).try_for_each(|record| pair(record, sink))
        })?;
        if flow.is_break() {
            return Ok(flow);
        }
        Ok(waiting.drain(..).try_for_each(|record| pair(record, sink)))
    }
}

/// Each value of the left side with one of the right. The last pair takes what it is made of.
#[inline(always)]
fn pairs<K: Clone, V: Clone, W: Clone>(
    key: K,
    lefts: &[V],
    right: W,
    sink: &mut impl FnMut((K, (V, W))) -> Flow,
) -> Flow {
    let Some((last, others)) = lefts.split_last() else { return MORE };
    for left in others {
        if sink((key.clone(), (left.clone(), right.clone()))).is_break() {
            return ENOUGH;
        }
    }
    sink((key, (last.clone(), right)))
}

/// The left side of a join in runs.
type LeftGroups<'t, 's, 'v, K, V> = Groups<'t, 's, K, List, Lists<'v, V>>;

impl<'s, K, V, W> Joined<'s, K, V, W>
where
    K: Key<'s>,
    V: Record<'s> + Clone,
    W: Record<'s> + Clone,
{
    /// The left side did not fit: both sides come in the order of the digests of their keys. The values of
    /// one key of the left side are in memory at once, those of the right side pass by.
    fn run_spilled<S>(
        &self,
        task: &Task<'s>,
        split: &(Payload, Payload),
        left: LeftGroups<'_, 's, '_, K, V>,
        sink: &mut S,
    ) -> Result<Flow>
    where
        S: FnMut((K, (V, W))) -> Flow,
    {
        let values = Values::new();
        let add = |list: &mut _, value| values.add(list, value);
        let mut table = Aggregation::new(task, "join", |value| values.first(value), add, Lists(&values));
        let _ = self.sides.right.run(task, &split.1, &mut |(key, value): (K, W)| table.push(key, value))?;
        let mut right = table.into_groups()?.parts()?;
        let mut next = right.next()?;
        let mut failure = None;
        let flow = left.run_sets(|lefts| {
            let Some(digest) = lefts.first().map(|(digest, _, _)| *digest) else { return MORE };
            while let Some((found, key, values)) = next.take_if(|(found, _, _)| *found <= digest) {
                let partner = lefts.iter().find(|(_, left, _)| found == digest && *left == key);
                if let Some((_, _, lefts)) = partner {
                    for right in values {
                        if pairs(key.clone(), lefts, right, sink).is_break() {
                            return ENOUGH;
                        }
                    }
                }
                match right.next() {
                    Ok(following) => next = following,
                    Err(error) => {
                        failure = Some(error);
                        return ENOUGH;
                    }
                }
            }
            if next.is_none() { ENOUGH } else { MORE }
        })?;
        failure.map_or(Ok(flow), Err)
    }
}
