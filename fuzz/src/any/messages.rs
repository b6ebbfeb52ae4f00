//! The words of the protocol. A message or a field that is new must be named here: the compiler asks for it.

use super::{Any, Source};
use firesteel_common::block::{
    BlockCopy, BlockId, BlockKind, Frame, MapStatus, SegmentStat, StorageLevel, StoredBlock,
};
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::event::FetchCause;
use firesteel_common::graph::{
    CachedPartition, OutputOrder, Place, ReadPattern, ReadRange, StageInput, StageKind, StageSpec, TaskCode,
    TaskSpec,
};
use firesteel_common::id::{
    AppAttemptId, AppId, DatasetId, Epoch, Incarnation, JobId, PluginHash, StageId, TaskId, WorkerId,
};
use firesteel_common::job::{JobEvent, JobProgress, JobSpec, Target};
use firesteel_common::options::Limits;
use firesteel_common::protocol::data::{BlockReply, BlockRequest, PluginReply, PluginRequest};
use firesteel_common::protocol::driver::{FromDriver, ToDriver};
use firesteel_common::protocol::executor::{ExecutorSetup, FromExecutor, OpenedBlock, ToExecutor};
use firesteel_common::protocol::worker::{
    CachedPlace, DriverLaunch, DriverProgram, FromWorker, InputTable, MapPlace, Registration, StageCode,
    TaskLaunch, TaskLaunches, ToMaster, ToWorker,
};
use firesteel_common::sandbox::{Ending, Sandbox, SandboxMode};
use firesteel_common::task::{AccumulatorUpdate, ResultValue, TaskMetrics, TaskOutcome, TaskReport};

macro_rules! any_number {
    ($($name:ident)*) => {
        $(impl Any for $name {
            fn any(source: &mut Source<'_>) -> Self {
                Self(source.any())
            }
        })*
    };
}

macro_rules! any_struct {
    ($($name:ident { $($field:ident),* $(,)? })*) => {
        $(impl Any for $name {
            fn any(source: &mut Source<'_>) -> Self {
                Self { $($field: source.any()),* }
            }
        })*
    };
}

macro_rules! any_enum {
    ($($name:ident { $($variant:ident $(($($one:tt),*))? $({ $($field:ident),* })?),* $(,)? })*) => {
        $(impl Any for $name {
            fn any(source: &mut Source<'_>) -> Self {
                // One arm for each variant, so that none is forgotten.
                let _all = |value: &Self| match value { $(Self::$variant { .. } => ()),* };
                let make: &[fn(&mut Source<'_>) -> Self] = &[$(
                    |_source| Self::$variant
                        $(($(any_enum!(@ $one _source)),*))?
                        $({ $($field: _source.any()),* })?
                ),*];
                make[source.below(make.len())](source)
            }
        })*
    };
    (@ $one:tt $source:ident) => { $source.any() };
}

any_number! { AppId JobId StageId DatasetId WorkerId Epoch Incarnation }

any_struct! {
    AppAttemptId { app, attempt }
    TaskId { app, stage, partition, attempt }
    BlockId { app, kind }
    StoredBlock { block, level }
    BlockCopy { block, status, level }
    SegmentStat { bytes, rows, checksum }
    MapStatus { segments, statistics }
    Error { code, message, help, detail }
    CachedPartition { dataset, partition }
    ReadRange { reducers, maps }
    StageInput { stage, read, unless_cached }
    TaskSpec { payload, preferred, cached }
    StageSpec { id, name, kind, code, payload, tasks, inputs, order }
    JobSpec { id, name, stages, targets, open, group }
    Target { stage, partitions }
    JobProgress { stages, stages_done, tasks, tasks_done, tasks_running }
    Limits { cores, memory, network }
    Ending { words, out_of_memory }
    Sandbox { mode, landlock, seccomp, cgroup, rlimits, user, missing }
    AccumulatorUpdate { id, value }
    TaskReport { task, outcome, metrics, accumulators, stored }
    DriverLaunch { app, submitted_ms, program, limits }
    TaskLaunches { app, limits, stages, inputs, tasks }
    StageCode { stage, name, code, payload, inputs, reducers }
    InputTable { stage, places }
    MapPlace { worker, address, attempt }
    TaskLaunch { task, payload, reads, cached }
    CachedPlace { dataset, partition, worker, address }
    FromWorker { epoch, incarnation, message }
    Registration {
        worker, host, address, slots, drivers_max, memory, sandbox, drivers, running, outputs, cached, apps
    }
    Frame { plain_end, stored_end, checksum }
    OpenedBlock { bytes, status, frames }
    ExecutorSetup { app, worker, plugin, slots, limits, memory, fetch_over_tcp, faults }
    BlockRequest { block, reducers }
    PluginRequest { plugin }
}

any_enum! {
    StorageLevel {
        MemoryOnly, MemoryAndDisk, DiskOnly, MemoryOnly2, MemoryAndDisk2, DiskOnly2, DiskOnly3
    }
    BlockKind {
        MapOutput { stage, partition, attempt }, Cached { dataset, partition },
        Result { stage, partition, attempt }, Broadcast { job, index },
    }
    FetchCause { Unreachable, Missing, Corrupt }
    OutputOrder { Ordered, Unordered }
    Place { Worker(_), Host(_) }
    ReadPattern { SameIndex, Everything, PerTask(_) }
    StageKind { ShuffleMap { reducers }, Result }
    TaskCode { Plugin(_), Sql }
    SandboxMode { BestEffort, Require, Off }
    TaskOutcome { MapOutput(_), Result(_), Failed(_), Killed }
    ResultValue { Inline(_), Block { worker, block, bytes } }
    JobEvent {
        StageFinished { stage, statuses }, TaskResult { stage, partition, value, accumulators },
        Accumulated(_), Progress(_), Finished, Failed(_),
    }
    DriverProgram { Plugin { plugin, entry, args }, Sql { text, tables } }
    ToWorker {
        Registered { worker, epoch, heartbeat_ms }, Refused(_), StartDriver(_), KillDriver(_), LaunchTasks(_),
        InputsChanged { app, stage, places }, KillTasks { tasks, grace_ms }, Free { app, stages, datasets },
        FreeOutputs(_), EndApp(_), FetchBlocks { app, from, address, blocks }, Drained, Drain,
    }
    ToMaster {
        Register(_), Heartbeat, TasksFinished(_), FetchFailed { task, stage, map, place, cause },
        ExecutorLost { app, reason, tasks, stopped }, DriverExited { app, reason },
        ExecutorStarted { app, pid },
        Output { app, source, bytes }, Draining, BlocksCopied { app, from, blocks },
        Refusals { at, refusals },
    }
    FromDriver {
        Attach { stages, jobs }, Submit(_), Extend { job, stages, targets, open },
        Release { stages, datasets }, Cancel { job, reason }, CancelGroup { group, reason }, Finish(_),
        AttachPart { stages },
    }
    ToDriver {
        Attached { slots }, Job { job, event }, WorkerAddress { worker, address }, Committed, Kill { reason },
    }
    ToExecutor {
        Start(_), Launch(_), InputsChanged { stage, places }, Kill(_), Forget { stages, datasets },
        Block { request, found }, Peer { request, connected }, Stored { request, kept },
        Memory { request, granted }, Unmap(_),
    }
    FromExecutor {
        Ready, Finished(_), MapOutput { task, status, frames }, ResultBlock { block, bytes },
        FetchFailed { task, stage, map, place, cause }, OpenBlock { request, block },
        Connect { request, worker, address }, Store { request, block, bytes, level },
        Offer { request, block, bytes, level }, AcquireMemory { request, bytes, held },
        ReleaseMemory { bytes }, Damaged(_),
    }
    BlockReply { Found { bytes, segments, frames }, Missing }
    PluginReply { Found { bytes }, Missing }
}

impl Any for ErrorCode {
    fn any(source: &mut Source<'_>) -> Self {
        Self::ALL[source.below(Self::ALL.len())]
    }
}

impl Any for PluginHash {
    fn any(source: &mut Source<'_>) -> Self {
        Self([source.byte() % 4; 32])
    }
}

impl Any for TaskMetrics {
    fn any(source: &mut Source<'_>) -> Self {
        let mut metrics = Self { run_us: source.any(), written_bytes: source.any(), ..Self::default() };
        (metrics.input_records, metrics.spilled_bytes) = source.any();
        metrics
    }
}
