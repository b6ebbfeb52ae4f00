//! How workers leave. One that is to leave gets nothing new; what runs on it ends; its map outputs are copied
//! to others, whose readers learn of it; then it may go. Nothing is computed again for it, unless its time is
//! over before. Cached partitions are not moved: they are made again where they are read.

use crate::Scheduler;
use crate::app::Run;
use crate::cluster::Cluster;
use crate::stage::Output;
use crate::worker::Worker;
use firesteel_common::block::{BlockCopy, BlockId, BlockKind, StorageLevel, StoredBlock};
use firesteel_common::id::{AppAttemptId, DatasetId, TaskId, WorkerId};
use firesteel_common::protocol::worker::ToWorker;
use firesteel_common::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// How many blocks of one worker are on their way at once.
const MOVING_MAX: usize = 256;

/// How often a block is sent on its way before it is left behind.
const TRIES_MAX: u32 = 3;

/// A worker that is to leave.
#[derive(Debug)]
pub(crate) struct Drain {
    /// When it leaves, whatever is needed of it.
    until: Timestamp,
    /// Blocks on their way, and to whom.
    moving: BTreeMap<BlockId, WorkerId>,
    /// How often a block was sent on its way.
    tries: BTreeMap<BlockId, u32>,
    /// Whether it was told that it may go.
    told: bool,
}

type Parcel = BTreeMap<(AppAttemptId, WorkerId), Vec<BlockCopy>>;

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
        let leaves = |w: &&Worker| w.drain.is_some() && w.link.is_some();
        let leaving: Vec<WorkerId> = self.cluster.workers.iter().filter(leaves).map(|w| w.id).collect();
        leaving.into_iter().for_each(|worker| self.advance_drain(worker));
    }

    fn advance_drain(&mut self, id: WorkerId) {
        let targets: Vec<WorkerId> =
            self.cluster.workers.iter().filter(|w| w.takes_work()).map(|w| w.id).collect();
        let mut held: Vec<BlockCopy> = self.apps.values().flat_map(|app| app.run.held_by(id)).collect();
        let partitions = self.apps.values().flat_map(|app| app.run.only_cached_by(id, &targets));
        // After what nothing goes on without.
        held.extend(partitions);
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
        for ((app, target), blocks) in parcels {
            if let Some((run, _)) = self.run_of(app) {
                run.workers.insert(target);
            }
            let address = address.clone();
            self.cluster.tell_worker(target, ToWorker::FetchBlocks { app, from: id, address, blocks });
        }
        if told {
            self.cluster.tell_worker(id, ToWorker::Drained);
        }
    }

    /// A worker has copied blocks of another one, or could not.
    pub(crate) fn blocks_copied(
        &mut self,
        target: WorkerId,
        app: AppAttemptId,
        from: WorkerId,
        blocks: Vec<(BlockId, bool)>,
    ) {
        if let Some(drain) = self.cluster.workers.get_mut(from).and_then(|w| w.drain.as_mut()) {
            blocks.iter().for_each(|(block, _)| {
                drain.moving.remove(block);
            });
        }
        let copied = blocks.into_iter().filter(|(block, copied)| *copied && block.app == app);
        let copied: Vec<BlockId> = copied.map(|(block, _)| block).collect();
        match self.run_of(app) {
            Some((run, cluster)) => {
                let outputs: Vec<TaskId> = copied.iter().filter_map(BlockId::map_task).collect();
                run.outputs_moved(cluster, from, target, &outputs);
                // Whether it was made of what there is now is not known here.
                run.partitions_held(cluster, target, &copied, false);
                run.replan(cluster);
            }
            None => self.cluster.tell_end(target, app),
        }
        if self.cluster.workers.get(from).is_some_and(|worker| worker.drain.is_some()) {
            self.advance_drain(from);
        }
    }
}

impl Drain {
    /// Chooses takers for blocks that are not on their way, one after the other.
    fn pack(&mut self, held: &[BlockCopy], targets: &[WorkerId]) -> Parcel {
        let names: BTreeSet<BlockId> = held.iter().map(|copy| copy.block).collect();
        self.moving.retain(|block, target| targets.contains(target) && names.contains(block));
        let mut parcels = Parcel::new();
        if targets.is_empty() {
            return parcels;
        }
        for (at, copy) in held.iter().enumerate() {
            if self.moving.len() >= MOVING_MAX {
                break;
            }
            let tries = self.tries.get(&copy.block).copied().unwrap_or(0);
            if self.moving.contains_key(&copy.block) || tries >= TRIES_MAX {
                continue;
            }
            let target = targets[(at + tries as usize) % targets.len()];
            self.tries.insert(copy.block, tries + 1);
            self.moving.insert(copy.block, target);
            parcels.entry((copy.block.app, target)).or_default().push(copy.clone());
        }
        parcels
    }
}

impl Run {
    /// The map outputs that a worker holds, in order.
    fn held_by(&self, worker: WorkerId) -> Vec<BlockCopy> {
        let held = self.outputs_on(worker, |_, _, _| true).into_iter().filter_map(|(stage, partition)| {
            let task = self.stages.get(&stage)?.tasks.get(partition as usize)?;
            let attempt = task.output?.attempt;
            let kind = BlockKind::MapOutput { stage, partition, attempt };
            let (block, status) = (BlockId { app: self.app, kind }, Some(task.status.clone()?));
            Some(BlockCopy { block, status, level: StorageLevel::MemoryAndDisk })
        });
        held.collect()
    }

    /// The cached partitions that a worker holds, and none of those that stay.
    fn only_cached_by(&self, worker: WorkerId, stay: &[WorkerId]) -> Vec<BlockCopy> {
        let mut only = Vec::new();
        for (dataset, known) in &self.datasets {
            for (partition, holders) in &known.holders {
                if holders.contains(&worker) && !holders.iter().any(|holder| stay.contains(holder)) {
                    only.push(self.copy_of(*dataset, *partition, known.level));
                }
            }
        }
        only
    }

    fn copy_of(&self, dataset: DatasetId, partition: u32, level: StorageLevel) -> BlockCopy {
        let block = BlockId { app: self.app, kind: BlockKind::Cached { dataset, partition } };
        BlockCopy { block, status: None, level }
    }

    /// Has others copy cached partitions that a worker has just stored, as many as their levels want.
    pub fn replicate(&mut self, cx: &mut Cluster, from: WorkerId, stored: &[StoredBlock]) {
        let wanted = |stored: &&StoredBlock| stored.level.replicas() > 1;
        let mut parcels: BTreeMap<WorkerId, Vec<BlockCopy>> = BTreeMap::new();
        for stored in stored.iter().filter(wanted) {
            let BlockKind::Cached { dataset, partition } = stored.block.kind else { continue };
            let Some(holders) = self.datasets.get(&dataset).and_then(|known| known.holders.get(&partition))
            else {
                continue;
            };
            let takes = |worker: &&Worker| worker.takes_work() && !holders.contains(&worker.id);
            // The next ones in the order of their ids, so that each worker has the replicas of another one;
            // those on other hosts first.
            let host = cx.workers.get(from).map(|worker| worker.host);
            let mut takers: Vec<&Worker> = cx.workers.iter().filter(takes).collect();
            takers.sort_by_key(|worker| (Some(worker.host) == host, worker.id < from, worker.id));
            let missing = stored.level.replicas().saturating_sub(holders.len());
            for taker in takers.into_iter().take(missing) {
                let copy = self.copy_of(dataset, partition, stored.level);
                parcels.entry(taker.id).or_default().push(copy);
            }
        }
        let Some(address) = cx.workers.get(from).map(|worker| worker.address.clone()) else { return };
        for (target, blocks) in parcels {
            self.workers.insert(target);
            let (app, address) = (self.app, address.clone());
            cx.tell_worker(target, ToWorker::FetchBlocks { app, from, address, blocks });
        }
    }

    /// Whether a worker must wait for this: its driver has yet to fetch results from there, or to say which
    /// of the outputs that were found there it needs.
    fn waits_to_leave(&self, worker: WorkerId) -> bool {
        let is_found = self.found.values().flatten().any(|(_, holder, _)| *holder == worker);
        is_found || self.stages.values().any(|stage| stage.result_holders.contains(&worker))
    }

    /// Map outputs are on another worker, too; from now on they are read there.
    fn outputs_moved(&mut self, cx: &mut Cluster, from: WorkerId, target: WorkerId, moved: &[TaskId]) {
        let mut stages = BTreeSet::new();
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
