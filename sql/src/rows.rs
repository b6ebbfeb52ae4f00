//! Rows as text, for people and programs at a command line.
//!
//! Not here: getting the rows.

use crate::errors::arrow_failed;
use crate::exchange::batches_of;
use datafusion::arrow::csv::WriterBuilder as CsvBuilder;
use datafusion::arrow::json::WriterBuilder as JsonBuilder;
use datafusion::arrow::json::writer::JsonArray;
use datafusion::arrow::util::pretty::pretty_format_batches_with_schema;
use firesteel_common::{Error, ErrorCode};
use std::str::FromStr;

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowFormat {
    /// Columns in a frame.
    #[default]
    Table,
    /// Comma-separated values with a header (RFC 4180); null is an empty field.
    Csv,
    /// One JSON array of objects; null is `null`.
    Json,
}

impl FromStr for RowFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "table" => Ok(Self::Table),
            "csv" => Ok(Self::Csv),
            "json" => Ok(Self::Json),
            _ => Err(Error::new(ErrorCode::BadRequest, format!("'{text}' is not a format of rows"))
                .with_help("table, csv and json are")),
        }
    }
}

/// The rows of an Arrow IPC stream as text that ends with a newline; no text if the stream has no columns.
///
/// # Errors
/// `SQL_FAILED` if the bytes are not such a stream.
pub fn format_rows(ipc: &[u8], format: RowFormat) -> Result<String, Error> {
    let (schema, batches) = batches_of(ipc)?;
    if schema.fields().is_empty() {
        return Ok(String::new());
    }
    match format {
        RowFormat::Table => {
            let table = pretty_format_batches_with_schema(schema, &batches).map_err(arrow_failed)?;
            Ok(format!("{table}\n"))
        }
        RowFormat::Csv => {
            let mut bytes = Vec::new();
            let mut writer = CsvBuilder::new().with_header(true).build(&mut bytes);
            if batches.is_empty() {
                let empty = datafusion::arrow::array::RecordBatch::new_empty(schema);
                writer.write(&empty).map_err(arrow_failed)?;
            }
            for batch in &batches {
                writer.write(batch).map_err(arrow_failed)?;
            }
            drop(writer);
            text_of(bytes)
        }
        RowFormat::Json => {
            let builder = JsonBuilder::new().with_explicit_nulls(true);
            let mut writer = builder.build::<_, JsonArray>(Vec::new());
            for batch in &batches {
                writer.write(batch).map_err(arrow_failed)?;
            }
            writer.finish().map_err(arrow_failed)?;
            text_of(writer.into_inner()).map(|text| text + "\n")
        }
    }
}

fn text_of(bytes: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|cause| Error::new(ErrorCode::Codec, format!("rows as text: {cause}")))
}
