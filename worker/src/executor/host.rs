//! The state of an executor that its threads share, and what it does with each message of its worker. The
//! thread that reads them never waits: whatever may wait runs on a thread of the pool.

use super::answers::{Answer, Answers};
use super::buffers::Buffers;
use super::engine::Engines;
use super::mapped::Mappings;
use super::peer::Peers;
use super::places::Places;
use super::reports::Reports;
use super::signal::Signal;
use super::task;
use crate::fault::Faults;
use crate::pool::Pool;
use firesteel_common::id::{StageId, TaskId};
use firesteel_common::protocol::executor::{ExecutorSetup, ToExecutor};
use firesteel_common::protocol::worker::{StageCode, TaskLaunch, TaskLaunches};
use firesteel_common::{Error, ErrorCode, Result};
use firesteel_net::fds::{FdReceiver, FdSender};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// An executor.
pub struct Host {
    /// What it was told at birth.
    pub setup: ExecutorSetup,
    /// The way to the worker.
    pub worker: FdSender,
    /// What runs its tasks.
    pub engines: Box<dyn Engines>,
    /// The threads of tasks and fetches.
    pub pool: Pool,
    /// Where map outputs are.
    pub places: Places,
    /// Blocks of this machine.
    pub mappings: Mappings,
    /// Connections to other workers.
    pub peers: Peers,
    /// Memory for what comes over them.
    pub buffers: Arc<Buffers>,
    /// Requests to the worker.
    pub answers: Answers,
    /// Reports to the worker.
    pub reports: Reports,
    /// For tests.
    pub faults: Faults,
    stages: Mutex<BTreeMap<StageId, Arc<StageCode>>>,
    attempts: Mutex<BTreeMap<TaskId, Arc<Signal>>>,
}

impl Host {
    /// An executor that was told its setup and runs nothing yet.
    pub fn new(setup: ExecutorSetup, worker: FdSender, engines: Box<dyn Engines>) -> Arc<Self> {
        let faults = Faults::new(setup.faults.as_deref());
        faults.set_worker(setup.worker);
        let mappings = Mappings::new(setup.app, setup.memory);
        let buffers = Arc::new(Buffers::new(setup.memory));
        Arc::new(Self {
            setup,
            worker,
            engines,
            pool: Pool::new("task"),
            places: Places::default(),
            mappings,
            peers: Peers::default(),
            buffers,
            answers: Answers::default(),
            reports: Reports::default(),
            faults,
            stages: Mutex::default(),
            attempts: Mutex::default(),
        })
    }

    /// Bytes of the worker's memory for each slot.
    pub fn share(&self) -> u64 {
        self.setup.memory / u64::from(self.setup.slots.max(1))
    }

    /// Does what the worker says, until it closes the socket.
    ///
    /// # Errors
    /// If the socket breaks, or something comes over it that should not.
    pub fn serve(self: &Arc<Self>, mut messages: FdReceiver) -> Result<()> {
        let served = loop {
            match messages.recv::<ToExecutor>() {
                Ok(Some((message, fd))) => {
                    if let Err(error) = self.handle(message, fd) {
                        break Err(error);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.answers.close();
        self.attempts.lock().values().for_each(|signal| signal.stop());
        served
    }

    fn handle(self: &Arc<Self>, message: ToExecutor, fd: Option<OwnedFd>) -> Result<()> {
        match message {
            ToExecutor::Start(_) => {
                return Err(Error::new(ErrorCode::Internal, "an executor was started twice"));
            }
            ToExecutor::Launch(launches) => self.launch(launches)?,
            ToExecutor::InputsChanged { stage, places } => {
                self.places.update(stage, places);
                self.wake();
            }
            ToExecutor::Kill(tasks) => {
                let attempts = self.attempts.lock();
                tasks.iter().filter_map(|task| attempts.get(task)).for_each(|signal| signal.stop());
            }
            ToExecutor::Forget { stages, datasets } => {
                self.places.forget(&stages);
                self.mappings.forget(&stages, &datasets);
                let mut known = self.stages.lock();
                for stage in &stages {
                    known.remove(stage);
                }
            }
            ToExecutor::Unmap(blocks) => self.mappings.unmap(&blocks),
            ToExecutor::Block { request, found } => {
                self.mappings.opened(request, found, fd);
                self.wake();
            }
            ToExecutor::Peer { request, connected } => {
                self.answers.give(request, Answer::Peer(fd.filter(|_| connected)));
            }
            ToExecutor::Stored { request, kept } => {
                self.answers.give(request, Answer::Stored(kept));
            }
            ToExecutor::Memory { request, granted } => {
                if !self.answers.give(request, Answer::Memory(granted)) && granted > 0 {
                    // Whoever asked has stopped waiting: nobody else will return it.
                    let host = self.clone();
                    self.pool.run(move || task::release_memory(&host, granted))?;
                }
            }
        }
        Ok(())
    }

    /// Tells every attempt that something has changed.
    fn wake(&self) {
        self.attempts.lock().values().for_each(|signal| signal.raise());
    }

    /// Starts attempts. An executor that gets no more threads ends, and its worker reports what ran in it.
    fn launch(self: &Arc<Self>, launches: TaskLaunches) -> Result<()> {
        {
            let mut stages = self.stages.lock();
            stages.extend(launches.stages.into_iter().map(|code| (code.stage, code)));
        }
        for table in &launches.inputs {
            self.places.install(table);
        }
        if !launches.inputs.is_empty() {
            self.wake();
        }
        for launch in launches.tasks {
            let signal = Arc::new(Signal::default());
            self.attempts.lock().insert(launch.task, signal.clone());
            let code = self.stages.lock().get(&launch.task.stage).cloned();
            let host = self.clone();
            self.pool.run(move || host.attempt(code, launch, &signal))?;
        }
        Ok(())
    }

    /// Runs one attempt from its start to its report.
    fn attempt(self: &Arc<Self>, code: Option<Arc<StageCode>>, launch: TaskLaunch, signal: &Arc<Signal>) {
        let id = launch.task;
        let report = match code {
            Some(code) => task::run(self, &code, launch, signal),
            None => {
                let error =
                    Error::new(ErrorCode::Internal, format!("{id} came without the code of its stage"));
                task::failed(id, error)
            }
        };
        self.attempts.lock().remove(&id);
        self.reports.push(&self.worker, report);
    }
}
