//! Encoded records for each reducer of a shuffle, within the memory that is granted: when the buffers may not
//! grow any more, all of them go to disk, one after the other; at the end each segment is put together again.

use crate::arena::Owner;
use crate::files::SpillFile;
use crate::memory::Ledger;
use crate::operator::{Flow, MORE, more_unless};
use crate::record::{Record, type_tag};
use crate::task::{Produced, Task};
use firesteel_common::task::MapOutputWriter;
use firesteel_common::{Error, ErrorCode, Payload, Result};
use std::sync::Arc;

/// Memory is asked for in steps of at least so many bytes, and so many for each reducer: what a spill costs
/// beside its bytes must be little.
const STEP: u64 = 16 * 1024;
const STEP_OF_REDUCER: u64 = 64;
/// Bytes of a frame.
const FRAME: usize = 64 * 1024;
/// So many spills may each keep the frame that they are read from.
const FRAMES_KEPT: usize = 64;

/// What the buffer of one reducer held when it was spilled.
#[derive(Clone, Copy)]
struct Piece {
    reducer: u32,
    records: u64,
    len: u64,
}

/// What was spilled at once: pieces in the order of the reducers, without anything between them.
struct Spill {
    pieces: Vec<Piece>,
    /// While it is read: the next piece, where it begins, and what is left of the frame there.
    next: usize,
    at: u64,
    frame: Owner,
    read: usize,
}

/// Encoded records for each reducer.
pub struct Buffers<'t, 's> {
    task: &'t Task<'s>,
    buffers: Vec<(u64, Vec<u8>)>,
    /// Bytes in all buffers.
    held: u64,
    /// With how many memory is asked for.
    asks_at: u64,
    /// How many more are asked for then, at least.
    step: u64,
    ledger: Ledger<'s>,
    file: Option<Box<dyn SpillFile>>,
    /// Bytes in the file.
    written: u64,
    spills: Vec<Spill>,
    failure: Option<Error>,
}

impl<'t, 's> Buffers<'t, 's> {
    /// Empty buffers.
    pub fn new(task: &'t Task<'s>, reducers: u32) -> Self {
        let step = STEP + STEP_OF_REDUCER * u64::from(reducers);
        Self {
            task,
            buffers: vec![(0, Vec::new()); reducers as usize],
            held: 0,
            asks_at: step,
            step,
            ledger: Ledger::new(task),
            file: None,
            written: 0,
            spills: Vec::new(),
            failure: None,
        }
    }

    /// Adds a record. [`crate::operator::ENOUGH`] means that it failed; why is told at the end.
    #[inline(always)]
    pub fn push<T: Record<'s>>(&mut self, reducer: u32, record: &T) -> Flow {
        let (records, bytes) = &mut self.buffers[reducer as usize];
        *records += 1;
        let before = bytes.len();
        record.encode(bytes);
        self.held += (bytes.len() - before) as u64;
        if self.held >= self.asks_at { self.check() } else { MORE }
    }

    #[cold]
    #[inline(never)]
    fn check(&mut self) -> Flow {
        // Buffers that grow by doubling have a quarter of their room free on average; asking for half as much
        // again leaves some for the one that is being moved.
        let next = self.held + (self.held / 2).max(self.step);
        let index = (self.buffers.len() * size_of::<(u64, Vec<u8>)>()) as u64;
        if self.ledger.cover(index + next + next / 2) {
            self.asks_at = next;
            return MORE;
        }
        let done = self.spill();
        more_unless(done, &mut self.failure)
    }

    /// Writes all buffers to disk, in frames that do not care where a buffer ends.
    fn spill(&mut self) -> Result<()> {
        self.task.check_cancelled()?;
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(self.task.host().create_spill()?),
        };
        let at = self.written;
        let mut frame: Vec<u8> = Vec::with_capacity(FRAME);
        let mut pieces = Vec::new();
        // One that was large need not be large again.
        let fair = 2 * (self.held as usize / self.buffers.len().max(1));
        for (reducer, (records, bytes)) in self.buffers.iter_mut().enumerate() {
            if *records == 0 {
                continue;
            }
            let len = bytes.len() as u64;
            pieces.push(Piece { reducer: reducer as u32, records: *records, len });
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let (head, tail) = rest.split_at(rest.len().min(FRAME - frame.len()));
                frame.extend_from_slice(head);
                rest = tail;
                if frame.len() == FRAME {
                    file.write(&frame)?;
                    frame.clear();
                }
            }
            self.written += len;
            *records = 0;
            bytes.clear();
            bytes.shrink_to(fair);
        }
        file.write(&frame)?;
        self.spills.push(Spill { pieces, next: 0, at, frame: Arc::new(Vec::new()), read: 0 });
        self.held = 0;
        self.asks_at = self.step;
        Ok(())
    }

    /// Hands the segments over, in the order of the reducers.
    ///
    /// # Errors
    /// Why a push failed, and what spilling, reading and the runtime fail with.
    pub fn write<T>(mut self) -> Result<Produced> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        let mut writer = self.task.io().map_output()?;
        let tag = type_tag::<T>();
        let keep = self.spills.len() <= FRAMES_KEPT;
        for (reducer, (records, bytes)) in std::mem::take(&mut self.buffers).into_iter().enumerate() {
            match &self.file {
                None => writer.append(tag, records, &bytes)?,
                Some(file) => {
                    let mut segment = Segment { writer: &mut *writer, tag, records, len: bytes.len() as u64 };
                    segment.write(&**file, &mut self.spills, reducer as u32, &bytes, keep)?;
                }
            }
        }
        Ok(Produced::MapOutput(writer.finish(Payload::empty())?))
    }
}

/// A segment that is put together.
struct Segment<'w> {
    writer: &'w mut dyn MapOutputWriter,
    tag: u64,
    records: u64,
    len: u64,
}

impl Segment<'_> {
    /// Writes the pieces of all spills, the oldest first, then the rest.
    fn write(
        &mut self,
        file: &dyn SpillFile,
        spills: &mut [Spill],
        reducer: u32,
        rest: &[u8],
        keep: bool,
    ) -> Result<()> {
        let here =
            |spill: &Spill| spill.pieces.get(spill.next).filter(|piece| piece.reducer == reducer).copied();
        for piece in spills.iter().filter_map(here) {
            self.records += piece.records;
            self.len += piece.len;
        }
        if self.len == rest.len() as u64 {
            return self.writer.append(self.tag, self.records, rest);
        }
        for spill in spills {
            let Some(piece) = here(spill) else { continue };
            spill.next += 1;
            spill.read(file, piece.len, |part| self.part(part))?;
            if !keep {
                spill.frame = Arc::new(Vec::new());
                spill.read = 0;
            }
        }
        if rest.is_empty() { Ok(()) } else { self.part(rest) }
    }

    fn part(&mut self, part: &[u8]) -> Result<()> {
        self.writer.append_part(self.tag, self.records, self.len, part)
    }
}

impl Spill {
    /// Gives the next `len` bytes to `put`, frame by frame.
    fn read(
        &mut self,
        file: &dyn SpillFile,
        mut len: u64,
        mut put: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        while len > 0 {
            if self.read >= (*self.frame).as_ref().len() {
                self.frame = file.read(self.at, u64::MAX)?;
                self.read = 0;
            }
            let left = (*self.frame).as_ref().get(self.read..).unwrap_or_default();
            if left.is_empty() {
                let message = "a run is shorter than what was written to it";
                return Err(Error::new(ErrorCode::BlockCorrupt, message));
            }
            let count = usize::try_from(len).unwrap_or(usize::MAX).min(left.len());
            put(&left[..count])?;
            self.read += count;
            self.at += count as u64;
            len -= count as u64;
        }
        Ok(())
    }
}
