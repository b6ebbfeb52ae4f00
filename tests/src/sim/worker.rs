//! The simulated machine and shell of a worker: events in, effects out, children, blocks. What the core
//! decides is the core's own, here is only what the real shell does around it.

use super::clock::Rng;
use super::content::Content;
use super::executor::{ExecutorProcess, ToWorkerShell};
use super::network::{Message, Past, Peer};
use super::trace::say;
use super::world::{ExecutorRef, Happening, TICK_US, World};
use firesteel_common::block::{BlockCopy, BlockId, BlockKind};
use firesteel_common::id::{AppAttemptId, Incarnation, PluginHash, WorkerId};
use firesteel_common::protocol::executor::{ExecutorSetup, FromExecutor, ToExecutor};
use firesteel_common::time::Timestamp;
use firesteel_core::{CoreOptions, WorkerCore, WorkerEffect, WorkerEvent, invariants};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A block in a worker's store.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) content: Content,
    pub(crate) corrupt: bool,
}

/// A running worker.
pub(crate) struct WorkerProcess {
    pub(crate) life: u64,
    pub(crate) core: WorkerCore,
    pub(crate) started: u64,
    pub(crate) conn: Option<u64>,
    pub(crate) blocks: BTreeMap<BlockId, Stored>,
    pub(crate) executors: BTreeMap<AppAttemptId, ExecutorProcess>,
    /// Executors that have ended and whose end the shell has not heard of.
    pub(crate) ending: BTreeSet<AppAttemptId>,
    /// Driver processes by application attempt.
    pub(crate) drivers: BTreeMap<AppAttemptId, u64>,
    pub(crate) stopped: bool,
    /// What waits while it is stopped.
    pub(crate) waiting: Vec<Happening>,
}

/// A machine that runs a worker, or none.
pub(crate) struct Host {
    pub(crate) number: usize,
    pub(crate) slots: u32,
    pub(crate) drivers_max: u32,
    pub(crate) process: Option<WorkerProcess>,
    /// Until when it and the master cannot hear each other.
    pub(crate) master_cut_until: u64,
    /// Until when it and that host cannot reach each other's blocks.
    pub(crate) peer_cut_until: BTreeMap<usize, u64>,
    /// Messages of old connections.
    pub(crate) past: VecDeque<Past>,
}

impl Host {
    pub(crate) fn new(number: usize, rng: &mut Rng) -> Self {
        Self {
            number,
            slots: rng.between(1, 3) as u32,
            drivers_max: rng.between(1, 3) as u32,
            process: None,
            master_cut_until: 0,
            peer_cut_until: BTreeMap::new(),
            past: VecDeque::new(),
        }
    }
}

/// The address of a host's data server; the same for every worker that runs there.
pub(crate) fn address(host: usize) -> String {
    format!("host-{host}:7")
}

impl World {
    /// The worker process of this life on a host, if it runs.
    pub(crate) fn process(&mut self, host: usize, life: u64) -> Option<&mut WorkerProcess> {
        let process = self.hosts.get_mut(host)?.process.as_mut()?;
        (process.life == life).then_some(process)
    }

    pub(crate) fn worker_starts(&mut self, host: usize) {
        let life = self.new_life();
        let drawn = self.drawn(life);
        let started = self.clock.now();
        let Some(machine) = self.hosts.get_mut(host) else { return };
        if machine.process.is_some() {
            return;
        }
        let options = CoreOptions {
            incarnation: Incarnation(drawn),
            host: format!("host-{}", machine.number),
            address: address(host),
            slots: machine.slots,
            drivers_max: machine.drivers_max,
            memory: 1 << 20,
            sandbox: firesteel_common::sandbox::Sandbox::default(),
            fetch_over_tcp: false,
            faults: None,
        };
        machine.process = Some(WorkerProcess {
            life,
            core: WorkerCore::new(options),
            started,
            conn: None,
            blocks: BTreeMap::new(),
            executors: BTreeMap::new(),
            ending: BTreeSet::new(),
            drivers: BTreeMap::new(),
            stopped: false,
            waiting: Vec::new(),
        });
        say!(self, "host-{host}: a worker starts, {}", Incarnation(drawn));
        self.clock.after(1_000, Happening::WorkerDials { host, life });
        self.clock.after(TICK_US, Happening::WorkerTick { host, life });
    }

    /// The worker of a host dies, and all its children with it.
    pub(crate) fn worker_dies(&mut self, host: usize) {
        let Some(process) = self.hosts.get_mut(host).and_then(|machine| machine.process.take()) else {
            return;
        };
        say!(self, "host-{host}: its worker dies");
        for life in process.drivers.values() {
            self.driver_is_gone(*life);
        }
        let life = process.life;
        self.peer_dies(|conn| conn.peer == Peer::Worker { host, life });
    }

    pub(crate) fn worker_tick(&mut self, host: usize, life: u64) {
        if self.process(host, life).is_some() {
            self.worker_step(host, life, WorkerEvent::Tick);
            self.clock.after(TICK_US, Happening::WorkerTick { host, life });
        }
    }

    /// A stopped worker goes on: what has waited for it comes at once, in order.
    pub(crate) fn worker_goes_on(&mut self, host: usize, life: u64) {
        let Some(process) = self.process(host, life).filter(|process| process.stopped) else { return };
        process.stopped = false;
        let waiting = std::mem::take(&mut process.waiting);
        say!(self, "host-{host}: its worker goes on, {} messages wait", waiting.len());
        for happening in waiting {
            self.clock.after(0, happening);
        }
    }

    pub(crate) fn worker_dials(&mut self, host: usize, life: u64) {
        if self.process(host, life).is_none_or(|process| process.conn.is_some()) {
            return;
        }
        match self.dial(Peer::Worker { host, life }) {
            Some(conn) => {
                if let Some(process) = self.process(host, life) {
                    process.conn = Some(conn);
                }
                self.worker_step(host, life, WorkerEvent::MasterConnected);
            }
            None => {
                let delay = self.rng.between(20_000, 120_000);
                self.clock.after(delay, Happening::WorkerDials { host, life });
            }
        }
    }

    pub(crate) fn worker_hears(&mut self, host: usize, life: u64, conn: u64, message: Message) {
        if self.process(host, life).is_none_or(|process| process.conn != Some(conn)) {
            return;
        }
        match message {
            Message::ToWorker(message) => self.worker_step(host, life, WorkerEvent::FromMaster(message)),
            Message::End => {
                if let Some(process) = self.process(host, life) {
                    process.conn = None;
                }
                self.worker_step(host, life, WorkerEvent::MasterLost);
                let delay = self.rng.between(5_000, 60_000);
                self.clock.after(delay, Happening::WorkerDials { host, life });
            }
            _ => {}
        }
    }

    pub(crate) fn plugin_fetched(&mut self, host: usize, life: u64, plugin: PluginHash) {
        let path = Ok(format!("plugins/{plugin}"));
        self.worker_step(host, life, WorkerEvent::PluginReady { plugin, path });
    }

    /// A child of a worker says something, or has ended.
    pub(crate) fn shell_hears(&mut self, host: usize, life: u64, message: ToWorkerShell) {
        let Some(process) = self.process(host, life) else { return };
        match message {
            ToWorkerShell::Executor { of, message, block } => {
                if let FromExecutor::Store { request, .. } = &message
                    && block.is_none()
                {
                    // The store had no room: the shell answers by itself.
                    let answer = ToExecutor::Stored { request: *request, kept: false };
                    self.tell_executor(of, answer);
                    return;
                }
                if let Some((id, content)) = block {
                    process.blocks.insert(id, Stored { content, corrupt: false });
                }
                self.worker_step(host, life, WorkerEvent::FromExecutor { app: of.app, message });
            }
            ToWorkerShell::ExecutorEnded { app, reason } => {
                process.ending.remove(&app);
                self.worker_step(host, life, WorkerEvent::ExecutorExited { app, reason: reason.into() });
            }
            ToWorkerShell::DriverEnded { app, reason } => {
                process.drivers.remove(&app);
                self.worker_step(host, life, WorkerEvent::DriverExited { app, reason: reason.into() });
            }
        }
    }

    /// One step of a worker core, with everything that follows from it.
    pub(crate) fn worker_step(&mut self, host: usize, life: u64, event: WorkerEvent) {
        let now = self.clock.now();
        let tracing = self.trace.is_on() && !matches!(event, WorkerEvent::Tick);
        if tracing {
            self.trace.line(now, format_args!("host-{host} hears {event:?}"));
        }
        let Some(process) = self.process(host, life) else { return };
        let effects = process.core.step(Timestamp(now - process.started), event);
        let checked = invariants(&process.core);
        self.steps += 1;
        for effect in effects {
            if tracing {
                self.trace.line(now, format_args!("  host-{host} wants {effect:?}"));
            }
            self.perform_at(host, life, effect);
        }
        if let Err(broken) = checked {
            self.fail(format!("inconsistent: the worker of host-{host}: {broken}"));
        }
        let Some(process) = self.process(host, life) else { return };
        let core = &process.core;
        let loose = process.blocks.keys().find(|block| !core.holds(block)).copied();
        if let Some(block) = loose {
            self.fail(format!("inconsistent: host-{host} stores {block}, of which its core knows nothing"));
        }
    }

    fn perform_at(&mut self, host: usize, life: u64, effect: WorkerEffect) {
        let Some(process) = self.process(host, life) else { return };
        match effect {
            WorkerEffect::Send(message) => {
                if let Some(conn) = process.conn {
                    self.send(conn, true, Message::FromWorker(message));
                }
            }
            WorkerEffect::FetchPlugin(plugin) => {
                let delay = self.rng.between(1_000, 20_000);
                self.clock.after(delay, Happening::PluginFetched { host, life, plugin });
            }
            WorkerEffect::StartExecutor(setup) => self.start_executor(host, life, setup),
            WorkerEffect::SendExecutor { app, message } => {
                if let Some(executor) = process.executors.get(&app) {
                    let to = ExecutorRef { host, worker_life: life, app, life: executor.life };
                    self.tell_executor(to, message);
                }
            }
            WorkerEffect::StopExecutor(app) => self.end_executor(host, life, app, "it was stopped"),
            WorkerEffect::StartDriver { launch, .. } => self.start_driver(launch.app, Some((host, life))),
            WorkerEffect::StopDriver(app) => {
                if let Some(driver) = process.drivers.get(&app).copied() {
                    self.end_driver(driver, "it was stopped");
                }
            }
            WorkerEffect::FreeBlocks(blocks) => {
                for block in blocks {
                    process.blocks.remove(&block);
                }
            }
            WorkerEffect::Execution(_) => {}
            WorkerEffect::MakeRoom { ticket } => {
                let delay = self.rng.between(10, 5_000);
                // Mostly there is room.
                let over = self.rng.between(0, 40_000).saturating_sub(32_000);
                self.clock.after(delay, Happening::RoomMade { host, life, ticket, over });
            }
            WorkerEffect::FreeApp(app) => process.blocks.retain(|block, _| block.app != app),
            // Simulated executors read the blocks of others by themselves.
            WorkerEffect::ConnectPeer { .. } => {}
            WorkerEffect::CopyBlocks { app, from, address, blocks } => {
                self.copy_blocks((host, life), (app, from), &address, &blocks);
            }
            WorkerEffect::Leave => {
                say!(self, "host-{host}: its worker leaves");
                self.worker_dies(host);
                self.clock.after(200_000, Happening::WorkerStarts { host });
            }
            WorkerEffect::Exit(error) => {
                say!(self, "host-{host}: its worker is refused: {error}");
                self.worker_dies(host);
                self.clock.after(200_000, Happening::WorkerStarts { host });
            }
        }
    }

    /// A worker copies blocks of another one; it takes a while, and sees what is there at its end.
    fn copy_blocks(
        &mut self,
        (host, life): (usize, u64),
        (app, from): (AppAttemptId, WorkerId),
        address: &str,
        blocks: &[BlockCopy],
    ) {
        let delay = self.rng.between(1_000, 30_000);
        let address = address.to_owned();
        let blocks = blocks.iter().map(|copy| copy.block).collect();
        self.clock.after(delay, Happening::BlocksCopied { host, life, app, from, address, blocks });
    }

    /// The copies are there, as far as they could be made.
    pub(crate) fn blocks_copied(
        &mut self,
        (host, life): (usize, u64),
        (app, from): (AppAttemptId, WorkerId),
        address: &str,
        blocks: Vec<BlockId>,
    ) {
        let mut copied = Vec::new();
        for block in blocks {
            // There may be no room for a cached partition.
            let no_room = matches!(block.kind, BlockKind::Cached { .. }) && self.rng.chance(15);
            let found = self.look_up(host, address, &block);
            let Some(process) = self.process(host, life) else { return };
            match found {
                Found::Content(content) if !no_room => {
                    process.blocks.insert(block, Stored { content, corrupt: false });
                    copied.push((block, Some(64)));
                }
                _ => copied.push((block, None)),
            }
        }
        self.worker_step(host, life, WorkerEvent::BlocksCopied { app, from, blocks: copied });
    }

    fn start_executor(&mut self, host: usize, worker_life: u64, setup: ExecutorSetup) {
        let life = self.new_life();
        let delay = self.rng.between(2_000, 30_000);
        let app = setup.app;
        let Some(process) = self.process(host, worker_life) else { return };
        let twice = process.executors.insert(app, ExecutorProcess::new(life)).is_some();
        if twice || process.ending.contains(&app) {
            self.fail(format!("duplicated: host-{host} has two executors of {app}"));
        }
        self.clock
            .after(delay, Happening::ExecutorReady { of: ExecutorRef { host, worker_life, app, life } });
    }

    /// An executor process ends; its shell hears of it after what the executor has said.
    pub(crate) fn end_executor(&mut self, host: usize, life: u64, app: AppAttemptId, reason: &str) {
        let delay = self.rng.between(500, 10_000);
        let now = self.clock.now();
        let Some(process) = self.process(host, life) else { return };
        let Some(executor) = process.executors.remove(&app) else { return };
        process.ending.insert(app);
        let at = (now + delay).max(executor.last_said);
        let message = ToWorkerShell::ExecutorEnded { app, reason: reason.to_owned() };
        self.clock.at(at, Happening::ToShell { host, life, message });
    }

    /// A block as a reader on `from` finds it.
    pub(crate) fn look_up(&self, from: usize, address_wanted: &str, block: &BlockId) -> Found {
        let Some(host) = self.hosts.iter().find(|host| address(host.number) == address_wanted) else {
            return Found::Unreachable;
        };
        let cut = host.peer_cut_until.get(&from).is_some_and(|until| *until > self.clock.now());
        match &host.process {
            Some(process) if host.number == from || (!cut && !process.stopped) => {
                match process.blocks.get(block) {
                    Some(stored) if stored.corrupt => Found::Corrupt,
                    Some(stored) => Found::Content(stored.content.clone()),
                    None => Found::Missing,
                }
            }
            _ => Found::Unreachable,
        }
    }
}

/// What a reader finds.
pub(crate) enum Found {
    Content(Content),
    Missing,
    Corrupt,
    Unreachable,
}

/// Whether a block is a map output; only these can be computed again one by one.
pub(crate) fn is_map_output(block: &BlockId) -> bool {
    matches!(block.kind, BlockKind::MapOutput { .. })
}
