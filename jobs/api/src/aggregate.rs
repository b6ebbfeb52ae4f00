//! Combining by key within the memory that is granted: a table, and when it may not grow any more, runs of
//! its entries in the order of their digests, which are merged at the end.
//!
//! What has not spilled comes in the order of the first records of the keys, what has spilled in the order of
//! their digests: the same again only if the same memory was granted.

use crate::key::{Digest, Key};
use crate::memory::{Ledger, key_too_large};
use crate::operator::{ENOUGH, Flow, MORE, more_unless};
use crate::record::Record;
use crate::spill::{CHUNK, FAN_IN, Merge, Ordered, Run, RunWriter, Runs};
use crate::table::{QUEUE, Table};
use crate::task::Task;
use firesteel_common::{Error, Result};
use std::marker::PhantomData;
use std::mem::needs_drop;

/// Up to this many bytes the values of one key need not be granted: about what a chunk of a run takes.
const KEY_FREE: u64 = CHUNK as u64;

/// How what was combined in parts becomes one, and in which parts it is spilled.
pub trait Parts<A> {
    /// What is spilled and handed on of what the table holds for a key.
    type Whole;

    /// Whether the whole is as large as all parts together: it is then put together only at the very end.
    const GATHERS: bool;

    /// What is handed on.
    fn whole(&self, acc: A) -> Self::Whole;

    /// Adds a later part.
    fn merge(&self, whole: &mut Self::Whole, later: Self::Whole);

    /// Bytes that it needs beside those it has, for a moment, when a later part is added; see
    /// `record::heap`.
    fn growth(&self, _whole: &Self::Whole) -> usize {
        0
    }

    /// Gives it to `put` in parts of a bounded size.
    ///
    /// # Errors
    /// What `put` fails with.
    fn cut(&self, acc: A, put: &mut dyn FnMut(Self::Whole) -> Result<()>) -> Result<()> {
        put(self.whole(acc))
    }

    /// What one entry owns beyond the table, in bytes.
    fn heap(&self, _acc: &A) -> usize {
        0
    }

    /// Puts what lies beside the table into the order in which the entries are taken from now on.
    fn arrange<'l>(&self, _order: impl Iterator<Item = &'l mut A>)
    where
        A: 'l,
    {
    }

    /// Bytes that lie beside the table once there is a quarter more of them.
    fn bytes_beside(&self) -> u64 {
        0
    }

    /// Whether nothing more can lie there.
    fn is_full(&self) -> bool {
        false
    }

    /// Forgets what lies there.
    fn clear(&self) {}
}

/// Parts that are merged by a function, and not cut.
pub struct Merged<F>(pub F);

impl<'s, A: Record<'s>, F: Fn(&mut A, A)> Parts<A> for Merged<F> {
    type Whole = A;
    const GATHERS: bool = false;

    fn whole(&self, acc: A) -> A {
        acc
    }

    fn merge(&self, acc: &mut A, later: A) {
        (self.0)(acc, later);
    }

    fn heap(&self, acc: &A) -> usize {
        if needs_drop::<A>() { acc.heap() } else { 0 }
    }
}

/// Entries of runs in the order of their digests.
pub struct ByDigest;

impl<'s, K: Key<'s>, A> Ordered<(K, A)> for ByDigest {
    type Head = (Digest, K, A);

    fn head(&self, (key, value): (K, A)) -> Self::Head {
        (key.digest(), key, value)
    }

    fn before(&self, first: &Self::Head, second: &Self::Head) -> bool {
        first.0 < second.0
    }
}

/// A table that spills.
pub struct Aggregation<'t, 's, K: Key<'s>, V, A, Create, Add, P> {
    task: &'t Task<'s>,
    /// What is combining, for errors.
    operator: &'static str,
    table: Table<'s, K, V, A, Create, Add>,
    parts: P,
    ledger: Ledger<'s>,
    runs: Runs,
    /// With how many entries memory is asked for.
    asks_at: usize,
    /// How often the table's queue was combined since it was empty, and when what records own is counted.
    drained: u64,
    counts_at: u64,
    failure: Option<Error>,
}

impl<'t, 's, K, V, A, Create, Add, P> Aggregation<'t, 's, K, V, A, Create, Add, P>
where
    K: Key<'s>,
    Create: Fn(V) -> A,
    Add: Fn(&mut A, V),
    P: Parts<A, Whole: Record<'s>>,
{
    /// An empty table; see [`Table::new`].
    pub fn new(task: &'t Task<'s>, operator: &'static str, create: Create, add: Add, parts: P) -> Self {
        let table = Table::new(create, add);
        let asks_at = table.limit() - QUEUE;
        let runs = Runs::default();
        let mut new = Self {
            task,
            operator,
            table,
            parts,
            ledger: Ledger::new(task),
            runs,
            asks_at,
            drained: 0,
            counts_at: 0,
            failure: None,
        };
        new.count_later();
        new
    }

    /// Adds a record. [`ENOUGH`] means that it failed; why is told at the end.
    #[inline(always)]
    pub fn push(&mut self, key: K, value: V) -> Flow {
        if self.table.push(key, value) {
            self.drained += 1;
            if self.table.len() >= self.asks_at || self.drained >= self.counts_at {
                return self.check();
            }
        }
        MORE
    }

    /// What records own is counted again when there may be a quarter more of it.
    fn count_later(&mut self) {
        let owns = needs_drop::<K>() || needs_drop::<A>() || P::GATHERS;
        self.counts_at = if owns { self.drained + (self.drained / 4).max(1) } else { u64::MAX };
    }

    #[cold]
    #[inline(never)]
    fn check(&mut self) -> Flow {
        let done = self.make_room();
        more_unless(done, &mut self.failure)
    }

    /// Asks for the memory to go on with, or spills.
    fn make_room(&mut self) -> Result<()> {
        let entries = needs_drop::<K>() || needs_drop::<A>();
        let heap = if entries { self.table.heap(|acc| self.parts.heap(acc)) } else { 0 };
        self.count_later();
        // A quarter is added before it is counted again.
        let bytes = self.table.bytes_grown() + heap + heap / 4 + self.parts.bytes_beside();
        if !self.parts.is_full() && self.ledger.cover(bytes) {
            self.asks_at = self.table.limit_grown() - QUEUE;
            return Ok(());
        }
        self.spill()
    }

    fn spill(&mut self) -> Result<()> {
        self.task.check_cancelled()?;
        let mut run = RunWriter::new(self.task, 0)?;
        self.table.order();
        self.parts.arrange(self.table.values_mut());
        for (key, acc) in self.table.take_all() {
            self.parts.cut(acc, &mut |part| run.write(&(key.clone(), part)))?;
        }
        self.parts.clear();
        self.drained = 0;
        self.count_later();
        self.asks_at = self.table.limit() - QUEUE;
        let (task, operator, parts) = (self.task, self.operator, &self.parts);
        let merge = |runs, level| merge_runs::<K, A, P>(task, operator, parts, runs, level);
        self.runs.add(run.finish()?, merge)
    }

    /// Whether something was spilled.
    pub fn has_spilled(&self) -> bool {
        !self.runs.is_empty()
    }

    /// Combines what still waits. Fails if a push failed.
    ///
    /// # Errors
    /// Why it failed.
    pub fn settle(&mut self) -> Result<()> {
        self.table.settle();
        self.failure.take().map_or(Ok(()), Err)
    }

    /// The values in the order of the first records of their keys. Nothing may wait (see
    /// [`Aggregation::settle`]).
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut A> {
        self.table.values_mut()
    }

    /// See [`Table::touch`].
    #[inline(always)]
    pub fn touch<'k>(&self, keys: impl Iterator<Item = &'k K>)
    where
        K: 'k,
    {
        self.table.touch(keys);
    }

    /// The value of a key, if nothing was spilled and nothing waits (see [`Aggregation::settle`]).
    pub fn get(&self, key: &K) -> Option<&A> {
        self.table.get(key)
    }

    /// Each key with its digest and its value.
    ///
    /// # Errors
    /// Why a push failed; what spilling and reading fail with; `OUT_OF_MEMORY` if what belongs to one key
    /// does not fit.
    pub fn finish(mut self, sink: impl FnMut(Digest, K, P::Whole) -> Flow) -> Result<Flow> {
        self.settle()?;
        if !self.has_spilled() {
            let mut sink = sink;
            // What is granted is kept as long as the entries are.
            let Self { mut table, ledger, parts, .. } = self;
            parts.arrange(table.values_mut());
            let flow = table.finish().try_for_each(|(digest, key, acc)| sink(digest, key, parts.whole(acc)));
            drop(ledger);
            return Ok(flow);
        }
        self.into_groups()?.run(sink)
    }

    /// Everything in runs, to be merged.
    ///
    /// # Errors
    /// As [`Aggregation::finish`].
    pub fn into_groups(mut self) -> Result<Groups<'t, 's, K, A, P>> {
        self.settle()?;
        if self.table.len() > 0 {
            self.spill()?;
        }
        let Self { task, operator, table, parts, runs, mut ledger, .. } = self;
        drop(table);
        ledger.give_back();
        let runs = runs.finish(|runs, level| merge_runs::<K, A, P>(task, operator, &parts, runs, level))?;
        Ok(Groups { task, operator, parts, ledger, runs, pair: PhantomData })
    }
}

/// Makes one run of several.
fn merge_runs<'s, K: Key<'s>, A, P: Parts<A, Whole: Record<'s>>>(
    task: &Task<'s>,
    operator: &'static str,
    parts: &P,
    runs: Vec<Run>,
    level: u32,
) -> Result<Run> {
    let mut merged = RunWriter::new(task, level)?;
    let mut merge = Merge::<(K, P::Whole), _>::new(task, &ByDigest, runs)?;
    if P::GATHERS {
        while let Some((_, key, acc)) = merge.next()? {
            merged.write(&(key, acc))?;
        }
        return merged.finish();
    }
    let mut ledger = Ledger::new(task);
    let mut group = Group { entries: Vec::new(), held: 0, operator, base: 0 };
    while let Some((digest, key, acc)) = merge.next()? {
        for (_, key, acc) in group.turn(digest) {
            merged.write(&(key, acc))?;
        }
        group.add(task, &mut ledger, parts, (digest, key, acc))?;
    }
    for (_, key, acc) in group.entries {
        merged.write(&(key, acc))?;
    }
    merged.finish()
}

/// The entries of one digest: of one key, but for hashes that are equal by chance.
struct Group<K, A> {
    entries: Vec<(Digest, K, A)>,
    /// What the values own, about, in bytes.
    held: u64,
    operator: &'static str,
    /// Granted for something else.
    base: u64,
}

impl<'s, K: Key<'s>, W: Record<'s>> Group<K, W> {
    /// The entries, if the next one is of another digest.
    fn turn(&mut self, next: Digest) -> Vec<(Digest, K, W)> {
        if self.entries.first().is_none_or(|first| first.0 == next) {
            return Vec::new();
        }
        self.held = 0;
        std::mem::take(&mut self.entries)
    }

    fn add<A>(
        &mut self,
        task: &Task<'s>,
        ledger: &mut Ledger<'s>,
        parts: &impl Parts<A, Whole = W>,
        (digest, key, acc): (Digest, K, W),
    ) -> Result<()> {
        let known = self.entries.iter().position(|(_, known, _)| *known == key);
        if needs_drop::<W>() {
            let more = acc.heap() as u64;
            let known = known.and_then(|known| self.entries.get(known));
            let copy = known.map_or(0, |(_, _, acc)| parts.growth(acc)) as u64;
            self.held += more;
            if self.held > KEY_FREE && !ledger.cover(self.base + self.held + copy) {
                // What is merged may take less than its parts did.
                self.held = more + self.entries.iter().map(|(_, _, acc)| acc.heap() as u64).sum::<u64>();
                let needed = self.held + copy;
                if self.held > KEY_FREE && !ledger.cover(self.base + needed) {
                    let granted = ledger.granted().saturating_sub(self.base);
                    return Err(key_too_large(task, self.operator, needed, granted));
                }
            }
        }
        match known.and_then(|known| self.entries.get_mut(known)) {
            Some((_, _, known)) => parts.merge(known, acc),
            None => self.entries.push((digest, key, acc)),
        }
        Ok(())
    }
}

/// What was spilled, ready to be merged.
pub struct Groups<'t, 's, K, A, P> {
    task: &'t Task<'s>,
    operator: &'static str,
    parts: P,
    ledger: Ledger<'s>,
    runs: Vec<Run>,
    pair: PhantomData<fn() -> (K, A)>,
}

impl<'t, 's, K: Key<'s>, A, P: Parts<A, Whole: Record<'s>>> Groups<'t, 's, K, A, P> {
    /// Gives each key with its digest and its value, in the order of the digests.
    ///
    /// # Errors
    /// What reading fails with; `OUT_OF_MEMORY` if what belongs to one key does not fit.
    pub fn run(self, mut sink: impl FnMut(Digest, K, P::Whole) -> Flow) -> Result<Flow> {
        self.run_sets(|entries| entries.into_iter().try_for_each(|(digest, key, acc)| sink(digest, key, acc)))
    }

    /// [`Groups::run`], all keys of a digest at once.
    ///
    /// # Errors
    /// As [`Groups::run`].
    pub fn run_sets(self, mut sink: impl FnMut(Vec<(Digest, K, P::Whole)>) -> Flow) -> Result<Flow> {
        let Self { task, operator, parts, mut ledger, runs, .. } = self;
        let base = (runs.len().min(FAN_IN) * CHUNK) as u64;
        ledger.cover(base);
        let base = base.min(ledger.granted());
        let mut merge = Merge::<(K, P::Whole), _>::new(task, &ByDigest, runs)?;
        let mut group = Group { entries: Vec::new(), held: 0, operator, base };
        while let Some((digest, key, acc)) = merge.next()? {
            let whole = group.turn(digest);
            if !whole.is_empty() && sink(whole).is_break() {
                return Ok(ENOUGH);
            }
            group.add(task, &mut ledger, &parts, (digest, key, acc))?;
        }
        if group.entries.is_empty() { Ok(MORE) } else { Ok(sink(group.entries)) }
    }

    /// The parts of the values as they were spilled, in the order of the digests.
    ///
    /// # Errors
    /// What reading fails with.
    pub fn parts(self) -> Result<Pieces<'t, 's, K, P::Whole>> {
        let Self { task, mut ledger, runs, .. } = self;
        ledger.cover((runs.len() * CHUNK) as u64);
        Ok(Pieces { merge: Merge::new(task, &ByDigest, runs)?, _ledger: ledger })
    }
}

/// The parts of values, as they come.
pub struct Pieces<'t, 's, K: Key<'s>, A> {
    merge: Merge<'t, 's, (K, A), ByDigest>,
    _ledger: Ledger<'s>,
}

impl<'s, K: Key<'s>, A: Record<'s>> Pieces<'_, 's, K, A> {
    /// The next part.
    ///
    /// # Errors
    /// What reading fails with.
    pub fn next(&mut self) -> Result<Option<(Digest, K, A)>> {
        self.merge.next()
    }
}
