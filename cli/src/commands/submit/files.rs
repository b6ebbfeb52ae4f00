//! The files of settings that a submission reads: where they lie, and their content as a layer.

use super::conf::Layer;
use super::properties;
use crate::failure::{Failure, Outcome};
use std::path::{Path, PathBuf};

const DEFAULTS: &str = "spark-defaults.conf";

/// The layer of `spark-defaults.conf`, if there is one: in the directory that `FIRESTEEL_CONF_DIR` names,
/// else `SPARK_CONF_DIR`, else in `conf` of `SPARK_HOME`.
///
/// # Errors
/// Misuse, if it is there and cannot be read or understood.
pub fn spark_defaults() -> Outcome<Option<Layer>> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = variable("FIRESTEEL_CONF_DIR")
        .or_else(|| variable("SPARK_CONF_DIR"))
        .or_else(|| variable("SPARK_HOME").map(|home| home.join("conf")));
    let path = dir.map(|dir| dir.join(DEFAULTS)).filter(|path| path.exists());
    path.map(|path| properties(&path)).transpose()
}

/// The layer of a properties file.
///
/// # Errors
/// Misuse, if it cannot be read or understood.
pub fn properties(path: &Path) -> Outcome<Layer> {
    let name = path.display().to_string();
    let wrong = |what: String| Failure::usage(format!("the properties file {name} {what}"));
    let about = std::fs::metadata(path).map_err(|cause| wrong(format!("cannot be read: {cause}")))?;
    if !about.is_file() {
        return Err(wrong("is not a file".to_owned()));
    }
    if about.len() > properties::BYTES_MAX {
        return Err(wrong(format!("is longer than {} bytes", properties::BYTES_MAX)));
    }
    let text = std::fs::read_to_string(path).map_err(|cause| wrong(format!("cannot be read: {cause}")))?;
    let pairs = properties::parse(&name, &text)?;
    Ok(Layer::new(name, pairs))
}
