//! Records that reach the driver one partition at a time.

use crate::operator::Operator;
use crate::ops::indexed::Pruned;
use crate::rdd::Rdd;
use crate::record::Record;
use firesteel_common::Result;
use std::sync::Arc;
use std::vec::IntoIter;

/// See [`Rdd::to_local_iterator`].
pub struct LocalIterator<'s, Op: Operator<'s>, R> {
    rdd: Rdd<'s, Op>,
    partition: u32,
    partitions: u32,
    records: IntoIter<R>,
}

impl<'s, T: Record<'s>, Op: Operator<'s, Item = T>> Rdd<'s, Op> {
    /// All records in order, one partition at a time: a job for each, when it is asked for. At most one
    /// partition is in the driver's memory. After an error the next partition follows.
    ///
    /// # Errors
    /// What its operators fail with; each record may be what its job failed with.
    pub fn to_local_iterator(&self) -> Result<LocalIterator<'s, Op, T::Owned>> {
        let partitions = self.partitions()? as u32;
        Ok(LocalIterator { rdd: self.clone(), partition: 0, partitions, records: Vec::new().into_iter() })
    }
}

impl<'s, T, Op> LocalIterator<'s, Op, T::Owned>
where
    T: Record<'s>,
    Op: Operator<'s, Item = T>,
{
    /// A job over one partition; its shuffles are there from the first job on.
    fn fetch(&self, partition: u32) -> Result<Vec<T::Owned>> {
        self.rdd.then(Pruned { op: self.rdd.op.clone(), keep: Arc::new(vec![partition]) }).collect()
    }
}

impl<'s, T, Op> Iterator for LocalIterator<'s, Op, T::Owned>
where
    T: Record<'s>,
    Op: Operator<'s, Item = T>,
{
    type Item = Result<T::Owned>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.records.next() {
                return Some(Ok(record));
            }
            if self.partition == self.partitions {
                return None;
            }
            let partition = self.partition;
            self.partition += 1;
            match self.fetch(partition) {
                Ok(records) => self.records = records.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
