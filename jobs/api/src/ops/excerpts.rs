//! Parts of partitions that stand for all of them, for samples: where a source can find records in the middle
//! of a partition, only a few places of it are read.

use crate::operator::{ENOUGH, Flow, MORE, Operator, sealed};
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
    type Split = Vec<Op::Split>;

    fn splits(&self) -> Result<Vec<Self::Split>> {
        let places = |split| match self.op.excerpt(&split) {
            Some(excerpt) => excerpt.places,
            None => vec![split],
        };
        Ok(self.op.splits()?.into_iter().map(places).collect())
    }

    fn describe(&self, split: &Self::Split, needs: &mut Needs) -> Result<()> {
        split.iter().try_for_each(|place| self.op.describe(place, needs))
    }

    fn parents(&self, parents: &mut Parents<'s>) {
        self.op.parents(parents);
    }

    fn run<S>(&self, task: &Task<'s>, split: &Self::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(Op::Item) -> Flow,
    {
        for place in split {
            if self.op.run(task, place, sink)?.is_break() {
                return Ok(ENOUGH);
            }
        }
        Ok(MORE)
    }
}
