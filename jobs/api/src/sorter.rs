//! Sorting within the memory that is granted: records in a list, and when it may not grow any more, sorted
//! runs that are merged at the end. Equal keys keep their order, whatever was spilled.

use crate::memory::Ledger;
use crate::operator::{ENOUGH, Flow, MORE, more_unless};
use crate::radix;
use crate::record::Record;
use crate::spill::{CHUNK, Merge, Ordered, Run, RunWriter, Runs};
use crate::task::Task;
use firesteel_common::{Error, Result};
use std::hint::black_box;
use std::mem::needs_drop;

/// So many records are held whatever is granted: they may be large.
const RECORDS_MIN: usize = 16;
/// What records own is asked for in steps of at least so many bytes.
const HEAP_STEP: u64 = 16 * 1024;
/// Records whose values are looked at together.
const TOUCHED: usize = 32;

/// The order of keys.
#[derive(Clone, Copy)]
struct ByKey {
    descending: bool,
}

impl<K: Ord, V> Ordered<(K, V)> for ByKey {
    type Head = (K, V);

    fn head(&self, record: (K, V)) -> (K, V) {
        record
    }

    fn before(&self, first: &(K, V), second: &(K, V)) -> bool {
        if self.descending { first.0 > second.0 } else { first.0 < second.0 }
    }
}

/// Sorts records by their keys.
pub struct Sorter<'t, 's, K, V> {
    task: &'t Task<'s>,
    order: ByKey,
    records: Vec<(K, V)>,
    /// With how many records memory is asked for.
    asks_at: usize,
    /// What the records own beyond their size, in bytes.
    heap: u64,
    /// With how much of it memory is asked for.
    heap_at: u64,
    ledger: Ledger<'s>,
    runs: Runs,
    failure: Option<Error>,
}

impl<'t, 's, K: Record<'s> + Ord, V: Record<'s>> Sorter<'t, 's, K, V> {
    /// A sorter without records.
    pub fn new(task: &'t Task<'s>, descending: bool) -> Self {
        Self {
            task,
            order: ByKey { descending },
            records: Vec::new(),
            asks_at: 0,
            heap: 0,
            heap_at: u64::MAX,
            ledger: Ledger::new(task),
            runs: Runs::default(),
            failure: None,
        }
    }

    /// Adds a record. [`ENOUGH`] means that it failed; why is told at the end.
    #[inline(always)]
    pub fn push(&mut self, record: (K, V)) -> Flow {
        let mut asks = self.records.len() >= self.asks_at;
        if needs_drop::<(K, V)>() {
            asks |= self.heap >= self.heap_at;
        }
        if asks && self.check().is_break() {
            return ENOUGH;
        }
        if needs_drop::<(K, V)>() {
            self.heap += record.heap() as u64;
        }
        self.records.push(record);
        MORE
    }

    #[cold]
    #[inline(never)]
    fn check(&mut self) -> Flow {
        let done = self.make_room();
        more_unless(done, &mut self.failure)
    }

    /// Asks for the memory to go on with, or spills.
    fn make_room(&mut self) -> Result<()> {
        let len = self.records.len();
        let full = len >= self.records.capacity();
        let capacity = if full { (2 * len).max(256) } else { self.records.capacity() };
        let size = size_of::<(K, V)>();
        let room = capacity.saturating_mul(size) as u64;
        let beside = capacity.saturating_mul(radix::BYTES_BESIDE.max(size / 2)) as u64;
        let heap = self.heap + (self.heap / 8).max(HEAP_STEP);
        let heap = if needs_drop::<(K, V)>() { heap } else { 0 };
        if !self.ledger.cover(room + beside + heap) && len >= RECORDS_MIN {
            self.spill()?;
        } else if full {
            self.records.reserve_exact(capacity - len);
        }
        self.asks_at = self.records.capacity();
        self.heap_at = self.heap + (self.heap / 8).max(HEAP_STEP);
        Ok(())
    }

    fn sort(&mut self) {
        let descending = self.order.descending;
        let image = |record: &(K, V)| {
            let image = record.0.image()?;
            Some(if descending { !image } else { image })
        };
        if descending {
            radix::sort(&mut self.records, image, |a, b| b.0.cmp(&a.0));
        } else {
            radix::sort(&mut self.records, image, |a, b| a.0.cmp(&b.0));
        }
    }

    fn spill(&mut self) -> Result<()> {
        self.task.check_cancelled()?;
        self.sort();
        let mut run = RunWriter::new(self.task, 0)?;
        for record in self.records.drain(..) {
            run.write(&record)?;
        }
        self.heap = 0;
        let (task, order) = (self.task, self.order);
        self.runs.add(run.finish()?, |runs, level| merge_runs::<K, V>(task, order, runs, level))
    }

    /// Gives all records in their order.
    ///
    /// # Errors
    /// Why a push failed, and what spilling and reading fail with.
    pub fn finish(mut self, sink: &mut impl FnMut((K, V)) -> Flow) -> Result<Flow> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        if self.runs.is_empty() {
            self.sort();
            return Ok(give(self.records, sink));
        }
        if !self.records.is_empty() {
            self.spill()?;
        }
        let Self { task, order, records, runs, mut ledger, .. } = self;
        drop(records);
        ledger.give_back();
        let runs = runs.finish(|runs, level| merge_runs::<K, V>(task, order, runs, level))?;
        ledger.cover((runs.len() * CHUNK) as u64);
        let mut merge = Merge::new(task, &order, runs)?;
        while let Some(record) = merge.next()? {
            if sink(record).is_break() {
                return Ok(ENOUGH);
            }
        }
        Ok(MORE)
    }
}

/// Gives records to a sink. What they refer to lies anywhere, so it is looked at for a group of them at once.
fn give<'s, K: Record<'s>, V: Record<'s>>(
    records: Vec<(K, V)>,
    sink: &mut impl FnMut((K, V)) -> Flow,
) -> Flow {
    let mut rest = records.into_iter();
    while rest.len() > 0 {
        let group = rest.as_slice().iter().take(TOUCHED);
        black_box(group.fold(0, |sum, record| sum ^ record.1.touch()));
        if rest.by_ref().take(TOUCHED).try_for_each(&mut *sink).is_break() {
            return ENOUGH;
        }
    }
    MORE
}

/// Makes one run of several.
fn merge_runs<'s, K: Record<'s> + Ord, V: Record<'s>>(
    task: &Task<'s>,
    order: ByKey,
    runs: Vec<Run>,
    level: u32,
) -> Result<Run> {
    let mut merged = RunWriter::new(task, level)?;
    let mut merge = Merge::<(K, V), _>::new(task, &order, runs)?;
    while let Some(record) = merge.next()? {
        merged.write(&record)?;
    }
    merged.finish()
}
