//! What the audit log promises: nothing is changed or taken away unnoticed, over restarts and files.

use super::budget::LISTED_MAX;
use super::files::{CURRENT, Files, name, rotated};
use super::*;
use firesteel_common::ErrorCode;

fn entries(dir: &Path) -> u64 {
    verify_audit(dir).unwrap().entries
}

/// What is wrong with the log, in words.
fn fault(dir: &Path) -> String {
    let error = verify_audit(dir).unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict);
    error.message
}

#[test]
fn lines_are_chained_over_restarts_and_a_change_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for round in 0..2 {
        let audit = Audit::start(dir).unwrap();
        audit.allowed("ann", "127.0.0.1:1", "submit", &format!("app-{round}"));
        audit.refused("", "127.0.0.1:2", "GET", "/x", "UNAUTHENTICATED");
        assert_eq!(audit.tail(1).unwrap().lines().count(), 1);
        audit.stop();
    }
    let path = dir.join(CURRENT);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(entries(dir), 4);
    std::fs::write(&path, text.replace("app-0", "app-9")).unwrap();
    assert!(fault(dir).contains("line 1 of audit.jsonl was changed"));
    let without: Vec<&str> = text.lines().filter(|line| !line.contains("app-1")).collect();
    std::fs::write(&path, without.join("\n")).unwrap();
    assert!(fault(dir).contains("line 3 of audit.jsonl does not follow"));
    // A line that a crash has torn.
    std::fs::write(&path, format!("{text}{{\"at_ms\":1")).unwrap();
    let audit = Audit::start(dir).unwrap();
    audit.allowed("ann", "", "kill", "app-1");
    audit.stop();
    let report = verify_audit(dir).unwrap();
    assert_eq!((report.entries, report.passed_over), (5, 1));
}

fn some(number: u32) -> Entry {
    entry("ann", "127.0.0.1:1", "kill", &format!("app-{number}"), "allowed")
}

#[test]
fn the_chain_goes_on_over_files_and_a_missing_file_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut files = Files::open(dir, 1000, 3).unwrap();
    for number in 0..40 {
        // Begun anew now and then, as a master is.
        if number % 7 == 0 {
            files = Files::open(dir, 1000, 3).unwrap();
        }
        files.keep(some(number));
        files.write_waiting();
    }
    let mut kept = rotated(dir).unwrap();
    kept.sort_unstable();
    assert!(kept.len() == 3 && kept[0] > 1, "{kept:?}");
    let report = verify_audit(dir).unwrap();
    assert_eq!((report.files, report.since), (4, Some(name(kept[0]))));
    assert!(report.entries > 10);

    let (middle, oldest) = (dir.join(name(kept[1])), dir.join(name(kept[0])));
    let aside = dir.join("aside");
    std::fs::rename(&middle, &aside).unwrap();
    assert!(fault(dir).contains(&format!("{} is missing", name(kept[1]))));
    std::fs::rename(&aside, &middle).unwrap();
    std::fs::rename(&oldest, &aside).unwrap();
    assert!(fault(dir).contains("is not the oldest that the master has kept"));
    std::fs::rename(&aside, &oldest).unwrap();
    // Killed just after a rename, it goes on from the file before.
    std::fs::rename(dir.join(CURRENT), dir.join(name(kept[2] + 1))).unwrap();
    let mut files = Files::open(dir, 1000, 4).unwrap();
    files.keep(some(99));
    files.write_waiting();
    assert_eq!(entries(dir), report.entries + 2);
}

#[test]
fn without_a_log_there_is_nothing_to_check() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(verify_audit(dir.path()).unwrap_err().code, ErrorCode::NotFound);
}

#[test]
fn a_flood_of_refusals_is_counted_and_hides_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::start(dir.path()).unwrap();
    for port in 0..10 * LISTED_MAX {
        audit.refused("", &format!("127.0.0.1:{port}"), "GET", "/", "UNAUTHENTICATED");
    }
    audit.refused("", "10.0.0.9:1", "GET", "/secret", "UNAUTHENTICATED");
    audit.refused_elsewhere("10.0.0.7", "data server of worker-2", "Unproved", 31);
    let text = audit.tail(10_000).unwrap();
    assert_eq!(text.lines().count(), LISTED_MAX as usize + 2);
    assert!(text.contains("/secret") && text.contains("Unproved (31 times)"));
    assert_eq!(audit.refused_total(), 10 * u64::from(LISTED_MAX) + 32);
    audit.stop();
    let text = std::fs::read_to_string(dir.path().join(CURRENT)).unwrap();
    assert!(text.contains("\"object\":\"450\",\"decision\":\"not listed one by one\""), "{text}");
}
