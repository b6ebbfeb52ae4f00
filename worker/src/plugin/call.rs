//! One call into a plugin, from the host's side: what the plugin may ask during it, in safe words.

use super::files::{self, InputFile};
use super::output::{TaskOutput, Writer};
use firesteel_common::block::{BlockId, BlockKind, MapStatus, StorageLevel};
use firesteel_common::id::{AppAttemptId, DatasetId, JobId, PluginHash, StageId};
use firesteel_common::job::{JobEvent, JobRunner};
use firesteel_common::protocol::codec;
use firesteel_common::task::{MapOutputWriter, Segment, SegmentStream, TaskIo};
use firesteel_common::{Error, ErrorCode, Payload, Result};
use firesteel_store::FrameFile;
use parking_lot::Mutex;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Bytes that stay in place while they are leased.
pub(super) type Owner = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Whom the call is for.
pub(super) enum Side {
    /// A task.
    Task(Arc<dyn TaskIo>),
    /// An entry point.
    Driver {
        /// Its application attempt, as which it writes.
        writer: Writer,
        /// The plugin that it comes from.
        plugin: PluginHash,
        /// The runtime.
        runner: Arc<dyn JobRunner>,
    },
}

/// A call while it runs.
pub(super) struct Call {
    side: Side,
    state: Mutex<State>,
}

/// What the plugin holds of the host, and what it has handed over. Everything goes when the call ends.
#[derive(Default)]
struct State {
    next: u64,
    leases: BTreeMap<u64, Owner>,
    files: BTreeMap<u64, Arc<InputFile>>,
    outputs: BTreeMap<u64, TaskOutput>,
    streams: BTreeMap<u64, Box<dyn SegmentStream>>,
    /// Runs on disk.
    runs: BTreeMap<u64, FrameFile>,
    writer: Option<Box<dyn MapOutputWriter>>,
    written: Option<MapStatus>,
    result: Option<Payload>,
    failure: Option<Error>,
    /// Output directories that are prepared and not committed.
    prepared: Vec<String>,
}

/// A leased segment: its number, where its payload lies, and its header.
pub(super) struct LeasedSegment {
    /// The number of the lease.
    pub(super) lease: u64,
    /// What keeps the payload in place.
    pub(super) owner: Owner,
    /// Where it comes from and what it is; its own payload may be packed, `owner`'s is not.
    pub(super) segment: Segment,
}

/// The payload of a segment that was stored as it is.
struct InPlace(Segment);

impl AsRef<[u8]> for InPlace {
    fn as_ref(&self) -> &[u8] {
        self.0.payload()
    }
}

fn unknown(what: &str) -> Error {
    Error::new(ErrorCode::Internal, format!("the plugin named {what} that it does not have"))
}

fn not_here(what: &str) -> Error {
    Error::new(ErrorCode::Unsupported, format!("{what} is not to be had here"))
}

impl Call {
    /// A call for a task or a driver.
    pub(super) fn new(side: Side) -> Self {
        Self { side, state: Mutex::default() }
    }

    /// The task that the call is for.
    pub(super) fn io(&self) -> Result<&Arc<dyn TaskIo>> {
        match &self.side {
            Side::Task(io) => Ok(io),
            Side::Driver { .. } => Err(not_here("what only tasks have")),
        }
    }

    /// The driver that the call is for.
    pub(super) fn driver(&self) -> Result<(AppAttemptId, PluginHash, &Arc<dyn JobRunner>)> {
        match &self.side {
            Side::Driver { writer, plugin, runner } => Ok((writer.app, *plugin, runner)),
            Side::Task(_) => Err(not_here("what only drivers have")),
        }
    }

    /// As whom the driver writes outputs.
    fn writer(&self) -> Result<&Writer> {
        match &self.side {
            Side::Driver { writer, .. } => Ok(writer),
            Side::Task(_) => Err(not_here("what only drivers have")),
        }
    }

    /// Whether the plugin should stop.
    pub(super) fn cancelled(&self) -> bool {
        self.io().is_ok_and(|io| io.cancelled())
    }

    fn keep<T>(&self, value: T, into: impl FnOnce(&mut State) -> &mut BTreeMap<u64, T>) -> u64 {
        let mut state = self.state.lock();
        state.next += 1;
        let number = state.next;
        into(&mut state).insert(number, value);
        number
    }

    /// Leases bytes.
    pub(super) fn lease(&self, owner: Owner) -> u64 {
        self.keep(owner, |state| &mut state.leases)
    }

    /// Takes a lease back.
    pub(super) fn release(&self, lease: u64) {
        let released = self.state.lock().leases.remove(&lease);
        drop(released);
    }

    /// Encodes a value to be leased.
    pub(super) fn encoded<T: Serialize>(value: &T) -> Result<Owner> {
        Ok(Arc::new(codec::encode(value)?))
    }

    /// The plugin's error.
    pub(super) fn fail(&self, error: &[u8]) {
        let error = codec::decode(error).unwrap_or_else(|cause: Error| {
            Error::new(ErrorCode::JobFailed, "the plugin failed with an error that cannot be read")
                .with_detail(cause.message)
        });
        self.state.lock().failure = Some(error);
    }

    /// The plugin's result.
    pub(super) fn result(&self, bytes: &[u8]) {
        self.state.lock().result = Some(bytes.into());
    }

    /// How the call ended: its map output, its result, or its error.
    pub(super) fn end(self, went_well: bool) -> Result<(Option<MapStatus>, Option<Payload>)> {
        let mut state = self.state.into_inner();
        if let Side::Driver { writer, .. } = &self.side {
            state.prepared.drain(..).for_each(|dir| writer.abandon(&dir));
        }
        if went_well {
            return Ok((state.written, state.result));
        }
        let silent = || Error::new(ErrorCode::PluginAbi, "the plugin failed and did not say why");
        Err(state.failure.unwrap_or_else(silent))
    }

    /// See `HostTable::list_files`.
    pub(super) fn list_files(path: &str) -> Result<Owner> {
        Self::encoded(&files::list(path)?)
    }

    /// See `HostTable::open_file`.
    pub(super) fn open_file(&self, path: &str) -> Result<u64> {
        Ok(self.keep(Arc::new(InputFile::open(path)?), |state| &mut state.files))
    }

    /// See `HostTable::read_file`.
    pub(super) fn read_file(&self, file: u64, from: u64, max: u64) -> Result<Owner> {
        let file = self.state.lock().files.get(&file).cloned().ok_or_else(|| unknown("a file"))?;
        Ok(Arc::new(file.read(from, max)?))
    }

    /// See `HostTable::close_file`.
    pub(super) fn close_file(&self, file: u64) {
        self.state.lock().files.remove(&file);
    }

    /// See `HostTable::output_open`.
    pub(super) fn output_open(&self, dir: &str, name: &str) -> Result<u64> {
        let output = TaskOutput::create(dir, name, self.io()?.description().task)?;
        Ok(self.keep(output, |state| &mut state.outputs))
    }

    /// See `HostTable::output_write`.
    pub(super) fn output_write(&self, file: u64, bytes: &[u8]) -> Result<()> {
        self.state.lock().outputs.get_mut(&file).ok_or_else(|| unknown("an output"))?.write(bytes)
    }

    /// See `HostTable::output_close`.
    pub(super) fn output_close(&self, file: u64) -> Result<()> {
        let output = self.state.lock().outputs.remove(&file);
        output.ok_or_else(|| unknown("an output"))?.finish()
    }

    /// See `HostTable::output_prepare`.
    pub(super) fn output_prepare(&self, dir: &str) -> Result<()> {
        self.writer()?.prepare(dir)?;
        self.state.lock().prepared.push(dir.to_owned());
        Ok(())
    }

    /// See `HostTable::output_commit`.
    pub(super) fn output_commit(&self, dir: &str, winners: &[u8]) -> Result<()> {
        let winners: Vec<(String, u32)> = codec::decode(winners)?;
        self.writer()?.commit(dir, &winners)?;
        self.state.lock().prepared.retain(|prepared| prepared != dir);
        Ok(())
    }

    /// See `HostTable::input_open`.
    pub(super) fn input_open(&self, input: u32) -> Result<u64> {
        let stream = self.io()?.read_input(input as usize)?;
        Ok(self.keep(stream, |state| &mut state.streams))
    }

    /// See `HostTable::input_next`. The stream waits without holding what other calls need.
    pub(super) fn input_next(&self, input: u64) -> Result<Option<LeasedSegment>> {
        let mut stream = self.state.lock().streams.remove(&input).ok_or_else(|| unknown("an input"))?;
        let next = stream.next();
        self.state.lock().streams.insert(input, stream);
        next?.map(|segment| self.lease_segment(segment)).transpose()
    }

    /// See `HostTable::input_close`.
    pub(super) fn input_close(&self, input: u64) {
        let closed = self.state.lock().streams.remove(&input);
        drop(closed);
    }

    fn lease_segment(&self, segment: Segment) -> Result<LeasedSegment> {
        let unpacked = match firesteel_store::decompress(&segment.header, segment.payload())? {
            Cow::Borrowed(_) => None,
            Cow::Owned(bytes) => Some(bytes),
        };
        let owner: Owner = match unpacked {
            None => Arc::new(InPlace(segment.clone())),
            Some(bytes) => Arc::new(bytes),
        };
        Ok(LeasedSegment { lease: self.lease(owner.clone()), owner, segment })
    }

    /// See `HostTable::map_append`.
    pub(super) fn map_append(&self, type_tag: u64, records: u64, payload: &[u8]) -> Result<()> {
        self.to_output(|writer| writer.append(type_tag, records, payload))
    }

    /// See `HostTable::map_append_part`.
    pub(super) fn map_append_part(&self, tag: u64, records: u64, len: u64, part: &[u8]) -> Result<()> {
        self.to_output(|writer| writer.append_part(tag, records, len, part))
    }

    /// Writes to the map output, which begins with the first call. One that fails is given up.
    fn to_output(&self, write: impl FnOnce(&mut dyn MapOutputWriter) -> Result<()>) -> Result<()> {
        let io = self.io()?;
        let mut state = self.state.lock();
        let mut writer = match state.writer.take() {
            Some(writer) => writer,
            None => io.map_output()?,
        };
        write(&mut *writer)?;
        state.writer = Some(writer);
        Ok(())
    }

    /// See `HostTable::map_finish`.
    pub(super) fn map_finish(&self, statistics: &[u8]) -> Result<()> {
        let io = self.io()?;
        let mut state = self.state.lock();
        let writer = match state.writer.take() {
            Some(writer) => writer,
            None => io.map_output()?,
        };
        state.written = Some(writer.finish(statistics.into())?);
        Ok(())
    }

    fn cached_block(&self, dataset: u32, partition: u32) -> Result<BlockId> {
        let kind = BlockKind::Cached { dataset: DatasetId(dataset), partition };
        Ok(BlockId { app: self.io()?.description().task.app, kind })
    }

    /// See `HostTable::cached`.
    pub(super) fn cached(&self, dataset: u32, partition: u32) -> Result<Option<LeasedSegment>> {
        let found = self.io()?.cached(self.cached_block(dataset, partition)?)?;
        found.map(|segment| self.lease_segment(segment)).transpose()
    }

    /// See `HostTable::store_at`.
    pub(super) fn store_at(
        &self,
        (dataset, partition): (u32, u32),
        level: StorageLevel,
        tag: u64,
        records: u64,
        bytes: &[u8],
    ) -> Result<bool> {
        self.io()?.store(self.cached_block(dataset, partition)?, level, tag, records, bytes)
    }

    /// See `HostTable::spill_create`. The run is in the executor's own directory, which its sandbox lets it
    /// write, and goes with this call at the latest.
    pub(super) fn spill_create(&self) -> Result<u64> {
        self.io()?;
        let run = FrameFile::create(&std::env::temp_dir())?;
        Ok(self.keep(run, |state| &mut state.runs))
    }

    /// See `HostTable::spill_write`: one frame.
    pub(super) fn spill_write(&self, run: u64, bytes: &[u8]) -> Result<()> {
        let io = self.io()?;
        let mut state = self.state.lock();
        let file = state.runs.get_mut(&run).ok_or_else(|| unknown("a run"))?;
        let from = file.stored();
        file.append(bytes)?;
        io.spilled(file.fd(), from..file.stored());
        drop(state);
        io.add_metrics(&|metrics| metrics.spilled_bytes += bytes.len() as u64);
        Ok(())
    }

    /// See `HostTable::spill_read`: at most the rest of the frame in which `from` lies.
    pub(super) fn spill_read(&self, run: u64, from: u64, max: u64) -> Result<Owner> {
        let state = self.state.lock();
        let read = state.runs.get(&run).ok_or_else(|| unknown("a run"))?.read(from, max);
        let read = read.map_err(|mut error| {
            error.message = format!("run {run}, byte {from}: {}", error.message);
            error
        });
        Ok(Arc::new(read?))
    }

    /// See `HostTable::spill_drop`.
    pub(super) fn spill_drop(&self, run: u64) {
        let ended = self.state.lock().runs.remove(&run);
        drop(ended);
    }

    /// See `HostTable::submit`.
    pub(super) fn submit(&self, job: &[u8]) -> Result<()> {
        self.driver()?.2.submit(codec::decode(job)?)
    }

    /// See `HostTable::extend`.
    pub(super) fn extend(&self, extension: &[u8]) -> Result<()> {
        let (job, stages, targets, open) = codec::decode(extension)?;
        self.driver()?.2.extend(job, stages, targets, open)
    }

    /// See `HostTable::next_event`.
    pub(super) fn next_event(&self, job: u32) -> Result<Owner> {
        let event: JobEvent = self.driver()?.2.next_event(JobId(job))?;
        Self::encoded(&event)
    }

    /// See `HostTable::next_event_within`.
    pub(super) fn next_event_within(&self, job: u32, at_most: Duration) -> Result<Option<Owner>> {
        let event = self.driver()?.2.next_event_within(JobId(job), at_most)?;
        event.map(|event| Self::encoded(&event)).transpose()
    }

    /// See `HostTable::fetch`.
    pub(super) fn fetch(&self, value: &[u8]) -> Result<Owner> {
        struct Fetched(Payload);
        impl AsRef<[u8]> for Fetched {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        let payload = self.driver()?.2.fetch(&codec::decode(value)?)?;
        Ok(Arc::new(Fetched(payload)))
    }

    /// See `HostTable::release_result`.
    pub(super) fn release_result(&self, block: &[u8]) -> Result<()> {
        self.driver()?.2.release_result(codec::decode(block)?);
        Ok(())
    }

    /// See `HostTable::release_stages`.
    pub(super) fn release_stages(&self, released: &[u8]) -> Result<()> {
        let (stages, datasets): (Vec<StageId>, Vec<DatasetId>) = codec::decode(released)?;
        self.driver()?.2.release(stages, datasets);
        Ok(())
    }
}
