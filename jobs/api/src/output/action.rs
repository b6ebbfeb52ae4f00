//! Outputs that give a value to the driver.

use crate::func::Func;
use crate::operator::{ENOUGH, MORE, Operator, sealed};
use crate::output::Output;
use crate::record::{Record, put_varint};
use crate::task::{Produced, Task};
use firesteel_common::Result;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

sealed! {
    Collect,
    Count,
    ReduceAll<F>,
    AggregateAll<C, A, Zero, Add>,
    Foreach<C, F>,
    ForeachPartition<C, F>,
    SampleKeys,
    Smallest,
}

/// The first records of a partition, as many as are wanted.
#[derive(Clone, Serialize, Deserialize)]
pub struct Collect {
    /// How many, at most.
    pub max: u64,
}

impl<'s, T: Record<'s>> Output<'s, T> for Collect {
    fn run<Op>(&self, task: &Task<'s>, op: &Op, split: &Op::Split) -> Result<Produced>
    where
        Op: Operator<'s, Item = T>,
    {
        let mut bytes = Vec::new();
        let mut left = self.max;
        if left > 0 {
            let _ = op.run(task, split, &mut |record: T| {
                record.encode(&mut bytes);
                left -= 1;
                if left == 0 { ENOUGH } else { MORE }
            })?;
        }
        let mut value = Vec::with_capacity(bytes.len() + 10);
        put_varint(&mut value, self.max - left);
        value.append(&mut bytes);
        Ok(Produced::Value(value))
    }
}

/// How many records there are.
#[derive(Clone, Serialize, Deserialize)]
pub struct Count;

impl<'s, T: 's> Output<'s, T> for Count {
    fn run<Op>(&self, task: &Task<'s>, op: &Op, split: &Op::Split) -> Result<Produced>
    where
        Op: Operator<'s, Item = T>,
    {
        let mut count = 0_u64;
        let _ = op.run(task, split, &mut |_record| {
            count += 1;
            MORE
        })?;
        let mut value = Vec::new();
        put_varint(&mut value, count);
        Ok(Produced::Value(value))
    }
}

/// One value of all records of the partition, if there are any.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct ReduceAll<F> {
    /// Adds the second record to the first.
    pub add: Func<F>,
}

impl<F> Clone for ReduceAll<F> {
    fn clone(&self) -> Self {
        Self { add: self.add }
    }
}

impl<'s, T, F> Output<'s, T> for ReduceAll<F>
where
    T: Record<'s>,
    F: Fn(T, T) -> T + Copy + Send + Sync + 's,
{
    fn run<Op>(&self, task: &Task<'s>, op: &Op, split: &Op::Split) -> Result<Produced>
    where
        Op: Operator<'s, Item = T>,
    {
        let mut reduced: Option<T> = None;
        let add = self.add.get();
        let _ = op.run(task, split, &mut |record| {
            reduced = Some(match reduced.take() {
                Some(before) => add(before, record),
                None => record,
            });
            MORE
        })?;
        let mut value = Vec::new();
        reduced.encode(&mut value);
        Ok(Produced::Value(value))
    }
}

/// An aggregate of another type, with captures.
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "C: Serialize", deserialize = "C: DeserializeOwned"))]
pub struct AggregateAll<C, A, Zero, Add> {
    /// Given to the closures.
    #[serde(with = "crate::serial::framed")]
    pub captures: C,
    /// The aggregate of nothing.
    pub zero: Func<Zero>,
    /// Adds a record.
    pub add: Func<Add>,
    /// The type of the aggregate.
    pub acc: PhantomData<fn() -> A>,
}

impl<C: Clone, A, Zero, Add> Clone for AggregateAll<C, A, Zero, Add> {
    fn clone(&self) -> Self {
        Self { captures: self.captures.clone(), zero: self.zero, add: self.add, acc: PhantomData }
    }
}

impl<'s, T, C, A, Zero, Add> Output<'s, T> for AggregateAll<C, A, Zero, Add>
where
    T: 's,
    C: Serialize + DeserializeOwned + Clone + Send + Sync + 's,
    A: Record<'s>,
    Zero: Fn(&C) -> A + Copy + Send + Sync + 's,
    Add: Fn(&C, &mut A, T) + Copy + Send + Sync + 's,
{
    fn run<Op>(&self, task: &Task<'s>, op: &Op, split: &Op::Split) -> Result<Produced>
    where
        Op: Operator<'s, Item = T>,
    {
        let add = self.add.get();
        let mut acc = (self.zero.get())(&self.captures);
        let _ = op.run(task, split, &mut |record| {
            add(&self.captures, &mut acc, record);
            MORE
        })?;
        let mut value = Vec::new();
        acc.encode(&mut value);
        Ok(Produced::Value(value))
    }
}

/// Calls a function for each record.
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "C: Serialize", deserialize = "C: DeserializeOwned"))]
pub struct Foreach<C, F> {
    /// Given to the function.
    #[serde(with = "crate::serial::framed")]
    pub captures: C,
    /// The function.
    pub f: Func<F>,
}

impl<C: Clone, F> Clone for Foreach<C, F> {
    fn clone(&self) -> Self {
        Self { captures: self.captures.clone(), f: self.f }
    }
}

impl<'s, T, C, F> Output<'s, T> for Foreach<C, F>
where
    T: 's,
    C: Serialize + DeserializeOwned + Clone + Send + Sync + 's,
    F: Fn(&C, T) + Copy + Send + Sync + 's,
{
    fn run<Op>(&self, task: &Task<'s>, op: &Op, split: &Op::Split) -> Result<Produced>
    where
        Op: Operator<'s, Item = T>,
    {
        let f = self.f.get();
        let _ = op.run(task, split, &mut |record| {
            f(&self.captures, record);
            MORE
        })?;
        Ok(Produced::Value(Vec::new()))
    }
}

/// Calls a function once for each partition, with all its records.
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "C: Serialize", deserialize = "C: DeserializeOwned"))]
pub struct ForeachPartition<C, F> {
    /// Given to the function.
    #[serde(with = "crate::serial::framed")]
    pub captures: C,
    /// The function.
    pub f: Func<F>,
}

impl<C: Clone, F> Clone for ForeachPartition<C, F> {
    fn clone(&self) -> Self {
        Self { captures: self.captures.clone(), f: self.f }
    }
}

impl<'s, T, C, F> Output<'s, T> for ForeachPartition<C, F>
where
    T: 's,
    C: Serialize + DeserializeOwned + Clone + Send + Sync + 's,
    F: Fn(&C, u32, Vec<T>) + Copy + Send + Sync + 's,
{
    fn run<Op>(&self, task: &Task<'s>, op: &Op, split: &Op::Split) -> Result<Produced>
    where
        Op: Operator<'s, Item = T>,
    {
        let mut records = Vec::new();
        let _ = op.run(task, split, &mut |record| {
            records.push(record);
            MORE
        })?;
        (self.f.get())(&self.captures, task.partition(), records);
        Ok(Produced::Value(Vec::new()))
    }
}

/// A sample of a partition for the bounds of ranges: how many records it has, and some of them, evenly
/// spaced.
#[derive(Clone, Serialize, Deserialize)]
pub struct SampleKeys {
    /// How many, at most twice as many.
    pub wanted: u64,
}

impl<'s, K: Record<'s>, V: 's> Output<'s, (K, V)> for SampleKeys {
    fn run<Op>(&self, task: &Task<'s>, op: &Op, split: &Op::Split) -> Result<Produced>
    where
        Op: Operator<'s, Item = (K, V)>,
    {
        let wanted = self.wanted.max(1) as usize;
        let mut stride = 1_u64;
        let mut count = 0_u64;
        let mut sample: Vec<K> = Vec::new();
        let _ = op.run(task, split, &mut |(key, _)| {
            if count.is_multiple_of(stride) {
                sample.push(key);
                if sample.len() == 2 * wanted {
                    let mut kept = 0;
                    sample.retain(|_| {
                        kept += 1;
                        kept % 2 == 1
                    });
                    stride *= 2;
                }
            }
            count += 1;
            MORE
        })?;
        let mut value = Vec::new();
        (count, sample).encode(&mut value);
        Ok(Produced::Value(value))
    }
}

/// The least or the greatest records of a partition, in no order.
#[derive(Clone, Serialize, Deserialize)]
pub struct Smallest {
    /// How many, at least 1.
    pub count: u64,
    /// Whether the greatest ones are wanted.
    pub greatest: bool,
}

impl<'s, T: Record<'s> + Ord> Output<'s, T> for Smallest {
    fn run<Op>(&self, task: &Task<'s>, op: &Op, split: &Op::Split) -> Result<Produced>
    where
        Op: Operator<'s, Item = T>,
    {
        let count = usize::try_from(self.count).unwrap_or(usize::MAX).max(1);
        let order = |a: &T, b: &T| if self.greatest { b.cmp(a) } else { a.cmp(b) };
        let mut kept: Vec<T> = Vec::new();
        // Twice as many as are wanted are gathered before half of them go: one comparison a record and more.
        let shrink = |kept: &mut Vec<T>| {
            if kept.len() > count {
                kept.select_nth_unstable_by(count - 1, order);
                kept.truncate(count);
            }
        };
        let full = count.saturating_mul(2).max(64);
        let _ = op.run(task, split, &mut |record| {
            kept.push(record);
            if kept.len() >= full {
                shrink(&mut kept);
            }
            MORE
        })?;
        shrink(&mut kept);
        let mut value = Vec::new();
        kept.encode(&mut value);
        Ok(Produced::Value(value))
    }
}
