//! Groups, tags, names, and what a driver can ask of its jobs.

use crate::{clean, counted};
use firesteel::testing::{LocalRunner, run, run_on};
use firesteel::{ErrorCode, StorageLevel};
use std::collections::BTreeSet;

#[test]
fn jobs_are_cancelled_by_their_tags_and_groups() {
    let ended = run(|cx| {
        let numbers = cx.range(0, 100, 4);
        cx.set_job_group("odd ones");
        cx.add_job_tag("first")?;
        let first = numbers.count_async()?;
        cx.add_job_tag("second")?;
        let both = numbers.collect_async()?;
        cx.remove_job_tag("first");
        cx.set_job_group("");
        let second = numbers.count_async()?;
        assert_eq!(cx.job_tags(), BTreeSet::from(["second".to_owned()]));
        cx.clear_job_tags();
        let none = numbers.count_async()?;
        let tags: Vec<_> = cx.running_jobs().into_iter().map(|job| (job.tags.len(), job.group)).collect();
        assert_eq!(tags.iter().map(|(tags, _)| *tags).collect::<Vec<_>>(), [1, 2, 1, 0]);
        assert_eq!(tags.iter().filter(|(_, group)| group == "odd ones").count(), 2);
        cx.cancel_jobs_with_tag("second");
        let codes = [both.get().map(drop), second.get().map(drop)].map(|ended| ended.unwrap_err().code);
        assert_eq!(codes, [ErrorCode::Killed; 2]);
        assert_eq!(cx.running_jobs().len(), 2);
        let grouped = {
            cx.set_job_group("even ones");
            let grouped = numbers.count_async()?;
            cx.cancel_job_group("even ones");
            grouped.get().unwrap_err()
        };
        assert_eq!(grouped.code, ErrorCode::Killed);
        let by_number = numbers.count_async()?;
        cx.cancel_job(cx.running_jobs().last().unwrap().id);
        assert_eq!(by_number.get().unwrap_err().code, ErrorCode::Killed);
        assert_eq!(cx.add_job_tag("a,b").unwrap_err().code, ErrorCode::BadArgument);
        let counts = (first.get()?, none.get()?);
        assert_eq!(cx.running_jobs(), []);
        Ok(counts)
    });
    assert_eq!(ended.unwrap(), (100, 100));
}

#[test]
fn a_driver_sees_how_far_its_jobs_are() {
    let runner = LocalRunner::new(2);
    let count = run_on(&runner, |cx| {
        cx.set_job_description("all of them");
        let mut counting = cx.range(0, 100, 4).count_async()?;
        assert_eq!(cx.running_jobs()[0].name, "all of them");
        cx.set_job_description("");
        runner.give_in_time(6);
        let progress = counting.progress()?.unwrap();
        assert_eq!((progress.tasks, progress.tasks_done), (4, 3));
        assert_eq!(cx.running_jobs()[0].progress, progress);
        assert!(!counting.is_completed()?);
        runner.give_in_time(100);
        assert!(counting.is_completed()?);
        assert_eq!((counting.progress()?, cx.running_jobs()), (None, vec![]));
        // Who asks a job that has failed hears it each time.
        let (four, six) = (cx.parallelize(vec![0_u8; 4], 2), cx.parallelize(vec![0_u8; 6], 2));
        let mut failing = four.zip(&six).collect_async()?;
        let errors =
            [failing.is_completed().map(drop), failing.progress().map(drop), failing.get().map(drop)];
        assert!(errors.iter().all(|error| error.as_ref().is_err_and(|e| e.message.contains("more records"))));
        let dropped = cx.range(0, 9, 2).count_async()?;
        assert_eq!(cx.running_jobs()[0].name, "count");
        drop(dropped);
        assert_eq!(cx.running_jobs(), []);
        counting.get()
    });
    assert_eq!(count.unwrap(), 100);
}

#[test]
fn a_dataset_says_how_it_is_made() {
    let (text, tasks) = counted(|cx| {
        let pairs = cx.range(0, 9, 3).map(|n| (n % 2, n)).filter(|pair| pair.1 > 0);
        let kept = pairs.reduce_by_key_in(2, |sum, n| *sum += n).persist(StorageLevel::MemoryAndDisk);
        assert_eq!((pairs.storage_level(), kept.storage_level()), (None, Some(StorageLevel::MemoryAndDisk)));
        assert_eq!(kept.erased().storage_level(), Some(StorageLevel::MemoryAndDisk));
        assert_eq!(kept.map(|pair| pair).storage_level(), None);
        let named = kept.set_name("sums");
        assert_eq!((kept.name(), named.name()), (None, Some("sums")));
        let joined = kept.map(|(key, sum)| (sum, key)).partition_by(4).join(&kept.partition_by(4));
        Ok(format!("{}\n{}", named.to_debug_string()?, joined.keys().to_debug_string()?))
    });
    assert_eq!(tasks, 0, "nothing runs for it");
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    assert_eq!(lines[0], "(2) Cached <- Combined \"sums\" MemoryAndDisk");
    assert_eq!(lines[1], "+-(2) stage-0 reduce_by_key <- Filter <- Map <- Numbers");
    assert!(lines[2].starts_with("(4) Keys <- "), "{text}");
    assert_eq!(lines.iter().filter(|line| line.contains("stage-0 reduce_by_key")).count(), 2, "{text}");
    assert!(text.ends_with("stage-0, as above"), "{text}");
    let deep = clean(|cx| {
        let mut values = cx.range(0, 9, 2).map(|n| (n, n)).erased();
        for _ in 0..500 {
            values = values.reduce_by_key_in(2, |sum, n| *sum += n).erased();
        }
        values.to_debug_string()
    });
    assert_eq!(deep.lines().count(), 501);
}
