//! Sketches: small summaries that can be put together. One says how many different records there are, one
//! where the quantiles of numbers lie.

use crate::random::Random;
use crate::record::{Reader, Record};
use firesteel_common::{Error, ErrorCode, Result};

/// How many hashes are kept as they are before registers take less room.
const EXACT_MAX: usize = 256;

/// How many different hashes there were: exact for few, a HyperLogLog for many (Flajolet and others, 2007;
/// the estimate is that of Ertl, 2017, which needs no tables of corrections).
#[derive(Clone, Debug, PartialEq)]
pub struct Distinct {
    /// There are 2^`precision` registers.
    precision: u8,
    /// Sorted hashes, while there are no registers.
    exact: Vec<u64>,
    /// The longest run of zeros seen in each register, counted from 1.
    registers: Vec<u8>,
}

impl Distinct {
    /// A sketch whose estimates have about this relative standard deviation (0.00005 to 0.4).
    pub fn with_deviation(deviation: f64) -> Self {
        let precision = (2.0 * (1.054 / deviation.clamp(1e-9, 1.0)).log2()).ceil();
        Self { precision: precision.clamp(4.0, 18.0) as u8, exact: Vec::new(), registers: Vec::new() }
    }

    /// Adds a hash whose bits are well mixed.
    pub fn add(&mut self, hash: u64) {
        if self.registers.is_empty() {
            if let Err(place) = self.exact.binary_search(&hash) {
                self.exact.insert(place, hash);
            }
            if self.exact.len() > EXACT_MAX {
                self.spread();
            }
        } else {
            self.register(hash);
        }
    }

    fn register(&mut self, hash: u64) {
        let rest_bits = 64 - u32::from(self.precision);
        let run = (hash << self.precision).leading_zeros().min(rest_bits) as u8 + 1;
        if let Some(register) = self.registers.get_mut((hash >> rest_bits) as usize) {
            *register = (*register).max(run);
        }
    }

    /// From hashes to registers.
    fn spread(&mut self) {
        self.registers = vec![0; 1 << self.precision];
        for hash in std::mem::take(&mut self.exact) {
            self.register(hash);
        }
    }

    /// Adds what another sketch of the same precision has seen.
    pub fn merge(&mut self, other: Self) {
        if other.registers.is_empty() {
            other.exact.into_iter().for_each(|hash| self.add(hash));
            return;
        }
        if self.registers.is_empty() {
            self.spread();
        }
        for (mine, theirs) in self.registers.iter_mut().zip(other.registers) {
            *mine = (*mine).max(theirs);
        }
    }

    /// How many different hashes there were, about.
    pub fn estimate(&self) -> u64 {
        if self.registers.is_empty() {
            return self.exact.len() as u64;
        }
        let longest = 64 - usize::from(self.precision);
        let mut counts = vec![0_u64; longest + 2];
        for register in &self.registers {
            if let Some(count) = counts.get_mut(usize::from(*register)) {
                *count += 1;
            }
        }
        let registers = self.registers.len() as f64;
        let saturated = counts.get(longest + 1).copied().unwrap_or(0) as f64;
        let mut sum = registers * tau(1.0 - saturated / registers);
        for count in counts.iter().take(longest + 1).skip(1).rev() {
            sum = 0.5 * (sum + *count as f64);
        }
        sum += registers * sigma(counts.first().copied().unwrap_or(0) as f64 / registers);
        (registers * registers / (2.0 * std::f64::consts::LN_2 * sum)).round() as u64
    }
}

/// Ertl's correction for registers that saw nothing.
fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * y;
        y += y;
        if sum <= before {
            return sum;
        }
    }
}

/// Ertl's correction for registers that can grow no more.
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        y *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * y;
        if sum >= before {
            return sum / 3.0;
        }
    }
}

impl<'s> Record<'s> for Distinct {
    type Owned = Self;

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.precision);
        let exact: Vec<u128> = self.exact.iter().map(|hash| u128::from(*hash)).collect();
        exact.encode(out);
        self.registers.as_slice().encode(out);
    }

    crate::record::owned!();

    fn decode_owned(reader: &mut Reader<'_>) -> Result<Self> {
        let [precision] = reader.array()?;
        let exact: Vec<u128> = Record::decode(reader)?;
        let registers = <&[u8]>::decode(reader)?.to_vec();
        let fits = (4..=18).contains(&precision)
            && (registers.is_empty() || registers.len() == 1 << precision)
            && exact.iter().all(|hash| *hash <= u128::from(u64::MAX));
        if !fits {
            return Err(Error::new(ErrorCode::Codec, "a sketch of distinct records is damaged"));
        }
        Ok(Self { precision, exact: exact.into_iter().map(|hash| hash as u64).collect(), registers })
    }
}

/// Where the quantiles of numbers lie (Karnin, Lang, Liberty: Optimal Quantile Approximation in Streams,
/// 2016): levels of samples, in each of which a number stands for twice as many as in the one below.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantiles {
    capacity: u64,
    count: u64,
    levels: Vec<Vec<f64>>,
}

impl Quantiles {
    /// A sketch whose ranks are wrong by less than `error` times the count, in 99 of 100 cases.
    pub fn with_error(error: f64) -> Self {
        // The fit of Apache DataSketches for this kind of sketch: error = 2.296 / capacity^0.9021.
        let capacity = (2.296 / error.clamp(1e-5, 0.5)).powf(1.0 / 0.9021).ceil() as u64;
        Self { capacity: capacity.max(8), count: 0, levels: vec![Vec::new()] }
    }

    /// Adds a number; what is none is left out.
    pub fn add(&mut self, number: f64) {
        if number.is_nan() {
            return;
        }
        self.count += 1;
        if let Some(lowest) = self.levels.first_mut() {
            lowest.push(number);
        }
        self.compress();
    }

    /// Adds what another sketch has seen.
    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        for (number, mut level) in other.levels.into_iter().enumerate() {
            if self.levels.len() <= number {
                self.levels.push(Vec::new());
            }
            if let Some(mine) = self.levels.get_mut(number) {
                mine.append(&mut level);
            }
        }
        self.compress();
    }

    /// Room of a level: lower ones are smaller, since what is lost there weighs less.
    fn room(&self, level: usize) -> usize {
        let from_top = (self.levels.len() - 1 - level) as i32;
        ((self.capacity as f64 * (2.0_f64 / 3.0).powi(from_top)).ceil() as usize).max(8)
    }

    fn compress(&mut self) {
        let mut level = 0;
        while level < self.levels.len() {
            if self.levels[level].len() > self.room(level) {
                self.promote(level);
            }
            level += 1;
        }
    }

    /// Half of the numbers of a level go up, every second one; which half is random, but the same each time.
    fn promote(&mut self, level: usize) {
        if level + 1 == self.levels.len() {
            self.levels.push(Vec::new());
        }
        let mut numbers = std::mem::take(&mut self.levels[level]);
        numbers.sort_by(f64::total_cmp);
        // An odd one stays.
        let left = if numbers.len() % 2 == 1 { numbers.pop() } else { None };
        let odd = (Random::of_partition(self.count, level as u64).next_u64() & 1) as usize;
        let promoted = numbers.into_iter().skip(odd).step_by(2);
        self.levels[level + 1].extend(promoted);
        self.levels[level].extend(left);
    }

    /// The numbers at these ranks, from 0 (the least) to 1 (the greatest); none if there are no numbers.
    pub fn at(&self, ranks: &[f64]) -> Vec<f64> {
        let weighted = (0_u32..).zip(&self.levels).flat_map(|(level, numbers)| {
            let weight = 1_u64.checked_shl(level).unwrap_or(u64::MAX);
            numbers.iter().map(move |number| (*number, weight))
        });
        let mut weighted: Vec<(f64, u64)> = weighted.collect();
        weighted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: u64 = weighted.iter().map(|(_, weight)| weight).sum();
        let find = |rank: &f64| {
            let goal = (rank.clamp(0.0, 1.0) * total as f64).ceil().max(1.0) as u64;
            let mut sum = 0;
            let found = weighted.iter().find(|(_, weight)| {
                sum += weight;
                sum >= goal
            });
            found.or(weighted.last()).map(|(number, _)| *number)
        };
        ranks.iter().filter_map(find).collect()
    }
}

impl<'s> Record<'s> for Quantiles {
    type Owned = Self;

    fn encode(&self, out: &mut Vec<u8>) {
        (self.capacity, self.count, self.levels.clone()).encode(out);
    }

    crate::record::owned!();

    fn decode_owned(reader: &mut Reader<'_>) -> Result<Self> {
        let (capacity, count, levels) = <(u64, u64, Vec<Vec<f64>>)>::decode(reader)?;
        if capacity == 0 || levels.is_empty() || levels.len() > 64 {
            return Err(Error::new(ErrorCode::Codec, "a sketch of quantiles is damaged"));
        }
        Ok(Self { capacity, count, levels })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn hashes(count: u64, seed: u64) -> impl Iterator<Item = u64> {
        let mut random = Random::new(seed);
        (0..count).map(move |_| random.next_u64())
    }

    #[test]
    fn distinct_counts_are_near_and_exact_while_few() {
        for (count, deviation) in [(0, 0.05), (1, 0.05), (256, 0.05), (5_000, 0.02), (300_000, 0.01)] {
            let mut whole = Distinct::with_deviation(deviation);
            let mut parts = [whole.clone(), whole.clone(), whole.clone()];
            for (number, hash) in hashes(count, 5).enumerate() {
                whole.add(hash);
                whole.add(hash);
                parts[number % 3].add(hash);
            }
            let [mut merged, second, third] = parts;
            merged.merge(second);
            merged.merge(third);
            assert_eq!(merged.estimate(), whole.estimate(), "a sketch of parts is a sketch of the whole");
            let wrong = (whole.estimate() as f64 - count as f64).abs();
            assert!(
                wrong <= if count <= 256 { 0.0 } else { 4.0 * deviation * count as f64 },
                "{count}: {wrong}"
            );
            let mut bytes = Vec::new();
            whole.encode(&mut bytes);
            assert_eq!(Distinct::decode(&mut Reader::new(&bytes)).unwrap(), whole);
        }
    }

    #[test]
    fn quantiles_are_near() {
        for (count, error) in [(1_u64, 0.1), (100, 0.05), (50_000, 0.01)] {
            let mut parts = [Quantiles::with_error(error), Quantiles::with_error(error)];
            let mut numbers: Vec<f64> = hashes(count, 9).map(|hash| (hash >> 40) as f64).collect();
            for (at, number) in numbers.iter().enumerate() {
                parts[at % 2].add(*number);
            }
            parts[0].add(f64::NAN);
            let [mut sketch, other] = parts;
            sketch.merge(other);
            assert!(sketch.levels.iter().map(Vec::len).sum::<usize>() <= 8000);
            numbers.sort_by(f64::total_cmp);
            let ranks = [0.0, 0.1, 0.5, 0.9, 1.0];
            for (rank, found) in ranks.iter().zip(sketch.at(&ranks)) {
                let place = numbers.partition_point(|number| *number <= found) as f64 / count as f64;
                assert!((place - rank).abs() <= error + 1.0 / count as f64, "{count} {rank}: {place}");
            }
        }
        assert!(Quantiles::with_error(0.1).at(&[0.5]).is_empty());
    }
}
