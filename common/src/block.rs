//! Blocks and segments: ids that parse back, and the 64-byte header that stands before every payload.
//!
//! A block is a stored partition, a map output, a large result. Its bytes are one or more *segments*; each is
//! a [`SegmentHeader`] and a payload padded with zeros to [`ALIGNMENT`]. A map output is a file of segments,
//! one for each reducer in order; an empty one takes no bytes at all. Nothing here does I/O.

#[cfg(test)]
pub(crate) mod tests;

use crate::error::{Error, ErrorCode};
use crate::id::{AppAttemptId, AppId, DatasetId, JobId, StageId, TaskId, plain_number};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use xxhash_rust::xxh3::Xxh3;

/// Every header and every payload begins at a multiple of this many bytes.
pub const ALIGNMENT: usize = 64;
/// Bytes of an encoded [`SegmentHeader`].
pub const HEADER_LEN: usize = 64;
/// The first bytes of every segment.
pub const MAGIC: [u8; 4] = *b"FSsg";
/// The version of the header that this build writes and reads.
pub const VERSION: u16 = 1;

/// Which thing of an application attempt a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum BlockKind {
    /// What one attempt at a map task wrote for all reducers.
    MapOutput {
        /// The shuffle map stage.
        stage: StageId,
        /// The map partition.
        partition: u32,
        /// The attempt that wrote it.
        attempt: u32,
    },
    /// A partition of a cached dataset.
    Cached {
        /// The dataset.
        dataset: DatasetId,
        /// Its partition.
        partition: u32,
    },
    /// The value of a result task that is too large for a message.
    Result {
        /// The result stage.
        stage: StageId,
        /// Its partition.
        partition: u32,
        /// The attempt that wrote it.
        attempt: u32,
    },
    /// A value that the driver gives to all tasks of a job.
    Broadcast {
        /// The job that it was made for.
        job: JobId,
        /// Counts within the job.
        index: u32,
    },
}

/// Where a cached partition may be. The words are Spark's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StorageLevel {
    /// In memory; when there is no room it is dropped, and made again when it is needed.
    #[default]
    MemoryOnly,
    /// In memory; when there is no room, on disk.
    MemoryAndDisk,
    /// On disk.
    DiskOnly,
    /// As [`StorageLevel::MemoryOnly`], on two workers.
    MemoryOnly2,
    /// As [`StorageLevel::MemoryAndDisk`], on two workers.
    MemoryAndDisk2,
    /// As [`StorageLevel::DiskOnly`], on two workers.
    DiskOnly2,
    /// As [`StorageLevel::DiskOnly`], on three workers.
    DiskOnly3,
}

impl StorageLevel {
    /// Every level, by its code.
    pub const ALL: [Self; 7] = [
        Self::MemoryOnly,
        Self::MemoryAndDisk,
        Self::DiskOnly,
        Self::MemoryOnly2,
        Self::MemoryAndDisk2,
        Self::DiskOnly2,
        Self::DiskOnly3,
    ];

    /// Whether it may lie in memory.
    pub fn uses_memory(self) -> bool {
        !matches!(self, Self::DiskOnly | Self::DiskOnly2 | Self::DiskOnly3)
    }

    /// Whether it may lie on disk.
    pub fn uses_disk(self) -> bool {
        !matches!(self, Self::MemoryOnly | Self::MemoryOnly2)
    }

    /// On how many workers it should lie.
    pub fn replicas(self) -> usize {
        match self {
            Self::MemoryOnly | Self::MemoryAndDisk | Self::DiskOnly => 1,
            Self::MemoryOnly2 | Self::MemoryAndDisk2 | Self::DiskOnly2 => 2,
            Self::DiskOnly3 => 3,
        }
    }

    /// The level as a number, for the plugin ABI.
    pub fn to_code(self) -> u32 {
        self as u32
    }

    /// The level of a number of the plugin ABI.
    ///
    /// # Errors
    /// `BAD_ARGUMENT` if there is none.
    pub fn from_code(code: u32) -> Result<Self, Error> {
        let known = Self::ALL.into_iter().find(|level| level.to_code() == code);
        known.ok_or_else(|| Error::new(ErrorCode::BadArgument, format!("{code} is not a storage level")))
    }
}

/// The name of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockId {
    /// Whose it is.
    pub app: AppAttemptId,
    /// What it is.
    pub kind: BlockKind,
}

impl BlockId {
    /// The attempt that wrote it, if it is a map output.
    pub fn map_task(&self) -> Option<TaskId> {
        match self.kind {
            BlockKind::MapOutput { stage, partition, attempt } => {
                Some(TaskId { app: self.app, stage, partition, attempt })
            }
            _ => None,
        }
    }
}

/// A cached partition that lies on a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBlock {
    /// Its name.
    pub block: BlockId,
    /// Where it may be.
    pub level: StorageLevel,
}

/// A block that a worker is to copy from another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockCopy {
    /// Its name: a map output or a cached partition.
    pub block: BlockId,
    /// What a map output must be.
    pub status: Option<MapStatus>,
    /// Where the copy may be.
    pub level: StorageLevel,
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}/", self.app.app.0, self.app.attempt)?;
        match self.kind {
            BlockKind::MapOutput { stage, partition, attempt } => {
                write!(f, "map/{}/{partition}/{attempt}", stage.0)
            }
            BlockKind::Cached { dataset, partition } => write!(f, "cached/{}/{partition}", dataset.0),
            BlockKind::Result { stage, partition, attempt } => {
                write!(f, "result/{}/{partition}/{attempt}", stage.0)
            }
            BlockKind::Broadcast { job, index } => write!(f, "broadcast/{}/{index}", job.0),
        }
    }
}

impl FromStr for BlockId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        parse_block_id(text)
            .ok_or_else(|| Error::new(ErrorCode::BadRequest, format!("'{text}' is not the name of a block")))
    }
}

fn parse_block_id(text: &str) -> Option<BlockId> {
    let mut parts = text.split('/');
    let (app, attempt) = parts.next()?.split_once('.')?;
    let app = AppAttemptId { app: AppId(plain_number(app)?), attempt: plain_number(attempt)? };
    let kind = parts.next()?;
    let mut number = || parts.next().and_then(plain_number::<u32>);
    let kind = match kind {
        "map" => BlockKind::MapOutput { stage: StageId(number()?), partition: number()?, attempt: number()? },
        "cached" => BlockKind::Cached { dataset: DatasetId(number()?), partition: number()? },
        "result" => BlockKind::Result { stage: StageId(number()?), partition: number()?, attempt: number()? },
        "broadcast" => BlockKind::Broadcast { job: JobId(number()?), index: number()? },
        _ => return None,
    };
    parts.next().is_none().then_some(BlockId { app, kind })
}

/// How the payload of a segment is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// As it is.
    Plain,
    /// As an LZ4 frame.
    Lz4,
}

/// What stands before a payload: enough to find its end, to trust it, and to know what its records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// How the payload is stored.
    pub encoding: Encoding,
    /// Names the type of the records, so that a reader of another type refuses it. Chosen by the engine.
    pub type_tag: u64,
    /// Bytes of the payload before encoding.
    pub raw_len: u64,
    /// Bytes of the payload as stored, without padding.
    pub stored_len: u64,
    /// How many records it holds.
    pub records: u64,
    /// XXH3-64 over the header (with this field as zero), the stored payload, and its padding.
    pub checksum: u64,
}

/// A header whose payload comes in parts.
pub struct Sealing {
    header: SegmentHeader,
    hasher: Xxh3,
    left: u64,
}

impl Sealing {
    /// Takes a part into the checksum.
    ///
    /// # Errors
    /// `INTERNAL` if the payload becomes longer than was said.
    pub fn add(&mut self, part: &[u8]) -> Result<(), Error> {
        let Some(left) = self.left.checked_sub(part.len() as u64) else {
            return Err(Error::new(ErrorCode::Internal, "a segment is longer than was said of it"));
        };
        self.left = left;
        self.hasher.update(part);
        Ok(())
    }

    /// How many bytes are missing.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The header of all parts.
    pub fn finish(mut self) -> SegmentHeader {
        self.hasher.update(&[0; ALIGNMENT][..padding(self.header.stored_len as usize)]);
        SegmentHeader { checksum: self.hasher.digest(), ..self.header }
    }
}

impl SegmentHeader {
    /// Makes the header of a payload, checksum included.
    pub fn seal(encoding: Encoding, type_tag: u64, raw_len: u64, records: u64, stored: &[u8]) -> Self {
        let stored_len = stored.len() as u64;
        let mut header = Self { encoding, type_tag, raw_len, stored_len, records, checksum: 0 };
        header.checksum = header.checksum_of(stored, &[0; ALIGNMENT][..padding(stored.len())]);
        header
    }

    fn checksum_of(&self, stored: &[u8], padding: &[u8]) -> u64 {
        let mut hasher = Xxh3::new();
        hasher.update(&Self { checksum: 0, ..*self }.encode());
        hasher.update(stored);
        hasher.update(padding);
        hasher.digest()
    }

    /// Begins the header of a payload that is stored as it is and comes in parts.
    pub fn seal_parts(type_tag: u64, records: u64, len: u64) -> Sealing {
        let encoding = Encoding::Plain;
        let header = Self { encoding, type_tag, raw_len: len, stored_len: len, records, checksum: 0 };
        let mut hasher = Xxh3::new();
        hasher.update(&header.encode());
        Sealing { header, hasher, left: len }
    }

    /// Bytes of the whole segment: header, payload, padding.
    pub fn segment_len(&self) -> u64 {
        HEADER_LEN as u64 + self.stored_len + padding(self.stored_len as usize) as u64
    }

    /// The header as bytes, little-endian.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
        bytes[6] = self.encoding as u8;
        bytes[8..16].copy_from_slice(&self.type_tag.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.raw_len.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.stored_len.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.records.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    /// Reads a header without its payload.
    ///
    /// # Errors
    /// `BLOCK_CORRUPT` if the bytes are too short, are not a header, or claim a payload longer than
    /// `available` bytes after the header.
    pub fn decode(bytes: &[u8], available: u64) -> Result<Self, Error> {
        let corrupt = |what: &str| Error::new(ErrorCode::BlockCorrupt, format!("a segment header {what}"));
        let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(corrupt("is cut short"));
        };
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&header[at..at + 8]);
            u64::from_le_bytes(word)
        };
        if header[0..4] != MAGIC {
            return Err(corrupt("does not begin with its magic bytes"));
        }
        if header[4..6] != VERSION.to_le_bytes() {
            return Err(corrupt("has a version that this build does not read"));
        }
        if header[7] != 0 || header[48..].iter().any(|byte| *byte != 0) {
            return Err(corrupt("has reserved bytes that are not zero"));
        }
        let encoding = match header[6] {
            0 => Encoding::Plain,
            1 => Encoding::Lz4,
            _ => return Err(corrupt("names an encoding that does not exist")),
        };
        let decoded = Self {
            encoding,
            type_tag: word(8),
            raw_len: word(16),
            stored_len: word(24),
            records: word(32),
            checksum: word(40),
        };
        let longest = available.saturating_sub(HEADER_LEN as u64);
        if decoded.stored_len > longest || decoded.segment_len() > available {
            return Err(corrupt("claims more bytes than there are"));
        }
        if encoding == Encoding::Plain && decoded.raw_len != decoded.stored_len {
            return Err(corrupt("has two lengths for a plain payload"));
        }
        Ok(decoded)
    }

    /// Reads a whole segment (header, payload, padding) and checks it.
    ///
    /// # Errors
    /// `BLOCK_CORRUPT` if it is not exactly one intact segment.
    pub fn open(segment: &[u8]) -> Result<(Self, &[u8]), Error> {
        let header = Self::decode(segment, segment.len() as u64)?;
        let corrupt = |what: &str| Error::new(ErrorCode::BlockCorrupt, format!("a segment {what}"));
        if header.segment_len() != segment.len() as u64 {
            return Err(corrupt("has another length than its header says"));
        }
        let (stored, padding) = segment[HEADER_LEN..].split_at(header.stored_len as usize);
        if header.checksum_of(stored, padding) != header.checksum {
            return Err(corrupt("does not match its checksum"));
        }
        Ok((header, stored))
    }
}

/// How many zero bytes follow a payload of `len` bytes.
pub fn padding(len: usize) -> usize {
    len.wrapping_neg() % ALIGNMENT
}

/// What is known of one reducer's segment in a map output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentStat {
    /// Bytes of the whole segment (header and padding included); 0 if it is empty.
    pub bytes: u64,
    /// Records in it.
    pub rows: u64,
    /// The checksum of its header; 0 if it is empty.
    pub checksum: u64,
}

/// What a map task reports of its output: the index of the file. The segments stand one after the other in
/// the order of the reducers, so offsets are sums.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapStatus {
    /// One for each reducer.
    pub segments: Vec<SegmentStat>,
    /// What the front end wants to know about it (ranges of keys, say); opaque to the runtime.
    pub statistics: crate::bytes::Payload,
}

impl MapStatus {
    /// Where the segments of `reducers` lie in the file: offset and length in bytes.
    pub fn span(&self, reducers: std::ops::Range<u32>) -> (u64, u64) {
        let end = (reducers.end as usize).min(self.segments.len());
        let start = (reducers.start as usize).min(end);
        (sum_bytes(&self.segments[..start]), sum_bytes(&self.segments[start..end]))
    }

    /// Bytes of the whole output.
    pub fn bytes(&self) -> u64 {
        sum_bytes(&self.segments)
    }

    /// Whether a second run of the task has written the same (statistics aside).
    pub fn same_output(&self, other: &MapStatus) -> bool {
        self.segments == other.segments
    }
}

/// A piece of something on disk: packed by itself, so that it can be read by itself. A list of them, in their
/// order, is the index of a file; each one begins where its predecessor ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Where its bytes end in what was written, before packing.
    pub plain_end: u64,
    /// Where it ends in the file. A frame that takes as many bytes there as before packing is not packed.
    pub stored_end: u64,
    /// XXH3 of its bytes in the file.
    pub checksum: u64,
}

/// Saturates: the numbers come from a process that runs user code.
fn sum_bytes(stats: &[SegmentStat]) -> u64 {
    stats.iter().fold(0, |sum: u64, stat| sum.saturating_add(stat.bytes))
}
