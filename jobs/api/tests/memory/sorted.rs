//! Sorting with little memory.

use crate::{cases, numbers, spilling, with_memory};
use firesteel::Result;
use proptest::prelude::*;

/// Pairs sorted by key as the standard library does it.
fn model<K: Ord + Clone, V: Clone>(pairs: &[(K, V)], ascending: bool) -> Vec<(K, V)> {
    let mut pairs = pairs.to_vec();
    pairs.sort_by(|a, b| if ascending { a.0.cmp(&b.0) } else { b.0.cmp(&a.0) });
    pairs
}

proptest! {
    #![proptest_config(cases(6))]

    #[test]
    fn equal_keys_keep_their_order(
        seed: u64, keys in 1_u64..5_000, count in 15_000_usize..25_000, ascending: bool, reducers in 1_u32..4,
    ) {
        let pairs: Vec<(u64, u32)> =
            numbers(seed, count).into_iter().map(|n| n % keys).zip(0_u32..).collect();
        let sorted = spilling(|cx| {
            cx.parallelize(pairs.clone(), 3).sort_by_key_in(reducers, ascending)?.collect()
        });
        prop_assert_eq!(sorted, model(&pairs, ascending));
    }

    #[test]
    fn texts_that_are_owned_and_texts_that_are_borrowed(seed: u64, keys in 1_u64..5_000, ascending: bool) {
        let texts = numbers(seed, 8_000).into_iter().map(|n| format!("{:0>1$}", n % keys, n as usize % 60));
        let pairs: Vec<(String, u64)> = texts.zip(0..).collect();
        let lines: Vec<String> = pairs.iter().map(|(text, number)| format!("{text} {number}")).collect();
        let owned = spilling(|cx| cx.parallelize(pairs.clone(), 3).sort_by_key(ascending)?.collect());
        prop_assert_eq!(&owned, &model(&pairs, ascending));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        std::fs::write(&path, lines.join("\n")).unwrap();
        let borrowed = spilling(|cx| {
            let pairs = cx.text_file(&path.to_string_lossy())?.flat_map(|line| line.split_once(' '));
            pairs.sort_by_key(ascending)?.collect()
        });
        let number = |(key, value): (String, String)| Some((key, value.parse().ok()?));
        let borrowed: Option<Vec<(String, u64)>> = borrowed.into_iter().map(number).collect();
        prop_assert_eq!(borrowed, Some(model(&pairs, ascending)));
    }
}

#[test]
fn more_runs_than_are_merged_at_once() {
    let pairs: Vec<(u64, u32)> = numbers(3, 300_000).into_iter().map(|n| n % 1_000).zip(0_u32..).collect();
    let (sorted, spilled, runs) =
        with_memory(0, |cx| cx.parallelize(pairs.clone(), 2).sort_by_key_in(1, true)?.collect());
    assert_eq!(sorted.unwrap(), model(&pairs, true));
    assert!(runs > 3 * 32, "{runs} runs");
    assert!(spilled > 2 * 300_000 * 3, "several passes over what was spilled: {spilled}");
}

#[test]
fn who_has_enough_leaves_no_run() {
    let pairs: Vec<(u64, u64)> = numbers(9, 9_000).into_iter().map(|n| (n, n)).collect();
    let first = spilling(|cx| cx.parallelize(pairs.clone(), 1).sort_by_key_in(1, true)?.take(5));
    assert_eq!(first, model(&pairs, true)[..5]);
}

#[test]
fn a_record_may_be_larger_than_all_memory() -> Result<()> {
    let pairs: Vec<(u32, Vec<u64>)> =
        (0..900_u32).map(|n| (n * 7 % 900, numbers(u64::from(n), 200))).collect();
    let mut pairs = pairs;
    pairs[450].1 = numbers(1, 100_000);
    let sorted = spilling(|cx| cx.parallelize(pairs.clone(), 2).sort_by_key_in(2, false)?.collect());
    assert_eq!(sorted, model(&pairs, false));
    Ok(())
}
