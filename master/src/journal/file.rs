//! The file of the journal: how it is made, and how it is opened. One that is damaged is refused; it is never
//! taken for another one, nor for a new one.

use super::store::{FORMAT, storage_error};
use crate::files::create_private;
use firesteel_common::{Error, ErrorCode};
use redb::{Builder, Database, DatabaseError};
use std::fs::File;
use std::path::Path;

/// The cache of the database; what is read is small and rare.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// What helps when the file is damaged.
const RESTORE: &str = "restore it from a copy, or move it away to begin with nothing";

/// Opens the journal of a run directory, or makes it.
///
/// # Errors
/// `VERSION_MISMATCH` for one of another format, `CONFLICT` for one that is in use, `IO` for one that is
/// damaged or cannot be read.
pub(super) fn open(run_dir: &Path) -> Result<Database, Error> {
    let path = run_dir.join("journal.redb");
    match path.metadata() {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => make(run_dir, &path)?,
        // redb takes an empty file for a new one. It gets its name only when it is complete, so an empty one
        // has lost what it held.
        Ok(about) if about.len() == 0 => {
            let what = format!("opening {}: it is empty, which no journal ever is", path.display());
            return Err(Error::new(ErrorCode::Io, what).with_help(RESTORE));
        }
        _ => {}
    }
    builder().create(&path).map_err(|cause| refused(&path, cause))
}

/// How the journal is opened: every checksum in it is compared first, so that nothing is read that is not
/// what was written.
pub(super) fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

/// Makes an empty journal, which is only its owner's.
fn make(run_dir: &Path, path: &Path) -> Result<(), Error> {
    let draft = path.with_extension("new");
    create_private(&draft)?;
    drop(builder().create(&draft).map_err(|cause| refused(&draft, cause))?);
    let failed = |cause| Error::io(format!("making {}", path.display()), &cause);
    std::fs::rename(&draft, path).map_err(failed)?;
    File::open(run_dir).and_then(|dir| dir.sync_all()).map_err(failed)
}

fn refused(path: &Path, cause: DatabaseError) -> Error {
    match cause {
        DatabaseError::DatabaseAlreadyOpen => {
            Error::new(ErrorCode::Conflict, format!("{} is in use by another process", path.display()))
                .with_help("stop the other master, or choose another run directory with --run-dir")
        }
        DatabaseError::UpgradeRequired(found) => other_version(path, u64::from(found)),
        cause => {
            let is_damaged = matches!(cause, DatabaseError::Storage(redb::StorageError::Corrupted(_)));
            let error = storage_error(format_args!("opening {}", path.display()), cause.into());
            if is_damaged { error.with_help(RESTORE) } else { error }
        }
    }
}

/// What is said of a journal of another format.
pub(super) fn other_version(path: &Path, found: u64) -> Error {
    let what = format!("{} has format {found}, this Firesteel writes {FORMAT}", path.display());
    Error::new(ErrorCode::VersionMismatch, what)
        .with_help("run the Firesteel that wrote it, or choose another run directory with --run-dir")
}
