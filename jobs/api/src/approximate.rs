//! Actions that answer about: counts of different records, and quantiles.

use crate::combine::Combine;
use crate::key::Key;
use crate::numeric::Number;
use crate::operator::Operator;
use crate::rdd::Rdd;
use crate::sketch::{Distinct, Quantiles};
use firesteel_common::{Error, ErrorCode, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Well mixed bits of a key, whose digest may be the key itself.
fn mixed<'s, K: Key<'s>>(key: &K) -> u64 {
    crate::random::Random::new(key.digest().hash()).next_u64()
}

fn checked(what: &str, error: f64) -> Result<f64> {
    if error > 0.0 && error <= 0.5 {
        return Ok(error);
    }
    let message = format!("{what} cannot be {error}");
    Err(Error::new(ErrorCode::BadArgument, message).with_help("choose something from 0.00001 to 0.5"))
}

impl<'s, T: Key<'s>, Op: Operator<'s, Item = T>> Rdd<'s, Op> {
    /// How many different records there are, about: the estimate has this relative standard deviation. Up to
    /// 256 different records are counted exactly. No shuffle is needed.
    ///
    /// # Errors
    /// `BAD_ARGUMENT` if the deviation is not between 0 and 0.5; what the job failed with.
    pub fn count_approx_distinct(&self, deviation: f64) -> Result<u64> {
        let deviation = checked("the relative deviation of an estimate", deviation)?;
        let sketch = self.aggregate_with(
            deviation,
            |deviation| Distinct::with_deviation(*deviation),
            |_, sketch: &mut Distinct, record: T| sketch.add(mixed(&record)),
            Distinct::merge,
        )?;
        Ok(sketch.estimate())
    }
}

/// A sketch of the values of each key.
#[derive(Clone, Serialize, Deserialize)]
struct CountDistinct {
    deviation: f64,
}

impl<'s, V: Key<'s>> Combine<'s, V> for CountDistinct {
    type Acc = Distinct;

    fn create(&self, value: V) -> Distinct {
        let mut sketch = Distinct::with_deviation(self.deviation);
        sketch.add(mixed(&value));
        sketch
    }

    fn add(&self, sketch: &mut Distinct, value: V) {
        sketch.add(mixed(&value));
    }

    fn merge(&self, sketch: &mut Distinct, other: Distinct) {
        sketch.merge(other);
    }
}

impl<'s, K: Key<'s>, V: Key<'s>, Op: Operator<'s, Item = (K, V)>> Rdd<'s, Op> {
    /// For each key how many different values it has, about: see [`Rdd::count_approx_distinct`].
    ///
    /// # Errors
    /// `BAD_ARGUMENT` if the deviation is not between 0 and 0.5; what the job failed with.
    pub fn count_approx_distinct_by_key(&self, deviation: f64) -> Result<BTreeMap<K::Owned, u64>>
    where
        K::Owned: Ord,
    {
        let deviation = checked("the relative deviation of an estimate", deviation)?;
        let combine = CountDistinct { deviation };
        let sketches = self.combine("count_approx_distinct_by_key", self.default_parallelism(), combine);
        sketches.map_values(|sketch| sketch.estimate()).collect_as_map()
    }
}

impl<'s, T: Number + 's, Op: Operator<'s, Item = T>> Rdd<'s, Op> {
    /// The numbers at these ranks, from 0 (the least) to 1 (the greatest), about: the rank of each is wrong
    /// by less than `error` in 99 of 100 cases. One job, whose memory depends on the error alone. Numbers
    /// that are none are left out; the answer is empty if there are no others.
    ///
    /// # Errors
    /// `BAD_ARGUMENT` if the error is not between 0 and 0.5; what the job failed with.
    pub fn approx_quantiles(&self, ranks: &[f64], error: f64) -> Result<Vec<f64>> {
        let error = checked("the error of a rank", error)?;
        let sketch = self.aggregate_with(
            error,
            |error| Quantiles::with_error(*error),
            |_, sketch: &mut Quantiles, number: T| sketch.add(number.to_f64()),
            Quantiles::merge,
        )?;
        Ok(sketch.at(ranks))
    }
}
