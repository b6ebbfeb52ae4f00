//! Answers that a staged plan gives wrong, silently, if nothing is done about it: one test for each way.

use crate::data::{Tables, check, staged, table, texts};
use firesteel_common::graph::StageKind;
use firesteel_sql::stages_text;
use tempfile::TempDir;

/// `facts`: 40000 rows in 4 files; `keys`: 100 rows in 2 files with some keys that no fact has.
fn tables() -> (TempDir, Tables) {
    let dir = tempfile::tempdir().unwrap();
    let facts = table(
        &dir,
        "facts",
        "i as id, cast(i % 97 as bigint) as key, cast(i % 1000 as double) / 7 as amount, \
         case when i % 5 = 0 then null else cast(i % 31 as bigint) end as other, \
         concat('row number ', cast(i as varchar), ' with a text that is longer than twelve bytes') as text",
        40_000,
        4,
    );
    let keys = table(
        &dir,
        "keys",
        "cast(i * 2 as bigint) as key, concat('name ', cast(i as varchar)) as name, \
         case when i = 7 then null else cast(i as bigint) end as maybe",
        100,
        2,
    );
    let tables = [("facts".to_owned(), facts), ("keys".to_owned(), keys)].into();
    (dir, tables)
}

/// Sibling partitions of a scan share a queue of files: each task would read all files.
#[test]
fn a_task_reads_only_its_own_files() {
    let (_dir, tables) = tables();
    let runner = check("select count(*) as n, sum(id) as s, sum(amount) as a from facts", &tables);
    let scans = runner.specs()[0].tasks.len();
    assert!(scans > 1, "{scans} tasks");
    assert_eq!(runner.metrics().input_records, 40_000);
    check("select key, count(*) as n, sum(amount) as a from facts group by key order by key", &tables);
}

/// Joins that emit rows of their collected side count finished partitions within a process.
#[test]
fn joins_that_emit_build_rows() {
    let (_dir, tables) = tables();
    for join in ["left join", "right join", "full join"] {
        check(&format!("select k.key, k.name, f.id from keys k {join} facts f on k.key = f.key"), &tables);
        let few = "(select * from facts where id % 401 = 3)";
        check(&format!("select a.id, b.id as other from {few} a {join} facts b on a.id = b.key"), &tables);
    }
    for predicate in ["exists", "not exists"] {
        let probe = "(select 1 from facts f where f.key = k.key and f.amount > 10)";
        check(&format!("select k.key, k.name from keys k where {predicate} {probe}"), &tables);
        let probe = "(select 1 from keys k where f.key = k.key and k.maybe > 3)";
        check(&format!("select f.id from facts f where {predicate} {probe}"), &tables);
        let both = "(select key from facts union all select other from facts)";
        let text =
            format!("select key from keys k where {predicate} (select 1 from {both} f where f.key = k.key)");
        check(&text, &tables);
    }
}

/// `not in` over nulls must see the whole probe side.
#[test]
fn null_aware_anti_joins() {
    let (_dir, tables) = tables();
    check("select key from keys where key not in (select other from facts)", &tables);
    check("select key from keys where key not in (select other from facts where other is not null)", &tables);
    check("select id from facts where other not in (select maybe from keys where maybe > 10)", &tables);
    check("select maybe from keys where maybe not in (select key from facts where key > 50)", &tables);
}

/// Joins without equal keys collect one side, and some of them emit rows of it.
#[test]
fn joins_without_equal_keys() {
    let (_dir, tables) = tables();
    for join in ["join", "left join", "right join", "full join"] {
        let text = format!(
            "select k.key, count(f.id) as n from keys k {join} (select * from facts where id % 50 = 0) f \
             on f.key < k.key and f.amount > k.key group by k.key order by k.key"
        );
        check(&text, &tables);
    }
    check("select count(*) as n, sum(f.id) as s from facts f cross join keys k", &tables);
    check("select k.key from keys k where exists (select 1 from facts f where f.key > k.key)", &tables);
}

/// The value of a scalar subquery would lie in a cell of one process.
#[test]
fn scalar_subqueries_become_literals() {
    let (_dir, tables) = tables();
    let runner =
        check("select count(*) as n from facts where amount > (select avg(amount) from facts)", &tables);
    let results = runner.specs().iter().filter(|stage| stage.kind == StageKind::Result).count();
    assert_eq!(results, 2, "a result stage for the subquery, and one for the query");
    let text = stages_text(&runner.specs()).unwrap();
    assert!(!text.contains("ScalarSubquery"), "{text}");
    for text in [
        "select key, (select max(id) from facts) as m, (select max(id) from facts) + 1 as n from keys",
        "select count(*) as n from facts \
         where id > (select min(key) from keys where key > (select avg(key) from keys))",
        "select count(*) as n from facts where amount > (select amount from facts where id < 0)",
        "select key, (select name from keys where key = -1) as none from keys order by key",
        "select key, count(*) as n from facts group by key having count(*) > (select count(*) from keys) * 4",
        "select key from keys where exists \
         (select 1 from facts f where f.key = keys.key and f.id > (select avg(id) from facts))",
        "select key, (select count(*) from facts f where f.key = keys.key) as n from keys order by key",
    ] {
        check(text, &tables);
    }
    check(
        "create view big as select * from facts where id > (select avg(id) from facts); \
           select count(*) as n, min(id) as m from big; drop view big",
        &tables,
    );
}

/// A dynamic filter is filled in one process and waited for in another.
#[test]
fn no_dynamic_filters() {
    let (_dir, tables) = tables();
    for text in [
        "select f.id, k.name from facts f join keys k on f.key = k.key where k.maybe < 5 \
         order by f.id limit 7",
        "select id, amount from facts order by amount desc, id limit 5",
        "select max(id) as m from facts where key = 3",
    ] {
        let runner = check(text, &tables);
        let text = stages_text(&runner.specs()).unwrap();
        assert!(!text.contains("DynamicFilter"), "{text}");
    }
}

/// String views refer to whole buffers: a filtered batch must not carry them along.
#[test]
fn filtered_strings_are_compacted() {
    let (_dir, tables) = tables();
    let runner = check(
        "select text, count(*) as n from facts where id % 1000 = 1 group by text order by text",
        &tables,
    );
    assert!(runner.written() < 64 * 1024, "{} bytes for 40 rows", runner.written());
}

/// A union adds up partitions: a collapsed branch must be read by one task only.
#[test]
fn unions_with_collapsed_branches() {
    let (_dir, tables) = tables();
    check(
        "select sum(n) as n from (select count(*) as n from facts union all select id from facts \
           union all select key from keys)",
        &tables,
    );
    check(
        "select id from (select id from facts order by id limit 3) union all select key from keys \
           union all (select count(*) from facts)",
        &tables,
    );
    check(
        "select key, count(*) as n from (select key from facts union all select key from keys \
           union all select distinct other from facts) group by key order by key",
        &tables,
    );
    check("select key from facts intersect select key from keys", &tables);
    check("select key from keys except select key from facts", &tables);
}

/// A plan without any exchange must not be run once for each slot.
#[test]
fn plans_without_an_exchange() {
    let (_dir, tables) = tables();
    check("select 1 as one", &tables);
    check("select id from facts where id < 10", &tables);
    check("values (1, 'a'), (2, 'b')", &tables);
    let one = [("facts".to_owned(), format!("{}/0.parquet", tables["facts"]))].into();
    check("select count(*) as n from facts", &one);
    check("select key, sum(id) as s from facts group by key order by key", &one);
}

/// The order of an `order by` is kept through the last merge; limits and offsets cut after it.
#[test]
fn orders_and_limits() {
    let (_dir, tables) = tables();
    for text in [
        "select id from facts order by id desc",
        "select id, key from facts order by key, id limit 20 offset 15",
        "select key, name from keys order by name nulls first",
        "select count(*) as n from (select id from facts limit 77)",
        "select count(*) as n from (select id from facts order by amount, id limit 5000 offset 100)",
        "select id, row_number() over (partition by key order by id desc) as r from facts \
         order by id limit 50",
        "select sum(r) as s from (select row_number() over (order by id) as r from facts)",
        "select id, sum(amount) over \
         (partition by key order by id rows between 3 preceding and current row) as s \
         from facts order by id limit 50",
        "select distinct key from facts order by key",
        "select count(distinct key) as k, count(distinct other) as o from facts",
        "select key, other, count(*) as n from facts group by rollup(key, other) order by key, other, n",
        "select median(amount) as m, stddev(amount) as s, array_agg(key) is null as t \
         from facts",
    ] {
        check(text, &tables);
    }
    let (rows, _) = staged("select id from facts limit 12", &tables);
    assert_eq!(texts(&rows).len(), 12);
}

/// The same text twice is the same rows in the same order.
#[test]
fn answers_repeat() {
    let (_dir, tables) = tables();
    let text = "select key, sum(amount) as a, count(distinct other) as n from facts group by key";
    assert_eq!(texts(&staged(text, &tables).0), texts(&staged(text, &tables).0));
}
