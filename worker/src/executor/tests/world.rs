//! A small world for executors: workers with real stores and data servers on the loopback, which answer their
//! executor as the shell and the core do, and show the test what it says.

use crate::executor::engine::{Engine, Engines};
use crate::executor::host::Host;
use crate::fault::Faults;
use crate::shell::local::{self, LocalServer};
use crate::shell::{Blocks, opened};
use crossbeam::channel::{Receiver, Sender, unbounded};
use firesteel_common::block::{BlockId, BlockKind, MapStatus, StorageLevel};
use firesteel_common::event::FetchCause;
use firesteel_common::graph::{ReadRange, TaskCode};
use firesteel_common::id::{AppAttemptId, AppId, StageId, TaskId, WorkerId};
use firesteel_common::options::Limits;
use firesteel_common::protocol::executor::{ExecutorSetup, FromExecutor, ToExecutor};
use firesteel_common::protocol::hello::Role;
use firesteel_common::protocol::worker::{InputTable, MapPlace, StageCode, TaskLaunch, TaskLaunches};
use firesteel_common::task::{ResultValue, TaskIo, TaskOutcome, TaskReport};
use firesteel_common::{Error, Payload, Result};
use firesteel_net::fds::{FdReceiver, FdSender, fd_channel, socket_pair};
use firesteel_net::{BlockSource, DataServer, Key, OpenBlock, bind_loopback, connect};
use firesteel_store::{BlockStore, FrameFile};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub const APP: AppAttemptId = AppAttemptId { app: AppId(1), attempt: 1 };
pub const MAP: StageId = StageId(1);
pub const REDUCE: StageId = StageId(2);
/// What a task may have.
pub const SHARE: u64 = 64 * 1024 * 1024;
const WAIT: Duration = Duration::from_secs(60);

/// What the tests' engine runs.
pub type Body = Arc<dyn Fn(Arc<dyn TaskIo>) -> Result<TaskOutcome> + Send + Sync>;

struct Closure(Body);

impl Engine for Closure {
    fn run_task(&self, io: Arc<dyn TaskIo>) -> Result<TaskOutcome> {
        (self.0)(io)
    }
}

struct One(Result<Arc<dyn Engine>>);

impl Engines for One {
    fn engine(&self, _: TaskCode) -> Result<Arc<dyn Engine>> {
        self.0.clone()
    }
}

/// A reader's complaint.
#[derive(Debug, PartialEq, Eq)]
pub struct Complaint {
    pub task: TaskId,
    pub map: u32,
    pub place: Option<MapPlace>,
    pub cause: FetchCause,
}

/// A worker with one executor.
pub struct Worker {
    pub id: WorkerId,
    pub address: Arc<str>,
    pub store: Arc<BlockStore>,
    pub reports: Receiver<TaskReport>,
    pub complaints: Receiver<Complaint>,
    to: FdSender,
    server: Option<DataServer>,
    _local: Option<LocalServer>,
}

impl Worker {
    pub fn start(id: u64, key: &Key, body: Result<Body>, faults: Option<&Path>) -> Self {
        Self::start_in(None, id, key, body, faults)
    }

    /// A worker that shares a run directory with others, which map its blocks.
    pub fn start_in(
        run_dir: Option<&Path>,
        id: u64,
        key: &Key,
        body: Result<Body>,
        faults: Option<&Path>,
    ) -> Self {
        let store = BlockStore::new(64 * 1024 * 1024, None);
        Self::start_with(store, SHARE, run_dir, id, key, body, faults)
    }

    /// A worker with this store, whose tasks may have `share` bytes each.
    pub fn start_with(
        store: BlockStore,
        share: u64,
        run_dir: Option<&Path>,
        id: u64,
        key: &Key,
        body: Result<Body>,
        faults: Option<&Path>,
    ) -> Self {
        let (id, store) = (WorkerId(id), Arc::new(store));
        let tokens = Arc::new(Faults::new(faults.and_then(Path::to_str)));
        tokens.set_worker(id);
        let blocks = Arc::new(Blocks::new(store.clone(), tokens));
        let listener = bind_loopback("127.0.0.1:0").unwrap();
        let server = DataServer::start(listener, key.clone(), blocks.clone()).unwrap();
        let local = run_dir.map(|run_dir| {
            let directory = run_dir.join(format!("worker-{}", id.0));
            std::fs::create_dir(&directory).unwrap();
            LocalServer::start(&directory, &server.address(), key.clone(), blocks.clone()).unwrap()
        });
        let (ours, theirs) = socket_pair().unwrap();
        let (to, from) = fd_channel(ours).unwrap();
        let (worker, messages) = fd_channel(theirs).unwrap();
        let setup = ExecutorSetup {
            app: APP,
            limits: Limits::default(),
            worker: id,
            plugin: None,
            slots: 2,
            memory: 2 * share,
            fetch_over_tcp: true,
            faults: None,
        };
        let engine = body.map(|body| Arc::new(Closure(body)) as Arc<dyn Engine>);
        let host = Host::new(setup, worker, Box::new(One(engine)));
        std::thread::spawn(move || host.serve(messages));
        let (reported, reports) = unbounded();
        let (complained, complaints) = unbounded();
        let (app_key, run_dir) = (key.for_app(APP), run_dir.map(Path::to_owned));
        let shell = Shell {
            to: to.clone(),
            store: store.clone(),
            blocks,
            key: app_key,
            run_dir,
            share,
            reported,
            complained,
        };
        std::thread::spawn(move || shell.serve(from));
        let address = server.address().into();
        Self { id, address, store, reports, complaints, to, server: Some(server), _local: local }
    }

    pub fn send(&self, message: ToExecutor) {
        self.to.send(&message, None).unwrap();
    }

    pub fn report(&self) -> TaskReport {
        self.reports.recv_timeout(WAIT).unwrap()
    }

    pub fn complaint(&self) -> Complaint {
        self.complaints.recv_timeout(WAIT).unwrap()
    }

    pub fn place(&self, attempt: u32) -> MapPlace {
        MapPlace { worker: self.id, address: self.address.clone(), attempt }
    }

    /// Runs map tasks one after the other, and says that they are here.
    pub fn run_maps(&self, maps: impl IntoIterator<Item = u32>, attempt: u32, reducers: u32) {
        for map in maps {
            let tasks = vec![launch(MAP, map, attempt, vec![])];
            let stages = vec![code(MAP, reducers, vec![])];
            self.send(ToExecutor::Launch(TaskLaunches {
                app: APP,
                limits: Limits::default(),
                stages,
                inputs: vec![],
                tasks,
            }));
            let report = self.report();
            assert!(matches!(report.outcome, TaskOutcome::MapOutput(_)), "{:?}", report.outcome);
            let kind = BlockKind::MapOutput { stage: MAP, partition: map, attempt };
            assert!(self.store.open(&BlockId { app: APP, kind }).is_some());
        }
    }

    /// Launches one reduce task that reads `ranges` of the map stage.
    pub fn reduce(&self, places: Vec<Option<MapPlace>>, partition: u32, ranges: Vec<ReadRange>) -> TaskId {
        let tasks = vec![launch(REDUCE, partition, 0, vec![ranges])];
        let task = tasks[0].task;
        let stages = vec![code(REDUCE, 0, vec![MAP])];
        let inputs = vec![Arc::new(InputTable { stage: MAP, places })];
        self.send(ToExecutor::Launch(TaskLaunches {
            app: APP,
            limits: Limits::default(),
            stages,
            inputs,
            tasks,
        }));
        task
    }

    /// Its data server goes, as if the worker had died.
    pub fn stop_serving(&mut self) {
        self.server.take().unwrap().stop();
    }
}

pub fn code(stage: StageId, reducers: u32, inputs: Vec<StageId>) -> Arc<StageCode> {
    let payload = Payload::empty();
    Arc::new(StageCode { stage, name: stage.to_string(), code: TaskCode::Sql, payload, inputs, reducers })
}

pub fn launch(stage: StageId, partition: u32, attempt: u32, reads: Vec<Vec<ReadRange>>) -> TaskLaunch {
    let task = TaskId { app: APP, stage, partition, attempt };
    TaskLaunch { task, payload: Payload::empty(), reads, cached: vec![] }
}

/// Everything that was written for one reducer.
pub fn reducer(reducer: u32) -> Vec<ReadRange> {
    vec![ReadRange { reducers: reducer..reducer + 1, maps: 0..u32::MAX }]
}

pub fn inline(report: &TaskReport) -> Payload {
    match &report.outcome {
        TaskOutcome::Result(ResultValue::Inline(bytes)) => bytes.clone(),
        other => panic!("{other:?}"),
    }
}

pub fn failure(report: &TaskReport) -> Error {
    match &report.outcome {
        TaskOutcome::Failed(error) => error.clone(),
        other => panic!("{other:?}"),
    }
}

/// What the worker's shell and core do for one executor.
struct Shell {
    to: FdSender,
    store: Arc<BlockStore>,
    blocks: Arc<Blocks>,
    key: Key,
    run_dir: Option<PathBuf>,
    share: u64,
    reported: Sender<TaskReport>,
    complained: Sender<Complaint>,
}

impl Shell {
    fn serve(self, mut from: FdReceiver) {
        while let Ok(Some((message, fd))) = from.recv::<FromExecutor>() {
            if self.handle(message, fd).is_err() {
                break;
            }
        }
    }

    fn handle(&self, message: FromExecutor, fd: Option<OwnedFd>) -> Result<()> {
        match message {
            FromExecutor::Ready | FromExecutor::ReleaseMemory { .. } => Ok(()),
            FromExecutor::Finished(reports) => {
                reports.into_iter().for_each(|report| drop(self.reported.send(report)));
                Ok(())
            }
            FromExecutor::MapOutput { task, status, frames } if !frames.is_empty() => {
                let TaskId { app, stage, partition, attempt } = task;
                let kind = BlockKind::MapOutput { stage, partition, attempt };
                let file = FrameFile::adopt(fd.unwrap(), frames).unwrap();
                self.store.put_on_disk(BlockId { app, kind }, file, status.bytes(), Some(status))
            }
            FromExecutor::MapOutput { task, status, .. } => {
                let TaskId { app, stage, partition, attempt } = task;
                let kind = BlockKind::MapOutput { stage, partition, attempt };
                let level = StorageLevel::MemoryAndDisk;
                self.keep(BlockId { app, kind }, fd, status.bytes(), Some(status), level).map(drop)
            }
            FromExecutor::ResultBlock { block, bytes } => {
                self.keep(block, fd, bytes, None, StorageLevel::MemoryAndDisk).map(drop)
            }
            FromExecutor::Offer { request, block, bytes, level } => {
                let kept = self.store.would_keep(&block, bytes, level);
                self.to.send(&ToExecutor::Stored { request, kept }, None)
            }
            FromExecutor::Store { request, block, bytes, level } => {
                let kept = self.keep(block, fd, bytes, None, level)?;
                self.to.send(&ToExecutor::Stored { request, kept }, None)
            }
            FromExecutor::FetchFailed { task, map, place, cause, .. } => {
                let _ = self.complained.send(Complaint { task, map, place, cause });
                Ok(())
            }
            FromExecutor::OpenBlock { request, block } => {
                let open = self.blocks.open(&block);
                let found = open.as_ref().map(opened);
                let fd = open.as_ref().map(OpenBlock::fd);
                self.to.send(&ToExecutor::Block { request, found }, fd)
            }
            FromExecutor::Connect { request, address, .. } => {
                let role = Role::Reader(APP);
                let local = self
                    .run_dir
                    .as_ref()
                    .and_then(|dir| local::dial(dir, &address, role, &self.key).unwrap());
                let socket = local.map(OwnedFd::from).or_else(|| {
                    connect(&address, role, &self.key, Duration::from_secs(1)).ok().map(OwnedFd::from)
                });
                let connected = socket.is_some();
                self.to.send(&ToExecutor::Peer { request, connected }, socket.as_ref().map(AsFd::as_fd))
            }
            FromExecutor::AcquireMemory { request, bytes, held } => {
                let granted = bytes.min(self.share.saturating_sub(held.unwrap_or(0)));
                self.to.send(&ToExecutor::Memory { request, granted }, None)
            }
            FromExecutor::Damaged(block) => {
                self.store.inspect(&block);
                Ok(())
            }
        }
    }

    fn keep(
        &self,
        block: BlockId,
        fd: Option<OwnedFd>,
        bytes: u64,
        status: Option<MapStatus>,
        level: StorageLevel,
    ) -> Result<bool> {
        self.store.put(block, fd.unwrap(), bytes, status, level)
    }
}
