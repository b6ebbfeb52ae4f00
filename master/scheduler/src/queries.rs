//! What may be asked of the scheduler from outside, for the HTTP daemon and the tests. Read-only.

use crate::Scheduler;
use crate::app::{App, Phase};
use firesteel_common::http::{AppProgress, AppState, StageProgress};
use firesteel_common::id::{AppAttemptId, AppId, WorkerId};
use firesteel_common::sandbox::Sandbox;

/// An application that has no durable outcome yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppView {
    /// Which.
    pub app: AppId,
    /// [`AppState::Waiting`] or [`AppState::Running`].
    pub state: AppState,
    /// The attempt at its driver that waits or runs.
    pub attempt: u32,
    /// The worker that runs the driver; `None` while it waits, and in client mode.
    pub driver: Option<WorkerId>,
}

/// A worker that is not lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerView {
    /// Which.
    pub id: WorkerId,
    /// Its host name.
    pub host: String,
    /// The address of its data server.
    pub address: String,
    /// Task slots.
    pub slots: u32,
    /// Of these, free ones.
    pub free: u32,
    /// The budget of its block store, in bytes.
    pub memory: u64,
    /// What keeps executors and drivers on it apart from everything else.
    pub sandbox: Sandbox,
    /// Drivers on it.
    pub drivers: u32,
    /// Whether it is connected (a worker may come back after its connection closed).
    pub alive: bool,
    /// Whether it is to leave.
    pub draining: bool,
}

/// What an executor may use and uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutorView {
    /// The host name of its worker.
    pub host: String,
    /// Task slots that it may use.
    pub slots: u32,
    /// Attempts that were given to it and have not ended.
    pub running: u32,
    /// Bytes of memory that it may use; 0 for no bound of its own.
    pub memory: u64,
    /// What keeps it apart from everything else.
    pub sandbox: Sandbox,
}

/// What the scheduler has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages that were dropped because of an old epoch or incarnation, or an unknown connection.
    pub fenced: u64,
    /// Reports of attempts that were given up before.
    pub stale: u64,
    /// Attempts that were started.
    pub launched: u64,
    /// Attempts that succeeded, and whose work is used.
    pub finished: u64,
    /// Workers that were lost.
    pub workers_lost: u64,
}

impl Scheduler {
    /// All applications without a durable outcome, in the order of their submission.
    pub fn apps(&self) -> Vec<AppView> {
        let mut all: Vec<AppView> = self.apps.values().chain(self.queue.apps.values()).map(view).collect();
        all.sort_by_key(|view| view.app);
        all
    }

    /// One application; `None` if it is unknown or has ended.
    pub fn app(&self, app: AppId) -> Option<AppView> {
        self.apps.get(&app).or_else(|| self.queue.apps.get(&app)).map(view)
    }

    /// How far the stages of an application's present driver attempt are; `None` if it is unknown or has
    /// ended.
    pub fn progress(&self, app: AppId) -> Option<AppProgress> {
        let run = &self.apps.get(&app).or_else(|| self.queue.apps.get(&app))?.run;
        let stages = run.stages.values().map(|stage| StageProgress {
            stage: stage.id,
            name: stage.code.name.clone(),
            inputs: stage.inputs.iter().map(|input| input.stage).collect(),
            tasks: stage.tasks.len() as u32,
            running: stage.running,
            finished: run.finished_tasks(stage),
            failed: stage.failed,
            records: stage.records,
            bytes: stage.bytes,
        });
        let excluded = run.excluded_places(&self.cluster);
        Some(AppProgress { stages: stages.collect(), excluded, ..AppProgress::default() })
    }

    /// Whether this is the attempt at an application's driver that may talk to the master.
    pub fn is_current(&self, app: AppAttemptId) -> bool {
        self.app(app.app).is_some_and(|view| view.attempt == app.attempt)
    }

    /// How many applications wait for a driver place.
    pub fn waiting(&self) -> usize {
        let expected = self.apps.values().filter(|app| view(app).state == AppState::Waiting).count();
        self.queue.apps.len() + expected
    }

    /// All workers that are not lost, in the order of their ids.
    pub fn workers(&self) -> Vec<WorkerView> {
        let view = |worker: &crate::worker::Worker| WorkerView {
            id: worker.id,
            host: worker.host_name.clone(),
            address: worker.address.to_string(),
            slots: worker.slots,
            free: worker.slots.saturating_sub(worker.used),
            memory: worker.memory,
            sandbox: worker.sandbox.clone(),
            drivers: worker.drivers.len() as u32,
            alive: worker.link.is_some(),
            draining: worker.drain.is_some(),
        };
        self.cluster.workers.iter().map(view).collect()
    }

    /// What the executor of an application attempt on a worker may use and uses; `None` if either is unknown.
    pub fn executor(&self, app: AppAttemptId, worker: WorkerId) -> Option<ExecutorView> {
        let run = &self.apps.get(&app.app).filter(|known| known.run.app == app)?.run;
        let worker = self.cluster.workers.get(worker)?;
        let limits = run.options.executor;
        Some(ExecutorView {
            host: worker.host_name.clone(),
            slots: if limits.cores == 0 { worker.slots } else { limits.cores.min(worker.slots) },
            running: worker.running.iter().filter(|task| task.app == app).count() as u32,
            memory: limits.memory,
            sandbox: worker.sandbox.clone(),
        })
    }

    /// The address of a worker's data server, `host:port`.
    pub fn worker_address(&self, worker: WorkerId) -> Option<String> {
        self.cluster.workers.get(worker).map(|worker| worker.address.to_string())
    }

    /// Task slots of all connected workers.
    pub fn slots(&self) -> u32 {
        self.cluster.workers.iter().filter(|w| w.takes_work()).map(|w| w.slots).sum()
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.cluster.counters
    }

    /// Whether nothing is kept about an application, except that its driver takes a place while its process
    /// exits, and that workers which are not connected will be told of its end.
    pub fn is_empty_of(&self, app: AppId) -> bool {
        let placement = &self.cluster.placement;
        let runs = |w: &crate::worker::Worker| w.running.iter().any(|task| task.app.app == app);
        !self.apps.contains_key(&app)
            && !self.queue.apps.contains_key(&app)
            && !self.cluster.workers.iter().any(runs)
            && !placement.ready.iter().any(|key| key.0 == app)
            && !placement.fresh.iter().any(|key| key.0 == app)
            && !placement.relax.iter().any(|(_, key)| key.0 == app)
    }
}

fn view(app: &App) -> AppView {
    let (state, driver) = match &app.phase {
        Phase::Queued { .. } | Phase::Journaling => (AppState::Waiting, None),
        Phase::Expected { .. } => (AppState::Waiting, None),
        Phase::Running(driver) => (AppState::Running, driver.worker),
        Phase::Ending { .. } => (AppState::Running, None),
    };
    AppView { app: app.id, state, attempt: app.run.app.attempt, driver }
}
