//! Where a map output is written to: a memory file, as long as its task gets the memory; then a file on disk,
//! in frames. What is in it is `output.rs`'s.

use super::memory::Charge;
use firesteel_common::block::{Frame, MapStatus};
use firesteel_common::{Error, ErrorCode, Result};
use firesteel_store::{FRAME_LEN, FrameFile};
use rustix::io::Errno;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A map output up to this many bytes is not worth a question for memory.
const UNCHARGED_MAX: u64 = 1024 * 1024;
/// Bytes that are copied to disk at once.
const COPIED_LEN: usize = 256 * 1024;

/// A file that is appended to. One place in it at a time can be left open and filled later.
pub struct Sink {
    place: Place,
    written: u64,
    /// What is charged for it; `None` if it has to stay in memory.
    charge: Option<Charge>,
    /// The place that is open: where it begins, and its length.
    hole: Option<(u64, usize)>,
}

enum Place {
    Memory(OwnedFd),
    Disk(Spool),
}

impl Sink {
    /// An empty memory file, for which `charge` grows. Without one it stays in memory whatever happens.
    ///
    /// # Errors
    /// If there is none to be had.
    pub fn create(name: &str, charge: Option<Charge>) -> Result<Self> {
        let place = Place::Memory(firesteel_store::create_memfd(name)?);
        Ok(Self { place, written: 0, charge, hole: None })
    }

    /// Appends all parts.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`, `DISK_FULL` or `IO`.
    pub fn write(&mut self, parts: &[&[u8]]) -> Result<()> {
        self.admit(parts.iter().map(|part| part.len() as u64).sum::<u64>());
        match &mut self.place {
            Place::Memory(fd) => write_all(fd, parts),
            Place::Disk(spool) => parts.iter().try_for_each(|part| spool.write(part)),
        }
    }

    /// So many bytes are about to be written: if memory for them is not granted, all goes on on disk.
    fn admit(&mut self, more: u64) {
        if let (Place::Memory(fd), Some(charge)) = (&self.place, &mut self.charge)
            && self.written + more > UNCHARGED_MAX
            && !charge.grow(more)
        {
            match Spool::copy_of(fd, self.written, self.hole) {
                Ok(spool) => self.place = Place::Disk(spool),
                Err(error) => tracing::warn!("a map output stays in memory: {error}"),
            }
            self.charge = None;
        }
        self.written += more;
    }

    /// Appends a place of `N` bytes that is filled later.
    ///
    /// # Errors
    /// As [`Sink::write`].
    pub fn leave_open<const N: usize>(&mut self) -> Result<()> {
        let at = self.written;
        self.admit(N as u64);
        match &mut self.place {
            Place::Memory(fd) => write_all(fd, &[&[0; N]])?,
            Place::Disk(spool) => spool.leave_open(&[0; N])?,
        }
        self.hole = Some((at, N));
        Ok(())
    }

    /// Fills the place that was left open.
    ///
    /// # Errors
    /// As [`Sink::write`].
    pub fn fill(&mut self, mut bytes: &[u8]) -> Result<()> {
        let Some((mut to, _)) = self.hole.take() else {
            return Err(Error::new(ErrorCode::Internal, "a map output has no place that is open"));
        };
        let fd = match &mut self.place {
            Place::Memory(fd) => fd,
            Place::Disk(spool) => return spool.fill(bytes),
        };
        while !bytes.is_empty() {
            match rustix::io::pwrite(&mut *fd, bytes, to) {
                Ok(0) => return Err(full("no byte was written")),
                Ok(count) => {
                    bytes = bytes.get(count..).unwrap_or_default();
                    to += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(cause) => return Err(full(cause)),
            }
        }
        Ok(())
    }

    /// The complete file.
    ///
    /// # Errors
    /// As [`Sink::write`].
    pub fn finish(self) -> Result<Written> {
        let data = match self.place {
            Place::Memory(fd) => Data::Memory(fd),
            Place::Disk(spool) => Data::Disk(spool.finish()?),
        };
        Ok(Written { data, charge: self.charge })
    }
}

/// A file on disk, with the bytes that do not fill a frame yet.
struct Spool {
    file: FrameFile,
    pending: Vec<u8>,
    /// The frame that is filled later.
    hole: usize,
}

impl Spool {
    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.pending.is_empty() && bytes.len() >= FRAME_LEN {
                self.file.append(&bytes[..FRAME_LEN])?;
                bytes = &bytes[FRAME_LEN..];
                continue;
            }
            let (now, rest) = bytes.split_at(bytes.len().min(FRAME_LEN - self.pending.len()));
            self.pending.extend_from_slice(now);
            bytes = rest;
            if self.pending.len() == FRAME_LEN {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.file.append(&self.pending)?;
        self.pending.clear();
        Ok(())
    }

    /// What is open is a frame of its own, so that it can be written again.
    fn leave_open(&mut self, zeros: &[u8]) -> Result<()> {
        self.flush()?;
        self.hole = self.file.append_fixed(zeros)?;
        Ok(())
    }

    fn fill(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.rewrite(self.hole, bytes)
    }

    fn finish(mut self) -> Result<FrameFile> {
        self.flush()?;
        Ok(self.file)
    }

    /// What is in a memory file, on disk; `hole` is what is open in it.
    fn copy_of(memory: &OwnedFd, bytes: u64, hole: Option<(u64, usize)>) -> Result<Self> {
        let file = FrameFile::create(&std::env::temp_dir())?;
        let mut spool = Self { file, pending: Vec::with_capacity(FRAME_LEN), hole: 0 };
        match hole {
            None => spool.copy(memory, 0, bytes)?,
            Some((at, len)) => {
                spool.copy(memory, 0, at)?;
                spool.leave_open(&vec![0; len])?;
                spool.copy(memory, at + len as u64, bytes)?;
            }
        }
        Ok(spool)
    }

    fn copy(&mut self, memory: &OwnedFd, from: u64, to: u64) -> Result<()> {
        let mut piece = vec![0; COPIED_LEN];
        let mut at = from;
        while at < to {
            let len = COPIED_LEN.min(usize::try_from(to - at).unwrap_or(COPIED_LEN));
            let read = rustix::io::pread(memory, &mut piece[..len], at)
                .map_err(|cause| Error::io("reading a map output back", &cause.into()))?;
            if read == 0 {
                return Err(Error::new(ErrorCode::Internal, "a map output is shorter than what was written"));
            }
            self.write(&piece[..read])?;
            at += read as u64;
        }
        Ok(())
    }
}

/// A complete map output.
pub struct Written {
    /// Where it is.
    pub data: Data,
    /// What is charged for it, until it is handed over.
    pub charge: Option<Charge>,
}

/// Where a map output is.
pub enum Data {
    /// In a memory file.
    Memory(OwnedFd),
    /// On disk.
    Disk(FrameFile),
}

impl Written {
    /// Bytes of it that were spilled.
    pub fn spilled(&self) -> u64 {
        match &self.data {
            Data::Memory(_) => 0,
            Data::Disk(file) => file.plain(),
        }
    }
}

impl Data {
    /// Its descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Data::Memory(fd) => fd.as_fd(),
            Data::Disk(file) => file.fd(),
        }
    }

    /// The index of its file, if it is on disk.
    pub fn frames(&self) -> &[Frame] {
        match self {
            Data::Memory(_) => &[],
            Data::Disk(file) => file.frames(),
        }
    }

    /// Bytes of its file.
    pub fn len(&self, status: &MapStatus) -> u64 {
        match self {
            Data::Memory(_) => status.bytes(),
            Data::Disk(file) => file.stored(),
        }
    }
}

/// Writes all parts, one after the other.
fn write_all(fd: &OwnedFd, parts: &[&[u8]]) -> Result<()> {
    let mut slices: Vec<IoSlice<'_>> =
        parts.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect();
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        match rustix::io::writev(fd, rest) {
            Ok(0) => return Err(full("no byte was written")),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(Errno::INTR) => {}
            Err(cause) => return Err(full(cause)),
        }
    }
    Ok(())
}

fn full(cause: impl std::fmt::Display) -> Error {
    Error::new(ErrorCode::OutOfMemory, format!("writing a segment to memory: {cause}"))
        .with_help("give the machine more memory, or run fewer tasks at once")
}
