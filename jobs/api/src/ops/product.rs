//! Two datasets side by side: every pair of their records, or the partitions of the same number.

use crate::func::Func;
use crate::operator::{ENOUGH, Flow, MORE, Operator, sealed};
use crate::ops::narrow::{Captures, gather};
use crate::plan::{Needs, Parents, check_partitions};
use crate::task::Task;
use firesteel_common::protocol::codec;
use firesteel_common::{Error, ErrorCode, Payload, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

sealed! { Cartesian<A, B>, Zip<A, B>, ZipPartitions<A, B, C, F> }

/// Every record of one dataset with every record of another. See [`crate::Rdd::cartesian`].
#[derive(Clone, Serialize, Deserialize)]
pub struct Cartesian<A, B> {
    /// The dataset that passes by.
    pub left: A,
    /// The dataset whose partitions are held.
    pub right: B,
}

impl<'s, A, B> Operator<'s> for Cartesian<A, B>
where
    A: Operator<'s, Item: Clone>,
    B: Operator<'s, Item: Clone>,
{
    type Item = (A::Item, B::Item);
    /// Both splits as bytes: each is in many pairs.
    type Split = (Payload, Payload);

    fn splits(&self) -> Result<Vec<Self::Split>> {
        let (left, right) = (encoded(self.left.splits()?)?, encoded(self.right.splits()?)?);
        check_partitions((left.len() as u64).saturating_mul(right.len() as u64))?;
        let pairs = left.iter().flat_map(|left| right.iter().map(|right| (left.clone(), right.clone())));
        Ok(pairs.collect())
    }

    fn describe(&self, split: &Self::Split, needs: &mut Needs) -> Result<()> {
        self.left.describe(&codec::decode(&split.0)?, needs)?;
        self.right.describe(&codec::decode(&split.1)?, needs)
    }

    fn parents(&self, parents: &mut Parents<'s>) {
        self.left.parents(parents);
        self.right.parents(parents);
    }

    fn run<S>(&self, task: &Task<'s>, split: &Self::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(Self::Item) -> Flow,
    {
        let right = gather(&self.right, task, &codec::decode(&split.1)?)?;
        self.left.run(task, &codec::decode(&split.0)?, &mut |left| {
            for right in &right {
                if sink((left.clone(), right.clone())).is_break() {
                    return ENOUGH;
                }
            }
            MORE
        })
    }
}

fn encoded<T: Serialize>(splits: Vec<T>) -> Result<Vec<Payload>> {
    splits.iter().map(|split| Ok(codec::encode(split)?.into())).collect()
}

/// What both operators on partitions of the same number answer to their driver.
macro_rules! same_number {
    ($what:literal) => {
        type Split = (A::Split, B::Split);

        fn splits(&self) -> Result<Vec<Self::Split>> {
            let (left, right) = (self.left.splits()?, self.right.splits()?);
            if left.len() != right.len() {
                let message =
                    format!("{} of datasets with {} and {} partitions", $what, left.len(), right.len());
                return Err(Error::new(ErrorCode::JobFailed, message)
                    .with_help("bring both to the same number of partitions with repartition or coalesce"));
            }
            Ok(left.into_iter().zip(right).collect())
        }

        fn describe(&self, split: &Self::Split, needs: &mut Needs) -> Result<()> {
            self.left.describe(&split.0, needs)?;
            self.right.describe(&split.1, needs)
        }

        fn parents(&self, parents: &mut Parents<'s>) {
            self.left.parents(parents);
            self.right.parents(parents);
        }
    };
}

/// The records of the same place. See [`crate::Rdd::zip`].
#[derive(Clone, Serialize, Deserialize)]
pub struct Zip<A, B> {
    /// The dataset that passes by.
    pub left: A,
    /// The dataset whose partitions are held.
    pub right: B,
}

impl<'s, A: Operator<'s>, B: Operator<'s>> Operator<'s> for Zip<A, B> {
    type Item = (A::Item, B::Item);
    same_number!("zip");

    fn run<S>(&self, task: &Task<'s>, split: &Self::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(Self::Item) -> Flow,
    {
        let mut right = gather(&self.right, task, &split.1)?.into_iter();
        let mut short = false;
        let flow = self.left.run(task, &split.0, &mut |left| match right.next() {
            Some(right) => sink((left, right)),
            None => {
                short = true;
                ENOUGH
            }
        })?;
        if short || (flow.is_continue() && right.next().is_some()) {
            let message = format!("zip: in partition {} one side has more records", task.partition());
            return Err(Error::new(ErrorCode::JobFailed, message)
                .with_help("only datasets with the same number of records in each partition can be zipped"));
        }
        Ok(flow)
    }
}

/// Whole partitions of the same number. See [`crate::Rdd::zip_partitions`].
#[derive(Serialize, Deserialize)]
#[serde(bound(
    serialize = "A: Serialize, B: Serialize, C: Serialize",
    deserialize = "A: DeserializeOwned, B: DeserializeOwned, C: DeserializeOwned"
))]
pub struct ZipPartitions<A, B, C, F> {
    /// One dataset.
    pub left: A,
    /// The other.
    pub right: B,
    /// What the closure is given.
    #[serde(with = "crate::serial::framed")]
    pub captures: C,
    /// What becomes of two partitions.
    pub f: Func<F>,
}

impl<A: Clone, B: Clone, C: Clone, F> Clone for ZipPartitions<A, B, C, F> {
    fn clone(&self) -> Self {
        let (left, right) = (self.left.clone(), self.right.clone());
        Self { left, right, captures: self.captures.clone(), f: self.f }
    }
}

impl<'s, A, B, C, I, F> Operator<'s> for ZipPartitions<A, B, C, F>
where
    A: Operator<'s>,
    B: Operator<'s>,
    C: Captures<'s>,
    I: IntoIterator,
    I::Item: 's,
    F: Fn(&C, Vec<A::Item>, Vec<B::Item>) -> I + Copy + Send + Sync + 's,
{
    type Item = I::Item;
    same_number!("zip_partitions");

    fn run<S>(&self, task: &Task<'s>, split: &Self::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(I::Item) -> Flow,
    {
        let left = gather(&self.left, task, &split.0)?;
        let right = gather(&self.right, task, &split.1)?;
        Ok((self.f.get())(&self.captures, left, right).into_iter().try_for_each(&mut *sink))
    }
}
