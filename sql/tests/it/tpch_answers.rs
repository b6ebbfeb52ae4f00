//! TPC-H: the answers of stages are those of DataFusion in one process.

use crate::data::{Tpch, assert_same, plain, staged};
use crate::queries::{Q1, Q3, Q15, Q18};
use std::time::Instant;

#[test]
fn four_queries() {
    let tpch = Tpch::new();
    for (name, text) in [("Q1", Q1), ("Q3", Q3), ("Q15", Q15), ("Q18", Q18)] {
        let (mine, _) = staged(text, &tpch.tables);
        let theirs = plain(text, &tpch.tables);
        assert!(!theirs.is_empty() || name == "Q18", "{name} has rows");
        assert_same(&mine, &theirs, true, name);
    }
}

/// All queries of the directory that `FIRESTEEL_TPCH_QUERIES` names (`q1.sql` and so on), if it is set.
#[test]
fn all_queries_of_a_directory() {
    let Ok(dir) = std::env::var("FIRESTEEL_TPCH_QUERIES") else { return };
    let tpch = Tpch::new();
    let scale: f64 = std::env::var("FIRESTEEL_TPCH_SCALE").map_or(0.01, |scale| scale.parse().unwrap());
    let mut wrong = Vec::new();
    for number in 1..=22 {
        let text = std::fs::read_to_string(format!("{dir}/q{number}.sql")).unwrap();
        let text = text.replace("{FRACTION}", &format!("{:.10}", 0.0001 / scale));
        let outcome = std::panic::catch_unwind(|| {
            let (start, theirs) = (Instant::now(), plain(&text, &tpch.tables));
            let plain_time = start.elapsed();
            let start = Instant::now();
            let (mine, runner) = staged(&text, &tpch.tables);
            let staged_time = start.elapsed();
            assert_same(&mine, &theirs, text.contains("order by"), &format!("Q{number}"));
            let rows: usize = mine.iter().map(|batch| batch.num_rows()).sum();
            let stages = runner.specs().len();
            eprintln!(
                "Q{number}: {rows} rows, {stages} stages, {} KiB written, plain {:.3?}, staged {:.3?}",
                runner.written() / 1024,
                plain_time,
                staged_time
            );
        });
        if outcome.is_err() {
            wrong.push(number);
        }
    }
    assert!(wrong.is_empty(), "wrong: {wrong:?}");
}
