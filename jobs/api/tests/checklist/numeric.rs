//! Sums, means, spreads, histograms.

use crate::{cases, clean};
use firesteel::testing::run;
use proptest::collection::vec;
use proptest::prelude::*;

fn near(found: f64, expected: f64) -> bool {
    (found.is_nan() && expected.is_nan()) || (found - expected).abs() <= 1e-9 * (1.0 + expected.abs())
}

proptest! {
    #![proptest_config(cases(48))]


    #[test]
    fn summaries(values in vec(-1000_i32..1000, 0..60), parts in 1_usize..5) {
        let (stats, sum, mean, spread) = clean(|cx| {
            let numbers = cx.parallelize(values.clone(), parts);
            let spread =
                [numbers.variance()?, numbers.stdev()?, numbers.sample_variance()?, numbers.sample_stdev()?];
            Ok((numbers.stats()?, numbers.sum()?, numbers.mean()?, spread))
        });
        let count = values.len() as f64;
        let total: f64 = values.iter().map(|n| f64::from(*n)).sum();
        let squares: f64 = values.iter().map(|n| (f64::from(*n) - total / count).powi(2)).sum();
        prop_assert_eq!(stats.count, values.len() as u64);
        prop_assert!(near(sum, total) && near(mean, total / count));
        let sample = if values.len() < 2 { f64::NAN } else { squares / (count - 1.0) };
        let all = if values.is_empty() { f64::NAN } else { squares / count };
        for (found, expected) in spread.into_iter().zip([all, all.sqrt(), sample, sample.sqrt()]) {
            prop_assert!(near(found, expected), "{} is not {}", found, expected);
        }
        prop_assert_eq!(stats.min, values.iter().map(|n| f64::from(*n)).fold(f64::INFINITY, f64::min));
        prop_assert_eq!(stats.max, values.iter().map(|n| f64::from(*n)).fold(f64::NEG_INFINITY, f64::max));
    }

    #[test]
    fn histograms(
        values in vec(-20_i32..20, 1..60),
        buckets in 1_usize..7,
        borders in vec(-25_i32..25, 2..6),
    ) {
        let mut borders: Vec<f64> = borders.into_iter().map(f64::from).collect();
        borders.sort_by(f64::total_cmp);
        let ((even, counts), given) = clean(|cx| {
            let numbers = cx.parallelize(values.clone(), 3);
            Ok((numbers.histogram(buckets)?, numbers.histogram_of(&borders)?))
        });
        prop_assert_eq!(even.len(), buckets + 1);
        prop_assert_eq!(counts.iter().sum::<u64>(), values.len() as u64);
        let model = |borders: &[f64]| -> Vec<u64> {
            let last = borders.len() - 2;
            (0..=last)
                .map(|bucket| {
                    let (low, high) = (borders[bucket], borders[bucket + 1]);
                    // What is equal to the last border belongs to the last bucket, even of no width.
                    let inside = |n: f64| {
                        (low <= n && n < high && n != borders[last + 1]) || (bucket == last && n == high)
                    };
                    values.iter().filter(|n| inside(f64::from(**n))).count() as u64
                })
                .collect()
        };
        prop_assert_eq!(counts, model(&even));
        prop_assert_eq!(given, model(&borders));
    }
}

#[test]
fn a_sum_loses_little_to_rounding() {
    let sum = clean(|cx| cx.parallelize(vec![1e16, 1.0, -1e16, 1.0], 1).sum());
    assert_eq!(sum, 2.0);
    let infinite = clean(|cx| cx.parallelize(vec![f64::MAX, f64::MAX, 1.0], 2).sum());
    assert_eq!(infinite, f64::INFINITY);
}

#[test]
fn a_histogram_of_nothing_is_refused() {
    let none = run(|cx| cx.empty::<f64>().histogram(3)).unwrap_err();
    assert!(none.message.contains("without records"), "{none}");
    let falling = run(|cx| cx.range(0, 9, 1).histogram_of(&[3.0, 1.0])).unwrap_err();
    assert!(falling.message.contains("ascending"), "{falling}");
    let infinite = run(|cx| cx.parallelize(vec![1.0, f64::INFINITY], 1).histogram(2)).unwrap_err();
    assert!(infinite.message.contains("finite"), "{infinite}");
}
