//! Actions that answer within a time, with what is known by then.
//!
//! What is not known is taken to be like what is: a count as one of independent events at the rate seen so
//! far, numbers as more of the same. So the answers are about right where records lie over the partitions
//! without an order, and the confidence says nothing about data that lie otherwise.

mod quantile;

use self::quantile::{mean_unseen, normal, student, unseen};
use crate::combine::Reduce;
use crate::func::Func;
use crate::future::Running;
use crate::key::Key;
use crate::numeric::{Number, Stats};
use crate::operator::Operator;
use crate::ops::folded::LocallyCombined;
use crate::output::Output;
use crate::output::action::{AggregateAll, Collect, Count};
use crate::rdd::Rdd;
use crate::record::{Reader, Record};
use firesteel_common::{Error, ErrorCode, Result};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::time::Duration;

/// A number that is known about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounded {
    /// The best guess.
    pub mean: f64,
    /// With the confidence it is not less,
    pub low: f64,
    /// and not more.
    pub high: f64,
    /// From 0 (nothing is known) to 1 (the number is exact).
    pub confidence: f64,
}

impl Bounded {
    /// A number that is known.
    pub fn exact(number: f64) -> Self {
        Self { mean: number, low: number, high: number, confidence: 1.0 }
    }

    /// A number of which nothing is known but a guess.
    fn unknown(guess: f64, low: f64) -> Self {
        Self { mean: guess, low, high: f64::INFINITY, confidence: 0.0 }
    }
}

/// What an action has found within its time. Its job goes on, and stops when this is dropped. The dataset
/// must live until then: what it alone refers to is freed with it.
pub struct PartialResult<R> {
    value: R,
    rest: Option<Box<dyn FnOnce() -> Result<R>>>,
}

impl<R> PartialResult<R> {
    /// What was known when the time was over, or the answer.
    pub fn value(&self) -> &R {
        &self.value
    }

    /// Whether it is the answer: the job had ended in time.
    pub fn is_final(&self) -> bool {
        self.rest.is_none()
    }

    /// Waits for the end of the job, and gives the answer.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn get_final(self) -> Result<R> {
        match self.rest {
            Some(rest) => rest(),
            None => Ok(self.value),
        }
    }
}

/// The values of the partitions that have come so far, and what they say.
struct Evidence<P, R> {
    parts: BTreeMap<u32, P>,
    total: u32,
    confidence: f64,
    judge: fn(&BTreeMap<u32, P>, Seen) -> R,
}

/// How much was seen.
#[derive(Clone, Copy)]
struct Seen {
    /// Of all partitions, from 0 to 1.
    share: f64,
    confidence: f64,
}

impl<P, R> Evidence<P, R> {
    fn judge(&self) -> R {
        let share = self.parts.len() as f64 / f64::from(self.total.max(1));
        (self.judge)(&self.parts, Seen { share, confidence: self.confidence })
    }
}

fn checked(confidence: f64) -> Result<f64> {
    if (0.0..1.0).contains(&confidence) {
        return Ok(confidence);
    }
    let message = format!("a confidence of {confidence} cannot be had");
    Err(Error::new(ErrorCode::BadArgument, message).with_help("choose one from 0 up to but without 1"))
}

impl<'s, Op: Operator<'s>> Rdd<'s, Op> {
    /// Runs a job, and judges the values of the partitions that have come when the time is over.
    fn within<P, R, Out>(
        &self,
        name: &str,
        output: Out,
        (timeout, confidence): (Duration, f64),
        judge: fn(&BTreeMap<u32, P>, Seen) -> R,
    ) -> Result<PartialResult<R>>
    where
        P: for<'x> Record<'x> + 'static,
        R: 'static,
        Out: Output<'s, Op::Item>,
    {
        let confidence = checked(confidence)?;
        let mut running = self.start(name, output)?;
        let total = running.stage.partitions();
        let mut evidence = Evidence { parts: BTreeMap::new(), total, confidence, judge };
        let take = |evidence: &mut Evidence<P, R>, partition, value: &[u8]| {
            evidence.parts.insert(partition, P::decode(&mut Reader::new(value))?);
            Ok(())
        };
        let Running { driver, stage, job, .. } = &running;
        let gathered = driver
            .gather_within(*job, stage, timeout, |partition, value| take(&mut evidence, partition, value));
        running.ended = !matches!(gathered, Ok(false));
        let value = evidence.judge();
        if gathered? {
            return Ok(PartialResult { value, rest: None });
        }
        let rest = move || {
            let Running { driver, stage, job, .. } = &running;
            let gathered =
                driver.gather(*job, stage, |partition, value| take(&mut evidence, partition, value));
            running.ended = true;
            gathered.map(|()| evidence.judge())
        };
        Ok(PartialResult { value, rest: Some(Box::new(rest)) })
    }

    /// How many records there are, as far as that is known after `timeout`, with a confidence from 0 to 1.
    ///
    /// # Errors
    /// `BAD_ARGUMENT` for another confidence; what the job failed with in that time.
    pub fn count_approx(&self, timeout: Duration, confidence: f64) -> Result<PartialResult<Bounded>> {
        self.within("count_approx", Count, (timeout, confidence), |parts: &BTreeMap<u32, u64>, seen| {
            count_of(parts.values().sum(), seen)
        })
    }
}

/// The count of all, from that of some.
fn count_of(counted: u64, seen: Seen) -> Bounded {
    let sum = counted as f64;
    if seen.share >= 1.0 {
        return Bounded::exact(sum);
    }
    if counted == 0 {
        return Bounded::unknown(0.0, 0.0);
    }
    let aside = (1.0 - seen.confidence) / 2.0;
    let rest = |probability| unseen(counted, seen.share, probability);
    Bounded {
        mean: sum + mean_unseen(counted, seen.share),
        low: sum + rest(aside),
        high: sum + rest(1.0 - aside),
        confidence: seen.confidence,
    }
}

/// The counts of all keys, from those of some partitions. Of keys that were not seen nothing is said.
fn counts_of<K: Ord + Clone>(parts: &BTreeMap<u32, Vec<(K, u64)>>, seen: Seen) -> BTreeMap<K, Bounded> {
    let mut counts: BTreeMap<K, u64> = BTreeMap::new();
    for (key, count) in parts.values().flatten() {
        *counts.entry(key.clone()).or_default() += count;
    }
    counts.into_iter().map(|(key, count)| (key, count_of(count, seen))).collect()
}

impl<'s, K: Key<'s>, V: 's, Op: Operator<'s, Item = (K, V)>> Rdd<'s, Op> {
    /// How many records each key has, as far as that is known after `timeout`: see [`Rdd::count_approx`].
    /// There is no shuffle: the counts of each partition go to the driver.
    ///
    /// # Errors
    /// As [`Rdd::count_approx`].
    pub fn count_by_key_approx(
        &self,
        timeout: Duration,
        confidence: f64,
    ) -> Result<PartialResult<BTreeMap<K::Owned, Bounded>>>
    where
        K::Owned: Ord + Clone,
    {
        let combine = Reduce { add: Func::new(|sum: &mut u64, more| *sum += more) };
        let counts = self.then(LocallyCombined { op: self.map(|(key, _)| (key, 1_u64)).op, combine });
        let output = Collect { max: u64::MAX };
        counts.within("count_by_key_approx", output, (timeout, confidence), counts_of::<K::Owned>)
    }
}

impl<'s, T: Key<'s, Owned: Ord + Clone>, Op: Operator<'s, Item = T>> Rdd<'s, Op> {
    /// How often each record is there, as far as that is known after `timeout`: see
    /// [`Rdd::count_by_key_approx`].
    ///
    /// # Errors
    /// As [`Rdd::count_approx`].
    pub fn count_by_value_approx(
        &self,
        timeout: Duration,
        confidence: f64,
    ) -> Result<PartialResult<BTreeMap<T::Owned, Bounded>>> {
        self.map(|record| (record, ())).count_by_key_approx(timeout, confidence)
    }
}

/// What is known of all numbers of some partitions, in the order of the partitions.
fn stats_of(parts: &BTreeMap<u32, Stats>) -> Stats {
    let mut stats = Stats::default();
    parts.values().for_each(|part| stats.merge(part));
    stats
}

/// How many deviations from the mean the confidence reaches, for a mean of so many numbers.
fn reach(count: u64, confidence: f64) -> f64 {
    let until = 1.0 - (1.0 - confidence) / 2.0;
    if count > 100 { normal(until) } else { student(until, count - 1) }
}

/// The mean of all numbers, from that of some.
fn mean_of(parts: &BTreeMap<u32, Stats>, seen: Seen) -> Bounded {
    let stats = stats_of(parts);
    let mean = if stats.count == 0 { f64::NAN } else { stats.mean };
    if seen.share >= 1.0 {
        return Bounded::exact(mean);
    }
    if stats.count < 2 {
        return Bounded::unknown(mean, f64::NEG_INFINITY);
    }
    let deviation = (stats.sample_variance() / stats.count as f64).sqrt();
    let reach = reach(stats.count, seen.confidence) * deviation;
    Bounded { mean, low: mean - reach, high: mean + reach, confidence: seen.confidence }
}

/// The sum of all numbers, from that of some: the mean of the rest times its count, neither of which is
/// known.
fn sum_of(parts: &BTreeMap<u32, Stats>, seen: Seen) -> Bounded {
    let stats = stats_of(parts);
    if seen.share >= 1.0 {
        return Bounded::exact(stats.total());
    }
    if stats.count == 0 {
        return Bounded::unknown(0.0, f64::NEG_INFINITY);
    }
    let (count, mean) = (stats.count as f64, stats.mean);
    let rest = count * (1.0 - seen.share) / seen.share;
    let sum = stats.total() + mean * rest;
    if stats.count < 2 {
        return Bounded::unknown(sum, f64::NEG_INFINITY);
    }
    // The variance of a product of two independent numbers.
    let of_mean = stats.sample_variance() / count;
    let of_rest = rest / seen.share;
    let variance = mean * mean * of_rest + rest * rest * of_mean + of_mean * of_rest;
    let reach = reach(stats.count, seen.confidence) * variance.sqrt();
    Bounded { mean: sum, low: sum - reach, high: sum + reach, confidence: seen.confidence }
}

impl<'s, T: Number + 's, Op: Operator<'s, Item = T>> Rdd<'s, Op> {
    fn stats_within(
        &self,
        name: &str,
        limits: (Duration, f64),
        judge: fn(&BTreeMap<u32, Stats>, Seen) -> Bounded,
    ) -> Result<PartialResult<Bounded>> {
        let zero = Func::new(|(): &()| Stats::default());
        let add = Func::new(|(): &(), stats: &mut Stats, number: T| stats.add(number.to_f64()));
        self.within(name, AggregateAll { captures: (), zero, add, acc: PhantomData }, limits, judge)
    }

    /// The sum of all numbers, as far as that is known after `timeout`, with a confidence from 0 to 1.
    ///
    /// # Errors
    /// As [`Rdd::count_approx`].
    pub fn sum_approx(&self, timeout: Duration, confidence: f64) -> Result<PartialResult<Bounded>> {
        self.stats_within("sum_approx", (timeout, confidence), sum_of)
    }

    /// The mean of all numbers, as far as that is known after `timeout`, with a confidence from 0 to 1; not a
    /// number if there are none.
    ///
    /// # Errors
    /// As [`Rdd::count_approx`].
    pub fn mean_approx(&self, timeout: Duration, confidence: f64) -> Result<PartialResult<Bounded>> {
        self.stats_within("mean_approx", (timeout, confidence), mean_of)
    }
}
