//! What needs an order.

use crate::{cases, clean, counted, sorted};
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(48))]


    #[test]
    fn extremes(values in vec(any::<i32>(), 1..200), parts in 1_usize..5, count in 0_usize..150) {
        let (top, least, max, min) = clean(|cx| {
            let numbers = cx.parallelize(values.clone(), parts);
            Ok((numbers.top(count)?, numbers.take_ordered(count)?, numbers.max()?, numbers.min()?))
        });
        let model = sorted(values);
        prop_assert_eq!(least, model.iter().copied().take(count).collect::<Vec<_>>());
        prop_assert_eq!(top, model.iter().copied().rev().take(count).collect::<Vec<_>>());
        prop_assert_eq!((Some(&min), Some(&max)), (model.first(), model.last()));
    }

    #[test]
    fn sorted_within_partitions(pairs in vec((0_u8..20, any::<u8>()), 0..60), partitions in 1_u32..5) {
        let lists = clean(|cx| {
            let records = cx.parallelize(pairs.clone(), 3);
            records.repartition_and_sort_within_partitions(partitions).glom().collect()
        });
        prop_assert_eq!(lists.len(), partitions as usize);
        for list in &lists {
            prop_assert!(list.is_sorted_by_key(|pair| pair.0));
            for key in list.iter().map(|pair| pair.0) {
                prop_assert_eq!(lists.iter().filter(|list| list.iter().any(|pair| pair.0 == key)).count(), 1);
            }
        }
        prop_assert_eq!(sorted(lists.concat()), sorted(pairs));
    }

    #[test]
    fn ranges(
        pairs in vec((0_u16..100, any::<u8>()), 0..80),
        low in 0_u16..100,
        high in 0_u16..100,
        ascending: bool,
    ) {
        let (pruned, plain) = clean(|cx| {
            let records = cx.parallelize(pairs.clone(), 3);
            let pruned = records.sort_by_key_in(4, ascending)?.filter_by_range(&low, &high)?.collect()?;
            Ok((pruned, records.filter_by_range(&low, &high)?.collect()?))
        });
        let model: Vec<(u16, u8)> = pairs.into_iter().filter(|pair| (low..=high).contains(&pair.0)).collect();
        prop_assert_eq!(sorted(pruned), sorted(model.clone()));
        prop_assert_eq!(plain, model);
    }
}

#[test]
fn a_range_of_sorted_keys_looks_at_few_partitions() {
    let (found, tasks) = counted(|cx| {
        let records = cx.parallelize((0_u32..1000).map(|n| (n, ())).collect(), 1);
        records.sort_by_key_in(10, true)?.filter_by_range(&500, &510)?.count()
    });
    assert_eq!(found, 11);
    assert!(tasks <= 1 + 1 + 2, "{tasks} tasks");
    let error = firesteel::testing::run(|cx| cx.empty::<u8>().max()).unwrap_err();
    assert!(error.message.contains("max of a dataset without records"), "{error}");
}

/// Files that are large enough for a sort to look at a few places of them only, in the order that is worst
/// for it (sorted), and in none.
#[test]
fn a_sort_of_a_large_file_is_a_sort_and_its_partitions_are_alike() {
    const RECORDS: u64 = 60_000;
    let dir = tempfile::tempdir().unwrap();
    for mixed in [false, true] {
        let key = |n: u64| if mixed { n.wrapping_mul(0x9e37_79b9_7f4a_7c15) } else { n << 40 };
        let keys: Vec<u64> = (0..RECORDS).map(key).collect();
        let record = |key: &u64| [key.to_be_bytes().to_vec(), vec![7; 92]].concat();
        let path = dir.path().join("records").display().to_string();
        std::fs::write(&path, keys.iter().flat_map(record).collect::<Vec<u8>>()).unwrap();
        let lines: String = keys.iter().map(|key| format!("{key:020} {}\n", "x".repeat(80))).collect();
        let text = dir.path().join("text").display().to_string();
        std::fs::write(&text, lines).unwrap();
        let (records, lines) = clean(|cx| {
            let records = cx.binary_records(&path, 100)?.sort_by_in(|record| record.to_vec(), 8, true)?;
            let lines = cx.text_file(&text)?.sort_by_in(|line| *line, 8, false)?;
            let key = |record: &[u8]| u64::from_be_bytes(record[..8].try_into().unwrap());
            let number = |line: &str| line[..20].parse::<u64>().unwrap();
            Ok((records.map(key).glom().collect()?, lines.map(number).glom().collect()?))
        });
        let mut model = sorted(keys);
        for found in [records, lines] {
            for part in &found {
                let share = part.len() as u64 * 8;
                assert!((RECORDS / 2..RECORDS * 2).contains(&share), "{} of {RECORDS}", part.len());
            }
            assert!(found.concat() == model);
            model.reverse();
        }
    }
}
