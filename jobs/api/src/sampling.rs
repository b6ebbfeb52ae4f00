//! Samples: the same ones for the same seed and the same partitions.

use crate::key::Key;
use crate::operator::Operator;
use crate::ops::chosen::Chosen;
use crate::ops::indexed::{Draw, Sample};
use crate::ops::strata::SampleByKey;
use crate::random::Random;
use crate::rdd::Rdd;
use crate::record::Record;
use firesteel_common::{Error, ErrorCode, Payload, Result};
use std::collections::BTreeMap;

fn checked(fraction: f64, with_replacement: bool) -> Result<f64> {
    let most = if with_replacement { f64::MAX } else { 1.0 };
    if (0.0..=most).contains(&fraction) {
        return Ok(fraction);
    }
    let message = format!("a sample cannot have {fraction} of the records");
    Err(Error::new(ErrorCode::BadArgument, message)
        .with_help("a fraction is not negative, and at most 1 unless records may be drawn more than once"))
}

impl<'s, Op: Operator<'s, Item: Clone>> Rdd<'s, Op> {
    /// About `fraction` of the records; if they may be drawn more than once, each that often on average.
    ///
    /// # Errors
    /// `BAD_ARGUMENT` if the fraction is negative, or above 1 where records are drawn once.
    pub fn sample(&self, with_replacement: bool, fraction: f64, seed: u64) -> Result<Rdd<'s, Sample<Op>>> {
        let fraction = checked(fraction, with_replacement)?;
        let draw = if with_replacement { Draw::Often(fraction) } else { Draw::Between(0.0, fraction) };
        Ok(self.then(Sample { op: self.op.clone(), draw, seed }))
    }

    /// The records dealt out to datasets at random, in about the shares of the weights. Each record is in
    /// exactly one of them.
    ///
    /// # Errors
    /// `BAD_ARGUMENT` if a weight is negative, or none is positive.
    pub fn random_split(&self, weights: &[f64], seed: u64) -> Result<Vec<Rdd<'s, Sample<Op>>>> {
        let sum: f64 = weights.iter().sum();
        if !(sum.is_finite() && sum > 0.0 && weights.iter().all(|weight| *weight >= 0.0)) {
            let message = "a random split needs weights that are not negative, one of them positive";
            return Err(Error::new(ErrorCode::BadArgument, message));
        }
        let mut before = 0.0;
        let mut parts = Vec::with_capacity(weights.len());
        for (number, weight) in weights.iter().enumerate() {
            let low = before / sum;
            before += weight;
            // Rounding must not lose the records at the end.
            let high = if number + 1 == weights.len() { 1.0 } else { before / sum };
            parts.push(self.then(Sample { op: self.op.clone(), draw: Draw::Between(low, high), seed }));
        }
        Ok(parts)
    }
}

impl<'s, T: Record<'s>, Op: Operator<'s, Item = T>> Rdd<'s, Op> {
    /// Exactly `count` records drawn at random, in a random order; all of them if there are no more and none
    /// may be drawn twice. Two jobs: one counts, one fetches.
    ///
    /// # Errors
    /// What the jobs failed with.
    pub fn take_sample(&self, with_replacement: bool, count: usize, seed: u64) -> Result<Vec<T::Owned>>
    where
        T::Owned: Clone,
    {
        let counts = self.counts()?;
        let total: u64 = counts.iter().sum();
        let mut random = Random::of_partition(seed, u64::MAX);
        let drawn: Vec<u64> = if with_replacement {
            (0..if total == 0 { 0 } else { count }).map(|_| random.below(total)).collect()
        } else {
            random.distinct_below(total, count as u64)
        };
        let mut often: BTreeMap<u64, u64> = BTreeMap::new();
        drawn.into_iter().for_each(|number| *often.entry(number).or_default() += 1);
        let chosen = Chosen::new(self.op.clone(), &counts, &often.keys().copied().collect::<Vec<_>>());
        let records = self.then(chosen).collect()?;
        let repeated = records.into_iter().zip(often.into_values());
        let mut sample: Vec<T::Owned> =
            repeated.flat_map(|(record, often)| std::iter::repeat_n(record, often as usize)).collect();
        random.shuffle(&mut sample);
        Ok(sample)
    }

    /// How many records each partition has.
    fn counts(&self) -> Result<Vec<u64>> {
        self.values_of("count", crate::output::action::Count)
    }
}

impl<'s, K, V, Op> Rdd<'s, Op>
where
    K: Key<'s>,
    V: Record<'s> + Clone,
    Op: Operator<'s, Item = (K, V)>,
{
    /// About a fraction of the records of each key; keys that have none are left out.
    ///
    /// # Errors
    /// `BAD_ARGUMENT` if a fraction is negative, or above 1 where records are drawn once.
    pub fn sample_by_key(
        &self,
        with_replacement: bool,
        fractions: &[(K::Owned, f64)],
        seed: u64,
    ) -> Result<Rdd<'s, SampleByKey<Op, K>>> {
        let mut encoded = Vec::new();
        for (key, fraction) in fractions {
            key.encode(&mut encoded);
            checked(*fraction, with_replacement)?.encode(&mut encoded);
        }
        let fractions = Payload::from(encoded);
        Ok(self.then(SampleByKey::new(self.op.clone(), fractions, with_replacement, seed)))
    }

    /// Exactly `ceil(fraction × records)` records of each key, drawn once each. A job counts first.
    ///
    /// # Errors
    /// `BAD_ARGUMENT` if a fraction is negative or above 1; what the job failed with.
    pub fn sample_by_key_exact(
        &self,
        fractions: &[(K::Owned, f64)],
        seed: u64,
    ) -> Result<Rdd<'s, Chosen<Op>>> {
        let mut wanted: BTreeMap<Vec<u8>, f64> = BTreeMap::new();
        for (key, fraction) in fractions {
            let mut encoded = Vec::new();
            key.encode(&mut encoded);
            wanted.insert(encoded, checked(*fraction, false)?);
        }
        // The places of all records of each key: a number for each record goes to the driver, no value.
        let keys = self.keys();
        let counts = keys.counts()?;
        let numbered = keys.zip_with_index()?.collect()?;
        let mut places: BTreeMap<Vec<u8>, Vec<u64>> = BTreeMap::new();
        for (key, place) in numbered {
            let mut encoded = Vec::new();
            key.encode(&mut encoded);
            if wanted.contains_key(&encoded) {
                places.entry(encoded).or_default().push(place);
            }
        }
        let mut chosen = Vec::new();
        for (number, (key, places)) in (0..).zip(places) {
            let fraction = wanted.get(&key).copied().unwrap_or(0.0);
            let count = (fraction * places.len() as f64).ceil() as u64;
            let mut random = Random::of_partition(seed, number);
            let drawn = random.distinct_below(places.len() as u64, count);
            chosen.extend(drawn.into_iter().filter_map(|at| places.get(at as usize).copied()));
        }
        chosen.sort_unstable();
        Ok(self.then(Chosen::new(self.op.clone(), &counts, &chosen)))
    }
}
