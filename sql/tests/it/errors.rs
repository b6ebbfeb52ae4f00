//! What a user is told.

use crate::data::{Tables, config, table};
use crate::local::LocalRunner;
use firesteel_common::{Error, ErrorCode};
use firesteel_sql::{RowFormat, format_rows, run_sql};
use tempfile::TempDir;

fn people() -> (TempDir, Tables) {
    let dir = tempfile::tempdir().unwrap();
    let path = table(&dir, "people", "i as id, concat('p', cast(i as varchar)) as name", 10, 2);
    (dir, [("people".to_owned(), path)].into())
}

fn fails(text: &str, tables: &Tables) -> Error {
    run_sql(text, tables, &config(), LocalRunner::new(1)).unwrap_err()
}

#[test]
fn unknown_names_get_the_nearest_known_one() {
    let (_dir, tables) = people();
    let error = fails("select nmae from people", &tables);
    assert_eq!(error.code, ErrorCode::SqlInvalid);
    assert!(error.message.contains("nmae") && error.help.contains("'name'"), "{error}");
    let error = fails("select * from peopel", &tables);
    assert_eq!(error.code, ErrorCode::SqlInvalid);
    assert!(error.help.contains("'people'"), "{error}");
    let error = fails("select * from somewhere_else_entirely", &tables);
    assert!(error.help.contains("the tables are people"), "{error}");
    let error = fails("selct 1", &tables);
    assert_eq!(error.code, ErrorCode::SqlInvalid);
    assert_eq!(fails("select frobnicate(id) from people", &tables).code, ErrorCode::SqlInvalid);
}

#[test]
fn missing_files_are_named() {
    let tables = [("t".to_owned(), "/nonexistent/of/all/t.parquet".to_owned())].into();
    let error = fails("select 1", &tables);
    assert_eq!(error.code, ErrorCode::InputNotReadable);
    assert!(error.message.contains("/nonexistent/of/all/t.parquet"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let empty = [("t".to_owned(), dir.path().to_str().unwrap().to_owned())].into();
    let error = fails("select 1", &empty);
    assert!(
        error.code == ErrorCode::InputNotReadable && error.message.contains("no .parquet file"),
        "{error}"
    );
    let file = dir.path().join("t.parquet");
    std::fs::write(&file, "this is not Parquet").unwrap();
    let broken = [("t".to_owned(), file.to_str().unwrap().to_owned())].into();
    let error = fails("select 1", &broken);
    assert!(error.code == ErrorCode::InputNotReadable && error.message.contains("t.parquet"), "{error}");
}

#[test]
fn what_fails_while_it_runs_is_the_querys_failure() {
    let (_dir, tables) = people();
    let error = fails("select cast(name as int) from people", &tables);
    assert_eq!(error.code, ErrorCode::SqlFailed, "{error}");
    let error = fails("select id from people where id = (select id from people)", &tables);
    assert!(error.code == ErrorCode::SqlFailed && error.message.contains("more than one row"), "{error}");
}

#[test]
fn statements_that_write_are_refused() {
    let (_dir, tables) = people();
    for text in [
        "create table t as select * from people",
        "insert into people values (1, 'a')",
        "copy people to '/tmp/x.parquet'",
        "set datafusion.execution.target_partitions = 1",
        "create external table x stored as parquet location '/tmp/x'",
    ] {
        assert_eq!(fails(text, &tables).code, ErrorCode::Unsupported, "{text}");
    }
    let recursive =
        "with recursive r as (select 1 as n union all select n + 1 from r where n < 3) select * from r";
    assert_eq!(fails(recursive, &tables).code, ErrorCode::Unsupported);
}

#[test]
fn rows_as_text() {
    let (_dir, tables) = people();
    let text = "select id, case when id > 0 then name end as name from people where id < 2 order by id";
    let rows = run_sql(text, &tables, &config(), LocalRunner::new(1)).unwrap();
    assert_eq!(format_rows(&rows, RowFormat::Csv).unwrap(), "id,name\n0,\n1,p1\n");
    let json = format_rows(&rows, RowFormat::Json).unwrap();
    assert_eq!(json, "[{\"id\":0,\"name\":null},{\"id\":1,\"name\":\"p1\"}]\n");
    let table = "+----+------+\n| id | name |\n+----+------+\n| 0  |      |\n| 1  | p1   |\n+----+------+\n";
    assert_eq!(format_rows(&rows, RowFormat::Table).unwrap(), table);
    let none =
        run_sql("select id from people where id < 0", &tables, &config(), LocalRunner::new(1)).unwrap();
    assert_eq!(format_rows(&none, RowFormat::Csv).unwrap(), "id\n");
    assert_eq!(format_rows(&none, RowFormat::Json).unwrap(), "[]\n");
    let view = run_sql("create view v as select 1", &tables, &config(), LocalRunner::new(1)).unwrap();
    assert_eq!(format_rows(&view, RowFormat::Table).unwrap(), "");
    let explained =
        run_sql("explain select id from people", &tables, &config(), LocalRunner::new(1)).unwrap();
    assert!(format_rows(&explained, RowFormat::Table).unwrap().contains("physical_plan"));
}

#[test]
fn a_long_chain_of_operators_is_run_or_refused_but_never_overflows_a_stack() {
    let (_dir, tables) = people();
    let chain = |n: usize| format!("select max(id{}) as m from people", " + id".repeat(n));
    let rows = crate::data::staged(&chain(600), &tables).0;
    assert_eq!(rows.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1);
    assert!(fails(&chain(40_000), &tables).message.contains("operators"));
}
