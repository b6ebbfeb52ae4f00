//! Joins that keep what has no partner, and groups of more than two datasets.

use crate::key::Key;
use crate::operator::Operator;
use crate::rdd::Rdd;
use crate::record::Record;

/// Each value of one side with each of the other.
fn pairs<V: Clone, W: Clone>(left: Vec<V>, right: Vec<W>) -> impl Iterator<Item = (V, W)> {
    left.into_iter().flat_map(move |left| {
        let pair = |right| (left.clone(), right);
        right.clone().into_iter().map(pair).collect::<Vec<_>>()
    })
}

/// A pair of values, one of which may be missing.
pub type Outer<V, W> = (Option<V>, Option<W>);

/// What a missing side of a join is.
fn or_none<T>(values: Vec<T>) -> Vec<Option<T>> {
    if values.is_empty() { vec![None] } else { values.into_iter().map(Some).collect() }
}

impl<'s, K: Key<'s>, V: Record<'s> + Clone, Op: Operator<'s, Item = (K, V)>> Rdd<'s, Op> {
    /// Each pair of values that have the same key, and the values of this dataset that have no partner.
    pub fn left_outer_join<W, Other>(
        &self,
        other: &Rdd<'s, Other>,
    ) -> Rdd<'s, impl Operator<'s, Item = (K, (V, Option<W>))> + use<'s, K, V, W, Op, Other>>
    where
        W: Record<'s> + Clone,
        Other: Operator<'s, Item = (K, W)>,
    {
        self.cogroup(other).flat_map_values(|(left, right)| pairs(left, or_none(right)))
    }

    /// Each pair of values that have the same key, and the values of the other dataset that have no partner.
    pub fn right_outer_join<W, Other>(
        &self,
        other: &Rdd<'s, Other>,
    ) -> Rdd<'s, impl Operator<'s, Item = (K, (Option<V>, W))> + use<'s, K, V, W, Op, Other>>
    where
        W: Record<'s> + Clone,
        Other: Operator<'s, Item = (K, W)>,
    {
        self.cogroup(other).flat_map_values(|(left, right)| pairs(or_none(left), right))
    }

    /// Each pair of values that have the same key, and the values of both datasets that have no partner.
    pub fn full_outer_join<W, Other>(
        &self,
        other: &Rdd<'s, Other>,
    ) -> Rdd<'s, impl Operator<'s, Item = (K, Outer<V, W>)> + use<'s, K, V, W, Op, Other>>
    where
        W: Record<'s> + Clone,
        Other: Operator<'s, Item = (K, W)>,
    {
        // A key has a value on one side at least.
        self.cogroup(other).flat_map_values(|(left, right)| pairs(or_none(left), or_none(right)))
    }

    /// The records whose keys are not in another dataset.
    pub fn subtract_by_key<W, Other>(
        &self,
        other: &Rdd<'s, Other>,
    ) -> Rdd<'s, impl Operator<'s, Item = (K, V)> + use<'s, K, V, W, Op, Other>>
    where
        W: Record<'s>,
        Other: Operator<'s, Item = (K, W)>,
    {
        self.cogroup(&other.map_values(|_| ()))
            .flat_map_values(|(left, right)| if right.is_empty() { left } else { Vec::new() })
    }

    /// For each key of three datasets all its values in each.
    #[expect(clippy::type_complexity, reason = "the records are what they are")]
    pub fn group_with3<W, X, B, C>(
        &self,
        second: &Rdd<'s, B>,
        third: &Rdd<'s, C>,
    ) -> Rdd<'s, impl Operator<'s, Item = (K, (Vec<V>, Vec<W>, Vec<X>))> + use<'s, K, V, W, X, Op, B, C>>
    where
        W: Record<'s>,
        X: Record<'s>,
        B: Operator<'s, Item = (K, W)>,
        C: Operator<'s, Item = (K, X)>,
    {
        // The second cogroup finds the first partitioned, so it shuffles the third dataset alone.
        self.cogroup(second).cogroup(third).map_values(|(both, third)| {
            let (first, second) = both.into_iter().next().unwrap_or_default();
            (first, second, third)
        })
    }

    /// For each key of four datasets all its values in each.
    #[expect(clippy::type_complexity, reason = "the records are what they are")]
    pub fn group_with4<W, X, Y, B, C, D>(
        &self,
        second: &Rdd<'s, B>,
        third: &Rdd<'s, C>,
        fourth: &Rdd<'s, D>,
    ) -> Rdd<
        's,
        impl Operator<'s, Item = (K, (Vec<V>, Vec<W>, Vec<X>, Vec<Y>))> + use<'s, K, V, W, X, Y, Op, B, C, D>,
    >
    where
        W: Record<'s>,
        X: Record<'s>,
        Y: Record<'s>,
        B: Operator<'s, Item = (K, W)>,
        C: Operator<'s, Item = (K, X)>,
        D: Operator<'s, Item = (K, Y)>,
    {
        self.group_with3(second, third).cogroup(fourth).map_values(|(three, fourth)| {
            let (first, second, third) = three.into_iter().next().unwrap_or_default();
            (first, second, third, fourth)
        })
    }
}
