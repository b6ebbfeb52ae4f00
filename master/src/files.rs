//! Paths and files of the run directory. Every name in it is made from a parsed id, never from a client's
//! text.

use firesteel_common::Error;
use firesteel_common::id::{AppId, PluginHash};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where a plugin's bytes lie.
pub(crate) fn plugin_path(run_dir: &Path, plugin: PluginHash) -> PathBuf {
    run_dir.join("plugins").join(plugin.to_string())
}

/// Where a result lies that is too long for the journal.
pub(crate) fn result_path(run_dir: &Path, app: AppId) -> PathBuf {
    run_dir.join("results").join(app.to_string())
}

/// Where the event log of an application lies.
pub(crate) fn events_path(run_dir: &Path, app: AppId) -> PathBuf {
    run_dir.join("events").join(format!("{app}.jsonl"))
}

/// Makes a directory that only its owner can enter, and those above it.
pub(crate) fn make_private_dir(path: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|cause| Error::io(format_args!("making the directory {}", path.display()), &cause))
}

/// A file that only its owner can read, made anew.
pub(crate) fn create_private(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(|cause| Error::io(format_args!("creating {}", path.display()), &cause))
}

/// Writes a file so that after a crash it is there whole or not at all.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = path.with_extension("tmp");
    let mut file = create_private(&temporary)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.map_err(|cause| {
        // On a full disk it would take the room that others wait for.
        std::fs::remove_file(&temporary).ok();
        Error::io(format_args!("writing {}", temporary.display()), &cause)
            .with_help("see whether there is room where the run directory lies")
    })?;
    put_in_place(&temporary, path)
}

/// Renames a synced file durably.
pub(crate) fn put_in_place(from: &Path, to: &Path) -> Result<(), Error> {
    let failed = |cause| Error::io(format_args!("putting {} in place", to.display()), &cause);
    std::fs::rename(from, to).map_err(failed)?;
    let dir = to.parent().unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)
}
