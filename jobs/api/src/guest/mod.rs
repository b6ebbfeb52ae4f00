//! The plugin's side of the ABI: what it exports, and how calls of the host become calls of the job's code.
//! No panic leaves it.

#![expect(unsafe_code, reason = "exports functions that a host calls; the rules are those of the ABI")]

mod arguments;
mod sides;
mod table;

pub use arguments::{Argument, Arguments};

use crate::abi::{ABI_VERSION, Bytes, Ctx, HostTable, PluginTable, STATUS_ERROR, STATUS_OK};
use crate::context::Context;
use crate::driver::Driver;
use crate::task::run_task;
use firesteel_common::id::PluginHash;
use firesteel_common::plugin::{Args, Descriptor};
use firesteel_common::protocol::codec;
use firesteel_common::task::{ResultValue, TaskOutcome};
use firesteel_common::{Error, ErrorCode, Result};
use serde::Serialize;
use sides::{GuestRunner, GuestTask};
use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Arc;
use table::Guest;

static TABLE: PluginTable = PluginTable {
    size: size_of::<PluginTable>() as u32,
    abi_version: ABI_VERSION,
    anchor: crate::code::anchor,
    start,
    run_task: run_guest_task,
};

/// See [`crate::abi::PLUGIN_SYMBOL`].
#[unsafe(no_mangle)]
pub extern "C" fn firesteel_plugin_v1() -> *const PluginTable {
    &raw const TABLE
}

/// Where a thread panicked last, and from where.
struct LastPanic {
    place: String,
    backtrace: String,
}

thread_local! {
    static LAST_PANIC: RefCell<Option<LastPanic>> = const { RefCell::new(None) };
}

/// Called once after loading: from now on panics of this plugin's code are remembered rather than printed.
extern "C" fn start() -> i32 {
    match catch_unwind(|| std::panic::set_hook(Box::new(remember_panic))) {
        Ok(()) => STATUS_OK,
        Err(_) => STATUS_ERROR,
    }
}

fn remember_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::force_capture().to_string();
    LAST_PANIC.set(Some(LastPanic { place, backtrace }));
}

/// A panic as an error.
fn panic_error(payload: &(dyn Any + Send)) -> Error {
    let text = payload.downcast_ref::<&str>().copied().map(str::to_owned);
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    let text = text.unwrap_or_else(|| "a panic without a message".to_owned());
    let last = LAST_PANIC.take();
    let place = last.as_ref().map(|last| format!(" at {}", last.place)).unwrap_or_default();
    Error::new(ErrorCode::Panicked, format!("the job's code panicked{place}: {text}"))
        .with_detail(last.map(|last| last.backtrace).unwrap_or_default())
}

/// Runs something for the host; tells it the error or the panic.
///
/// # Safety
/// `host` and `ctx` must be what the ABI says.
unsafe fn guarded(host: *const HostTable, ctx: Ctx, run: impl FnOnce(Guest) -> Result<()>) -> i32 {
    // SAFETY: promised by the caller.
    let Some(guest) = (unsafe { Guest::new(host, ctx) }) else { return STATUS_ERROR };
    let error = match catch_unwind(AssertUnwindSafe(|| run(guest))) {
        Ok(Ok(())) => return STATUS_OK,
        Ok(Err(error)) => error,
        Err(payload) => panic_error(&*payload),
    };
    guest.fail(&error);
    STATUS_ERROR
}

unsafe extern "C" fn run_guest_task(host: *const HostTable, ctx: Ctx) -> i32 {
    let run = |guest: Guest| {
        let task = GuestTask::new(guest)?;
        match run_task(&task, &guest)? {
            TaskOutcome::Result(ResultValue::Inline(value)) => guest.result(&value),
            _ => Ok(()),
        }
    };
    // SAFETY: the host calls this as the ABI says.
    unsafe { guarded(host, ctx, run) }
}

/// What the shim of an entry point does: reads its arguments, runs it, hands its answer over.
///
/// # Safety
/// `host`, `ctx` and `arguments` must be what the ABI says.
pub unsafe fn run_entry(
    record: &[u8],
    host: *const HostTable,
    ctx: Ctx,
    arguments: Bytes,
    entry: impl for<'s> FnOnce(&Context<'s>, &Arguments) -> Result<Vec<u8>>,
) -> i32 {
    let run = |guest: Guest| {
        let encoded = match arguments.len {
            0 => &[][..],
            // SAFETY: the host lends the arguments for the time of the call.
            len => unsafe { std::slice::from_raw_parts(arguments.ptr, len) },
        };
        let arguments: Args = codec::decode(encoded)?;
        Descriptor::parse(record)?.entry("")?.check_args(&arguments)?;
        let driver =
            Driver::new(Arc::new(GuestRunner(guest)), Arc::new(guest), PluginHash(guest.driver()?.plugin));
        let answer = entry(&Context::new(driver), &Arguments::new(arguments))?;
        guest.result(&answer)
    };
    // SAFETY: promised by the caller.
    unsafe { guarded(host, ctx, run) }
}

/// The answer of an entry point as JSON.
///
/// # Errors
/// The entry point's own, or `CODEC` if its answer cannot be JSON.
pub fn answer<T: Serialize>(answer: Result<T>) -> Result<Vec<u8>> {
    let value = answer?;
    serde_json::to_vec(&value).map_err(|cause| {
        Error::new(ErrorCode::Codec, format!("the answer cannot be written as JSON: {cause}"))
    })
}
