//! Blocks on disk, in frames: written from sealed memory, read part by part, and back into memory.

use crate::frames::{FRAME_LEN, FrameFile};
use crate::memfd::{create_memfd, map_sealed, seal};
use firesteel_common::block::Frame;
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_net::DiskBlock;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// A block on disk.
#[derive(Debug)]
pub struct Spilled {
    file: FrameFile,
    /// Whether somebody has found it damaged.
    damaged: AtomicBool,
}

impl Spilled {
    /// Writes a sealed block of `bytes` bytes into a directory.
    ///
    /// # Errors
    /// `DISK_FULL` or `IO` if it cannot be written, `BLOCK_CORRUPT` if it is no sealed block of this length.
    pub fn write(dir: &Path, fd: &OwnedFd, bytes: u64) -> Result<Self> {
        let block = map_sealed(fd.as_fd(), bytes)?;
        let mut file = FrameFile::create(dir)?;
        block.as_ref().chunks(FRAME_LEN).try_for_each(|piece| file.append(piece))?;
        Ok(Self::from(file))
    }

    /// Bytes on disk.
    pub fn stored(&self) -> u64 {
        self.file.stored()
    }

    /// Whether it was found damaged when it was read.
    pub fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    /// Reads it to its end, to see whether it is damaged.
    pub fn check(&self) {
        let mut at = 0;
        while at < self.file.plain() {
            match self.read(at, u64::MAX) {
                Ok(piece) => at += piece.len() as u64,
                Err(error) => {
                    tracing::warn!(%error, "a spilled block");
                    return;
                }
            }
        }
    }

    /// The block in sealed memory again.
    ///
    /// # Errors
    /// `BLOCK_CORRUPT` if the file is damaged; `IO` or `OUT_OF_MEMORY` if it cannot be read.
    pub fn restore(&self) -> Result<OwnedFd> {
        let fd = create_memfd("firesteel-restored")?;
        let mut at = 0;
        while at < self.file.plain() {
            let piece = self.read(at, u64::MAX)?;
            let mut rest = &piece[..];
            while !rest.is_empty() {
                let written = rustix::io::pwrite(&fd, rest, at)
                    .map_err(|cause| Error::io("restoring a block", &cause.into()))?;
                at += written as u64;
                rest = &rest[written..];
            }
        }
        seal(&fd)?;
        Ok(fd)
    }
}

impl From<FrameFile> for Spilled {
    fn from(file: FrameFile) -> Self {
        Self { file, damaged: AtomicBool::new(false) }
    }
}

impl DiskBlock for Spilled {
    fn fd(&self) -> BorrowedFd<'_> {
        self.file.fd()
    }

    fn frames(&self) -> &[Frame] {
        self.file.frames()
    }

    fn read(&self, from: u64, max: u64) -> Result<Vec<u8>> {
        self.file.read(from, max).inspect_err(|error| {
            if error.code == ErrorCode::BlockCorrupt {
                self.damaged.store(true, Ordering::Release);
            }
        })
    }
}
