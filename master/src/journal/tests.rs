//! What the journal promises: durable before it is answered, one application for one key, the first outcome.

mod damage;

use super::*;
use crate::files::result_path;
use firesteel_common::id::{Epoch, PluginHash};
use firesteel_common::plugin::Descriptor;
use std::sync::mpsc;
use tempfile::TempDir;

pub(super) fn run_dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("results")).unwrap();
    dir
}

fn request(sql: &str, key: Option<&str>) -> SubmitRequest {
    let mut request: SubmitRequest = serde_json::from_str("{}").unwrap();
    request.sql = Some(sql.to_owned());
    request.idempotency_key = key.map(str::to_owned);
    request
}

pub(super) fn submission(sql: &str, key: Option<&str>) -> Submission {
    let mut fingerprint = [0; 32];
    fingerprint[..sql.len()].copy_from_slice(sql.as_bytes());
    let owner = String::new();
    Submission { request: request(sql, key), owner, fingerprint, submitted_ms: 5, refusal: None }
}

/// Hands in a record and waits for its answer.
fn write<T: Send + 'static>(journal: &Journal, record: impl FnOnce(Ack<T>) -> Record) -> Result<T, Error> {
    let (answer, written) = mpsc::channel();
    journal.try_write(record(Box::new(move |written| answer.send(written).unwrap()))).unwrap();
    written.recv().unwrap()
}

fn submit(journal: &Journal, submission: Submission) -> Result<Submitted, Error> {
    write(journal, |ack| Record::Submit(Box::new(submission), ack))
}

fn end(journal: &Journal, app: u64, outcome: Result<Vec<u8>, Error>) -> StoredOutcome {
    let outcome = Outcome { app: AppId(app), outcome: outcome.map(Payload::from), ended_ms: 9 };
    write(journal, |ack| Record::Outcome(outcome, ack)).unwrap()
}

#[test]
fn everything_is_there_after_a_restart() {
    let dir = run_dir();
    let (journal, recovered) = Journal::open(dir.path()).unwrap();
    assert_eq!(recovered.epoch, Epoch(1));
    for sql in ["a", "b", "c"] {
        assert!(submit(&journal, submission(sql, None)).unwrap().fresh);
    }
    let second = AppAttemptId { app: AppId(2), attempt: 2 };
    write(&journal, |ack| Record::Attempt(second, ack)).unwrap();
    write(&journal, |ack| Record::Kill(AppId(2), "because".to_owned(), ack)).unwrap();
    end(&journal, 1, Ok(b"1".to_vec()));
    let descriptor = Descriptor { sdk: "s".to_owned(), rustc: "r".to_owned(), entries: Vec::new() };
    let plugin = PluginInfo { hash: PluginHash([7; 32]), bytes: 3, name: String::new(), descriptor };
    let record = plugin.clone();
    write(&journal, |ack| Record::Plugin(record, ack)).unwrap();
    journal.stop();
    drop(journal);

    let (journal, recovered) = Journal::open(dir.path()).unwrap();
    assert_eq!(recovered.epoch, Epoch(2));
    assert_eq!(recovered.plugins, [plugin]);
    let apps: Vec<_> =
        recovered.apps.iter().map(|app| (app.app.0, app.attempt, app.kill.as_deref())).collect();
    assert_eq!(apps, [(1, 1, None), (2, 2, Some("because")), (3, 1, None)]);
    let ended = StoredOutcome { ended_ms: 9, error: None, result_bytes: Some(1) };
    assert_eq!(recovered.apps[0].outcome, Some(ended));
    assert_eq!(recovered.apps[1].request.sql.as_deref(), Some("b"));
    assert_eq!(journal.inline_result(AppId(1)).unwrap().unwrap(), b"1");
    assert_eq!(submit(&journal, submission("d", None)).unwrap().app, AppId(4));
}

#[test]
fn what_was_answered_survives_a_crash() {
    let dir = run_dir();
    let crashed = run_dir();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    for round in 1..=20 {
        submit(&journal, submission("a", Some(&format!("key {round}")))).unwrap();
        // The file as a crash at this moment leaves it: the journal is still open and knows of no end.
        let name = "journal.redb";
        std::fs::copy(dir.path().join(name), crashed.path().join(name)).unwrap();
        let (after, recovered) = Journal::open(crashed.path()).unwrap();
        assert_eq!(recovered.apps.len(), round);
        let again = submit(&after, submission("a", Some(&format!("key {round}")))).unwrap();
        assert_eq!((again.app, again.fresh), (AppId(round as u64), false));
        after.stop();
    }
}

#[test]
fn records_that_wait_together_are_committed_together_and_in_order() {
    let dir = run_dir();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    let (answer, answers) = mpsc::channel();
    for _ in 0..2000 {
        let answer = answer.clone();
        let ack: Ack<Submitted> = Box::new(move |written| answer.send(written.unwrap().app.0).unwrap());
        journal.try_write(Record::Submit(Box::new(submission("a", None)), ack)).unwrap();
    }
    let apps: Vec<u64> = answers.iter().take(2000).collect();
    assert_eq!(apps, (1..=2000).collect::<Vec<_>>());
}

#[test]
fn one_key_is_one_application() {
    let dir = run_dir();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    let first = submit(&journal, submission("a", Some("k"))).unwrap();
    let again = submit(&journal, submission("a", Some("k"))).unwrap();
    assert_eq!((again.app, again.fresh), (first.app, false));
    let error = submit(&journal, submission("b", Some("k"))).unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict);
    let full = Error::new(ErrorCode::QueueFull, "full");
    let refused = |key| Submission { refusal: Some(full.clone()), ..submission("a", Some(key)) };
    assert_eq!(submit(&journal, refused("k")).unwrap().app, first.app);
    assert_eq!(submit(&journal, refused("new")).unwrap_err().code, ErrorCode::QueueFull);
    assert_eq!(submit(&journal, submission("b", Some("new"))).unwrap().app, AppId(2));
}

#[test]
fn the_first_outcome_stays() {
    let dir = run_dir();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    submit(&journal, submission("a", None)).unwrap();
    let first = end(&journal, 1, Err(Error::new(ErrorCode::Killed, "killed")));
    assert_eq!(end(&journal, 1, Ok(b"late".to_vec())), first);
    assert_eq!(journal.inline_result(AppId(1)).unwrap(), None);
}

#[test]
fn a_large_result_has_a_file_of_its_own() {
    let dir = run_dir();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    submit(&journal, submission("a", None)).unwrap();
    let result = vec![b'x'; INLINE_RESULT_MAX + 1];
    assert_eq!(end(&journal, 1, Ok(result.clone())).result_bytes, Some(result.len() as u64));
    assert_eq!(journal.inline_result(AppId(1)).unwrap(), None);
    assert_eq!(std::fs::read(result_path(dir.path(), AppId(1))).unwrap(), result);
}

#[test]
fn a_journal_that_is_in_use_is_refused() {
    let dir = run_dir();
    let (_journal, _) = Journal::open(dir.path()).unwrap();
    assert_eq!(Journal::open(dir.path()).err().unwrap().code, ErrorCode::Conflict);
}

#[test]
fn a_journal_of_another_format_is_refused() {
    let dir = run_dir();
    store::write_format(dir.path(), 2);
    let error = Journal::open(dir.path()).err().unwrap();
    assert_eq!(error.code, ErrorCode::VersionMismatch);
    assert!(error.message.contains("format 2") && error.message.contains("writes 1"), "{error}");
}

#[test]
fn every_record_is_answered_when_the_journal_cannot_be_opened_again() {
    let dir = run_dir();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    submit(&journal, submission("a", None)).unwrap();
    journal.store.fail();
    let (path, aside) = (dir.path().join("journal.redb"), dir.path().join("aside"));
    std::fs::rename(&path, &aside).unwrap();
    // What no process can open as a journal, not even root's.
    std::fs::create_dir(&path).unwrap();
    let second = AppAttemptId { app: AppId(1), attempt: 2 };
    let outcome = || Outcome { app: AppId(1), outcome: Ok(Payload::from(vec![1])), ended_ms: 9 };
    assert_eq!(submit(&journal, submission("b", None)).unwrap_err().code, ErrorCode::Io);
    assert_eq!(write(&journal, |ack| Record::Attempt(second, ack)).unwrap_err().code, ErrorCode::Io);
    assert_eq!(write(&journal, |ack| Record::Outcome(outcome(), ack)).unwrap_err().code, ErrorCode::Io);
    let kill = write(&journal, |ack| Record::Kill(AppId(1), "because".to_owned(), ack));
    assert_eq!(kill.unwrap_err().code, ErrorCode::Io);

    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&aside, &path).unwrap();
    write(&journal, |ack| Record::Attempt(second, ack)).unwrap();
    assert_eq!(submit(&journal, submission("b", None)).unwrap().app, AppId(2));
}

#[test]
fn an_answer_that_panics_ends_neither_the_writer_nor_the_other_answers() {
    let dir = run_dir();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    journal.try_write(Record::Probe(Box::new(|written| drop(written.unwrap_err())))).unwrap();
    assert_eq!(submit(&journal, submission("a", None)).unwrap().app, AppId(1));
    assert_eq!(journal.health(), (Ok(()), true));
    journal.store.panic_next();
    assert_eq!(submit(&journal, submission("b", None)).unwrap_err().code, ErrorCode::Internal);
    assert_eq!(journal.health(), (Err(ErrorCode::Internal), true));
    assert_eq!(submit(&journal, submission("b", None)).unwrap().app, AppId(2));
    assert_eq!(journal.health(), (Ok(()), true));
}
