//! A cluster to be harmed: it watches what happens in it, and at the end it must answer a clean job and leave
//! nothing: no process, no file, no descriptor, no cgroup with a process.

use super::draw::Draw;
use super::jobs::{Job, Kind, Run};
use super::proc::{self, Process};
use crate::failed;
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::event::{AppEvent, LoggedEvent, LossReason, StartCause};
use firesteel_common::http::{AppState, AppStatus, SubmitRequest, WorkerInfo};
use firesteel_common::id::{AppId, TaskId, WorkerId};
use firesteel_tests::cluster::{Cluster, Setup};
use firesteel_tests::fault::{Cost, Token};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long something may take to come to be, and how often it is looked for.
pub const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);
/// How many descriptors more than before a server may hold when its work is done: a connection of a client,
/// one of a peer that is kept for later.
const DESCRIPTORS_MORE: usize = 16;

/// What came of a row.
#[derive(Clone, Debug, Default)]
pub struct Finding {
    /// How often the fault fired, as far as it can be proven.
    pub fired: u64,
    /// Whether every answer was right.
    pub equal: bool,
    /// What was lost and ran again.
    pub cost: Cost,
    /// What else was measured.
    pub more: Vec<(&'static str, String)>,
    /// Why the row could not be tried here.
    pub left_out: Option<String>,
}

impl Finding {
    /// A row that cannot be tried here.
    pub fn left_out(why: impl Into<String>) -> Self {
        Self { left_out: Some(why.into()), ..Self::default() }
    }

    /// Adds a figure.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl std::fmt::Display) -> Self {
        self.more.push((name, value.to_string()));
        self
    }

    /// Says how often the fault fired.
    #[must_use]
    pub fn fired(mut self, times: u64) -> Self {
        self.fired = times;
        self
    }

    /// Joins what was found in a further part of the row.
    #[must_use]
    pub fn and(mut self, other: Finding) -> Self {
        self.fired += other.fired;
        self.equal &= other.equal;
        self.cost.reran += other.cost.reran;
        self.cost.lost += other.cost.lost;
        self.more.extend(other.more);
        self.left_out = self.left_out.or(other.left_out);
        self
    }
}

/// A cluster with a directory for faults, and what it was like before.
pub struct Lab {
    /// The cluster.
    pub cluster: Cluster,
    faults: TempDir,
    shared_memory: BTreeSet<String>,
    descriptors: usize,
    servers: BTreeMap<u32, usize>,
    workers: BTreeSet<u32>,
    clean: Option<Job>,
}

impl Lab {
    /// Workers with one slot that fetch from each other over TCP.
    pub fn setup(workers: u32) -> Setup {
        Setup::new(workers).set("shuffle.same_host", "tcp")
    }

    /// Starts it, and runs the clean job once.
    ///
    /// # Errors
    /// If the cluster does not start.
    pub fn open(setup: &Setup) -> Result<Self> {
        let shared_memory = proc::shared_memory();
        let descriptors = proc::descriptors(std::process::id()).unwrap_or_default();
        let faults = tempfile::tempdir().map_err(|cause| Error::io("making a directory", &cause))?;
        let cluster = Cluster::start(&setup.clone().set("faults.dir", faults.path().display()))?;
        let (servers, workers) = Default::default();
        let mut lab = Self { cluster, faults, shared_memory, descriptors, servers, workers, clean: None };
        if setup.workers > 0 {
            lab.warm_up()?;
        }
        Ok(lab)
    }

    /// Runs the clean job, and counts the descriptors of the servers.
    ///
    /// # Errors
    /// As [`Lab::clean`].
    pub fn warm_up(&mut self) -> Result<()> {
        self.clean()?;
        self.meet();
        self.servers = servers(&self.cluster);
        Ok(())
    }

    /// Remembers the workers that run now.
    fn meet(&mut self) {
        self.workers.extend(self.cluster.pids().into_iter().skip(1));
    }

    /// A job of this size.
    ///
    /// # Errors
    /// As [`Job::make`].
    pub fn job(&self, kind: Kind, size: u64, draw: &mut Draw) -> Result<Job> {
        Job::make(&self.cluster, kind, size, draw)
    }

    /// The state of an application.
    ///
    /// # Errors
    /// The master's.
    pub fn status(&self, app: AppId) -> Result<AppStatus> {
        self.cluster.get_json(&format!("/applications/{app}"))
    }

    /// Submits a job.
    ///
    /// # Errors
    /// The master's.
    pub fn submit(&self, job: &Job) -> Result<(AppId, Run)> {
        let run = job.run();
        Ok((self.cluster.submit(&run.request)?.app, run))
    }

    /// What has happened to an application so far.
    ///
    /// # Errors
    /// The master's.
    pub fn events(&self, app: AppId) -> Result<Vec<LoggedEvent>> {
        let lines = self.cluster.get(&format!("/applications/{app}/events"))?;
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines
            .map(|line| {
                serde_json::from_slice(line)
                    .map_err(|cause| failed(format!("an event is not understood: {cause}")))
            })
            .collect()
    }

    /// Waits until the log of an application tells something, and gives what it tells.
    ///
    /// # Errors
    /// If the application ends without it, or it takes too long.
    pub fn wait_for<T>(&self, app: AppId, tell: impl Fn(&[LoggedEvent]) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.events(app)?;
            if let Some(told) = tell(&log) {
                return Ok(told);
            }
            let ended = log.iter().any(|line| matches!(line.event, AppEvent::AppEnded { .. }));
            if ended || Instant::now() >= deadline {
                let why = if ended { "it ended before" } else { "it takes too long" };
                return Err(failed(format!("what is to be disturbed in {app} did not come to be: {why}")));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until this worker has finished so many tasks of an application, and runs a further one.
    ///
    /// # Errors
    /// As [`Lab::wait_for`].
    pub fn wait_for_work(&self, app: AppId, worker: WorkerId, finished: usize) -> Result<()> {
        self.wait_for(app, |log| {
            let (done, running) = work(log, worker);
            (done >= finished && running > 0).then_some(())
        })
    }

    /// A worker (counted from 0) that does not run the driver of an application; waits until it has one.
    ///
    /// # Errors
    /// If there is none.
    pub fn other_worker(&self, app: AppId, workers: usize) -> Result<(usize, WorkerId)> {
        let driver = until("a driver", || Ok(self.status(app)?.driver))?;
        let ids: Result<Vec<WorkerId>> = (0..workers).map(|index| self.cluster.worker_id(index)).collect();
        let other = ids?.into_iter().enumerate().find(|(_, id)| *id != driver);
        other.ok_or_else(|| failed("there is no worker without the driver"))
    }

    /// The worker (counted from 0) that runs the driver of an application.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn driver_worker(&self, app: AppId, workers: usize) -> Result<usize> {
        let driver = until("a driver", || Ok(self.status(app)?.driver))?;
        let found = (0..workers).find(|index| self.cluster.worker_id(*index).is_ok_and(|id| id == driver));
        found.ok_or_else(|| failed("no worker has the driver"))
    }

    /// Waits for the end of a job, which must be a success and the right answer, with one outcome.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn verdict(&self, app: AppId, job: &Job, run: &Run) -> Result<Finding> {
        let status = self.cluster.wait(app)?;
        if let Some(error) = status.error {
            return Err(error.context(format!("{app} ({})", job.kind.name())));
        }
        job.check(run, &self.cluster.get(&format!("/applications/{app}/result"))?)?;
        let log = self.cluster.events(app)?;
        let outcomes = log.iter().filter(|line| matches!(line.event, AppEvent::AppEnded { .. })).count();
        if outcomes != 1 {
            return Err(failed(format!("{app} has {outcomes} outcomes")));
        }
        Ok(Finding { equal: true, cost: Cost::of(&log), ..Finding::default() })
    }

    /// Runs a job that nothing disturbs.
    ///
    /// # Errors
    /// As [`Lab::verdict`].
    pub fn run(&self, job: &Job) -> Result<Finding> {
        let (app, run) = self.submit(job)?;
        self.verdict(app, job, &run)
    }

    /// Runs a small job, which must come out right.
    ///
    /// # Errors
    /// As [`Lab::verdict`].
    pub fn clean(&mut self) -> Result<()> {
        let job = match self.clean.take() {
            Some(job) => job,
            None => Job::make(&self.cluster, Kind::Wordcount, 20, &mut Draw::new(1))?,
        };
        let ran = self.run(&job).map(drop);
        self.clean = Some(job);
        ran.map_err(|error| error.context("a clean job"))
    }

    /// Plants a fault (see `docs/faults.md`).
    ///
    /// # Errors
    /// If the token cannot be written.
    pub fn plant(&self, point: &str, nth: u32, worker: Option<WorkerId>, what: &str) -> Result<Token> {
        Token::plant(self.faults.path(), point, nth, worker, what)
    }

    /// The directory of the tokens.
    pub fn faults(&self) -> PathBuf {
        self.faults.path().to_owned()
    }

    /// Runs something while a standing token is in place: what it gave, and how often the fault has happened.
    ///
    /// # Errors
    /// If the token cannot be planted, or what `run` fails with.
    pub fn standing<T>(&self, point: &str, fault: &str, run: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
        let (token, left) =
            (self.faults().join(format!("{point}*")), self.faults().join(format!("fired-{point}*")));
        let failed = |cause: std::io::Error| Error::io("planting a fault", &cause);
        std::fs::write(&token, fault).map_err(failed)?;
        let ran = run();
        std::fs::remove_file(&token).map_err(failed)?;
        let fired = std::fs::read_to_string(&left).unwrap_or_default().lines().count() as u64;
        let _ = std::fs::remove_file(&left);
        Ok((ran?, fired))
    }

    /// The workers as the master sees them.
    ///
    /// # Errors
    /// The master's.
    pub fn workers(&self) -> Result<Vec<WorkerInfo>> {
        self.cluster.get_json("/workers")
    }

    /// A number of the master's metrics.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn metric(&self, name: &str) -> Result<u64> {
        let url = format!("{}/api/firesteel/v1/metrics", self.cluster.http());
        let bearer = format!("Bearer {}", self.cluster.token());
        let answer = ureq::get(&url).header("Authorization", &bearer).call();
        let text = answer
            .and_then(|mut answer| answer.body_mut().read_to_string())
            .map_err(|cause| Error::new(ErrorCode::Unreachable, format!("asking for metrics: {cause}")))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.parse().ok()).ok_or_else(|| failed(format!("no metric {name}")))
    }

    /// The processes of this role below a worker (counted from 0).
    pub fn children(&mut self, worker: usize, role: &str) -> Vec<Process> {
        let below = self.cluster.worker_pid(worker).map(proc::descendants).unwrap_or_default();
        below.into_iter().filter(|process| process.is(role)).collect()
    }

    /// Runs a clean job, ends the cluster, and looks for what is left.
    ///
    /// # Errors
    /// Names what is left.
    pub fn close(mut self, alive: usize) -> Result<()> {
        self.cluster.wait_for_workers(alive)?;
        self.clean()?;
        self.meet();
        until("the servers let go of their descriptors", || Ok(self.hoarders().is_empty().then_some(())))
            .map_err(|error| error.with_detail(self.hoarders().join("; ")))?;
        let Self { cluster, faults, shared_memory, descriptors, workers, .. } = self;
        let scratch = cluster.scratch().to_owned();
        cluster.stop()?;
        drop(faults);
        let look = || Ok(left(&workers, &shared_memory).is_empty().then_some(()));
        until("everything is gone", look)
            .map_err(|error| error.with_detail(left(&workers, &shared_memory).join("; ")))?;
        if scratch.exists() {
            return Err(failed(format!("{} is left", scratch.display())));
        }
        let now = proc::descriptors(std::process::id()).unwrap_or_default();
        // A connection or two of this process's clients may still be closing.
        if now > descriptors + DESCRIPTORS_MORE {
            return Err(failed(format!("this process holds {now} descriptors, {descriptors} before")));
        }
        Ok(())
    }

    /// Servers that have lived all the time, and hold many more descriptors than at the beginning.
    fn hoarders(&self) -> Vec<String> {
        let now = servers(&self.cluster);
        let more = self.servers.iter().filter_map(|(pid, before)| {
            let now = now.get(pid)?;
            (*now > before + DESCRIPTORS_MORE)
                .then(|| format!("process {pid} holds {now} descriptors, {before} before"))
        });
        more.collect()
    }
}

/// The descriptors of the servers of a cluster, by process.
fn servers(cluster: &Cluster) -> BTreeMap<u32, usize> {
    cluster.pids().into_iter().filter_map(|pid| Some((pid, proc::descriptors(pid)?))).collect()
}

/// What is left of a cluster whose servers have been waited for.
fn left(workers: &BTreeSet<u32>, shared_memory: &BTreeSet<String>) -> Vec<String> {
    let mut left = Vec::new();
    for process in proc::descendants(std::process::id()) {
        // Orphans come to this process, which nobody else waits for.
        let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
        let waited = process.ended && pid.is_some_and(|pid| waitpid(Some(pid), WaitOptions::NOHANG).is_ok());
        if !waited {
            left.push(format!("process {} {:?}", process.pid, process.words));
        }
    }
    for name in proc::shared_memory().difference(shared_memory).filter(|name| name.contains("firesteel")) {
        left.push(format!("/dev/shm/{name}"));
    }
    for group in workers.iter().flat_map(|worker| proc::cgroups_of(*worker)) {
        // An empty one of a worker that was killed goes when the next worker starts on this machine.
        let empty = |dir: &PathBuf| {
            std::fs::read_to_string(dir.join("cgroup.procs")).is_ok_and(|list| list.trim().is_empty())
        };
        let children = std::fs::read_dir(&group).into_iter().flatten().flatten().map(|entry| entry.path());
        if !children.filter(|path| path.is_dir()).chain([group.clone()]).all(|dir| empty(&dir)) {
            left.push(format!("a cgroup with processes: {}", group.display()));
        }
    }
    left
}

/// Asks until there is an answer.
///
/// # Errors
/// That of asking; or if it takes too long.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            return Err(failed(format!("it takes too long: {what}")));
        }
        std::thread::sleep(LOOK);
    }
}

/// Sends a signal to a process that is no child of this one.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// How many tasks a worker has finished, and how many it runs.
pub fn work(log: &[LoggedEvent], worker: WorkerId) -> (usize, usize) {
    let (mut finished, mut running) = (0, BTreeSet::new());
    for line in log {
        match &line.event {
            AppEvent::TaskStarted { task, worker: at, .. } if *at == worker => drop(running.insert(*task)),
            AppEvent::TaskFinished { task, .. } => finished += usize::from(running.remove(task)),
            AppEvent::TaskFailed { task, .. } | AppEvent::TaskLost { task, .. } => drop(running.remove(task)),
            _ => {}
        }
    }
    (finished, running.len())
}

/// Map outputs of first attempts that were found to be no good: stages and partitions.
pub fn lost_outputs(log: &[LoggedEvent]) -> BTreeSet<(u32, u32)> {
    let lost = log.iter().filter_map(|line| match &line.event {
        AppEvent::OutputLost { task, reason: LossReason::FetchFailed, .. } if task.attempt == 0 => {
            Some((task.stage.0, task.partition))
        }
        _ => None,
    });
    lost.collect()
}

/// Tasks that have written records: in a job without a shuffle they have stored partitions.
pub fn stores(log: &[LoggedEvent]) -> u64 {
    let stored = |line: &&LoggedEvent| match &line.event {
        AppEvent::TaskFinished { metrics, .. } => metrics.written_records > 0,
        _ => false,
    };
    log.iter().filter(stored).count() as u64
}

/// Whether nothing ran again but what was lost.
///
/// # Errors
/// Names a task that ran again without need.
pub fn only_lost_ran_again(log: &[LoggedEvent]) -> Result<()> {
    let mut lost: BTreeSet<(u32, u32)> = BTreeSet::new();
    let place = |task: &TaskId| (task.stage.0, task.partition);
    for line in log {
        match &line.event {
            AppEvent::TaskLost { task, .. }
            | AppEvent::OutputLost { task, .. }
            | AppEvent::TaskFailed { task, .. } => drop(lost.insert(place(task))),
            AppEvent::TaskStarted { task, cause, .. }
                if *cause != StartCause::First && !lost.remove(&place(task)) =>
            {
                return Err(failed(format!("{task} ran again, and nothing of it was lost")));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Fails unless it is so.
///
/// # Errors
/// What is wrong.
pub fn ensure(is_so: bool, otherwise: impl Into<String>) -> Result<()> {
    if is_so { Ok(()) } else { Err(failed(otherwise)) }
}

/// Whether an application failed; its error.
///
/// # Errors
/// If it did anything else.
pub fn error_of(status: &AppStatus) -> Result<Error> {
    match (&status.state, &status.error) {
        (AppState::Failed, Some(error)) => Ok(error.clone()),
        _ => Err(failed(format!("it was to fail, and is {:?}", status.state))),
    }
}

/// A submission under a key.
pub fn keyed(run: &Run, key: &str) -> SubmitRequest {
    SubmitRequest { idempotency_key: Some(key.to_owned()), ..run.request.clone() }
}
