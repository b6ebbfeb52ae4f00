//! A journal that the disk, or somebody, has changed: it is read or refused, and never ends the process.

use super::*;

/// Damaged copies that are opened.
const TRIES: u64 = 150;

#[test]
fn a_damaged_journal_is_read_or_refused() {
    let dir = run_dir();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    for app in 1..20 {
        submit(&journal, submission("select 1", Some(&format!("key-{app}")))).unwrap();
    }
    end(&journal, 1, Ok(b"1".to_vec()));
    journal.stop();
    drop(journal);
    let whole = std::fs::read(dir.path().join("journal.redb")).unwrap();
    let written: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let mut state = 1_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut refused = 0;
    for number in 0..TRIES {
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
    assert!(refused > TRIES / 10, "{refused} of {TRIES} were refused");
}
