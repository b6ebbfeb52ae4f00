//! Blocks on disk: LZ4 frames with checksums in files without a name, so that nothing is left whatever
//! happens to the worker.

use crate::memfd::{create_memfd, map_sealed, seal};
use firesteel_common::error::{Error, ErrorCode, Result};
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// How much is unpacked at once.
const PIECE: usize = 256 * 1024;

/// A block on disk.
#[derive(Debug)]
pub struct Spilled {
    file: File,
    /// Bytes of the block before packing.
    bytes: u64,
    /// Bytes on disk.
    stored: u64,
}

/// A file on disk that nobody can find and that goes with its descriptor.
fn unnamed(dir: &Path) -> Result<File> {
    let doing = format!("making a file in the spill directory {}", dir.display());
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR) {
        Ok(fd) => Ok(fd.into()),
        Err(cause) => Err(Error::io(doing, &cause.into())),
    }
}

impl Spilled {
    /// Writes a sealed block of `bytes` bytes into a directory.
    ///
    /// # Errors
    /// `DISK_FULL` or `IO` if it cannot be written, `BLOCK_CORRUPT` if it is no sealed block of this length.
    pub fn write(dir: &Path, fd: &OwnedFd, bytes: u64) -> Result<Self> {
        let failed = |cause| Error::io("spilling a block", &cause);
        let block = map_sealed(fd.as_fd(), bytes)?;
        let file = unnamed(dir)?;
        let info = FrameInfo::new()
            .block_mode(BlockMode::Independent)
            .block_size(BlockSize::Max256KB)
            .block_checksums(true)
            .content_checksum(true);
        let mut encoder = FrameEncoder::with_frame_info(info, BufWriter::with_capacity(PIECE, file));
        encoder.write_all(block.as_ref()).map_err(failed)?;
        let writer = encoder.finish().map_err(|cause| failed(std::io::Error::other(cause)))?;
        let mut file = writer.into_inner().map_err(|cause| failed(cause.into_error()))?;
        let stored = file.stream_position().map_err(failed)?;
        Ok(Self { file, bytes, stored })
    }

    /// Bytes on disk.
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// The block in sealed memory again.
    ///
    /// # Errors
    /// `BLOCK_CORRUPT` if the file is damaged; `IO` or `OUT_OF_MEMORY` if it cannot be read.
    pub fn read(&self) -> Result<OwnedFd> {
        let failed = |cause| Error::io("reading a spilled block", &cause);
        let corrupt = |what: &dyn std::fmt::Display| {
            Error::new(ErrorCode::BlockCorrupt, format!("a spilled block {what}"))
        };
        let mut file = self.file.try_clone().map_err(failed)?;
        // The position is shared by all descriptors of the file: whoever reads, reads alone (see the store).
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut decoder = FrameDecoder::new(BufReader::with_capacity(PIECE, file));
        let fd = create_memfd("firesteel-restored")?;
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        loop {
            let read =
                decoder.read(&mut piece).map_err(|cause| corrupt(&format_args!("is damaged: {cause}")))?;
            if read == 0 {
                break;
            }
            if at + read as u64 > self.bytes {
                return Err(corrupt(&"is longer than it was"));
            }
            let mut rest = &piece[..read];
            while !rest.is_empty() {
                let written = rustix::io::pwrite(&fd, rest, at)
                    .map_err(|cause| Error::io("restoring a block", &cause.into()))?;
                at += written as u64;
                rest = &rest[written..];
            }
        }
        if at != self.bytes {
            return Err(corrupt(&format_args!("has {at} bytes, not the {} it had", self.bytes)));
        }
        seal(&fd)?;
        Ok(fd)
    }

    /// The file, to be damaged by tests.
    #[cfg(test)]
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}
