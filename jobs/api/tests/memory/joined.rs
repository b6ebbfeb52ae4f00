//! Joins and cogroups with little memory.

use crate::{assert_too_large, cases, numbers, spilling, with_memory};
use proptest::prelude::*;
use std::collections::BTreeMap;

type Pairs = Vec<(u64, u32)>;

fn pairs(seed: u64, count: usize, keys: u64) -> Pairs {
    numbers(seed, count).into_iter().map(|n| n % keys).zip(0_u32..).collect()
}

fn groups(left: &Pairs, right: &Pairs) -> BTreeMap<u64, (Vec<u32>, Vec<u32>)> {
    let mut groups: BTreeMap<u64, (Vec<u32>, Vec<u32>)> = BTreeMap::new();
    left.iter().for_each(|(key, value)| groups.entry(*key).or_default().0.push(*value));
    right.iter().for_each(|(key, value)| groups.entry(*key).or_default().1.push(*value));
    groups
}

/// All pairs, of each key in the order of the right side, then of the left.
fn joined(left: &Pairs, right: &Pairs) -> BTreeMap<u64, Vec<(u32, u32)>> {
    let pairs = |(lefts, rights): &(Vec<u32>, Vec<u32>)| {
        rights.iter().flat_map(|right| lefts.iter().map(|left| (*left, *right))).collect::<Vec<_>>()
    };
    let groups = groups(left, right).into_iter().map(|(key, both)| (key, pairs(&both)));
    groups.filter(|(_, pairs)| !pairs.is_empty()).collect()
}

fn by_key(pairs: Vec<(u64, (u32, u32))>) -> BTreeMap<u64, Vec<(u32, u32)>> {
    let mut keys: BTreeMap<u64, Vec<(u32, u32)>> = BTreeMap::new();
    pairs.into_iter().for_each(|(key, pair)| keys.entry(key).or_default().push(pair));
    keys
}

proptest! {
    #![proptest_config(cases(6))]

    #[test]
    fn groups_of_two_sides(
        seed: u64, keys in 500_u64..6_000, lefts in 1_usize..9_000, rights in 12_000_usize..20_000,
    ) {
        let (left, right) = (pairs(seed, lefts, keys), pairs(seed ^ 1, rights, keys));
        let found = spilling(|cx| {
            let (left, right) = (cx.parallelize(left.clone(), 2), cx.parallelize(right.clone(), 3));
            left.cogroup(&right).collect()
        });
        let expected = groups(&left, &right);
        prop_assert!(found.len() == expected.len());
        prop_assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), expected);
    }

    #[test]
    fn joins(seed: u64, keys in 2_000_u64..9_000, lefts in 4_000_usize..9_000, rights in 1_usize..9_000) {
        let (left, right) = (pairs(seed, lefts, keys), pairs(seed ^ 1, rights, keys));
        let found = spilling(|cx| {
            let (left, right) = (cx.parallelize(left.clone(), 2), cx.parallelize(right.clone(), 3));
            left.join(&right).collect()
        });
        prop_assert_eq!(by_key(found), joined(&left, &right));
    }

    #[test]
    fn joins_by_texts_that_are_borrowed(seed: u64, keys in 2_000_u64..9_000) {
        let (left, right) = (pairs(seed, 7_000, keys), pairs(seed ^ 1, 7_000, keys));
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, pairs: &Pairs| {
            let lines: Vec<String> = pairs.iter().map(|(key, value)| format!("{key} {value}\n")).collect();
            let path = dir.path().join(name);
            std::fs::write(&path, lines.concat()).unwrap();
            path.to_string_lossy().into_owned()
        };
        let (lefts, rights) = (file("left", &left), file("right", &right));
        let found = spilling(|cx| {
            let left = cx.text_file(&lefts)?.flat_map(|line: &str| line.split_once(' '));
            let right = cx.text_file(&rights)?.flat_map(|line: &str| line.split_once(' '));
            left.join(&right).collect()
        });
        let read = |(key, (left, right)): (String, (String, String))| {
            (key.parse().unwrap(), (left.parse().unwrap(), right.parse().unwrap()))
        };
        prop_assert_eq!(by_key(found.into_iter().map(read).collect()), joined(&left, &right));
    }
}

#[test]
fn only_the_left_values_of_one_key_must_fit() {
    // Every second record of the large side is under one key.
    let large: Pairs =
        pairs(7, 60_000, 999).into_iter().map(|(key, n)| (if n % 2 == 0 { 5 } else { key }, n)).collect();
    let small: Pairs = pairs(8, 9_000, 9_000);
    let memory = 100_000;
    let (found, spilled, _) = with_memory(memory, |cx| {
        cx.parallelize(small.clone(), 2).join(&cx.parallelize(large.clone(), 2)).collect()
    });
    assert!(spilled > 0);
    assert_eq!(by_key(found.unwrap()), joined(&small, &large));
    let (found, ..) = with_memory(memory, |cx| {
        cx.parallelize(large.clone(), 2).join(&cx.parallelize(small.clone(), 2)).collect()
    });
    assert_too_large(found, "join");
    let (found, ..) = with_memory(memory, |cx| {
        cx.parallelize(small.clone(), 2).cogroup(&cx.parallelize(large.clone(), 2)).collect()
    });
    assert_too_large(found, "cogroup");
}

#[test]
fn a_join_that_has_enough_leaves_no_run() {
    let (left, right) = (pairs(1, 9_000, 3_000), pairs(2, 9_000, 3_000));
    let some = spilling(|cx| cx.parallelize(left.clone(), 1).join(&cx.parallelize(right.clone(), 1)).take(3));
    assert_eq!(some.len(), 3);
    let all = joined(&left, &right);
    assert!(some.iter().all(|(key, pair)| all[key].contains(pair)));
}
