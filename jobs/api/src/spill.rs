//! Runs: records that a task has spilled, in some order, and the merge of runs that are ordered alike. What
//! is spilled is what the records encode to; the disk is the host's.

use crate::arena::Owner;
use crate::files::SpillFile;
use crate::record::{Reader, Record};
use crate::task::Task;
use firesteel_common::{Error, ErrorCode, Result};
use std::marker::PhantomData;
use std::sync::Arc;

/// A chunk is written when it is this long, in bytes; it is more only by its last record.
pub const CHUNK: usize = 64 * 1024;
/// The longest frame that is given to the host, in bytes. Only a chunk with a giant record has several.
const FRAME_MAX: usize = 256 * 1024;
/// How many runs are merged at once. Each has a chunk in memory.
pub const FAN_IN: usize = 32;

/// Some records that lie together in a run.
struct Chunk {
    len: u64,
    records: u64,
}

/// Records on disk.
pub struct Run {
    file: Box<dyn SpillFile>,
    chunks: Vec<Chunk>,
    /// How often its records have been merged.
    level: u32,
}

/// Writes bytes that belong together.
pub fn write_frames(file: &mut dyn SpillFile, bytes: &[u8]) -> Result<()> {
    bytes.chunks(FRAME_MAX).try_for_each(|frame| file.write(frame))
}

/// Reads bytes that may lie in several frames.
pub fn read_frames(file: &dyn SpillFile, from: u64, len: u64) -> Result<Owner> {
    let first = file.read(from, len)?;
    let mut have = (*first).as_ref().len() as u64;
    if have == len {
        return Ok(first);
    }
    let mut bytes = (*first).as_ref().to_vec();
    while have < len {
        let more = file.read(from + have, len - have)?;
        let more = (*more).as_ref();
        if more.is_empty() {
            return Err(Error::new(ErrorCode::BlockCorrupt, "a run is shorter than what was written to it"));
        }
        bytes.extend_from_slice(more);
        have = bytes.len() as u64;
    }
    Ok(Arc::new(bytes))
}

/// Writes a run of records.
pub struct RunWriter {
    run: Run,
    chunk: Vec<u8>,
    records: u64,
}

impl RunWriter {
    /// An empty run.
    ///
    /// # Errors
    /// What the host fails with.
    pub fn new(task: &Task<'_>, level: u32) -> Result<Self> {
        let run = Run { file: task.host().create_spill()?, chunks: Vec::new(), level };
        Ok(Self { run, chunk: Vec::new(), records: 0 })
    }

    /// Appends a record.
    ///
    /// # Errors
    /// What the host fails with.
    pub fn write<'s, T: Record<'s>>(&mut self, record: &T) -> Result<()> {
        record.encode(&mut self.chunk);
        self.records += 1;
        if self.chunk.len() >= CHUNK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        write_frames(&mut *self.run.file, &self.chunk)?;
        self.run.chunks.push(Chunk { len: self.chunk.len() as u64, records: self.records });
        self.records = 0;
        self.chunk.clear();
        self.chunk.shrink_to(2 * CHUNK);
        Ok(())
    }

    /// The run with everything in it.
    ///
    /// # Errors
    /// What the host fails with.
    pub fn finish(mut self) -> Result<Run> {
        if self.records > 0 {
            self.flush()?;
        }
        Ok(self.run)
    }
}

/// The chunk that is being read.
enum Current<'s> {
    /// Its records borrow nothing: it goes when the last is read.
    Let { bytes: Owner, read: usize },
    /// Its records borrow from it.
    Held(Reader<'s>),
}

/// Reads a run, which is gone at its end.
struct RunReader<'s, T> {
    run: Run,
    /// The chunk after the current one, and where it begins.
    next: usize,
    at: u64,
    /// Records left in the current one.
    left: u64,
    current: Current<'s>,
    record: PhantomData<fn() -> T>,
}

impl<'s, T: Record<'s>> RunReader<'s, T> {
    fn new(run: Run) -> Self {
        let current = Current::Held(Reader::new(&[]));
        Self { run, next: 0, at: 0, left: 0, current, record: PhantomData }
    }

    fn next(&mut self, task: &Task<'s>) -> Result<Option<T>> {
        while self.left == 0 {
            let Some(chunk) = self.run.chunks.get(self.next) else { return Ok(None) };
            task.check_cancelled()?;
            let bytes = read_frames(&*self.run.file, self.at, chunk.len)?;
            self.at += chunk.len;
            self.next += 1;
            self.left = chunk.records;
            self.current = if T::OWNED {
                Current::Let { bytes, read: 0 }
            } else {
                Current::Held(Reader::new(task.hold(bytes)))
            };
        }
        self.left -= 1;
        match &mut self.current {
            Current::Let { bytes, read } => {
                let all = (**bytes).as_ref();
                let mut reader = Reader::new(all.get(*read..).unwrap_or_default());
                let record = T::decode_owned(&mut reader)?;
                *read = all.len() - reader.left();
                Ok(Some(record))
            }
            Current::Held(reader) => T::decode(reader).map(Some),
        }
    }
}

/// What comes of merging: for records that are ordered by something that is computed of them once.
pub trait Ordered<T> {
    /// A record with what it is ordered by.
    type Head;
    /// Adds what it is ordered by.
    fn head(&self, record: T) -> Self::Head;
    /// Whether the first comes before the second. Of equal ones the one of the earlier run comes first.
    fn before(&self, first: &Self::Head, second: &Self::Head) -> bool;
}

/// No source: where a tournament has not been played.
const NOBODY: usize = usize::MAX;

/// Runs that are merged: a tournament, in which each inner node remembers who lost there.
pub struct Merge<'t, 's, T, O: Ordered<T>> {
    task: &'t Task<'s>,
    order: &'t O,
    sources: Vec<RunReader<'s, T>>,
    heads: Vec<Option<O::Head>>,
    losers: Vec<usize>,
    winner: usize,
}

impl<'t, 's, T: Record<'s>, O: Ordered<T>> Merge<'t, 's, T, O> {
    /// Merges runs, which are in the order of their age.
    ///
    /// # Errors
    /// What reading fails with.
    pub fn new(task: &'t Task<'s>, order: &'t O, runs: Vec<Run>) -> Result<Self> {
        let count = runs.len();
        let mut sources: Vec<_> = runs.into_iter().map(RunReader::new).collect();
        let heads = sources.iter_mut().map(|source| Ok(source.next(task)?.map(|record| order.head(record))));
        let heads = heads.collect::<Result<_>>()?;
        let losers = vec![NOBODY; count];
        let mut merge = Self { task, order, sources, heads, losers, winner: NOBODY };
        (0..count).for_each(|source| merge.play(source));
        Ok(merge)
    }

    /// Whether the head of one source comes before that of another.
    fn wins(&self, one: usize, other: usize) -> bool {
        match (&self.heads[one], &self.heads[other]) {
            (Some(first), Some(second)) if one < other => !self.order.before(second, first),
            (Some(first), Some(second)) => self.order.before(first, second),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => one < other,
        }
    }

    /// Plays the head of a source against those that lost on its way to the top.
    fn play(&mut self, source: usize) {
        let mut player = source;
        let mut node = (source + self.losers.len()) / 2;
        while node > 0 {
            let loser = self.losers[node];
            if loser == NOBODY {
                self.losers[node] = player;
                return;
            }
            if self.wins(loser, player) {
                self.losers[node] = player;
                player = loser;
            }
            node /= 2;
        }
        self.winner = player;
    }

    /// The next record.
    ///
    /// # Errors
    /// What reading fails with.
    pub fn next(&mut self) -> Result<Option<O::Head>> {
        let winner = self.winner;
        let Some(head) = self.heads.get_mut(winner).and_then(Option::take) else { return Ok(None) };
        let next = self.sources[winner].next(self.task)?;
        self.heads[winner] = next.map(|record| self.order.head(record));
        self.play(winner);
        Ok(Some(head))
    }
}

/// The runs of an operator, oldest first. There are never more than about [`FAN_IN`] of one level.
#[derive(Default)]
pub struct Runs {
    runs: Vec<Run>,
}

impl Runs {
    /// Whether nothing was spilled.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Adds a run. `merge` makes one run, of the level that it is given, of several.
    ///
    /// # Errors
    /// What `merge` fails with.
    pub fn add(&mut self, run: Run, mut merge: impl FnMut(Vec<Run>, u32) -> Result<Run>) -> Result<()> {
        self.runs.push(run);
        while let Some(last) = self.runs.last() {
            let level = last.level;
            let alike = self.runs.iter().rev().take_while(|run| run.level == level).count();
            if alike < FAN_IN {
                break;
            }
            let merged = self.runs.split_off(self.runs.len() - alike);
            self.runs.push(merge(merged, level + 1)?);
        }
        Ok(())
    }

    /// All runs, at most [`FAN_IN`] of them.
    ///
    /// # Errors
    /// What `merge` fails with.
    pub fn finish(mut self, mut merge: impl FnMut(Vec<Run>, u32) -> Result<Run>) -> Result<Vec<Run>> {
        while self.runs.len() > FAN_IN {
            // The youngest are the smallest.
            let count = (self.runs.len() - FAN_IN + 1).min(FAN_IN);
            let merged = self.runs.split_off(self.runs.len() - count);
            let level = merged.iter().map(|run| run.level).max().unwrap_or(0);
            self.runs.push(merge(merged, level + 1)?);
        }
        Ok(self.runs)
    }
}
