//! What a plugin asks of its host beside the task and the jobs: files to read, files to write, runs on disk,
//! SQL, log lines.

use crate::arena::Owner;
use firesteel_common::{Payload, Result};
use serde::{Deserialize, Serialize};

/// A file behind a path, a directory or a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    /// Its path.
    pub path: String,
    /// Its length in bytes, as stored.
    pub bytes: u64,
    /// Whether parts of it can be read on their own (a compressed file must be read whole).
    pub splittable: bool,
}

/// The host, apart from tasks and jobs.
pub trait Host: Send + Sync {
    /// The files behind a path: the file itself, those of a directory, those that match a pattern; sorted by
    /// path. Names that begin with `_` or `.` are left out of directories.
    ///
    /// # Errors
    /// `INPUT_NOT_READABLE` if there is nothing.
    fn list_files(&self, path: &str) -> Result<Vec<FileInfo>>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// `INPUT_NOT_READABLE`.
    fn open_file(&self, path: &str) -> Result<Box<dyn OpenFile>>;

    /// Begins the file of this task in an output directory. If its name ends in `.gz` it is packed so.
    ///
    /// # Errors
    /// `OUTPUT_NOT_WRITABLE`, `DISK_FULL`.
    fn create_output(&self, dir: &str, name: &str) -> Result<Box<dyn OutputFile>>;

    /// Makes an output directory ready, before any task.
    ///
    /// # Errors
    /// `OUTPUT_EXISTS`, `OUTPUT_NOT_WRITABLE`.
    fn prepare_output(&self, dir: &str) -> Result<()>;

    /// Makes the files of the winning attempts visible, and nothing else.
    ///
    /// # Errors
    /// `OUTPUT_NOT_WRITABLE`.
    fn commit_output(&self, dir: &str, winners: &[(String, u32)]) -> Result<()>;

    /// Begins a run: bytes on the disk of this task alone, without a name.
    ///
    /// # Errors
    /// `DISK_FULL`, `IO`; `UNSUPPORTED` for a driver.
    fn create_spill(&self) -> Result<Box<dyn SpillFile>>;

    /// Runs a SQL text; its rows as an Arrow IPC stream.
    ///
    /// # Errors
    /// `UNSUPPORTED` where the host has no SQL for plugins.
    fn query(&self, text: &str) -> Result<Payload>;

    /// A line for the log: 0 error, 1 warning, 2 information, 3 debug, 4 trace.
    fn log(&self, level: u32, text: &str);
}

/// A file that is read.
pub trait OpenFile: Send {
    /// Bytes from an offset on, at most `max`; fewer only at the end of the file.
    ///
    /// # Errors
    /// `INPUT_NOT_READABLE`.
    fn read(&self, from: u64, max: u64) -> Result<Owner>;
}

/// A file that is written.
pub trait OutputFile: Send {
    /// Appends to it.
    ///
    /// # Errors
    /// `OUTPUT_NOT_WRITABLE`, `DISK_FULL`.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Ends it. It becomes visible when the driver commits.
    ///
    /// # Errors
    /// `OUTPUT_NOT_WRITABLE`, `DISK_FULL`.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// A run: what a task writes to disk for itself when its memory is used up. Dropping it frees it.
pub trait SpillFile: Send {
    /// Appends to it. What is written at once is packed and checked as one frame, which is unpacked once by a
    /// reader that goes on from frame to frame.
    ///
    /// # Errors
    /// `DISK_FULL`, `IO`.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Bytes from an offset (of what was written) on, at most `max` and at most to the end of the frame that
    /// holds `from`; none at the end of the run.
    ///
    /// # Errors
    /// `BLOCK_CORRUPT` if they are not what was written, `IO`.
    fn read(&self, from: u64, max: u64) -> Result<Owner>;
}
