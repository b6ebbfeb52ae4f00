//! Map outputs with little memory: what is read has the order in which it was written.

use crate::{cases, numbers, spilling, with_memory};
use firesteel::testing::{LocalRunner, run_on};
use proptest::prelude::*;

/// What partitions of a dataset hold, one after the other, as it comes with as much memory as one likes.
macro_rules! same_as_with_much_memory {
    ($job:expr) => {{
        let much = run_on(&LocalRunner::new(2), $job).unwrap();
        let little = spilling($job);
        prop_assert!(!much.is_empty());
        prop_assert_eq!(little, much);
    }};
}

proptest! {
    #![proptest_config(cases(5))]

    #[test]
    fn each_way_to_write(seed: u64, reducers in 1_u32..200, keys in 1_u64..9_000) {
        let pairs: Vec<(u64, String)> =
            numbers(seed, 9_000).into_iter().map(|n| (n % keys, "x".repeat(n as usize % 40))).collect();
        same_as_with_much_memory!(|cx| {
            cx.parallelize(pairs.clone(), 3).partition_by(reducers).glom().collect()
        });
        same_as_with_much_memory!(|cx| {
            cx.parallelize(pairs.clone(), 3).repartition(reducers).glom().collect()
        });
        same_as_with_much_memory!(|cx| {
            let by_function = |key: &u64| (*key >> 2) as u32;
            cx.parallelize(pairs.clone(), 3).partition_by_function(reducers, by_function).glom().collect()
        });
        same_as_with_much_memory!(|cx| {
            cx.parallelize(pairs.clone(), 3).sort_by_key_in(reducers, true)?.glom().collect()
        });
    }
}

#[test]
fn many_reducers_of_few_records() {
    let pairs: Vec<(u64, u64)> = numbers(2, 40_000).into_iter().map(|n| (n % 10_000, n)).collect();
    let job =
        |cx: &firesteel::Context<'_>| cx.parallelize(pairs.clone(), 1).partition_by(2_000).glom().collect();
    let (little, spilled, runs) = with_memory(100_000, job);
    assert!(spilled > 0);
    assert_eq!(runs, 1, "one file for all reducers and all spills of a task");
    assert_eq!(little.unwrap(), run_on(&LocalRunner::new(2), job).unwrap());
}

#[test]
fn records_without_bytes_and_records_of_many() {
    let pairs: Vec<((), Vec<u8>)> = (0..300).map(|n| ((), vec![n as u8; (n % 7) * 20_000])).collect();
    let lists = spilling(|cx| cx.parallelize(pairs.clone(), 2).partition_by(3).glom().collect());
    assert_eq!(lists.concat(), pairs);
    let nothing = vec![(); 90_000];
    let (count, ..) = with_memory(1, |cx| cx.parallelize(nothing.clone(), 2).repartition(3).count());
    assert_eq!(count.unwrap(), 90_000);
}
