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
    /// JSON: an array of objects for rows, the value itself otherwise.
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
        Some(Format::Json) if !is_rows => return Ok(as_json(result)),
        Some(_) if !is_rows => {
            return Err(Failure::usage("this result is not rows of a query, so it has no table or csv form")
                .with_help("leave out --output to get its bytes"));
        }
        Some(Format::Csv) => firesteel_sql::RowFormat::Csv,
        Some(Format::Json) => firesteel_sql::RowFormat::Json,
        None | Some(Format::Table) => firesteel_sql::RowFormat::Table,
    };
    Ok(firesteel_sql::format_rows(&result, format)?.into_bytes())
}

/// A result of an entry point as JSON: mostly it is; other text becomes a string, other bytes stay.
fn as_json(result: Vec<u8>) -> Vec<u8> {
    if serde_json::from_slice::<serde::de::IgnoredAny>(&result).is_ok() {
        return result;
    }
    match std::str::from_utf8(&result) {
        Ok(text) => serde_json::Value::from(text).to_string().into_bytes(),
        Err(_) => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_without_rows_has_a_json_form() {
        for (bytes, expected) in [("[1]", "[1]"), ("a \"b\"", "\"a \\\"b\\\"\"")] {
            let found = render(bytes.as_bytes().to_vec(), Some(Format::Json)).unwrap();
            assert_eq!(String::from_utf8(found).unwrap(), expected);
        }
        assert!(render(b"x".to_vec(), Some(Format::Csv)).is_err());
    }
}
