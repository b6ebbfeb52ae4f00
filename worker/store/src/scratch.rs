//! Bytes that are too many for memory: written once into a file on disk that has no name, then mapped for
//! reading, so that the system may drop them from memory and read them again. What they are is not known
//! here.
#![expect(unsafe_code, reason = "a file that nobody else can reach is mapped; see ARCHITECTURE.md")]

use crate::frames::unnamed;
use firesteel_common::error::{Error, ErrorCode, Result};
use memmap2::Mmap;
use rustix::fs::FallocateFlags;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// A file that is being filled.
#[derive(Debug)]
pub struct Scratch {
    file: File,
    len: u64,
    written: u64,
}

/// The bytes of a file that is full. The disk has room again when it is dropped.
#[derive(Debug)]
pub struct OnDisk(Mmap);

impl AsRef<[u8]> for OnDisk {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Scratch {
    /// A file in a directory, which has room for `len` bytes from now on.
    ///
    /// # Errors
    /// `DISK_FULL` or `IO` if there is none to be had.
    pub fn create(dir: &Path, len: u64) -> Result<Self> {
        let file = unnamed(dir)?;
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, len)
            .map_err(|cause| Error::io("making room on disk for a large segment", &cause.into()))?;
        Ok(Self { file, len, written: 0 })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// `INTERNAL` if they are more than was said; `IO`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.written + bytes.len() as u64;
        if written > self.len {
            return Err(Error::new(ErrorCode::Internal, "more bytes than there was made room for"));
        }
        self.file.write_all(bytes).map_err(|cause| Error::io("writing a large segment to disk", &cause))?;
        self.written = written;
        Ok(())
    }

    /// Maps it.
    ///
    /// # Errors
    /// `INTERNAL` if it is not full; `OUT_OF_MEMORY` or `IO` if the system does not map it.
    pub fn map(self) -> Result<OnDisk> {
        if self.written != self.len {
            return Err(Error::new(ErrorCode::Internal, "fewer bytes than there was made room for"));
        }
        // SAFETY: nobody changes or shortens the file while it is mapped. It has no name, so its descriptor
        // is the only way to it; that one was made here, was never lent or sent, and is closed when this
        // returns. A disk that fails ends this process by a signal; it never shows other bytes.
        let map = unsafe { Mmap::map(&self.file) };
        map.map(OnDisk).map_err(|cause| Error::io("mapping a large segment", &cause))
    }
}
