//! A task as its operators see it, and the function that runs it.

use crate::arena::{Arena, Owner};
use crate::attempt;
use crate::code::{Code, TaskFn};
use crate::files::Host;
use crate::operator::Operator;
use crate::output::Output;
use crate::passes::{Passes, Reading};
use crate::plan::StagePayload;
use crate::record::type_tag;
use firesteel_common::block::{BlockId, BlockKind, StorageLevel};
use firesteel_common::id::{DatasetId, StageId};
use firesteel_common::protocol::codec;
use firesteel_common::task::{ResultValue, Segment, TaskIo, TaskMetrics, TaskOutcome};
use firesteel_common::{Error, ErrorCode, Payload, Result};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a stage does: where its records come from and what becomes of them.
#[derive(Serialize, Deserialize)]
pub struct Program<Op, Out> {
    /// The operators.
    pub op: Op,
    /// What becomes of the records.
    pub output: Out,
}

/// What a task leaves behind.
pub enum Produced {
    /// A map output.
    MapOutput(firesteel_common::block::MapStatus),
    /// A value for the driver.
    Value(Vec<u8>),
}

/// One attempt at a task. `'s` is as long as what it reads lies in place.
pub struct Task<'s> {
    io: &'s dyn TaskIo,
    host: &'s dyn Host,
    arena: &'s Arena,
    inputs: Vec<StageId>,
    shuffles: RefCell<BTreeMap<StageId, Passes>>,
}

/// The bytes of a segment, with what keeps them in place.
struct SegmentBytes(Segment);

impl AsRef<[u8]> for SegmentBytes {
    fn as_ref(&self) -> &[u8] {
        self.0.payload()
    }
}

/// Shared bytes of a payload.
struct PayloadBytes(Payload);

impl AsRef<[u8]> for PayloadBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A cached block: where it lies for the time of the task, and how many records it
/// has.
pub struct Held<'s> {
    /// The records.
    pub payload: &'s [u8],
    /// How many there are.
    pub records: u64,
}

impl<'s> Task<'s> {
    /// What the runtime gives and takes.
    pub fn io(&self) -> &'s dyn TaskIo {
        self.io
    }

    /// Files and the rest.
    pub fn host(&self) -> &'s dyn Host {
        self.host
    }

    /// The partition of the stage.
    pub fn partition(&self) -> u32 {
        self.io.description().task.partition
    }

    /// Keeps bytes in place until the task ends.
    pub fn hold(&self, owner: Owner) -> &'s [u8] {
        self.arena.hold(owner)
    }

    /// Keeps the bytes of a payload in place until the task ends.
    pub fn hold_payload(&self, payload: &Payload) -> &'s [u8] {
        self.hold(Arc::new(PayloadBytes(payload.clone())))
    }

    /// Adds to what the task has cost.
    pub fn add_metrics(&self, add: impl Fn(&mut TaskMetrics)) {
        self.io.add_metrics(&add);
    }

    /// Fails if the attempt was told to stop.
    ///
    /// # Errors
    /// `KILLED`.
    pub fn check_cancelled(&self) -> Result<()> {
        if self.io.cancelled() {
            return Err(Error::new(ErrorCode::Killed, "the task was told to stop"));
        }
        Ok(())
    }

    /// Begins to read what a shuffle wrote for a reducer.
    ///
    /// # Errors
    /// What the runtime fails with.
    pub fn read(&self, shuffle: StageId, reducer: u32) -> Result<Reading> {
        let mut shuffles = self.shuffles.borrow_mut();
        let passes = match shuffles.entry(shuffle) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                let input = self.inputs.iter().position(|input| *input == shuffle).ok_or_else(|| {
                    let message = format!("a task reads {shuffle}, which is no input of it");
                    Error::new(ErrorCode::Internal, message)
                })?;
                new.insert(Passes::new(input))
            }
        };
        passes.begin(self.io, shuffle, reducer)
    }

    /// The next segment of a reading; they come in the order of the map partitions. The type of its records
    /// is checked. Nobody else keeps it.
    ///
    /// # Errors
    /// What the runtime fails with, `BLOCK_CORRUPT` if its records are of another type.
    pub fn next_segment<T>(&self, reading: &Reading) -> Result<Option<Segment>> {
        self.check_cancelled()?;
        let mut shuffles = self.shuffles.borrow_mut();
        let Some(passes) = shuffles.get_mut(&reading.shuffle) else { return Ok(None) };
        let Some(segment) = passes.next(self.io, reading)? else { return Ok(None) };
        check_type::<T>(&segment)?;
        Ok(Some(segment))
    }

    /// Keeps the payload of a segment in place until the task ends.
    pub fn hold_segment(&self, segment: Segment) -> &'s [u8] {
        self.hold(Arc::new(SegmentBytes(segment)))
    }

    fn held<T>(&self, segment: Segment) -> Result<Held<'s>> {
        check_type::<T>(&segment)?;
        let records = segment.header.records;
        Ok(Held { payload: self.hold_segment(segment), records })
    }

    /// A cached partition, if it is anywhere.
    ///
    /// # Errors
    /// What the runtime fails with, `BLOCK_CORRUPT` if its records are of another type.
    pub fn cached<T>(&self, dataset: DatasetId, partition: u32) -> Result<Option<Held<'s>>> {
        self.io.cached(self.cached_id(dataset, partition))?.map(|segment| self.held::<T>(segment)).transpose()
    }

    /// A cached partition as it lies, with what keeps it in place.
    ///
    /// # Errors
    /// What the runtime fails with.
    pub fn cached_segment(&self, dataset: DatasetId, partition: u32) -> Result<Option<Segment>> {
        self.io.cached(self.cached_id(dataset, partition))
    }

    /// Stores a cached partition, if there is room for it where its level allows it to be; says whether it
    /// was.
    ///
    /// # Errors
    /// What the runtime fails with.
    pub fn store<T>(
        &self,
        dataset: DatasetId,
        partition: u32,
        level: StorageLevel,
        records: u64,
        payload: &[u8],
    ) -> Result<bool> {
        self.io.store(self.cached_id(dataset, partition), level, type_tag::<T>(), records, payload)
    }

    fn cached_id(&self, dataset: DatasetId, partition: u32) -> BlockId {
        BlockId { app: self.io.description().task.app, kind: BlockKind::Cached { dataset, partition } }
    }
}

/// Checks that a segment holds records of a type.
fn check_type<T>(segment: &Segment) -> Result<()> {
    if segment.header.type_tag != type_tag::<T>() {
        let message = format!("a segment does not hold records of type {}", std::any::type_name::<T>());
        return Err(Error::new(ErrorCode::BlockCorrupt, message));
    }
    Ok(())
}

/// Runs one task to its end. Private to the crate: what the payloads of `io` name is called, so they must be
/// those of a stage that a driver of this very object built. The ABI's host promises that for `guest`, and
/// `testing` runs only what its own driver submitted.
///
/// # Errors
/// What its operators, its output or the runtime fail with.
pub fn run_task(io: &dyn TaskIo, host: &dyn Host) -> Result<TaskOutcome> {
    let description = io.description();
    let payload: StagePayload = codec::decode(&description.stage_payload)?;
    let arena = Arena::new();
    let code: Code<TaskFn<'_>> = codec::decode(&codec::encode(&payload.code)?)?;
    let task = Task { io, host, arena: &arena, inputs: payload.inputs, shuffles: RefCell::default() };
    let attempt = attempt::Guard::enter(description.task);
    let broadcasts = crate::broadcast::load(&task, &payload.broadcasts)?;
    let produced = code.get()(&task, &payload.program, &description.task_payload)?;
    drop(broadcasts);
    attempt.succeed(io);
    Ok(match produced {
        Produced::MapOutput(status) => TaskOutcome::MapOutput(status),
        Produced::Value(bytes) => TaskOutcome::Result(ResultValue::Inline(Payload::from(bytes))),
    })
}

/// The code of a task: one loop over its operators, made by the compiler for each chain.
///
/// # Errors
/// What its operators, its output or the runtime fail with.
pub fn run_program<'s, Op, Out>(task: &Task<'s>, program: &[u8], split: &[u8]) -> Result<Produced>
where
    Op: Operator<'s>,
    Out: Output<'s, Op::Item>,
{
    let program: Program<Op, Out> = codec::decode(program)?;
    let split: Op::Split = codec::decode(split)?;
    program.output.run(task, &program.op, &split)
}
