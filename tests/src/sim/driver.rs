//! Simulated drivers: they run a program of jobs over their link to the master, come back after it broke, and
//! check what they hear: every result once on a link, nothing missing when a job has finished.

use super::content::Content;
use super::executor::ToWorkerShell;
use super::network::{Message, Peer};
use super::trace::say;
use super::worker::Found;
use super::workload::{Action, Program, ResultKey, digest, wanted};
use super::world::{Happening, World};
use firesteel_common::Payload;
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::graph::{StageKind, StageSpec};
use firesteel_common::id::{AppAttemptId, DatasetId, JobId, StageId, WorkerId};
use firesteel_common::job::{JobEvent, JobSpec};
use firesteel_common::protocol::codec;
use firesteel_common::protocol::driver::{FromDriver, ToDriver};
use firesteel_common::task::ResultValue;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A job as its driver knows it.
#[derive(Clone, Debug)]
struct DriverJob {
    /// With all targets so far, without stages.
    spec: JobSpec,
    finished_stages: BTreeSet<StageId>,
    ended: bool,
}

/// A driver process.
pub(crate) struct DriverProcess {
    pub(crate) life: u64,
    pub(crate) app: AppAttemptId,
    /// The worker that it is a child of; `None` beside the submitting command.
    pub(crate) home: Option<(usize, u64)>,
    pub(crate) client: usize,
    pub(crate) conn: Option<u64>,
    program: Arc<Program>,
    /// The next action.
    at: usize,
    /// Stages that were submitted, in order.
    stages: Vec<StageSpec>,
    jobs: BTreeMap<JobId, DriverJob>,
    released: BTreeSet<StageId>,
    released_datasets: BTreeSet<DatasetId>,
    results: BTreeMap<ResultKey, Content>,
    /// Results that came over the present link.
    on_link: BTreeSet<ResultKey>,
    /// Large results whose worker's address is not known yet.
    unfetched: Vec<(ResultKey, WorkerId, firesteel_common::block::BlockId)>,
    addresses: BTreeMap<WorkerId, String>,
    outcome: Option<Result<Payload, Error>>,
}

impl World {
    /// Starts the driver of an application attempt, on a worker or beside its client.
    pub(crate) fn start_driver(&mut self, app: AppAttemptId, home: Option<(usize, u64)>) {
        let Some(client) = self.journal.apps.get(&app.app).map(|record| record.client) else {
            self.fail(format!("wrong: a driver of {app} was started, which nobody has submitted"));
            return;
        };
        if self.drivers.values().any(|driver| driver.app == app) {
            self.fail(format!("duplicated: two drivers of {app} run"));
        }
        let Some(program) = self.clients.get(client).map(|client| client.program.clone()) else { return };
        let life = self.new_life();
        say!(self, "the driver of {app} starts");
        if let Some((host, worker)) = home
            && let Some(process) = self.process(host, worker)
        {
            process.drivers.insert(app, life);
        }
        let driver = DriverProcess {
            life,
            app,
            home,
            client,
            conn: None,
            program,
            at: 0,
            stages: Vec::new(),
            jobs: BTreeMap::new(),
            released: BTreeSet::new(),
            released_datasets: BTreeSet::new(),
            results: BTreeMap::new(),
            on_link: BTreeSet::new(),
            unfetched: Vec::new(),
            addresses: BTreeMap::new(),
            outcome: None,
        };
        self.drivers.insert(life, driver);
        let delay = self.rng.between(1_000, 15_000);
        self.clock.after(delay, Happening::DriverDials { life });
        self.clock.after(delay + 1, Happening::DriverActs { life });
    }

    /// A driver process is gone, and nobody is left to be told.
    pub(crate) fn driver_is_gone(&mut self, life: u64) {
        if self.drivers.remove(&life).is_some() {
            self.peer_dies(|conn| matches!(conn.peer, Peer::Driver { life: of, .. } if of == life));
        }
    }

    /// A driver process ends; its worker's shell hears of it.
    pub(crate) fn end_driver(&mut self, life: u64, reason: &str) {
        let Some((app, home)) = self.drivers.get(&life).map(|driver| (driver.app, driver.home)) else {
            return;
        };
        say!(self, "the driver of {app} ends: {reason}");
        self.driver_is_gone(life);
        if let Some((host, worker)) = home {
            let delay = self.rng.between(500, 10_000);
            let message = ToWorkerShell::DriverEnded { app, reason: reason.to_owned() };
            self.clock.after(delay, Happening::ToShell { host, life: worker, message });
        }
    }

    pub(crate) fn driver_dials(&mut self, life: u64) {
        let Some(driver) = self.drivers.get(&life).filter(|driver| driver.conn.is_none()) else { return };
        let app = driver.app;
        let Some(conn) = self.dial(Peer::Driver { life, app }) else {
            let delay = self.rng.between(10_000, 60_000);
            self.clock.after(delay, Happening::DriverDials { life });
            return;
        };
        self.accept_driver(app, conn);
        let Some(driver) = self.drivers.get_mut(&life) else { return };
        driver.conn = Some(conn);
        driver.on_link.clear();
        driver.addresses.clear();
        let messages = driver.hello();
        for message in messages {
            self.send(conn, true, Message::FromDriver(message));
        }
    }

    pub(crate) fn driver_hears(&mut self, life: u64, conn: u64, message: Message) {
        if self.drivers.get(&life).is_none_or(|driver| driver.conn != Some(conn)) {
            return;
        }
        match message {
            Message::ToDriver(ToDriver::Job { job, event }) => self.job_event(life, job, event),
            Message::ToDriver(ToDriver::WorkerAddress { worker, address }) => {
                if let Some(driver) = self.drivers.get_mut(&life) {
                    driver.addresses.insert(worker, address);
                    self.fetch_results(life);
                }
            }
            // What came before was sent by a master that had not heard what this driver has.
            Message::ToDriver(ToDriver::Attached { .. }) => {
                if let Some(driver) = self.drivers.get_mut(&life) {
                    driver.on_link.clear();
                }
            }
            Message::ToDriver(ToDriver::Committed) => {
                let finished = self.drivers.get(&life).is_some_and(|driver| driver.outcome.is_some());
                if !finished {
                    self.fail("wrong: a driver's outcome is committed that has not finished".to_owned());
                }
                self.end_driver(life, "it exited with 0");
            }
            Message::ToDriver(ToDriver::Kill { reason }) => self.end_driver(life, &reason),
            Message::End => {
                if let Some(driver) = self.drivers.get_mut(&life) {
                    driver.conn = None;
                    let delay = self.rng.between(5_000, 50_000);
                    self.clock.after(delay, Happening::DriverDials { life });
                }
            }
            _ => {}
        }
    }

    fn job_event(&mut self, life: u64, id: JobId, event: JobEvent) {
        let Some(driver) = self.drivers.get_mut(&life) else { return };
        let app = driver.app;
        let cancelled = driver.program.cancelled.contains(&id);
        let Some(job) = driver.jobs.get_mut(&id) else {
            self.fail(format!("wrong: the driver of {app} hears of {id}, which it has not submitted"));
            return;
        };
        match event {
            JobEvent::StageFinished { stage, statuses } => {
                job.finished_stages.insert(stage);
                let tasks = driver.program.stages.get(&stage).map_or(0, |stage| stage.tasks.len());
                if statuses.len() != tasks {
                    self.fail(format!(
                        "lost: {stage} of {app} finished with {} of {tasks} outputs",
                        statuses.len()
                    ));
                }
            }
            JobEvent::TaskResult { stage, partition, value, accumulators } => {
                let key = (id, stage, partition);
                if !driver.on_link.insert(key) {
                    self.fail(format!(
                        "duplicated: {app} got the result of {stage} partition {partition} of {id} twice"
                    ));
                    return;
                }
                if accumulators.len() != 1 {
                    self.fail(format!(
                        "wrong: {app} got a result with {} accumulators, not 1",
                        accumulators.len()
                    ));
                    return;
                }
                match value {
                    ResultValue::Inline(payload) => self.result(life, key, Content::decode(&payload)),
                    ResultValue::Block { worker, block, .. } => {
                        if !driver.results.contains_key(&key) {
                            driver.unfetched.push((key, worker, block));
                        }
                        self.fetch_results(life);
                    }
                }
            }
            JobEvent::Finished => {
                job.ended = true;
                if !cancelled {
                    self.check_complete(life, id);
                }
            }
            JobEvent::Failed(error) => {
                job.ended = true;
                if !cancelled && driver.outcome.is_none() {
                    driver.outcome = Some(Err(error));
                }
            }
            JobEvent::Accumulated(_) | JobEvent::Progress(_) => {}
        }
        let delay = self.rng.between(50, 500);
        self.clock.after(delay, Happening::DriverActs { life });
    }

    fn result(&mut self, life: u64, key: ResultKey, content: Option<Content>) {
        let Some(driver) = self.drivers.get_mut(&life) else { return };
        let Some(content) = content else {
            self.fail("wrong: a result was not understood".to_owned());
            return;
        };
        driver.results.entry(key).or_insert(content);
    }

    /// Fetches the large results whose worker's address is known.
    fn fetch_results(&mut self, life: u64) {
        let Some(driver) = self.drivers.get_mut(&life) else { return };
        let (ready, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut driver.unfetched)
            .into_iter()
            .partition(|(_, worker, _)| driver.addresses.contains_key(worker));
        driver.unfetched = rest;
        let addresses = driver.addresses.clone();
        for (key, worker, block) in ready {
            let Some(address) = addresses.get(&worker) else { continue };
            // A driver is nobody's host, so no partition between hosts stands in its way.
            match self.look_up(usize::MAX, address, &block) {
                Found::Content(content) => self.result(life, key, Some(content)),
                _ => {
                    say!(self, "{block} cannot be fetched from {worker}");
                    if let Some(driver) = self.drivers.get_mut(&life) {
                        let error = Error::new(ErrorCode::BlockMissing, format!("{block} is gone"));
                        driver.outcome.get_or_insert(Err(error));
                    }
                }
            }
        }
        self.clock.after(100, Happening::DriverActs { life });
    }

    /// A job has finished: nothing of it may be missing, and it must be of one truth.
    fn check_complete(&mut self, life: u64, id: JobId) {
        let Some(driver) = self.drivers.get(&life) else { return };
        let Some(job) = driver.jobs.get(&id) else { return };
        let (mut missing, mut mixed) = (None, None);
        for target in &job.spec.targets {
            let Some(stage) = driver.program.stages.get(&target.stage) else { continue };
            if stage.kind != StageKind::Result {
                continue;
            }
            let mut answer = Content::default();
            for partition in wanted(target, stage) {
                let key = (id, target.stage, partition);
                match driver.results.get(&key) {
                    Some(content) => answer.depend_on(content),
                    None if driver.unfetched.iter().any(|(of, ..)| *of == key) => {}
                    None if driver.outcome.is_some() => {}
                    None => missing = Some(key),
                }
            }
            mixed = mixed.or(answer.mixed.then_some(target.stage));
        }
        let app = driver.app;
        if let Some((_, stage, partition)) = missing {
            self.fail(format!(
                "lost: {id} of {app} finished without the result of {stage} partition {partition}"
            ));
        }
        if let Some(stage) = mixed {
            self.fail(format!("wrong: {stage} of {id} of {app} mixes two truths of an unordered stage"));
        }
    }

    /// A driver goes on with its program, one action at a time.
    pub(crate) fn driver_acts(&mut self, life: u64) {
        let Some(driver) = self.drivers.get_mut(&life) else { return };
        let said = driver.act();
        let conn = driver.conn;
        if let Said::Goes(message) = said {
            if let (Some(message), Some(conn)) = (message, conn) {
                self.send(conn, true, Message::FromDriver(message));
            }
            let delay = self.rng.between(100, 3_000);
            self.clock.after(delay, Happening::DriverActs { life });
        }
    }
}

/// What a driver does when it may act.
enum Said {
    /// It waits for an event.
    Waits,
    /// It goes on, having said this.
    Goes(Option<FromDriver>),
}

impl DriverProcess {
    /// What it says at the beginning of a link.
    fn hello(&self) -> Vec<FromDriver> {
        let needed = self.needed();
        let stages: Vec<StageSpec> =
            self.stages.iter().filter(|stage| needed.contains(&stage.id)).cloned().collect();
        let jobs: Vec<JobSpec> =
            self.jobs.values().filter(|job| !job.ended).map(|job| self.missing_of(job)).collect();
        let mut messages = vec![FromDriver::Attach { stages, jobs }];
        let again: Vec<StageId> = self.released.intersection(&needed).copied().collect();
        let datasets: Vec<DatasetId> = self.released_datasets.iter().copied().collect();
        if !again.is_empty() || !datasets.is_empty() {
            messages.push(FromDriver::Release { stages: again, datasets });
        }
        for action in self.program.actions.iter().take(self.at) {
            if let Action::Cancel(job) = action
                && self.jobs.get(job).is_some_and(|job| !job.ended)
            {
                messages.push(FromDriver::Cancel { job: *job, reason: "it was cancelled".to_owned() });
            }
        }
        if let Some(outcome) = &self.outcome {
            messages.push(FromDriver::Finish(outcome.clone()));
        }
        messages
    }

    /// A job as it is told to a master that may not know what was delivered: of result stages only the
    /// partitions whose result has not come.
    fn missing_of(&self, job: &DriverJob) -> JobSpec {
        let mut spec = job.spec.clone();
        spec.targets.retain_mut(|target| {
            let Some(stage) = self.program.stages.get(&target.stage) else { return false };
            if stage.kind != StageKind::Result {
                return true;
            }
            let key = |partition: &u32| (spec.id, target.stage, *partition);
            let come = |partition: &u32| {
                let key = key(partition);
                self.results.contains_key(&key) || self.unfetched.iter().any(|(of, ..)| *of == key)
            };
            let missing: Vec<u32> =
                wanted(target, stage).into_iter().filter(|partition| !come(partition)).collect();
            let any = !missing.is_empty();
            target.partitions = Some(missing);
            any
        });
        spec
    }

    /// The stages that unfinished jobs or handles need, with all that these read.
    fn needed(&self) -> BTreeSet<StageId> {
        let running = self.jobs.values().filter(|job| !job.ended);
        let mut open: Vec<StageId> =
            running.flat_map(|job| job.spec.targets.iter().map(|target| target.stage)).collect();
        open.extend(self.stages.iter().map(|stage| stage.id).filter(|stage| !self.released.contains(stage)));
        let mut needed = BTreeSet::new();
        while let Some(id) = open.pop() {
            if needed.insert(id)
                && let Some(stage) = self.program.stages.get(&id)
            {
                open.extend(stage.inputs.iter().map(|input| input.stage));
            }
        }
        needed
    }

    fn act(&mut self) -> Said {
        if let Some(outcome) = &self.outcome {
            if self.at > self.program.actions.len() {
                return Said::Waits;
            }
            self.at = self.program.actions.len() + 1;
            return Said::Goes(Some(FromDriver::Finish(outcome.clone())));
        }
        let Some(action) = self.program.actions.get(self.at).cloned() else {
            self.outcome = Some(Ok(self.value()));
            return Said::Goes(None);
        };
        let said = match action {
            Action::Submit(spec) => {
                self.stages.extend(spec.stages.iter().cloned());
                let kept = JobSpec { stages: Vec::new(), ..spec.clone() };
                let job = DriverJob { spec: kept, finished_stages: BTreeSet::new(), ended: false };
                self.jobs.insert(spec.id, job);
                FromDriver::Submit(spec)
            }
            Action::Extend { job, stages, targets, open } => {
                self.stages.extend(stages.iter().cloned());
                if let Some(known) = self.jobs.get_mut(&job) {
                    known.spec.targets.extend(targets.iter().cloned());
                    known.spec.open = open;
                }
                FromDriver::Extend { job, stages, targets, open }
            }
            Action::AwaitStage(job, stage) => {
                let done = |job: &DriverJob| job.ended || job.finished_stages.contains(&stage);
                if !self.jobs.get(&job).is_some_and(done) {
                    return Said::Waits;
                }
                self.at += 1;
                return Said::Goes(None);
            }
            Action::AwaitJob(job) => {
                let fetching = self.unfetched.iter().any(|((of, ..), ..)| *of == job);
                let Some(known) = self.jobs.get(&job).filter(|job| job.ended && !fetching) else {
                    return Said::Waits;
                };
                // Nobody asks for its results any more.
                let targets = known.spec.targets.iter().map(|target| target.stage);
                let is_result = |stage: &StageId| {
                    self.program.stages.get(stage).is_some_and(|stage| stage.kind == StageKind::Result)
                };
                let stages: Vec<StageId> = targets.filter(is_result).collect();
                self.released.extend(stages.iter().copied());
                FromDriver::Release { stages, datasets: Vec::new() }
            }
            Action::Cancel(job) => FromDriver::Cancel { job, reason: "it was cancelled".to_owned() },
            Action::Release { stages, datasets } => {
                self.released.extend(stages.iter().copied());
                self.released_datasets.extend(datasets.iter().copied());
                FromDriver::Release { stages, datasets }
            }
        };
        self.at += 1;
        Said::Goes(Some(said))
    }

    /// What it finishes with: the digest of its results, and which attempt it is.
    fn value(&self) -> Payload {
        let results = self.results.iter().filter(|((job, ..), _)| !self.program.cancelled.contains(job));
        let digest = digest(&results.map(|(key, content)| (*key, content.value)).collect());
        codec::encode(&(digest, self.app.attempt)).map(Payload::from).unwrap_or_default()
    }
}
