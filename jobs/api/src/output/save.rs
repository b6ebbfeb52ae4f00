//! The outputs that write files: text, and records as they are.

use crate::files::OutputFile;
use crate::operator::{ENOUGH, MORE, Operator, sealed};
use crate::output::Output;
use crate::record::{Record, put_varint, type_tag};
use crate::task::{Produced, Task};
use firesteel_common::Result;
use firesteel_common::block::{Encoding, SegmentHeader, padding};
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::io::Write;

sealed! { SaveText, SaveObjects }

/// How many bytes are gathered before they are written.
const BUFFER: usize = 256 * 1024;

/// One line for each record, into the file of the partition. Its value is the attempt that wrote it, so that
/// the driver can make exactly that one visible.
#[derive(Clone, Serialize, Deserialize)]
pub struct SaveText {
    /// The output directory.
    pub dir: String,
    /// How the files are packed.
    pub codec: Codec,
}

/// How files of text are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Codec {
    /// Not at all.
    #[default]
    Plain,
    /// As gzip does: files whose names end in `.gz`, which must be read whole.
    Gzip,
}

impl Codec {
    /// What the names of the files end in.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Gzip => ".gz",
        }
    }
}

/// The name of the file of a partition.
pub fn part_name(partition: u32) -> String {
    format!("part-{partition:05}")
}

impl<'s, T: Display + 's> Output<'s, T> for SaveText {
    fn run<Op>(&self, task: &Task<'s>, op: &Op, split: &Op::Split) -> Result<Produced>
    where
        Op: Operator<'s, Item = T>,
    {
        // Who makes the file packs it, as its name says.
        let name = part_name(task.partition()) + self.codec.suffix();
        let mut file = task.host().create_output(&self.dir, &name)?;
        let mut bytes: Vec<u8> = Vec::with_capacity(BUFFER + 4096);
        let mut failure = None;
        let mut written = 0;
        let _ = op.run(task, split, &mut |record: T| {
            // Writing to a vector cannot fail.
            let _ = writeln!(bytes, "{record}");
            if bytes.len() >= BUFFER {
                written += bytes.len() as u64;
                if let Err(error) = file.write(&bytes) {
                    failure = Some(error);
                    return ENOUGH;
                }
                bytes.clear();
            }
            MORE
        })?;
        if let Some(error) = failure {
            return Err(error);
        }
        written += bytes.len() as u64;
        file.write(&bytes)?;
        file.finish()?;
        task.add_metrics(|metrics| metrics.output_bytes += written);
        let mut value = Vec::new();
        put_varint(&mut value, u64::from(task.io().description().task.attempt));
        Ok(Produced::Value(value))
    }
}

/// Records in segments, each with a checksum, into the file of the partition. Its value is the attempt.
#[derive(Clone, Serialize, Deserialize)]
pub struct SaveObjects {
    /// The output directory.
    pub dir: String,
}

/// Writes segments into a file.
struct SegmentFile {
    file: Box<dyn OutputFile>,
    type_tag: u64,
    payload: Vec<u8>,
    records: u64,
    written: u64,
}

impl SegmentFile {
    fn flush(&mut self) -> Result<()> {
        let len = self.payload.len() as u64;
        let header = SegmentHeader::seal(Encoding::Plain, self.type_tag, len, self.records, &self.payload);
        self.file.write(&header.encode())?;
        self.payload.resize(self.payload.len() + padding(self.payload.len()), 0);
        self.file.write(&self.payload)?;
        self.written += header.segment_len();
        self.payload.clear();
        self.records = 0;
        Ok(())
    }
}

impl<'s, T: Record<'s>> Output<'s, T> for SaveObjects {
    fn run<Op>(&self, task: &Task<'s>, op: &Op, split: &Op::Split) -> Result<Produced>
    where
        Op: Operator<'s, Item = T>,
    {
        let file = task.host().create_output(&self.dir, &part_name(task.partition()))?;
        let payload = Vec::with_capacity(BUFFER + 4096);
        let mut out = SegmentFile { file, type_tag: type_tag::<T>(), payload, records: 0, written: 0 };
        let mut failure = None;
        let _ = op.run(task, split, &mut |record: T| {
            record.encode(&mut out.payload);
            out.records += 1;
            if out.payload.len() >= BUFFER
                && let Err(error) = out.flush()
            {
                failure = Some(error);
                return ENOUGH;
            }
            MORE
        })?;
        if let Some(error) = failure {
            return Err(error);
        }
        if out.records > 0 {
            out.flush()?;
        }
        // A segment without records is the end, so that a file that is cut there is noticed.
        out.flush()?;
        out.file.finish()?;
        task.add_metrics(|metrics| metrics.output_bytes += out.written);
        let mut value = Vec::new();
        put_varint(&mut value, u64::from(task.io().description().task.attempt));
        Ok(Produced::Value(value))
    }
}
