//! The runtime and the host as the rest of this crate knows them, over the table. No unsafe code.

use super::table::Guest;
use crate::abi::Metric;
use crate::arena::Owner;
use crate::files::{FileInfo, Host, OpenFile, OutputFile, SpillFile};
use firesteel_common::block::{BlockId, BlockKind, Encoding, MapStatus, SegmentHeader, StorageLevel};
use firesteel_common::graph::StageSpec;
use firesteel_common::id::{AppAttemptId, AppId, DatasetId, JobId, StageId, TaskId};
use firesteel_common::job::{JobEvent, JobRunner, JobSpec, Target};
use firesteel_common::protocol::codec;
use firesteel_common::task::{
    MapOutputWriter, ResultValue, Segment, SegmentStream, TaskDescription, TaskIo, TaskMetrics,
};
use firesteel_common::{Error, ErrorCode, Payload, Result};
use std::time::Duration;

impl Host for Guest {
    fn list_files(&self, path: &str) -> Result<Vec<FileInfo>> {
        codec::decode((*self.list_files(path)?).as_ref())
    }

    fn open_file(&self, path: &str) -> Result<Box<dyn OpenFile>> {
        Ok(Box::new(GuestFile { host: *self, file: self.open_file(path)? }))
    }

    fn create_output(&self, dir: &str, name: &str) -> Result<Box<dyn OutputFile>> {
        Ok(Box::new(GuestOutput { host: *self, file: self.output_open(dir, name)? }))
    }

    fn prepare_output(&self, dir: &str) -> Result<()> {
        self.output_prepare(dir)
    }

    fn commit_output(&self, dir: &str, winners: &[(String, u32)]) -> Result<()> {
        self.output_commit(dir, &codec::encode(&winners)?)
    }

    fn create_spill(&self) -> Result<Box<dyn SpillFile>> {
        Ok(Box::new(GuestSpill { host: *self, run: self.spill_create()? }))
    }

    fn query(&self, text: &str) -> Result<Payload> {
        Ok((*self.query(text)?).as_ref().into())
    }

    fn log(&self, level: u32, text: &str) {
        self.log(level, text);
    }
}

struct GuestFile {
    host: Guest,
    file: u64,
}

impl OpenFile for GuestFile {
    fn read(&self, from: u64, max: u64) -> Result<Owner> {
        self.host.read_file(self.file, from, max)
    }
}

impl Drop for GuestFile {
    fn drop(&mut self) {
        self.host.close_file(self.file);
    }
}

struct GuestOutput {
    host: Guest,
    file: u64,
}

impl OutputFile for GuestOutput {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.host.output_write(self.file, bytes)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.host.output_close(self.file)
    }
}

struct GuestSpill {
    host: Guest,
    run: u64,
}

impl SpillFile for GuestSpill {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.host.spill_write(self.run, bytes)
    }

    fn read(&self, from: u64, max: u64) -> Result<Owner> {
        self.host.spill_read(self.run, from, max)
    }
}

impl Drop for GuestSpill {
    fn drop(&mut self) {
        self.host.spill_drop(self.run);
    }
}

/// A task of the host.
pub struct GuestTask {
    host: Guest,
    description: TaskDescription,
}

impl GuestTask {
    /// Asks the host what the task is.
    ///
    /// # Errors
    /// What the host fails with.
    pub fn new(host: Guest) -> Result<Self> {
        let (view, stage_payload, task_payload) = host.task()?;
        let inputs = (0..view.inputs).map(|input| codec::decode((*host.input_ranges(input)?).as_ref()));
        let app = AppAttemptId { app: AppId(view.app), attempt: view.app_attempt };
        let task =
            TaskId { app, stage: StageId(view.stage), partition: view.partition, attempt: view.attempt };
        let inputs = inputs.collect::<Result<_>>()?;
        let description =
            TaskDescription { task, stage_payload, task_payload, reducers: view.reducers, inputs };
        Ok(Self { host, description })
    }
}

fn segment((view, owner): (crate::abi::SegmentView, Owner)) -> Segment {
    let len = view.lease.bytes.len as u64;
    let header = SegmentHeader {
        encoding: Encoding::Plain,
        type_tag: view.type_tag,
        raw_len: len,
        stored_len: len,
        records: view.records,
        checksum: 0,
    };
    Segment::new(view.map, view.reducer, header, owner, 0)
}

/// Dataset and partition of a cached block.
fn cached_block(block: BlockId) -> Result<(u32, u32)> {
    match block.kind {
        BlockKind::Cached { dataset, partition } => Ok((dataset.0, partition)),
        _ => Err(Error::new(ErrorCode::Internal, format!("{block} is not a cached partition"))),
    }
}

impl TaskIo for GuestTask {
    fn description(&self) -> &TaskDescription {
        &self.description
    }

    fn read_input(&self, input: usize) -> Result<Box<dyn SegmentStream>> {
        Ok(Box::new(GuestStream { host: self.host, input: self.host.input_open(input as u32)? }))
    }

    fn map_output(&self) -> Result<Box<dyn MapOutputWriter>> {
        Ok(Box::new(GuestWriter { host: self.host }))
    }

    fn cached(&self, block: BlockId) -> Result<Option<Segment>> {
        let (dataset, partition) = cached_block(block)?;
        Ok(self.host.cached(dataset, partition)?.map(segment))
    }

    fn store(
        &self,
        block: BlockId,
        level: StorageLevel,
        type_tag: u64,
        records: u64,
        payload: &[u8],
    ) -> Result<bool> {
        self.host.store_at(cached_block(block)?, level.to_code(), type_tag, records, payload)
    }

    fn accumulate(&self, id: u32, value: Payload) {
        self.host.accumulate(id, &value);
    }

    fn add_metrics(&self, add: &dyn Fn(&mut TaskMetrics)) {
        let mut added = TaskMetrics::default();
        add(&mut added);
        for (metric, value) in [
            (Metric::InputBytes, added.input_bytes),
            (Metric::InputRecords, added.input_records),
            (Metric::ReadRecords, added.read_records),
            (Metric::OutputBytes, added.output_bytes),
            (Metric::SpilledBytes, added.spilled_bytes),
            (Metric::WrittenRecords, added.written_records),
        ] {
            if value > 0 {
                self.host.add_metric(metric, value);
            }
        }
    }

    fn acquire_memory(&self, bytes: u64) -> u64 {
        self.host.acquire_memory(bytes)
    }

    fn release_memory(&self, bytes: u64) {
        self.host.release_memory(bytes);
    }

    fn cancelled(&self) -> bool {
        self.host.cancelled()
    }
}

struct GuestStream {
    host: Guest,
    input: u64,
}

impl SegmentStream for GuestStream {
    fn next(&mut self) -> Result<Option<Segment>> {
        Ok(self.host.input_next(self.input)?.map(segment))
    }
}

impl Drop for GuestStream {
    fn drop(&mut self) {
        self.host.input_close(self.input);
    }
}

struct GuestWriter {
    host: Guest,
}

impl MapOutputWriter for GuestWriter {
    fn append(&mut self, type_tag: u64, records: u64, payload: &[u8]) -> Result<()> {
        self.host.map_append(type_tag, records, payload)
    }

    fn append_part(&mut self, type_tag: u64, records: u64, len: u64, part: &[u8]) -> Result<()> {
        self.host.map_append_part(type_tag, records, len, part)
    }

    /// The index stays with the host; the plugin gets an empty one.
    fn finish(self: Box<Self>, statistics: Payload) -> Result<MapStatus> {
        self.host.map_finish(&statistics)?;
        Ok(MapStatus::default())
    }
}

/// The runtime of the host's driver.
pub struct GuestRunner(pub Guest);

impl JobRunner for GuestRunner {
    fn submit(&self, job: JobSpec) -> Result<()> {
        self.0.submit(&codec::encode(&job)?)
    }

    fn extend(&self, job: JobId, stages: Vec<StageSpec>, targets: Vec<Target>, open: bool) -> Result<()> {
        self.0.extend(&codec::encode(&(job, stages, targets, open))?)
    }

    fn next_event(&self, job: JobId) -> Result<JobEvent> {
        codec::decode((*self.0.next_event(job.0)?).as_ref())
    }

    fn next_event_within(&self, job: JobId, at_most: Duration) -> Result<Option<JobEvent>> {
        let at_most_us = u64::try_from(at_most.as_micros()).unwrap_or(u64::MAX);
        let event = self.0.next_event_within(job.0, at_most_us)?;
        event.map(|event| codec::decode((*event).as_ref())).transpose()
    }

    fn fetch(&self, value: &ResultValue) -> Result<Payload> {
        Ok((*self.0.fetch(&codec::encode(value)?)?).as_ref().into())
    }

    fn release(&self, stages: Vec<StageId>, datasets: Vec<DatasetId>) {
        if let Ok(released) = codec::encode(&(stages, datasets)) {
            self.0.release_stages(&released);
        }
    }

    fn cancel(&self, job: JobId, reason: &str) {
        self.0.cancel(job.0, reason);
    }

    fn cancel_group(&self, group: &str, reason: &str) {
        self.0.cancel_group(group, reason);
    }

    fn slots(&self) -> u32 {
        self.0.slots()
    }

    fn release_result(&self, block: BlockId) {
        if let Ok(block) = codec::encode(&block) {
            self.0.release_result(&block);
        }
    }
}
