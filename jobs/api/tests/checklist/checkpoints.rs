//! Checkpoints, and lineages that grow.

use crate::{cases, counted, sorted};
use firesteel::testing::{LocalRunner, run, run_on};
use firesteel::{Context, ErasedRdd, ErrorCode, Result};
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(16))]


    #[test]
    fn checkpoints_have_the_same_partitions(
        pairs in vec(("[a-c]{0,2}", any::<i32>()), 0..40),
        parts in 1_usize..5,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display().to_string();
        let runner = LocalRunner::new(2);
        let (before, files, blocks, read, named) = run_on(&runner, |cx| {
            cx.set_checkpoint_dir(&path);
            let lengths = cx.parallelize(pairs.clone(), parts).map_values(|n| u64::from(n.unsigned_abs()));
            let sums = lengths.reduce_by_key_in(3, |sum, n| *sum = sum.wrapping_add(n));
            assert!(!sums.is_checkpointed() && sums.checkpoint_file().is_none());
            let before = sums.glom().collect()?;
            let (files, blocks) = (sums.checkpoint()?, sums.local_checkpoint()?);
            assert!(files.erased().is_checkpointed() && blocks.is_checkpointed());
            assert!(!files.map(|pair| pair).is_checkpointed() && blocks.checkpoint_file().is_none());
            drop((sums, lengths));
            assert_eq!(runner.kept(), (0, 3), "of what it was made of nothing is kept");
            let named = files.checkpoint_file().unwrap();
            let read = cx.checkpoint_file::<(String, u64)>(&named)?;
            assert_eq!(read.checkpoint_file().as_ref(), Some(&named));
            Ok((before, files.glom().collect()?, blocks.glom().collect()?, read.glom().collect()?, named))
        })
        .unwrap();
        prop_assert_eq!(runner.kept(), (0, 0));
        prop_assert!(named.starts_with(&path));
        prop_assert_eq!(&files, &before);
        prop_assert_eq!(&blocks, &before);
        prop_assert_eq!(&read, &before);
    }
}

/// How many tasks a join of two checkpoints takes says that it did not shuffle.
#[test]
fn a_checkpoint_is_partitioned_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let ((), tasks) = counted(|cx| {
        cx.set_checkpoint_dir(&dir.path().display().to_string());
        let pairs = cx.range(0, 40, 2).map(|n| (n % 8, n)).partition_by(3);
        let (files, blocks) = (pairs.checkpoint()?, pairs.local_checkpoint()?);
        assert_eq!(files.join(&blocks).count()?, 8 * 25);
        Ok(())
    });
    assert_eq!(tasks, 2 + 3 + 3 + 3);
}

#[test]
fn what_is_lost_or_damaged_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display().to_string();
    let none = run(|cx| cx.range(0, 9, 3).checkpoint().map(drop)).unwrap_err();
    assert_eq!(none.code, ErrorCode::BadArgument);
    assert!(none.help.contains("set_checkpoint_dir"), "{none}");
    let runner = LocalRunner::new(2);
    let lost = run_on(&runner, |cx| {
        let kept = cx.range(0, 9, 3).local_checkpoint()?;
        assert_eq!(kept.count()?, 9);
        runner.evict();
        kept.count()
    })
    .unwrap_err();
    assert_eq!(lost.code, ErrorCode::BlockMissing);
    assert!(lost.message.contains("partition 0 of a local checkpoint is lost"), "{lost}");
    let written = run(|cx| {
        cx.set_checkpoint_dir(&path);
        Ok(cx.range(0, 9, 3).checkpoint()?.checkpoint_file().unwrap())
    })
    .unwrap();
    let count = || run(|cx| cx.checkpoint_file::<i64>(&written)?.count());
    assert_eq!(count().unwrap(), 9);
    let file = |name: &str| std::path::Path::new(&written).join(name);
    let whole = std::fs::read(file("part-00002")).unwrap();
    for len in [0, 64, whole.len() - 64] {
        std::fs::write(file("part-00002"), &whole[..len]).unwrap();
        assert_eq!(count().unwrap_err().code, ErrorCode::InputNotReadable, "{len} bytes");
    }
    std::fs::remove_file(file("part-00001")).unwrap();
    assert!(count().unwrap_err().message.contains("part-00001 is missing"));
    std::fs::remove_file(file("_SUCCESS")).unwrap();
    assert!(count().unwrap_err().message.contains("is no checkpoint"));
}

/// Runs a loop, and gives what each turn submitted (stages, bytes).
fn turns(
    turns: usize,
    job: impl for<'s> Fn(&Context<'s>, ErasedRdd<'s, (i64, i64)>, usize) -> Result<ErasedRdd<'s, (i64, i64)>>,
) -> Vec<(u64, u64)> {
    let runner = LocalRunner::new(2);
    let grown = run_on(&runner, |cx| {
        let mut values = cx.range(0, 20, 2).map(|n| (n % 5, n)).erased();
        let mut grown = Vec::new();
        for turn in 0..turns {
            let before = runner.submitted();
            values = job(cx, values, turn)?;
            assert_eq!(sorted(values.keys().collect()?).last(), Some(&4));
            let after = runner.submitted();
            grown.push((after.stages - before.stages, after.bytes - before.bytes));
        }
        Ok(grown)
    });
    assert_eq!(runner.kept(), (0, 0));
    grown.unwrap()
}

#[test]
fn a_lineage_of_a_hundred_shuffles_stays_linear() {
    let grown = turns(100, |_, values, _| {
        Ok(values.map_values(|n| n / 2).reduce_by_key_in(2, |sum, n| *sum += n).erased())
    });
    assert!(grown[1..].iter().all(|turn| *turn == grown[1]), "each turn is what it adds: {grown:?}");
    assert_eq!(grown[1].0, 2, "its shuffle, and its result");
}

#[test]
fn a_checkpoint_cuts_a_lineage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display().to_string();
    let most = |turns: &[(u64, u64)]| turns.iter().map(|turn| turn.1).max().unwrap();
    let plain = turns(100, |_, values, _| Ok(values.map_values(|n| n + 1).erased()));
    let files = turns(100, |cx, values, turn| {
        cx.set_checkpoint_dir(&path);
        let next = values.map_values(|n| n + 1);
        if turn % 10 == 9 { Ok(next.checkpoint()?.erased()) } else { Ok(next.erased()) }
    });
    let blocks = turns(100, |_, values, turn| {
        let next = values.map_values(|n| n + 1);
        if turn % 10 == 9 { Ok(next.local_checkpoint()?.erased()) } else { Ok(next.erased()) }
    });
    // Without a shuffle a program is as long as its chain.
    assert!(plain[99].1 > 5 * plain[9].1, "{plain:?}");
    for cut in [files, blocks] {
        assert!(most(&cut[90..]) <= 3 * most(&cut[..10]), "{cut:?}");
        assert_eq!(cut[10..20].iter().map(|turn| turn.0).max(), cut[90..].iter().map(|turn| turn.0).max());
    }
}
