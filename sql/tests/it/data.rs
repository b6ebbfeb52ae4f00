//! What all tests share: tables, both ways to run a text, and the comparison of their rows.

use crate::local::LocalRunner;
use crate::tpch;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use firesteel_common::config::SqlConfig;
use firesteel_sql::run_sql;
use std::collections::BTreeMap;
use std::sync::Arc;
use tempfile::TempDir;

pub type Tables = BTreeMap<String, String>;

/// TPC-H at scale 0.01, or what `FIRESTEEL_TPCH_SCALE` says, in three files a table, for one test.
pub struct Tpch {
    pub tables: Tables,
    pub dir: TempDir,
}

impl Tpch {
    pub fn new() -> Self {
        let scale = std::env::var("FIRESTEEL_TPCH_SCALE").map_or(0.01, |scale| scale.parse().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let tables = tpch::generate(dir.path(), scale, 3).unwrap();
        Self { tables, dir }
    }
}

pub fn config() -> SqlConfig {
    SqlConfig { partitions_per_slot: 2 }
}

/// Rows of a text run as stages.
pub fn staged(text: &str, tables: &Tables) -> (Vec<RecordBatch>, Arc<LocalRunner>) {
    staged_on(LocalRunner::new(2), text, tables, &config())
}

/// Rows of a text run as stages on this runtime, which has nothing left of it afterwards.
pub fn staged_on(
    runner: Arc<LocalRunner>,
    text: &str,
    tables: &Tables,
    config: &SqlConfig,
) -> (Vec<RecordBatch>, Arc<LocalRunner>) {
    let rows = run_sql(text, tables, config, runner.clone()).unwrap();
    let reader = StreamReader::try_new(&rows[..], None).unwrap();
    assert!(runner.leaked().is_empty(), "{:?}", runner.leaked());
    assert_eq!(runner.cancelled(), 0);
    (reader.map(|batch| batch.unwrap()).collect(), runner)
}

/// Rows of a text run by DataFusion in one process.
pub fn plain(text: &str, tables: &Tables) -> Vec<RecordBatch> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
        for (name, path) in tables {
            context.register_parquet(name, path, ParquetReadOptions::default()).await.unwrap();
        }
        let mut last = Vec::new();
        for statement in text.split(';').filter(|statement| !statement.trim().is_empty()) {
            let rows = context.sql(statement).await.unwrap().collect().await.unwrap();
            if !statement.trim_start().starts_with("create") && !statement.trim_start().starts_with("drop") {
                last = rows;
            }
        }
        last
    })
}

/// Each row as its fields' texts.
pub fn texts(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column.value(row).to_string()).collect());
        }
    }
    rows
}

/// The same rows: floats to a relative 1e-9, all else exactly; in this order if `ordered`.
pub fn assert_same(mine: &[RecordBatch], theirs: &[RecordBatch], ordered: bool, what: &str) {
    let (mut mine_rows, mut their_rows) = (texts(mine), texts(theirs));
    if !ordered {
        mine_rows.sort();
        their_rows.sort();
    }
    assert_eq!(mine_rows.len(), their_rows.len(), "{what}: number of rows");
    for (at, (mine, theirs)) in mine_rows.iter().zip(&their_rows).enumerate() {
        assert!(
            mine.len() == theirs.len() && mine.iter().zip(theirs).all(|(a, b)| same(a, b)),
            "{what}: row {at}: {mine:?} is not {theirs:?}"
        );
    }
    if let (Some(mine), Some(theirs)) = (mine.first(), theirs.first()) {
        let types = |batch: &RecordBatch| -> Vec<_> {
            batch
                .schema()
                .fields()
                .iter()
                .map(|field| (field.name().clone(), field.data_type().clone()))
                .collect()
        };
        assert_eq!(types(mine), types(theirs), "{what}: schema");
    }
}

fn same(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(x), Ok(y)) => (x - y).abs() <= 1e-9 * x.abs().max(y.abs()),
        _ => false,
    }
}

/// Runs a text both ways and compares: with four partitions, with three, and with one.
pub fn check(text: &str, tables: &Tables) -> Arc<LocalRunner> {
    // The order of rows is promised by an `order by` of the whole query only.
    let ordered = text.rsplit(')').next().is_some_and(|end| end.contains("order by"));
    let theirs = plain(text, tables);
    for (slots, partitions_per_slot) in [(3, 1), (1, 1)] {
        let config = SqlConfig { partitions_per_slot };
        let (mine, _) = staged_on(LocalRunner::new(slots), text, tables, &config);
        assert_same(&mine, &theirs, ordered, &format!("{slots} slots: {text}"));
    }
    let (mine, runner) = staged(text, tables);
    assert_same(&mine, &theirs, ordered, text);
    runner
}

/// A table `name` of these columns in `files` Parquet files, made by queries over `generate_series`.
pub fn table(dir: &TempDir, name: &str, select: &str, rows: usize, files: usize) -> String {
    use datafusion::parquet::arrow::ArrowWriter;
    let place = dir.path().join(name);
    std::fs::create_dir_all(&place).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for file in 0..files {
        let (from, to) = (file * rows / files, (file + 1) * rows / files - 1);
        let text = format!("select {select} from generate_series({from}, {to}) as s(i)");
        let batches = runtime
            .block_on(async { SessionContext::new().sql(&text).await.unwrap().collect().await.unwrap() });
        let sink = std::fs::File::create(place.join(format!("{file}.parquet"))).unwrap();
        let mut writer = ArrowWriter::try_new(sink, batches[0].schema(), None).unwrap();
        for batch in &batches {
            writer.write(batch).unwrap();
        }
        writer.close().unwrap();
    }
    place.to_str().unwrap().to_owned()
}
