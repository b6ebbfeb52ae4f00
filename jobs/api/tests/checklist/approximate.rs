//! Counts and quantiles that are about right.

use crate::{clean, sorted};
use firesteel::ErrorCode;
use firesteel::testing::run;

#[test]
fn distinct_records_are_counted_about() {
    let (few, many, words, by_key) = clean(|cx| {
        let numbers = cx.range(0, 60_000, 4);
        let few = numbers.map(|n| n % 100).count_approx_distinct(0.05)?;
        let many = numbers.map(|n| n % 30_000).count_approx_distinct(0.01)?;
        let words =
            numbers.map(|n| format!("a rather long word {}", n % 5_000)).count_approx_distinct(0.02)?;
        let by_key = numbers.map(|n| (n % 3, n % 3_000)).count_approx_distinct_by_key(0.02)?;
        Ok((few, many, words, by_key))
    });
    assert_eq!(few, 100, "few are counted exactly");
    assert!((28_800..31_200).contains(&many), "{many}");
    assert!((4_600..5_400).contains(&words), "{words}");
    assert_eq!(by_key.len(), 3);
    assert!(by_key.values().all(|count| (920..1_080).contains(count)), "{by_key:?}");
}

#[test]
fn quantiles_are_near_their_ranks() {
    let ranks = [0.0, 0.25, 0.5, 0.99, 1.0];
    let (found, empty) = clean(|cx| {
        let numbers = cx.range(0, 50_000, 7).map(|n| (n * 7_919) % 50_000);
        Ok((numbers.approx_quantiles(&ranks, 0.01)?, cx.empty::<f64>().approx_quantiles(&ranks, 0.01)?))
    });
    assert!(empty.is_empty());
    for (rank, found) in ranks.iter().zip(&found) {
        assert!((found / 50_000.0 - rank).abs() < 0.011, "{rank}: {found}");
    }
    assert_eq!(sorted(found.iter().map(|n| *n as i64)), found.iter().map(|n| *n as i64).collect::<Vec<_>>());
    for error in [0.0, -1.0, 0.9, f64::NAN] {
        assert_eq!(
            run(|cx| cx.range(0, 9, 1).approx_quantiles(&ranks, error)).unwrap_err().code,
            ErrorCode::BadArgument
        );
    }
}
