//! The table that combines records by key: entries in the order of their first record, found over an index.
//!
//! Tables outgrow the caches, so the price of a record is a trip to memory. Records therefore wait in a small
//! queue; when it is full, first all their places are touched (the trips overlap), then they are combined.

use crate::key::{Digest, Kept, Key};
use std::hint::black_box;

/// How many records wait together.
pub const QUEUE: usize = 32;
/// The least number of places of an index, as a power of two.
const INDEX_BITS_MIN: u32 = 10;
/// A table with fewer places, as a power of two, is small.
const INDEX_BITS_SMALL: u32 = 15;

/// A key with what was combined for it.
struct Entry<K, D, A> {
    digest: D,
    key: K,
    value: A,
}

impl<'s, K: Key<'s>, A> Entry<K, K::Kept, A> {
    #[inline(always)]
    fn is(&self, digest: Digest, key: &K) -> bool {
        self.digest.is(digest, || self.key == *key)
    }
}

/// A record that waits.
struct Waiting<K, V> {
    hash: u64,
    digest: Digest,
    key: K,
    value: V,
}

/// Combines values of type `V` into one `A` for each key.
pub struct Table<'s, K: Key<'s>, V, A, Create, Add> {
    /// For each place: the upper half of the hash, and the number of the entry counted from 1; 0 is free.
    index: Vec<u64>,
    bits: u32,
    entries: Vec<Entry<K, K::Kept, A>>,
    queue: Vec<Waiting<K, V>>,
    create: Create,
    add: Add,
}

impl<'s, K, V, A, Create, Add> Table<'s, K, V, A, Create, Add>
where
    K: Key<'s>,
    Create: Fn(V) -> A,
    Add: Fn(&mut A, V),
{
    /// An empty table. `create` makes the first value of a key, `add` adds a further one.
    pub fn new(create: Create, add: Add) -> Self {
        Self {
            index: vec![0; 1 << INDEX_BITS_MIN],
            bits: INDEX_BITS_MIN,
            entries: Vec::new(),
            queue: Vec::with_capacity(QUEUE),
            create,
            add,
        }
    }

    /// Adds a record. Answers whether the queue was combined, which is when the table may have grown.
    #[inline(always)]
    pub fn push(&mut self, key: K, value: V) -> bool {
        let digest = key.digest();
        self.queue.push(Waiting { hash: digest.hash(), digest, key, value });
        let full = self.queue.len() == QUEUE;
        if full {
            self.drain();
        }
        full
    }

    /// Combines what waits.
    #[inline(never)]
    fn drain(&mut self) {
        self.touch_hashes(self.queue.iter().map(|waiting| waiting.hash));
        let mut queue = std::mem::take(&mut self.queue);
        for waiting in queue.drain(..) {
            self.combine(waiting);
        }
        self.queue = queue;
    }

    #[inline(always)]
    fn combine(&mut self, record: Waiting<K, V>) {
        let mask = self.index.len() - 1;
        let mut place = (record.hash >> (64 - self.bits)) as usize;
        loop {
            let slot = self.index[place];
            if slot == 0 {
                return self.insert(place, record);
            }
            if (slot ^ record.hash) >> 32 == 0
                && let Some(entry) = self.entries.get_mut((slot as u32).wrapping_sub(1) as usize)
                && entry.is(record.digest, &record.key)
            {
                return (self.add)(&mut entry.value, record.value);
            }
            place = (place + 1) & mask;
        }
    }

    #[inline(always)]
    fn insert(&mut self, place: usize, record: Waiting<K, V>) {
        let value = (self.create)(record.value);
        self.entries.push(Entry { digest: K::Kept::of(record.digest), key: record.key, value });
        self.index[place] = (record.hash & !0xffff_ffff) | self.entries.len() as u64;
        if self.entries.len() >= self.limit() {
            self.grow();
        }
    }

    /// With how many entries it grows.
    pub fn limit(&self) -> usize {
        self.index.len() / 2
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// With how many entries it grows the next time after that.
    pub fn limit_grown(&self) -> usize {
        1 << (self.bits_grown() - 1)
    }

    /// How many places there will be. Who has outgrown a small table is likely to outgrow the next one.
    fn bits_grown(&self) -> u32 {
        self.bits + if self.bits < INDEX_BITS_SMALL { 2 } else { 1 }
    }

    /// Makes a larger index, and with it room for entries. The upper half of a hash is all that a place
    /// depends on.
    #[inline(never)]
    fn grow(&mut self) {
        let bits = self.bits_grown();
        let mask = (1_usize << bits) - 1;
        let mut index = vec![0; 1 << bits];
        for slot in self.index.iter().filter(|slot| **slot != 0) {
            let mut place = (*slot >> (64 - bits)) as usize;
            while index[place] != 0 {
                place = (place + 1) & mask;
            }
            index[place] = *slot;
        }
        self.index = index;
        self.bits = bits;
        self.entries.reserve_exact(self.limit().saturating_sub(self.entries.len()));
    }

    /// Makes the trips to memory that [`Table::get`] makes for several keys, all at once.
    #[inline(always)]
    pub fn touch<'k>(&self, keys: impl Iterator<Item = &'k K>)
    where
        K: 'k,
    {
        self.touch_hashes(keys.map(|key| key.digest().hash()));
    }

    #[inline(always)]
    fn touch_hashes(&self, hashes: impl Iterator<Item = u64>) {
        let shift = 64 - self.bits;
        let mut first = [usize::MAX; QUEUE];
        for (hash, first) in hashes.zip(&mut first) {
            let slot = self.index[(hash >> shift) as usize];
            *first = (slot as u32).wrapping_sub(1) as usize;
        }
        let touched = first.iter().filter_map(|entry| self.entries.get(*entry));
        black_box(touched.fold(0, |sum, entry| sum ^ entry.digest.digest(&entry.key).low));
    }

    /// The value of a key, if there is one. Nothing may wait (see [`Table::settle`]).
    pub fn get(&self, key: &K) -> Option<&A> {
        let digest = key.digest();
        let hash = digest.hash();
        let mut place = (hash >> (64 - self.bits)) as usize;
        loop {
            let slot = self.index[place];
            if slot == 0 {
                return None;
            }
            if (slot ^ hash) >> 32 == 0
                && let Some(entry) = self.entries.get((slot as u32).wrapping_sub(1) as usize)
                && entry.is(digest, key)
            {
                return Some(&entry.value);
            }
            place = (place + 1) & (self.index.len() - 1);
        }
    }

    /// Combines what still waits.
    pub fn settle(&mut self) {
        self.drain();
    }

    /// Bytes that the table takes once it has grown for the next time, without what its records own.
    pub fn bytes_grown(&self) -> u64 {
        // The old index goes only when the new one is full.
        let indexes = (self.index.len() + (1 << self.bits_grown())) * size_of::<u64>();
        (indexes + self.limit_grown() * size_of::<Entry<K, K::Kept, A>>()) as u64
    }

    /// Bytes that its entries own beyond the table, counted one by one; `heap` says what a value owns.
    pub fn heap(&self, heap: impl Fn(&A) -> usize) -> u64 {
        self.entries.iter().map(|entry| (entry.key.heap() + heap(&entry.value)) as u64).sum()
    }

    /// Puts the entries into the order of their digests. Nothing is found any more until all are taken out.
    pub fn order(&mut self) {
        self.drain();
        self.index.fill(0);
        self.entries.sort_unstable_by_key(|entry| entry.digest.digest(&entry.key));
    }

    /// The values in their order. Nothing may wait.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut A> {
        self.entries.iter_mut().map(|entry| &mut entry.value)
    }

    /// Takes all entries out, in the order in which [`Table::order`] has put them. The table keeps its size.
    pub fn take_all(&mut self) -> impl Iterator<Item = (K, A)> {
        self.entries.drain(..).map(|entry| (entry.key, entry.value))
    }

    /// The keys with their digests and values, in the order of their first records.
    pub fn finish(mut self) -> impl Iterator<Item = (Digest, K, A)> {
        self.drain();
        self.index = Vec::new();
        self.entries.into_iter().map(|entry| (entry.digest.digest(&entry.key), entry.key, entry.value))
    }
}
