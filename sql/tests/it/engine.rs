//! One task at a time: cancellation, panics, and rows that are used where they lie.

use crate::data::{Tables, assert_same, config, plain, staged_on, table};
use crate::local::LocalRunner;
use firesteel_common::ErrorCode;
use firesteel_common::graph::{StageKind, StageSpec};
use firesteel_common::task::TaskOutcome;
use firesteel_sql::{SqlEngine, run_sql};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tempfile::TempDir;

fn ran() -> (TempDir, Arc<LocalRunner>, StageSpec) {
    let dir = tempfile::tempdir().unwrap();
    let path = table(&dir, "t", "i as id, cast(i % 10 as bigint) as key", 1000, 2);
    let tables: Tables = [("t".to_owned(), path)].into();
    let runner = LocalRunner::new(2);
    run_sql("select key, sum(id) as s from t group by key", &tables, &config(), runner.clone()).unwrap();
    let result = runner.specs().into_iter().find(|stage| stage.kind == StageKind::Result).unwrap();
    (dir, runner, result)
}

#[test]
fn a_task_that_is_told_to_stop_is_killed() {
    let (_dir, runner, stage) = ran();
    let engine = SqlEngine::new(1, 1 << 28).unwrap();
    let io = runner.io(&stage, 0);
    io.stop.store(true, Ordering::Relaxed);
    assert_eq!(engine.run_task(Arc::new(io)).unwrap(), TaskOutcome::Killed);
}

#[test]
fn a_panic_fails_the_attempt_and_not_the_engine() {
    let (_dir, runner, stage) = ran();
    let engine = SqlEngine::new(1, 1 << 28).unwrap();
    let mut io = runner.io(&stage, 0);
    io.panics = true;
    let error = engine.run_task(Arc::new(io)).unwrap_err();
    assert_eq!(error.code, ErrorCode::Panicked, "{error}");
    assert!(error.message.contains("told to panic"), "{error}");
    let outcome = engine.run_task(Arc::new(runner.io(&stage, 0))).unwrap();
    assert!(matches!(outcome, TaskOutcome::Result(_)));
}

#[test]
fn a_repeated_task_writes_the_same_bytes() {
    let (_dir, runner, _) = ran();
    let map = runner.specs().remove(0);
    let engine = SqlEngine::new(1, 1 << 28).unwrap();
    let run = || match engine.run_task(Arc::new(runner.io(&map, 0))).unwrap() {
        TaskOutcome::MapOutput(status) => status,
        other => panic!("{other:?}"),
    };
    assert!(run().same_output(&run()));
}

#[test]
fn bytes_that_are_no_plan_are_refused() {
    let (_dir, runner, mut stage) = ran();
    stage.payload = vec![0xff; 40].into();
    let engine = SqlEngine::new(1, 1 << 28).unwrap();
    let error = engine.run_task(Arc::new(runner.io(&stage, 0))).unwrap_err();
    assert_eq!(error.code, ErrorCode::Codec, "{error}");
}

#[test]
fn operators_that_outgrow_their_memory_spill() {
    let dir = tempfile::tempdir().unwrap();
    let select =
        "i as id, concat('a name that takes some room, ', cast(i * 7919 % 1000003 as varchar)) as name";
    let tables: Tables = [("t".to_owned(), table(&dir, "t", select, 600_000, 3))].into();
    let text = "select name, count(*) as n, max(id) as m from t group by name order by name";
    let runner = LocalRunner::with_memory(1, 48 << 20);
    let (mine, runner) = staged_on(runner, text, &tables, &config());
    assert!(runner.metrics().spilled_bytes > 0);
    assert_same(&mine, &plain(text, &tables), true, text);
}

#[test]
fn dictionaries_and_nested_columns_cross_stages() {
    let dir = tempfile::tempdir().unwrap();
    let select = "i as id, arrow_cast(concat('d', cast(i % 13 as varchar)), 'Dictionary(Int32, Utf8)') as d, \
                  [i % 3, i % 5] as list, named_struct('a', i % 4, 'b', cast(i % 6 as varchar)) as s";
    let tables: Tables = [("t".to_owned(), table(&dir, "t", select, 30_000, 3))].into();
    for text in [
        "select d, count(*) as n from t group by d order by d",
        "select list, s, count(*) as n, min(id) as m from t group by list, s order by m",
        "select a.id, a.d, b.list from t a join t b on a.id = b.id order by a.id",
    ] {
        crate::data::check(text, &tables);
    }
}
