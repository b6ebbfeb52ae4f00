//! TPC-H queries on the cluster against DataFusion in this process.

use crate::{machine, queries, setup, stop, tpch};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use firesteel_common::error::ErrorCode;
use firesteel_common::http::SubmitRequest;
use firesteel_tests::cluster::Cluster;
use std::collections::BTreeMap;

type Tables = BTreeMap<String, String>;

const SCALE: f64 = 0.1;

fn query(text: &str, tables: &Tables) -> SubmitRequest {
    SubmitRequest {
        name: "query".into(),
        plugin: None,
        entry: String::new(),
        args: BTreeMap::new(),
        sql: Some(text.to_owned()),
        tables: tables.clone(),
        deploy_mode: Default::default(),
        idempotency_key: None,
        conf: Tables::new(),
        tags: Tables::new(),
    }
}

#[test]
fn values_are_those_of_datafusion_in_one_process() {
    let _machine = machine();
    let cluster = Cluster::start(&setup()).unwrap();
    let tables = tpch::generate(&cluster.scratch().join("tpch"), SCALE, 4).unwrap();
    let texts = [("1", queries::Q1), ("3", queries::Q3), ("15", queries::Q15), ("18", queries::Q18)];
    for (name, text) in texts {
        let (_, stream) = cluster.run(&query(text, &tables)).unwrap();
        let reader = StreamReader::try_new(stream.as_slice(), None).unwrap();
        let found: Vec<RecordBatch> = reader.map(|batch| batch.unwrap()).collect();
        let (found, expected) = (rows(&found), rows(&in_one_process(text, &tables)));
        assert!(!expected.is_empty(), "query {name} has rows");
        assert_eq!(found, expected, "query {name}");
    }
    let error = cluster.run(&query("select nothing from lineitem", &tables)).unwrap_err();
    assert_eq!(error.code, ErrorCode::SqlInvalid, "{error}");
    stop(cluster);
}

fn in_one_process(text: &str, tables: &Tables) -> Vec<RecordBatch> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
        for (name, path) in tables {
            context.register_parquet(name, path, ParquetReadOptions::default()).await.unwrap();
        }
        let mut last = Vec::new();
        for statement in text.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
            let rows = context.sql(statement).await.unwrap().collect().await.unwrap();
            if !statement.starts_with("create") && !statement.starts_with("drop") {
                last = rows;
            }
        }
        last
    })
}

/// Each row as the texts of its fields.
fn rows(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        rows.extend(
            (0..batch.num_rows())
                .map(|row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>()),
        );
    }
    rows
}
