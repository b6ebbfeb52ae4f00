//! Sources without files: values of the driver, and ranges of numbers.

use crate::operator::{Flow, MORE, Operator, sealed};
use crate::plan::{Needs, PARTITIONS_MAX, Parents, check_partitions};
use crate::record::{Reader, Record};
use crate::task::Task;
use firesteel_common::{Payload, Result};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;
use std::sync::Arc;

sealed! { Parallelize<T>, Numbers }

/// Values that the driver had. Each partition travels with its task.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Parallelize<T> {
    /// Driver only: the encoded records of each partition.
    #[serde(skip)]
    pub partitions: Arc<Vec<Payload>>,
    /// Driver only: how many partitions were asked for; if they are too many, none is made.
    #[serde(skip)]
    pub asked: u64,
    /// The type of the records.
    pub record: PhantomData<fn() -> T>,
}

impl<T> Clone for Parallelize<T> {
    fn clone(&self) -> Self {
        Self { partitions: self.partitions.clone(), asked: self.asked, record: PhantomData }
    }
}

impl<T> Parallelize<T> {
    /// Deals values out to `count` partitions, in order, as evenly as can be.
    pub fn new<'s>(values: &[T], count: usize) -> Self
    where
        T: Record<'s>,
    {
        let count = count.max(1);
        let asked = count as u64;
        let partitions = (0..if asked > PARTITIONS_MAX { 0 } else { count })
            .map(|partition| {
                let range = values.len() * partition / count..values.len() * (partition + 1) / count;
                let mut bytes = Vec::new();
                values[range].iter().for_each(|value| value.encode(&mut bytes));
                // A record may take no bytes at all, so their number comes first.
                let mut payload = Vec::with_capacity(bytes.len() + 5);
                let len = values.len() * (partition + 1) / count - values.len() * partition / count;
                crate::record::put_varint(&mut payload, len as u64);
                payload.append(&mut bytes);
                Payload::from(payload)
            })
            .collect();
        Self { partitions: Arc::new(partitions), asked, record: PhantomData }
    }
}

impl<'s, T: Record<'s>> Operator<'s> for Parallelize<T> {
    type Item = T;
    type Split = Payload;

    fn splits(&self) -> Result<Vec<Payload>> {
        check_partitions(self.asked)?;
        Ok(self.partitions.to_vec())
    }

    fn describe(&self, _split: &Payload, _needs: &mut Needs) -> Result<()> {
        Ok(())
    }

    fn parents(&self, _parents: &mut Parents<'s>) {}

    fn run<S>(&self, task: &Task<'s>, split: &Payload, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(T) -> Flow,
    {
        let mut reader = Reader::new(task.hold_payload(split));
        for _ in 0..reader.varint()? {
            let flow = sink(T::decode(&mut reader)?);
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(MORE)
    }
}

/// The whole numbers of a range.
#[derive(Clone, Serialize, Deserialize)]
pub struct Numbers {
    /// The first.
    pub start: i64,
    /// The distance of two neighbours; not 0.
    pub step: i64,
    /// How many there are.
    pub count: u64,
    /// How many partitions there are.
    pub partitions: u32,
}

impl Numbers {
    /// From `start` up to but without `end`. There may be more of them than the greatest `i64`.
    pub fn between(start: i64, end: i64, partitions: usize) -> Self {
        let count = if start < end { end.abs_diff(start) } else { 0 };
        Self { start, step: 1, count, partitions: partitions.clamp(1, u32::MAX as usize) as u32 }
    }
}

impl<'s> Operator<'s> for Numbers {
    type Item = i64;
    type Split = (u64, u64);

    fn splits(&self) -> Result<Vec<(u64, u64)>> {
        check_partitions(u64::from(self.partitions))?;
        let at = |partition: u32| {
            (u128::from(self.count) * u128::from(partition) / u128::from(self.partitions)) as u64
        };
        Ok((0..self.partitions).map(|partition| (at(partition), at(partition + 1))).collect())
    }

    fn describe(&self, _split: &(u64, u64), _needs: &mut Needs) -> Result<()> {
        Ok(())
    }

    fn parents(&self, _parents: &mut Parents<'s>) {}

    fn run<S>(&self, _task: &Task<'s>, split: &(u64, u64), sink: &mut S) -> Result<Flow>
    where
        S: FnMut(i64) -> Flow,
    {
        for number in split.0..split.1 {
            let flow = sink(self.start.wrapping_add((number as i64).wrapping_mul(self.step)));
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(MORE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_may_be_wider_than_the_greatest_number() {
        let counted = |start, end| Numbers::between(start, end, 2).count;
        assert_eq!(counted(i64::MIN, i64::MAX), u64::MAX);
        assert_eq!((counted(-2, 2), counted(5, -5)), (4, 0));
        let splits = Numbers::between(i64::MIN, i64::MAX, 2).splits();
        assert!(splits.is_ok_and(|splits| splits == [(0, u64::MAX / 2), (u64::MAX / 2, u64::MAX)]));
    }
}
