//! The executors of this worker: for each a socket with a reading and a writing thread, and its process. What
//! an executor hands over is sealed and kept before the core hears of it.

use super::children::{Launch, Nursery, Process};
use super::directory::WorkDirectory;
use super::mailbox::Slot;
use super::source::Blocks;
use crate::fault::Faults;
use crate::sandbox::cage::Cages;
use crossbeam::channel::{Receiver, Sender, bounded};
use firesteel_common::block::{BlockId, BlockKind, MapStatus, StorageLevel};
use firesteel_common::id::{AppAttemptId, TaskId};
use firesteel_common::protocol::executor::{ExecutorSetup, FromExecutor, OpenedBlock, ToExecutor};
use firesteel_common::{Error, ErrorCode, Result};
use firesteel_core::WorkerEvent;
use firesteel_net::{BlockSource, FdReceiver, FdSender, OpenBlock, fd_channel, socket_pair};
use firesteel_store::{BlockStore, FrameFile};
use parking_lot::Mutex;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Messages to one executor that wait at most; one that does not read them is killed.
const OUTBOX_LEN: usize = 16 * 1024;
/// How long the last messages of a dead executor are waited for.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);

/// That part of what a slot may have is kept by the allocator of an executor, if it is between these bytes.
const KEPT_PART: u64 = 32;
const KEPT_MIN: u64 = 64 * 1024 * 1024;
const KEPT_MAX: u64 = 256 * 1024 * 1024;
/// The most that the C library takes for this setting.
const MAPPED_MAX: u64 = 32 * 1024 * 1024;

/// A message on its way to an executor, with its descriptor.
pub enum Outgoing {
    /// Without one.
    Plain(ToExecutor),
    /// A block that it asked for.
    Block(u64, Option<OpenBlock>),
    /// A connection that it asked for.
    Peer(u64, Option<OwnedFd>),
}

struct Executor {
    outbox: Sender<Outgoing>,
    process: Arc<Process>,
}

/// How the allocator of an executor is to deal with memory: large tables and lists lie in large pages. Where
/// there is plenty, what a task has freed stays for the next one, for a fresh page costs as much as writing
/// it; where there is little, the C library's own rules keep less.
fn allocator(memory: u64, slots: u32) -> String {
    let large_pages = "glibc.malloc.hugetlb=1";
    let kept = (memory / u64::from(slots.max(1)) / KEPT_PART).min(KEPT_MAX);
    if kept < KEPT_MIN {
        return large_pages.to_owned();
    }
    // What is longer than the last of them is a mapping of its own, which is gone when it is freed.
    format!("{large_pages}:glibc.malloc.trim_threshold={kept}:glibc.malloc.mmap_threshold={MAPPED_MAX}")
}

/// The running executors, by application attempt.
#[derive(Clone)]
pub struct Executors {
    shared: Arc<Shared>,
}

struct Shared {
    running: Mutex<BTreeMap<AppAttemptId, Executor>>,
    nursery: Nursery,
    directory: Arc<WorkDirectory>,
    cages: Arc<Cages>,
    store: Arc<BlockStore>,
    blocks: Arc<Blocks>,
    faults: Arc<Faults>,
    events: Slot,
}

impl Executors {
    /// None yet.
    pub fn new(
        nursery: Nursery,
        directory: Arc<WorkDirectory>,
        cages: Arc<Cages>,
        store: Arc<BlockStore>,
        blocks: Arc<Blocks>,
        faults: Arc<Faults>,
        events: Slot,
    ) -> Self {
        let running = Mutex::default();
        let shared = Shared { running, nursery, directory, cages, store, blocks, faults, events };
        Self { shared: Arc::new(shared) }
    }

    /// Starts an executor. Messages can be sent at once; they wait for it.
    pub fn start(&self, setup: ExecutorSetup) {
        let app = setup.app;
        if let Err(error) = self.try_start(setup) {
            let events = self.shared.events.clone();
            let reason = format!("it could not be started: {error}").into();
            // Not from this thread, which is the one that has to take the news.
            self.shared.nursery.tell(move || {
                events.event(WorkerEvent::ExecutorExited { app, reason });
            });
        }
    }

    fn try_start(&self, setup: ExecutorSetup) -> Result<()> {
        let app = setup.app;
        let directory = self.shared.directory.child(app, "executor")?;
        let plugin = setup.plugin.as_ref().map(|(_, path)| path.as_str());
        let (confinement, bounds) = self.shared.cages.cage(&directory, plugin, setup.limits, false)?;
        let (ours, theirs) = socket_pair()?;
        let (sender, receiver) = fd_channel(ours)?;
        let (outbox, outgoing) = bounded(OUTBOX_LEN);
        let process = Arc::new(Process::within(bounds));
        let failed = |cause: std::io::Error| Error::io("starting a thread for an executor", &cause);
        let channel = sender.clone();
        std::thread::Builder::new()
            .name("executor-write".to_owned())
            .spawn(move || write_all(&channel, &outgoing))
            .map_err(failed)?;
        let (ended, is_ended) = bounded::<()>(1);
        let reader =
            Reader { shared: self.shared.clone(), app, outbox: outbox.clone(), process: process.clone() };
        std::thread::Builder::new()
            .name("executor-read".to_owned())
            .spawn(move || {
                reader.read_all(receiver);
                drop(ended);
            })
            .map_err(failed)?;
        let allocator = allocator(setup.memory, setup.slots);
        // There is room: nothing else was sent.
        let _ = outbox.try_send(Outgoing::Plain(ToExecutor::Start(setup)));
        self.shared.running.lock().insert(app, Executor { outbox, process: process.clone() });
        let shared = self.shared.clone();
        let on_exit = Box::new(move |reason| {
            // What it had sent is read to its end before its death is told. No other process should hold its
            // socket; if one does, that must not hold up the news.
            if is_ended.recv_timeout(LAST_WORDS_MAX).is_err_and(|error| error.is_timeout()) {
                sender.close();
                let _ = is_ended.recv();
            }
            shared.running.lock().remove(&app);
            shared.events.event(WorkerEvent::ExecutorExited { app, reason });
        });
        let environment = vec![("GLIBC_TUNABLES", allocator)];
        let stdin = OwnedFd::from(theirs);
        let role = "executor";
        let launch = Launch { app, role, stdin, directory, environment, confinement, process, on_exit };
        self.shared.nursery.launch(launch);
        Ok(())
    }

    /// Sends to an executor; dropped if it does not run.
    pub fn send(&self, app: AppAttemptId, message: Outgoing) {
        let running = self.shared.running.lock();
        if let Some(executor) = running.get(&app)
            && let Err(crossbeam::channel::TrySendError::Full(_)) = executor.outbox.try_send(message)
        {
            tracing::error!("the executor of {app} does not read its messages; it is killed");
            executor.process.signal(Signal::KILL);
        }
    }

    /// The process of an executor, to be stopped. Nothing that is complete is lost by that.
    pub fn process(&self, app: AppAttemptId) -> Option<Arc<Process>> {
        self.shared.running.lock().get(&app).map(|executor| executor.process.clone())
    }

    /// Kills them all and gives their processes, to be waited for.
    pub fn stop_all(&self) -> Vec<Arc<Process>> {
        let running = self.shared.running.lock();
        let processes: Vec<Arc<Process>> =
            running.values().map(|executor| executor.process.clone()).collect();
        processes.iter().for_each(|process| process.signal(Signal::KILL));
        processes
    }
}

fn write_all(channel: &FdSender, outgoing: &Receiver<Outgoing>) {
    for message in outgoing {
        let sent = match message {
            Outgoing::Plain(message) => channel.send(&message, None),
            Outgoing::Block(request, block) => {
                let found = block.as_ref().map(opened);
                channel.send(&ToExecutor::Block { request, found }, block.as_ref().map(OpenBlock::fd))
            }
            Outgoing::Peer(request, socket) => {
                let connected = socket.is_some();
                channel.send(&ToExecutor::Peer { request, connected }, socket.as_ref().map(OwnedFd::as_fd))
            }
        };
        if let Err(error) = sent {
            tracing::debug!("writing to an executor: {error}");
            return;
        }
    }
}

/// What an executor is told of a block beside its descriptor.
pub fn opened(block: &OpenBlock) -> OpenedBlock {
    let frames = block.frames().to_vec();
    OpenedBlock { bytes: block.bytes, status: block.status.as_deref().cloned(), frames }
}

struct Reader {
    shared: Arc<Shared>,
    app: AppAttemptId,
    outbox: Sender<Outgoing>,
    process: Arc<Process>,
}

impl Reader {
    /// Reads until the socket is closed, or something comes that no honest executor sends; then the process
    /// has to go too.
    fn read_all(&self, mut messages: FdReceiver) {
        loop {
            let handled = match messages.recv::<FromExecutor>() {
                Ok(Some((message, fd))) => self.handle(message, fd),
                Ok(None) => break,
                Err(error) => Err(error),
            };
            match handled {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::error!("the executor of {}: {error}; it is killed", self.app);
                    break;
                }
            }
        }
        self.process.signal(Signal::KILL);
    }

    fn handle(&self, message: FromExecutor, fd: Option<OwnedFd>) -> Result<bool> {
        match &message {
            FromExecutor::MapOutput { task, status, frames } => {
                let TaskId { app, stage, partition, attempt } = *task;
                let block = BlockId { app, kind: BlockKind::MapOutput { stage, partition, attempt } };
                if frames.is_empty() {
                    self.keep(block, fd, status.bytes(), Some(status), StorageLevel::MemoryAndDisk)?;
                } else {
                    let file = FrameFile::adopt(self.descriptor(block, fd)?, frames.clone())?;
                    self.shared.store.put_on_disk(block, file, status.bytes(), Some(status.clone()))?;
                }
                self.shared.faults.hit("worker.map_output");
            }
            FromExecutor::ResultBlock { block, bytes } => {
                self.expect(matches!(block.kind, BlockKind::Result { .. }), "a result of another kind")?;
                self.keep(*block, fd, *bytes, None, StorageLevel::MemoryAndDisk)?;
            }
            FromExecutor::Store { request, block, bytes, level } => {
                self.expect(
                    matches!(block.kind, BlockKind::Cached { .. }),
                    "a cached partition of another kind",
                )?;
                if !self.keep(*block, fd, *bytes, None, *level)? {
                    let refusal = ToExecutor::Stored { request: *request, kept: false };
                    return Ok(self.answer(Outgoing::Plain(refusal)));
                }
            }
            FromExecutor::Offer { request, block, bytes, level } => {
                let kept = block.app == self.app && self.shared.store.would_keep(block, *bytes, *level);
                return Ok(self.answer(Outgoing::Plain(ToExecutor::Stored { request: *request, kept })));
            }
            FromExecutor::OpenBlock { request, block } => {
                // Of another application's block an executor does not learn whether there is one.
                let found = Some(block).filter(|block| block.app == self.app);
                let found = found.and_then(|block| self.shared.blocks.open(block));
                return Ok(self.answer(Outgoing::Block(*request, found)));
            }
            FromExecutor::Damaged(block) => {
                self.expect(block.app == self.app, "news of another application's block")?;
                self.shared.store.inspect(block);
                return Ok(true);
            }
            _ => {}
        }
        Ok(self.shared.events.event(WorkerEvent::FromExecutor { app: self.app, message }))
    }

    fn keep(
        &self,
        block: BlockId,
        fd: Option<OwnedFd>,
        bytes: u64,
        status: Option<&MapStatus>,
        level: StorageLevel,
    ) -> Result<bool> {
        let fd = self.descriptor(block, fd)?;
        self.shared.store.put(block, fd, bytes, status.cloned(), level)
    }

    /// What came with a block, if that is one of this application.
    fn descriptor(&self, block: BlockId, fd: Option<OwnedFd>) -> Result<OwnedFd> {
        self.expect(block.app == self.app, "a block of another application")?;
        let missing = || Error::new(ErrorCode::Internal, "it handed over a block without its descriptor");
        fd.ok_or_else(missing)
    }

    fn expect(&self, met: bool, otherwise: &str) -> Result<()> {
        if met {
            return Ok(());
        }
        Err(Error::new(ErrorCode::Internal, format!("it handed over {otherwise}")))
    }

    /// Answers at once, without the actor. Waiting for room holds up only this executor's own messages.
    fn answer(&self, answer: Outgoing) -> bool {
        self.outbox.send(answer).is_ok()
    }
}
