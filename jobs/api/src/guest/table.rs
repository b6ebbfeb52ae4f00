//! The host's table in safe words: every call through a pointer of the host is here.

#![expect(unsafe_code, reason = "calls through the host's function table; the rules are those of the ABI")]

use crate::abi::{
    Bytes, Ctx, DriverView, HostTable, Lease, Metric, STATUS_END, STATUS_OK, SegmentView, TaskView,
};
use crate::arena::Owner;
use firesteel_common::protocol::codec;
use firesteel_common::{Error, ErrorCode, Payload, Result};
use std::sync::Arc;

/// The host of one call: its table, and the attempt or application that the call is for.
#[derive(Clone, Copy)]
pub struct Guest {
    table: HostTable,
    ctx: Ctx,
}

// SAFETY: the ABI says that a driver's functions may be called from any thread. A task's context stays on the
// thread that `run_task` was called on: its `Guest` lives in values that operators only borrow there.
unsafe impl Send for Guest {}
// SAFETY: as above.
unsafe impl Sync for Guest {}

/// Bytes of the host, given back when nobody needs them.
struct Leased {
    host: Guest,
    lease: Lease,
}

// SAFETY: a lease is read-only, and its bytes stay in place until it is given back.
unsafe impl Send for Leased {}
// SAFETY: as above.
unsafe impl Sync for Leased {}

impl AsRef<[u8]> for Leased {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the host keeps the bytes in place and unchanged until the lease is given back, in `drop`.
        unsafe { slice(self.lease.bytes) }
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        if self.lease.id != 0 {
            // SAFETY: the number comes from the host, and is given back once.
            unsafe { (self.host.table.release)(self.host.ctx, self.lease.id) }
        }
    }
}

/// Bytes of the host as a slice.
///
/// # Safety
/// They must stay in place and unchanged for `'a`.
unsafe fn slice<'a>(bytes: Bytes) -> &'a [u8] {
    if bytes.len == 0 {
        return &[];
    }
    // SAFETY: promised by the caller; the pointer is the host's, and not null where there are bytes.
    unsafe { std::slice::from_raw_parts(bytes.ptr, bytes.len) }
}

/// A call of the table that answers a status.
macro_rules! call {
    ($guest:expr, $function:ident $(, $argument:expr)*) => {{
        // SAFETY: the table is the host's, arguments are of its types, bytes and places live beyond the call.
        let status = unsafe { ($guest.table.$function)($guest.ctx $(, $argument)*) };
        $guest.check(status)
    }};
}

/// A call of the table that answers a status and fills a place; `None` at the end.
macro_rules! call_into {
    ($guest:expr, $function:ident, $place:expr $(, $argument:expr)*) => {{
        let mut place = $place;
        let more = call!($guest, $function $(, $argument)*, &raw mut place)?;
        more.then_some(place)
    }};
}

impl Guest {
    /// The host behind a table.
    ///
    /// # Safety
    /// `table` must point to a host's table and `ctx` must be its context, both as the ABI says, for as long
    /// as the value and what comes from it are used.
    pub unsafe fn new(table: *const HostTable, ctx: Ctx) -> Option<Self> {
        // SAFETY: the first fields of every version of the table are its size and its version.
        let size = unsafe { (&raw const (*table).size).read() };
        if (size as usize) < size_of::<HostTable>() {
            return None;
        }
        // SAFETY: the table is as long as ours, and functions are never changed.
        Some(Self { table: unsafe { table.read() }, ctx })
    }

    /// Whether there is more; or the host's error.
    fn check(&self, status: i32) -> Result<bool> {
        match status {
            STATUS_OK => Ok(true),
            STATUS_END => Ok(false),
            _ => Err(self.last_error()),
        }
    }

    fn last_error(&self) -> Error {
        let mut bytes = Bytes::EMPTY;
        // SAFETY: the host fills the place with bytes that stay until the next call of this thread.
        let encoded = unsafe {
            (self.table.last_error)(self.ctx, &raw mut bytes);
            slice(bytes)
        };
        codec::decode(encoded).unwrap_or_else(|cause: Error| {
            Error::new(ErrorCode::Internal, "the host failed").with_detail(cause.message)
        })
    }

    fn lease(self, lease: Lease) -> Owner {
        Arc::new(Leased { host: self, lease })
    }

    fn leased(self, lease: Option<Lease>) -> Owner {
        self.lease(lease.unwrap_or(Lease::NONE))
    }

    /// Hands an error over.
    pub fn fail(&self, error: &Error) {
        let bytes = codec::encode(error).unwrap_or_default();
        // SAFETY: the host copies the bytes.
        unsafe { (self.table.fail)(self.ctx, Bytes::of(&bytes)) }
    }

    /// Hands the result over.
    pub fn result(&self, bytes: &[u8]) -> Result<()> {
        call!(self, result, Bytes::of(bytes)).map(drop)
    }

    /// A line for the log.
    pub fn log(&self, level: u32, text: &str) {
        // SAFETY: the host copies the bytes.
        unsafe { (self.table.log)(self.ctx, level, Bytes::of(text.as_bytes())) }
    }

    /// Whether the attempt or the application was told to stop.
    pub fn cancelled(&self) -> bool {
        // SAFETY: no pointers but the context.
        unsafe { (self.table.cancelled)(self.ctx) != 0 }
    }

    /// See [`HostTable::list_files`].
    pub fn list_files(&self, path: &str) -> Result<Owner> {
        Ok(self.leased(call_into!(self, list_files, Lease::NONE, Bytes::of(path.as_bytes()))))
    }

    /// See [`HostTable::open_file`].
    pub fn open_file(&self, path: &str) -> Result<u64> {
        Ok(call_into!(self, open_file, 0, Bytes::of(path.as_bytes())).unwrap_or(0))
    }

    /// See [`HostTable::read_file`].
    pub fn read_file(&self, file: u64, from: u64, max: u64) -> Result<Owner> {
        Ok(self.leased(call_into!(self, read_file, Lease::NONE, file, from, max)))
    }

    /// See [`HostTable::close_file`].
    pub fn close_file(&self, file: u64) {
        // SAFETY: no pointers but the context.
        unsafe { (self.table.close_file)(self.ctx, file) }
    }

    /// See [`HostTable::output_open`].
    pub fn output_open(&self, dir: &str, name: &str) -> Result<u64> {
        let (dir, name) = (Bytes::of(dir.as_bytes()), Bytes::of(name.as_bytes()));
        Ok(call_into!(self, output_open, 0, dir, name).unwrap_or(0))
    }

    /// See [`HostTable::output_write`].
    pub fn output_write(&self, file: u64, bytes: &[u8]) -> Result<()> {
        call!(self, output_write, file, Bytes::of(bytes)).map(drop)
    }

    /// See [`HostTable::output_close`].
    pub fn output_close(&self, file: u64) -> Result<()> {
        call!(self, output_close, file).map(drop)
    }

    /// See [`HostTable::task`], with the payloads copied.
    pub fn task(&self) -> Result<(TaskView, Payload, Payload)> {
        const NOTHING: TaskView = TaskView {
            app: 0,
            app_attempt: 0,
            stage: 0,
            partition: 0,
            attempt: 0,
            reducers: 0,
            inputs: 0,
            stage_payload: Bytes::EMPTY,
            task_payload: Bytes::EMPTY,
        };
        let view = call_into!(self, task, NOTHING).unwrap_or(NOTHING);
        // SAFETY: the payloads stay in place until the task ends.
        let (stage, task) = unsafe { (slice(view.stage_payload), slice(view.task_payload)) };
        Ok((view, stage.into(), task.into()))
    }

    /// See [`HostTable::input_ranges`].
    pub fn input_ranges(&self, input: u32) -> Result<Owner> {
        Ok(self.leased(call_into!(self, input_ranges, Lease::NONE, input)))
    }

    /// See [`HostTable::input_open`].
    pub fn input_open(&self, input: u32) -> Result<u64> {
        Ok(call_into!(self, input_open, 0, input).unwrap_or(0))
    }

    /// See [`HostTable::input_next`].
    pub fn input_next(&self, input: u64) -> Result<Option<(SegmentView, Owner)>> {
        let view = call_into!(self, input_next, SegmentView::NONE, input);
        Ok(view.map(|view| (view, self.lease(view.lease))))
    }

    /// See [`HostTable::input_close`].
    pub fn input_close(&self, input: u64) {
        // SAFETY: no pointers but the context.
        unsafe { (self.table.input_close)(self.ctx, input) }
    }

    /// See [`HostTable::map_append`].
    pub fn map_append(&self, type_tag: u64, records: u64, payload: &[u8]) -> Result<()> {
        call!(self, map_append, type_tag, records, Bytes::of(payload)).map(drop)
    }

    /// See [`HostTable::map_append_part`].
    pub fn map_append_part(&self, type_tag: u64, records: u64, len: u64, part: &[u8]) -> Result<()> {
        call!(self, map_append_part, type_tag, records, len, Bytes::of(part)).map(drop)
    }

    /// See [`HostTable::map_finish`].
    pub fn map_finish(&self, statistics: &[u8]) -> Result<()> {
        call!(self, map_finish, Bytes::of(statistics)).map(drop)
    }

    /// See [`HostTable::cached`].
    pub fn cached(&self, dataset: u32, partition: u32) -> Result<Option<(SegmentView, Owner)>> {
        let view = call_into!(self, cached, SegmentView::NONE, dataset, partition);
        Ok(view.map(|view| (view, self.lease(view.lease))))
    }

    /// See [`HostTable::store_at`].
    pub fn store_at(
        &self,
        (dataset, partition): (u32, u32),
        level: u32,
        tag: u64,
        records: u64,
        payload: &[u8],
    ) -> Result<bool> {
        call!(self, store_at, dataset, partition, level, tag, records, Bytes::of(payload))
    }

    /// See [`HostTable::acquire_memory`].
    pub fn acquire_memory(&self, bytes: u64) -> u64 {
        // SAFETY: no pointers but the context.
        unsafe { (self.table.acquire_memory)(self.ctx, bytes) }
    }

    /// See [`HostTable::release_memory`].
    pub fn release_memory(&self, bytes: u64) {
        // SAFETY: no pointers but the context.
        unsafe { (self.table.release_memory)(self.ctx, bytes) }
    }

    /// See [`HostTable::spill_create`].
    pub fn spill_create(&self) -> Result<u64> {
        Ok(call_into!(self, spill_create, 0).unwrap_or(0))
    }

    /// See [`HostTable::spill_write`].
    pub fn spill_write(&self, run: u64, bytes: &[u8]) -> Result<()> {
        call!(self, spill_write, run, Bytes::of(bytes)).map(drop)
    }

    /// See [`HostTable::spill_read`].
    pub fn spill_read(&self, run: u64, from: u64, max: u64) -> Result<Owner> {
        Ok(self.leased(call_into!(self, spill_read, Lease::NONE, run, from, max)))
    }

    /// See [`HostTable::spill_drop`].
    pub fn spill_drop(&self, run: u64) {
        // SAFETY: no pointers but the context.
        unsafe { (self.table.spill_drop)(self.ctx, run) }
    }

    /// See [`HostTable::add_metric`].
    pub fn add_metric(&self, metric: Metric, value: u64) {
        // SAFETY: no pointers but the context.
        unsafe { (self.table.add_metric)(self.ctx, metric as u32, value) }
    }

    /// See [`HostTable::accumulate`].
    pub fn accumulate(&self, id: u32, value: &[u8]) {
        // SAFETY: the host copies the bytes.
        unsafe { (self.table.accumulate)(self.ctx, id, Bytes::of(value)) }
    }

    /// See [`HostTable::driver`].
    pub fn driver(&self) -> Result<DriverView> {
        Ok(call_into!(self, driver, DriverView::default()).unwrap_or_default())
    }

    /// See [`HostTable::submit`].
    pub fn submit(&self, job: &[u8]) -> Result<()> {
        call!(self, submit, Bytes::of(job)).map(drop)
    }

    /// See [`HostTable::extend`].
    pub fn extend(&self, extension: &[u8]) -> Result<()> {
        call!(self, extend, Bytes::of(extension)).map(drop)
    }

    /// See [`HostTable::next_event`].
    pub fn next_event(&self, job: u32) -> Result<Owner> {
        Ok(self.leased(call_into!(self, next_event, Lease::NONE, job)))
    }

    /// See [`HostTable::next_event_within`].
    pub fn next_event_within(&self, job: u32, at_most_us: u64) -> Result<Option<Owner>> {
        let event = call_into!(self, next_event_within, Lease::NONE, job, at_most_us);
        Ok(event.map(|lease| self.lease(lease)))
    }

    /// See [`HostTable::fetch`].
    pub fn fetch(&self, value: &[u8]) -> Result<Owner> {
        Ok(self.leased(call_into!(self, fetch, Lease::NONE, Bytes::of(value))))
    }

    /// See [`HostTable::release_result`].
    pub fn release_result(&self, block: &[u8]) {
        // SAFETY: the host copies the bytes.
        unsafe { (self.table.release_result)(self.ctx, Bytes::of(block)) }
    }

    /// See [`HostTable::release_stages`].
    pub fn release_stages(&self, released: &[u8]) {
        // SAFETY: the host copies the bytes.
        unsafe { (self.table.release_stages)(self.ctx, Bytes::of(released)) }
    }

    /// See [`HostTable::cancel`].
    pub fn cancel(&self, job: u32, reason: &str) {
        // SAFETY: the host copies the bytes.
        unsafe { (self.table.cancel)(self.ctx, job, Bytes::of(reason.as_bytes())) }
    }

    /// See [`HostTable::cancel_group`].
    pub fn cancel_group(&self, group: &str, reason: &str) {
        let (group, reason) = (Bytes::of(group.as_bytes()), Bytes::of(reason.as_bytes()));
        // SAFETY: the host copies the bytes.
        unsafe { (self.table.cancel_group)(self.ctx, group, reason) }
    }

    /// See [`HostTable::slots`].
    pub fn slots(&self) -> u32 {
        // SAFETY: no pointers but the context.
        unsafe { (self.table.slots)(self.ctx) }
    }

    /// See [`HostTable::output_prepare`].
    pub fn output_prepare(&self, dir: &str) -> Result<()> {
        call!(self, output_prepare, Bytes::of(dir.as_bytes())).map(drop)
    }

    /// See [`HostTable::output_commit`].
    pub fn output_commit(&self, dir: &str, winners: &[u8]) -> Result<()> {
        call!(self, output_commit, Bytes::of(dir.as_bytes()), Bytes::of(winners)).map(drop)
    }

    /// See [`HostTable::query`].
    pub fn query(&self, text: &str) -> Result<Owner> {
        Ok(self.leased(call_into!(self, query, Lease::NONE, Bytes::of(text.as_bytes()))))
    }
}
