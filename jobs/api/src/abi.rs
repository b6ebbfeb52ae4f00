//! The waist between a plugin and its host, version 1: bytes and function tables, nothing else.
//!
//! Both sides may come from different compilers. What crosses is `repr(C)`; no ownership of memory crosses
//! (what is handed over is copied, or leased and given back); no panic crosses. A table starts with its size,
//! functions are only ever appended, and a host or plugin that finds a table too short answers `UNSUPPORTED`
//! for what is missing. Structured values (`JobSpec`, `JobEvent`, …) cross as bytes of
//! [`firesteel_common::protocol::codec`]; their forms belong to the version of the ABI.
//!
//! Here are only the shapes. The host's side is in `worker`, the plugin's side in [`crate::guest`].

// SAFETY: nothing is done here. The types say `unsafe` so that whoever calls such a function proves that its
// pointers are what the documentation of the function says.
use std::ffi::c_void;

pub use firesteel_common::plugin::ABI_VERSION;

/// The symbol of [`PluginEntry`]: gives the plugin's table.
pub const PLUGIN_SYMBOL: &str = "firesteel_plugin_v1";
/// What the symbol of an entry point starts with; its name follows. See [`EntryShim`].
pub const ENTRY_SYMBOL_PREFIX: &str = "firesteel_entry_v1_";

/// It went well.
pub const STATUS_OK: i32 = 0;
/// There is no more of it, or nothing of that name.
pub const STATUS_END: i32 = 1;
/// It failed: the caller asks [`HostTable::last_error`]; a plugin has told [`HostTable::fail`].
pub const STATUS_ERROR: i32 = 2;

/// Names the attempt or the application that a call is for; given by the host, meaningless to the plugin.
pub type Ctx = *mut c_void;

/// Bytes that are lent for the time of a call, or as long as the function that gives them says.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Bytes {
    /// Where they begin; may be dangling if there are none.
    pub ptr: *const u8,
    /// How many there are.
    pub len: usize,
}

impl Bytes {
    /// Lends a slice.
    pub const fn of(bytes: &[u8]) -> Self {
        Self { ptr: bytes.as_ptr(), len: bytes.len() }
    }

    /// No bytes.
    pub const EMPTY: Self = Self::of(&[]);
}

/// Bytes that stay in place until [`HostTable::release`] is told their number.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// The bytes.
    pub bytes: Bytes,
    /// Its number; 0 means that there is nothing to give back.
    pub id: u64,
}

impl Lease {
    /// A lease of nothing, to be overwritten by the host.
    pub const NONE: Self = Self { bytes: Bytes::EMPTY, id: 0 };
}

/// A segment of a shuffle or a cached block, leased.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SegmentView {
    /// The payload.
    pub lease: Lease,
    /// See `SegmentHeader::type_tag`.
    pub type_tag: u64,
    /// How many records it holds.
    pub records: u64,
    /// The map partition that wrote it.
    pub map: u32,
    /// The reducer that it was written for.
    pub reducer: u32,
}

impl SegmentView {
    /// A view of nothing, to be overwritten by the host.
    pub const NONE: Self = Self { lease: Lease::NONE, type_tag: 0, records: 0, map: 0, reducer: 0 };
}

/// What a task is. The bytes stay in place until the task ends.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TaskView {
    /// The application.
    pub app: u64,
    /// Its attempt.
    pub app_attempt: u32,
    /// The stage.
    pub stage: u32,
    /// The partition of the stage.
    pub partition: u32,
    /// The attempt at the partition.
    pub attempt: u32,
    /// How many segments its output has; 0 for a result task.
    pub reducers: u32,
    /// How many inputs the stage has.
    pub inputs: u32,
    /// The same for all tasks of the stage.
    pub stage_payload: Bytes,
    /// Particular to this task.
    pub task_payload: Bytes,
}

/// Who a driver is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct DriverView {
    /// The application.
    pub app: u64,
    /// Its attempt.
    pub app_attempt: u32,
    /// Task slots of the cluster now.
    pub slots: u32,
    /// The content hash of the plugin.
    pub plugin: [u8; 32],
}

/// What an addition to the metrics of a task is to (see `TaskMetrics`).
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Bytes read from files.
    InputBytes = 0,
    /// Records read from files.
    InputRecords = 1,
    /// Records read from segments.
    ReadRecords = 2,
    /// Bytes written to files.
    OutputBytes = 3,
    /// Bytes spilled to disk.
    SpilledBytes = 4,
    /// Records written to segments.
    WrittenRecords = 5,
}

/// What the host can do for a task (first part) and for a driver (second part). A function that has no
/// meaning for its context, or that the host does not have, answers `UNSUPPORTED`.
///
/// Functions of a task's context are called from one thread at a time, those of a driver's from any.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct HostTable {
    /// Bytes of the table that the host has.
    pub size: u32,
    /// [`ABI_VERSION`] of the host.
    pub abi_version: u32,
    /// The error of the last call of this thread that answered [`STATUS_ERROR`], as bytes of an
    /// [`firesteel_common::Error`]; valid until the next call of this thread.
    pub last_error: unsafe extern "C" fn(Ctx, *mut Bytes),
    /// Hands over the error with which the plugin's function is about to answer [`STATUS_ERROR`].
    pub fail: unsafe extern "C" fn(Ctx, Bytes),
    /// Hands over the result: of a result task its value, of an entry point its answer.
    pub result: unsafe extern "C" fn(Ctx, Bytes) -> i32,
    /// Gives a lease back.
    pub release: unsafe extern "C" fn(Ctx, u64),
    /// A line for the log: level (0 error … 4 trace) and text.
    pub log: unsafe extern "C" fn(Ctx, u32, Bytes),
    /// Whether the attempt or the application was told to stop: 1 or 0.
    pub cancelled: unsafe extern "C" fn(Ctx) -> u32,

    /// Files behind a path, a directory or a pattern: bytes of a `Vec<crate::files::FileInfo>`.
    pub list_files: unsafe extern "C" fn(Ctx, Bytes, *mut Lease) -> i32,
    /// Opens a path for reading.
    pub open_file: unsafe extern "C" fn(Ctx, Bytes, *mut u64) -> i32,
    /// Bytes of an open file from an offset on, at most so many; fewer only at its end. A compressed file is
    /// read as what it unpacks to.
    pub read_file: unsafe extern "C" fn(Ctx, u64, u64, u64, *mut Lease) -> i32,
    /// Closes an open file. What was leased of it stays.
    pub close_file: unsafe extern "C" fn(Ctx, u64),
    /// Begins the file of this task in an output directory: directory, file name. One that ends in `.gz` is
    /// packed so.
    pub output_open: unsafe extern "C" fn(Ctx, Bytes, Bytes, *mut u64) -> i32,
    /// Appends to it.
    pub output_write: unsafe extern "C" fn(Ctx, u64, Bytes) -> i32,
    /// Ends it. Only the driver's commit makes it visible.
    pub output_close: unsafe extern "C" fn(Ctx, u64) -> i32,

    /// What the task is.
    pub task: unsafe extern "C" fn(Ctx, *mut TaskView) -> i32,
    /// What it reads of one input: bytes of a `Vec<ReadRange>`.
    pub input_ranges: unsafe extern "C" fn(Ctx, u32, *mut Lease) -> i32,
    /// Opens an input of the stage.
    pub input_open: unsafe extern "C" fn(Ctx, u32, *mut u64) -> i32,
    /// Its next segment; [`STATUS_END`] after the last.
    pub input_next: unsafe extern "C" fn(Ctx, u64, *mut SegmentView) -> i32,
    /// Closes an input. What was leased of it stays.
    pub input_close: unsafe extern "C" fn(Ctx, u64),
    /// Appends the segment of the next reducer to the map output: type tag, records, payload.
    pub map_append: unsafe extern "C" fn(Ctx, u64, u64, Bytes) -> i32,
    /// Ends the map output, with statistics for the driver.
    pub map_finish: unsafe extern "C" fn(Ctx, Bytes) -> i32,
    /// A cached partition (dataset, partition); [`STATUS_END`] if it is nowhere.
    pub cached: unsafe extern "C" fn(Ctx, u32, u32, *mut SegmentView) -> i32,
    /// Stores a cached partition (dataset, partition, type tag, records, payload); [`STATUS_END`] if there is
    /// no room.
    pub store: unsafe extern "C" fn(Ctx, u32, u32, u64, u64, Bytes) -> i32,
    /// Asks for execution memory; answers how many bytes are granted.
    pub acquire_memory: unsafe extern "C" fn(Ctx, u64) -> u64,
    /// Returns execution memory.
    pub release_memory: unsafe extern "C" fn(Ctx, u64),
    /// Begins a run on disk: bytes of this task alone.
    pub spill_create: unsafe extern "C" fn(Ctx, *mut u64) -> i32,
    /// Appends to it: what is written at once is one frame, checked and perhaps packed. The host counts the
    /// bytes as spilled.
    pub spill_write: unsafe extern "C" fn(Ctx, u64, Bytes) -> i32,
    /// Bytes of it, from an offset (of what was written) on, at most so many and at most to the end of the
    /// frame that holds the offset.
    pub spill_read: unsafe extern "C" fn(Ctx, u64, u64, u64, *mut Lease) -> i32,
    /// Ends it.
    pub spill_drop: unsafe extern "C" fn(Ctx, u64),
    /// Adds to a [`Metric`].
    pub add_metric: unsafe extern "C" fn(Ctx, u32, u64),
    /// Adds to an accumulator.
    pub accumulate: unsafe extern "C" fn(Ctx, u32, Bytes),
    /// A broadcast value by its number.
    pub broadcast_get: unsafe extern "C" fn(Ctx, u32, *mut Lease) -> i32,

    /// Who the driver is.
    pub driver: unsafe extern "C" fn(Ctx, *mut DriverView) -> i32,
    /// Makes a broadcast value.
    pub broadcast_put: unsafe extern "C" fn(Ctx, Bytes, *mut u32) -> i32,
    /// Starts a job: bytes of a `JobSpec`.
    pub submit: unsafe extern "C" fn(Ctx, Bytes) -> i32,
    /// Extends a job: bytes of `(JobId, Vec<StageSpec>, Vec<Target>, bool)`.
    pub extend: unsafe extern "C" fn(Ctx, Bytes) -> i32,
    /// The next event of a job (results, statistics, progress, end), waited for: bytes of a `JobEvent`.
    pub next_event: unsafe extern "C" fn(Ctx, u32, *mut Lease) -> i32,
    /// The payload of a large result: bytes of a `ResultValue`.
    pub fetch: unsafe extern "C" fn(Ctx, Bytes, *mut Lease) -> i32,
    /// Drops a fetched result: bytes of a `BlockId`.
    pub release_result: unsafe extern "C" fn(Ctx, Bytes),
    /// Releases stages and datasets: bytes of `(Vec<StageId>, Vec<DatasetId>)`.
    pub release_stages: unsafe extern "C" fn(Ctx, Bytes),
    /// Stops a job, with the reason.
    pub cancel: unsafe extern "C" fn(Ctx, u32, Bytes),
    /// Stops all jobs of a group: group, reason.
    pub cancel_group: unsafe extern "C" fn(Ctx, Bytes, Bytes),
    /// Task slots of the cluster now.
    pub slots: unsafe extern "C" fn(Ctx) -> u32,
    /// Checks that an output directory is free and makes it.
    pub output_prepare: unsafe extern "C" fn(Ctx, Bytes) -> i32,
    /// Makes the files of the winning attempts visible: directory, bytes of a `Vec<(String, u32)>` (file
    /// name, attempt).
    pub output_commit: unsafe extern "C" fn(Ctx, Bytes, Bytes) -> i32,
    /// Runs a SQL text: its rows as an Arrow IPC stream.
    pub query: unsafe extern "C" fn(Ctx, Bytes, *mut Lease) -> i32,
    /// [`HostTable::store`] with a storage level (dataset, partition, level, type tag, records, payload).
    pub store_at: unsafe extern "C" fn(Ctx, u32, u32, u32, u64, u64, Bytes) -> i32,
    /// [`HostTable::map_append`] in parts (type tag, records and bytes of the whole segment, part): the
    /// segment ends with the part that makes it as long as was said.
    pub map_append_part: unsafe extern "C" fn(Ctx, u64, u64, u64, Bytes) -> i32,
    /// [`HostTable::next_event`], waited for at most so many microseconds; [`STATUS_END`] if none has come.
    pub next_event_within: unsafe extern "C" fn(Ctx, u32, u64, *mut Lease) -> i32,
}

/// What a plugin exports beside its entry points.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PluginTable {
    /// Bytes of the table that the plugin has.
    pub size: u32,
    /// [`ABI_VERSION`] of the plugin.
    pub abi_version: u32,
    /// The function from which the offsets of the code of tasks are counted.
    pub anchor: unsafe extern "C" fn(),
    /// Called once after loading, before anything else.
    pub start: unsafe extern "C" fn() -> i32,
    /// Runs the task of the context.
    pub run_task: unsafe extern "C" fn(*const HostTable, Ctx) -> i32,
}

/// The function behind [`PLUGIN_SYMBOL`].
pub type PluginEntry = unsafe extern "C" fn() -> *const PluginTable;

/// The function behind the symbol of an entry point: runs it in the driver of the context, with its arguments
/// as bytes of [`firesteel_common::plugin::Args`].
pub type EntryShim = unsafe extern "C" fn(*const HostTable, Ctx, Bytes) -> i32;
