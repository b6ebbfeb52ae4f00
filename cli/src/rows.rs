//! What is printed of a result: bytes as they are, or rows of a query as a table, CSV or JSON.
//!
//! The only file of the command line that names the `sql` room.

use crate::failure::{Failure, Outcome};
use clap::ValueEnum;

/// How the rows of a query are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns side by side, for reading.
    Table,
    /// Comma-separated values with a header line.
    Csv,
    /// An array of JSON objects.
    Json,
    /// The bytes as they came (an Arrow IPC stream for a query).
    Raw,
}

/// Every message of an Arrow IPC stream begins with this word; a text never does, since it is not UTF-8.
const ARROW_STREAM: [u8; 4] = [0xff; 4];

/// What to print of a result.
///
/// # Errors
/// If a format for rows is asked for and the result is not one of a query.
pub fn render(result: Vec<u8>, format: Option<Format>) -> Outcome<Vec<u8>> {
    let is_rows = result.starts_with(&ARROW_STREAM);
    let format = match format {
        Some(Format::Raw) => return Ok(result),
        None if !is_rows => return Ok(result),
        Some(_) if !is_rows => {
            return Err(Failure::usage(
                "this result is not rows of a query, so it has no table, csv or json form",
            )
            .with_help("leave out --format to get its bytes"));
        }
        Some(Format::Csv) => firesteel_sql::RowFormat::Csv,
        Some(Format::Json) => firesteel_sql::RowFormat::Json,
        None | Some(Format::Table) => firesteel_sql::RowFormat::Table,
    };
    Ok(firesteel_sql::format_rows(&result, format)?.into_bytes())
}
