//! Virtual time and chance: a queue of what will happen, and numbers that follow from a seed.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Pseudo-random numbers (splitmix64): small, fast, the same everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(mix(seed, 0x5eed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0)
    }

    /// A number below `end`; 0 if `end` is.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next() % end }
    }

    /// A number from `low` to `high`, both possible.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let at = self.below(from.len() as u64) as usize;
        from.get(at).copied()
    }
}

fn scramble(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A number that depends on both, and on their order.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    scramble(a.rotate_left(17) ^ scramble(b.wrapping_add(0x9e37_79b9_7f4a_7c15)))
}

struct Entry<T> {
    at: u64,
    number: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    /// The earliest is the greatest, since the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// Virtual time in microseconds, and what will happen when. What is due at the same time happens in the order
/// in which it was planned.
pub(crate) struct Clock<T> {
    now: u64,
    planned: u64,
    queue: BinaryHeap<Entry<T>>,
}

impl<T> Clock<T> {
    pub(crate) fn new() -> Self {
        Self { now: 0, planned: 0, queue: BinaryHeap::new() }
    }

    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// Plans something for a time; one that is past means now.
    pub(crate) fn at(&mut self, at: u64, what: T) {
        self.planned += 1;
        self.queue.push(Entry { at: at.max(self.now), number: self.planned, what });
    }

    /// Plans something for later.
    pub(crate) fn after(&mut self, delay: u64, what: T) {
        self.at(self.now + delay, what);
    }

    /// Goes on to the next thing that happens.
    pub(crate) fn next(&mut self) -> Option<T> {
        let entry = self.queue.pop()?;
        self.now = entry.at;
        Some(entry.what)
    }
}
