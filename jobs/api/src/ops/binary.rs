//! Files that are not lines of text: whole files, records of one length, and files of records as
//! `save_as_object_file` writes them.

use crate::files::FileInfo;
use crate::operator::{ENOUGH, Excerpt, Flow, MORE, Operator, places, sealed};
use crate::ops::text::SPLIT_BYTES;
use crate::plan::{Needs, Parents, check_partitions};
use crate::record::{Reader, Record, type_tag};
use crate::task::Task;
use firesteel_common::block::{HEADER_LEN, SegmentHeader};
use firesteel_common::{Error, ErrorCode, Result};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;
use std::sync::Arc;

sealed! { WholeFiles, WholeTexts, FixedRecords, ObjectFiles<T> }

/// What sources of files answer to their driver.
macro_rules! source_of_files {
    ($split:ty) => {
        type Split = $split;

        fn splits(&self) -> Result<Vec<Self::Split>> {
            check_partitions(self.splits.len() as u64)?;
            Ok(self.splits.to_vec())
        }

        fn describe(&self, _split: &Self::Split, _needs: &mut Needs) -> Result<()> {
            Ok(())
        }

        fn parents(&self, _parents: &mut Parents<'s>) {}
    };
}

/// Puts whole files together in at most `partitions` groups of about the same size, in their order.
pub fn group(files: &[FileInfo], partitions: u32) -> Vec<Vec<String>> {
    // An empty file costs something too.
    let weight = |file: &FileInfo| file.bytes.saturating_add(4096);
    let total: u64 = files.iter().map(weight).sum();
    let goal = total.div_ceil(u64::from(partitions.max(1))).max(1);
    let mut groups: Vec<Vec<String>> = Vec::new();
    let mut sum = 0_u64;
    for file in files {
        let number = (sum / goal) as usize;
        sum += weight(file);
        if groups.len() <= number {
            groups.push(Vec::new());
        }
        if let Some(group) = groups.last_mut() {
            group.push(file.path.clone());
        }
    }
    if groups.is_empty() {
        groups.push(Vec::new());
    }
    groups
}

/// Files as a whole: their paths and bytes. See [`crate::Context::binary_files`].
#[derive(Clone, Serialize, Deserialize)]
pub struct WholeFiles {
    /// Driver only: the files of each partition.
    #[serde(skip)]
    pub splits: Arc<Vec<Vec<String>>>,
}

/// The bytes of a file.
fn read_whole<'s>(task: &Task<'s>, path: &str) -> Result<&'s [u8]> {
    task.check_cancelled()?;
    let bytes = task.hold(task.host().open_file(path)?.read(0, u64::MAX)?);
    task.add_metrics(|metrics| {
        metrics.input_bytes += bytes.len() as u64;
        metrics.input_records += 1;
    });
    Ok(bytes)
}

impl<'s> Operator<'s> for WholeFiles {
    type Item = (String, &'s [u8]);
    source_of_files!(Vec<String>);

    fn run<S>(&self, task: &Task<'s>, split: &Vec<String>, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(Self::Item) -> Flow,
    {
        for path in split {
            if sink((path.clone(), read_whole(task, path)?)).is_break() {
                return Ok(ENOUGH);
            }
        }
        Ok(MORE)
    }
}

/// Text files as a whole: their paths and texts. See [`crate::Context::whole_text_files`].
#[derive(Clone, Serialize, Deserialize)]
pub struct WholeTexts {
    /// Driver only: the files of each partition.
    #[serde(skip)]
    pub splits: Arc<Vec<Vec<String>>>,
}

impl<'s> Operator<'s> for WholeTexts {
    type Item = (String, &'s str);
    source_of_files!(Vec<String>);

    fn run<S>(&self, task: &Task<'s>, split: &Vec<String>, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(Self::Item) -> Flow,
    {
        for path in split {
            let text = std::str::from_utf8(read_whole(task, path)?).map_err(|cause| {
                let at = cause.valid_up_to();
                Error::new(ErrorCode::InputNotReadable, format!("{path}: byte {at} is not UTF-8"))
                    .with_help("convert the file to UTF-8, or read it with binary_files")
            })?;
            if sink((path.clone(), text)).is_break() {
                return Ok(ENOUGH);
            }
        }
        Ok(MORE)
    }
}

/// Files that are records of one length, one after the other. See [`crate::Context::binary_records`].
#[derive(Clone, Serialize, Deserialize)]
pub struct FixedRecords {
    /// Bytes of a record.
    pub length: u32,
    /// Driver only: parts of files.
    #[serde(skip)]
    pub splits: Arc<Vec<(String, u64, u64)>>,
}

/// Cuts files into parts of whole records.
///
/// # Errors
/// `BAD_ARGUMENT` if records have no length, `INPUT_NOT_READABLE` if a file is not whole records.
pub fn cut_records(files: &[FileInfo], length: u32, at_least: u32) -> Result<Vec<(String, u64, u64)>> {
    if length == 0 {
        return Err(Error::new(ErrorCode::BadArgument, "records of 0 bytes cannot be read"));
    }
    let length = u64::from(length);
    let total: u64 = files.iter().map(|file| file.bytes).sum();
    let goal = total.div_ceil(u64::from(at_least.max(1))).clamp(1, SPLIT_BYTES);
    let goal = goal.div_ceil(length) * length;
    let mut splits = Vec::new();
    for file in files {
        if !file.splittable || !file.bytes.is_multiple_of(length) {
            let what = if file.splittable { format!("has {} bytes", file.bytes) } else { "is packed".into() };
            let message = format!("{}: {what}, and is to be read in records of {length} bytes", file.path);
            return Err(Error::new(ErrorCode::InputNotReadable, message)
                .with_help("give the length of the records of this file, or leave it out"));
        }
        check_partitions(splits.len() as u64 + file.bytes.div_ceil(goal))?;
        let starts = (0..file.bytes.div_ceil(goal)).map(|part| part * goal);
        splits.extend(starts.map(|start| (file.path.clone(), start, (start + goal).min(file.bytes))));
    }
    if splits.is_empty()
        && let Some(file) = files.first()
    {
        splits.push((file.path.clone(), 0, 0));
    }
    Ok(splits)
}

impl<'s> Operator<'s> for FixedRecords {
    type Item = &'s [u8];
    source_of_files!((String, u64, u64));

    fn excerpt(&self, (path, start, end): &Self::Split) -> Option<Excerpt<Self::Split>> {
        let (places, share) = places(*start, *end, u64::from(self.length))?;
        let place = |(start, end)| (path.clone(), start, end);
        Some(Excerpt { places: places.into_iter().map(place).collect(), share })
    }

    fn run<S>(&self, task: &Task<'s>, split: &Self::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(&'s [u8]) -> Flow,
    {
        let (path, start, end) = split;
        let bytes = task.hold(task.host().open_file(path)?.read(*start, end - start)?);
        let mut records = bytes.chunks_exact(self.length as usize);
        if bytes.len() as u64 != end - start {
            let message = format!("{path}: it was {end} bytes long, and is shorter now");
            return Err(Error::new(ErrorCode::InputNotReadable, message));
        }
        task.add_metrics(|metrics| {
            metrics.input_bytes += bytes.len() as u64;
            metrics.input_records += records.len() as u64;
        });
        Ok(records.try_for_each(sink))
    }
}

/// Files of segments of encoded records. See [`crate::Context::object_file`].
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct ObjectFiles<T> {
    /// Driver only: the files.
    #[serde(skip)]
    pub splits: Arc<Vec<String>>,
    /// The type of the records.
    pub record: PhantomData<fn() -> T>,
}

impl<T> Clone for ObjectFiles<T> {
    fn clone(&self) -> Self {
        Self { splits: self.splits.clone(), record: PhantomData }
    }
}

impl<'s, T: Record<'s>> Operator<'s> for ObjectFiles<T> {
    type Item = T;
    source_of_files!(String);

    fn run<S: FnMut(T) -> Flow>(&self, task: &Task<'s>, path: &String, sink: &mut S) -> Result<Flow> {
        let unreadable =
            |what: &dyn std::fmt::Display| Error::new(ErrorCode::InputNotReadable, format!("{path}: {what}"));
        let file = task.host().open_file(path)?;
        let mut at = 0;
        loop {
            task.check_cancelled()?;
            let head = file.read(at, HEADER_LEN as u64)?;
            let head = (*head).as_ref();
            if head.is_empty() {
                return Err(unreadable(&"it ends before its last record"));
            }
            let header = SegmentHeader::decode(head, u64::MAX).map_err(|cause| unreadable(&cause.message))?;
            let segment = task.hold(file.read(at, header.segment_len())?);
            let (header, payload) =
                SegmentHeader::open(segment).map_err(|cause| unreadable(&cause.message))?;
            if header.type_tag != type_tag::<T>() {
                let wanted = std::any::type_name::<T>();
                return Err(unreadable(&format_args!("its records are not of type {wanted}")));
            }
            at += segment.len() as u64;
            task.add_metrics(|metrics| {
                metrics.input_bytes += segment.len() as u64;
                metrics.input_records += header.records;
            });
            if header.records == 0 {
                return Ok(MORE);
            }
            let mut reader = Reader::new(payload);
            for _ in 0..header.records {
                if sink(T::decode(&mut reader)?).is_break() {
                    return Ok(ENOUGH);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(bytes: &[u64]) -> Vec<FileInfo> {
        let file = |(number, bytes): (usize, &u64)| FileInfo {
            path: number.to_string(),
            bytes: *bytes,
            splittable: true,
        };
        bytes.iter().enumerate().map(file).collect()
    }

    #[test]
    fn whole_files_are_grouped_in_order() {
        for (bytes, partitions, groups) in
            [(vec![], 3, 1), (vec![0; 9], 3, 3), (vec![9, 1 << 30, 9], 4, 2), (vec![5; 4], 100, 4)]
        {
            let grouped = group(&files(&bytes), partitions);
            assert_eq!(grouped.len(), groups, "{bytes:?}");
            let names: Vec<String> = grouped.into_iter().flatten().collect();
            assert_eq!(names, (0..bytes.len()).map(|number| number.to_string()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn parts_are_whole_records() {
        let parts = cut_records(&files(&[70, 0, 35]), 7, 4);
        let lengths: Result<Vec<u64>> =
            parts.map(|parts| parts.iter().map(|(_, start, end)| end - start).collect());
        assert!(
            lengths.is_ok_and(|all| all.iter().sum::<u64>() == 105 && all.iter().all(|len| len % 7 == 0))
        );
        assert!(cut_records(&files(&[71]), 7, 1).is_err_and(|error| error.message.contains("71 bytes")));
        assert!(cut_records(&files(&[7]), 0, 1).is_err());
        assert!(cut_records(&files(&[0]), 7, 3).is_ok_and(|parts| parts == [("0".to_owned(), 0, 0)]));
    }
}
