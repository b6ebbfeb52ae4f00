//! Broadcast values.

use crate::{cases, clean, sorted};
use firesteel::testing::{LocalRunner, run, run_on};
use firesteel::{Broadcast, ErrorCode};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

/// What a user's own closures are given: one value beside others, in a type of their own.
#[derive(Clone, Serialize, Deserialize)]
struct Given {
    names: Broadcast<BTreeMap<u8, String>>,
    least: u8,
}

proptest! {
    #![proptest_config(cases(32))]


    #[test]
    fn every_task_sees_the_value(
        names in btree_map(0_u8..9, "[a-z]{0,4}", 0..9),
        numbers in vec(0_u8..9, 0..40),
        parts in 1_usize..5,
        least in 0_u8..9,
    ) {
        let (mapped, joined, again) = clean(|cx| {
            let broadcast = cx.broadcast(names.clone())?;
            assert_eq!(broadcast.value(), &names);
            let given = Given { names: broadcast.clone(), least };
            let numbers = cx.parallelize(numbers.clone(), parts);
            let named = numbers
                .filter_with(given, |given, n| *n >= given.least)
                .map_with(broadcast.clone(), |names, n| (n, names.value().get(&n).cloned()));
            // Below a shuffle, a cache and a chain without its type; and once more after it was taken back.
            let kept = named.cache();
            let counts = kept.erased().map(|(n, name)| (name.unwrap_or_default(), u64::from(n)));
            let joined = counts.reduce_by_key(|sum, n| *sum += n).collect()?;
            let mapped = kept.collect()?;
            broadcast.unpersist();
            Ok((mapped, joined, named.collect()?))
        });
        let model: Vec<(u8, Option<String>)> =
            numbers.into_iter().filter(|n| *n >= least).map(|n| (n, names.get(&n).cloned())).collect();
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for (n, name) in &model {
            *sums.entry(name.clone().unwrap_or_default()).or_default() += u64::from(*n);
        }
        prop_assert_eq!(&mapped, &model);
        prop_assert_eq!(again, model);
        prop_assert_eq!(sorted(joined), sums.into_iter().collect::<Vec<_>>());
    }
}

/// Counts how often it is decoded. Its bytes are written at once, however many they are.
struct Blob(Vec<u8>);

static DECODED: AtomicU32 = AtomicU32::new(0);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DECODED.fetch_add(1, Ordering::Relaxed);
        firesteel::Payload::deserialize(deserializer).map(|bytes| Self(bytes.to_vec()))
    }
}

#[test]
fn a_value_is_brought_once_and_decoded_once() {
    let bytes: Vec<u8> = (0..9_000_000_u32).map(|n| (n % 251) as u8).collect();
    let runner = LocalRunner::new(2);
    let sums = run_on(&runner, |cx| {
        let blob = cx.broadcast(Blob(bytes.clone()))?;
        let at = |cx: &firesteel::Context<'_>, from: i64| {
            let reads = cx.range(from, from + 10, 10).map_with(blob.clone(), |blob, at| {
                blob.value().0.get(at as usize * 899_999).copied().unwrap_or_default()
            });
            reads.map(u64::from).reduce(|a, b| a + b)
        };
        let first = at(cx, 0)?;
        let (tasks, kept) = (runner.tasks(), runner.kept());
        assert_eq!((tasks, kept), (3 + 10, (1, 1)), "three parts of at most 4 MiB, and one whole value");
        // What workers keep is lost: the value is in the process.
        runner.evict();
        let second = at(cx, 0)?;
        assert_eq!(runner.tasks() - tasks, 10, "it was there");
        Ok((first, second))
    })
    .unwrap();
    let model: u64 = (0..10).map(|at| u64::from(bytes[at * 899_999])).sum();
    assert_eq!(sums, (model, model));
    assert_eq!(DECODED.load(Ordering::Relaxed), 1);
    assert_eq!(runner.kept(), (0, 0));
}

#[test]
fn what_is_kept_of_a_value_lives_as_long_as_what_uses_it() {
    let runner = LocalRunner::new(2);
    run_on(&runner, |cx| {
        let value = cx.broadcast(7_i64)?;
        let shuffled = cx.range(0, 9, 3).map_with(value.clone(), |add, n| (n % 2, n + add.value()));
        let sums = shuffled.reduce_by_key(|sum, n| *sum += n);
        assert_eq!(sorted(sums.collect()?), [(0, 20 + 35), (1, 16 + 28)]);
        value.destroy();
        // The shuffle could be needed again, and with it the value.
        assert_eq!(runner.kept().0, 2);
        assert_eq!(sorted(sums.collect()?), [(0, 20 + 35), (1, 16 + 28)]);
        drop(sums);
        assert_eq!(runner.kept(), (0, 0));
        let error = shuffled.count().unwrap_err();
        assert_eq!(error.code, ErrorCode::BadArgument);
        assert!(error.message.contains("after it was destroyed"), "{error}");
        Ok(())
    })
    .unwrap();
}

/// Attempts of one process that need the value at once, and loops that give out one after the other.
#[test]
fn many_values_and_attempts_at_once() {
    let runner = LocalRunner::with_rivals(2);
    run_on(&runner, |cx| {
        for turn in 0..100_u64 {
            let value = cx.broadcast(vec![turn; 1_000])?;
            let added = cx.range(0, 8, 4).map_with(value, |value, n| {
                (n % 2, value.value().iter().sum::<u64>() + value.value().len() as u64 * n as u64)
            });
            let sums = added.reduce_by_key_in(2, |sum, more| *sum += more).values();
            assert_eq!(sums.reduce(|a, b| a + b)?, 1_000 * (8 * turn + 28));
            drop((added, sums));
            assert_eq!(runner.kept(), (0, 0));
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn values_that_cannot_be_given_are_refused() {
    let inner = run(|cx| {
        let inner = cx.broadcast(1_u8)?;
        cx.broadcast(vec![inner]).map(drop)
    });
    assert!(inner.unwrap_err().message.contains("cannot hold another"));
    let long = run(|cx| cx.broadcast(Blob(vec![0; 241 * 1024 * 1024])).map(drop)).unwrap_err();
    assert_eq!(long.code, ErrorCode::TooLarge);
    assert!(!long.help.is_empty());
}
