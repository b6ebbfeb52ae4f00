//! Which workers are left out after failures there: by one task, by a stage, by the whole application, and
//! hosts as soon as enough of their workers are. (The rules, and what they count, are those of Spark's
//! `excludeOnFailure`.)
//!
//! Nothing waits for a worker that it leaves out: a task that every worker is left out for fails its jobs,
//! and the error names them.

use crate::Scheduler;
use crate::app::Run;
use crate::cluster::Cluster;
use crate::worker::{HostId, Worker};
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::event::AppEvent;
use firesteel_common::http::ExcludedPlace;
use firesteel_common::id::{StageId, TaskId, WorkerId};
use firesteel_common::options::Exclusion;
use firesteel_common::time::{Micros, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// How many workers an error names.
const NAMED_MAX: usize = 16;

/// What failed where, and who is left out for it.
#[derive(Debug, Default)]
pub(crate) struct Excluded {
    /// Failed attempts at a task, by worker.
    tasks: BTreeMap<(StageId, u32), BTreeMap<(HostId, WorkerId), u32>>,
    stages: BTreeMap<StageId, OfStage>,
    /// Failed tasks of stages that have ended, by worker, with until when they count.
    failed: BTreeMap<(HostId, WorkerId), Vec<Timestamp>>,
    /// Who is left out by the application, until when.
    workers: BTreeMap<WorkerId, (HostId, Timestamp)>,
    hosts: BTreeMap<HostId, Timestamp>,
}

/// The same for the tasks of one stage that is being computed.
#[derive(Debug, Default)]
struct OfStage {
    failed: BTreeMap<(HostId, WorkerId), BTreeSet<u32>>,
    workers: BTreeSet<WorkerId>,
    hosts: BTreeSet<HostId>,
}

/// Somebody who is left out from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Out {
    Worker(WorkerId, u32),
    Host(HostId, u32),
}

fn add_host<'a>(
    of: HostId,
    most: u32,
    workers: impl Iterator<Item = &'a HostId>,
    insert: impl FnOnce() -> bool,
    out: &mut Vec<Out>,
) {
    let count = workers.filter(|host| **host == of).count() as u32;
    if count >= most && insert() {
        out.push(Out::Host(of, count));
    }
}

impl Excluded {
    fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.stages.is_empty() && self.workers.is_empty() && self.hosts.is_empty()
    }

    /// An attempt at a task has failed on a worker.
    fn note(
        &mut self,
        rules: &Exclusion,
        (id, partition): (StageId, u32),
        at: (HostId, WorkerId),
    ) -> Vec<Out> {
        *self.tasks.entry((id, partition)).or_default().entry(at).or_default() += 1;
        let stage = self.stages.entry(id).or_default();
        let failed = stage.failed.entry(at).or_default();
        failed.insert(partition);
        let count = failed.len() as u32;
        let mut out = Vec::new();
        if count >= rules.stage_tasks_per_worker && stage.workers.insert(at.1) {
            out.push(Out::Worker(at.1, count));
            let left_out = stage.failed.keys().filter(|(_, worker)| stage.workers.contains(worker));
            let (most, hosts) = (rules.stage_workers_per_host, &mut stage.hosts);
            add_host(at.0, most, left_out.map(|(host, _)| host), || hosts.insert(at.0), &mut out);
        }
        out
    }

    /// A stage is complete: what failed of it counts for the application for a while.
    fn stage_ended(&mut self, rules: &Exclusion, id: StageId, now: Timestamp) -> Vec<Out> {
        self.tasks.retain(|(stage, _), _| *stage != id);
        let until = now + Micros::from_millis(rules.timeout_ms);
        let mut out = Vec::new();
        for (at, tasks) in self.stages.remove(&id).map(|stage| stage.failed).unwrap_or_default() {
            let failed = self.failed.entry(at).or_default();
            failed.extend(tasks.iter().map(|_| until));
            let count = failed.len() as u32;
            if count < rules.app_tasks_per_worker || self.workers.insert(at.1, (at.0, until)).is_some() {
                continue;
            }
            out.push(Out::Worker(at.1, count));
            let (most, hosts) = (rules.app_workers_per_host, &mut self.hosts);
            let left_out = self.workers.values().map(|(host, _)| host);
            add_host(at.0, most, left_out, || hosts.insert(at.0, until).is_none(), &mut out);
        }
        out
    }

    /// A stage is not computed any more.
    fn forget_stage(&mut self, id: StageId) {
        self.tasks.retain(|(stage, _), _| *stage != id);
        self.stages.remove(&id);
    }

    /// What counts no longer; gives who is not left out any more.
    fn expire(&mut self, now: Timestamp) -> (Vec<WorkerId>, Vec<HostId>) {
        self.failed.retain(|_, until| {
            until.retain(|until| *until > now);
            !until.is_empty()
        });
        let over = |until: &Timestamp| *until <= now;
        let workers: Vec<WorkerId> =
            self.workers.iter().filter(|(_, (_, until))| over(until)).map(|(worker, _)| *worker).collect();
        let hosts: Vec<HostId> =
            self.hosts.iter().filter(|(_, until)| over(until)).map(|(host, _)| *host).collect();
        self.workers.retain(|_, (_, until)| !over(until));
        self.hosts.retain(|_, until| !over(until));
        (workers, hosts)
    }

    pub fn admits(&self, rules: &Exclusion, (id, partition): (StageId, u32), worker: &Worker) -> bool {
        let (host, worker) = (worker.host, worker.id);
        let by_stage = self.stages.get(&id);
        let left_out = self.workers.contains_key(&worker)
            || self.hosts.contains_key(&host)
            || by_stage.is_some_and(|s| s.workers.contains(&worker) || s.hosts.contains(&host));
        let of_task = || {
            let Some(failed) = self.tasks.get(&(id, partition)) else { return false };
            let here = failed.get(&(host, worker)).copied().unwrap_or_default();
            let on_host: u32 = failed.iter().filter(|((of, _), _)| *of == host).map(|(_, count)| count).sum();
            here >= rules.task_attempts_per_worker || on_host >= rules.task_attempts_per_host
        };
        !left_out && !of_task()
    }
}

impl Scheduler {
    /// Takes workers back whose time is over, and ends what waits for a worker that it leaves out.
    pub(crate) fn expire_exclusions(&mut self) {
        for app in self.apps.values_mut().filter(|app| app.run.options.exclusion.enabled) {
            app.run.expire_exclusions(&mut self.cluster);
        }
    }
}

impl Run {
    /// Whether a task may run on a worker, as far as failures are concerned.
    pub fn admits(&self, id: StageId, partition: u32, worker: &Worker) -> bool {
        let Some(excluded) = &self.excluded else { return true };
        excluded.admits(&self.options.exclusion, (id, partition), worker)
    }

    /// Whether it leaves anybody out, for anything.
    pub fn excludes(&self) -> bool {
        self.excluded.as_ref().is_some_and(|excluded| !excluded.is_empty())
    }

    /// An attempt has failed on a worker.
    pub fn note_failure(&mut self, cx: &mut Cluster, worker: WorkerId, task: TaskId) {
        let rules = self.options.exclusion;
        let Some(host) = cx.workers.get(worker).filter(|_| rules.enabled).map(|worker| worker.host) else {
            return;
        };
        let excluded = self.excluded.get_or_insert_default();
        let out = excluded.note(&rules, (task.stage, task.partition), (host, worker));
        self.log_out(cx, &out, Some(task.stage));
    }

    /// A stage has all that is wanted of it (`complete`), or nothing is wanted of it any more.
    pub fn close_failures(&mut self, cx: &mut Cluster, id: StageId, complete: bool) {
        let rules = self.options.exclusion;
        let Some(excluded) = &mut self.excluded else { return };
        if !complete {
            return excluded.forget_stage(id);
        }
        let out = excluded.stage_ended(&rules, id, cx.now);
        self.log_out(cx, &out, None);
    }

    fn log_out(&self, cx: &mut Cluster, out: &[Out], stage: Option<StageId>) {
        for out in out {
            let event = match *out {
                Out::Worker(worker, failures) => AppEvent::WorkerExcluded { worker, stage, failures },
                Out::Host(host, workers) => {
                    AppEvent::HostExcluded { host: cx.workers.host_name(host), stage, workers }
                }
            };
            cx.log(self.app, event);
        }
    }

    fn expire_exclusions(&mut self, cx: &mut Cluster) {
        let Some(excluded) = &mut self.excluded else { return };
        let (workers, hosts) = excluded.expire(cx.now);
        if !workers.is_empty() || !hosts.is_empty() {
            for worker in workers {
                cx.log(self.app, AppEvent::WorkerIncluded { worker });
            }
            for host in hosts {
                let host = cx.workers.host_name(host);
                cx.log(self.app, AppEvent::HostIncluded { host });
            }
            self.offer_all(cx);
        }
        if !self.excludes() {
            return;
        }
        let open: Vec<StageId> = self.stages.values().filter(|s| s.key.is_some()).map(|s| s.id).collect();
        for id in open {
            let Some(stage) = self.stages.get(&id) else { continue };
            let pending = (0u32..).zip(&stage.tasks).filter(|(_, task)| task.is_pending());
            let pending: Vec<u32> = pending.map(|(partition, _)| partition).collect();
            for partition in pending {
                if self.fail_if_nowhere(cx, id, partition, None) {
                    break;
                }
            }
        }
    }

    /// Looks for workers for all pending tasks again.
    pub fn offer_all(&mut self, cx: &mut Cluster) {
        for stage in self.stages.values_mut() {
            if let Some(key) = stage.key {
                let queued: Vec<u32> = stage.set.queued().collect();
                stage.set.fresh.extend(queued);
                cx.placement.fresh.insert(key);
            }
        }
    }

    /// Fails the jobs that need a task for which every worker is left out; says whether that is so. While
    /// there is no worker at all, nobody is.
    pub fn fail_if_nowhere(
        &mut self,
        cx: &mut Cluster,
        id: StageId,
        partition: u32,
        last: Option<&Error>,
    ) -> bool {
        if !self.excludes() {
            return false;
        }
        let staying: Vec<&Worker> = cx.workers.iter().filter(|worker| worker.drain.is_none()).collect();
        if staying.is_empty() || staying.iter().any(|worker| self.admits(id, partition, worker)) {
            return false;
        }
        let names: Vec<String> =
            staying.iter().map(|worker| format!("{} on {}", worker.id, worker.host_name)).collect();
        let more = names.len().saturating_sub(NAMED_MAX);
        let mut text = names[..names.len() - more].join(", ");
        if more > 0 {
            text += &format!(" and {more} more");
        }
        let last = last.map(|error| format!("; the last failure: {error}")).unwrap_or_default();
        let message =
            format!("partition {partition} of {id} cannot run anywhere: failures have left out {text}{last}");
        let help = "look at the failures; workers come back after spark.excludeOnFailure.timeout, and \
                    spark.excludeOnFailure.enabled=false leaves none out";
        self.fail_jobs_of(cx, id, Error::new(ErrorCode::WorkersExcluded, message).with_help(help));
        true
    }

    /// Who is left out now, by stages and by the application.
    pub fn excluded_places(&self, cx: &Cluster) -> Vec<ExcludedPlace> {
        let Some(excluded) = &self.excluded else { return Vec::new() };
        let host_of = |worker: &WorkerId| {
            cx.workers.get(*worker).map(|state| state.host_name.clone()).unwrap_or_default()
        };
        let left_ms = |until: &Timestamp| Some((*until - cx.now).0 / 1_000);
        let mut places = Vec::new();
        for (worker, (_, until)) in &excluded.workers {
            let (worker, host) = (Some(*worker), host_of(worker));
            places.push(ExcludedPlace { worker, host, stage: None, left_ms: left_ms(until) });
        }
        for (host, until) in &excluded.hosts {
            let host = cx.workers.host_name(*host);
            places.push(ExcludedPlace { worker: None, host, stage: None, left_ms: left_ms(until) });
        }
        for (stage, of) in &excluded.stages {
            let stage = Some(*stage);
            for worker in &of.workers {
                let (worker, host) = (Some(*worker), host_of(worker));
                places.push(ExcludedPlace { worker, host, stage, left_ms: None });
            }
            for host in &of.hosts {
                let host = cx.workers.host_name(*host);
                places.push(ExcludedPlace { worker: None, host, stage, left_ms: None });
            }
        }
        places
    }
}
