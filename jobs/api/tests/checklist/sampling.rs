//! Samples: their sizes, and that they repeat.

use crate::{clean, grouped, sorted};
use firesteel::ErrorCode;
use firesteel::testing::run;

#[test]
fn a_sample_has_about_its_fraction_and_repeats() {
    let (once, again, other, often) = clean(|cx| {
        let numbers = cx.range(0, 20_000, 5);
        let draw = |seed| numbers.sample(false, 0.3, seed)?.collect();
        Ok((draw(1)?, draw(1)?, draw(2)?, numbers.sample(true, 2.5, 1)?.collect()?))
    });
    assert_eq!(once, again);
    assert_ne!(once, other);
    assert!((5_700..6_300).contains(&once.len()), "{}", once.len());
    assert!(once.is_sorted() && once.windows(2).all(|pair| pair[0] < pair[1]), "each at most once");
    assert!((49_000..51_000).contains(&often.len()), "{}", often.len());
}

#[test]
fn a_random_split_has_each_record_once() {
    let parts = clean(|cx| {
        let split = cx.range(0, 10_000, 4).random_split(&[1.0, 0.0, 3.0], 9)?;
        split.iter().map(|part| part.collect()).collect::<firesteel::Result<Vec<_>>>()
    });
    assert!((2_300..2_700).contains(&parts[0].len()) && parts[1].is_empty());
    assert_eq!(sorted(parts.concat()), (0..10_000).collect::<Vec<_>>());
}

#[test]
fn a_taken_sample_has_exactly_its_size() {
    let (some, all, often, none) = clean(|cx| {
        let numbers = cx.range(0, 1_000, 3);
        let (some, all) = (numbers.take_sample(false, 100, 4)?, numbers.take_sample(false, 5_000, 4)?);
        Ok((some, all, numbers.take_sample(true, 3_000, 4)?, cx.empty::<i64>().take_sample(true, 5, 4)?))
    });
    assert_eq!((some.len(), all.len(), often.len(), none.len()), (100, 1_000, 3_000, 0));
    assert_eq!(sorted(all), (0..1_000).collect::<Vec<_>>());
    let mut unique = sorted(some.clone());
    unique.dedup();
    assert_eq!(unique.len(), 100);
    assert!(!some.is_sorted() && often.iter().all(|n| (0..1_000).contains(n)));
    // Spread over the whole: a mean far from the middle would say that a part is preferred.
    let mean = often.iter().sum::<i64>() / 3_000;
    assert!((470..530).contains(&mean), "{mean}");
}

#[test]
fn samples_by_key_have_their_fractions() {
    let records: Vec<(String, u32)> =
        (0..6_000).map(|n| (["a", "b", "c"][n % 3].to_owned(), n as u32)).collect();
    let fractions = [("a".to_owned(), 0.5), ("b".to_owned(), 0.1001), ("x".to_owned(), 1.0)];
    let (about, often, exact) = clean(|cx| {
        let dataset = cx.parallelize(records.clone(), 4);
        let about = dataset.sample_by_key(false, &fractions, 3)?.collect()?;
        let often = dataset.sample_by_key(true, &[("c".to_owned(), 2.0)], 3)?.collect()?;
        Ok((about, often, dataset.sample_by_key_exact(&fractions, 3)?.collect()?))
    });
    let counts = |sample: &[(String, u32)], key: &str| grouped(sample).get(key).map_or(0, Vec::len);
    assert!((900..1_100).contains(&counts(&about, "a")) && (150..250).contains(&counts(&about, "b")));
    assert_eq!((counts(&about, "c"), counts(&exact, "c")), (0, 0));
    assert!((3_800..4_200).contains(&counts(&often, "c")));
    assert_eq!((counts(&exact, "a"), counts(&exact, "b")), (1_000, 201), "rounded up");
    let mut unique = sorted(exact.clone());
    unique.dedup();
    assert_eq!(unique.len(), exact.len());
    assert!(exact.iter().all(|record| records.contains(record)));
}

#[test]
fn fractions_that_make_no_sense_are_refused() {
    let refused = |fraction: f64, again: bool| {
        run(|cx| cx.range(0, 9, 1).sample(again, fraction, 0)?.count()).unwrap_err()
    };
    for (fraction, again) in [(-0.1, false), (1.5, false), (-1.0, true), (f64::NAN, false)] {
        assert_eq!(refused(fraction, again).code, ErrorCode::BadArgument);
    }
    let weights = run(|cx| cx.range(0, 9, 1).random_split(&[0.0], 0).map(|_| ())).unwrap_err();
    assert_eq!(weights.code, ErrorCode::BadArgument);
}
