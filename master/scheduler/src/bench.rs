//! How many tasks a second the scheduler can decide about. The clock is the caller's, since this crate has
//! none.

mod queue;

use crate::event::{AppSubmission, Effect, Event, LinkId};
use crate::{Scheduler, invariants};
use firesteel_common::Payload;
use firesteel_common::config::SchedulerConfig;
use firesteel_common::graph::{OutputOrder, Place, StageKind, StageSpec, TaskCode, TaskSpec};
use firesteel_common::id::{AppAttemptId, AppId, Epoch, Incarnation, JobId, StageId, TaskId, WorkerId};
use firesteel_common::job::{JobEvent, JobSpec, Target};
use firesteel_common::protocol::driver::{FromDriver, ToDriver};
use firesteel_common::protocol::worker::{FromWorker, Registration, ToMaster, ToWorker};
use firesteel_common::task::{ResultValue, TaskMetrics, TaskOutcome, TaskReport};
use firesteel_common::time::Timestamp;
pub use queue::{QueueResult, run_queue};
use std::collections::VecDeque;
use std::sync::Arc;

/// Task slots of each simulated worker.
const SLOTS: u32 = 4;
/// Completions between two heartbeats.
const COMPLETIONS_PER_HEARTBEAT: u32 = 4;
/// Completions between two ticks.
const COMPLETIONS_PER_TICK: u32 = 2_000;
const EPOCH: Epoch = Epoch(1);
const APP: AppAttemptId = AppAttemptId { app: AppId(1), attempt: 1 };

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct BenchResult {
    /// Tasks that were run.
    pub tasks: u32,
    /// Workers that they were run on.
    pub workers: u32,
    /// Tasks decided about in a second of one core.
    pub tasks_per_second: f64,
    /// How many of the tasks with a preferred worker ran there, as a share of 1.
    pub local: f64,
}

/// Runs one job of `tasks` tasks, half of them with a preferred worker, on `workers` workers of four slots.
/// Every completion is an event of its own, and heartbeats and ticks come in between. `clock` gives seconds.
///
/// # Errors
/// If not all tasks are run, or an invariant is broken at the end.
pub fn run(tasks: u32, workers: u32, clock: &mut dyn FnMut() -> f64) -> Result<BenchResult, String> {
    let mut bench = Bench::new(workers.max(1));
    let submit = FromDriver::Submit(job(tasks, bench.workers));
    let start = clock();
    bench.step(Event::FromDriver { app: APP, message: submit });
    let mut done = 0;
    while let Some((task, worker)) = bench.running.pop_front() {
        done += 1;
        bench.complete(task, worker);
        if done % COMPLETIONS_PER_HEARTBEAT == 0 {
            let worker = WorkerId(u64::from(done) % u64::from(bench.workers) + 1);
            bench.say(worker, ToMaster::Heartbeat);
        }
        if done % COMPLETIONS_PER_TICK == 0 {
            bench.now += 1_000;
            bench.step(Event::Tick);
        }
    }
    let seconds = clock() - start;
    invariants::check(&bench.scheduler)?;
    if !bench.finished || done != tasks {
        return Err(format!("{done} of {tasks} tasks were run, and the job did not finish"));
    }
    let local = f64::from(bench.local) / f64::from((tasks / 2).max(1));
    Ok(BenchResult { tasks, workers, tasks_per_second: f64::from(tasks) / seconds, local })
}

struct Bench {
    scheduler: Scheduler,
    now: u64,
    workers: u32,
    running: VecDeque<(TaskId, WorkerId)>,
    local: u32,
    finished: bool,
}

impl Bench {
    fn new(workers: u32) -> Self {
        let scheduler = Scheduler::new(config(), EPOCH);
        let running = VecDeque::new();
        let mut bench = Self { scheduler, now: 1_000_000, workers, running, local: 0, finished: false };
        bench.step(Event::Recovered(Vec::new()));
        for worker in 1..=u64::from(workers) {
            bench.say(WorkerId(worker), ToMaster::Register(registration(worker)));
        }
        bench.step(Event::SubmitApp(AppSubmission {
            app: APP.app,
            attempt: APP.attempt,
            submitted_ms: 0,
            program: None,
            options: Arc::default(),
        }));
        let attach = FromDriver::Attach { stages: Vec::new(), jobs: Vec::new() };
        bench.step(Event::FromDriver { app: APP, message: attach });
        bench
    }

    fn say(&mut self, worker: WorkerId, message: ToMaster) {
        let message = FromWorker { epoch: EPOCH, incarnation: Incarnation(worker.0), message };
        self.step(Event::FromWorker { link: LinkId(worker.0), message });
    }

    fn complete(&mut self, task: TaskId, worker: WorkerId) {
        let report = TaskReport {
            task,
            outcome: TaskOutcome::Result(ResultValue::Inline(Payload::empty())),
            metrics: TaskMetrics::default(),
            accumulators: Vec::new(),
            stored: Vec::new(),
        };
        self.say(worker, ToMaster::TasksFinished(vec![report]));
    }

    fn step(&mut self, event: Event) {
        for effect in self.scheduler.step(Timestamp(self.now), event) {
            match effect {
                Effect::SendWorker { worker, message: ToWorker::LaunchTasks(launches) } => {
                    for launch in launches.tasks {
                        self.local +=
                            u32::from(preferred(launch.task.partition, self.workers) == Some(worker));
                        self.running.push_back((launch.task, worker));
                    }
                }
                Effect::SendDriver { message: ToDriver::Job { event: JobEvent::Finished, .. }, .. } => {
                    self.finished = true;
                }
                _ => {}
            }
        }
    }
}

fn config() -> SchedulerConfig {
    SchedulerConfig {
        heartbeat_ms: 2_000,
        worker_timeout_ms: 20_000,
        reconnect_ms: 1_000,
        task_failures_max: 4,
        stage_attempts_max: 4,
        locality_wait_ms: 50,
        no_workers_timeout_ms: 30_000,
        driver_attempts_max: 3,
        drain_timeout_ms: 5_000,
        mode: firesteel_common::config::SchedulerMode::Fifo,
        pools: vec![],
    }
}

fn registration(worker: u64) -> Registration {
    Registration {
        host: format!("host-{worker}"),
        address: format!("host-{worker}:1"),
        slots: SLOTS,
        drivers_max: 1,
        ..Registration::default()
    }
}

/// The worker that every second task prefers.
fn preferred(partition: u32, workers: u32) -> Option<WorkerId> {
    partition.is_multiple_of(2).then(|| WorkerId(u64::from(partition / 2 % workers) + 1))
}

fn job(tasks: u32, workers: u32) -> JobSpec {
    let task = |partition: u32| TaskSpec {
        preferred: preferred(partition, workers).map(Place::Worker).into_iter().collect(),
        ..TaskSpec::default()
    };
    let stage = StageSpec {
        id: StageId(0),
        name: "bench".to_owned(),
        kind: StageKind::Result,
        code: TaskCode::Sql,
        payload: Payload::empty(),
        tasks: (0..tasks).map(task).collect(),
        inputs: Vec::new(),
        order: OutputOrder::Ordered,
    };
    JobSpec {
        id: JobId(0),
        name: "bench".to_owned(),
        stages: vec![stage],
        targets: vec![Target::all(StageId(0))],
        open: false,
        group: String::new(),
    }
}
