//! Every operator against a model in plain vectors and ordered maps, over the runtime in this process.

#![expect(clippy::unwrap_used, reason = "tests")]

use firesteel::testing::{LocalRunner, run, run_on};
use firesteel::{Context, ErrorCode, Result};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::{BTreeMap, BTreeSet};

type Pairs = Vec<(String, i64)>;

fn pairs() -> impl Strategy<Value = Pairs> {
    vec(("[a-c]{0,2}|[a-z]{14,18}", -5_i64..5), 0..60)
}

fn sorted<T: Ord>(mut records: Vec<T>) -> Vec<T> {
    records.sort();
    records
}

/// The values of each key, in order.
fn grouped(pairs: &Pairs) -> BTreeMap<String, Vec<i64>> {
    let mut groups: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (key, value) in pairs {
        groups.entry(key.clone()).or_default().push(*value);
    }
    groups
}

/// Runs a job, and checks that nothing of it is kept afterwards.
fn clean<T>(job: impl for<'s> FnOnce(&Context<'s>) -> Result<T>) -> T {
    let runner = LocalRunner::new(2);
    let answer = run_on(&runner, job).unwrap();
    assert_eq!(runner.kept(), (0, 0), "outputs and blocks are released");
    answer
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    })]

    #[test]
    fn narrow_operators(values in vec(-100_i64..100, 0..50), parts in 1_usize..6, by in 1_i64..9) {
        let (mapped, kept, flat, parted) = clean(|cx| {
            let numbers = cx.parallelize(values.clone(), parts);
            let mapped = numbers.map(|n| n * 2).map_with(by, |by, n| n + by);
            let kept = mapped.filter(|n| n % 3 != 0).filter_with(by, |by, n| n % by == 0);
            let flat = numbers.flat_map(|n| [n; 2]).flat_map_with(by, |by, n| (n % by == 0).then_some(n));
            let parted = numbers.map_partitions(|part| part.into_iter().rev());
            let with = parted.map_partitions_with(by, |by, part| [part.iter().sum::<i64>() * by]);
            assert_eq!(with.collect()?.len(), parts);
            Ok((mapped.collect()?, kept.collect()?, flat.collect()?, sorted(parted.collect()?)))
        });
        let model: Vec<i64> = values.iter().map(|n| n * 2 + by).collect();
        prop_assert_eq!(&mapped, &model);
        prop_assert_eq!(kept, model.into_iter().filter(|n| n % 3 != 0 && n % by == 0).collect::<Vec<_>>());
        let model: Vec<i64> = values.iter().flat_map(|n| [*n; 2]).filter(|n| n % by == 0).collect();
        prop_assert_eq!(flat, model);
        prop_assert_eq!(parted, sorted(values));
    }

    #[test]
    fn shapes(left in vec(any::<u32>(), 0..40), right in vec(any::<u32>(), 0..40),
              parts in 1_usize..5, wanted in 1_u32..7) {
        let (union, counts, spread, erased) = clean(|cx| {
            let a = cx.parallelize(left.clone(), parts);
            let b = cx.parallelize(right.clone(), 2).repartition(wanted);
            let union = a.union(&b).union(&a);
            let few = union.coalesce(wanted);
            assert_eq!(few.partitions()?, (wanted as usize).min(2 * parts + wanted as usize));
            let mut rebuilt = a.erased();
            for _ in 0..3 {
                rebuilt = rebuilt.union(&b.erased()).map(|n| n ^ 1).coalesce(2).erased();
            }
            Ok((few.collect()?, (union.count()?, rebuilt.count()?), b.collect()?, rebuilt.collect()?))
        });
        let mut model = [left.clone(), right.clone(), left.clone()].concat();
        prop_assert_eq!(counts.0, model.len() as u64);
        prop_assert_eq!(counts.1, (left.len() + 3 * right.len()) as u64);
        prop_assert_eq!(sorted(union), { model.sort(); model });
        prop_assert_eq!(sorted(spread), sorted(right));
        prop_assert_eq!(&erased[..left.len()], left.iter().map(|n| n ^ 1).collect::<Vec<_>>());
    }

    #[test]
    fn keyed_operators(pairs in pairs(), parts in 1_usize..6, reducers in 1_u32..7) {
        let (sums, most, groups, unique, keyed) = clean(|cx| {
            let records = cx.parallelize(pairs.clone(), parts);
            let sums = records.reduce_by_key_in(reducers, |sum, n| *sum += n);
            let most = records.aggregate_by_key(
                || (0_u64, i64::MIN),
                |acc, n| *acc = (acc.0 + 1, acc.1.max(n)),
                |acc, other| *acc = (acc.0 + other.0, acc.1.max(other.1)),
            );
            let groups = records.group_by_key();
            let unique = records.keys().distinct();
            let keyed = records.values().key_by(|n| n.rem_euclid(3) as u8).map_values(|n| n + 1);
            Ok((sums.collect()?, most.collect()?, groups.collect()?, unique.collect()?, keyed.collect()?))
        });
        let model = grouped(&pairs);
        let sum: BTreeMap<_, _> = model.iter().map(|(key, all)| (key.clone(), all.iter().sum())).collect();
        prop_assert_eq!(sums.len(), sum.len());
        prop_assert_eq!(sums.into_iter().collect::<BTreeMap<String, i64>>(), sum);
        let max: BTreeMap<_, _> = model
            .iter()
            .map(|(key, all)| (key.clone(), (all.len() as u64, *all.iter().max().unwrap())))
            .collect();
        prop_assert_eq!(most.into_iter().collect::<BTreeMap<_, _>>(), max);
        prop_assert_eq!(groups.len(), model.len());
        prop_assert_eq!(sorted(unique), model.keys().cloned().collect::<Vec<_>>());
        prop_assert_eq!(groups.into_iter().collect::<BTreeMap<_, _>>(), model);
        let model: Vec<_> = pairs.iter().map(|(_, n)| (n.rem_euclid(3) as u8, n + 1)).collect();
        prop_assert_eq!(keyed, model);
    }

    #[test]
    fn joins(left in pairs(), right in pairs(), parts in 1_usize..5, reducers in 1_u32..5) {
        let (joined, narrow, both, own) = clean(|cx| {
            let a = cx.parallelize(left.clone(), parts);
            let b = cx.parallelize(right.clone(), 2);
            let joined = a.join(&b).collect()?;
            let placed = a.partition_by(reducers);
            let narrow = placed.join(&b.reduce_by_key_in(reducers, |sum, n| *sum += n));
            let narrow = narrow.map_values(|(x, y)| x * y).collect()?;
            let both = a.cogroup(&b).collect()?;
            let own = placed.join(&placed).count()?;
            Ok((joined, narrow, both, own))
        });
        let (l, r) = (grouped(&left), grouped(&right));
        let mut model = Vec::new();
        for (key, x) in &left {
            model.extend(right.iter().filter(|(k, _)| k == key).map(|(_, y)| (key.clone(), (*x, *y))));
        }
        prop_assert_eq!(sorted(joined), sorted(model));
        let product = |(key, x): &(String, i64)| Some((key.clone(), x * r.get(key)?.iter().sum::<i64>()));
        let model = left.iter().filter_map(product);
        prop_assert_eq!(sorted(narrow), sorted(model.collect()));
        let keys: BTreeSet<&String> = l.keys().chain(r.keys()).collect();
        let all = |groups: &BTreeMap<String, Vec<i64>>, key| groups.get(key).cloned().unwrap_or_default();
        let model: Vec<_> = keys.into_iter().map(|key| (key.clone(), (all(&l, key), all(&r, key)))).collect();
        prop_assert_eq!(sorted(both), model);
        prop_assert_eq!(own, l.values().map(|all| (all.len() * all.len()) as u64).sum::<u64>());
    }

    #[test]
    fn sorting_is_total_and_stable(pairs in pairs(), parts in 1_usize..6, ranges in 1_u32..7, up: bool) {
        let found = clean(|cx| cx.parallelize(pairs.clone(), parts).sort_by_key_in(ranges, up)?.collect());
        let mut model = pairs;
        model.sort_by(|a, b| if up { a.0.cmp(&b.0) } else { b.0.cmp(&a.0) });
        prop_assert_eq!(found, model);
    }

    #[test]
    fn actions(values in vec(any::<i32>(), 0..50), parts in 1_usize..9, wanted in 0_usize..20) {
        let found = clean(|cx| {
            let numbers = cx.parallelize(values.clone(), parts);
            let sum = numbers.aggregate(|| 0_i64, |sum, n| *sum += i64::from(n), |sum, other| *sum += other)?;
            let largest = numbers.reduce(i32::max).map_err(|error| error.code);
            let first = numbers.first().map_err(|error| error.code);
            numbers.foreach_partition((), |_, _, part| assert!(part.len() <= 50))?;
            Ok((numbers.count()?, sum, largest, first, numbers.take(wanted)?))
        });
        let sum = values.iter().map(|n| i64::from(*n)).sum();
        let largest = values.iter().copied().max().ok_or(ErrorCode::JobFailed);
        let first = values.first().copied().ok_or(ErrorCode::JobFailed);
        let taken = values.iter().copied().take(wanted).collect();
        prop_assert_eq!(found, (values.len() as u64, sum, largest, first, taken));
    }

    #[test]
    fn caches_give_the_same_whether_kept_or_not(pairs in pairs(), parts in 1_usize..5) {
        let runner = LocalRunner::new(2);
        let answers = run_on(&runner, |cx| {
            let cached = cx.parallelize(pairs.clone(), parts).reduce_by_key(|sum, n| *sum += n).cache();
            let taken = cached.take(1)?;
            let first = cached.collect()?;
            let before = runner.tasks();
            let second = cached.map_values(|n| n).join(&cached).count()?;
            assert_eq!(runner.tasks() - before, 4, "a join of what lies together is one stage");
            runner.evict();
            let third = cached.collect()?;
            assert_eq!(runner.kept().1, 4);
            Ok((taken, first, second, third))
        }).unwrap();
        prop_assert_eq!(runner.kept(), (0, 0));
        prop_assert_eq!(&answers.1, &answers.3);
        prop_assert_eq!(answers.2, answers.1.len() as u64);
        prop_assert!(answers.1.starts_with(&answers.0));
    }

    #[test]
    fn each_line_is_read_once(text in "([abé]{0,9}(\n|\r|\r\n|)){0,40}", parts in 1_u32..30) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        std::fs::write(&path, &text).unwrap();
        let path = path.to_str().unwrap();
        let (lines, blocks) = clean(|cx| {
            let lines = cx.text_file_in(path, parts)?.map(str::to_owned).collect()?;
            Ok((lines, cx.text_blocks(path)?.collect()?))
        });
        let unified = text.replace("\r\n", "\n").replace('\r', "\n");
        prop_assert_eq!(lines, unified.split_terminator('\n').map(str::to_owned).collect::<Vec<_>>());
        prop_assert_eq!(blocks.concat(), text);
    }
}

#[test]
fn a_range_is_cut_evenly() {
    let parts = run(|cx| cx.range(-5, 18, 4).map_partitions(|part| [part.len() as u64]).collect()).unwrap();
    assert_eq!(parts, [5, 6, 6, 6]);
    let numbers = run(|cx| cx.range(3, 6, 9).collect()).unwrap();
    assert_eq!(numbers, [3, 4, 5]);
}

#[test]
fn shuffles_are_shared_by_jobs() {
    let runner = LocalRunner::new(2);
    run_on(&runner, |cx| {
        let counts = cx.range(0, 100, 5).map(|n| (n % 7, 1_u32)).reduce_by_key_in(3, |sum, n| *sum += n);
        assert_eq!(counts.count()?, 7);
        assert_eq!(runner.tasks(), 5 + 3);
        assert_eq!(counts.map(|(_, n)| n).reduce(|a, b| a + b)?, 100);
        assert_eq!(runner.tasks(), 5 + 3 + 3, "the map outputs are used again");
        Ok(())
    })
    .unwrap();
}

#[test]
fn loops_rebuild_their_dataset() {
    let ranks = run(|cx| {
        let links = cx.parallelize(vec![(1_u32, 2_u32), (2, 3), (3, 1), (3, 2)], 2).group_by_key().cache();
        let mut ranks = links.map_values(|_| 1.0_f64).erased();
        for _ in 0..20 {
            let shares = links.join(&ranks).flat_map(|(_, (to, rank))| {
                let share = rank / to.len() as f64;
                to.into_iter().map(move |page| (page, share))
            });
            ranks =
                shares.reduce_by_key(|sum, share| *sum += share).map_values(|sum| 0.15 + 0.85 * sum).erased();
        }
        ranks.collect()
    })
    .unwrap();
    let sum: f64 = ranks.iter().map(|(_, rank)| rank).sum();
    assert_eq!(ranks.len(), 3);
    assert!((sum - 3.0).abs() < 1e-6, "{ranks:?}");
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
enum Animal {
    Cat { lives: u8 },
    Fish,
}
firesteel::key!(Animal);

#[test]
fn own_types_are_records_and_keys() {
    let animals = vec![Animal::Fish, Animal::Cat { lives: 9 }, Animal::Fish];
    let counts = run(|cx| {
        let counted = cx.parallelize(animals, 2).map(|animal| (animal, vec![Some('x')]));
        counted.reduce_by_key(|all, more| all.extend(more)).sort_by_key(true)?.collect()
    });
    let expected = vec![(Animal::Cat { lives: 9 }, vec![Some('x')]), (Animal::Fish, vec![Some('x'); 2])];
    assert_eq!(counts.unwrap(), expected);
}

#[test]
fn text_that_is_not_utf8_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("text");
    std::fs::write(&path, b"good\nb\xffd\n").unwrap();
    let error = run(|cx| cx.text_file(path.to_str().unwrap())?.count()).unwrap_err();
    assert_eq!(error.code, ErrorCode::InputNotReadable);
    assert!(error.message.ends_with("text: byte 6 is not UTF-8"), "{error}");
}

#[test]
fn lines_longer_than_blocks_and_tails_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("text");
    let ends = ["\n", "\r\n", "\r"];
    let mut text = String::new();
    for (number, len) in
        [0, 1, 70_000, 65_534, 65_535, 65_536, 3, 200_000, 131_071, 0, 0, 9].into_iter().enumerate()
    {
        text.extend(std::iter::repeat_n(char::from(b'a' + number as u8), len));
        text += ends[number % 3];
    }
    text += "the end";
    std::fs::write(&path, &text).unwrap();
    let path = path.to_str().unwrap();
    let unified = text.replace("\r\n", "\n").replace('\r', "\n");
    for parts in 1..24 {
        let lines = clean(|cx| cx.text_file_in(path, parts)?.map(str::to_owned).collect());
        assert!(lines == unified.split('\n').map(str::to_owned).collect::<Vec<_>>(), "{parts} splits");
    }
    assert!(clean(|cx| cx.text_blocks(path)?.collect()).concat() == text);
}

#[test]
fn a_long_lineage_is_dropped_without_recursion() {
    clean(|cx| {
        let mut numbers = cx.range(0, 10, 2).repartition(2);
        for _ in 0..100_000 {
            numbers = numbers.repartition(2);
        }
        Ok(())
    });
}

/// Captures that write more than they read.
#[derive(Clone)]
struct Crooked;

impl serde::Serialize for Crooked {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        [u64::MAX; 9].serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Crooked {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
        Ok(Self)
    }
}

#[test]
fn captures_that_read_other_than_they_write_shift_nothing() {
    let numbers = run(|cx| {
        let crooked = cx.range(0, 3, 1).map_with(Crooked, |_, n| n);
        crooked.union(&cx.range(3, 5, 1).erased()).collect()
    });
    // Where nothing else is decoded wrongly, the captures are what is refused.
    let error = numbers.unwrap_err();
    assert_eq!(error.code, ErrorCode::Codec);
    assert!(error.message.contains("bytes are left over"), "{error}");
}

#[test]
fn foreign_jobs_do_not_run_the_code_of_this_process() {
    let spec = firesteel_common::job::JobSpec {
        id: firesteel_common::id::JobId(1),
        name: String::new(),
        stages: Vec::new(),
        targets: Vec::new(),
        open: false,
        group: String::new(),
    };
    let refused = firesteel_common::job::JobRunner::submit(&*LocalRunner::new(1), spec);
    assert_eq!(refused.unwrap_err().code, ErrorCode::Unsupported);
}

#[test]
fn too_many_partitions_are_refused_before_they_are_made() {
    let text = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(text.path(), "line\n".repeat(300_000)).unwrap();
    let path = text.path().to_str().unwrap();
    let refused = |job: fn(&Context<'_>, &str) -> Result<u64>| {
        let error = run(|cx| job(cx, path)).unwrap_err();
        assert_eq!(error.code, ErrorCode::TooLarge);
        assert!(error.message.contains("more than the 1048576 that a dataset may have"), "{error}");
    };
    refused(|cx, _| cx.range(0, 9, usize::MAX).count());
    refused(|cx, _| cx.parallelize(vec![1_u64], usize::MAX).count());
    refused(|cx, _| cx.parallelize(vec![1_u64], usize::MAX).coalesce(1).count());
    refused(|cx, _| cx.range(0, 9, 1).repartition(u32::MAX).count());
    refused(|cx, _| cx.range(0, 9, 1).repartition(u32::MAX).coalesce(2).repartition(2).count());
    refused(|cx, _| {
        let pairs = cx.range(0, 9, 1).map(|n| (n, n));
        pairs.partition_by(u32::MAX).join(&pairs).count()
    });
    refused(|cx, _| cx.range(0, 9, 1).map(|n| (n, ())).sort_by_key_in(u32::MAX, true)?.count());
    refused(|cx, path| cx.text_file_in(path, u32::MAX)?.count());
    refused(|cx, path| cx.text_file_in(path, (1 << 20) + 1)?.count());
    refused(|cx, _| {
        let most = cx.range(0, 9, 1 << 20);
        most.union(&cx.range(0, 9, 1)).coalesce(1).count()
    });
    assert_eq!(run(|cx| cx.range(0, 9, 1 << 20).partitions()).unwrap(), 1 << 20);
}

#[test]
fn of_two_attempts_at_once_exactly_one_is_seen() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("out");
    let path = dir.to_str().unwrap();
    let runner = LocalRunner::with_rivals(2);
    // Each attempt writes something of its own, so that it shows whose file it is.
    let sums = run_on(&runner, |cx| {
        let lines = cx.range(0, 1_000, 5).map(|n| {
            let thread = std::thread::current();
            (n % 7, format!("{n} {:?}", thread.id()))
        });
        lines.values().save_as_text_file(path)?;
        lines.map(|(key, _)| (key, 1_u64)).reduce_by_key(|sum, more| *sum += more).collect()
    });
    assert_eq!(sorted(sums.unwrap()), (0..7).map(|key| (key, 142 + u64::from(key < 6))).collect::<Vec<_>>());
    assert_eq!(runner.tasks(), 2 * (5 + 5 + 4));
    let mut files: Vec<_> = dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["_SUCCESS", "part-00000", "part-00001", "part-00002", "part-00003", "part-00004"]);
    let mut numbers = Vec::new();
    let here = format!("{:?}", std::thread::current().id());
    for (partition, file) in files[1..].iter().enumerate() {
        for line in std::fs::read_to_string(dir.join(file)).unwrap().lines() {
            let (number, thread) = line.split_once(' ').unwrap();
            // The first attempt runs on this thread, and wins where the number is even.
            assert_eq!(thread == here, partition % 2 == 0, "{line}");
            numbers.push(number.parse::<i64>().unwrap());
        }
    }
    assert_eq!(numbers, (0..1_000).collect::<Vec<_>>());
    let again = run_on(&runner, |cx| cx.range(0, 9, 1).save_as_text_file(path)).unwrap_err();
    assert_eq!(again.code, ErrorCode::OutputExists);
    assert!(again.message.contains(path), "{again}");
}
