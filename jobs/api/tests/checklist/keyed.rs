//! What is combined, looked up and counted by key.

use crate::{cases, clean, counted, grouped, sorted};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Pairs = Vec<(String, i64)>;

fn pairs() -> impl Strategy<Value = Pairs> {
    vec(("[a-c]{0,2}|[a-z]{14,18}", -9_i64..9), 0..50)
}

proptest! {
    #![proptest_config(cases(48))]


    #[test]
    fn combined_by_key(pairs in pairs(), parts in 1_usize..5) {
        let (combined, folded, groups, flat) = clean(|cx| {
            let records = cx.parallelize(pairs.clone(), parts);
            let combined = records.combine_by_key(
                |n| (n, 1_u64),
                |acc, n| *acc = (acc.0 + n, acc.1 + 1),
                |acc, other| *acc = (acc.0 + other.0, acc.1 + other.1),
            );
            let folded = records.fold_by_key(|| 0, |sum, n| *sum += n);
            let flat = records.flat_map_values(|n| (0..n).rev());
            Ok((
                combined.collect_as_map()?,
                folded.collect_as_map()?,
                records.group_by_key_in(3).collect_as_map()?,
                flat.collect()?,
            ))
        });
        let model = grouped(&pairs);
        let sums = |all: &Vec<i64>| (all.iter().sum::<i64>(), all.len() as u64);
        prop_assert_eq!(combined, model.iter().map(|(key, all)| (key.clone(), sums(all))).collect());
        prop_assert_eq!(folded, model.iter().map(|(key, all)| (key.clone(), all.iter().sum())).collect());
        prop_assert_eq!(groups, model);
        let model: Pairs =
            pairs.iter().flat_map(|(key, n)| (0..*n).rev().map(move |n| (key.clone(), n))).collect();
        prop_assert_eq!(flat, model);
    }

    #[test]
    fn maps_and_counts(pairs in pairs(), parts in 1_usize..5) {
        let (counts, values, local) = clean(|cx| {
            let records = cx.parallelize(pairs.clone(), parts);
            let local = records.reduce_by_key_locally(|sum, n| *sum += n)?;
            Ok((records.count_by_key()?, records.count_by_value()?, local))
        });
        let model = grouped(&pairs);
        prop_assert_eq!(counts, model.iter().map(|(key, all)| (key.clone(), all.len() as u64)).collect());
        prop_assert_eq!(
            local,
            model.iter().map(|(key, all)| (key.clone(), all.iter().sum::<i64>())).collect()
        );
        let mut model: BTreeMap<(String, i64), u64> = BTreeMap::new();
        pairs.iter().for_each(|pair| *model.entry(pair.clone()).or_default() += 1);
        prop_assert_eq!(values, model);
    }

    #[test]
    fn lookups(pairs in pairs(), parts in 1_usize..5, absent in "[x-z]{3}") {
        let wanted: Vec<String> = pairs.iter().map(|pair| pair.0.clone()).chain([absent]).collect();
        let found = clean(|cx| {
            let records = cx.parallelize(pairs.clone(), parts);
            let spread = records.partition_by(4);
            let mut found = Vec::new();
            for key in &wanted {
                let (plain, pruned) = (records.lookup(key)?, spread.lookup(key)?);
                assert_eq!(plain, pruned);
                found.push(plain);
            }
            Ok(found)
        });
        let model = grouped(&pairs);
        let model: Vec<Vec<i64>> =
            wanted.iter().map(|key| model.get(key).cloned().unwrap_or_default()).collect();
        prop_assert_eq!(found, model);
    }

    #[test]
    fn partitions_by_a_function(pairs in vec((0_u32..50, any::<u8>()), 0..40), partitions in 1_u32..6) {
        let lists = clean(|cx| {
            let spread = cx.parallelize(pairs.clone(), 2).partition_by_function(partitions, |key| key / 7);
            spread.glom().collect()
        });
        for (number, list) in (0..).zip(&lists) {
            prop_assert!(list.iter().all(|(key, _)| key / 7 % partitions == number));
        }
        prop_assert_eq!(sorted(lists.concat()), sorted(pairs));
    }
}

#[test]
fn a_lookup_in_a_partitioned_dataset_is_one_task() {
    let (found, tasks) = counted(|cx| {
        let spread = cx.parallelize((0_i64..100).map(|n| (n % 10, n)).collect(), 2).partition_by(5);
        spread.lookup(&3)
    });
    assert_eq!(found, (0..10).map(|n| 10 * n + 3).collect::<Vec<_>>());
    assert_eq!(tasks, 2 + 1);
}
