//! Which workers there are: they register, are heard of, fall silent, come back. What is lost with one is
//! decided in `recovery`.
//!
//! Every message names the epoch and the incarnation that it belongs to. What does not fit is counted and
//! dropped: it comes from a process, or was meant for a master, that is thought to be gone.

use crate::event::{Effect, LinkId};
use crate::map_output::FetchFailure;
use crate::worker::Worker;
use crate::{PlantedBug, Scheduler};
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::event::LossReason;
use firesteel_common::id::{AppAttemptId, Incarnation, WorkerId};
use firesteel_common::protocol::worker::{FromWorker, Registration, ToMaster, ToWorker};
use firesteel_common::time::{Micros, Timestamp};
use std::collections::BTreeSet;

/// Task slots of one worker at most, so that sums of them are numbers of the same kind.
const SLOTS_MAX: u32 = 65_536;

impl Scheduler {
    /// A worker said something.
    pub(crate) fn hear_worker(&mut self, link: LinkId, message: FromWorker) {
        let FromWorker { epoch, incarnation, message } = message;
        let message = match message {
            ToMaster::Register(registration) => return self.register(link, incarnation, registration),
            other => other,
        };
        let planted = matches!(self.cluster.planted, Some(PlantedBug::Fencing | PlantedBug::Commit));
        let mut bound = self.cluster.workers.links.get(&link).copied();
        if planted {
            bound = bound.or_else(|| self.cluster.workers.incarnations.get(&incarnation).copied());
        }
        let Some(worker) = bound.and_then(|id| self.cluster.workers.get_mut(id)) else {
            self.cluster.counters.fenced += 1;
            return;
        };
        let fits = worker.incarnation == incarnation && self.epoch == epoch;
        if !fits && !planted {
            self.cluster.counters.fenced += 1;
            return;
        }
        worker.last_seen = self.cluster.now;
        let worker = worker.id;
        match message {
            ToMaster::Register(_)
            | ToMaster::Heartbeat
            | ToMaster::Output { .. }
            | ToMaster::ExecutorStarted { .. }
            | ToMaster::Refusals { .. } => {}
            ToMaster::TasksFinished(reports) => {
                for report in reports {
                    match self.run_of(report.task.app) {
                        Some((run, cluster)) => {
                            if let Some(report) = run.found_attempts.keep_report(worker, report) {
                                run.task_reported(cluster, worker, report);
                            }
                        }
                        None => self.cluster.counters.stale += 1,
                    }
                }
            }
            ToMaster::FetchFailed { task, stage, map, place, cause } => match self.run_of(task.app) {
                Some((run, cluster)) => {
                    let miss = FetchFailure { task, stage, map, place, cause };
                    if let Some(miss) = run.found_attempts.keep_miss(worker, miss) {
                        run.fetch_failed(cluster, worker, miss);
                    }
                }
                None => self.cluster.counters.stale += 1,
            },
            ToMaster::ExecutorLost { app, reason, tasks, stopped } => match self.run_of(app) {
                Some((run, cluster)) => {
                    run.found_attempts.died(worker, &tasks);
                    run.executor_lost(cluster, worker, (&reason, stopped), tasks);
                }
                None => self.cluster.counters.stale += 1,
            },
            ToMaster::DriverExited { app, reason } => self.driver_exited(worker, app, reason),
            ToMaster::Draining => self.drain_worker(worker),
            ToMaster::BlocksCopied { app, from, blocks } => self.blocks_copied(worker, app, from, blocks),
        }
    }

    /// A worker registers over a new connection.
    fn register(&mut self, link: LinkId, incarnation: Incarnation, registration: Registration) {
        if registration.address.is_empty() || !(1..=SLOTS_MAX).contains(&registration.slots) {
            let message = "a worker registers without an address, without task slots, or with too many";
            let error = Error::new(ErrorCode::BadRequest, message)
                .with_help(format!("set worker.listen, and worker.cores to at most {SLOTS_MAX}"));
            self.cluster.effects.push(Effect::RefuseLink { link, error });
            return;
        }
        let known = self.cluster.workers.incarnations.get(&incarnation).copied();
        let is_old = known.and_then(|id| self.cluster.workers.get(id)).is_some_and(|w| link <= w.newest_link);
        if is_old || self.cluster.workers.is_dead(link) {
            self.cluster.counters.fenced += 1;
            return;
        }
        if known.is_none()
            && let Some(old) = self.cluster.workers.addresses.get(registration.address.as_str()).copied()
        {
            self.lose_worker(old, LossReason::WorkerRestarted);
        }
        if let Some(other) = self.cluster.workers.links.get(&link).copied().filter(|id| Some(*id) != known) {
            self.disconnect(other);
        }
        let id = known.unwrap_or_else(|| self.add_worker(incarnation, &registration));
        self.bind(link, id, &registration);
        self.cluster.effects.push(Effect::BindWorker { link, worker: id });
        let heartbeat_ms = self.cluster.settings.heartbeat_ms;
        let answer = ToWorker::Registered { worker: id, epoch: self.epoch, heartbeat_ms };
        self.cluster.tell_worker(id, answer);
        self.reconcile(id, registration);
        self.tell_drain_again(id);
        self.cluster.driver_room = true;
    }

    fn add_worker(&mut self, incarnation: Incarnation, registration: &Registration) -> WorkerId {
        let workers = &mut self.cluster.workers;
        let id = workers.choose_id(registration.worker);
        let host = workers.host_or_new(&registration.host);
        workers.insert(Worker {
            id,
            incarnation,
            host,
            host_name: registration.host.clone(),
            address: registration.address.as_str().into(),
            slots: registration.slots,
            memory: registration.memory,
            sandbox: registration.sandbox.clone(),
            drivers_max: registration.drivers_max,
            drivers: BTreeSet::new(),
            running: Vec::new(),
            used: 0,
            ahead: None,
            drain: None,
            link: None,
            newest_link: LinkId(0),
            disconnected: self.cluster.now,
            last_seen: self.cluster.now,
            owed: Vec::new(),
            told_last: None,
            indexed: 0,
            dirty: false,
            launch_at: usize::MAX,
        });
        id
    }

    /// From now on this connection is that of the worker, and no other.
    fn bind(&mut self, link: LinkId, id: WorkerId, registration: &Registration) {
        let now = self.cluster.now;
        let Some(worker) = self.cluster.workers.get_mut(id) else { return };
        worker.last_seen = now;
        worker.slots = registration.slots;
        worker.drivers_max = registration.drivers_max;
        worker.told_last = None;
        worker.newest_link = link;
        let old = worker.link.replace(link);
        let host = worker.host;
        match old {
            Some(old) => self.cluster.workers.unbind(old),
            None => self.cluster.placement.add_to_host(host, id),
        }
        self.cluster.workers.links.insert(link, id);
        self.cluster.touch(id);
    }

    /// A connection closed; its worker may come back.
    pub(crate) fn worker_link_closed(&mut self, link: LinkId) {
        match self.cluster.workers.links.get(&link).copied() {
            Some(worker) if self.has_left(worker) => self.lose_worker(worker, LossReason::WorkerGone),
            Some(worker) => self.disconnect(worker),
            None => self.cluster.workers.unbind(link),
        }
    }

    fn disconnect(&mut self, id: WorkerId) {
        let now = self.cluster.now;
        let Some(worker) = self.cluster.workers.get_mut(id) else { return };
        let Some(link) = worker.link.take() else { return };
        worker.disconnected = now;
        self.cluster.placement.index(worker);
        let host = worker.host;
        self.cluster.placement.remove_from_host(host, id);
        self.cluster.workers.unbind(link);
    }

    /// A worker is gone for good.
    pub(crate) fn lose_worker(&mut self, id: WorkerId, reason: LossReason) {
        let was_connected = self.cluster.workers.get(id).is_some_and(|worker| worker.link.is_some());
        self.disconnect(id);
        let Some(worker) = self.cluster.workers.remove(id) else { return };
        self.cluster.counters.workers_lost += 1;
        if was_connected {
            self.cluster.effects.push(Effect::DropWorker(id));
        }
        for app in self.apps.values_mut() {
            app.run.worker_lost(&mut self.cluster, id, &worker.running, reason);
        }
        let drivers: Vec<AppAttemptId> = worker.drivers.into_iter().collect();
        for driver in drivers {
            self.driver_worker_lost(driver, id);
        }
        self.cluster.driver_room = true;
    }

    /// Declares those workers lost that were silent, or away, for too long.
    pub(crate) fn expire_workers(&mut self) {
        let (now, settings) = (self.cluster.now, self.cluster.settings);
        let silent = |worker: &Worker| now - worker.last_seen > settings.worker_timeout;
        let gone = |worker: &Worker| worker.link.is_none() && now - worker.disconnected > settings.reconnect;
        let lost: Vec<(WorkerId, LossReason)> = (self.cluster.workers.iter())
            .filter_map(|worker| match (gone(worker), silent(worker)) {
                (true, _) => Some((worker.id, LossReason::WorkerGone)),
                (false, true) => Some((worker.id, LossReason::WorkerSilent)),
                (false, false) => None,
            })
            .collect();
        for (worker, reason) in lost {
            self.lose_worker(worker, reason);
        }
    }

    /// The master itself did not run for a while: nobody could be heard, so nobody is blamed.
    pub(crate) fn forgive_pause(&mut self, pause: Micros) {
        let now = self.cluster.now;
        let shift = |at: &mut Timestamp| *at = (*at + pause).min(now);
        for worker in self.cluster.workers.iter_mut() {
            shift(&mut worker.last_seen);
            shift(&mut worker.disconnected);
        }
        self.shift_deadlines(pause);
    }
}
