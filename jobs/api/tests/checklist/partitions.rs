//! What looks at whole partitions.

use crate::{cases, clean, counted, parts_of, sorted};
use firesteel::testing::run;
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(48))]


    #[test]
    fn partitions_with_their_numbers(
        values in vec(any::<i32>(), 0..40),
        parts in 1_usize..6,
        add in 0_u32..9,
    ) {
        let (glommed, numbered, with) = clean(|cx| {
            // A union and a coalesce before, so that the number of the task is another.
            let numbers = cx.parallelize(values.clone(), parts);
            let shifted = cx.parallelize(vec![0_i32; 3], 3).union(&numbers);
            let numbered = shifted
                .map_partitions_with_index(|number, part| part.into_iter().map(move |value| (number, value)));
            let with = numbers
                .map_partitions_with_index_with(add, |add, number, part| [(number + add, part.len() as u64)]);
            Ok((numbers.glom().collect()?, numbered.coalesce(1).collect()?, with.collect()?))
        });
        let model = parts_of(&values, parts);
        prop_assert_eq!(&glommed, &model);
        let lengths: Vec<(u32, u64)> =
            (add..).zip(&model).map(|(number, part)| (number, part.len() as u64)).collect();
        prop_assert_eq!(with, lengths);
        let model: Vec<(u32, i32)> = (3..)
            .zip(model)
            .flat_map(|(number, part)| part.into_iter().map(move |value| (number, value)))
            .collect();
        prop_assert_eq!(&numbered[3..], &model[..]);
    }

    #[test]
    fn numbers_for_records(values in vec(any::<u16>(), 0..40), parts in 1_usize..6) {
        let (indexed, unique) = clean(|cx| {
            let records = cx.parallelize(values.clone(), parts);
            Ok((records.zip_with_index()?.collect()?, records.zip_with_unique_id()?.collect()?))
        });
        prop_assert_eq!(indexed, values.iter().copied().zip(0_u64..).collect::<Vec<_>>());
        let model: Vec<(u16, u64)> = parts_of(&values, parts)
            .into_iter()
            .enumerate()
            .flat_map(|(part, values)| {
                values.into_iter().enumerate().map(move |(at, value)| (value, (part + at * parts) as u64))
            })
            .collect();
        prop_assert_eq!(unique, model);
    }

    #[test]
    fn side_by_side(
        values in vec(any::<i16>(), 0..30),
        parts in 1_usize..5,
        others in vec(any::<u8>(), 0..9),
    ) {
        let (zipped, summed, crossed) = clean(|cx| {
            let left = cx.parallelize(values.clone(), parts);
            let right = cx.parallelize(values.iter().map(|n| n.to_string()).collect::<Vec<_>>(), parts);
            let summed = left.zip_partitions(&right, 7_i64, |add, left, right| {
                [left.into_iter().map(i64::from).sum::<i64>() + add * right.len() as i64]
            });
            let crossed = left.cartesian(&cx.parallelize(others.clone(), 2));
            Ok((left.zip(&right).collect()?, summed.collect()?, crossed.collect()?))
        });
        prop_assert_eq!(zipped, values.iter().map(|n| (*n, n.to_string())).collect::<Vec<_>>());
        let model: Vec<i64> = parts_of(&values, parts)
            .iter()
            .map(|part| part.iter().map(|n| i64::from(*n) + 7).sum())
            .collect();
        prop_assert_eq!(summed, model);
        let model = values.iter().flat_map(|left| others.iter().map(move |right| (*left, *right)));
        prop_assert_eq!(sorted(crossed), sorted(model));
    }

    #[test]
    fn unions_of_many(lists in vec(vec(any::<u8>(), 0..6), 0..7)) {
        let all = clean(|cx| {
            let datasets: Vec<_> =
                lists.iter().map(|list| cx.parallelize(list.clone(), 2).erased()).collect();
            let union = cx.union(&datasets);
            assert_eq!(union.partitions()?, (2 * lists.len()).max(1));
            union.collect()
        });
        prop_assert_eq!(all, lists.concat());
    }
}

#[test]
fn what_does_not_fit_side_by_side_is_refused() {
    let zip = |left: usize, right: usize, parts: usize| {
        run(|cx| cx.parallelize(vec![1_u8; left], 2).zip(&cx.parallelize(vec![1_u8; right], parts)).count())
    };
    assert_eq!(zip(4, 4, 2).unwrap(), 4);
    for (left, right, parts, words) in
        [(4, 4, 3, "2 and 3 partitions"), (4, 6, 2, "more records"), (6, 4, 2, "more records")]
    {
        let error = zip(left, right, parts).unwrap_err();
        assert!(error.message.contains(words), "{error}");
    }
    let (counts, _) = counted(|cx| {
        let empty = cx.empty::<u32>();
        Ok((empty.count()?, empty.partitions()?, empty.is_empty()?))
    });
    assert_eq!(counts, (0, 1, true));
}

/// Partitions that are kept are read in place, also those of whole numbers that are written in full; and the
/// cached dataset gives the same records one by one.
#[test]
fn partitions_in_place() {
    use firesteel::fixed::{I64, U32};
    let (sums, records, signed) = clean(|cx| {
        let numbers = cx.range(0, 10_000, 3).map(|n| U32::new(n as u32 * 7)).cache();
        let sums = numbers.slices().map(|part| part.iter().map(|n| u64::from(n.get())).sum::<u64>());
        let signed = cx.range(-500, 500, 2).map(|n| [I64::new(n), I64::new(-n)]).cache();
        let signed = signed.slices().map(|part| part.iter().map(|pair| pair[1].get()).collect::<Vec<i64>>());
        Ok((sums.collect()?, numbers.map(|n| n.get()).collect()?, signed.collect()?))
    });
    let model: Vec<u32> = (0..10_000).map(|n| n * 7).collect();
    assert_eq!((sums.len(), sums.iter().sum::<u64>()), (3, model.iter().map(|n| u64::from(*n)).sum()));
    assert_eq!(records, model);
    assert_eq!(signed.concat(), (-500..500).map(|n| -n).collect::<Vec<i64>>());
}
