//! How a task reads its shuffles: each segment is taken from the runtime when a reader wants it, and kept
//! only while one that wants it may still come.
//!
//! A stream has the segments of all reducers that the task reads, one reducer after the other. Who reads them
//! in this order passes over the stream once. Who reads a reducer again begins a further pass.

use firesteel_common::Result;
use firesteel_common::graph::ReadRange;
use firesteel_common::id::StageId;
use firesteel_common::task::{Segment, SegmentStream, TaskIo};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Who reads what of which shuffle.
pub struct Reading {
    /// The shuffle.
    pub shuffle: StageId,
    reducer: u32,
    pass: usize,
}

/// One way over the segments of a shuffle.
struct Pass {
    /// `None` when it is at its end.
    stream: Option<Box<dyn SegmentStream>>,
    /// Reducers that are being read or have been.
    begun: BTreeSet<u32>,
    /// What came while something else was wanted.
    waiting: BTreeMap<u32, VecDeque<Segment>>,
}

/// The ways over the segments of a shuffle.
pub struct Passes {
    input: usize,
    passes: Vec<Pass>,
}

/// Whether all segments of a reducer have come before the first of another.
fn is_over(ranges: &[ReadRange], wanted: u32, came: u32) -> bool {
    let last = ranges.iter().rposition(|range| range.reducers.contains(&wanted));
    let first = ranges.iter().position(|range| range.reducers.contains(&came));
    matches!((last, first), (Some(last), Some(first)) if last < first)
}

impl Passes {
    /// Nothing has been read of an input of the stage.
    pub fn new(input: usize) -> Self {
        Self { input, passes: Vec::new() }
    }

    /// Begins to read what was written for a reducer.
    ///
    /// # Errors
    /// What the runtime fails with.
    pub fn begin(&mut self, io: &dyn TaskIo, shuffle: StageId, reducer: u32) -> Result<Reading> {
        let fresh = self.passes.iter_mut().position(|pass| pass.begun.insert(reducer));
        if let Some(pass) = fresh {
            return Ok(Reading { shuffle, reducer, pass });
        }
        let stream = Some(io.read_input(self.input)?);
        self.passes.push(Pass { stream, begun: BTreeSet::from([reducer]), waiting: BTreeMap::new() });
        Ok(Reading { shuffle, reducer, pass: self.passes.len() - 1 })
    }

    /// The next segment.
    ///
    /// # Errors
    /// What the runtime fails with.
    pub fn next(&mut self, io: &dyn TaskIo, reading: &Reading) -> Result<Option<Segment>> {
        let Some(pass) = self.passes.get_mut(reading.pass) else { return Ok(None) };
        let ranges = io.description().inputs.get(self.input).map_or(&[][..], Vec::as_slice);
        if let Some(waiting) = pass.waiting.get_mut(&reading.reducer) {
            if let Some(segment) = waiting.pop_front() {
                return Ok(Some(segment));
            }
            pass.waiting.remove(&reading.reducer);
        }
        // What waits of others says that the stream is past this one.
        if pass.waiting.keys().any(|other| is_over(ranges, reading.reducer, *other)) {
            return Ok(None);
        }
        while let Some(stream) = &mut pass.stream {
            let Some(segment) = stream.next()? else {
                pass.stream = None;
                break;
            };
            if segment.reducer == reading.reducer {
                return Ok(Some(segment));
            }
            let over = is_over(ranges, reading.reducer, segment.reducer);
            pass.waiting.entry(segment.reducer).or_default().push_back(segment);
            if over {
                break;
            }
        }
        Ok(None)
    }
}
