//! What the journal does with a damaged file, and with one that a crash left in the middle of a write: it
//! says so or holds what was answered, and never anything else.
#![expect(clippy::panic, reason = "tests")]

use super::*;
use crate::journal::store::Store;
use firesteel_common::{Error, Payload};
use redb::{Database, StorageBackend};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

/// Flipped bits, crash points, and lengths that a file is cut to.
const FLIPS: u64 = 1_000;
const CRASHES: u64 = 300;
const CUTS: u64 = 300;
/// Copies with several flipped bits, some of them cut short too.
const COPIES: u64 = 150;

/// Chance that is the same every time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end.max(1)
    }
}

fn submit(store: &Store, key: &str) -> Result<Submitted, Error> {
    let (answer, answered) = mpsc::channel();
    let ack = Box::new(move |written| answer.send(written).unwrap());
    store.commit(vec![Record::Submit(Box::new(submission("select 1", Some(key))), ack)]);
    answered.recv().unwrap()
}

/// Everything that a file holds, as text; or why it cannot be read.
fn content(dir: &Path) -> Result<String, Error> {
    let (store, recovered) = Store::open(dir)?;
    let results: Result<Vec<_>, Error> =
        recovered.apps.iter().map(|app| store.inline_result(app.app)).collect();
    Ok(format!("{:?} {:?} {:?} {:?}", recovered.apps, recovered.plugins, recovered.tokens, results?))
}

/// A journal with some of everything, as its bytes.
fn written() -> Vec<u8> {
    let dir = run_dir();
    let (store, _) = Store::open(dir.path()).unwrap();
    for number in 0..40 {
        let app = submit(&store, &format!("key {number}")).unwrap().app;
        if number % 2 == 0 {
            let result = Payload::from(vec![number as u8; 300]);
            let outcome = Outcome { app, outcome: Ok(result), ended_ms: 9 };
            store.commit(vec![Record::Outcome(outcome, Box::new(|written| drop(written.unwrap())))]);
        }
    }
    drop(store);
    std::fs::read(dir.path().join("journal.redb")).unwrap()
}

/// Opens what was made of a journal. It must say that it is damaged, or hold exactly what it held.
fn verdict(dir: &Path, bytes: &[u8], expected: &str, what: &str) -> bool {
    std::fs::write(dir.join("journal.redb"), bytes).unwrap();
    let found = catch_unwind(AssertUnwindSafe(|| content(dir)));
    match found {
        Ok(Ok(found)) => {
            assert!(found == expected, "{what}: the journal holds something else:\n{found}\n{expected}");
            false
        }
        Ok(Err(_)) => true,
        Err(_) => panic!("{what}: the journal panics"),
    }
}

#[test]
fn a_flipped_bit_is_seen_or_changes_nothing() {
    let bytes = written();
    let dir = run_dir();
    std::fs::write(dir.path().join("journal.redb"), &bytes).unwrap();
    let expected = content(dir.path()).unwrap();
    // Where something lies: a flip in empty space says nothing.
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let mut draw = Draw(7);
    let mut seen = 0;
    for flip in 0..FLIPS {
        let mut damaged = bytes.clone();
        let at = if flip % 4 == 0 {
            draw.below(bytes.len() as u64) as usize
        } else {
            used[draw.below(used.len() as u64) as usize]
        };
        let bit = draw.below(8);
        damaged[at] ^= 1 << bit;
        seen += u64::from(verdict(dir.path(), &damaged, &expected, &format!("bit {bit} of byte {at}")));
    }
    assert!(seen > FLIPS / 10, "{seen} of {FLIPS} were seen: the test flips nothing that matters");
}

#[test]
fn a_journal_that_is_cut_short_is_refused() {
    let bytes = written();
    let dir = run_dir();
    std::fs::write(dir.path().join("journal.redb"), &bytes).unwrap();
    let expected = content(dir.path()).unwrap();
    let mut draw = Draw(11);
    let last = bytes.len() as u64;
    let mut lengths: Vec<u64> = (0..CUTS).map(|_| draw.below(last)).collect();
    lengths.extend((0..last).step_by(4096).flat_map(|at| [at.saturating_sub(1), at, at + 1]));
    for length in lengths {
        let cut = &bytes[..(length as usize).min(bytes.len() - 1)];
        // Space at the end that nothing lies in may be missing; never anything that was answered.
        verdict(dir.path(), cut, &expected, &format!("cut to {length} of {last} bytes"));
    }
    assert!(verdict(dir.path(), b"", &expected, "empty"), "an empty file is taken for a new journal");
}

/// What was done to a file, in order.
#[derive(Clone, Debug)]
enum Step {
    Length(u64),
    Write(u64, Vec<u8>),
    Sync,
}

/// A file in memory that remembers what was done to it.
#[derive(Clone, Debug, Default)]
struct Recorder {
    file: Arc<Mutex<Vec<u8>>>,
    steps: Arc<Mutex<Vec<Step>>>,
}

fn apply(file: &mut Vec<u8>, step: &Step) {
    match step {
        Step::Length(length) => file.resize(*length as usize, 0),
        Step::Write(at, bytes) => {
            let end = *at as usize + bytes.len();
            if file.len() < end {
                file.resize(end, 0);
            }
            file[*at as usize..end].copy_from_slice(bytes);
        }
        Step::Sync => {}
    }
}

impl Recorder {
    fn note(&self, step: Step) {
        apply(&mut self.file.lock().unwrap(), &step);
        self.steps.lock().unwrap().push(step);
    }

    fn database(&self) -> Result<Database, redb::DatabaseError> {
        super::file::builder().create_with_backend(self.clone())
    }
}

impl StorageBackend for Recorder {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.file.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let file = self.file.lock().unwrap();
        let from = file.get(offset as usize..offset as usize + out.len());
        let gone = || io::Error::from(io::ErrorKind::UnexpectedEof);
        out.copy_from_slice(from.ok_or_else(gone)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.note(Step::Length(len));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.note(Step::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.note(Step::Write(offset, data.to_vec()));
        Ok(())
    }
}

/// The file as a crash after `point` steps may leave it: what was synced is there; of what came later any
/// part is, the last write perhaps only by half.
fn crashed(steps: &[Step], point: usize, draw: &mut Draw) -> Vec<u8> {
    let synced = steps[..point].iter().rposition(|step| matches!(step, Step::Sync)).map_or(0, |at| at + 1);
    let mut file = Vec::new();
    steps[..synced].iter().for_each(|step| apply(&mut file, step));
    for step in &steps[synced..point] {
        match step {
            Step::Write(at, bytes) => match draw.below(3) {
                0 => {}
                1 => apply(&mut file, step),
                _ => {
                    let half = draw.below(bytes.len() as u64 + 1) as usize;
                    apply(&mut file, &Step::Write(*at, bytes[..half].to_vec()));
                }
            },
            step => apply(&mut file, step),
        }
    }
    file
}

#[test]
fn a_crash_in_the_middle_of_any_write_loses_nothing_that_was_answered() {
    let dir = run_dir();
    let recorder = Recorder::default();
    let (store, _) = Store::over(recorder.database().unwrap(), dir.path()).unwrap();
    let steps = || recorder.steps.lock().unwrap().len();
    let mut answered = vec![(steps(), String::new())];
    for number in 0..40 {
        let key = format!("key {number}");
        submit(&store, &key).unwrap();
        answered.push((steps(), key));
    }
    let steps = recorder.steps.lock().unwrap().clone();
    assert!(
        steps.iter().filter(|step| matches!(step, Step::Sync)).count() >= 40,
        "answers wait for the disk"
    );
    let (first, last) = (answered[0].0, steps.len());
    let mut draw = Draw(3);
    for _ in 0..CRASHES {
        let point = first + draw.below((last - first) as u64 + 1) as usize;
        let file = crashed(&steps, point, &mut draw);
        let after = Recorder { file: Arc::new(Mutex::new(file)), ..Recorder::default() };
        let opened = after.database().map(|database| Store::over(database, dir.path()));
        let (_, recovered) = opened.unwrap().unwrap_or_else(|error| panic!("after step {point}: {error}"));
        let there: Vec<&str> =
            recovered.apps.iter().filter_map(|app| app.request.idempotency_key.as_deref()).collect();
        let promised = answered[1..].iter().filter(|(step, _)| *step <= point).count();
        assert!(there.len() >= promised, "after step {point}: {} of {promised} are there", there.len());
        // One more may be there: its answer was on its way.
        assert!(there.len() <= promised + 1, "after step {point}: {there:?}");
    }
}

#[test]
fn a_damaged_journal_is_read_or_refused() {
    let dir = run_dir();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    for app in 1..20 {
        super::submit(&journal, submission("select 1", Some(&format!("key-{app}")))).unwrap();
    }
    end(&journal, 1, Ok(b"1".to_vec()));
    journal.stop();
    drop(journal);
    let whole = std::fs::read(dir.path().join("journal.redb")).unwrap();
    let written: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let mut draw = Draw(1);
    let mut next = |below: usize| draw.below(below as u64) as usize;
    let mut refused = 0;
    for number in 0..COPIES {
        let mut bytes = whole.clone();
        if number % 10 == 0 {
            bytes.truncate(next(whole.len()));
        }
        for _ in 0..=number % 4 {
            if let Some(byte) = bytes.get_mut(written[next(written.len())]) {
                *byte ^= 1 << next(8);
            }
        }
        let copy = run_dir();
        std::fs::write(copy.path().join("journal.redb"), bytes).unwrap();
        match Journal::open(copy.path()) {
            Ok((journal, _)) => journal.stop(),
            Err(error) => {
                assert!(!error.message.is_empty());
                refused += 1;
            }
        }
    }
    assert!(refused > COPIES / 10, "{refused} of {COPIES} were refused");
}
