//! The table that plugins call, version 1 of the ABI: pointers become slices, calls become those of [`Call`],
//! errors become statuses. No panic leaves it.

#![expect(
    unsafe_code,
    reason = "functions that a plugin calls with pointers; the rules are those of the ABI"
)]

use super::call::{Call, LeasedSegment, Owner};
use firesteel::abi::{
    ABI_VERSION, Bytes, Ctx, DriverView, HostTable, Lease, STATUS_END, STATUS_ERROR, STATUS_OK, SegmentView,
    TaskView,
};
use firesteel_common::block::StorageLevel;
use firesteel_common::protocol::codec;
use firesteel_common::{Error, ErrorCode, Result};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

thread_local! {
    /// The last error of this thread, encoded.
    static LAST_ERROR: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The call behind a context.
///
/// # Safety
/// `ctx` must be what [`Call`] was passed as, while that call runs.
unsafe fn call<'a>(ctx: Ctx) -> &'a Call {
    // SAFETY: promised by the caller; the host passes `&Call` and keeps it until the plugin has returned.
    unsafe { &*ctx.cast::<Call>() }
}

/// Lent bytes as a slice.
///
/// # Safety
/// They must lie there for the time of the call.
unsafe fn slice<'a>(bytes: Bytes) -> &'a [u8] {
    if bytes.len == 0 {
        return &[];
    }
    // SAFETY: promised by the caller.
    unsafe { std::slice::from_raw_parts(bytes.ptr, bytes.len) }
}

/// Lent bytes as text.
///
/// # Safety
/// As [`slice`].
unsafe fn text<'a>(bytes: Bytes) -> Result<&'a str> {
    // SAFETY: promised by the caller.
    let bytes = unsafe { slice(bytes) };
    std::str::from_utf8(bytes)
        .map_err(|_| Error::new(ErrorCode::BadRequest, "a text of the plugin is not UTF-8"))
}

/// Writes to a place of the plugin.
///
/// # Safety
/// `place` must be one.
unsafe fn put<T>(place: *mut T, value: T) {
    // SAFETY: promised by the caller.
    unsafe { place.write(value) }
}

/// Does something and answers a status: `false` is the end.
fn answer(run: impl FnOnce() -> Result<bool>) -> i32 {
    let error = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(true)) => return STATUS_OK,
        Ok(Ok(false)) => return STATUS_END,
        Ok(Err(error)) => error,
        Err(_) => Error::new(ErrorCode::Internal, "the host panicked"),
    };
    LAST_ERROR.set(codec::encode(&error).unwrap_or_default());
    STATUS_ERROR
}

/// Does something that has no answer. What fails there has no consequence for the plugin.
fn quietly(run: impl FnOnce() -> Result<()>) {
    let _ = answer(|| run().map(|()| true));
}

/// Leases bytes to the plugin.
///
/// # Safety
/// `out` must be a place of the plugin.
unsafe fn lend(call: &Call, owner: Owner, out: *mut Lease) -> Result<bool> {
    let bytes = Bytes::of((*owner).as_ref());
    let lease = Lease { bytes, id: call.lease(owner) };
    // SAFETY: promised by the caller. The bytes stay in place: the call keeps their owner.
    unsafe { put(out, lease) };
    Ok(true)
}

/// Leases a segment to the plugin, if there is one.
///
/// # Safety
/// `out` must be a place of the plugin.
unsafe fn lend_segment(leased: Option<LeasedSegment>, out: *mut SegmentView) -> Result<bool> {
    let Some(leased) = leased else { return Ok(false) };
    let view = SegmentView {
        lease: Lease { bytes: Bytes::of((*leased.owner).as_ref()), id: leased.lease },
        type_tag: leased.segment.header.type_tag,
        records: leased.segment.header.records,
        map: leased.segment.map,
        reducer: leased.segment.reducer,
    };
    // SAFETY: promised by the caller. The bytes stay in place: the call keeps their owner.
    unsafe { put(out, view) };
    Ok(true)
}

fn unsupported(what: &str) -> i32 {
    answer(|| Err(Error::new(ErrorCode::Unsupported, format!("this version of Firesteel has no {what}"))))
}

/// Functions of the table. In each, `call` is the call of the context, and the body answers a `Result<bool>`.
macro_rules! functions {
    ($(fn $name:ident($call:ident $(, $argument:ident: $type:ty)*) $body:block)*) => {$(
        unsafe extern "C" fn $name(ctx: Ctx $(, $argument: $type)*) -> i32 {
            // SAFETY: the plugin calls with its context, and with bytes and places as the ABI says.
            answer(|| unsafe {
                let $call = call(ctx);
                $body
            })
        }
    )*};
}

functions! {
    fn result(call, bytes: Bytes) { call.result(slice(bytes)); Ok(true) }
    fn list_files(call, path: Bytes, out: *mut Lease) { lend(call, Call::list_files(text(path)?)?, out) }
    fn open_file(call, path: Bytes, out: *mut u64) { put(out, call.open_file(text(path)?)?); Ok(true) }
    fn read_file(call, file: u64, from: u64, max: u64, out: *mut Lease) {
        lend(call, call.read_file(file, from, max)?, out)
    }
    fn output_open(call, dir: Bytes, name: Bytes, out: *mut u64) {
        put(out, call.output_open(text(dir)?, text(name)?)?);
        Ok(true)
    }
    fn output_write(call, file: u64, bytes: Bytes) { call.output_write(file, slice(bytes)).map(|()| true) }
    fn output_close(call, file: u64) { call.output_close(file).map(|()| true) }
    fn task(call, out: *mut TaskView) {
        let description = call.io()?.description();
        put(out, TaskView {
            app: description.task.app.app.0,
            app_attempt: description.task.app.attempt,
            stage: description.task.stage.0,
            partition: description.task.partition,
            attempt: description.task.attempt,
            reducers: description.reducers,
            inputs: description.inputs.len() as u32,
            stage_payload: Bytes::of(&description.stage_payload),
            task_payload: Bytes::of(&description.task_payload),
        });
        Ok(true)
    }
    fn input_ranges(call, input: u32, out: *mut Lease) {
        let ranges = call.io()?.description().inputs.get(input as usize);
        lend(call, Call::encoded(&ranges.map(Vec::as_slice).unwrap_or_default())?, out)
    }
    fn input_open(call, input: u32, out: *mut u64) { put(out, call.input_open(input)?); Ok(true) }
    fn input_next(call, input: u64, out: *mut SegmentView) { lend_segment(call.input_next(input)?, out) }
    fn map_append(call, tag: u64, records: u64, payload: Bytes) {
        call.map_append(tag, records, slice(payload)).map(|()| true)
    }
    fn spill_create(call, out: *mut u64) { put(out, call.spill_create()?); Ok(true) }
    fn spill_write(call, run: u64, bytes: Bytes) { call.spill_write(run, slice(bytes)).map(|()| true) }
    fn spill_read(call, run: u64, from: u64, max: u64, out: *mut Lease) {
        lend(call, call.spill_read(run, from, max)?, out)
    }
    fn map_append_part(call, tag: u64, records: u64, len: u64, part: Bytes) {
        call.map_append_part(tag, records, len, slice(part)).map(|()| true)
    }
    fn map_finish(call, statistics: Bytes) { call.map_finish(slice(statistics)).map(|()| true) }
    fn cached(call, dataset: u32, partition: u32, out: *mut SegmentView) {
        lend_segment(call.cached(dataset, partition)?, out)
    }
    fn store(call, dataset: u32, partition: u32, tag: u64, records: u64, payload: Bytes) {
        call.store_at((dataset, partition), StorageLevel::MemoryOnly, tag, records, slice(payload))
    }
    fn store_at(
        call, dataset: u32, partition: u32, level: u32, tag: u64, records: u64, payload: Bytes
    ) {
        let level = StorageLevel::from_code(level)?;
        call.store_at((dataset, partition), level, tag, records, slice(payload))
    }
    fn driver(call, out: *mut DriverView) {
        let (app, plugin, runner) = call.driver()?;
        let slots = runner.slots();
        put(out, DriverView { app: app.app.0, app_attempt: app.attempt, slots, plugin: plugin.0 });
        Ok(true)
    }
    fn submit(call, job: Bytes) { call.submit(slice(job)).map(|()| true) }
    fn extend(call, extension: Bytes) { call.extend(slice(extension)).map(|()| true) }
    fn next_event(call, job: u32, out: *mut Lease) { lend(call, call.next_event(job)?, out) }
    fn next_event_within(call, job: u32, at_most_us: u64, out: *mut Lease) {
        match call.next_event_within(job, Duration::from_micros(at_most_us))? {
            Some(event) => lend(call, event, out),
            None => Ok(false),
        }
    }
    fn fetch(call, value: Bytes, out: *mut Lease) { lend(call, call.fetch(slice(value))?, out) }
    fn output_prepare(call, dir: Bytes) { call.output_prepare(text(dir)?).map(|()| true) }
    fn output_commit(call, dir: Bytes, winners: Bytes) {
        call.output_commit(text(dir)?, slice(winners)).map(|()| true)
    }
}

/// Functions of the table without an answer.
macro_rules! quiet_functions {
    ($(fn $name:ident($call:ident $(, $argument:ident: $type:ty)*) $body:block)*) => {$(
        unsafe extern "C" fn $name(ctx: Ctx $(, $argument: $type)*) {
            // SAFETY: the plugin calls with its context, and with bytes as the ABI says.
            quietly(|| unsafe {
                let $call = call(ctx);
                $body
            });
        }
    )*};
}

quiet_functions! {
    fn fail(call, error: Bytes) { call.fail(slice(error)); Ok(()) }
    fn release(call, lease: u64) { call.release(lease); Ok(()) }
    fn log(_call, level: u32, line: Bytes) {
        let line = String::from_utf8_lossy(slice(line));
        match level {
            0 => tracing::error!(target: "job", "{line}"),
            1 => tracing::warn!(target: "job", "{line}"),
            2 => tracing::info!(target: "job", "{line}"),
            3 => tracing::debug!(target: "job", "{line}"),
            _ => tracing::trace!(target: "job", "{line}"),
        }
        Ok(())
    }
    fn close_file(call, file: u64) { call.close_file(file); Ok(()) }
    fn spill_drop(call, run: u64) { call.spill_drop(run); Ok(()) }
    fn input_close(call, input: u64) { call.input_close(input); Ok(()) }
    fn release_memory(call, bytes: u64) { call.io()?.release_memory(bytes); Ok(()) }
    fn add_metric(call, metric: u32, value: u64) {
        call.io()?.add_metrics(&|metrics| match metric {
            0 => metrics.input_bytes += value,
            1 => metrics.input_records += value,
            2 => metrics.read_records += value,
            3 => metrics.output_bytes += value,
            4 => metrics.spilled_bytes += value,
            5 => metrics.written_records += value,
            // A metric of a later version.
            _ => {}
        });
        Ok(())
    }
    fn accumulate(call, id: u32, value: Bytes) { call.io()?.accumulate(id, slice(value).into()); Ok(()) }
    fn release_result(call, block: Bytes) { call.release_result(slice(block)) }
    fn release_stages(call, released: Bytes) { call.release_stages(slice(released)) }
    fn cancel(call, job: u32, reason: Bytes) {
        call.driver()?.2.cancel(firesteel_common::id::JobId(job), text(reason)?);
        Ok(())
    }
    fn cancel_group(call, group: Bytes, reason: Bytes) {
        call.driver()?.2.cancel_group(text(group)?, text(reason)?);
        Ok(())
    }
}

unsafe extern "C" fn last_error(_ctx: Ctx, out: *mut Bytes) {
    LAST_ERROR.with_borrow(|error| {
        // SAFETY: `out` is a place of the plugin. The bytes stay until this thread's next error.
        unsafe { put(out, Bytes::of(error)) }
    });
}

unsafe extern "C" fn cancelled(ctx: Ctx) -> u32 {
    // SAFETY: the plugin calls with its context.
    let call = unsafe { call(ctx) };
    catch_unwind(AssertUnwindSafe(|| u32::from(call.cancelled()))).unwrap_or(0)
}

unsafe extern "C" fn acquire_memory(ctx: Ctx, bytes: u64) -> u64 {
    // SAFETY: the plugin calls with its context.
    let call = unsafe { call(ctx) };
    catch_unwind(AssertUnwindSafe(|| call.io().map_or(0, |io| io.acquire_memory(bytes)))).unwrap_or(0)
}

unsafe extern "C" fn slots(ctx: Ctx) -> u32 {
    // SAFETY: the plugin calls with its context.
    let call = unsafe { call(ctx) };
    catch_unwind(AssertUnwindSafe(|| call.driver().map_or(1, |driver| driver.2.slots()))).unwrap_or(1)
}

unsafe extern "C" fn broadcast_get(_ctx: Ctx, _id: u32, _out: *mut Lease) -> i32 {
    unsupported("broadcast variables")
}

unsafe extern "C" fn broadcast_put(_ctx: Ctx, _value: Bytes, _out: *mut u32) -> i32 {
    unsupported("broadcast variables")
}

unsafe extern "C" fn query(_ctx: Ctx, _text: Bytes, _out: *mut Lease) -> i32 {
    unsupported("SQL for plugins; run the text with 'firesteel sql'")
}

/// What plugins call.
pub(super) static TABLE: HostTable = HostTable {
    size: size_of::<HostTable>() as u32,
    abi_version: ABI_VERSION,
    last_error,
    fail,
    result,
    release,
    log,
    cancelled,
    list_files,
    open_file,
    read_file,
    close_file,
    output_open,
    output_write,
    output_close,
    task,
    input_ranges,
    input_open,
    input_next,
    input_close,
    map_append,
    map_finish,
    cached,
    store,
    acquire_memory,
    release_memory,
    spill_create,
    spill_write,
    spill_read,
    spill_drop,
    add_metric,
    accumulate,
    broadcast_get,
    driver,
    broadcast_put,
    submit,
    extend,
    next_event,
    fetch,
    release_result,
    release_stages,
    cancel,
    cancel_group,
    slots,
    output_prepare,
    output_commit,
    query,
    store_at,
    map_append_part,
    next_event_within,
};
