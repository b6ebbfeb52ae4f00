//! Outputs that are begun, committed, given up, taken over, and found.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use firesteel_common::id::{AppId, StageId};

fn app(app: u64, attempt: u32) -> AppAttemptId {
    AppAttemptId { app: AppId(app), attempt }
}

fn writer(number: u64, attempt: u32) -> Writer {
    Writer { app: app(number, attempt), mark: String::new() }
}

fn task(attempt: u32) -> TaskId {
    TaskId { app: app(1, 1), stage: StageId(0), partition: 0, attempt }
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn only_the_winning_attempts_are_seen() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("a/out");
    let dir = out.to_str().unwrap();
    writer(1, 1).prepare(dir).unwrap();
    for (attempt, text) in [(0, "zero"), (1, "one")] {
        let mut file = TaskOutput::create(dir, "part-00000", task(attempt)).unwrap();
        file.write(text.as_bytes()).unwrap();
        file.finish().unwrap();
    }
    drop(TaskOutput::create(dir, "part-00000", task(2)).unwrap());
    assert_eq!(files(&temporary(&out, app(1, 1))), ["part-00000.0", "part-00000.1"]);
    writer(1, 1).commit(dir, &[("part-00000".to_owned(), 1)]).unwrap();
    assert_eq!(files(&out), ["_SUCCESS", "part-00000"]);
    assert_eq!(fs::read(out.join("part-00000")).unwrap(), b"one");
    assert_eq!(writer(1, 1).prepare(dir).unwrap_err().code, ErrorCode::OutputExists);
    assert!(TaskOutput::create(dir, "../escape", task(0)).is_err());
}

#[test]
fn unfinished_output_is_taken_over_by_the_same_application_only() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("out");
    let dir = out.to_str().unwrap();
    writer(1, 1).prepare(dir).unwrap();
    TaskOutput::create(dir, "part-00000", task(0)).unwrap().finish().unwrap();
    assert_eq!(writer(2, 1).prepare(dir).unwrap_err().code, ErrorCode::OutputExists);
    writer(1, 2).prepare(dir).unwrap();
    assert_eq!(files(&out.join(TEMPORARY)), ["app-1.2"]);
    writer(1, 2).abandon(dir);
    assert!(!out.exists());
    fs::create_dir(&out).unwrap();
    assert_eq!(writer(1, 1).prepare(dir).unwrap_err().code, ErrorCode::OutputExists);
}

#[test]
fn half_a_commit_is_taken_over_and_a_whole_one_is_not() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("out");
    let dir = out.to_str().unwrap();
    let winners = [("part-00000".to_owned(), 0), ("part-00001".to_owned(), 0)];
    writer(1, 1).prepare(dir).unwrap();
    TaskOutput::create(dir, "part-00000", task(0)).unwrap().finish().unwrap();
    // The second file is missing, so the commit ends after its first rename, as if its driver had died.
    assert_eq!(writer(1, 1).commit(dir, &winners).unwrap_err().code, ErrorCode::OutputNotWritable);
    assert_eq!(files(&out), [TEMPORARY, "part-00000"]);
    assert_eq!(writer(2, 1).prepare(dir).unwrap_err().code, ErrorCode::OutputExists);
    fs::write(out.join("part-00007"), "another's").unwrap();
    assert_eq!(writer(1, 2).prepare(dir).unwrap_err().code, ErrorCode::OutputExists);
    fs::remove_file(out.join("part-00007")).unwrap();
    writer(1, 2).prepare(dir).unwrap();
    assert_eq!(files(&out), [TEMPORARY]);
    for name in ["part-00000", "part-00001"] {
        let task = TaskId { app: app(1, 2), ..task(0) };
        TaskOutput::create(dir, name, task).unwrap().finish().unwrap();
    }
    writer(1, 2).commit(dir, &winners).unwrap();
    writer(1, 2).commit(dir, &winners).unwrap();
    assert_eq!(files(&out), ["_SUCCESS", "part-00000", "part-00001"]);
    assert_eq!(writer(1, 3).prepare(dir).unwrap_err().code, ErrorCode::OutputExists);
}

#[test]
fn a_task_that_lost_and_writes_on_does_not_fail_a_commit() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("out");
    let dir = out.to_str().unwrap();
    for round in 0..50 {
        writer(1, 1).prepare(dir).unwrap();
        TaskOutput::create(dir, "part-00000", task(0)).unwrap().finish().unwrap();
        let begun = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                begun.wait();
                for attempt in 1..200 {
                    let Ok(mut file) = TaskOutput::create(dir, "part-00000", task(attempt)) else {
                        break;
                    };
                    let _ = file.write(b"lost").and_then(|()| file.finish());
                }
            });
            begun.wait();
            writer(1, 1).commit(dir, &[("part-00000".to_owned(), 0)]).unwrap();
        });
        assert_eq!(fs::read(out.join("part-00000")).unwrap(), b"", "round {round}");
        fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn an_attempt_that_was_replaced_does_not_touch_its_successor() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("out");
    let dir = out.to_str().unwrap();
    writer(1, 1).prepare(dir).unwrap();
    writer(1, 2).prepare(dir).unwrap();
    let refused = writer(1, 1).prepare(dir).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Conflict);
    assert!(refused.message.contains("app-1.2"), "{refused}");
    assert_eq!(files(&out.join(TEMPORARY)), ["app-1.2"]);
    // Its driver may be past `prepare` when it is replaced.
    fs::create_dir(temporary(&out, app(1, 1))).unwrap();
    writer(1, 1).commit(dir, &[]).unwrap();
    assert_eq!(files(&out.join(TEMPORARY)), ["app-1.2"]);
    writer(1, 1).abandon(dir);
    writer(1, 2).commit(dir, &[]).unwrap();
    assert_eq!(files(&out), ["_SUCCESS"]);
}

/// An attempt of the application with a mark that writes files of these names.
fn attempt(attempt: u32, dir: &str, names: &[&str]) -> (Writer, Vec<(String, u32)>) {
    let writer = Writer { app: app(1, attempt), mark: "mark of app-1".to_owned() };
    writer.prepare(dir).unwrap();
    for name in names {
        let task = TaskId { app: writer.app, ..task(0) };
        let mut file = TaskOutput::create(dir, name, task).unwrap();
        file.write(format!("{name} by {attempt}").as_bytes()).and_then(|()| file.finish()).unwrap();
    }
    (writer, names.iter().map(|name| ((*name).to_owned(), 0)).collect())
}

#[test]
fn a_whole_commit_is_taken_over_by_the_same_application_and_stays_until_the_next() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("out");
    let dir = out.to_str().unwrap();
    let (first, winners) = attempt(1, dir, &["part-00000", "part-00001"]);
    first.commit(dir, &winners).unwrap();
    // Its driver died before its outcome was durable. Others are refused, whatever their number is.
    for mark in ["", "mark of app-2"] {
        let other = Writer { app: app(1, 2), mark: mark.to_owned() };
        assert_eq!(other.prepare(dir).unwrap_err().code, ErrorCode::OutputExists, "{mark}");
    }
    fs::write(out.join("part-00007"), "another's").unwrap();
    let second = Writer { app: app(1, 2), ..first.clone() };
    assert_eq!(second.prepare(dir).unwrap_err().code, ErrorCode::OutputExists);
    fs::remove_file(out.join("part-00007")).unwrap();
    // One that is given up leaves it as it was.
    attempt(2, dir, &["part-00000"]).0.abandon(dir);
    assert_eq!(files(&out), ["_SUCCESS", "part-00000", "part-00001"]);
    let (third, winners) = attempt(3, dir, &["part-00001", "part-00002"]);
    assert_eq!(files(&out), ["_SUCCESS", TEMPORARY, "part-00000", "part-00001"]);
    third.commit(dir, &winners).unwrap();
    third.commit(dir, &winners).unwrap();
    assert_eq!(files(&out), ["_SUCCESS", "part-00001", "part-00002"]);
    assert_eq!(fs::read(out.join("part-00001")).unwrap(), b"part-00001 by 3");
}

#[test]
fn half_a_commit_over_a_whole_one_is_taken_over_too() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("out");
    let dir = out.to_str().unwrap();
    let (first, winners) = attempt(1, dir, &["part-00000", "part-00001", "part-00002"]);
    first.commit(dir, &winners).unwrap();
    let (second, mut winners) = attempt(2, dir, &["part-00000"]);
    winners.push(("part-00009".to_owned(), 0));
    assert_eq!(second.commit(dir, &winners).unwrap_err().code, ErrorCode::OutputNotWritable);
    assert_eq!(files(&out), [TEMPORARY, "part-00000", "part-00001", "part-00002"], "not complete");
    let (third, winners) = attempt(3, dir, &["part-00000"]);
    assert_eq!(files(&out), [TEMPORARY]);
    third.commit(dir, &winners).unwrap();
    assert_eq!(files(&out), ["_SUCCESS", "part-00000"]);
    assert_eq!(fs::read(out.join("part-00000")).unwrap(), b"part-00000 by 3");
}
