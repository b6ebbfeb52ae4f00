//! Records that were chosen by their places.

use crate::operator::{ENOUGH, Flow, MORE, Operator, sealed};
use crate::plan::{Needs, Parents, Partitioner};
use crate::task::Task;
use firesteel_common::Result;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

sealed! { Chosen<Op> }

/// The records at some places of each partition.
#[derive(Clone, Serialize, Deserialize)]
pub struct Chosen<Op> {
    op: Op,
    /// Driver only: for each partition the places, counted from its start, ascending.
    #[serde(skip)]
    places: Arc<Vec<Vec<u64>>>,
}

impl<Op> Chosen<Op> {
    /// The records at the `places` of a dataset whose partitions have `counts` records. The places are
    /// counted from the start of the first partition, and ascend.
    pub fn new(op: Op, counts: &[u64], places: &[u64]) -> Self {
        let mut places = places.iter().copied().peekable();
        let mut start = 0;
        let of_partition = |count: &u64| {
            let end = start + count;
            let mut here = Vec::new();
            while let Some(place) = places.next_if(|place| *place < end) {
                here.push(place - start);
            }
            start = end;
            here
        };
        let places = counts.iter().map(of_partition).collect();
        Self { op, places: Arc::new(places) }
    }
}

impl<'s, Op: Operator<'s>> Operator<'s> for Chosen<Op> {
    type Item = Op::Item;
    type Split = (Vec<u64>, Op::Split);

    fn splits(&self) -> Result<Vec<Self::Split>> {
        Ok(self.places.iter().cloned().zip(self.op.splits()?).collect())
    }

    fn describe(&self, split: &Self::Split, needs: &mut Needs) -> Result<()> {
        self.op.describe(&split.1, needs)
    }

    fn parents(&self, parents: &mut Parents<'s>) {
        self.op.parents(parents);
    }

    fn partitioner(&self) -> Option<Partitioner> {
        self.op.partitioner()
    }

    fn run<S>(&self, task: &Task<'s>, split: &Self::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(Op::Item) -> Flow,
    {
        let mut wanted = split.0.iter().copied().peekable();
        if wanted.peek().is_none() {
            return Ok(MORE);
        }
        let mut place = 0;
        let mut stopped = MORE;
        let _ = self.op.run(task, &split.1, &mut |record| {
            let chosen = wanted.next_if_eq(&place).is_some();
            place += 1;
            if chosen {
                stopped = sink(record);
            }
            if stopped.is_break() || wanted.peek().is_none() { ENOUGH } else { MORE }
        })?;
        Ok(stopped)
    }
}
