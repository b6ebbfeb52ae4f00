//! What a task may ask of its executor: inputs, outputs, cached partitions, memory, and to be counted.

use super::answers::{Answer, killed};
use super::damage::{self, Point};
use super::fetch::{self, WholeBlock};
use super::host::Host;
use super::inputs::Inputs;
use super::mapped::Lookup;
use super::memory::TaskMemory;
use super::output::{self, MapOutput};
use super::signal::Signal;
use super::spool::Written;
use firesteel_common::block::{BlockId, BlockKind, MapStatus, StorageLevel, StoredBlock};
use firesteel_common::id::{StageId, TaskId};
use firesteel_common::protocol::executor::FromExecutor;
use firesteel_common::protocol::worker::{CachedPlace, StageCode, TaskLaunch};
use firesteel_common::task::{
    AccumulatorUpdate, MapOutputWriter, Segment, SegmentStream, TaskDescription, TaskIo, TaskMetrics,
};
use firesteel_common::{Error, ErrorCode, Payload, Result};
use parking_lot::Mutex;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A cached partition of fewer bytes is written without asking first.
const OFFERED_MIN: usize = 256 * 1024;

type Output = Arc<Mutex<Option<(MapStatus, Written)>>>;

/// One attempt as its engine sees it.
pub struct TaskContext {
    host: Arc<Host>,
    description: TaskDescription,
    inputs: Vec<StageId>,
    cached: Vec<CachedPlace>,
    signal: Arc<Signal>,
    metrics: Arc<Mutex<TaskMetrics>>,
    accumulators: Mutex<Vec<AccumulatorUpdate>>,
    stored: Mutex<Vec<StoredBlock>>,
    output: Output,
    memory: Arc<TaskMemory>,
    /// Frames of runs that were spilled, for tests.
    frames: AtomicU64,
}

impl TaskContext {
    /// The context of a launched attempt.
    pub fn new(host: Arc<Host>, code: &StageCode, launch: TaskLaunch, signal: Arc<Signal>) -> Self {
        let description = TaskDescription {
            task: launch.task,
            stage_payload: code.payload.clone(),
            task_payload: launch.payload,
            reducers: code.reducers,
            inputs: launch.reads,
        };
        let memory = TaskMemory::new(host.clone(), signal.clone());
        Self {
            host,
            description,
            inputs: code.inputs.clone(),
            cached: launch.cached,
            signal,
            metrics: Arc::default(),
            accumulators: Mutex::default(),
            stored: Mutex::default(),
            output: Arc::default(),
            memory,
            frames: AtomicU64::new(0),
        }
    }

    /// Which attempt it is.
    pub fn task(&self) -> TaskId {
        self.description.task
    }

    /// The map output, once it is finished.
    pub fn take_output(&self) -> Option<(MapStatus, Written)> {
        self.output.lock().take()
    }

    /// What the attempt has cost so far.
    pub fn metrics(&self) -> TaskMetrics {
        *self.metrics.lock()
    }

    /// What it added to accumulators.
    pub fn take_accumulators(&self) -> Vec<AccumulatorUpdate> {
        std::mem::take(&mut self.accumulators.lock())
    }

    /// What it has stored.
    pub fn take_stored(&self) -> Vec<StoredBlock> {
        std::mem::take(&mut self.stored.lock())
    }

    /// Returns what the engine has not returned.
    pub fn close(&self) {
        self.memory.close();
    }

    /// A block of the own worker; `None` if it is not there or no good.
    fn own_block(&self, kind: BlockKind) -> Result<Option<(Segment, u64)>> {
        let since = self.host.mappings.now();
        loop {
            let seen = self.signal.changes();
            match self.host.mappings.look_up(&self.host.worker, kind, since)? {
                Lookup::Mapped(mapped) => match mapped.segment(0, 0, &self.memory) {
                    Ok(segment) => return Ok(segment),
                    Err(error) => return self.cannot_use(kind, &error),
                },
                Lookup::Missing => return Ok(None),
                Lookup::Corrupt(error) => return self.cannot_use(kind, &error),
                Lookup::Asked if self.signal.stopped() => return Err(killed()),
                Lookup::Asked => {
                    let waited = self.signal.wait(seen);
                    self.metrics.lock().fetch_wait_us += waited.as_micros() as u64;
                }
            }
        }
    }

    /// A cached partition is no good: it goes, and is made anew.
    fn cannot_use(&self, kind: BlockKind, error: &Error) -> Result<Option<(Segment, u64)>> {
        tracing::warn!("a cached partition cannot be used: {error}");
        self.host.mappings.drop_block(kind);
        let block = BlockId { app: self.host.setup.app, kind };
        self.host.worker.send(&FromExecutor::Damaged(block), None)?;
        Ok(None)
    }

    /// A cached partition of another worker; `None` if none of those that are known has it.
    fn remote_block(&self, block: BlockId) -> Result<Option<WholeBlock>> {
        for place in &self.cached {
            let kind = BlockKind::Cached { dataset: place.dataset, partition: place.partition };
            if kind != block.kind || place.worker == self.host.setup.worker {
                continue;
            }
            let peer = (place.worker, place.address.clone());
            match fetch::whole_block(&self.host, &peer, block, &self.signal, &self.memory) {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                Err(_) if self.signal.stopped() => return Err(killed()),
                // It is made anew instead: lineage is the remedy for whatever is wrong over there.
                Err(error) => tracing::warn!("a cached partition of {}: {error}", place.worker),
            }
        }
        Ok(None)
    }
}

impl TaskIo for TaskContext {
    fn description(&self) -> &TaskDescription {
        &self.description
    }

    fn read_input(&self, input: usize) -> Result<Box<dyn SegmentStream>> {
        let (Some(stage), Some(ranges)) = (self.inputs.get(input), self.description.inputs.get(input)) else {
            return Err(Error::new(ErrorCode::Internal, format!("a task has no input {input}")));
        };
        let (host, signal) = (self.host.clone(), self.signal.clone());
        let (memory, metrics) = (self.memory.clone(), self.metrics.clone());
        let inputs = Inputs::open(host, self.task(), *stage, ranges, signal, memory, metrics)?;
        Ok(Box::new(inputs))
    }

    fn map_output(&self) -> Result<Box<dyn MapOutputWriter>> {
        if self.description.reducers == 0 {
            return Err(Error::new(ErrorCode::Internal, "a result task has no map output"));
        }
        let (output, metrics) = (self.output.clone(), self.metrics.clone());
        let finished = Box::new(move |status: MapStatus, written: Written| {
            {
                let mut metrics = metrics.lock();
                metrics.written_bytes += status.bytes();
                metrics.written_records += status.segments.iter().map(|stat| stat.rows).sum::<u64>();
                metrics.spilled_bytes += written.spilled();
            }
            *output.lock() = Some((status, written));
        });
        let memory = Some(self.memory.nothing());
        Ok(Box::new(MapOutput::create(self.description.reducers, memory, finished)?))
    }

    fn cached(&self, block: BlockId) -> Result<Option<Segment>> {
        if block.app != self.host.setup.app {
            return Err(Error::new(ErrorCode::Internal, format!("{block} is of another application")));
        }
        if let Some((segment, bytes)) = self.own_block(block.kind)? {
            let mut metrics = self.metrics.lock();
            metrics.local_read_bytes += bytes;
            metrics.read_records += segment.header.records;
            return Ok(Some(segment));
        }
        let Some(found) = self.remote_block(block)? else { return Ok(None) };
        let mut metrics = self.metrics.lock();
        let read = if found.mapped { &mut metrics.local_read_bytes } else { &mut metrics.remote_read_bytes };
        *read += found.bytes;
        metrics.read_records += found.segment.header.records;
        Ok(Some(found.segment))
    }

    fn store(
        &self,
        block: BlockId,
        level: StorageLevel,
        type_tag: u64,
        records: u64,
        payload: &[u8],
    ) -> Result<bool> {
        // It is here twice until it has been handed over.
        let _charge = self.memory.charge(payload.len() as u64);
        // Where there is no room, it need not be written to be refused.
        if payload.len() >= OFFERED_MIN && !level.uses_disk() {
            let bytes = payload.len() as u64;
            let offer = |request| FromExecutor::Offer { request, block, bytes, level };
            if !matches!(
                self.host.answers.ask(&self.host.worker, &self.signal, None, offer)?,
                Answer::Stored(true)
            ) {
                return Ok(false);
            }
        }
        let (fd, bytes) = output::single_segment("firesteel-cached", type_tag, records, payload)?;
        damage::spoil(&self.host, Point::Cached, self.task(), &fd, bytes);
        let store = |request| FromExecutor::Store { request, block, bytes, level };
        let answer = self.host.answers.ask(&self.host.worker, &self.signal, Some(fd.as_fd()), store)?;
        let kept = matches!(answer, Answer::Stored(true));
        if kept {
            self.stored.lock().push(StoredBlock { block, level });
            let mut metrics = self.metrics.lock();
            metrics.written_bytes += bytes;
            metrics.written_records += records;
        }
        Ok(kept)
    }

    fn accumulate(&self, id: u32, value: Payload) {
        self.accumulators.lock().push(AccumulatorUpdate { id, value });
    }

    fn add_metrics(&self, add: &dyn Fn(&mut TaskMetrics)) {
        add(&mut self.metrics.lock());
    }

    fn spilled(&self, file: BorrowedFd<'_>, stored: Range<u64>) {
        damage::spoil_frame(&self.host, self.task(), &self.frames, file, stored);
    }

    fn acquire_memory(&self, bytes: u64) -> u64 {
        self.memory.acquire(bytes)
    }

    fn release_memory(&self, bytes: u64) {
        self.memory.release(bytes);
    }

    fn cancelled(&self) -> bool {
        self.signal.stopped()
    }
}
