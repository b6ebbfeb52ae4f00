//! Datasets as sets.

use crate::{cases, clean, grouped, sorted};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeSet;

proptest! {
    #![proptest_config(cases(48))]


    #[test]
    fn sets(left in vec("[a-d]{0,2}", 0..40), right in vec("[a-d]{0,2}", 0..20), parts in 1_usize..5) {
        let (both, rest, unique) = clean(|cx| {
            let (a, b) = (cx.parallelize(left.clone(), parts), cx.parallelize(right.clone(), 3));
            let unique = a.distinct_in(3);
            assert_eq!(unique.partitions()?, 3);
            Ok((a.intersection(&b).collect()?, a.subtract(&b).collect()?, unique.collect()?))
        });
        let (a, b): (BTreeSet<_>, BTreeSet<_>) =
            (left.iter().cloned().collect(), right.iter().cloned().collect());
        prop_assert_eq!(sorted(both), a.intersection(&b).cloned().collect::<Vec<_>>());
        prop_assert_eq!(sorted(rest), sorted(left.into_iter().filter(|word| !b.contains(word))));
        prop_assert_eq!(sorted(unique), sorted(a));
    }

    #[test]
    fn groups_and_orders(values in vec(-50_i64..50, 0..60), parts in 1_usize..5, ascending: bool) {
        let (groups, ordered) = clean(|cx| {
            let numbers = cx.parallelize(values.clone(), parts);
            let groups = numbers.group_by(|n| n.rem_euclid(7)).collect()?;
            Ok((groups, numbers.sort_by_in(|n| n / 10, 3, ascending)?.collect()?))
        });
        let model = grouped(&values.iter().map(|n| (n.rem_euclid(7), *n)).collect::<Vec<_>>());
        prop_assert_eq!(groups.len(), model.len());
        prop_assert_eq!(groups.into_iter().collect::<std::collections::BTreeMap<_, _>>(), model);
        let mut model = values;
        if ascending {
            model.sort_by_key(|n| n / 10);
        } else {
            model.sort_by_key(|n| std::cmp::Reverse(n / 10));
        }
        prop_assert_eq!(ordered, model);
    }
}
