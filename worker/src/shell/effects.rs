//! The worker's hands: each effect of the core, done. Nothing here waits; what may wait is given to a thread.

use super::children::{Launch, Nursery, Process};
use super::copies;
use super::directory::WorkDirectory;
use super::executors::{Executors, Outgoing};
use super::local;
use super::mailbox::{Mailbox, Slot};
use super::master::MasterAddress;
use super::output::Outputs;
use super::plugins::Plugins;
use super::source::Blocks;
use crate::driver::{DriverSetup, write_setup};
use crate::fault::Faults;
use crate::options::WorkerOptions;
use crate::pool::Pool;
use crate::sandbox::cage::Cages;
use firesteel_common::block::BlockId;
use firesteel_common::config::{SameHost, SqlConfig};
use firesteel_common::id::{AppAttemptId, PluginHash, WorkerId};
use firesteel_common::protocol::executor::ToExecutor;
use firesteel_common::protocol::hello::Role;
use firesteel_common::protocol::worker::{DriverLaunch, DriverProgram, FromWorker, ToMaster};
use firesteel_common::{Error, Result};
use firesteel_core::{WorkerEffect, WorkerEvent};
use firesteel_net::blocks::Refused;
use firesteel_net::{DataServer, Key, Link, SendFailed, socket_pair};
use firesteel_store::BlockStore;
use parking_lot::Mutex;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a driver or an executor may take to end after SIGTERM.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// How long dialling another worker may take.
const DIAL_MAX: Duration = Duration::from_secs(3);
/// Dials under way for one executor; more are refused, so that one that asks without end holds up nobody
/// else.
const DIALS_MAX: u32 = 64;

type Drivers = Arc<Mutex<BTreeMap<AppAttemptId, Arc<Process>>>>;

/// Does what the core wants done.
pub struct Hands {
    master: Option<Link<FromWorker>>,
    address: MasterAddress,
    key: Key,
    sql: SqlConfig,
    /// The run directory, if the blocks of its other workers are to be mapped.
    mapped_peers: Option<PathBuf>,
    pool: Pool,
    /// Dials wait for others; they have threads of their own.
    dials: Pool,
    dialling: Arc<Mutex<BTreeMap<AppAttemptId, u32>>>,
    /// Copies of map outputs; bounded by what the master has on its way.
    copies: Pool,
    store: Arc<BlockStore>,
    directory: Arc<WorkDirectory>,
    cages: Arc<Cages>,
    plugins: Plugins,
    executors: Executors,
    drivers: Drivers,
    nursery: Nursery,
    outputs: Outputs,
    faults: Arc<Faults>,
    events: Slot,
    /// Where the data server is, and whom it has refused.
    refused: Option<(String, Arc<Refused>)>,
}

/// What remains to be done when the actor has ended.
pub struct Keeper {
    executors: Executors,
    drivers: Drivers,
    events: Slot,
}

impl Keeper {
    /// Says which mailbox it is; to be called before anything happens.
    pub fn open(&self, mailbox: Mailbox) {
        self.events.open(mailbox);
    }

    /// Stops all children and waits until they are gone.
    pub fn stop_everything(&self) {
        let executors = self.executors.stop_all();
        let drivers: Vec<Arc<Process>> = self.drivers.lock().values().cloned().collect();
        drivers.iter().for_each(|driver| driver.signal(Signal::TERM));
        let deadline = Instant::now() + STOP_GRACE;
        for driver in &drivers {
            if !driver.wait(deadline) {
                driver.signal(Signal::KILL);
            }
        }
        let deadline = Instant::now() + STOP_GRACE;
        for process in executors.iter().chain(&drivers) {
            process.wait(deadline);
        }
    }
}

impl Hands {
    /// Hands with nothing in them.
    pub fn new(
        options: &WorkerOptions,
        directory: &Arc<WorkDirectory>,
        cages: Arc<Cages>,
        address: MasterAddress,
        store: Arc<BlockStore>,
        blocks: Arc<Blocks>,
        faults: Arc<Faults>,
    ) -> Result<Self> {
        let (events, outputs) = (Slot::default(), Outputs::default());
        let nursery = Nursery::new(outputs.clone(), events.clone())?;
        let key = options.key.clone();
        Ok(Self {
            master: None,
            plugins: Plugins::new(directory.clone(), address.clone(), key.clone(), events.clone()),
            executors: Executors::new(
                nursery.clone(),
                directory.clone(),
                cages.clone(),
                store.clone(),
                blocks,
                faults.clone(),
                events.clone(),
            ),
            address,
            key,
            sql: options.config.sql.clone(),
            mapped_peers: (options.config.shuffle.same_host == SameHost::Map)
                .then(|| options.run_dir.clone()),
            pool: Pool::new("worker-help"),
            dials: Pool::new("worker-dial"),
            dialling: Arc::default(),
            copies: Pool::new("worker-copy"),
            store,
            directory: directory.clone(),
            cages,
            drivers: Drivers::default(),
            nursery,
            outputs,
            faults,
            events,
            refused: None,
        })
    }

    /// Has executors unmap what leaves the store's memory.
    pub fn watch_store(&self) {
        let executors = self.executors.clone();
        self.store.on_unmapped(Box::new(move |blocks| {
            let mut by_app: BTreeMap<AppAttemptId, Vec<BlockId>> = BTreeMap::new();
            blocks.into_iter().for_each(|block| by_app.entry(block.app).or_default().push(block));
            for (app, blocks) in by_app {
                executors.send(app, Outgoing::Plain(ToExecutor::Unmap(blocks)));
            }
        }));
    }

    /// What the worker's end needs.
    pub fn keeper(&self) -> Keeper {
        let (executors, drivers) = (self.executors.clone(), self.drivers.clone());
        Keeper { executors, drivers, events: self.events.clone() }
    }

    /// A connection to the master stands.
    pub fn link(&mut self, link: Link<FromWorker>) {
        self.master = Some(link);
    }

    /// It is gone.
    pub fn unlink(&mut self) {
        self.master = None;
    }

    /// Does one effect.
    ///
    /// # Errors
    /// Why the worker must end.
    pub fn perform(&mut self, effect: WorkerEffect) -> Result<()> {
        match effect {
            WorkerEffect::Send(message) => self.send(message),
            WorkerEffect::FetchPlugin(plugin) => self.fetch(plugin)?,
            WorkerEffect::StartExecutor(setup) => self.executors.start(setup),
            WorkerEffect::SendExecutor { app, message } => self.executors.send(app, Outgoing::Plain(message)),
            WorkerEffect::ConnectPeer { app, request, worker, address } => {
                self.connect_peer(app, request, worker, address)?;
            }
            WorkerEffect::StopExecutor(app) => self.stop_executor(app)?,
            WorkerEffect::StartDriver { launch, plugin } => self.start_driver(launch, plugin),
            WorkerEffect::StopDriver(app) => self.stop_driver(app)?,
            WorkerEffect::FreeBlocks(blocks) => {
                // Closing files of gigabytes takes its time.
                let store = self.store.clone();
                self.pool.run(move || store.free(&blocks))?;
            }
            WorkerEffect::Execution(bytes) => self.store.set_execution(bytes),
            WorkerEffect::MakeRoom { ticket } => {
                let (store, events) = (self.store.clone(), self.events.clone());
                self.pool.run(move || {
                    let over = store.make_room_for_execution();
                    events.event(WorkerEvent::RoomMade { ticket, over });
                })?;
            }
            WorkerEffect::FreeApp(app) => {
                let (store, directory) = (self.store.clone(), self.directory.clone());
                self.outputs.forget(app);
                self.pool.run(move || {
                    store.free_app(app);
                    directory.remove_app(app);
                })?;
            }
            WorkerEffect::CopyBlocks { app, from, address, blocks } => {
                let (key, events) = (self.key.for_app(app), self.events.clone());
                let (transport, store) = (self.address.transport().clone(), self.store.clone());
                self.copies.run(move || {
                    let blocks = copies::copy((&transport, &address, &key), &store, app, &blocks);
                    events.event(WorkerEvent::BlocksCopied { app, from, blocks });
                })?;
            }
            // The actor ends itself.
            WorkerEffect::Leave => {}
            WorkerEffect::Exit(error) => return Err(error),
        }
        Ok(())
    }

    fn send(&mut self, message: FromWorker) {
        if matches!(message.message, ToMaster::Heartbeat) {
            self.faults.hit("worker.heartbeat");
            if let Some(refusals) = self.refusals(&message) {
                self.send(refusals);
            }
        }
        let Some(link) = &self.master else { return };
        match link.try_send(message) {
            Ok(()) | Err(SendFailed::Closed) => {}
            Err(SendFailed::Refused(error)) => tracing::error!("a message to the master is lost: {error}"),
            Err(SendFailed::Full) => {
                // A new connection says again all that matters; this one only grows older.
                tracing::warn!("the master does not read; leaving this connection to it");
                link.close();
                self.master = None;
            }
        }
    }

    /// Whom the data server has refused since the last heartbeat.
    fn refusals(&self, heartbeat: &FromWorker) -> Option<FromWorker> {
        self.master.as_ref()?;
        let (at, refused) = self.refused.as_ref()?;
        let taken = refused.take().into_iter();
        let refusals: Vec<(String, String, u64)> =
            taken.map(|(from, why, count)| (from.to_string(), format!("{why:?}"), count)).collect();
        if refusals.is_empty() {
            return None;
        }
        let message = ToMaster::Refusals { at: at.clone(), refusals };
        Some(FromWorker { message, ..heartbeat.clone() })
    }

    /// Whom the data server refuses, the master is to hear.
    pub fn tell_refusals(&mut self, server: &DataServer) {
        self.refused = Some((server.address(), server.refused()));
    }

    fn fetch(&self, plugin: PluginHash) -> Result<()> {
        let plugins = self.plugins.clone();
        self.pool.run(move || plugins.fetch(plugin))
    }

    fn connect_peer(&self, app: AppAttemptId, request: u64, worker: WorkerId, address: String) -> Result<()> {
        let (key, executors) = (self.key.for_app(app), self.executors.clone());
        {
            let mut dialling = self.dialling.lock();
            let under_way = dialling.entry(app).or_default();
            if *under_way == DIALS_MAX {
                executors.send(app, Outgoing::Peer(request, None));
                return Ok(());
            }
            *under_way += 1;
        }
        let transport = self.address.transport().clone();
        let (run_dir, dialling) = (self.mapped_peers.clone(), self.dialling.clone());
        self.dials.run(move || {
            let local = run_dir.map(|dir| local::dial(&dir, &address, Role::Reader(app), &key));
            let dialled = match local {
                Some(Ok(Some(stream))) => Ok(OwnedFd::from(stream)),
                _ => transport.connect(&address, Role::Reader(app), &key, DIAL_MAX).map(OwnedFd::from),
            };
            let socket = dialled.inspect_err(|error| tracing::warn!("{worker}: {error}")).ok();
            executors.send(app, Outgoing::Peer(request, socket));
            if let Entry::Occupied(mut under_way) = dialling.lock().entry(app) {
                *under_way.get_mut() -= 1;
                if *under_way.get() == 0 {
                    under_way.remove();
                }
            }
        })
    }

    fn start_driver(&self, launch: DriverLaunch, plugin: Option<String>) {
        let app = launch.app;
        if let Err(error) = self.try_start_driver(launch, plugin) {
            let events = self.events.clone();
            let reason = format!("it could not be started: {error}").into();
            self.nursery.tell(move || {
                events.event(WorkerEvent::DriverExited { app, reason });
            });
        }
    }

    fn try_start_driver(&self, launch: DriverLaunch, plugin: Option<String>) -> Result<()> {
        let app = launch.app;
        let directory = self.directory.child(app, "driver")?;
        let plugin = match &launch.program {
            DriverProgram::Plugin { plugin: hash, .. } => plugin.map(|path| (*hash, path)),
            DriverProgram::Sql { .. } => None,
        };
        let path = plugin.as_ref().map(|(_, path)| path.as_str());
        let (confinement, bounds) = self.cages.cage(&directory, path, launch.limits, true)?;
        let setup = DriverSetup {
            master: self.address.last(),
            trust: self.address.transport().trust(),
            app,
            key_hex: self.key.for_app(app).to_hex(),
            output_mark: self.key.output_mark(app.app, launch.submitted_ms),
            plugin,
            program: launch.program,
            sql: self.sql.clone(),
        };
        let (mut ours, theirs) = socket_pair()?;
        // A thread writes, since a long SQL text does not fit into the socket before the driver reads; and it
        // holds this end until the driver has gone, since its closing would tell the driver that we have.
        let hold = std::thread::Builder::new().name("driver-setup".to_owned());
        hold.spawn(move || {
            if let Err(error) = write_setup(&mut ours, &setup) {
                tracing::warn!("telling a driver what to run: {error}");
            }
            let _ = std::io::copy(&mut ours, &mut std::io::sink());
        })
        .map_err(|cause| Error::io("starting a thread for a driver", &cause))?;
        let process = Arc::new(Process::within(bounds));
        self.drivers.lock().insert(app, process.clone());
        let (drivers, events) = (self.drivers.clone(), self.events.clone());
        let on_exit = Box::new(move |reason| {
            drivers.lock().remove(&app);
            events.event(WorkerEvent::DriverExited { app, reason });
        });
        let (stdin, environment) = (OwnedFd::from(theirs), Vec::new());
        let role = "driver";
        let launch = Launch { app, role, stdin, directory, environment, confinement, process, on_exit };
        self.nursery.launch(launch);
        Ok(())
    }

    fn stop_executor(&self, app: AppAttemptId) -> Result<()> {
        let Some(executor) = self.executors.process(app) else { return Ok(()) };
        self.pool.run(move || executor.stop(STOP_GRACE))
    }

    fn stop_driver(&self, app: AppAttemptId) -> Result<()> {
        let Some(driver) = self.drivers.lock().get(&app).cloned() else { return Ok(()) };
        self.pool.run(move || driver.stop(STOP_GRACE))
    }
}
