//! Parts of partitions that stand for all of them, for samples: where a source can find records in the middle
//! of a partition, only a few places of it are read.

use crate::operator::{ENOUGH, Flow, MORE, Operator, sealed};
use crate::ops::narrow::passes_on;
use crate::plan::{Needs, Parents};
use crate::task::Task;
use firesteel_common::Result;
use serde::{Deserialize, Serialize};

sealed! { Excerpts<Op> }

/// An excerpt of each partition, or all of it if there is none.
#[derive(Clone, Serialize, Deserialize)]
pub struct Excerpts<Op> {
    /// Of what.
    pub op: Op,
}

impl<Op> Excerpts<Op> {
    /// Driver: which share of each partition is read.
    ///
    /// # Errors
    /// What the dataset answers.
    pub fn shares<'s>(&self) -> Result<Vec<f64>>
    where
        Op: Operator<'s>,
    {
        let splits = self.op.splits()?;
        Ok(splits.iter().map(|split| self.op.excerpt(split).map_or(1.0, |excerpt| excerpt.share)).collect())
    }
}

impl<'s, Op: Operator<'s>> Operator<'s> for Excerpts<Op> {
    type Item = Op::Item;
    passes_on!();

    fn run<S>(&self, task: &Task<'s>, split: &Op::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(Op::Item) -> Flow,
    {
        // Found here and not by the driver: a task is then told as little as any other.
        let Some(excerpt) = self.op.excerpt(split) else { return self.op.run(task, split, sink) };
        for place in &excerpt.places {
            if self.op.run(task, place, sink)?.is_break() {
                return Ok(ENOUGH);
            }
        }
        Ok(MORE)
    }
}
