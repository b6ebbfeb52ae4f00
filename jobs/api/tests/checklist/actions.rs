//! Actions that are more than one job, or less than one at once.

use crate::{cases, clean, counted};
use firesteel::testing::{LocalRunner, run, run_on};
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(32))]


    #[test]
    fn trees_and_folds(values in vec(-100_i64..100, 1..60), parts in 1_usize..40, depth in 1_u32..4) {
        let (tree, reduced, folded) = clean(|cx| {
            let numbers = cx.parallelize(values.clone(), parts);
            let tree = numbers.tree_aggregate(
                || (0_i64, 0_u64),
                |acc, n| *acc = (acc.0 + n, acc.1 + 1),
                |acc, other| *acc = (acc.0 + other.0, acc.1 + other.1),
                depth,
            )?;
            Ok((tree, numbers.tree_reduce(|a, b| a.max(b), depth)?, numbers.fold(7, |a, b| a + b)?))
        });
        let sum: i64 = values.iter().sum();
        prop_assert_eq!(tree, (sum, values.len() as u64));
        prop_assert_eq!(Some(&reduced), values.iter().max());
        prop_assert_eq!(folded, sum + 7);
    }

    #[test]
    fn one_partition_at_a_time(values in vec(any::<u16>(), 0..40), parts in 1_usize..5) {
        let all = clean(|cx| {
            let records = cx.parallelize(values.clone(), parts).map(|n| (n % 5, n)).partition_by(3);
            records.to_local_iterator()?.collect::<firesteel::Result<Vec<_>>>()
        });
        let model =
            clean(|cx| cx.parallelize(values.clone(), parts).map(|n| (n % 5, n)).partition_by(3).collect());
        prop_assert_eq!(all, model);
    }

    #[test]
    fn started_now_and_waited_for_later(
        values in vec(any::<i32>(), 0..40),
        parts in 1_usize..5,
        count in 0_usize..50,
    ) {
        let (counted, all, some) = clean(|cx| {
            let numbers = cx.parallelize(values.clone(), parts);
            let (counting, all, some) =
                (numbers.count_async()?, numbers.collect_async()?, numbers.take_async(count)?);
            numbers.foreach_async((), |(), _| {})?.get()?;
            numbers.foreach_partition_async((), |(), _, _| {})?.get()?;
            Ok((counting.get()?, all.get()?, some.get()?))
        });
        prop_assert_eq!(counted, values.len() as u64);
        prop_assert_eq!(some, values.iter().copied().take(count).collect::<Vec<_>>());
        prop_assert_eq!(all, values);
    }
}

#[test]
fn a_tree_of_many_partitions_has_levels() {
    let (sum, tasks) = counted(|cx| cx.range(0, 1_000, 64).tree_reduce(|a, b| a + b, 2));
    assert_eq!(sum, 499_500);
    assert_eq!(tasks, 64 + 8, "64 partitions go into 8, and those to the driver");
}

#[test]
fn an_iterator_runs_no_more_than_it_is_asked_for() {
    let runner = LocalRunner::new(2);
    let first = run_on(&runner, |cx| {
        let mut records = cx.range(0, 100, 10).to_local_iterator()?;
        records.next().unwrap()
    });
    assert_eq!((first.unwrap(), runner.tasks()), (0, 1));
    let error = run(|cx| cx.empty::<i64>().tree_reduce(|a, b| a + b, 2)).unwrap_err();
    assert!(error.message.contains("without records"), "{error}");
}
