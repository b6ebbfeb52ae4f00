//! Sorting by numbers that keys are ordered like: most comparisons become a few passes over pairs of four
//! bytes each. What the numbers leave open is compared.

use std::cmp::Ordering;

/// Fewer records are compared at once.
const RECORDS_MIN: usize = 1 << 11;
/// Bits of a digit, and of the number that is sorted by.
const DIGIT: u32 = 11;
const NUMBER: u32 = 32;
/// Bytes that sorting needs beside each record.
pub const BYTES_BESIDE: usize = 20;

/// A record: the number that it is sorted by, and where it lies.
type Place = (u32, u32);

/// Sorts records stably. `image` is a number for each, of which the lesser never belongs to the greater
/// record; `None` if there is none for this type.
pub fn sort<T>(
    records: &mut [T],
    image: impl Fn(&T) -> Option<u128>,
    compare: impl Fn(&T, &T) -> Ordering + Copy,
) {
    if records.len() < RECORDS_MIN || u32::try_from(records.len()).is_err() {
        return records.sort_by(compare);
    }
    // Where many have one number, comparing them where they lie is faster than by their places.
    let many = records.len() / 8;
    let crowded = |places: &Vec<Place>| places.chunk_by(|a, b| a.0 == b.0).any(|same| same.len() > many);
    let places = places(records, image).filter(|places| !crowded(places));
    let Some(mut places) = places else { return records.sort_by(compare) };
    for same in places.chunk_by_mut(|a, b| a.0 == b.0) {
        if same.len() > 1 {
            same.sort_by(|a, b| compare(&records[a.1 as usize], &records[b.1 as usize]));
        }
    }
    let mut targets = vec![0_u32; places.len()];
    for (target, place) in (0_u32..).zip(&places) {
        targets[place.1 as usize] = target;
    }
    arrange(records, targets);
}

/// The records in the order of their numbers.
fn places<T>(records: &[T], image: impl Fn(&T) -> Option<u128>) -> Option<Vec<Place>> {
    let mut range = (u128::MAX, 0);
    for record in records {
        let image = image(record)?;
        range = (range.0.min(image), range.1.max(image));
    }
    let bits = u128::BITS - (range.1 - range.0).leading_zeros();
    let shift = bits.saturating_sub(NUMBER);
    let number = |record| Some(((image(record)? - range.0) >> shift) as u32);
    let mut places: Vec<Place> = Vec::with_capacity(records.len());
    for (at, record) in (0_u32..).zip(records) {
        places.push((number(record)?, at));
    }
    let mut other = vec![(0, 0); places.len()];
    for low in (0..bits.min(NUMBER)).step_by(DIGIT as usize) {
        pass(&places, &mut other, low);
        std::mem::swap(&mut places, &mut other);
    }
    Some(places)
}

/// Orders stably by one digit.
fn pass(from: &[Place], to: &mut [Place], low: u32) {
    let digit = |place: &Place| (place.0 >> low) as usize & ((1 << DIGIT) - 1);
    let mut starts = [0_u32; 1 << DIGIT];
    from.iter().for_each(|place| starts[digit(place)] += 1);
    let mut sum = 0;
    for start in &mut starts {
        sum += std::mem::replace(start, sum);
    }
    for place in from {
        let next = &mut starts[digit(place)];
        to[*next as usize] = *place;
        *next += 1;
    }
}

/// Moves each record to its target; all targets are different.
pub fn arrange<T>(records: &mut [T], mut targets: Vec<u32>) {
    for at in 0..records.len() {
        // What lies here goes to its target, until the record comes that belongs here.
        while targets[at] as usize != at {
            let target = targets[at] as usize;
            records.swap(at, target);
            targets.swap(at, target);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use proptest::prelude::*;

    /// Sorted twice, once by comparing alone.
    fn check<K>(keys: Vec<K>)
    where
        K: for<'s> Record<'s> + Ord + Clone + std::fmt::Debug,
    {
        for descending in [false, true] {
            let compare =
                |a: &(K, usize), b: &(K, usize)| if descending { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) };
            let mut records: Vec<(K, usize)> = keys.iter().cloned().zip(0..).collect();
            let mut expected = records.clone();
            expected.sort_by(compare);
            let image = |record: &(K, usize)| {
                let image = record.0.image()?;
                Some(if descending { !image } else { image })
            };
            sort(&mut records, image, compare);
            assert!(records == expected, "{records:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn a_sort_by_numbers_is_a_sort(
            seed in any::<u64>(),
            count in 1_usize..6_000,
            bits in 0_u32..64,
        ) {
            let mut state = seed | 1;
            let mut next = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state >> bits
            };
            let numbers: Vec<u64> = (0..count).map(|_| next()).collect();
            check(numbers.iter().map(|number| *number as i64).collect::<Vec<i64>>());
            check(numbers.iter().map(|number| *number as u8).collect::<Vec<u8>>());
            check(numbers.iter().map(|number| u128::from(*number) << 60).collect::<Vec<u128>>());
            check(numbers.iter().map(|number| (*number as i16, *number >> 3)).collect::<Vec<_>>());
            check(numbers.iter().map(|number| format!("{}", number % 5_000)).collect::<Vec<String>>());
            check(numbers.iter().map(|number| format!("a long beginning {number}")).collect::<Vec<String>>());
            let bytes = |number: &u64| number.to_le_bytes()[..(number % 9) as usize].to_vec();
            check(numbers.iter().map(bytes).collect::<Vec<Vec<u8>>>());
            let sign = |number: &u64| char::from_u32(*number as u32 % 0xd000).unwrap_or_default();
            check(numbers.iter().map(sign).collect::<Vec<char>>());
            check(numbers.iter().map(|number| (*number % 3 == 0).then_some(*number)).collect::<Vec<_>>());
        }
    }
}
