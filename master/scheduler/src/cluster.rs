//! What all applications share: the workers, the placement index, the settings, and the effects of this step.
//! No application is in here, so that one of them can be worked on while this is borrowed.

use crate::PlantedBug;
use crate::event::Effect;
use crate::placement::Placement;
use crate::pools::Pools;
use crate::queries::Counters;
use crate::worker::Workers;
use firesteel_common::config::SchedulerConfig;
use firesteel_common::event::{AppEvent, LoggedEvent};
use firesteel_common::id::{AppAttemptId, AppId, JobId, StageId, TaskId, WorkerId};
use firesteel_common::job::JobEvent;
use firesteel_common::options::Limits;
use firesteel_common::protocol::driver::ToDriver;
use firesteel_common::protocol::worker::{TaskLaunches, ToWorker};
use firesteel_common::time::{Micros, Timestamp};
use std::collections::BTreeMap;

/// How long an attempt that nobody needs may take to notice it, in milliseconds. Its executor is stopped
/// after that, so that it does not keep a core for ever.
const KILL_GRACE_MS: u64 = 10_000;

/// The configuration in the units of the decisions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub heartbeat_ms: u64,
    pub worker_timeout: Micros,
    pub reconnect: Micros,
    pub task_failures_max: u32,
    pub stage_attempts_max: u32,
    pub locality_wait: Micros,
    pub no_workers_timeout: Micros,
    pub driver_attempts_max: u32,
    /// How long a worker that is to leave may take until nothing of it is needed.
    pub drain_timeout: Micros,
    /// How long a recovered application may stay unreported before its driver is started again. Safe however
    /// short, because an older driver is fenced by its attempt; long enough for workers to dial again.
    pub recovery_grace: Micros,
    /// How long the driver of a client may take until it attaches.
    pub client_grace: Micros,
}

/// Ticks that are this late are mere jitter.
const PAUSE_MIN: Micros = Micros::from_millis(250);

impl Settings {
    pub fn new(config: &SchedulerConfig) -> Self {
        let reconnect = config.reconnect_ms;
        Self {
            heartbeat_ms: config.heartbeat_ms,
            worker_timeout: Micros::from_millis(config.worker_timeout_ms),
            reconnect: Micros::from_millis(reconnect),
            task_failures_max: config.task_failures_max.max(1),
            stage_attempts_max: config.stage_attempts_max.max(1),
            locality_wait: Micros::from_millis(config.locality_wait_ms),
            no_workers_timeout: Micros::from_millis(config.no_workers_timeout_ms),
            driver_attempts_max: config.driver_attempts_max,
            drain_timeout: Micros::from_millis(config.drain_timeout_ms),
            recovery_grace: Micros::from_millis((3 * reconnect).max(2 * config.heartbeat_ms)),
            client_grace: Micros::from_millis((10 * reconnect).max(config.worker_timeout_ms)),
        }
    }

    /// A gap between two ticks that is longer means that the master itself did not run: it is shorter than
    /// any time after which somebody is given up.
    pub fn pause(&self) -> Micros {
        let heard = Micros::from_millis(2 * self.heartbeat_ms);
        heard.min(Micros(self.reconnect.0 / 2)).max(PAUSE_MIN)
    }
}

/// See the module.
pub(crate) struct Cluster {
    pub now: Timestamp,
    pub settings: Settings,
    pub workers: Workers,
    pub placement: Placement,
    pub counters: Counters,
    pub planted: Option<PlantedBug>,
    pub effects: Vec<Effect>,
    /// Launches of this step, one entry for each worker and application; see `Worker::launch_at`.
    launches: Vec<(WorkerId, TaskLaunches)>,
    /// Whether a driver may find a place that it did not find before.
    pub driver_room: bool,
    pub pools: Pools,
}

impl Cluster {
    pub fn new(settings: Settings, workers: Workers, pools: Pools) -> Self {
        Self {
            now: Timestamp(0),
            settings,
            workers,
            placement: Placement::default(),
            counters: Counters::default(),
            planted: None,
            effects: Vec::new(),
            launches: Vec::new(),
            driver_room: false,
            pools,
        }
    }

    pub fn is_planted(&self, bug: PlantedBug) -> bool {
        self.planted == Some(bug)
    }

    pub fn log(&mut self, app: AppAttemptId, event: AppEvent) {
        self.effects.push(Effect::Log(LoggedEvent { at: self.now, app, event }));
    }

    pub fn tell_worker(&mut self, worker: WorkerId, message: ToWorker) {
        self.effects.push(Effect::SendWorker { worker, message });
    }

    pub fn tell_driver(&mut self, app: AppAttemptId, message: ToDriver) {
        self.effects.push(Effect::SendDriver { app, message });
    }

    pub fn tell_job(&mut self, app: AppAttemptId, job: JobId, event: JobEvent) {
        self.tell_driver(app, ToDriver::Job { job, event });
    }

    /// Tells workers to stop attempts, with one message for each worker.
    pub fn tell_kills(&mut self, kills: Vec<(WorkerId, TaskId)>) {
        for (worker, tasks) in by_worker(kills) {
            self.tell_worker(worker, ToWorker::KillTasks { tasks, grace_ms: KILL_GRACE_MS });
        }
    }

    /// Tells workers to free map outputs, with one message for each worker.
    pub fn tell_free_outputs(&mut self, outputs: Vec<(WorkerId, TaskId)>) {
        if self.is_planted(PlantedBug::Release) {
            return;
        }
        for (worker, tasks) in by_worker(outputs) {
            self.tell_worker(worker, ToWorker::FreeOutputs(tasks));
        }
    }

    /// Tells a worker that an application attempt is over, now or when it is connected again.
    pub fn tell_end(&mut self, worker: WorkerId, app: AppAttemptId) {
        if self.is_planted(PlantedBug::Release) {
            return;
        }
        let Some(state) = self.workers.get_mut(worker) else { return };
        if state.link.is_none() {
            state.owed.push(app);
        } else {
            self.tell_worker(worker, ToWorker::EndApp(app));
        }
    }

    /// The launches for one worker and application that this step has gathered so far.
    pub fn launches_for(&mut self, worker: WorkerId, app: AppAttemptId, limits: Limits) -> &mut TaskLaunches {
        let known = self.workers.get(worker).map_or(usize::MAX, |state| state.launch_at);
        let fits =
            self.launches.get(known).is_some_and(|(id, launches)| *id == worker && launches.app == app);
        let at = if fits { known } else { self.launches.len() };
        if !fits {
            let launches = TaskLaunches { app, limits, stages: vec![], inputs: vec![], tasks: vec![] };
            self.launches.push((worker, launches));
            if let Some(state) = self.workers.get_mut(worker) {
                state.launch_at = at;
            }
        }
        &mut self.launches[at].1
    }

    /// Ends the step: its effects, the launches last.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        for (worker, launches) in self.launches.drain(..) {
            self.effects.push(Effect::SendWorker { worker, message: ToWorker::LaunchTasks(launches) });
        }
        std::mem::take(&mut self.effects)
    }

    /// Gives the slot of an attempt back, if it had one, and forgets that the worker runs it.
    pub fn stop(&mut self, worker: WorkerId, task: TaskId, held_slot: bool) {
        let Some(state) = self.workers.get_mut(worker) else { return };
        if let Some(at) = state.running.iter().position(|running| *running == task) {
            state.running.swap_remove(at);
            state.used = state.used.saturating_sub(u32::from(held_slot));
            self.touch(worker);
        }
    }

    /// Notes that the free slots of a worker may have changed.
    pub fn touch(&mut self, worker: WorkerId) {
        if let Some(state) = self.workers.get_mut(worker)
            && !state.dirty
        {
            state.dirty = true;
            self.placement.dirty.push(worker);
        }
    }
}

/// Where a task set stands in the queue of all: first applications, then jobs, then stages.
pub(crate) type SetKey = (AppId, JobId, StageId);

fn by_worker(items: Vec<(WorkerId, TaskId)>) -> BTreeMap<WorkerId, Vec<TaskId>> {
    let mut grouped: BTreeMap<WorkerId, Vec<TaskId>> = BTreeMap::new();
    for (worker, task) in items {
        grouped.entry(worker).or_default().push(task);
    }
    grouped
}
