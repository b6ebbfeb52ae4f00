//! Transformations that only rearrange partitions: `union` and `coalesce`.

use crate::operator::{Flow, MORE, Operator, sealed};
use crate::ops::Either;
use crate::ops::erased::Erased;
use crate::plan::{Needs, Parents, check_partitions};
use crate::task::Task;
use firesteel_common::{Error, ErrorCode, Payload, Result};
use serde::{Deserialize, Serialize};

sealed! { Union<A, B>, UnionAll<'s, T>, Coalesce<Op> }

/// The partitions of one dataset, then those of another. See [`crate::Rdd::union`].
#[derive(Clone, Serialize, Deserialize)]
pub struct Union<A, B> {
    /// The first dataset.
    pub first: A,
    /// The second dataset.
    pub second: B,
}

impl<'s, A, B> Operator<'s> for Union<A, B>
where
    A: Operator<'s>,
    B: Operator<'s, Item = A::Item>,
{
    type Item = A::Item;
    type Split = Either<A::Split, B::Split>;

    fn splits(&self) -> Result<Vec<Self::Split>> {
        let mut splits: Vec<_> = self.first.splits()?.into_iter().map(Either::First).collect();
        splits.extend(self.second.splits()?.into_iter().map(Either::Second));
        check_partitions(splits.len() as u64)?;
        Ok(splits)
    }

    fn describe(&self, split: &Self::Split, needs: &mut Needs) -> Result<()> {
        match split {
            Either::First(split) => self.first.describe(split, needs),
            Either::Second(split) => self.second.describe(split, needs),
        }
    }

    fn parents(&self, parents: &mut Parents<'s>) {
        self.first.parents(parents);
        self.second.parents(parents);
    }

    fn run<S>(&self, task: &Task<'s>, split: &Self::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(A::Item) -> Flow,
    {
        match split {
            Either::First(split) => self.first.run(task, split, sink),
            Either::Second(split) => self.second.run(task, split, sink),
        }
    }
}

/// The partitions of many datasets, one dataset after the other. See [`crate::Context::union`].
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct UnionAll<'s, T> {
    /// The datasets.
    pub parts: Vec<Erased<'s, T>>,
}

impl<T> Clone for UnionAll<'_, T> {
    fn clone(&self) -> Self {
        Self { parts: self.parts.clone() }
    }
}

impl<'s, T: 's> Operator<'s> for UnionAll<'s, T> {
    type Item = T;
    /// The dataset, and its split; none if there is no dataset.
    type Split = Option<(u32, Payload)>;

    fn splits(&self) -> Result<Vec<Self::Split>> {
        let mut splits = Vec::new();
        for (number, part) in (0..).zip(&self.parts) {
            splits.extend(part.splits()?.into_iter().map(|split| Some((number, split))));
            check_partitions(splits.len() as u64)?;
        }
        if splits.is_empty() {
            // A dataset has at least one partition.
            splits.push(None);
        }
        Ok(splits)
    }

    fn describe(&self, split: &Self::Split, needs: &mut Needs) -> Result<()> {
        match split {
            Some((number, split)) => self.part(*number)?.describe(split, needs),
            None => Ok(()),
        }
    }

    fn parents(&self, parents: &mut Parents<'s>) {
        self.parts.iter().for_each(|part| part.parents(parents));
    }

    fn run<S>(&self, task: &Task<'s>, split: &Self::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(T) -> Flow,
    {
        match split {
            Some((number, split)) => self.part(*number)?.run(task, split, sink),
            None => Ok(MORE),
        }
    }
}

impl<'s, T> UnionAll<'s, T> {
    fn part(&self, number: u32) -> Result<&Erased<'s, T>> {
        let missing = || Error::new(ErrorCode::Internal, "a union has fewer datasets than it was split for");
        self.parts.get(number as usize).ok_or_else(missing)
    }
}

/// Fewer partitions, each of several neighbours. See [`crate::Rdd::coalesce`].
#[derive(Clone, Serialize, Deserialize)]
pub struct Coalesce<Op> {
    /// The dataset.
    pub op: Op,
    /// How many partitions, at most.
    pub partitions: u32,
}

impl<'s, Op: Operator<'s>> Operator<'s> for Coalesce<Op> {
    type Item = Op::Item;
    type Split = Vec<Op::Split>;

    fn splits(&self) -> Result<Vec<Self::Split>> {
        let splits = self.op.splits()?;
        let total = splits.len();
        let groups = (self.partitions.max(1) as usize).min(total.max(1));
        let mut splits = splits.into_iter();
        Ok((0..groups)
            .map(|group| {
                let len = total * (group + 1) / groups - total * group / groups;
                splits.by_ref().take(len).collect()
            })
            .collect())
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
        for split in split {
            let flow = self.op.run(task, split, sink)?;
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(MORE)
    }
}
