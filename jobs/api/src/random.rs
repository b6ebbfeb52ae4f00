//! Random numbers for samples: the same for the same seed, in every process. Not for secrets.

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
pub struct Random(u64);

impl Random {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The numbers of a partition: others for each partition of one seed.
    pub fn of_partition(seed: u64, partition: u64) -> Self {
        // One step apart, two seeds would share all but one number; so the start is mixed.
        let start = Self(seed ^ partition.wrapping_mul(0xd134_2543_de82_ef95)).next_u64();
        Self(start)
    }

    /// 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to but without 1.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A whole number below `bound`, which is not 0; no number is likelier than another by more than
    /// `bound` / 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// How often something happens that happens `mean` times on average (a Poisson distribution).
    pub fn poisson(&mut self, mean: f64) -> u64 {
        /// Beyond it `exp` loses too many digits for the method below.
        const STEP: f64 = 16.0;
        let mut left = mean.max(0.0);
        let mut count = 0;
        while left > 0.0 {
            // Products of uniform numbers (Knuth), for a part of the mean at a time: parts add up.
            let part = left.min(STEP);
            left -= part;
            let limit = (-part).exp();
            let mut product = self.unit();
            while product > limit {
                count += 1;
                product *= self.unit();
            }
        }
        count
    }

    /// Brings a list into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }

    /// `count` different numbers below `bound`, in ascending order; all of them if there are no more.
    pub fn distinct_below(&mut self, bound: u64, count: u64) -> Vec<u64> {
        let mut chosen = std::collections::BTreeSet::new();
        // Floyd's method: each turn adds exactly one.
        for last in bound.saturating_sub(count)..bound {
            let candidate = self.below(last + 1);
            if !chosen.insert(candidate) {
                chosen.insert(last);
            }
        }
        chosen.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn numbers_repeat_and_have_their_mean() {
        let draw = |seed| (0..9).map(|_| Random::new(seed).next_u64()).collect::<Vec<_>>();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let mut random = Random::of_partition(7, 3);
        for mean in [0.0, 0.3, 5.0, 40.0] {
            let sum: u64 = (0..20_000).map(|_| random.poisson(mean)).sum();
            assert!((sum as f64 / 20_000.0 - mean).abs() < 0.2, "{mean}: {sum}");
        }
        let units: f64 = (0..20_000).map(|_| random.unit()).sum();
        assert!((units / 20_000.0 - 0.5).abs() < 0.02);
    }

    #[test]
    fn distinct_numbers_are_as_many_as_asked_and_below_the_bound() {
        let mut random = Random::new(3);
        for (bound, count, expect) in [(10, 3, 3), (10, 10, 10), (5, 9, 5), (0, 4, 0), (7, 0, 0)] {
            let chosen = random.distinct_below(bound, count);
            assert_eq!(chosen.len(), expect);
            assert!(chosen.is_sorted() && chosen.iter().all(|number| *number < bound));
        }
        let mut items: Vec<u32> = (0..50).collect();
        random.shuffle(&mut items);
        assert!(!items.is_sorted());
        items.sort_unstable();
        assert!(items.into_iter().eq(0..50));
    }
}
