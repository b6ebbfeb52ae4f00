//! Which range of keys a key belongs to. Where keys are ordered like numbers, most are found without a
//! comparison: of a binary search over random keys no one can foretell the branches.

use crate::record::Record;

/// Into how many slots the numbers between the first and the last bound are dealt, as a power of two.
const SLOT_BITS: u32 = 12;

/// The bounds between ranges of keys, ascending.
pub struct Bounds<K> {
    bounds: Vec<K>,
    /// The numbers of the first and of the last bound, and how many bits of a difference have no part in its
    /// slot; `None` if there are no numbers.
    numbers: Option<(u128, u128, u32)>,
    /// How many bounds lie in the slots before each.
    before: Vec<u32>,
}

impl<'s, K: Record<'s> + Ord> Bounds<K> {
    /// Bounds in ascending order.
    pub fn new(bounds: Vec<K>) -> Self {
        let mut new = Self { bounds, numbers: None, before: Vec::new() };
        let images: Option<Vec<u128>> = new.bounds.iter().map(K::image).collect();
        let Some(images) = images else { return new };
        let (Some(first), Some(last)) = (images.first(), images.last()) else { return new };
        let bits = u128::BITS - last.saturating_sub(*first).leading_zeros();
        let shift = bits.saturating_sub(SLOT_BITS);
        let mut before = vec![0; (1 << SLOT_BITS) + 1];
        images.iter().for_each(|image| before[(image.saturating_sub(*first) >> shift) as usize + 1] += 1);
        let mut sum = 0;
        for count in &mut before {
            sum += *count;
            *count = sum;
        }
        new.numbers = Some((*first, *last, shift));
        new.before = before;
        new
    }

    /// How many bounds are at most `key`.
    #[inline(always)]
    pub fn below(&self, key: &K) -> u32 {
        let (Some((first, last, shift)), Some(image)) = (self.numbers, key.image()) else {
            return self.search(0, self.bounds.len(), key);
        };
        if image < first {
            return 0;
        }
        if image > last {
            return self.bounds.len() as u32;
        }
        let slot = ((image - first) >> shift) as usize;
        let (from, to) = (self.before[slot], self.before[slot + 1]);
        if from == to { from } else { self.search(from as usize, to as usize, key) }
    }

    /// The same among the bounds from one to another; all before are at most the key.
    #[inline(never)]
    fn search(&self, from: usize, to: usize, key: &K) -> u32 {
        let among = self.bounds.get(from..to).unwrap_or_default();
        (from + among.partition_point(|bound| bound <= key)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check<K>(mut bounds: Vec<K>, keys: Vec<K>)
    where
        K: for<'s> Record<'s> + Ord + Clone + std::fmt::Debug,
    {
        bounds.sort();
        let found = Bounds::new(bounds.clone());
        for key in keys.iter().chain(&bounds) {
            let expected = bounds.iter().filter(|bound| *bound <= key).count();
            assert_eq!(found.below(key), expected as u32, "{key:?} in {bounds:?}");
        }
    }

    proptest! {
        #[test]
        fn a_key_lies_between_its_bounds(
            bounds in prop::collection::vec(any::<u64>(), 0..40),
            keys in prop::collection::vec(any::<u64>(), 0..40),
            shift in 0_u32..64,
        ) {
            let both = |change: &dyn Fn(u64) -> u64| {
                let list = |list: &[u64]| list.iter().map(|n| change(*n >> shift)).collect::<Vec<u64>>();
                (list(&bounds), list(&keys))
            };
            let (bounds, keys) = both(&|n| n);
            check(bounds.clone(), keys.clone());
            let cast = |list: &[u64]| list.iter().map(|n| *n as i64).collect::<Vec<i64>>();
            check(cast(&bounds), cast(&keys));
            let wide = |list: &[u64]| list.iter().map(|n| u128::from(*n) << 50 | 7).collect::<Vec<u128>>();
            check(wide(&bounds), wide(&keys));
            let text = |list: &[u64]| list.iter().map(|n| format!("{n}")).collect::<Vec<String>>();
            check(text(&bounds), text(&keys));
            let long = |list: &[u64]| {
                list.iter().map(|n| format!("the same beginning {n}")).collect::<Vec<String>>()
            };
            check(long(&bounds), long(&keys));
            let option = |list: &[u64]| list.iter().map(|n| (n % 3 > 0).then_some(*n)).collect::<Vec<_>>();
            check(option(&bounds), option(&keys));
        }
    }
}
