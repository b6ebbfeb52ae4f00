//! TPC-H tables as Parquet files, made by the `tpchgen` generators.
//!
//! Not here: queries, and whoever runs them.

use datafusion::arrow::csv::ReaderBuilder;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::WriterProperties;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Display;
use std::fs::File;
use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::Arc;
use tpchgen::csv::{
    CustomerCsv, LineItemCsv, NationCsv, OrderCsv, PartCsv, PartSuppCsv, RegionCsv, SupplierCsv,
};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Rows that are turned into one batch.
const ROWS: usize = 64 * 1024;

/// Writes all tables of this scale under `dir`, the larger ones as `files` files each. Gives each table's
/// directory by its name.
pub fn generate(dir: &Path, scale: f64, files: u32) -> Outcome<BTreeMap<String, String>> {
    let mut tables = BTreeMap::new();
    for (table, columns) in COLUMNS {
        let place = dir.join(table);
        std::fs::create_dir_all(&place)?;
        let count = if matches!(*table, "nation" | "region") { 1 } else { files.max(1) };
        for index in 0..count {
            let file = place.join(format!("{index:04}.parquet"));
            let (part, parts) = (index as i32 + 1, count as i32);
            match *table {
                "nation" => {
                    write(&file, columns, NationGenerator::new(scale, part, parts).iter().map(NationCsv::new))
                }
                "region" => {
                    write(&file, columns, RegionGenerator::new(scale, part, parts).iter().map(RegionCsv::new))
                }
                "part" => {
                    write(&file, columns, PartGenerator::new(scale, part, parts).iter().map(PartCsv::new))
                }
                "supplier" => write(
                    &file,
                    columns,
                    SupplierGenerator::new(scale, part, parts).iter().map(SupplierCsv::new),
                ),
                "customer" => write(
                    &file,
                    columns,
                    CustomerGenerator::new(scale, part, parts).iter().map(CustomerCsv::new),
                ),
                "partsupp" => write(
                    &file,
                    columns,
                    PartSuppGenerator::new(scale, part, parts).iter().map(PartSuppCsv::new),
                ),
                "orders" => {
                    write(&file, columns, OrderGenerator::new(scale, part, parts).iter().map(OrderCsv::new))
                }
                _ => write(
                    &file,
                    columns,
                    LineItemGenerator::new(scale, part, parts).iter().map(LineItemCsv::new),
                ),
            }?;
        }
        tables.insert((*table).to_owned(), place.to_string_lossy().into_owned());
    }
    Ok(tables)
}

fn write(path: &Path, columns: &str, rows: impl Iterator<Item = impl Display>) -> Outcome<()> {
    let schema = Arc::new(schema(columns));
    let properties = WriterProperties::builder().set_created_by("firesteel tests".to_owned()).build();
    let mut parquet = ArrowWriter::try_new(File::create(path)?, schema.clone(), Some(properties))?;
    let mut rows = rows.peekable();
    let mut text = Vec::new();
    while rows.peek().is_some() {
        text.clear();
        for row in rows.by_ref().take(ROWS) {
            writeln!(text, "{row}")?;
        }
        let reader = ReaderBuilder::new(schema.clone()).with_batch_size(ROWS).build(Cursor::new(&text))?;
        for batch in reader {
            parquet.write(&batch?)?;
        }
    }
    parquet.close()?;
    Ok(())
}

/// A schema from names with a letter for each type: `k` a key, `i` an integer, `m` money, `d` a date, `s` a
/// string.
fn schema(columns: &str) -> Schema {
    let field = |column: &str| {
        let (name, kind) = column.split_once(':').unwrap_or((column, "s"));
        let kind = match kind {
            "k" => DataType::Int64,
            "i" => DataType::Int32,
            "m" => DataType::Decimal128(15, 2),
            "d" => DataType::Date32,
            _ => DataType::Utf8,
        };
        Field::new(name, kind, false)
    };
    Schema::new(columns.split_whitespace().map(field).collect::<Vec<_>>())
}

const COLUMNS: &[(&str, &str)] = &[
    ("region", "r_regionkey:k r_name r_comment"),
    ("nation", "n_nationkey:k n_name n_regionkey:k n_comment"),
    ("part", "p_partkey:k p_name p_mfgr p_brand p_type p_size:i p_container p_retailprice:m p_comment"),
    ("supplier", "s_suppkey:k s_name s_address s_nationkey:k s_phone s_acctbal:m s_comment"),
    ("partsupp", "ps_partkey:k ps_suppkey:k ps_availqty:i ps_supplycost:m ps_comment"),
    ("customer", "c_custkey:k c_name c_address c_nationkey:k c_phone c_acctbal:m c_mktsegment c_comment"),
    (
        "orders",
        "o_orderkey:k o_custkey:k o_orderstatus o_totalprice:m o_orderdate:d o_orderpriority o_clerk \
         o_shippriority:i o_comment",
    ),
    (
        "lineitem",
        "l_orderkey:k l_partkey:k l_suppkey:k l_linenumber:i l_quantity:m l_extendedprice:m \
         l_discount:m l_tax:m l_returnflag l_linestatus l_shipdate:d l_commitdate:d l_receiptdate:d \
         l_shipinstruct l_shipmode l_comment",
    ),
];
