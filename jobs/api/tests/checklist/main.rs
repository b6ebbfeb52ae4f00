//! Spark's RDD API, line by line, against independent computations over the runtime in this process. The
//! table in `docs/rdd.md` names the test of each line.

#![expect(clippy::unwrap_used, reason = "tests")]

mod actions;
mod approximate;
mod broadcast;
mod checkpoints;
mod control;
mod files;
mod joins;
mod keyed;
mod numeric;
mod ordered;
mod partial;
mod partitions;
mod pipes;
mod sampling;
mod sets;
mod shared;

use firesteel::testing::{LocalRunner, run_on};
use firesteel::{Context, Result};
use proptest::test_runner::{Config, RngSeed};
use std::collections::BTreeMap;

/// How properties are tested: the same cases each time.
pub fn cases(cases: u32) -> Config {
    Config { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(11), ..Config::default() }
}

/// Runs a job, and checks that nothing of it is kept afterwards.
pub fn clean<T>(job: impl for<'s> FnOnce(&Context<'s>) -> Result<T>) -> T {
    counted(job).0
}

/// The same, and how many tasks it took.
pub fn counted<T>(job: impl for<'s> FnOnce(&Context<'s>) -> Result<T>) -> (T, u64) {
    let runner = LocalRunner::new(2);
    let answer = run_on(&runner, job).unwrap();
    assert_eq!(runner.kept(), (0, 0), "outputs and blocks are released");
    (answer, runner.tasks())
}

/// In ascending order.
pub fn sorted<T: Ord>(records: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut records: Vec<T> = records.into_iter().collect();
    records.sort();
    records
}

/// The values of each key, in order.
pub fn grouped<K: Ord + Clone, V: Clone>(pairs: &[(K, V)]) -> BTreeMap<K, Vec<V>> {
    let mut groups: BTreeMap<K, Vec<V>> = BTreeMap::new();
    for (key, value) in pairs {
        groups.entry(key.clone()).or_default().push(value.clone());
    }
    groups
}

/// The partitions that `parallelize` makes of values.
pub fn parts_of<T: Clone>(values: &[T], parts: usize) -> Vec<Vec<T>> {
    let at = |part| values.len() * part / parts;
    (0..parts).map(|part| values[at(part)..at(part + 1)].to_vec()).collect()
}
