//! Cached partitions as slices, read where they lie.

use crate::operator::{Flow, Operator, sealed};
use crate::ops::cached::{Cached, CachedSplit};
use crate::plan::{Needs, Parents};
use crate::record::plain::{Plain, in_place};
use crate::task::Task;
use firesteel_common::Result;
use serde::{Deserialize, Serialize};

sealed! { Slices<'s, T> }

/// See [`crate::Rdd::slices`].
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Slices<'s, T> {
    /// What is cached.
    pub cached: Cached<'s, T>,
}

impl<T> Clone for Slices<'_, T> {
    fn clone(&self) -> Self {
        Self { cached: self.cached.clone() }
    }
}

impl<'s, T: Plain> Operator<'s> for Slices<'s, T> {
    type Item = &'s [T];
    type Split = CachedSplit;

    fn splits(&self) -> Result<Vec<CachedSplit>> {
        self.cached.splits()
    }

    fn describe(&self, split: &CachedSplit, needs: &mut Needs) -> Result<()> {
        self.cached.describe(split, needs)
    }

    fn parents(&self, parents: &mut Parents<'s>) {
        self.cached.parents(parents);
    }

    fn run<S>(&self, task: &Task<'s>, split: &CachedSplit, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(&'s [T]) -> Flow,
    {
        let (records, payload) = self.cached.held(task, split)?;
        Ok(sink(in_place(task, payload, records)?))
    }
}
