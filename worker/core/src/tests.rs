//! Stories as data: events in, effects out as short words, checked whole.

use crate::{CoreOptions, WorkerCore, WorkerEffect, WorkerEvent, invariants};
use firesteel_common::Payload;
use firesteel_common::block::{BlockId, BlockKind, MapStatus, SegmentStat};
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::event::FetchCause;
use firesteel_common::graph::TaskCode;
use firesteel_common::id::{
    AppAttemptId, AppId, DatasetId, Epoch, Incarnation, PluginHash, StageId, TaskId, WorkerId,
};
use firesteel_common::options::Limits;
use firesteel_common::protocol::executor::{FromExecutor, ToExecutor};
use firesteel_common::protocol::worker::{
    DriverLaunch, DriverProgram, InputTable, MapPlace, StageCode, TaskLaunch, TaskLaunches, ToMaster,
    ToWorker,
};
use firesteel_common::task::{ResultValue, TaskMetrics, TaskOutcome, TaskReport};
use firesteel_common::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

mod executors;
mod links;

const APP: AppAttemptId = AppAttemptId { app: AppId(1), attempt: 1 };
const PLUGIN: PluginHash = PluginHash([7; 32]);

/// A worker and the words of what it wanted in the last step.
struct Story {
    core: WorkerCore,
    now: u64,
}

impl Story {
    fn new() -> Self {
        let options = CoreOptions {
            incarnation: Incarnation(9),
            host: "here".into(),
            address: "here:1".into(),
            slots: 2,
            drivers_max: 2,
            memory: 1000,
            sandbox: firesteel_common::sandbox::Sandbox::default(),
            fetch_over_tcp: false,
            faults: None,
        };
        Self { core: WorkerCore::new(options), now: 0 }
    }

    /// A worker that is registered as worker-3 with epoch 1.
    fn registered() -> Self {
        let mut story = Self::new();
        story.does(WorkerEvent::MasterConnected);
        story.hears(registered(1));
        story
    }

    /// One that has an executor which runs these partitions of stage 1.
    fn running(partitions: &[u32]) -> Self {
        let mut story = Self::registered();
        story.hears(launch(1, partitions));
        story.does(WorkerEvent::PluginReady { plugin: PLUGIN, path: Ok("path".into()) });
        story.says(FromExecutor::Ready);
        story
    }

    fn does(&mut self, event: WorkerEvent) -> String {
        let effects = self.core.step(Timestamp(self.now), event);
        assert_eq!(invariants(&self.core), Ok(()));
        effects.iter().map(words).collect::<Vec<_>>().join("; ")
    }

    fn hears(&mut self, message: ToWorker) -> String {
        self.does(WorkerEvent::FromMaster(message))
    }

    fn says(&mut self, message: FromExecutor) -> String {
        self.does(WorkerEvent::FromExecutor { app: APP, message })
    }

    fn exits(&mut self) -> String {
        self.does(WorkerEvent::ExecutorExited { app: APP, reason: "signal 9".into() })
    }
}

fn registered(epoch: u64) -> ToWorker {
    ToWorker::Registered { worker: WorkerId(3), epoch: Epoch(epoch), heartbeat_ms: 200 }
}

fn task(stage: u32, partition: u32) -> TaskId {
    TaskId { app: APP, stage: StageId(stage), partition, attempt: 0 }
}

fn code(stage: u32) -> Arc<StageCode> {
    Arc::new(StageCode {
        stage: StageId(stage),
        name: "s".into(),
        code: TaskCode::Plugin(PLUGIN),
        payload: Payload::empty(),
        inputs: vec![StageId(100)],
        reducers: 1,
    })
}

fn place(attempt: u32) -> MapPlace {
    MapPlace { worker: WorkerId(8), address: "there:1".into(), attempt }
}

fn tasks(stage: u32, partitions: &[u32]) -> Vec<TaskLaunch> {
    let launch = |p: &u32| TaskLaunch {
        task: task(stage, *p),
        payload: Payload::empty(),
        reads: vec![],
        cached: vec![],
    };
    partitions.iter().map(launch).collect()
}

/// A launch that says everything about its stage, whose only input is stage 100 with one map output.
fn launch(stage: u32, partitions: &[u32]) -> ToWorker {
    let table = InputTable { stage: StageId(100), places: vec![Some(place(0))] };
    ToWorker::LaunchTasks(TaskLaunches {
        app: APP,
        limits: Limits::default(),
        stages: vec![code(stage)],
        inputs: vec![Arc::new(table)],
        tasks: tasks(stage, partitions),
    })
}

/// A launch that relies on what was said before.
fn launch_more(stage: u32, partitions: &[u32]) -> ToWorker {
    ToWorker::LaunchTasks(TaskLaunches {
        app: APP,
        limits: Limits::default(),
        stages: vec![],
        inputs: vec![],
        tasks: tasks(stage, partitions),
    })
}

fn status() -> MapStatus {
    MapStatus {
        segments: vec![SegmentStat { bytes: 64, rows: 1, checksum: 5 }],
        statistics: Payload::empty(),
    }
}

fn finished(partition: u32, outcome: TaskOutcome) -> FromExecutor {
    let (task, metrics) = (task(1, partition), TaskMetrics::default());
    FromExecutor::Finished(vec![TaskReport { task, outcome, metrics, accumulators: vec![], stored: vec![] }])
}

fn value() -> TaskOutcome {
    TaskOutcome::Result(ResultValue::Inline(Payload::empty()))
}

fn short(task: &TaskId) -> String {
    format!("{}/{}", task.stage.0, task.partition)
}

fn list(tasks: &[TaskId]) -> String {
    tasks.iter().map(short).collect::<Vec<_>>().join(",")
}

fn words(effect: &WorkerEffect) -> String {
    match effect {
        WorkerEffect::Send(sent) => format!("say@{} {}", sent.epoch.0, said(&sent.message)),
        WorkerEffect::FetchPlugin(_) => "fetch plugin".into(),
        WorkerEffect::StartExecutor(setup) => format!("start executor of {}", setup.app),
        WorkerEffect::SendExecutor { message, .. } => format!("tell {}", told(message)),
        WorkerEffect::StopExecutor(_) => "stop executor".into(),
        WorkerEffect::StartDriver { plugin, .. } => format!("start driver {plugin:?}"),
        WorkerEffect::StopDriver(_) => "stop driver".into(),
        WorkerEffect::FreeBlocks(blocks) => {
            format!("free {}", blocks.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
        }
        WorkerEffect::FreeApp(_) => "free app".into(),
        WorkerEffect::Execution(bytes) => format!("execution {bytes}"),
        WorkerEffect::MakeRoom { ticket } => format!("make room {ticket}"),
        WorkerEffect::ConnectPeer { address, .. } => format!("connect {address}"),
        WorkerEffect::CopyBlocks { address, blocks, .. } => {
            let names: Vec<String> = blocks.iter().map(|copy| copy.block.to_string()).collect();
            format!("copy {} from {address}", names.join(","))
        }
        WorkerEffect::Leave => "leave".into(),
        WorkerEffect::Exit(error) => format!("exit {}", error.code),
    }
}

fn said(message: &ToMaster) -> String {
    match message {
        ToMaster::Register(all) => format!(
            "register worker={:?} drivers={} running=[{}] outputs={} cached={} apps={}",
            all.worker.map(|worker| worker.0),
            all.drivers.len(),
            list(&all.running),
            all.outputs.len(),
            all.cached.len(),
            all.apps.len()
        ),
        ToMaster::Heartbeat => "heartbeat".into(),
        ToMaster::Refusals { .. } => "refusals".into(),
        ToMaster::Draining => "draining".into(),
        ToMaster::BlocksCopied { blocks, .. } => {
            let one = |(block, copied): &(BlockId, bool)| format!("{block}={copied}");
            format!("copied {}", blocks.iter().map(one).collect::<Vec<_>>().join(","))
        }
        ToMaster::TasksFinished(reports) => {
            let one = |report: &TaskReport| {
                let how = match &report.outcome {
                    TaskOutcome::MapOutput(_) => "map".into(),
                    TaskOutcome::Result(_) => "value".into(),
                    TaskOutcome::Failed(error) => error.code.to_string(),
                    TaskOutcome::Killed => "killed".into(),
                };
                format!("{}={how}", short(&report.task))
            };
            format!("finished {}", reports.iter().map(one).collect::<Vec<_>>().join(","))
        }
        ToMaster::FetchFailed { task, stage, map, .. } => {
            format!("{} misses {}/{map}", short(task), stage.0)
        }
        ToMaster::ExecutorLost { tasks, stopped, .. } => {
            format!("executor lost [{}]{}", list(tasks), if *stopped { " stopped" } else { "" })
        }
        ToMaster::ExecutorStarted { pid, .. } => format!("executor is process {pid}"),
        ToMaster::DriverExited { reason, .. } => format!("driver exited: {reason}"),
        ToMaster::Output { source, bytes, .. } => format!("output of {source}, {}", bytes.len()),
    }
}

fn told(message: &ToExecutor) -> String {
    match message {
        ToExecutor::Launch(all) => format!(
            "launch [{}] stages={} inputs={}",
            list(&all.tasks.iter().map(|launch| launch.task).collect::<Vec<_>>()),
            all.stages.len(),
            all.inputs.len()
        ),
        ToExecutor::InputsChanged { stage, .. } => format!("changed {}", stage.0),
        ToExecutor::Kill(tasks) => format!("kill [{}]", list(tasks)),
        ToExecutor::Forget { stages, datasets } => format!("forget {} {}", stages.len(), datasets.len()),
        ToExecutor::Block { found, .. } => format!("block {}", found.is_some()),
        ToExecutor::Stored { kept, .. } => format!("stored {kept}"),
        ToExecutor::Memory { granted, .. } => format!("memory {granted}"),
        ToExecutor::Start(_) | ToExecutor::Peer { .. } | ToExecutor::Unmap(_) => "nothing of the core".into(),
    }
}
