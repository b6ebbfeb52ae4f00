//! The parts of a broadcast value: bytes that the driver has, written as they are.

use crate::operator::{Flow, MORE, Operator, sealed};
use crate::output::Output;
use crate::plan::{Needs, Parents};
use crate::record::type_tag;
use crate::task::{Produced, Task};
use firesteel_common::graph::CachedPartition;
use firesteel_common::id::DatasetId;
use firesteel_common::{Payload, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

sealed! { Parts, WriteParts }

/// Parts of one value, in order.
#[derive(Clone, Serialize, Deserialize)]
pub struct Parts {
    /// Driver only: the parts. Each travels with its task.
    #[serde(skip)]
    pub parts: Arc<Vec<Payload>>,
    /// What the whole value is called where it is kept.
    pub whole: DatasetId,
}

impl<'s> Operator<'s> for Parts {
    type Item = &'s [u8];
    type Split = Payload;

    fn splits(&self) -> Result<Vec<Payload>> {
        Ok(self.parts.to_vec())
    }

    /// No part is read from the whole; but the runtime keeps only partitions of datasets that it knows.
    fn describe(&self, _split: &Payload, needs: &mut Needs) -> Result<()> {
        needs.cached(CachedPartition { dataset: self.whole, partition: 0 }, |_| Ok(()))
    }

    fn parents(&self, _parents: &mut Parents<'s>) {}

    fn run<S: FnMut(&'s [u8]) -> Flow>(
        &self,
        task: &Task<'s>,
        split: &Payload,
        sink: &mut S,
    ) -> Result<Flow> {
        Ok(sink(task.hold_payload(split)))
    }
}

/// One segment of the bytes as they are, for the only reducer.
#[derive(Clone, Serialize, Deserialize)]
pub struct WriteParts;

impl<'s> Output<'s, &'s [u8]> for WriteParts {
    fn run<Op>(&self, task: &Task<'s>, op: &Op, split: &Op::Split) -> Result<Produced>
    where
        Op: Operator<'s, Item = &'s [u8]>,
    {
        let mut writer = task.io().map_output()?;
        let mut written = Ok(());
        let _ = op.run(task, split, &mut |bytes| {
            written = writer.append(type_tag::<&[u8]>(), 1, bytes);
            MORE
        })?;
        written?;
        Ok(Produced::MapOutput(writer.finish(Payload::empty())?))
    }
}
