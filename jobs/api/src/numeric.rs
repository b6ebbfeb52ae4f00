//! Datasets of numbers: sums, means, spreads, histograms.

use crate::driver::empty_dataset;
use crate::operator::Operator;
use crate::rdd::Rdd;
use crate::record::{Reader, Record};
use firesteel_common::{Error, ErrorCode, Result};

/// A record that is a number.
pub trait Number: Copy {
    /// As a floating-point number; of whole numbers beyond 2^53 the nearest one.
    fn to_f64(self) -> f64;
}

macro_rules! numbers {
    ($($name:ty),*) => {$(
        impl Number for $name {
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
        }
    )*};
}
numbers!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, f32, f64);

/// What is known of many numbers: how many, their mean, their spread, the least and the greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stats {
    /// How many there are.
    pub count: u64,
    /// Their mean; 0 if there are none.
    pub mean: f64,
    /// The sum of the squares of the distances from the mean.
    pub squares: f64,
    /// The least; infinite if there is none.
    pub min: f64,
    /// The greatest; minus infinite if there is none.
    pub max: f64,
    /// Their sum.
    pub sum: f64,
    /// What the sum has lost to rounding (Neumaier, 1974).
    lost: f64,
}

impl Default for Stats {
    fn default() -> Self {
        let (min, max) = (f64::INFINITY, f64::NEG_INFINITY);
        Self { count: 0, mean: 0.0, squares: 0.0, min, max, sum: 0.0, lost: 0.0 }
    }
}

impl Stats {
    /// Adds a number (Welford, 1962).
    pub fn add(&mut self, number: f64) {
        self.count += 1;
        let before = number - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (number - self.mean);
        self.min = self.min.min(number);
        self.max = self.max.max(number);
        self.add_to_sum(number);
    }

    fn add_to_sum(&mut self, number: f64) {
        let sum = self.sum + number;
        if sum.is_finite() {
            self.lost += if self.sum.abs() >= number.abs() {
                (self.sum - sum) + number
            } else {
                (number - sum) + self.sum
            };
        }
        self.sum = sum;
    }

    /// Adds what is known of others (Chan, Golub, LeVeque, 1979).
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        let (mine, theirs) = (self.count as f64, other.count as f64);
        let apart = other.mean - self.mean;
        self.mean += apart * theirs / (mine + theirs);
        self.squares += other.squares + apart * apart * mine * theirs / (mine + theirs);
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.add_to_sum(other.sum);
        self.lost += other.lost;
    }

    /// The sum, with what rounding had taken from it.
    pub fn total(&self) -> f64 {
        if self.lost.is_finite() { self.sum + self.lost } else { self.sum }
    }

    /// The variance of these numbers as all there are; not a number if there are none.
    pub fn variance(&self) -> f64 {
        if self.count == 0 { f64::NAN } else { self.squares / self.count as f64 }
    }

    /// The variance of what these numbers are a sample of; not a number if there are fewer than two.
    pub fn sample_variance(&self) -> f64 {
        if self.count < 2 { f64::NAN } else { self.squares / (self.count - 1) as f64 }
    }

    /// The square root of [`Stats::variance`].
    pub fn stdev(&self) -> f64 {
        self.variance().sqrt()
    }

    /// The square root of [`Stats::sample_variance`].
    pub fn sample_stdev(&self) -> f64 {
        self.sample_variance().sqrt()
    }
}

impl<'s> Record<'s> for Stats {
    type Owned = Self;

    fn encode(&self, out: &mut Vec<u8>) {
        let numbers = [self.mean, self.squares, self.min, self.max, self.sum, self.lost];
        (self.count, numbers).encode(out);
    }

    crate::record::owned!();

    fn decode_owned(reader: &mut Reader<'_>) -> Result<Self> {
        let (count, [mean, squares, min, max, sum, lost]) = <(u64, [f64; 6])>::decode(reader)?;
        Ok(Self { count, mean, squares, min, max, sum, lost })
    }
}

impl<'s, T: Number + 's, Op: Operator<'s, Item = T>> Rdd<'s, Op> {
    /// What is known of all numbers, in one job.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn stats(&self) -> Result<Stats> {
        self.aggregate(
            Stats::default,
            |stats: &mut Stats, number: T| stats.add(number.to_f64()),
            |stats, other| stats.merge(&other),
        )
    }

    /// The sum of all numbers.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn sum(&self) -> Result<f64> {
        Ok(self.stats()?.total())
    }

    /// The mean of all numbers; not a number if there are none.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn mean(&self) -> Result<f64> {
        let stats = self.stats()?;
        Ok(if stats.count == 0 { f64::NAN } else { stats.mean })
    }

    /// [`Stats::variance`] of all numbers.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn variance(&self) -> Result<f64> {
        Ok(self.stats()?.variance())
    }

    /// [`Stats::stdev`] of all numbers.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn stdev(&self) -> Result<f64> {
        Ok(self.stats()?.stdev())
    }

    /// [`Stats::sample_variance`] of all numbers.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn sample_variance(&self) -> Result<f64> {
        Ok(self.stats()?.sample_variance())
    }

    /// [`Stats::sample_stdev`] of all numbers.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn sample_stdev(&self) -> Result<f64> {
        Ok(self.stats()?.sample_stdev())
    }

    /// How many numbers lie in each of `buckets` buckets of the same width between the least and the greatest
    /// number: the borders, one more than buckets, and the counts. Numbers that are none are left out. A
    /// first job looks for the least and the greatest.
    ///
    /// # Errors
    /// `JOB_FAILED` if there are no numbers, if one is infinite, or if `buckets` is 0; what the jobs failed
    /// with.
    pub fn histogram(&self, buckets: usize) -> Result<(Vec<f64>, Vec<u64>)> {
        let numbers = self.map(Number::to_f64).filter(|number| !number.is_nan());
        let stats = numbers.stats()?;
        if stats.count == 0 {
            return Err(empty_dataset("histogram"));
        }
        if buckets == 0 || !(stats.min.is_finite() && stats.max.is_finite()) {
            let message = "a histogram needs at least one bucket, and finite numbers";
            return Err(Error::new(ErrorCode::JobFailed, message));
        }
        let border = |at: usize| stats.min + (stats.max - stats.min) * at as f64 / buckets as f64;
        let mut borders: Vec<f64> = (0..buckets).map(border).collect();
        borders.push(stats.max);
        let counts = numbers.histogram_of(&borders)?;
        Ok((borders, counts))
    }

    /// How many numbers lie between each two neighbours of `borders`: the lower border belongs to a bucket,
    /// the upper one only to the last. What lies outside is left out.
    ///
    /// # Errors
    /// `JOB_FAILED` if there are fewer than two borders or they do not rise; what the job failed with.
    pub fn histogram_of(&self, borders: &[f64]) -> Result<Vec<u64>> {
        // Borders that are equal may be: all numbers of a histogram can be the same.
        if borders.len() < 2 || borders.iter().any(|border| border.is_nan()) || !borders.is_sorted() {
            let message = "a histogram needs at least two borders in ascending order";
            return Err(Error::new(ErrorCode::JobFailed, message));
        }
        self.aggregate_with(
            borders.to_vec(),
            |borders| vec![0_u64; borders.len() - 1],
            |borders, counts: &mut Vec<u64>, number: T| {
                let number = number.to_f64();
                let above = borders.partition_point(|border| *border <= number);
                let last = borders.len() - 1;
                let bucket = if borders.get(last) == Some(&number) { last } else { above };
                if bucket > 0
                    && let Some(count) = counts.get_mut(bucket - 1)
                {
                    *count += 1;
                }
            },
            |counts, other| counts.iter_mut().zip(other).for_each(|(count, more)| *count += more),
        )
    }
}
