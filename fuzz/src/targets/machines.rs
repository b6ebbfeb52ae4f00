//! The two state machines under peers that have proved their key and say anything: well-formed messages that
//! make no sense, mixed with ones that do, so that there is something to disturb.
//!
//! After every step all invariants hold. (That bytes which are no message never come so far is for
//! `messages`.)

use super::Target;
use crate::any::{Any, Source};
use crate::mutate::Rng;
use firesteel_common::Payload;
use firesteel_common::block::{MapStatus, SegmentStat};
use firesteel_common::config::{Config, DEFAULT_TOML, SchedulerConfig, SchedulerMode};
use firesteel_common::graph::{
    OutputOrder, ReadPattern, StageInput, StageKind, StageSpec, TaskCode, TaskSpec,
};
use firesteel_common::id::{AppAttemptId, AppId, Epoch, Incarnation, JobId, StageId, TaskId, WorkerId};
use firesteel_common::job::{JobSpec, Target as Wanted};
use firesteel_common::options::{AppOptions, KEYS};
use firesteel_common::protocol::driver::FromDriver;
use firesteel_common::protocol::worker::{FromWorker, Registration, TaskLaunches, ToMaster, ToWorker};
use firesteel_common::sandbox::Sandbox;
use firesteel_common::task::{ResultValue, TaskMetrics, TaskOutcome, TaskReport};
use firesteel_common::time::Timestamp;
use firesteel_core::{CoreOptions, WorkerCore, WorkerEvent};
use firesteel_scheduler::{AppSubmission, Effect, Event, LinkId, Scheduler, invariants};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

/// Facts of one input at most.
const STEPS: usize = 96;
/// Answers that the machine's own wishes are followed by, at most.
const ANSWERS: usize = 64;
const EPOCH: Epoch = Epoch(1);

pub(super) fn targets() -> Vec<Target> {
    vec![
        Target { name: "scheduler", run: scheduler, seeds: noise, base: 4 << 20, times: 16 << 10 },
        Target { name: "worker_core", run: worker_core, seeds: noise, base: 4 << 20, times: 16 << 10 },
    ]
}

fn noise(rng: &mut Rng) -> Vec<Vec<u8>> {
    (0..64).map(|at| rng.bytes(128 + 32 * at)).collect()
}

/// The master's side of a made-up cluster.
struct Master {
    scheduler: Scheduler,
    now: u64,
    links: u64,
    /// Tasks that were launched and not reported, with their worker's link.
    launched: Vec<(TaskId, LinkId, Incarnation)>,
    bound: Vec<(WorkerId, LinkId, Incarnation)>,
    apps: u64,
    /// What it was told, for a finding.
    told: Vec<Event>,
}

fn scheduler_config() -> Option<SchedulerConfig> {
    toml::from_str::<Config>(DEFAULT_TOML).ok().map(|config| config.scheduler)
}

fn scheduler(bytes: &[u8]) {
    let Some(mut config) = scheduler_config() else { return };
    if bytes.len() % 2 == 1 {
        config.mode = SchedulerMode::Fair;
    }
    let scheduler = Scheduler::new(config, EPOCH);
    let (launched, bound, told) = (Vec::new(), Vec::new(), Vec::new());
    let mut master = Master { scheduler, now: 1_000_000, links: 0, launched, bound, apps: 0, told };
    master.step(Event::Recovered(Vec::new()), ANSWERS);
    let mut source = Source::new(bytes);
    for _ in 0..STEPS {
        if source.is_empty() {
            return;
        }
        master.happen(&mut source);
    }
}

impl Master {
    fn happen(&mut self, source: &mut Source<'_>) {
        let event = match source.below(16) {
            0 => self.new_worker(source),
            1 => self.new_app(source),
            2 => Event::FromDriver {
                app: self.some_app(source),
                message: FromDriver::Attach { stages: Vec::new(), jobs: Vec::new() },
            },
            3 => Event::FromDriver { app: self.some_app(source), message: FromDriver::Submit(job(source)) },
            4..=6 => return self.finish_task(source),
            7 => Event::WorkerLinkClosed(self.some_link(source)),
            8 => Event::DriverLinkClosed(self.some_app(source)),
            9 => Event::KillApp { app: self.some_app(source).app, reason: source.any() },
            10 => Event::DrainWorker(source.any()),
            11 => {
                self.now += [1_000, 60_000, 1_500_000, 25_000_000][source.below(4)];
                Event::Tick
            }
            12 | 13 => {
                let message =
                    FromWorker { epoch: source.any(), incarnation: source.any(), message: source.any() };
                Event::FromWorker { link: self.some_link(source), message }
            }
            14 => {
                let (link, incarnation) = self.some_bound(source);
                let message = FromWorker { epoch: EPOCH, incarnation, message: source.any() };
                Event::FromWorker { link, message }
            }
            _ => Event::FromDriver { app: self.some_app(source), message: source.any() },
        };
        self.step(event, ANSWERS);
    }

    fn new_worker(&mut self, source: &mut Source<'_>) -> Event {
        self.links += 1;
        let registration = Registration {
            host: format!("host-{}", source.below(2)),
            address: format!("host:{}", source.below(4)),
            slots: 1 + source.below(3) as u32,
            drivers_max: source.below(3) as u32,
            ..Registration::default()
        };
        let incarnation = Incarnation(source.below(4) as u64);
        self.bound.push((WorkerId(0), LinkId(self.links), incarnation));
        let message = FromWorker { epoch: Epoch(0), incarnation, message: ToMaster::Register(registration) };
        Event::FromWorker { link: LinkId(self.links), message }
    }

    /// An application of a client or of the cluster, with some of the keys set that a submission may set.
    fn new_app(&mut self, source: &mut Source<'_>) -> Event {
        self.apps += 1;
        let mut conf = BTreeMap::new();
        for key in KEYS {
            let value = ["", "", "", "", "true", "1", "2", "1s"][source.below(8)];
            let alone = BTreeMap::from([(key.name.to_owned(), value.to_owned())]);
            if AppOptions::from_conf(&alone).is_ok() {
                conf.extend(alone);
            }
        }
        let options = AppOptions::from_conf(&conf).unwrap_or_default();
        let program = bool::any(source).then(|| source.any());
        let app = AppId(self.apps);
        let options = Arc::new(options);
        Event::SubmitApp(AppSubmission { app, attempt: 1, submitted_ms: 0, program, options })
    }

    fn some_app(&self, source: &mut Source<'_>) -> AppAttemptId {
        let app = AppId(1 + source.below(2) as u64);
        AppAttemptId { app, attempt: 1 + u32::from(source.below(8) == 7) }
    }

    fn some_link(&self, source: &mut Source<'_>) -> LinkId {
        LinkId(source.below(self.links as usize + 2) as u64)
    }

    fn some_bound(&self, source: &mut Source<'_>) -> (LinkId, Incarnation) {
        let at = source.below(self.bound.len());
        self.bound.get(at).map_or((LinkId(0), Incarnation(0)), |(_, link, incarnation)| (*link, *incarnation))
    }

    /// A launched task is reported, mostly as one that did what it should.
    fn finish_task(&mut self, source: &mut Source<'_>) {
        if self.launched.is_empty() {
            return;
        }
        let (task, link, incarnation) = self.launched.remove(source.below(self.launched.len()));
        let segment = SegmentStat { bytes: 64, rows: 1, checksum: source.below(4) as u64 };
        let outcome = match source.below(8) {
            0..3 => TaskOutcome::Result(ResultValue::Inline(Payload::empty())),
            3..7 => TaskOutcome::MapOutput(MapStatus { segments: vec![segment; 2], ..MapStatus::default() }),
            _ => source.any(),
        };
        let metrics = if source.below(4) == 3 { source.any() } else { TaskMetrics::default() };
        let (accumulators, stored) = source.any();
        let message =
            ToMaster::TasksFinished(vec![TaskReport { task, outcome, metrics, accumulators, stored }]);
        let message = FromWorker { epoch: EPOCH, incarnation, message };
        self.step(Event::FromWorker { link, message }, ANSWERS);
    }

    fn step(&mut self, event: Event, answers: usize) {
        self.now += 10;
        self.told.push(event.clone());
        let effects = self.scheduler.step(Timestamp(self.now), event);
        if let Err(broken) = invariants::check(&self.scheduler) {
            panic_with(&broken, &self.told);
        }
        for effect in effects {
            match effect {
                Effect::BindWorker { link, worker } => {
                    if let Some(bound) = self.bound.iter_mut().find(|bound| bound.1 == link) {
                        bound.0 = worker;
                    }
                }
                Effect::SendWorker { worker, message: ToWorker::LaunchTasks(launches) } => {
                    self.launch(worker, &launches);
                }
                Effect::JournalAttempt(app) if answers > 0 => {
                    self.step(Event::AttemptJournaled(app), answers - 1);
                }
                Effect::JournalOutcome { app, .. } if answers > 0 => {
                    self.step(Event::OutcomeJournaled(app), answers - 1);
                }
                _ => {}
            }
        }
    }

    fn launch(&mut self, worker: WorkerId, launches: &TaskLaunches) {
        let Some((_, link, incarnation)) = self.bound.iter().rfind(|bound| bound.0 == worker) else { return };
        let new = launches.tasks.iter().map(|launch| (launch.task, *link, *incarnation));
        self.launched.extend(new);
        // What is forgotten here is a worker that never reports.
        self.launched.truncate(256);
    }
}

#[expect(clippy::panic, reason = "a finding is a panic")]
fn panic_with<E: Debug>(broken: &str, told: &[E]) {
    let told: Vec<String> = told.iter().map(|event| format!("  {event:?}")).collect();
    panic!("{broken}, after\n{}", told.join("\n"));
}

/// A job of a map stage and a result stage that reads it, or of one stage.
fn job(source: &mut Source<'_>) -> JobSpec {
    let first = source.below(4) as u32;
    let mut stages = Vec::new();
    let stage = |id: u32, kind, tasks: usize, inputs: Vec<StageInput>, order| StageSpec {
        id: StageId(id),
        name: String::new(),
        kind,
        code: TaskCode::Sql,
        payload: Payload::empty(),
        tasks: vec![TaskSpec::default(); tasks],
        inputs,
        order,
    };
    let order = if source.any() { OutputOrder::Ordered } else { OutputOrder::Unordered };
    let mut inputs = Vec::new();
    if source.any() {
        let kind = StageKind::ShuffleMap { reducers: 2 };
        stages.push(stage(2 * first, kind, 1 + source.below(3), Vec::new(), order));
        let read = if source.any() { ReadPattern::SameIndex } else { ReadPattern::Everything };
        inputs.push(StageInput { stage: StageId(2 * first), read, unless_cached: None });
    }
    stages.push(stage(2 * first + 1, StageKind::Result, 1 + source.below(2), inputs, order));
    if source.below(8) == 7 {
        stages.extend(source.any::<Vec<StageSpec>>());
    }
    let targets = vec![Wanted::all(StageId(2 * first + 1))];
    JobSpec {
        id: JobId(source.below(3) as u32),
        name: String::new(),
        stages,
        targets,
        open: source.below(4) == 3,
        group: String::new(),
    }
}

/// A worker whose master and executors say anything.
fn worker_core(bytes: &[u8]) {
    let mut core = WorkerCore::new(CoreOptions {
        incarnation: Incarnation(1),
        host: "host".to_owned(),
        address: "host:1".to_owned(),
        slots: 2,
        drivers_max: 2,
        memory: 1 << 20,
        sandbox: Sandbox::default(),
        fetch_over_tcp: false,
        faults: None,
    });
    let mut source = Source::new(bytes);
    let (mut now, mut told) = (1_000_000, Vec::new());
    for _ in 0..STEPS {
        if source.is_empty() {
            return;
        }
        now += [10, 1_000, 3_000_000][source.below(3)];
        let event = fact(&mut source);
        told.push(event.clone());
        drop(core.step(Timestamp(now), event));
        if let Err(broken) = firesteel_core::invariants(&core) {
            panic_with(&broken, &told);
        }
    }
}

fn fact(source: &mut Source<'_>) -> WorkerEvent {
    let app = AppAttemptId { app: AppId(source.below(2) as u64), attempt: source.below(2) as u32 };
    match source.below(16) {
        0 => WorkerEvent::MasterConnected,
        1 => WorkerEvent::MasterLost,
        2 => WorkerEvent::FromMaster(ToWorker::Registered {
            worker: WorkerId(1),
            epoch: EPOCH,
            heartbeat_ms: 2_000,
        }),
        3..=6 => WorkerEvent::FromMaster(source.any()),
        7 => WorkerEvent::PluginReady { plugin: source.any(), path: source.any() },
        8..=11 => WorkerEvent::FromExecutor { app, message: source.any() },
        12 => WorkerEvent::ExecutorExited { app, reason: source.any() },
        13 => WorkerEvent::DriverExited { app, reason: source.any() },
        14 => match source.below(5) {
            3 => WorkerEvent::RoomMade { ticket: source.below(8) as u64, over: source.any() },
            0 => WorkerEvent::Output { app, source: source.any(), bytes: source.any() },
            1 => WorkerEvent::BlocksLost(source.any()),
            2 => WorkerEvent::BlocksCopied { app, from: source.any(), blocks: source.any() },
            _ => WorkerEvent::Terminate,
        },
        _ => WorkerEvent::Tick,
    }
}
