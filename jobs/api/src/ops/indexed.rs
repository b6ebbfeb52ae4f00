//! Transformations that know the number of a partition: whole partitions with their number, records with
//! numbers, samples, and a choice of partitions. The number is that of the dataset that is transformed, which
//! need not be the number of the task.

use crate::func::Func;
use crate::operator::{ENOUGH, Flow, MORE, Operator, sealed};
use crate::ops::narrow::{Captures, gather};
use crate::plan::{Needs, Parents, Partitioner, check_partitions};
use crate::random::Random;
use crate::task::Task;
use firesteel_common::Result;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

sealed! { WithIndex<Op, C, F>, Numbered<Op>, Sample<Op>, Pruned<Op> }

/// See [`crate::Rdd::map_partitions_with_index`].
#[derive(Serialize, Deserialize)]
#[serde(bound(
    serialize = "Op: Serialize, C: Serialize",
    deserialize = "Op: DeserializeOwned, C: DeserializeOwned"
))]
pub struct WithIndex<Op, C, F> {
    /// What it transforms.
    pub op: Op,
    /// What the closure is given.
    #[serde(with = "crate::serial::framed")]
    pub captures: C,
    /// How.
    pub f: Func<F>,
    /// Driver only: whether records stay in their partitions.
    #[serde(skip)]
    pub keeps_partitioner: bool,
}

impl<Op: Clone, C: Clone, F> Clone for WithIndex<Op, C, F> {
    fn clone(&self) -> Self {
        Self { op: self.op.clone(), captures: self.captures.clone(), ..*self }
    }
}

/// What an operator answers to its driver whose split is the number of the partition with the split before.
macro_rules! knows_its_number {
    () => {
        type Split = (u32, Op::Split);

        fn splits(&self) -> Result<Vec<Self::Split>> {
            Ok((0..).zip(self.op.splits()?).collect())
        }

        fn describe(&self, split: &Self::Split, needs: &mut Needs) -> Result<()> {
            self.op.describe(&split.1, needs)
        }

        fn parents(&self, parents: &mut Parents<'s>) {
            self.op.parents(parents);
        }
    };
}

pub(crate) use knows_its_number;

impl<'s, Op, C, I, F> Operator<'s> for WithIndex<Op, C, F>
where
    Op: Operator<'s>,
    C: Captures<'s>,
    I: IntoIterator,
    I::Item: 's,
    F: Fn(&C, u32, Vec<Op::Item>) -> I + Copy + Send + Sync + 's,
{
    type Item = I::Item;
    knows_its_number!();

    fn partitioner(&self) -> Option<Partitioner> {
        if self.keeps_partitioner { self.op.partitioner() } else { None }
    }

    fn run<S>(&self, task: &Task<'s>, split: &Self::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(I::Item) -> Flow,
    {
        let records = gather(&self.op, task, &split.1)?;
        let made = (self.f.get())(&self.captures, split.0, records);
        Ok(made.into_iter().try_for_each(&mut *sink))
    }
}

/// Records with numbers: see [`crate::Rdd::zip_with_index`] and [`crate::Rdd::zip_with_unique_id`].
#[derive(Clone, Serialize, Deserialize)]
pub struct Numbered<Op> {
    /// What it numbers.
    pub op: Op,
    /// The distance of two neighbours in a partition.
    pub step: u64,
    /// Driver only: the first number of each partition.
    #[serde(skip)]
    pub first: Arc<Vec<u64>>,
}

impl<'s, Op: Operator<'s>> Operator<'s> for Numbered<Op> {
    type Item = (Op::Item, u64);
    type Split = (u64, Op::Split);

    fn splits(&self) -> Result<Vec<Self::Split>> {
        Ok(self.first.iter().copied().zip(self.op.splits()?).collect())
    }

    fn describe(&self, split: &Self::Split, needs: &mut Needs) -> Result<()> {
        self.op.describe(&split.1, needs)
    }

    fn parents(&self, parents: &mut Parents<'s>) {
        self.op.parents(parents);
    }

    fn run<S>(&self, task: &Task<'s>, split: &Self::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut((Op::Item, u64)) -> Flow,
    {
        let mut number = split.0;
        self.op.run(task, &split.1, &mut |record| {
            let this = number;
            number = number.wrapping_add(self.step);
            sink((record, this))
        })
    }
}

/// How a sample is drawn.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub enum Draw {
    /// Each record at most once: if a random number from 0 to 1 lies in the range.
    Between(f64, f64),
    /// Each record as often as a random number says that is this much on average. Needs `Clone`.
    Often(f64),
}

/// Some of the records of each partition, the same ones each time. See [`crate::Rdd::sample`].
#[derive(Clone, Serialize, Deserialize)]
pub struct Sample<Op> {
    /// Of what.
    pub op: Op,
    /// How.
    pub draw: Draw,
    /// Where the random numbers begin.
    pub seed: u64,
}

impl<'s, Op: Operator<'s, Item: Clone>> Operator<'s> for Sample<Op> {
    type Item = Op::Item;
    knows_its_number!();

    fn partitioner(&self) -> Option<Partitioner> {
        self.op.partitioner()
    }

    fn run<S>(&self, task: &Task<'s>, split: &Self::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(Op::Item) -> Flow,
    {
        let mut random = Random::of_partition(self.seed, u64::from(split.0));
        match self.draw {
            Draw::Between(low, high) => self.op.run(task, &split.1, &mut |record| {
                let drawn = random.unit();
                if low <= drawn && drawn < high { sink(record) } else { MORE }
            }),
            Draw::Often(mean) => self.op.run(task, &split.1, &mut |record| {
                for _ in 0..random.poisson(mean) {
                    if sink(record.clone()).is_break() {
                        return ENOUGH;
                    }
                }
                MORE
            }),
        }
    }
}

/// Some of the partitions of a dataset; the others are not even looked at.
#[derive(Clone, Serialize, Deserialize)]
pub struct Pruned<Op> {
    /// The dataset.
    pub op: Op,
    /// Driver only: the numbers of the partitions, ascending.
    #[serde(skip)]
    pub keep: Arc<Vec<u32>>,
}

impl<'s, Op: Operator<'s>> Operator<'s> for Pruned<Op> {
    type Item = Op::Item;
    type Split = Option<Op::Split>;

    fn splits(&self) -> Result<Vec<Self::Split>> {
        check_partitions(self.keep.len() as u64)?;
        let all = (0..).zip(self.op.splits()?);
        let kept = all.filter(|(number, _)| self.keep.binary_search(number).is_ok());
        let mut splits: Vec<_> = kept.map(|(_, split)| Some(split)).collect();
        if splits.is_empty() {
            // A dataset has at least one partition.
            splits.push(None);
        }
        Ok(splits)
    }

    fn describe(&self, split: &Self::Split, needs: &mut Needs) -> Result<()> {
        split.iter().try_for_each(|split| self.op.describe(split, needs))
    }

    fn parents(&self, parents: &mut Parents<'s>) {
        self.op.parents(parents);
    }

    fn run<S>(&self, task: &Task<'s>, split: &Self::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(Op::Item) -> Flow,
    {
        match split {
            Some(split) => self.op.run(task, split, sink),
            None => Ok(MORE),
        }
    }
}
