//! Files on disk that are written as frames: each packed with LZ4 if that pays, each with a checksum, so that
//! any part can be read without the rest. The files have no name, so that nothing is left whatever happens to
//! the process; the index is with whoever holds the file. What is in the frames is not known here.

use firesteel_common::block::Frame;
use firesteel_common::error::{Error, ErrorCode, Result};
use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::cell::RefCell;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of a frame, before packing, where the writer has no wish of its own.
pub const FRAME_LEN: usize = 64 * 1024;
/// The longest frame that is accepted from another process.
const FRAME_LEN_MAX: u64 = 1024 * 1024;
/// A thread keeps a buffer for packed bytes up to this size.
const KEPT_LEN: usize = 512 * 1024;

thread_local! {
    /// Packed bytes on their way.
    static PACKED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A file of frames.
#[derive(Debug)]
pub struct FrameFile {
    file: File,
    frames: Vec<Frame>,
}

/// A file on disk that nobody can find and that goes with its descriptor.
pub(crate) fn unnamed(dir: &Path) -> Result<File> {
    let failed = |cause: Errno| {
        Error::io(format!("making a file in the spill directory {}", dir.display()), &cause.into())
    };
    let mode = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(dir, flags | OFlags::TMPFILE, mode) {
        Ok(fd) => Ok(fd.into()),
        // A file system that has no such files: one with a name, which is taken away at once.
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
            static NUMBER: AtomicU64 = AtomicU64::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = dir.join(format!(".spill-{}-{number}", std::process::id()));
            let fd = rustix::fs::open(&path, flags | OFlags::CREATE | OFlags::EXCL, mode).map_err(failed)?;
            rustix::fs::unlinkat(rustix::fs::CWD, &path, AtFlags::empty()).map_err(failed)?;
            Ok(fd.into())
        }
        Err(cause) => Err(failed(cause)),
    }
}

fn corrupt(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorCode::BlockCorrupt, format!("something that was spilled {what}"))
}

impl FrameFile {
    /// An empty file in a directory.
    ///
    /// # Errors
    /// `IO` or `DISK_FULL` if there is none to be had.
    pub fn create(dir: &Path) -> Result<Self> {
        Ok(Self { file: unnamed(dir)?, frames: Vec::new() })
    }

    /// A file that another process has written, with its index.
    ///
    /// # Errors
    /// `BLOCK_CORRUPT` if it is no plain file, or the index is not one of such a file.
    pub fn adopt(fd: OwnedFd, frames: Vec<Frame>) -> Result<Self> {
        let stat =
            rustix::fs::fstat(&fd).map_err(|cause| Error::io("looking at a spilled block", &cause.into()))?;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(corrupt("is no file"));
        }
        let mut before = Frame { plain_end: 0, stored_end: 0, checksum: 0 };
        for frame in &frames {
            let plain = frame.plain_end.checked_sub(before.plain_end);
            let stored = frame.stored_end.checked_sub(before.stored_end);
            let fits = plain.zip(stored).is_some_and(|(plain, stored)| {
                plain > 0 && plain <= FRAME_LEN_MAX && stored > 0 && stored <= plain
            });
            if !fits {
                return Err(corrupt("has an index that cannot be right"));
            }
            before = *frame;
        }
        if u64::try_from(stat.st_size).ok() != Some(before.stored_end) {
            return Err(corrupt("has another length than its index says"));
        }
        Ok(Self { file: fd.into(), frames })
    }

    /// Appends bytes as one frame; nothing, if there are none.
    ///
    /// # Errors
    /// `DISK_FULL` or `IO` if they cannot be written; the file is then as it was.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let at = self.stored();
        let frame = with_packed(|packed| {
            packed.resize(get_maximum_output_size(bytes.len()), 0);
            let packed = match compress_into(bytes, packed) {
                // An eighth less is worth the unpacking.
                Ok(len) if len < bytes.len() - bytes.len() / 8 => &packed[..len],
                _ => bytes,
            };
            self.file.write_all_at(packed, at).map_err(|cause| Error::io("spilling to disk", &cause))?;
            let (plain_end, stored_end) = (self.plain() + bytes.len() as u64, at + packed.len() as u64);
            Ok(Frame { plain_end, stored_end, checksum: xxh3_64(packed) })
        })?;
        self.frames.push(frame);
        Ok(())
    }

    /// Appends bytes as a frame that is not packed, so that it can be written again; gives its number.
    ///
    /// # Errors
    /// As [`FrameFile::append`].
    pub fn append_fixed(&mut self, bytes: &[u8]) -> Result<usize> {
        let at = self.stored();
        self.file.write_all_at(bytes, at).map_err(|cause| Error::io("spilling to disk", &cause))?;
        let (plain_end, stored_end) = (self.plain() + bytes.len() as u64, at + bytes.len() as u64);
        self.frames.push(Frame { plain_end, stored_end, checksum: xxh3_64(bytes) });
        Ok(self.frames.len() - 1)
    }

    /// Writes other bytes, as many, into a frame that is not packed.
    ///
    /// # Errors
    /// `INTERNAL` if it is no such frame; `DISK_FULL` or `IO`.
    pub fn rewrite(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        let before = index.checked_sub(1).and_then(|index| self.frames.get(index)).copied();
        let (plain, stored) = before.map_or((0, 0), |frame| (frame.plain_end, frame.stored_end));
        let len = bytes.len() as u64;
        match self.frames.get_mut(index) {
            Some(frame) if frame.plain_end - plain == len && frame.stored_end - stored == len => {
                self.file
                    .write_all_at(bytes, stored)
                    .map_err(|cause| Error::io("spilling to disk", &cause))?;
                frame.checksum = xxh3_64(bytes);
                Ok(())
            }
            _ => Err(Error::new(ErrorCode::Internal, "a frame cannot be written again with another length")),
        }
    }

    /// Bytes that were written, before packing.
    pub fn plain(&self) -> u64 {
        self.frames.last().map_or(0, |frame| frame.plain_end)
    }

    /// Bytes on disk.
    pub fn stored(&self) -> u64 {
        self.frames.last().map_or(0, |frame| frame.stored_end)
    }

    /// The index.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The descriptor, to be handed to another process together with the index.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Bytes from an offset (before packing) on: at most `max`, and at most to the end of the frame in which
    /// the offset lies. None at the end of the file and beyond.
    ///
    /// # Errors
    /// `BLOCK_CORRUPT` if the frame is damaged, `IO` if it cannot be read.
    pub fn read(&self, from: u64, max: u64) -> Result<Vec<u8>> {
        let index = self.frames.partition_point(|frame| frame.plain_end <= from);
        let Some(frame) = self.frames.get(index) else { return Ok(Vec::new()) };
        let before = index.checked_sub(1).and_then(|index| self.frames.get(index));
        let (plain_start, stored_start) = before.map_or((0, 0), |frame| (frame.plain_end, frame.stored_end));
        let mut plain = self.unpack(index, frame, plain_start, stored_start)?;
        let skipped = (from - plain_start) as usize;
        if skipped > 0 {
            plain.drain(..skipped);
        }
        plain.truncate(usize::try_from(max).unwrap_or(usize::MAX));
        Ok(plain)
    }

    fn unpack(&self, index: usize, frame: &Frame, plain_start: u64, stored_start: u64) -> Result<Vec<u8>> {
        let plain_len = (frame.plain_end - plain_start) as usize;
        let stored_len = (frame.stored_end - stored_start) as usize;
        let damaged =
            |what: &dyn std::fmt::Display| corrupt(format_args!("is damaged in frame {index}: {what}"));
        let load = |bytes: &mut Vec<u8>| {
            bytes.resize(stored_len, 0);
            self.file.read_exact_at(bytes, stored_start).map_err(|cause| match cause.kind() {
                std::io::ErrorKind::UnexpectedEof => damaged(&"the file is too short"),
                _ => Error::io("reading what was spilled", &cause),
            })?;
            let right = xxh3_64(bytes) == frame.checksum;
            if right { Ok(()) } else { Err(damaged(&"its checksum is another")) }
        };
        let mut plain = Vec::new();
        if stored_len == plain_len {
            load(&mut plain)?;
            return Ok(plain);
        }
        plain.resize(plain_len, 0);
        with_packed(|packed| {
            load(packed)?;
            let unpacked = decompress_into(packed, &mut plain).map_err(|cause| damaged(&cause))?;
            if unpacked == plain_len { Ok(()) } else { Err(damaged(&"it unpacks to another length")) }
        })?;
        Ok(plain)
    }

    /// Fills a buffer with the bytes from an offset (before packing) on.
    ///
    /// # Errors
    /// As [`FrameFile::read`]; `BLOCK_CORRUPT` if there are not so many.
    pub fn read_exact(&self, mut from: u64, mut buffer: &mut [u8]) -> Result<()> {
        while !buffer.is_empty() {
            let piece = self.read(from, buffer.len() as u64)?;
            if piece.is_empty() {
                return Err(corrupt("is shorter than its index says"));
            }
            let (filled, rest) = buffer.split_at_mut(piece.len());
            filled.copy_from_slice(&piece);
            from += piece.len() as u64;
            buffer = rest;
        }
        Ok(())
    }
}

fn with_packed<T>(run: impl FnOnce(&mut Vec<u8>) -> Result<T>) -> Result<T> {
    PACKED.with_borrow_mut(|packed| {
        let done = run(packed);
        if packed.capacity() > KEPT_LEN {
            *packed = Vec::new();
        }
        done
    })
}
