//! Documents that promise tests: each that they name must exist.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::path::Path;

/// The file behind the first half of a name, and the function behind the second.
fn exists(root: &Path, name: &str) -> bool {
    let Some((file, function)) = name.rsplit_once("::") else { return false };
    let file =
        if file.ends_with(".rs") { root.join(file) } else { root.join(format!("jobs/api/tests/{file}.rs")) };
    let text = std::fs::read_to_string(file).unwrap_or_default();
    // A property, or a test of its own.
    let found = text.find(&format!("fn {function}("));
    found.is_some_and(|at| text[..at].trim_end().ends_with("#[test]"))
}

#[test]
fn every_row_of_the_rdd_api_has_its_test_or_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let text = std::fs::read_to_string(root.join("docs/rdd.md")).unwrap();
    let mut rows = 0;
    for line in text.lines().filter(|line| line.starts_with("| ") && !line.contains("---")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [spark, here, test] = cells[..] else { panic!("not three cells: {line}") };
        if spark == "Spark" {
            continue;
        }
        rows += 1;
        let reason = here.starts_with("none") || here.starts_with("the event log");
        assert!(exists(root, test) || (test.is_empty() && reason), "no such test, and no reason: {line}");
    }
    assert!(rows > 70, "{rows} rows");
}

#[test]
fn every_rule_of_security_has_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let text = std::fs::read_to_string(root.join("docs/security.md")).unwrap();
    let table = text.split("| incident | rule | tests |").nth(1).unwrap();
    let mut rows = 0;
    for line in table.lines().filter(|line| line.starts_with("| ") && !line.contains("---")) {
        let tests = line.trim_matches('|').split('|').nth(2).unwrap();
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {line}");
        names.iter().for_each(|name| assert!(exists(root, name), "no such test: {name}"));
        rows += 1;
    }
    assert!(rows > 15, "{rows} rows");
}

/// A row of the table of reliability names commands (`scripts/chaos --row N`) and functions of tests.
#[test]
fn every_fault_has_what_shows_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let text = std::fs::read_to_string(root.join("docs/reliability.md")).unwrap();
    let sources = sources(root);
    let mut rows = 0;
    for line in text.lines().filter(|line| line.starts_with("| ") && !line.contains("---")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [row, .., shown] = cells[..] else { panic!("no cells: {line}") };
        if cells.len() != 4 || row.parse::<u32>().is_err() {
            continue;
        }
        let names: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "nothing shows it: {line}");
        for name in names.iter().filter(|name| !name.starts_with("scripts/")) {
            assert!(sources.contains(&format!("fn {name}(")), "no such test: {name}");
        }
        rows += 1;
    }
    assert!(rows > 20, "{rows} rows");
}

/// All Rust files that have tests of processes, journals and scheduling.
fn sources(root: &Path) -> String {
    let mut text = String::new();
    let mut open: Vec<_> =
        ["tests/it", "master", "worker", "fuzz", "common", "cli"].map(|dir| root.join(dir)).to_vec();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
    text
}
