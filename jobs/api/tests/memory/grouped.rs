//! Combining and grouping with little memory.

use crate::{assert_too_large, cases, numbers, spilling, with_memory};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The values of each key, in their order.
fn model<K: Ord + Clone, V: Clone>(pairs: &[(K, V)]) -> BTreeMap<K, Vec<V>> {
    let mut groups: BTreeMap<K, Vec<V>> = BTreeMap::new();
    for (key, value) in pairs {
        groups.entry(key.clone()).or_default().push(value.clone());
    }
    groups
}

proptest! {
    #![proptest_config(cases(6))]

    #[test]
    fn sums_by_number(seed: u64, keys in 2_000_u64..20_000, partitions in 1_usize..4) {
        let pairs: Vec<(u64, u64)> = numbers(seed, 12_000).into_iter().map(|n| (n % keys, n >> 20)).collect();
        let sums = spilling(|cx| {
            cx.parallelize(pairs.clone(), partitions).reduce_by_key(|sum, n| *sum += n).collect()
        });
        prop_assert!(sums.len() == model(&pairs).len());
        let sums: BTreeMap<u64, u64> = sums.into_iter().collect();
        let expected = model(&pairs).into_iter().map(|(key, values)| (key, values.iter().sum())).collect();
        prop_assert_eq!(sums, expected);
    }

    #[test]
    fn words_that_are_borrowed(seed: u64, keys in 2_000_u64..9_000) {
        let words: Vec<String> =
            numbers(seed, 20_000).into_iter().map(|n| format!("{:x>1$}", n % keys, n as usize % 9)).collect();
        let text: Vec<String> = words.chunks(9).map(|words| words.join(" ")).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        std::fs::write(&path, text.join("\n")).unwrap();
        let counts = spilling(|cx| {
            let words = cx.text_file(&path.to_string_lossy())?.flat_map(|line: &str| line.split(' '));
            words.map(|word| (word, 1_u64)).reduce_by_key(|sum, n| *sum += n).collect()
        });
        let pairs: Vec<(String, ())> = words.into_iter().map(|word| (word, ())).collect();
        let expected: BTreeMap<String, u64> =
            model(&pairs).into_iter().map(|(word, ones)| (word, ones.len() as u64)).collect();
        prop_assert!(counts.len() == expected.len());
        prop_assert_eq!(counts.into_iter().collect::<BTreeMap<_, _>>(), expected);
    }

    #[test]
    fn lists_in_the_order_of_arrival(seed: u64, keys in 100_u64..4_000, reducers in 1_u32..4) {
        let pairs: Vec<(String, u32)> =
            numbers(seed, 9_000).into_iter().map(|n| (n % keys).to_string()).zip(0_u32..).collect();
        let groups = spilling(|cx| cx.parallelize(pairs.clone(), 3).group_by_key_in(reducers).collect());
        prop_assert!(groups.len() == model(&pairs).len());
        prop_assert_eq!(groups.into_iter().collect::<BTreeMap<_, _>>(), model(&pairs));
        // The same as an aggregate, of which each part is as large as its values: its order is kept as well.
        let lists = spilling(|cx| {
            let pairs = cx.parallelize(pairs.clone(), 3);
            let append = |list: &mut Vec<u32>, mut more: Vec<u32>| list.append(&mut more);
            pairs.aggregate_by_key(Vec::new, |list: &mut Vec<u32>, n| list.push(n), append).collect()
        });
        prop_assert_eq!(lists.into_iter().collect::<BTreeMap<_, _>>(), model(&pairs));
    }

    #[test]
    fn texts_that_are_owned(seed: u64, keys in 2_000_u64..9_000) {
        let pairs: Vec<(String, String)> = numbers(seed, 9_000)
            .into_iter()
            .map(|n| ((n % keys).to_string(), format!("{:>1$}", n, n as usize % 90)))
            .collect();
        let longest = spilling(|cx| {
            let longer = |known: &mut String, other: String| {
                if (other.len(), &other) > (known.len(), known) {
                    *known = other;
                }
            };
            cx.parallelize(pairs.clone(), 2).reduce_by_key(longer).collect()
        });
        let longest: BTreeMap<String, String> = longest.into_iter().collect();
        let best = |values: Vec<String>| values.into_iter().max_by_key(|text| (text.len(), text.clone()));
        let expected = model(&pairs).into_iter().filter_map(|(key, texts)| Some((key, best(texts)?)));
        let expected: BTreeMap<String, String> = expected.collect();
        prop_assert_eq!(longest, expected);
    }
}

#[test]
fn distinct_and_hashes_that_are_equal_by_chance() {
    // Whatever is in an option has an inexact digest, and its hash is made odd: keys must be compared.
    let keys: Vec<Option<u64>> =
        numbers(5, 30_000).into_iter().map(|n| (n % 5 > 0).then_some(n % 7_000)).collect();
    let mut distinct = spilling(|cx| cx.parallelize(keys.clone(), 2).distinct().collect());
    distinct.sort_unstable();
    let mut expected = keys.clone();
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(distinct, expected);
}

#[test]
fn more_runs_than_are_merged_at_once() {
    let pairs: Vec<(u64, u64)> = numbers(3, 600_000).into_iter().map(|n| (n % 300_000, 1)).collect();
    let (counts, _, runs) = with_memory(0, |cx| {
        cx.parallelize(pairs.clone(), 1).reduce_by_key_in(1, |sum, n| *sum += n).collect()
    });
    let expected: BTreeMap<u64, u64> =
        model(&pairs).into_iter().map(|(key, values)| (key, values.iter().sum())).collect();
    assert_eq!(counts.unwrap().into_iter().collect::<BTreeMap<_, _>>(), expected);
    assert!(runs > 3 * 32, "{runs} runs");
}

#[test]
fn half_of_all_records_under_one_key() {
    let pairs: Vec<(u64, u64)> =
        numbers(4, 60_000).into_iter().map(|n| (if n % 2 == 0 { 0 } else { 1 + n % 999 }, n)).collect();
    let group =
        |memory| with_memory(memory, |cx| cx.parallelize(pairs.clone(), 3).group_by_key_in(2).collect());
    let (groups, spilled, _) = group(400_000);
    assert!(spilled > 0);
    assert_eq!(groups.unwrap().into_iter().collect::<BTreeMap<_, _>>(), model(&pairs));
    let (groups, spilled, _) = group(100_000);
    assert!(spilled > 0);
    assert_too_large(groups, "group_by_key");
    // What combines has no giant.
    let pairs: Vec<(u64, u64)> =
        numbers(4, 60_000).into_iter().map(|n| (if n % 2 == 0 { 0 } else { 1 + n % 9_999 }, n)).collect();
    let sums = spilling(|cx| cx.parallelize(pairs.clone(), 3).reduce_by_key(|sum, n| *sum ^= n).collect());
    let expected: BTreeMap<u64, u64> = model(&pairs)
        .into_iter()
        .map(|(key, values)| (key, values.iter().fold(0, |sum, n| sum ^ n)))
        .collect();
    assert_eq!(sums.into_iter().collect::<BTreeMap<_, _>>(), expected);
}

#[test]
fn the_same_memory_gives_the_same_order() {
    let pairs: Vec<(u64, f64)> =
        numbers(8, 30_000).into_iter().map(|n| (n % 6_000, n as f64 / 7.0)).collect();
    let sums = || spilling(|cx| cx.parallelize(pairs.clone(), 3).reduce_by_key(|sum, n| *sum += n).collect());
    assert_eq!(sums(), sums());
}
