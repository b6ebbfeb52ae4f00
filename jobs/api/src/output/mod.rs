//! What becomes of the records of a stage: a map output for a shuffle, or a value for the driver.

pub mod action;
mod buffers;
mod ranges;
pub mod save;
pub mod shuffle;

use crate::operator::{Operator, Sealed};
use crate::task::{Produced, Task};
use firesteel_common::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The end of a stage's loop. Sealed: only this crate has outputs.
pub trait Output<'s, T: 's>: Sealed + Serialize + DeserializeOwned + Clone + Send + Sync + 's {
    /// Runs the operators over the split, and makes something of what they give.
    ///
    /// # Errors
    /// What the operators or the runtime fail with.
    fn run<Op: Operator<'s, Item = T>>(
        &self,
        task: &Task<'s>,
        op: &Op,
        split: &Op::Split,
    ) -> Result<Produced>;
}
