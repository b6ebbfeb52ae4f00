//! Samples with a fraction for each key.

use crate::key::Key;
use crate::operator::{ENOUGH, Flow, MORE, Operator, sealed};
use crate::ops::indexed::knows_its_number;
use crate::plan::{Needs, Parents, Partitioner};
use crate::random::Random;
use crate::record::{Reader, Record};
use crate::table::Table;
use crate::task::Task;
use firesteel_common::{Payload, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

sealed! { SampleByKey<Op, K> }

/// See [`crate::Rdd::sample_by_key`].
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "Op: Serialize", deserialize = "Op: DeserializeOwned"))]
pub struct SampleByKey<Op, K> {
    op: Op,
    /// Keys and fractions, encoded one after the other.
    fractions: Payload,
    with_replacement: bool,
    seed: u64,
    key: PhantomData<fn() -> K>,
}

impl<Op: Clone, K> Clone for SampleByKey<Op, K> {
    fn clone(&self) -> Self {
        Self { op: self.op.clone(), fractions: self.fractions.clone(), ..*self }
    }
}

impl<Op, K> SampleByKey<Op, K> {
    /// A sample of `op`.
    pub fn new(op: Op, fractions: Payload, with_replacement: bool, seed: u64) -> Self {
        Self { op, fractions, with_replacement, seed, key: PhantomData }
    }
}

impl<'s, K, V, Op> Operator<'s> for SampleByKey<Op, K>
where
    K: Key<'s>,
    V: Record<'s> + Clone,
    Op: Operator<'s, Item = (K, V)>,
{
    type Item = (K, V);
    knows_its_number!();

    fn partitioner(&self) -> Option<Partitioner> {
        self.op.partitioner()
    }

    fn run<S>(&self, task: &Task<'s>, split: &Self::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut((K, V)) -> Flow,
    {
        let mut fractions = Table::new(|fraction: f64| fraction, |known, fraction| *known = fraction);
        let mut reader = Reader::new(task.hold_payload(&self.fractions));
        while !reader.is_empty() {
            let (key, fraction) = <(K, f64)>::decode(&mut reader)?;
            fractions.push(key, fraction);
        }
        fractions.settle();
        let mut random = Random::of_partition(self.seed, u64::from(split.0));
        self.op.run(task, &split.1, &mut |pair| {
            let Some(fraction) = fractions.get(&pair.0) else { return MORE };
            let often = if self.with_replacement {
                random.poisson(*fraction)
            } else {
                u64::from(random.unit() < *fraction)
            };
            for _ in 0..often {
                if sink(pair.clone()).is_break() {
                    return ENOUGH;
                }
            }
            MORE
        })
    }
}
