//! Joins, and what they do not shuffle.

use crate::{cases, clean, counted, grouped, sorted};
use proptest::collection::vec;
use proptest::prelude::*;

type Pairs = Vec<(u8, i32)>;

fn pairs() -> impl Strategy<Value = Pairs> {
    vec((0_u8..8, any::<i32>()), 0..30)
}

/// Every key of the lists.
fn keys(lists: &[&Pairs]) -> Vec<u8> {
    let mut keys = sorted(lists.iter().flat_map(|list| list.iter().map(|pair| pair.0)));
    keys.dedup();
    keys
}

fn or_none(values: Option<&Vec<i32>>) -> Vec<Option<i32>> {
    values.map_or(vec![None], |values| values.iter().copied().map(Some).collect())
}

proptest! {
    #![proptest_config(cases(48))]


    #[test]
    fn outer_joins(left in pairs(), right in pairs(), parts in 1_usize..5) {
        let (lefts, rights, fulls, rest) = clean(|cx| {
            let (a, b) = (cx.parallelize(left.clone(), parts), cx.parallelize(right.clone(), 2));
            let (lefts, rights) = (a.left_outer_join(&b).collect()?, a.right_outer_join(&b).collect()?);
            Ok((lefts, rights, a.full_outer_join(&b).collect()?, a.subtract_by_key(&b).collect()?))
        });
        let (a, b) = (grouped(&left), grouped(&right));
        let mut model = Vec::new();
        for key in keys(&[&left, &right]) {
            for left in or_none(a.get(&key)) {
                model.extend(or_none(b.get(&key)).into_iter().map(|right| (key, (left, right))));
            }
        }
        prop_assert_eq!(sorted(fulls), sorted(model.clone()));
        let only = model.iter().filter_map(|(key, (left, right))| left.map(|left| (*key, (left, *right))));
        prop_assert_eq!(sorted(lefts), sorted(only));
        let only = model.iter().filter_map(|(key, (left, right))| right.map(|right| (*key, (*left, right))));
        prop_assert_eq!(sorted(rights), sorted(only));
        prop_assert_eq!(sorted(rest), sorted(left.into_iter().filter(|pair| !b.contains_key(&pair.0))));
    }

    #[test]
    fn groups_of_several(lists in proptest::array::uniform4(pairs())) {
        let [first, second, third, fourth] = lists;
        let (three, four) = clean(|cx| {
            let dataset = |list: &Pairs, parts| cx.parallelize(list.clone(), parts);
            let (a, b) = (dataset(&first, 2), dataset(&second, 3));
            let (c, d) = (dataset(&third, 1), dataset(&fourth, 2));
            Ok((a.group_with3(&b, &c).collect()?, a.group_with4(&b, &c, &d).collect()?))
        });
        let values = |list: &Pairs, key| grouped(list).remove(&key).unwrap_or_default();
        let model: Vec<_> = keys(&[&first, &second, &third])
            .into_iter()
            .map(|key| (key, (values(&first, key), values(&second, key), values(&third, key))))
            .collect();
        prop_assert_eq!(sorted(three), model);
        let model: Vec<_> = keys(&[&first, &second, &third, &fourth])
            .into_iter()
            .map(|key| {
                (key, (values(&first, key), values(&second, key), values(&third, key), values(&fourth, key)))
            })
            .collect();
        prop_assert_eq!(sorted(four), model);
    }
}

/// How many tasks a job takes says whether it shuffled.
#[test]
fn sides_that_are_partitioned_alike_are_not_shuffled() {
    let list: Pairs = (0..40).map(|n| ((n % 8) as u8, n)).collect();
    let ((), hashed) = counted(|cx| {
        let a = cx.parallelize(list.clone(), 2).partition_by(3);
        let b = cx.parallelize(list.clone(), 2).reduce_by_key_in(3, |sum, n| *sum += n);
        assert_eq!(a.left_outer_join(&b.map_values(|n| n + 1)).count()?, 40);
        Ok(())
    });
    assert_eq!(hashed, 2 + 2 + 3);
    let ((), custom) = counted(|cx| {
        let by = |key: &u8| u32::from(*key / 2);
        let a = cx.parallelize(list.clone(), 2).partition_by_function(3, by);
        let b = cx.parallelize(list.clone(), 2).partition_by_function(3, by);
        let joined = a.join(&b);
        assert_eq!(joined.count()?, 8 * 25);
        Ok(())
    });
    assert_eq!(custom, 2 + 2 + 3);
    let ((), ranged) = counted(|cx| {
        let a = cx.parallelize(list.clone(), 1).sort_by_key_in(3, true)?;
        assert_eq!(a.join(&a.map_values(|n| n * 2)).count()?, 8 * 25);
        Ok(())
    });
    assert_eq!(ranged, 1 + 1 + 3, "one task samples, one writes, three read");
    let ((), different) = counted(|cx| {
        let a = cx.parallelize(list.clone(), 2).partition_by_function(3, |key: &u8| u32::from(*key));
        let b = cx.parallelize(list.clone(), 2).partition_by(3);
        assert_eq!(a.cogroup(&b).count()?, 8);
        Ok(())
    });
    assert_eq!(different, 2 + 3 + 2 + 3, "one side is shuffled again");
}
