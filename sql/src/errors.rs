//! From DataFusion's errors to ours, and back through DataFusion's streams.
//!
//! Not here: errors that drive recovery. A lost segment is waited for inside of `TaskIo::read_input`.

use datafusion::arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use firesteel_common::error::nearest;
use firesteel_common::{Error, ErrorCode};

/// Wraps one of our errors so that it survives a stream of DataFusion; [`failed`] unwraps it.
pub(crate) fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// One of our errors that travels inside of DataFusion's, if there is one.
fn inner(error: &DataFusionError) -> Option<&Error> {
    match error {
        DataFusionError::External(cause) => match cause.downcast_ref::<Error>() {
            Some(own) => Some(own),
            None => cause.downcast_ref::<DataFusionError>().and_then(inner),
        },
        DataFusionError::ArrowError(cause, _) => match cause.as_ref() {
            ArrowError::ExternalError(cause) => match cause.downcast_ref::<Error>() {
                Some(own) => Some(own),
                None => cause.downcast_ref::<DataFusionError>().and_then(inner),
            },
            _ => None,
        },
        DataFusionError::Context(_, cause) | DataFusionError::Diagnostic(_, cause) => inner(cause),
        DataFusionError::Shared(cause) => inner(cause),
        DataFusionError::Collection(causes) => causes.iter().find_map(inner),
        _ => None,
    }
}

/// An error met while a query ran.
pub(crate) fn failed(error: &DataFusionError) -> Error {
    if let Some(own) = inner(error) {
        return own.clone();
    }
    let text = error.strip_backtrace();
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => Error::new(ErrorCode::OutOfMemory, text)
            .with_help("give the workers more memory, or raise sql.partitions_per_slot"),
        DataFusionError::ObjectStore(_) => Error::new(ErrorCode::InputNotReadable, text),
        DataFusionError::IoError(cause) => Error::io("a query", cause),
        DataFusionError::ExecutionJoin(cause) if cause.is_panic() => {
            Error::new(ErrorCode::Panicked, format!("a SQL task panicked: {cause}"))
        }
        DataFusionError::NotImplemented(_) => Error::new(ErrorCode::Unsupported, text),
        _ => Error::new(ErrorCode::SqlFailed, text),
    }
}

/// An Arrow error met while a query ran.
pub(crate) fn arrow_failed(error: ArrowError) -> Error {
    failed(&DataFusionError::from(error))
}

/// An error met while a text was understood and planned. `tables` are the names that it could have meant.
pub(crate) fn invalid(error: &DataFusionError, tables: &[String]) -> Error {
    if let Some(own) = inner(error) {
        return own.clone();
    }
    let text = error.strip_backtrace();
    let code = match error.find_root() {
        DataFusionError::NotImplemented(_) => ErrorCode::Unsupported,
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => ErrorCode::InputNotReadable,
        _ => ErrorCode::SqlInvalid,
    };
    let help = match error.find_root() {
        DataFusionError::SchemaError(cause, _) => column_help(cause),
        DataFusionError::Plan(message) => table_help(message, tables),
        _ => None,
    };
    Error::new(code, text).with_help(help.unwrap_or_default())
}

fn column_help(error: &SchemaError) -> Option<String> {
    let SchemaError::FieldNotFound { field, valid_fields } = error else { return None };
    let near = nearest(&field.name, valid_fields.iter().map(|column| column.name.as_str()));
    near.map(|name| format!("did you mean the column '{name}'?"))
}

fn table_help(message: &str, tables: &[String]) -> Option<String> {
    let (_, rest) = message.split_once("table '")?;
    let (full, rest) = rest.split_once('\'')?;
    if !rest.starts_with(" not found") {
        return None;
    }
    let wanted = full.rsplit('.').next().unwrap_or(full);
    match nearest(wanted, tables.iter().map(String::as_str)) {
        Some(name) => Some(format!("did you mean the table '{name}'?")),
        None if tables.is_empty() => {
            Some("no table is registered; name them with --table NAME=PATH".to_owned())
        }
        None => Some(format!("the tables are {}", tables.join(", "))),
    }
}
