//! Chains whose type is forgotten, as one boxes an iterator: for loops that rebuild their dataset, for the
//! sides of a join, and for what is cached. Records are handed over in batches.

use crate::checkpoint::Checkpoint;
use crate::code::{BatchFn, Code};
use crate::operator::{Flow, MORE, Operator, sealed};
use crate::ops::shuffled::only_in_drivers;
use crate::plan::{Needs, Parents, Partitioner};
use crate::task::Task;
use firesteel_common::block::StorageLevel;
use firesteel_common::protocol::codec;
use firesteel_common::{Error, ErrorCode, Payload, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::Arc;

sealed! { Erased<'s, T> }

/// How many records are handed over at once.
const BATCH: usize = 1024;

/// A chain of which only the type of its records is known.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Erased<'s, T> {
    code: Code<BatchFn<'s, T>>,
    chain: Chain<'s>,
}

/// The chain itself in the driver, and as bytes in a task.
#[derive(Clone)]
enum Chain<'s> {
    Known(Arc<dyn Plan<'s> + 's>),
    Encoded(Payload),
}

impl Serialize for Chain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Chain::Known(plan) => plan.encode().map_err(serde::ser::Error::custom)?.serialize(serializer),
            Chain::Encoded(bytes) => bytes.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Chain<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Payload::deserialize(deserializer).map(Chain::Encoded)
    }
}

impl<T> Clone for Erased<'_, T> {
    fn clone(&self) -> Self {
        Self { code: self.code, chain: self.chain.clone() }
    }
}

/// What the driver asks of a chain whose type is forgotten.
trait Plan<'s>: Send + Sync {
    fn encode(&self) -> Result<Payload>;
    fn splits(&self) -> Result<Vec<Payload>>;
    fn describe(&self, split: &[u8], needs: &mut Needs) -> Result<()>;
    fn parents(&self, parents: &mut Parents<'s>);
    fn partitioner(&self) -> Option<Partitioner>;
    fn checkpoint(&self) -> Option<Checkpoint>;
    fn label(&self) -> String;
    fn storage_level(&self) -> Option<StorageLevel>;
}

struct Known<Op>(Op);

impl<'s, Op: Operator<'s>> Plan<'s> for Known<Op> {
    fn encode(&self) -> Result<Payload> {
        Ok(codec::encode(&self.0)?.into())
    }
    fn splits(&self) -> Result<Vec<Payload>> {
        self.0.splits()?.iter().map(|split| Ok(codec::encode(split)?.into())).collect()
    }
    fn describe(&self, split: &[u8], needs: &mut Needs) -> Result<()> {
        self.0.describe(&codec::decode(split)?, needs)
    }
    fn parents(&self, parents: &mut Parents<'s>) {
        self.0.parents(parents);
    }
    fn partitioner(&self) -> Option<Partitioner> {
        self.0.partitioner()
    }
    fn checkpoint(&self) -> Option<Checkpoint> {
        self.0.checkpoint()
    }
    fn label(&self) -> String {
        self.0.label()
    }
    fn storage_level(&self) -> Option<StorageLevel> {
        self.0.storage_level()
    }
}

impl<'s, T: 's> Erased<'s, T> {
    /// Forgets the type of a chain.
    pub fn new<Op: Operator<'s, Item = T>>(op: Op) -> Self {
        Self { code: Code::of(run_batches::<Op> as BatchFn<'s, T>), chain: Chain::Known(Arc::new(Known(op))) }
    }

    fn plan(&self) -> Result<&Arc<dyn Plan<'s> + 's>> {
        match &self.chain {
            Chain::Known(plan) => Ok(plan),
            Chain::Encoded(_) => Err(only_in_drivers()),
        }
    }
}

/// The code of an erased chain.
fn run_batches<'s, Op: Operator<'s>>(
    task: &Task<'s>,
    program: &[u8],
    split: &[u8],
    sink: &mut dyn FnMut(&mut Vec<Op::Item>) -> Flow,
) -> Result<Flow> {
    let op: Op = codec::decode(program)?;
    let split: Op::Split = codec::decode(split)?;
    let mut batch = Vec::with_capacity(BATCH);
    let flow = op.run(task, &split, &mut |record| {
        batch.push(record);
        if batch.len() == BATCH { sink(&mut batch) } else { MORE }
    })?;
    if flow.is_break() || batch.is_empty() {
        return Ok(flow);
    }
    Ok(sink(&mut batch))
}

impl<'s, T: 's> Operator<'s> for Erased<'s, T> {
    type Item = T;
    type Split = Payload;

    fn splits(&self) -> Result<Vec<Payload>> {
        self.plan()?.splits()
    }

    fn describe(&self, split: &Payload, needs: &mut Needs) -> Result<()> {
        self.plan()?.describe(split, needs)
    }

    fn parents(&self, parents: &mut Parents<'s>) {
        if let Ok(plan) = self.plan() {
            plan.parents(parents);
        }
    }

    fn partitioner(&self) -> Option<Partitioner> {
        self.plan().ok()?.partitioner()
    }

    fn checkpoint(&self) -> Option<Checkpoint> {
        self.plan().ok()?.checkpoint()
    }

    fn label(&self) -> String {
        self.plan().map_or_else(|_| crate::described::operators::<Self>(), |plan| plan.label())
    }

    fn storage_level(&self) -> Option<StorageLevel> {
        self.plan().ok()?.storage_level()
    }

    fn run<S: FnMut(T) -> Flow>(&self, task: &Task<'s>, split: &Payload, sink: &mut S) -> Result<Flow> {
        let Chain::Encoded(program) = &self.chain else {
            return Err(Error::new(ErrorCode::Internal, "a driver was asked to run a task"));
        };
        let mut batches = |batch: &mut Vec<T>| batch.drain(..).try_for_each(&mut *sink);
        (self.code.get())(task, program, split, &mut batches)
    }
}
