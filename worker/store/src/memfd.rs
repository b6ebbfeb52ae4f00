//! Memory files: made, sealed, mapped. All of it safe code: a mapping is only made of a file that is sealed,
//! which `memmap2` verifies by itself.

use firesteel_common::error::{Error, ErrorCode, Result};
use memmap2::{Mmap, MmapOptions};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What makes a file one whose bytes and length never change again.
const SEALS: SealFlags =
    SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::SEAL);

/// An empty memory file that can be sealed, closed in a new program. The name is for whoever looks at
/// `/proc/PID/fd`; it need not be unique.
///
/// # Errors
/// `OUT_OF_MEMORY` or `IO` if the system does not give one.
pub fn create_memfd(name: &str) -> Result<OwnedFd> {
    // The kernel takes names of up to 249 bytes.
    let short = &name[..name.floor_char_boundary(200)];
    rustix::fs::memfd_create(short, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(|cause| failed("making a memory file", cause))
}

/// Seals a file against writing, shrinking, growing and further seals. A file that has all these seals
/// already is accepted.
///
/// # Errors
/// `INTERNAL` if its filler still has it mapped for writing; `BLOCK_CORRUPT` if it is not a file that can be
/// sealed.
pub fn seal(fd: impl AsFd) -> Result<()> {
    match rustix::fs::fcntl_add_seals(&fd, SEALS) {
        Ok(()) => Ok(()),
        Err(Errno::BUSY) => Err(Error::new(
            ErrorCode::Internal,
            "sealing a block: it is still mapped for writing, so whoever filled it could change it",
        )
        .with_help("drop the mutable mapping before the descriptor is handed over")),
        Err(Errno::PERM) if is_sealed(&fd) => Ok(()),
        Err(Errno::INVAL | Errno::PERM) => Err(not_sealable()),
        Err(cause) => Err(failed("sealing a block", cause)),
    }
}

fn is_sealed(fd: impl AsFd) -> bool {
    rustix::fs::fcntl_get_seals(fd).is_ok_and(|seals| seals.contains(SEALS))
}

fn not_sealable() -> Error {
    Error::new(
        ErrorCode::BlockCorrupt,
        "sealing a block: its descriptor is not a memory file that can be sealed",
    )
}

/// The length of the file behind a descriptor, in bytes.
pub(crate) fn length(fd: impl AsFd) -> Result<u64> {
    let stat = rustix::fs::fstat(fd).map_err(|cause| failed("looking at a block", cause))?;
    u64::try_from(stat.st_size)
        .map_err(|_| Error::new(ErrorCode::BlockCorrupt, "a block has a negative length"))
}

/// The bytes of a sealed block, where they lie. Unmapped when it is dropped.
#[derive(Debug)]
pub struct Mapped(Option<Mmap>);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

/// Maps a sealed block of `bytes` bytes for reading.
///
/// # Errors
/// `BLOCK_CORRUPT` if it is not sealed or has another length; `OUT_OF_MEMORY` or `IO` if the system does not
/// map it.
pub fn map_sealed(fd: BorrowedFd<'_>, bytes: u64) -> Result<Mapped> {
    if !is_sealed(fd) {
        return Err(Error::new(ErrorCode::BlockCorrupt, "mapping a block: it is not sealed"));
    }
    // After the seals were seen the length cannot change any more.
    let length = length(fd)?;
    if length != bytes {
        let message = format!("mapping a block: it has {length} bytes, not the {bytes} it should have");
        return Err(Error::new(ErrorCode::BlockCorrupt, message));
    }
    if bytes == 0 {
        return Ok(Mapped(None));
    }
    match MmapOptions::new().map_if_safe(&fd) {
        Ok(map) => Ok(Mapped(Some(map))),
        Err(cause) => Err(Error::io("mapping a block", &cause.into())),
    }
}

fn failed(doing: &str, cause: Errno) -> Error {
    match cause {
        Errno::NOMEM => Error::new(ErrorCode::OutOfMemory, format!("{doing}: {cause}")),
        _ => Error::io(doing, &cause.into()),
    }
}
