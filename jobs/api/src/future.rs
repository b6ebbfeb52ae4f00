//! Actions that are started and waited for later. No threads: the runtime works on, and what it has done
//! waits in the driver's link until it is asked for.

use crate::driver::{Driver, ResultStage};
use crate::func::Func;
use crate::operator::Operator;
use crate::ops::narrow::Captures;
use crate::output::Output;
use crate::output::action::{Collect, Count, Foreach, ForeachPartition};
use crate::rdd::Rdd;
use crate::record::{Reader, Record};
use firesteel_common::id::JobId;
use firesteel_common::job::JobProgress;
use firesteel_common::{Error, Result};
use std::sync::Arc;
use std::time::Duration;

/// A job that runs. Dropping it stops the job.
pub struct FutureAction<A> {
    running: Running,
    /// What has come so far.
    values: Vec<(u32, Vec<u8>)>,
    /// What the job has failed with.
    failure: Option<Error>,
    finish: fn(Vec<Vec<u8>>) -> Result<A>,
}

/// A job that runs, and is stopped with its last handle.
pub(crate) struct Running {
    pub driver: Arc<Driver>,
    pub stage: ResultStage,
    pub job: JobId,
    pub ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.driver.abandon(self.job, "its driver dropped it");
        }
    }
}

impl<A> FutureAction<A> {
    /// Waits for the end of the job.
    ///
    /// # Errors
    /// What the job failed with; `KILLED` if it was cancelled.
    pub fn get(mut self) -> Result<A> {
        self.take(None)?;
        let mut values = self.values;
        values.sort_by_key(|(partition, _)| *partition);
        (self.finish)(values.into_iter().map(|(_, value)| value).collect())
    }

    /// Takes what comes until the job ends, or what has come so far.
    fn take(&mut self, at_most: Option<Duration>) -> Result<()> {
        let running = &mut self.running;
        if running.ended {
            // Who asks again is not to take what came before a failure for an answer.
            return self.failure.clone().map_or(Ok(()), Err);
        }
        let (driver, values) = (&running.driver, &mut self.values);
        let keep = |partition, value: &[u8]| {
            values.push((partition, value.to_vec()));
            Ok(())
        };
        let ended = match at_most {
            Some(at_most) => driver.gather_within(running.job, &running.stage, at_most, keep),
            None => driver.gather(running.job, &running.stage, keep).map(|()| true),
        };
        running.ended = !matches!(ended, Ok(false));
        self.failure = ended.as_ref().err().cloned();
        ended.map(drop)
    }

    /// Whether the job has ended. It does not wait.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn is_completed(&mut self) -> Result<bool> {
        self.take(Some(Duration::ZERO))?;
        Ok(self.running.ended)
    }

    /// How far the job is, as far as its driver was told; `None` once it has ended. It does not wait.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn progress(&mut self) -> Result<Option<JobProgress>> {
        self.take(Some(Duration::ZERO))?;
        Ok(self.running.driver.control().progress_of(self.running.job))
    }

    /// Asks the runtime to stop the job. [`FutureAction::get`] then fails, unless the job had ended before.
    pub fn cancel(&self) {
        self.running.driver.cancel(self.running.job, "cancelled by the application");
    }
}

impl<'s, Op: Operator<'s>> Rdd<'s, Op> {
    fn started<A, Out: Output<'s, Op::Item>>(
        &self,
        name: &str,
        output: Out,
        finish: fn(Vec<Vec<u8>>) -> Result<A>,
    ) -> Result<FutureAction<A>> {
        Ok(FutureAction { running: self.start(name, output)?, values: Vec::new(), failure: None, finish })
    }

    /// Starts a job over all partitions.
    pub(crate) fn start<Out: Output<'s, Op::Item>>(&self, name: &str, output: Out) -> Result<Running> {
        let (stage, spec) = self.driver.plan(name, &self.op, output)?;
        let job = self.driver.start(name, &self.op, &stage, Some(spec), None)?;
        Ok(Running { driver: self.driver.clone(), stage, job, ended: false })
    }

    /// [`Rdd::count`], started now and waited for later. The dataset must live until then: what it alone
    /// refers to is freed with it.
    ///
    /// # Errors
    /// What the runtime refuses.
    pub fn count_async(&self) -> Result<FutureAction<u64>> {
        self.started("count", Count, |values| {
            values.iter().map(|value| Reader::new(value).varint()).sum::<Result<u64>>()
        })
    }

    /// [`Rdd::foreach`], started now and waited for later.
    ///
    /// # Errors
    /// What the runtime refuses.
    pub fn foreach_async<C, F>(&self, captures: C, f: F) -> Result<FutureAction<()>>
    where
        C: Captures<'s>,
        F: Fn(&C, Op::Item) + Copy + Send + Sync + 's,
    {
        self.started("foreach", Foreach { captures, f: Func::new(f) }, |_| Ok(()))
    }

    /// [`Rdd::foreach_partition`], started now and waited for later.
    ///
    /// # Errors
    /// What the runtime refuses.
    pub fn foreach_partition_async<C, F>(&self, captures: C, f: F) -> Result<FutureAction<()>>
    where
        C: Captures<'s>,
        F: Fn(&C, u32, Vec<Op::Item>) + Copy + Send + Sync + 's,
    {
        self.started("foreach_partition", ForeachPartition { captures, f: Func::new(f) }, |_| Ok(()))
    }
}

/// The records that the partitions have collected, in their order.
fn records_of<R: for<'x> Record<'x>>(values: Vec<Vec<u8>>) -> Result<Vec<R>> {
    let mut records = Vec::new();
    for value in values {
        records.append(&mut Vec::decode(&mut Reader::new(&value))?);
    }
    Ok(records)
}

impl<'s, T: Record<'s>, Op: Operator<'s, Item = T>> Rdd<'s, Op> {
    /// [`Rdd::collect`], started now and waited for later. The dataset must live until then.
    ///
    /// # Errors
    /// What the runtime refuses.
    pub fn collect_async(&self) -> Result<FutureAction<Vec<T::Owned>>> {
        self.started("collect", Collect { max: u64::MAX }, records_of)
    }

    /// The first `count` records, started now and waited for later. Unlike [`Rdd::take`] it looks at all
    /// partitions, since nobody waits for it.
    ///
    /// # Errors
    /// What the runtime refuses.
    pub fn take_async(&self, count: usize) -> Result<FutureTake<T::Owned>> {
        let max = count as u64;
        let all = self.started("take", Collect { max }, records_of)?;
        Ok(FutureTake { all, count })
    }
}

/// See [`Rdd::take_async`].
pub struct FutureTake<R> {
    all: FutureAction<Vec<R>>,
    count: usize,
}

impl<R> FutureTake<R> {
    /// Waits for the end of the job.
    ///
    /// # Errors
    /// As [`FutureAction::get`].
    pub fn get(self) -> Result<Vec<R>> {
        let mut records = self.all.get()?;
        records.truncate(self.count);
        Ok(records)
    }

    /// As [`FutureAction::cancel`].
    pub fn cancel(&self) {
        self.all.cancel();
    }
}
