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
