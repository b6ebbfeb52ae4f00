//! How workers leave. One that is to leave gets nothing new; what runs on it ends; its map outputs are copied
//! to others, whose readers learn of it; then it may go. Nothing is computed again for it, unless its time is
//! over before. Cached partitions are not moved: they are made again where they are read.

use crate::Scheduler;
use crate::app::Run;
use crate::cluster::Cluster;
use crate::stage::Output;
use firesteel_common::block::MapStatus;
use firesteel_common::id::{AppAttemptId, TaskId, WorkerId};
use firesteel_common::protocol::worker::ToWorker;
use firesteel_common::time::Timestamp;
use std::collections::BTreeMap;

/// How many map outputs of one worker are on their way at once.
const MOVING_MAX: usize = 256;

/// How often a map output is sent on its way before it is left behind.
const TRIES_MAX: u32 = 3;

/// A worker that is to leave.
#[derive(Debug)]
pub(crate) struct Drain {
    /// When it leaves, whatever is needed of it.
    until: Timestamp,
    /// Map outputs on their way, and to whom.
    moving: BTreeMap<TaskId, WorkerId>,
    /// How often an output was sent on its way.
    tries: BTreeMap<TaskId, u32>,
    /// Whether it was told that it may go.
    told: bool,
}

type Parcel = BTreeMap<(AppAttemptId, WorkerId), Vec<(TaskId, MapStatus)>>;

impl Scheduler {
    /// A worker is to leave.
    pub(crate) fn drain_worker(&mut self, id: WorkerId) {
        let until = self.cluster.now + self.cluster.settings.drain_timeout;
        let Some(worker) = self.cluster.workers.get_mut(id) else { return };
        if worker.drain.is_none() {
            let (moving, tries) = (BTreeMap::new(), BTreeMap::new());
            worker.drain = Some(Box::new(Drain { until, moving, tries, told: false }));
            self.cluster.placement.index(worker);
        }
        // Said again by a worker that has registered anew: what it was told may have been lost.
        if let Some(drain) = &mut worker.drain {
            drain.told = false;
        }
        self.advance_drain(id);
    }

    /// Somebody wants a worker to leave: it is told so, so that it says so to a master to come.
    pub(crate) fn want_drained(&mut self, id: WorkerId) {
        if self.cluster.workers.get(id).is_some() {
            self.cluster.tell_worker(id, ToWorker::Drain);
        }
        self.drain_worker(id);
    }

    /// A worker that is to leave has registered anew, and may have missed that it is.
    pub(crate) fn tell_drain_again(&mut self, id: WorkerId) {
        if self.cluster.workers.get(id).is_some_and(|worker| worker.drain.is_some()) {
            self.cluster.tell_worker(id, ToWorker::Drain);
        }
    }

    /// Whether a worker was told that it may go.
    pub(crate) fn has_left(&self, id: WorkerId) -> bool {
        self.cluster.workers.get(id).and_then(|w| w.drain.as_ref()).is_some_and(|drain| drain.told)
    }

    /// Takes every worker that is to leave one step on.
    pub(crate) fn advance_drains(&mut self) {
        let leaves = |w: &&crate::worker::Worker| w.drain.is_some() && w.link.is_some();
        let leaving: Vec<WorkerId> = self.cluster.workers.iter().filter(leaves).map(|w| w.id).collect();
        leaving.into_iter().for_each(|worker| self.advance_drain(worker));
    }

    fn advance_drain(&mut self, id: WorkerId) {
        let targets: Vec<WorkerId> =
            self.cluster.workers.iter().filter(|w| w.takes_work()).map(|w| w.id).collect();
        let held: Vec<(TaskId, MapStatus)> = self.apps.values().flat_map(|app| app.run.held_by(id)).collect();
        let waits = self.apps.values().any(|app| app.run.waits_to_leave(id));
        let now = self.cluster.now;
        let Some(worker) = self.cluster.workers.get_mut(id) else { return };
        let (idle, address) =
            (worker.running.is_empty() && worker.drivers.is_empty(), worker.address.clone());
        let Some(drain) = worker.drain.as_mut().filter(|drain| !drain.told) else { return };
        let parcels = drain.pack(&held, &targets);
        let done = idle && !waits && drain.moving.is_empty();
        drain.told = done || now > drain.until;
        let told = drain.told;
        for ((app, target), outputs) in parcels {
            if let Some((run, _)) = self.run_of(app) {
                run.workers.insert(target);
            }
            let address = address.clone();
            self.cluster.tell_worker(target, ToWorker::FetchOutputs { app, from: id, address, outputs });
        }
        if told {
            self.cluster.tell_worker(id, ToWorker::Drained);
        }
    }

    /// A worker has copied map outputs of one that leaves, or could not.
    pub(crate) fn outputs_moved(
        &mut self,
        target: WorkerId,
        app: AppAttemptId,
        from: WorkerId,
        outputs: Vec<(TaskId, bool)>,
    ) {
        if let Some(drain) = self.cluster.workers.get_mut(from).and_then(|w| w.drain.as_mut()) {
            outputs.iter().for_each(|(task, _)| {
                drain.moving.remove(task);
            });
        }
        let moved: Vec<TaskId> = outputs
            .into_iter()
            .filter(|(task, moved)| *moved && task.app == app)
            .map(|(task, _)| task)
            .collect();
        match self.run_of(app) {
            Some((run, cluster)) => run.outputs_moved(cluster, from, target, &moved),
            None => self.cluster.tell_end(target, app),
        }
        if self.cluster.workers.get(from).is_some_and(|worker| worker.drain.is_some()) {
            self.advance_drain(from);
        }
    }
}

impl Drain {
    /// Chooses takers for outputs that are not on their way, one after the other.
    fn pack(&mut self, held: &[(TaskId, MapStatus)], targets: &[WorkerId]) -> Parcel {
        self.moving.retain(|task, target| {
            targets.contains(target) && held.binary_search_by_key(task, |(held, _)| *held).is_ok()
        });
        let mut parcels = Parcel::new();
        if targets.is_empty() {
            return parcels;
        }
        for (at, (task, status)) in held.iter().enumerate() {
            if self.moving.len() >= MOVING_MAX {
                break;
            }
            let tries = self.tries.get(task).copied().unwrap_or(0);
            if self.moving.contains_key(task) || tries >= TRIES_MAX {
                continue;
            }
            let target = targets[(at + tries as usize) % targets.len()];
            self.tries.insert(*task, tries + 1);
            self.moving.insert(*task, target);
            parcels.entry((task.app, target)).or_default().push((*task, status.clone()));
        }
        parcels
    }
}

impl Run {
    /// The map outputs that a worker holds, in order.
    fn held_by(&self, worker: WorkerId) -> Vec<(TaskId, MapStatus)> {
        let held = self.outputs_on(worker, |_, _, _| true).into_iter().filter_map(|(id, partition)| {
            let task = self.stages.get(&id)?.tasks.get(partition as usize)?;
            Some((self.task_id(id, partition, task.output?.attempt), task.status.clone()?))
        });
        held.collect()
    }

    /// Whether a worker must wait for this: its driver has yet to fetch results from there, or to say which
    /// of the outputs that were found there it needs.
    fn waits_to_leave(&self, worker: WorkerId) -> bool {
        let is_found = self.found.values().flatten().any(|(_, holder, _)| *holder == worker);
        is_found || self.stages.values().any(|stage| stage.result_holders.contains(&worker))
    }

    /// Map outputs are on another worker, too; from now on they are read there.
    fn outputs_moved(&mut self, cx: &mut Cluster, from: WorkerId, target: WorkerId, moved: &[TaskId]) {
        let mut stages = std::collections::BTreeSet::new();
        let mut unused = Vec::new();
        for task in moved {
            let old = Output { worker: from, attempt: task.attempt };
            let new = Output { worker: target, attempt: task.attempt };
            let stage = self.stages.get_mut(&task.stage);
            let known = stage.as_ref().and_then(|stage| stage.tasks.get(task.partition as usize)?.output);
            match stage {
                Some(stage) if known == Some(old) => {
                    stage.set_output(task.partition, new);
                    stages.insert(task.stage);
                }
                _ if known == Some(new) => {}
                _ => unused.push((target, *task)),
            }
        }
        cx.tell_free_outputs(unused);
        stages.into_iter().for_each(|stage| self.tell_moved_outputs(cx, stage));
    }
}
