//! The context of an application: what an entry point is given, and where datasets begin.

use crate::driver::Driver;
use crate::ops::source::{Numbers, Parallelize};
use crate::ops::text::{LineEnd, TextBlocks, TextLines, cut};
use crate::rdd::Rdd;
use crate::record::Record;
use firesteel_common::{Error, ErrorCode, Payload, Result};
use std::marker::PhantomData;
use std::sync::Arc;

/// What an entry point is given.
///
/// `'s` is as long as the bytes that a task reads lie in place: records may borrow from them (`&'s str`). It
/// is invariant and open, so that no record can be taken out of its task.
pub struct Context<'s> {
    driver: Arc<Driver>,
    brand: PhantomData<fn(&'s ()) -> &'s ()>,
}

impl<'s> Context<'s> {
    /// A context with a lifetime that its user cannot choose: call only with an open lifetime.
    pub(crate) fn new(driver: Arc<Driver>) -> Self {
        Self { driver, brand: PhantomData }
    }

    /// Task slots of the cluster now.
    pub fn slots(&self) -> u32 {
        self.driver.slots()
    }

    /// How many partitions a shuffle has when nothing else is said: twice the slots.
    pub fn default_parallelism(&self) -> u32 {
        self.driver.slots().saturating_mul(2)
    }

    /// Values of the driver as a dataset of `partitions` partitions (at least one). A job over more than
    /// 1,048,576 of them fails with `TOO_LARGE`, as with all datasets.
    pub fn parallelize<T: Record<'s>>(&self, values: Vec<T>, partitions: usize) -> Rdd<'s, Parallelize<T>> {
        Rdd::new(&self.driver, Parallelize::new(&values, partitions))
    }

    /// The whole numbers from `start` up to but without `end`, in `partitions` partitions (at least one).
    pub fn range(&self, start: i64, end: i64, partitions: usize) -> Rdd<'s, Numbers> {
        Rdd::new(&self.driver, Numbers::between(start, end, partitions))
    }

    /// The lines of text files, without their ends: of a file, of the files of a directory, of those that
    /// match a pattern (`*`, `?`, `[…]`), of several of these with commas between them. Files that end in
    /// `.gz` are unpacked. A line ends with a line feed, a carriage return, or both.
    ///
    /// # Errors
    /// `INPUT_NOT_READABLE` if there is no such file, `TOO_LARGE` if it is too many partitions. A file that
    /// is not UTF-8 fails the job with `INPUT_NOT_READABLE`.
    pub fn text_file(&self, path: &str) -> Result<Rdd<'s, TextLines>> {
        self.text_file_in(path, self.slots())
    }

    /// [`Context::text_file`] in at least so many partitions, where the files allow it.
    ///
    /// # Errors
    /// As [`Context::text_file`].
    pub fn text_file_in(&self, path: &str, partitions: u32) -> Result<Rdd<'s, TextLines>> {
        let blocks = self.blocks(path, partitions, LineEnd::Any)?;
        Ok(Rdd::new(&self.driver, TextLines { blocks }))
    }

    /// The text of files in blocks of whole lines, as they lie in the file, ends included; here only a line
    /// feed ends a line. For jobs that look at the text with their own eyes, as a word count does.
    ///
    /// # Errors
    /// As [`Context::text_file`].
    pub fn text_blocks(&self, path: &str) -> Result<Rdd<'s, TextBlocks>> {
        Ok(Rdd::new(&self.driver, self.blocks(path, self.slots(), LineEnd::Feed)?))
    }

    fn blocks(&self, path: &str, partitions: u32, line_end: LineEnd) -> Result<TextBlocks> {
        let splits = cut(&self.driver.host().list_files(path)?, u64::from(partitions))?;
        Ok(TextBlocks { line_end, splits: Arc::new(splits) })
    }

    /// The rows of a SQL text, as an Arrow IPC stream.
    ///
    /// # Errors
    /// `UNSUPPORTED` where the host has no SQL for plugins; `SQL_INVALID`, `SQL_FAILED`.
    pub fn sql(&self, text: &str) -> Result<Payload> {
        self.driver.host().query(text)
    }

    /// Puts the jobs from now on into a group, so that they can be cancelled together; an empty name ends it.
    pub fn set_job_group(&self, group: &str) {
        self.driver.set_group(group);
    }

    /// Cancels all jobs of a group.
    pub fn cancel_job_group(&self, group: &str) {
        self.driver.cancel_group(group, "cancelled by the application");
    }

    /// A line for the application's log.
    pub fn log(&self, text: &str) {
        self.driver.host().log(2, text);
    }

    /// An error of the job itself, for an entry point to return.
    pub fn error(message: impl Into<String>) -> Error {
        Error::new(ErrorCode::JobFailed, message)
    }
}
