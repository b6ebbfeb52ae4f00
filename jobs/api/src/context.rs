//! The context of an application: what an entry point is given, and where datasets begin.

use crate::driver::Driver;
use crate::ops::binary::{FixedRecords, ObjectFiles, WholeFiles, WholeTexts, cut_records, group};
use crate::ops::shape::UnionAll;
use crate::ops::source::{Numbers, Parallelize};
use crate::ops::text::{LineEnd, TextBlocks, TextLines, cut};
use crate::rdd::{ErasedRdd, Rdd};
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

    pub(crate) fn driver(&self) -> &Driver {
        &self.driver
    }

    pub(crate) fn shared_driver(&self) -> Arc<Driver> {
        self.driver.clone()
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

    /// [`Context::text_blocks`] in at least so many partitions, where the files allow it.
    ///
    /// # Errors
    /// As [`Context::text_file`].
    pub fn text_blocks_in(&self, path: &str, partitions: u32) -> Result<Rdd<'s, TextBlocks>> {
        Ok(Rdd::new(&self.driver, self.blocks(path, partitions, LineEnd::Feed)?))
    }

    /// Text files as a whole, each with its path; small ones are put together in a partition.
    ///
    /// # Errors
    /// `INPUT_NOT_READABLE` if there is no such file. One that is not UTF-8 fails the job so.
    pub fn whole_text_files(&self, path: &str) -> Result<Rdd<'s, WholeTexts>> {
        let splits = Arc::new(group(&self.driver.host().list_files(path)?, self.default_parallelism()));
        Ok(Rdd::new(&self.driver, WholeTexts { splits }))
    }

    /// The bytes of files as a whole, each with its path; small ones are put together in a partition.
    ///
    /// # Errors
    /// `INPUT_NOT_READABLE` if there is no such file.
    pub fn binary_files(&self, path: &str) -> Result<Rdd<'s, WholeFiles>> {
        let splits = Arc::new(group(&self.driver.host().list_files(path)?, self.default_parallelism()));
        Ok(Rdd::new(&self.driver, WholeFiles { splits }))
    }

    /// The records of files that are nothing but records of `length` bytes.
    ///
    /// # Errors
    /// `INPUT_NOT_READABLE` if there is no such file or one is not whole records; `BAD_ARGUMENT` if `length`
    /// is 0.
    pub fn binary_records(&self, path: &str, length: u32) -> Result<Rdd<'s, FixedRecords>> {
        let splits = cut_records(&self.driver.host().list_files(path)?, length, self.slots())?;
        Ok(Rdd::new(&self.driver, FixedRecords { length, splits: Arc::new(splits) }))
    }

    /// The records that [`Rdd::save_as_object_file`] wrote, in the same partitions. The type of the records
    /// must be the one that was written.
    ///
    /// # Errors
    /// `INPUT_NOT_READABLE` if there is no such file. One that is damaged, or holds records of another type,
    /// fails the job so.
    pub fn object_file<T: Record<'s>>(&self, path: &str) -> Result<Rdd<'s, ObjectFiles<T>>> {
        let files = self.driver.host().list_files(path)?;
        let splits = Arc::new(files.into_iter().map(|file| file.path).collect());
        Ok(Rdd::new(&self.driver, ObjectFiles { splits, record: PhantomData }))
    }

    /// A dataset without records, of one partition.
    pub fn empty<T: Record<'s>>(&self) -> Rdd<'s, Parallelize<T>> {
        self.parallelize(Vec::new(), 1)
    }

    /// The partitions of several datasets, one after the other; those of no dataset are one without records.
    pub fn union<T: 's>(&self, datasets: &[ErasedRdd<'s, T>]) -> Rdd<'s, UnionAll<'s, T>> {
        let parts = datasets.iter().map(|dataset| dataset.op.clone()).collect();
        Rdd::new(&self.driver, UnionAll { parts })
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

    /// A line for the application's log.
    pub fn log(&self, text: &str) {
        self.driver.host().log(2, text);
    }

    /// An error of the job itself, for an entry point to return.
    pub fn error(message: impl Into<String>) -> Error {
        Error::new(ErrorCode::JobFailed, message)
    }
}
