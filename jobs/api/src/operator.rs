//! What an operator is: a value that says where its records come from, and that runs over one split of them.
//!
//! A chain of operators is one type, so the compiler makes one loop of a whole stage. The driver asks a chain
//! what it is split into and what it reads; a task, which got the same chain as bytes, runs it.

use crate::checkpoint::Checkpoint;
use crate::plan::{Needs, Parents, Partitioner};
use crate::task::Task;
use firesteel_common::block::StorageLevel;
use firesteel_common::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ops::ControlFlow;

/// Whether a sink wants more records.
pub type Flow = ControlFlow<()>;
/// A sink wants more.
pub const MORE: Flow = ControlFlow::Continue(());
/// A sink has enough.
pub const ENOUGH: Flow = ControlFlow::Break(());

/// Goes on if it went well; else remembers why not, and has enough.
pub(crate) fn more_unless(done: Result<()>, failure: &mut Option<Error>) -> Flow {
    match done {
        Ok(()) => MORE,
        Err(error) => {
            *failure = Some(error);
            ENOUGH
        }
    }
}

/// What only this crate's operators and outputs have: others could hand records out of their task.
pub trait Sealed {}

/// Seals types of this crate.
macro_rules! sealed {
    ($($name:ident $(<$($parameter:tt),*>)?),* $(,)?) => {$(
        impl $(<$($parameter),*>)? $crate::operator::Sealed for $name $(<$($parameter),*>)? {}
    )*};
}
pub(crate) use sealed;

/// A part of a partition that stands for all of it: places that are spread evenly over it.
pub struct Excerpt<Split> {
    /// The places, each like a partition of its own.
    pub places: Vec<Split>,
    /// Which share of the partition they are.
    pub share: f64,
}

/// Cuts small places out of a range of bytes, whose numbers are multiples of `unit` from `start`; and which
/// share of the range they are. `None` if the range is too small for that to pay.
pub(crate) fn places(start: u64, end: u64, unit: u64) -> Option<(Vec<(u64, u64)>, f64)> {
    /// How many places, and about how many bytes each has.
    const PLACES: u64 = 64;
    const PLACE_BYTES: u64 = 4 * 1024;
    let unit = unit.max(1);
    let bytes = end.checked_sub(start).filter(|bytes| *bytes >= 8 * PLACES * PLACE_BYTES.max(unit))?;
    let len = PLACE_BYTES.div_ceil(unit) * unit;
    let place = |number: u64| {
        let from = start + (bytes / PLACES * number) / unit * unit;
        (from, from + len)
    };
    Some(((0..PLACES).map(place).collect(), (PLACES * len) as f64 / bytes as f64))
}

/// A source or a transformation of records. `'s` is as long as the bytes that a task reads lie in place.
/// Sealed: only this crate has operators, and only its tasks run them.
pub trait Operator<'s>: Sealed + Serialize + DeserializeOwned + Clone + Send + Sync + 's {
    /// The records that it gives.
    type Item: 's;
    /// What a task must know of the partition that it runs.
    type Split: Serialize + DeserializeOwned;

    /// Driver: the partitions.
    ///
    /// # Errors
    /// `INTERNAL` if it is asked in a task.
    fn splits(&self) -> Result<Vec<Self::Split>>;

    /// Driver: what one partition reads.
    ///
    /// # Errors
    /// `INTERNAL` if it is asked in a task.
    fn describe(&self, split: &Self::Split, needs: &mut Needs) -> Result<()>;

    /// Driver: the shuffles that it reads directly.
    fn parents(&self, parents: &mut Parents<'s>);

    /// Driver: how its records lie over the partitions, if that is known.
    fn partitioner(&self) -> Option<Partitioner> {
        None
    }

    /// A part of a partition that stands for all of it and costs much less to read, if there is such a part:
    /// for samples. Driver and task find the same.
    #[doc(hidden)]
    fn excerpt(&self, _split: &Self::Split) -> Option<Excerpt<Self::Split>> {
        None
    }

    /// Driver: what it does, for people.
    #[doc(hidden)]
    fn label(&self) -> String {
        crate::described::operators::<Self>()
    }

    /// Driver: where its partitions are kept, if it does nothing but keep them.
    #[doc(hidden)]
    fn storage_level(&self) -> Option<StorageLevel> {
        None
    }

    /// Driver: the checkpoint that it reads, if it does nothing else.
    #[doc(hidden)]
    fn checkpoint(&self) -> Option<Checkpoint> {
        None
    }

    /// Task: gives each record of the partition to the sink, in order, until it has enough.
    ///
    /// # Errors
    /// What reading failed with. A sink that fails remembers why and breaks off.
    fn run<S>(&self, task: &Task<'s>, split: &Self::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(Self::Item) -> Flow;
}
