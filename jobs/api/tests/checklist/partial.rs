//! Actions with a time limit. The local runtime gives as many partitions in time as it is told to.

use crate::{cases, clean};
use firesteel::testing::{LocalRunner, run_on};
use firesteel::{Bounded, Context, ErrorCode, PartialResult, Result};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const SOON: Duration = Duration::ZERO;

proptest! {
    #![proptest_config(cases(24))]


    #[test]
    fn in_time_the_answers_are_exact(numbers in vec(-50_i32..50, 1..60), parts in 1_usize..5) {
        let (count, values, keys, sum, mean) = clean(|cx| {
            let all = cx.parallelize(numbers.clone(), parts);
            let day = Duration::from_secs(86_400);
            let keys = all.map(|n| (n % 3, n)).count_by_key_approx(day, 0.9)?;
            let values = all.count_by_value_approx(day, 0.9)?;
            assert!(keys.is_final() && values.is_final());
            Ok((
                all.count_approx(day, 0.9)?.get_final()?,
                values.get_final()?,
                keys.get_final()?,
                all.sum_approx(day, 0.9)?.get_final()?,
                all.mean_approx(day, 0.9)?.get_final()?,
            ))
        });
        let total: i32 = numbers.iter().sum();
        let by = |key: fn(&i32) -> i32| {
            let mut counts: BTreeMap<i32, u32> = BTreeMap::new();
            numbers.iter().for_each(|n| *counts.entry(key(n)).or_default() += 1);
            counts.into_iter().map(|(key, count)| (key, Bounded::exact(count.into()))).collect()
        };
        prop_assert_eq!(count, Bounded::exact(numbers.len() as f64));
        prop_assert_eq!(sum, Bounded::exact(total.into()));
        prop_assert!((mean.mean - f64::from(total) / numbers.len() as f64).abs() < 1e-9);
        prop_assert_eq!(values, by(|n| *n));
        prop_assert_eq!(keys, by(|n| n % 3));
    }
}

/// Runs an action of which `partitions` of 20 come in time, over a dataset of random records: each of 4,000
/// numbers is there or not. Gives what was found, and what the answer is.
fn partly<R: Clone + 'static>(
    seed: u64,
    partitions: u64,
    action: impl for<'s> Fn(&Context<'s>, u64) -> Result<PartialResult<R>>,
) -> (R, R) {
    let runner = LocalRunner::new(2);
    let found = run_on(&runner, |cx| {
        // Each partition is a result, and an event that says how far the job is.
        runner.give_in_time(2 * partitions);
        let partial = action(cx, seed)?;
        assert!(!partial.is_final());
        Ok((partial.value().clone(), partial.get_final()?))
    });
    assert_eq!(runner.kept(), (0, 0));
    found.unwrap()
}

/// How often of 100 the answer lies within what was found.
fn hits(action: impl for<'s> Fn(&Context<'s>, u64) -> Result<PartialResult<Bounded>>) -> u32 {
    let hit = |seed| {
        let (found, answer) = partly(seed, 5, &action);
        assert_eq!((found.confidence, answer.confidence), (0.9, 1.0));
        assert!(found.low < found.mean && found.mean < found.high, "{found:?}");
        u32::from((found.low..=found.high).contains(&answer.mean))
    };
    (0..100).map(hit).sum()
}

#[test]
fn what_is_found_in_time_is_right_as_often_as_it_says() {
    // Of 100 at a confidence of 0.9, 90 are expected, and fewer than 80 or more than 99 are one in a
    // thousand.
    let counts = hits(|cx, seed| cx.range(0, 4_000, 20).sample(false, 0.1, seed)?.count_approx(SOON, 0.9));
    let means = hits(|cx, seed| {
        cx.range(0, 4_000, 20).sample(false, 0.1, seed)?.map(|n| n * 7_919 % 1_000).mean_approx(SOON, 0.9)
    });
    let sums = hits(|cx, seed| {
        cx.range(0, 4_000, 20).sample(false, 0.1, seed)?.map(|n| n * 7_919 % 1_000).sum_approx(SOON, 0.9)
    });
    for (what, hits) in [("counts", counts), ("means", means), ("sums", sums)] {
        assert!((80..=100).contains(&hits), "{what}: {hits} of 100");
    }
}

#[test]
fn keys_are_counted_as_far_as_they_came() {
    let (found, answer) = partly(1, 10, |cx, _| {
        cx.range(0, 4_000, 20)
            .map(|n| if n == 0 { "once" } else { "often" }.to_owned())
            .count_by_value_approx(SOON, 0.95)
    });
    assert_eq!(answer["often"], Bounded::exact(3_999.0));
    let often = found["often"];
    assert!(often.low < 3_999.0 && 3_999.0 < often.high && often.high - often.low < 300.0, "{often:?}");
    // One was seen in half of the partitions; in the other half there are 2 about, and 7 at most.
    assert_eq!((found["once"].mean, found["once"].low, found["once"].high), (3.0, 1.0, 8.0));
}

#[test]
fn nothing_in_time_is_no_confidence() {
    let (count, answer) = partly(1, 0, |cx, _| cx.range(0, 4_000, 20).count_approx(SOON, 0.95));
    assert_eq!((count.mean, count.confidence, count.high), (0.0, 0.0, f64::INFINITY));
    assert_eq!(answer, Bounded::exact(4_000.0));
    let (sum, _) = partly(1, 0, |cx, _| cx.range(0, 4_000, 20).sum_approx(SOON, 0.95));
    assert_eq!((sum.low, sum.high, sum.confidence), (f64::NEG_INFINITY, f64::INFINITY, 0.0));
    for confidence in [1.0, -0.1, f64::NAN] {
        let refused =
            firesteel::testing::run(|cx| cx.range(0, 9, 1).count_approx(SOON, confidence).map(drop));
        assert_eq!(refused.unwrap_err().code, ErrorCode::BadArgument);
    }
}
