//! A small cluster of made-up workers and drivers that does what a story says, and otherwise what it is told.

use super::render::line;
use super::settings::{config, fair};
use crate::{AppSubmission, Effect, Event, LinkId, Scheduler, invariants};
use firesteel_common::Payload;
use firesteel_common::block::{BlockId, BlockKind, MapStatus, SegmentStat, StorageLevel, StoredBlock};
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::event::FetchCause;
use firesteel_common::graph::{
    CachedPartition, OutputOrder, Place, ReadPattern, StageInput, StageKind, StageSpec, TaskCode, TaskSpec,
};
use firesteel_common::id::{
    AppAttemptId, AppId, DatasetId, Epoch, Incarnation, JobId, StageId, TaskId, WorkerId,
};
use firesteel_common::job::{JobSpec, Target};
use firesteel_common::options::AppOptions;
use firesteel_common::protocol::driver::FromDriver;
use firesteel_common::protocol::worker::{
    DriverProgram, FromWorker, MapPlace, Registration, ToMaster, ToWorker,
};
use firesteel_common::task::{AccumulatorUpdate, ResultValue, TaskMetrics, TaskOutcome, TaskReport};
use firesteel_common::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A made-up worker.
#[derive(Clone, Debug, Default)]
pub(super) struct Worker {
    incarnation: u64,
    link: Option<u64>,
    silent: bool,
    pub(super) registration: Registration,
}

/// What the words after a command say: `name=value`, or a bare word.
pub(super) struct Words<'a>(pub(super) Vec<&'a str>);

impl<'a> Words<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn number(&self, name: &str, default: u32) -> u32 {
        self.get(name).map_or(default, |value| value.parse().unwrap())
    }

    pub(super) fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }

    fn list(&self, name: &str) -> Vec<u32> {
        self.get(name).map_or(Vec::new(), |list| list.split(',').map(|item| item.parse().unwrap()).collect())
    }

    /// How the application is run: the words that are keys of submissions.
    fn options(&self) -> Arc<AppOptions> {
        let keys = self.0.iter().filter(|word| word.starts_with("spark.") || word.starts_with("firesteel."));
        let pairs = keys.map(|word| word.split_once('=').unwrap());
        let conf = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Arc::new(AppOptions::from_conf(&conf).unwrap())
    }

    /// The first word as stage and partition.
    fn task(&self) -> (StageId, u32) {
        let (stage, partition) = self.0[0].split_once('/').unwrap();
        (StageId(stage.parse().unwrap()), partition.parse().unwrap())
    }
}

/// See the module.
pub(super) struct Script {
    pub scheduler: Scheduler,
    epoch: u64,
    now: u64,
    next_link: u64,
    next_incarnation: u64,
    pub(super) workers: BTreeMap<String, Worker>,
    pub(super) app: AppAttemptId,
    stages: Vec<StageSpec>,
    pub log: String,
}

impl Script {
    /// Runs a story: one command a line, `;` separates too. Gives everything that the scheduler wanted.
    pub fn run(story: &str) -> String {
        let mut script = Self::new();
        for command in story.split([';', '\n']).map(str::trim).filter(|command| !command.is_empty()) {
            script.command(command);
        }
        script.log
    }

    pub fn new() -> Self {
        let mut script = Self {
            scheduler: Scheduler::new(config(), Epoch(1)),
            epoch: 1,
            now: 0,
            next_link: 1,
            next_incarnation: 1,
            workers: BTreeMap::new(),
            app: AppAttemptId { app: AppId(1), attempt: 1 },
            stages: Vec::new(),
            log: String::new(),
        };
        script.step(Event::Recovered(Vec::new()));
        script
    }

    fn step(&mut self, event: Event) {
        let effects = self.scheduler.step(Timestamp(self.now), event);
        if let Err(broken) = invariants::check(&self.scheduler) {
            panic!("{broken}\n{}\n{}", self.log, self.scheduler.dump());
        }
        let mut follow = Vec::new();
        for effect in &effects {
            if let Some(line) = line(effect) {
                self.log += &format!("{line}\n");
            }
            match effect {
                Effect::JournalAttempt(app) => {
                    self.app = *app;
                    follow.push(Event::AttemptJournaled(*app));
                }
                Effect::JournalOutcome { app, .. } => follow.push(Event::OutcomeJournaled(*app)),
                Effect::BindWorker { link, worker } => self.bound(*link, *worker),
                Effect::SendWorker { worker, message } => self.told(*worker, message),
                _ => {}
            }
        }
        follow.into_iter().for_each(|event| self.step(event));
    }

    fn bound(&mut self, link: LinkId, id: WorkerId) {
        for worker in self.workers.values_mut().filter(|worker| worker.link == Some(link.0)) {
            worker.registration.worker = Some(id);
        }
    }

    fn by_id(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.workers.values_mut().find(|w| w.registration.worker == Some(id) && w.link.is_some())
    }

    /// A worker keeps what it is told to run, and lets go what it is told to free.
    fn told(&mut self, id: WorkerId, message: &ToWorker) {
        let Some(worker) = self.by_id(id) else { return };
        let held = &mut worker.registration;
        match message {
            ToWorker::LaunchTasks(launches) => {
                held.running.extend(launches.tasks.iter().map(|launch| launch.task));
            }
            ToWorker::KillTasks { tasks, .. } => held.running.retain(|task| !tasks.contains(task)),
            ToWorker::FreeOutputs(tasks) => held.outputs.retain(|(task, _)| !tasks.contains(task)),
            ToWorker::StartDriver(launch) => held.drivers.push(launch.app),
            ToWorker::EndApp(app) => {
                held.running.retain(|task| task.app != *app);
                held.outputs.retain(|(task, _)| task.app != *app);
            }
            _ => {}
        }
    }

    pub(super) fn say(&mut self, name: &str, message: ToMaster) {
        let worker = &self.workers[name];
        let Some(link) = worker.link else { return };
        let epoch = if matches!(message, ToMaster::Register(_)) { Epoch(0) } else { Epoch(self.epoch) };
        let message = FromWorker { epoch, incarnation: Incarnation(worker.incarnation), message };
        self.step(Event::FromWorker { link: LinkId(link), message });
    }

    fn drive(&mut self, message: FromDriver) {
        self.step(Event::FromDriver { app: self.app, message });
    }

    /// The worker on which the attempt at a task runs, and the attempt.
    fn running(&self, stage: StageId, partition: u32, on: Option<&str>) -> (String, TaskId) {
        let is_it = |task: &&TaskId| task.stage == stage && task.partition == partition;
        let mut workers = self.workers.iter().filter(|(name, _)| on.is_none_or(|on| on == *name));
        let found = workers.find_map(|(name, worker)| {
            Some((name.clone(), *worker.registration.running.iter().find(is_it)?))
        });
        found.unwrap_or_else(|| panic!("{stage}/{partition} does not run\n{}", self.log))
    }

    pub(super) fn command(&mut self, text: &str) {
        let mut words = text.split_whitespace();
        let command = words.next().unwrap();
        let words = Words(words.collect());
        match command {
            "quiet" => self.log.clear(),
            "fair" => self.scheduler = Scheduler::new(fair(&words), Epoch(1)),
            "dump" => self.log += &self.scheduler.dump(),
            "counters" => {
                let counters = self.scheduler.counters();
                self.log += &format!("fenced {} stale {}\n", counters.fenced, counters.stale);
            }
            "empty" => self.log += &format!("empty {}\n", self.scheduler.is_empty_of(self.app.app)),
            "worker" | "restart" | "reconnect" | "close" | "silence" => self.worker_command(command, &words),
            "finish" | "fail" | "miss" | "stale" => self.task_command(command, &words),
            "executor-lost" => self.executor_lost(words.0[0]),
            "tick" => self.tick(words.0[0].parse().unwrap()),
            "pause" => {
                self.now += words.0[0].parse::<u64>().unwrap() * 1_000;
                self.step(Event::Tick);
            }
            "master-restart" => self.restart_master(&words),
            _ => self.app_command(command, &words),
        }
    }

    fn worker_command(&mut self, command: &str, words: &Words<'_>) {
        let name = words.0[0].to_owned();
        let link = self.next_link;
        self.next_link += 1;
        match command {
            "worker" | "restart" => {
                let registration = Registration {
                    host: words.get("host").unwrap_or(&name).to_owned(),
                    address: format!("{name}:1"),
                    slots: words.number("slots", 2),
                    drivers_max: words.number("drivers", 1),
                    ..Registration::default()
                };
                let incarnation = self.next_incarnation;
                self.next_incarnation += 1;
                let worker = Worker {
                    incarnation,
                    link: Some(link),
                    silent: false,
                    registration: registration.clone(),
                };
                self.workers.insert(name.clone(), worker);
                self.say(&name, ToMaster::Register(registration));
            }
            "reconnect" => {
                let worker = self.workers.get_mut(&name).unwrap();
                worker.link = Some(link);
                worker.silent = false;
                if words.has("forgetful") {
                    worker.registration.running.clear();
                    worker.registration.outputs.clear();
                }
                let registration = worker.registration.clone();
                self.say(&name, ToMaster::Register(registration));
            }
            "close" => {
                if let Some(link) = self.workers.get_mut(&name).and_then(|worker| worker.link.take()) {
                    self.step(Event::WorkerLinkClosed(LinkId(link)));
                }
            }
            _ => self.workers.get_mut(&name).unwrap().silent = true,
        }
    }

    /// Time passes in steps of 100 ms, with heartbeats of those that are not silent.
    fn tick(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(100) {
            self.now += 100_000;
            let names: Vec<String> = self.workers.keys().cloned().collect();
            for name in names {
                if !self.workers[&name].silent {
                    self.say(&name, ToMaster::Heartbeat);
                }
            }
            self.step(Event::Tick);
        }
    }

    fn task_command(&mut self, command: &str, words: &Words<'_>) {
        if words.has("all") {
            let all: BTreeSet<(u32, u32)> = (self.workers.values())
                .flat_map(|worker| {
                    worker.registration.running.iter().map(|task| (task.stage.0, task.partition))
                })
                .collect();
            for (stage, partition) in all {
                self.command(&format!("{command} {stage}/{partition}"));
            }
            return;
        }
        let (stage, partition) = words.task();
        if command == "stale" {
            let attempt = words.number("attempt", 0);
            let task = TaskId { app: self.app, stage, partition, attempt };
            let name = words.get("from").unwrap().to_owned();
            return self.report(&name, task, words);
        }
        let (name, task) = self.running(stage, partition, words.get("on"));
        if command == "miss" {
            let (stage, map) = words.get("map").unwrap().split_once('/').unwrap();
            let (stage, map) = (StageId(stage.parse().unwrap()), map.parse().unwrap());
            let place = words.get("from").map(|from| MapPlace {
                worker: self.workers[from].registration.worker.unwrap(),
                address: "".into(),
                attempt: words.number("attempt", 0),
            });
            let cause = FetchCause::Missing;
            return self.say(&name, ToMaster::FetchFailed { task, stage, map, place, cause });
        }
        let worker = self.workers.get_mut(&name).unwrap();
        worker.registration.running.retain(|running| *running != task);
        if command == "fail" {
            let code = words.get("code").unwrap_or("PANICKED");
            let code = ErrorCode::ALL.iter().copied().find(|known| known.as_str() == code).unwrap();
            return self.say_report(&name, task, TaskOutcome::Failed(Error::new(code, "no")), words);
        }
        self.report(&name, task, words);
    }

    /// A success, as the kind of the stage wants it.
    fn report(&mut self, name: &str, task: TaskId, words: &Words<'_>) {
        let kind = self.stages.iter().find(|stage| stage.id == task.stage).unwrap().kind;
        let outcome = match kind {
            StageKind::ShuffleMap { reducers } => {
                let checksum = u64::from(words.has("other")) + 1;
                let stat = SegmentStat { bytes: 64, rows: 1, checksum };
                let status = MapStatus { segments: vec![stat; reducers as usize], ..MapStatus::default() };
                let held = &mut self.workers.get_mut(name).unwrap().registration;
                held.outputs.push((task, status.clone()));
                TaskOutcome::MapOutput(status)
            }
            StageKind::Result if words.has("block") => {
                let kind =
                    BlockKind::Result { stage: task.stage, partition: task.partition, attempt: task.attempt };
                let worker = self.workers[name].registration.worker.unwrap();
                let block = BlockId { app: task.app, kind };
                TaskOutcome::Result(ResultValue::Block { worker, block, bytes: 1 })
            }
            StageKind::Result => TaskOutcome::Result(ResultValue::Inline(Payload::empty())),
        };
        self.say_report(name, task, outcome, words);
    }

    fn say_report(&mut self, name: &str, task: TaskId, outcome: TaskOutcome, words: &Words<'_>) {
        let update = AccumulatorUpdate { id: 0, value: Payload::empty() };
        let twice = words.has("twice");
        let stored = words.list("stored").into_iter().map(|partition| StoredBlock {
            block: cached_block(task.app, partition),
            level: if twice { StorageLevel::MemoryOnly2 } else { StorageLevel::MemoryOnly },
        });
        let report = TaskReport {
            task,
            outcome,
            metrics: TaskMetrics { run_us: words.number("run", 0).into(), ..TaskMetrics::default() },
            accumulators: words.has("counting").then_some(update).into_iter().collect(),
            stored: stored.collect(),
        };
        self.say(name, ToMaster::TasksFinished(vec![report]));
    }

    fn executor_lost(&mut self, name: &str) {
        let worker = self.workers.get_mut(name).unwrap();
        let tasks = std::mem::take(&mut worker.registration.running);
        let app = self.app;
        self.say(name, ToMaster::ExecutorLost { app, reason: "signal 9".into(), tasks, stopped: false });
    }

    /// The master dies and starts again; connections are gone, the driver's and the workers' memory is not.
    fn restart_master(&mut self, words: &Words<'_>) {
        self.epoch += 1;
        self.scheduler = Scheduler::new(config(), Epoch(self.epoch));
        for worker in self.workers.values_mut() {
            worker.link = None;
        }
        let program = (!words.has("client")).then(program);
        let AppAttemptId { app, attempt } = self.app;
        let submission = AppSubmission { app, attempt, submitted_ms: 0, program, options: Arc::default() };
        self.step(Event::Recovered(vec![submission]));
    }

    fn app_command(&mut self, command: &str, words: &Words<'_>) {
        match command {
            "submit" | "client" => {
                let app = AppId(u64::from(words.number("app", 1)));
                self.app = AppAttemptId { app, attempt: 1 };
                let program = (command == "submit").then(program);
                let (attempt, submitted_ms, options) = (1, 0, words.options());
                let submission = AppSubmission { app, attempt, submitted_ms, program, options };
                self.step(Event::SubmitApp(submission));
            }
            "as" => self.app = AppAttemptId { app: AppId(words.0[0].parse().unwrap()), attempt: 1 },
            "attach" => {
                let stages = if words.has("graph") { self.stages.clone() } else { Vec::new() };
                let jobs = words.list("jobs").into_iter().map(|job| job_spec(job, Vec::new(), words));
                let jobs = jobs.collect();
                self.drive(FromDriver::Attach { stages, jobs });
            }
            "job" => {
                let stages = self.new_stages(words);
                self.drive(FromDriver::Submit(job_spec(words.number("id", 0), stages, words)));
            }
            "extend" => {
                let spec = job_spec(words.number("id", 0), self.new_stages(words), words);
                let JobSpec { id: job, stages, targets, open, .. } = spec;
                self.drive(FromDriver::Extend { job, stages, targets, open });
            }
            "release" => {
                let stages = words.list("stages").into_iter().map(StageId).collect();
                let datasets = words.list("datasets").into_iter().map(DatasetId).collect();
                self.drive(FromDriver::Release { stages, datasets });
            }
            "cancel" => {
                let job = JobId(words.number("id", 0));
                self.drive(FromDriver::Cancel { job, reason: "no".to_owned() });
            }
            "cancel-group" => {
                let group = words.0[0].to_owned();
                self.drive(FromDriver::CancelGroup { group, reason: "no".to_owned() });
            }
            "end" => self.drive(FromDriver::Finish(Ok(Payload::empty()))),
            "kill" => self.step(Event::KillApp { app: self.app.app, reason: "no".to_owned() }),
            "driver-closed" => self.step(Event::DriverLinkClosed(self.app)),
            "driver-exited" => {
                let name = words.0[0].to_owned();
                let app = self.app;
                self.workers.get_mut(&name).unwrap().registration.drivers.retain(|driver| *driver != app);
                self.say(&name, ToMaster::DriverExited { app, reason: "exit 1".into() });
            }
            "drain" => self.say(words.0[0], ToMaster::Draining),
            "moved" => self.moved(words),
            _ => panic!("no command is called {command}"),
        }
    }

    /// Stages as `map=ID:TASKS:REDUCERS[<INPUTS]` and `result=ID:TASKS[<INPUTS]`.
    fn new_stages(&mut self, words: &Words<'_>) -> Vec<StageSpec> {
        let mut stages = Vec::new();
        for word in &words.0 {
            let Some((kind, text)) =
                word.split_once('=').filter(|(kind, _)| ["map", "result"].contains(kind))
            else {
                continue;
            };
            let (shape, inputs) = text.split_once('<').unwrap_or((text, ""));
            let shape: Vec<u32> = shape.split(':').map(|number| number.parse().unwrap()).collect();
            let kind = match kind {
                "map" => StageKind::ShuffleMap { reducers: shape[2] },
                _ => StageKind::Result,
            };
            let inputs = inputs.split(',').filter(|input| !input.is_empty());
            let inputs = inputs.map(|input| StageInput {
                stage: StageId(input.parse().unwrap()),
                read: ReadPattern::SameIndex,
                unless_cached: words.has("cached").then_some(DatasetId(1)),
            });
            let order = if words.has("unordered") { OutputOrder::Unordered } else { OutputOrder::Ordered };
            stages.push(StageSpec {
                id: StageId(shape[0]),
                name: String::new(),
                kind,
                code: TaskCode::Sql,
                payload: Payload::empty(),
                tasks: (0..shape[1]).map(|partition| task_spec(partition, words)).collect(),
                inputs: inputs.collect(),
                order,
            });
        }
        self.stages.extend(stages.iter().cloned());
        stages
    }
}

fn task_spec(partition: u32, words: &Words<'_>) -> TaskSpec {
    let places = words.get("prefer").map_or(Vec::new(), |places| places.split(',').collect());
    let place = places.get(partition as usize % places.len().max(1)).map(|place| match place.parse() {
        Ok(worker) => Place::Worker(WorkerId(worker)),
        Err(_) => Place::Host((*place).to_owned()),
    });
    let cached = words.has("cached").then_some(CachedPartition { dataset: DatasetId(1), partition });
    TaskSpec {
        payload: Payload::empty(),
        preferred: place.into_iter().collect(),
        cached: cached.into_iter().collect(),
    }
}

fn job_spec(id: u32, stages: Vec<StageSpec>, words: &Words<'_>) -> JobSpec {
    let partitions = words.get("partitions").map(|_| words.list("partitions"));
    let target = |stage| Target { stage: StageId(stage), partitions: partitions.clone() };
    JobSpec {
        id: JobId(id),
        name: String::new(),
        stages,
        targets: words.list("want").into_iter().map(target).collect(),
        open: words.has("open"),
        group: words.get("group").unwrap_or_default().to_owned(),
    }
}

/// A partition of the one dataset that is cached here.
pub(super) fn cached_block(app: AppAttemptId, partition: u32) -> BlockId {
    BlockId { app, kind: BlockKind::Cached { dataset: DatasetId(1), partition } }
}

fn program() -> DriverProgram {
    DriverProgram::Sql { text: String::new(), tables: BTreeMap::new() }
}
