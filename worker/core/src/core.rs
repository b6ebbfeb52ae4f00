//! The worker's state and the table of contents of its decisions: one line for each event. What is decided
//! stands in the files named there.

use crate::app::App;
use crate::drivers::Driver;
use crate::event::{WorkerEffect, WorkerEvent};
use crate::link::Link;
use crate::memory::Ticket;
use firesteel_common::block::BlockId;
use firesteel_common::error::Error;
use firesteel_common::id::{AppAttemptId, Epoch, Incarnation, PluginHash, WorkerId};
use firesteel_common::protocol::executor::FromExecutor;
use firesteel_common::protocol::worker::ToWorker;
use firesteel_common::sandbox::Sandbox;
use firesteel_common::task::TaskReport;
use firesteel_common::time::{Micros, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// What a worker is told at its start.
#[derive(Clone, Debug)]
pub struct CoreOptions {
    /// Drawn at random when the process starts.
    pub incarnation: Incarnation,
    /// The host name for locality.
    pub host: String,
    /// The address of its data server, `host:port`.
    pub address: String,
    /// Task slots.
    pub slots: u32,
    /// How many drivers it runs at most.
    pub drivers_max: u32,
    /// The budget in bytes that blocks and execution memory share.
    pub memory: u64,
    /// What keeps its executors and drivers apart from everything else.
    pub sandbox: Sandbox,
    /// Whether segments of this machine's other workers are fetched over TCP.
    pub fetch_over_tcp: bool,
    /// The directory of fault tokens; `None` outside tests.
    pub faults: Option<String>,
}

/// Everything a worker knows and decides.
#[derive(Clone, Debug)]
pub struct WorkerCore {
    pub(crate) options: CoreOptions,
    pub(crate) link: Link,
    /// Plugins on this machine or under way, with their paths.
    pub(crate) plugins: BTreeMap<PluginHash, Plugin>,
    pub(crate) apps: BTreeMap<AppAttemptId, App>,
    /// Executors that were told to stop and have not ended yet; their application is forgotten.
    pub(crate) leaving: BTreeSet<AppAttemptId>,
    pub(crate) drivers: BTreeMap<AppAttemptId, Driver>,
    /// Bytes of execution memory that are granted, over all applications, those for which room is being made
    /// included.
    pub(crate) granted: u64,
    /// What of this the store was told.
    pub(crate) told_granted: u64,
    /// Requests for which room is being made, by their tickets.
    pub(crate) tickets: BTreeMap<u64, Ticket>,
    pub(crate) last_ticket: u64,
    /// Reports of the step under way; they leave in one message at its end.
    pub(crate) finished: Vec<TaskReport>,
    /// Whether it is to leave.
    pub(crate) draining: bool,
    /// Whether its process was asked to end.
    pub(crate) terminating: bool,
}

/// A plugin as this worker knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plugin {
    /// Asked for.
    Fetching,
    /// Here, at this path.
    Ready(String),
}

impl WorkerCore {
    /// A worker that has no connection and holds nothing.
    pub fn new(options: CoreOptions) -> Self {
        Self {
            options,
            link: Link::default(),
            plugins: BTreeMap::new(),
            apps: BTreeMap::new(),
            leaving: BTreeSet::new(),
            drivers: BTreeMap::new(),
            granted: 0,
            told_granted: 0,
            tickets: BTreeMap::new(),
            last_ticket: 0,
            finished: Vec::new(),
            draining: false,
            terminating: false,
        }
    }

    /// Applies one fact and returns what must be done about it, in order.
    pub fn step(&mut self, now: Timestamp, event: WorkerEvent) -> Vec<WorkerEffect> {
        let mut effects = Vec::new();
        let out = &mut effects;
        match event {
            WorkerEvent::MasterConnected => self.master_connected(out),
            WorkerEvent::MasterLost => self.master_lost(out),
            WorkerEvent::FromMaster(message) => self.hear_master(now, message, out),
            WorkerEvent::PluginReady { plugin, path } => self.plugin_ready(plugin, path, out),
            WorkerEvent::FromExecutor { app, message } => self.hear_executor(app, message, out),
            WorkerEvent::ExecutorStarted { app, pid } => self.executor_started(app, pid, out),
            WorkerEvent::ExecutorExited { app, reason } => self.executor_exited(app, reason, out),
            WorkerEvent::DriverExited { app, reason } => self.driver_exited(app, reason, out),
            WorkerEvent::Output { app, source, bytes } => self.output(app, source, bytes, out),
            WorkerEvent::BlocksLost(blocks) => self.blocks_lost(&blocks),
            WorkerEvent::RoomMade { ticket, over } => self.room_made(ticket, over, out),
            WorkerEvent::Terminate => self.terminate(out),
            WorkerEvent::BlocksCopied { app, from, blocks } => self.blocks_copied(app, from, blocks, out),
            WorkerEvent::Tick => {
                self.heartbeat(now, out);
                self.stop_deaf_executors(now, out);
            }
        }
        self.send_finished(now, out);
        self.tell_execution(out);
        effects
    }

    fn hear_master(&mut self, now: Timestamp, message: ToWorker, out: &mut Vec<WorkerEffect>) {
        match message {
            ToWorker::Registered { worker, epoch, heartbeat_ms } => {
                self.registered(now, worker, epoch, heartbeat_ms, out);
            }
            ToWorker::Refused(error) => out.push(WorkerEffect::Exit(error)),
            ToWorker::StartDriver(launch) => self.start_driver(launch, out),
            ToWorker::KillDriver(app) => self.kill_driver(app, out),
            ToWorker::LaunchTasks(launches) => self.launch_tasks(launches, out),
            ToWorker::InputsChanged { app, stage, places } => self.inputs_changed(app, stage, places, out),
            ToWorker::KillTasks { tasks, grace_ms } => {
                self.kill_tasks(tasks, now + Micros::from_millis(grace_ms), out);
            }
            ToWorker::Free { app, stages, datasets } => self.free(app, stages, datasets, out),
            ToWorker::FreeOutputs(tasks) => self.free_outputs(&tasks, out),
            ToWorker::EndApp(app) => self.end_app(app, out),
            ToWorker::FetchBlocks { app, from, address, blocks } => {
                self.fetch_blocks(app, (from, address), blocks, out);
            }
            ToWorker::Drained => out.push(WorkerEffect::Leave),
            ToWorker::Drain => self.draining = true,
        }
    }

    fn hear_executor(&mut self, app: AppAttemptId, message: FromExecutor, out: &mut Vec<WorkerEffect>) {
        match message {
            FromExecutor::Ready => self.executor_ready(app, out),
            FromExecutor::Finished(reports) => self.tasks_finished(app, reports, out),
            FromExecutor::MapOutput { task, status, .. } => self.map_output(app, task, status, out),
            FromExecutor::ResultBlock { block, bytes } => self.result_block(app, block, bytes, out),
            FromExecutor::FetchFailed { task, stage, map, place, cause } => {
                self.fetch_failed(app, task, (stage, map), (place, cause), out);
            }
            FromExecutor::OpenBlock { request, block } => self.open_block(app, request, block, out),
            FromExecutor::Connect { request, worker, address } => {
                if self.apps.contains_key(&app) {
                    out.push(WorkerEffect::ConnectPeer { app, request, worker, address });
                }
            }
            FromExecutor::Store { request, block, bytes, level } => {
                self.store(app, request, (block, level), bytes, out);
            }
            FromExecutor::AcquireMemory { request, bytes, held } => {
                self.acquire(app, request, bytes, held, out);
            }
            // For the store, which the shell has told or asked.
            FromExecutor::Damaged(_) | FromExecutor::Offer { .. } => {}
            FromExecutor::ReleaseMemory { bytes } => self.release(app, bytes),
        }
    }

    /// A plugin is here, or cannot be had: whoever waits for it goes on, or fails.
    fn plugin_ready(&mut self, plugin: PluginHash, path: Result<String, Error>, out: &mut Vec<WorkerEffect>) {
        let failure = match path {
            Ok(path) => {
                self.plugins.insert(plugin, Plugin::Ready(path));
                None
            }
            Err(error) => {
                self.plugins.remove(&plugin);
                Some(error)
            }
        };
        self.drivers_got_plugin(plugin, failure.as_ref(), out);
        self.executors_got_plugin(plugin, failure.as_ref(), out);
    }

    /// Asks for a plugin unless it is here or asked for; returns its path if it is here.
    pub(crate) fn ensure_plugin(
        &mut self,
        plugin: PluginHash,
        out: &mut Vec<WorkerEffect>,
    ) -> Option<String> {
        match self.plugins.get(&plugin) {
            Some(Plugin::Ready(path)) => Some(path.clone()),
            Some(Plugin::Fetching) => None,
            None => {
                self.plugins.insert(plugin, Plugin::Fetching);
                out.push(WorkerEffect::FetchPlugin(plugin));
                None
            }
        }
    }

    /// The id that the master has given, once it has.
    pub fn worker(&self) -> Option<WorkerId> {
        self.link.worker
    }

    /// The epoch of the last registration; 0 before the first.
    pub fn epoch(&self) -> Epoch {
        self.link.epoch
    }

    /// The number that was drawn when this worker started.
    pub fn incarnation(&self) -> Incarnation {
        self.options.incarnation
    }

    /// Whether the master has answered the registration of the present connection.
    pub fn is_registered(&self) -> bool {
        self.link.registered
    }

    /// Whether this worker holds the block for its application.
    pub fn holds(&self, block: &BlockId) -> bool {
        self.apps.get(&block.app).is_some_and(|app| app.find(block).is_some())
    }

    /// Every application attempt of which something is kept.
    pub fn apps(&self) -> impl Iterator<Item = AppAttemptId> {
        self.apps.keys().copied()
    }

    /// The drivers that run or are about to.
    pub fn drivers(&self) -> impl Iterator<Item = AppAttemptId> {
        self.drivers.keys().copied()
    }
}
