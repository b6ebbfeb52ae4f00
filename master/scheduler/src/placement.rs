//! Which task runs where, next. Free workers are indexed by their free slots, pending tasks by the worker
//! that would take them, so that the cost of a decision depends on neither how many workers nor how many
//! tasks there are.
//!
//! After every step no worker has a free slot that a pending task could take. So there is something to do
//! only for workers that changed (`dirty`), for tasks that became pending (`fresh`), and when a task set has
//! waited for its preferred places long enough (`relax`).

use crate::Scheduler;
use crate::app::Run;
use crate::cluster::{Cluster, SetKey};
use crate::exclusion::Excluded;
use crate::stage::{Attempt, Stage, Task, TaskState};
use crate::worker::{HostId, Worker};
use firesteel_common::event::{AppEvent, StartCause};
use firesteel_common::id::{StageId, TaskId, WorkerId};
use firesteel_common::protocol::worker::{CachedPlace, InputTable, MapPlace, TaskLaunch};
use firesteel_common::time::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Workers with free slots, those with most first.
type FreeWorkers = BTreeSet<(Reverse<u32>, WorkerId)>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Placement {
    /// Open task sets with pending tasks, in the order in which they are served.
    pub ready: BTreeSet<SetKey>,
    /// Of these, those that have tasks for which no worker was looked for yet.
    pub fresh: BTreeSet<SetKey>,
    /// When preferences of a task set become mere wishes.
    pub relax: BTreeSet<(Timestamp, SetKey)>,
    /// Workers whose free slots may have changed.
    pub dirty: Vec<WorkerId>,
    free: FreeWorkers,
    /// Connected workers by host.
    of_host: BTreeMap<HostId, BTreeSet<WorkerId>>,
}

/// How many workers of a host are looked at for a task that prefers the host.
const WORKERS_OF_HOST_SEEN: usize = 64;

impl Placement {
    /// Whether a connected worker is on this host.
    pub fn has_host(&self, host: HostId) -> bool {
        self.of_host.contains_key(&host)
    }

    pub fn add_to_host(&mut self, host: HostId, worker: WorkerId) {
        self.of_host.entry(host).or_default().insert(worker);
    }

    pub fn remove_from_host(&mut self, host: HostId, worker: WorkerId) {
        if let Some(workers) = self.of_host.get_mut(&host) {
            workers.remove(&worker);
            if workers.is_empty() {
                self.of_host.remove(&host);
            }
        }
    }

    /// Brings the index of free workers up to date with one of them.
    pub fn index(&mut self, worker: &mut Worker) {
        let free = worker.free();
        if worker.indexed == free {
            return;
        }
        if worker.indexed > 0 {
            self.free.remove(&(Reverse(worker.indexed), worker.id));
        }
        if free > 0 {
            self.free.insert((Reverse(free), worker.id));
        }
        worker.indexed = free;
    }

    /// Forgets a task set.
    pub fn withdraw(&mut self, stage: &mut Stage) {
        let Some(key) = stage.key.take() else { return };
        self.ready.remove(&key);
        self.fresh.remove(&key);
        if let Some(at) = stage.set.relax_at.take() {
            self.relax.remove(&(at, key));
        }
    }

    /// Gives a task set another place in the queue, if it is in there.
    pub fn rename(&mut self, stage: &mut Stage, key: SetKey) {
        let Some(old) = stage.key else { return };
        if old == key {
            return;
        }
        self.ready.remove(&old);
        self.ready.insert(key);
        if self.fresh.remove(&old) {
            self.fresh.insert(key);
        }
        if let Some(at) = stage.set.relax_at
            && self.relax.remove(&(at, old))
        {
            self.relax.insert((at, key));
        }
        stage.key = Some(key);
    }

    fn freest(&self) -> Option<WorkerId> {
        self.free_workers().next()
    }

    /// Workers with free slots, those with most first.
    pub fn free_workers(&self) -> impl Iterator<Item = WorkerId> {
        self.free.iter().map(|(_, worker)| *worker)
    }

    fn free_of(&self, hosts: &[HostId], has_room: impl Fn(&WorkerId) -> bool) -> Option<WorkerId> {
        let seen = |host| self.of_host.get(host).into_iter().flatten().take(WORKERS_OF_HOST_SEEN);
        hosts.iter().flat_map(seen).copied().find(has_room)
    }
}

impl Scheduler {
    /// Gives free slots to pending tasks; the last thing of every step.
    pub(crate) fn place(&mut self) {
        while let Some((at, key)) = self.cluster.placement.relax.first().copied() {
            if at > self.cluster.now {
                break;
            }
            self.cluster.placement.relax.remove(&(at, key));
            if let Some(stage) = self.apps.get_mut(&key.0).and_then(|app| app.run.stages.get_mut(&key.2)) {
                // As long as workers take what they had better run, the others wait on.
                let later = stage.set.taken_near + self.cluster.settings.locality_wait;
                if later > self.cluster.now {
                    stage.set.relax_at = Some(later);
                    self.cluster.placement.relax.insert((later, key));
                    continue;
                }
                let waiting: Vec<u32> = stage.set.queued().collect();
                stage.set.fresh.extend(waiting);
                self.cluster.placement.fresh.insert(key);
            }
        }
        let mut dirty = std::mem::take(&mut self.cluster.placement.dirty);
        for worker in &dirty {
            self.fill(*worker);
        }
        while let Some(key) = self.cluster.placement.fresh.pop_first() {
            self.spread(key);
        }
        if !self.cluster.pools.fair {
            for worker in &dirty {
                self.fill_ahead(*worker);
            }
        }
        for worker in dirty.drain(..) {
            if let Some(worker) = self.cluster.workers.get_mut(worker) {
                worker.dirty = false;
            }
        }
        self.cluster.placement.dirty = dirty;
    }

    /// Gives the free slots of one worker to the first task sets that have something for it.
    fn fill(&mut self, id: WorkerId) {
        if self.cluster.pools.fair {
            return self.fill_fairly(id);
        }
        let mut next = self.cluster.placement.ready.first().copied();
        while let Some(key) = next
            && let Some(worker) = self.cluster.workers.get(id)
            && worker.free() > 0
        {
            let (host, free) = (worker.host, worker.free());
            let run = self.apps.get_mut(&key.0).map(|app| &mut app.run);
            if let Some(run) = run {
                run.fill_from(&mut self.cluster, key.2, id, host, free);
            }
            next =
                self.cluster.placement.ready.range((after(key), std::ops::Bound::Unbounded)).next().copied();
        }
        self.index(id);
    }

    /// Gives a worker tasks of the stage whose tasks are short beside the way there, after all slots were
    /// filled.
    fn fill_ahead(&mut self, id: WorkerId) {
        let Some(worker) = self.cluster.workers.get(id) else { return };
        let (host, Some((app, stage, free))) = (worker.host, worker.free_ahead()) else { return };
        let Some(run) = self.apps.get_mut(&app).map(|app| &mut app.run) else { return };
        if run.stages.get(&stage).is_some_and(|stage| stage.key.is_some()) {
            run.fill_from(&mut self.cluster, stage, id, host, free);
        }
        self.index(id);
    }

    pub(crate) fn index(&mut self, id: WorkerId) {
        if let Some(worker) = self.cluster.workers.get_mut(id) {
            self.cluster.placement.index(worker);
        }
    }

    /// Looks for workers for the fresh tasks of one task set: first where they had better run.
    fn spread(&mut self, key: SetKey) {
        let Some(app) = self.apps.get_mut(&key.0) else { return };
        let Some(stage) = app.run.stages.get_mut(&key.2) else { return };
        let fresh = std::mem::take(&mut stage.set.fresh);
        // Without a time to wait for, a task goes anywhere: its preference may have come after it was queued.
        let waits = stage.set.relax_at.is_some_and(|at| at > self.cluster.now);
        let mut later = Vec::new();
        for partition in fresh {
            if self.cluster.placement.freest().is_none() {
                return;
            }
            if !app.run.is_pending(key.2, partition) {
                continue;
            }
            let places = app.run.places(&self.cluster, key.2, partition);
            let (run, cx) = (&app.run, &self.cluster);
            if !run.may_take_slot() {
                return;
            }
            let may = |w: &Worker| w.free() > 0 && run.may_run_on(w) && run.admits(key.2, partition, w);
            let has_room = |id: &WorkerId| cx.workers.get(*id).is_some_and(may);
            let near = places.workers.iter().copied().find(has_room);
            match near.or_else(|| self.cluster.placement.free_of(&places.hosts, has_room)) {
                Some(worker) => app.run.launch_now(&mut self.cluster, key.2, partition, worker),
                None if places.is_empty() || !waits => later.push(partition),
                None => {}
            }
        }
        for partition in later {
            if !app.run.is_pending(key.2, partition) {
                continue;
            }
            if !app.run.may_take_slot() || self.cluster.placement.freest().is_none() {
                return;
            }
            let Some(worker) = app.run.freest(&self.cluster, key.2, partition) else {
                // Another task may be admitted where this one is not.
                match app.run.excludes() {
                    true => continue,
                    false => return,
                }
            };
            app.run.launch_now(&mut self.cluster, key.2, partition, worker);
        }
    }
}

fn after(key: SetKey) -> std::ops::Bound<SetKey> {
    std::ops::Bound::Excluded(key)
}

impl Run {
    fn is_pending(&self, id: StageId, partition: u32) -> bool {
        let task = self.stages.get(&id).and_then(|stage| stage.tasks.get(partition as usize));
        task.is_some_and(Task::is_pending)
    }

    /// Starts at most so many tasks of one open stage on a worker; says how many.
    pub fn fill_from(
        &mut self,
        cx: &mut Cluster,
        id: StageId,
        worker: WorkerId,
        host: HostId,
        most: u32,
    ) -> u32 {
        for started in 0..most {
            if !self.may_take_slot() || cx.workers.get(worker).is_none_or(|state| !self.may_run_on(state)) {
                return started;
            }
            let excluded = self.excluded.take();
            let popped = self.pop_for(cx, id, worker, host, excluded.as_deref());
            self.excluded = excluded;
            let Some(partition) = popped else { return started };
            self.launch(cx, id, partition, worker);
        }
        most
    }

    fn pop_for(
        &mut self,
        cx: &Cluster,
        id: StageId,
        worker: WorkerId,
        host: HostId,
        excluded: Option<&Excluded>,
    ) -> Option<u32> {
        let stage = self.stages.get_mut(&id)?;
        let (tasks, rules) = (&stage.tasks, &self.options.exclusion);
        let pending = |p: u32| tasks.get(p as usize).is_some_and(Task::is_pending);
        let state = cx.workers.get(worker)?;
        let admits = |p: u32| excluded.is_none_or(|excluded| excluded.admits(rules, (id, p), state));
        stage.set.pop(worker, host, cx.now, pending, admits)
    }

    /// Starts a task on a worker, and keeps the index of free workers up to date.
    fn launch_now(&mut self, cx: &mut Cluster, id: StageId, partition: u32, worker: WorkerId) {
        self.launch(cx, id, partition, worker);
        if let Some(state) = cx.workers.get_mut(worker) {
            cx.placement.index(state);
        }
    }

    fn launch(&mut self, cx: &mut Cluster, id: StageId, partition: u32, worker: WorkerId) {
        let app = self.app;
        let Some(stage) = self.stages.get_mut(&id) else { return };
        let task = &mut stage.tasks[partition as usize];
        let attempt = task.next;
        task.next += 1;
        let since = cx.now;
        task.state = TaskState::Running(Attempt { number: attempt, worker, waits: 0, since });
        let cause = std::mem::replace(&mut task.cause, StartCause::First);
        let lost = task.trouble.as_mut().and_then(|trouble| trouble.lost.take());
        stage.pending -= 1;
        if stage.pending == 0 {
            cx.placement.withdraw(stage);
        }
        let task = self.task_id(id, partition, attempt);
        if let Some((output, reason)) = lost
            && cause == StartCause::Recompute
        {
            let task = self.task_id(id, partition, output.attempt);
            cx.log(app, AppEvent::OutputLost { task, worker: output.worker, reason });
        }
        cx.log(app, AppEvent::TaskStarted { task, worker, cause });
        self.send(cx, task, worker);
    }

    /// Starts a second attempt at a task that runs.
    pub fn launch_rival(&mut self, cx: &mut Cluster, id: StageId, partition: u32, worker: WorkerId) {
        let Some(stage) = self.stages.get_mut(&id) else { return };
        let Some(task) = stage.tasks.get_mut(partition as usize) else { return };
        let (number, since) = (task.next, cx.now);
        task.next += 1;
        task.copy = Some(Box::new(Attempt { number, worker, waits: 0, since }));
        let task = self.task_id(id, partition, number);
        cx.log(self.app, AppEvent::TaskStarted { task, worker, cause: StartCause::Speculation });
        self.send(cx, task, worker);
        if let Some(state) = cx.workers.get_mut(worker) {
            cx.placement.index(state);
        }
    }

    /// Counts an attempt as running on a worker.
    pub fn count_attempt(&mut self, cx: &mut Cluster, task: TaskId, worker: WorkerId) {
        if let Some(stage) = self.stages.get_mut(&task.stage) {
            stage.running += 1;
        }
        if let Some(state) = cx.workers.get_mut(worker) {
            state.running.push(task);
            state.used += 1;
        }
        self.take_slot(cx);
        self.limit_attempt(cx, task);
    }

    /// Sends an attempt to a worker, with all that the worker does not know of its stage.
    fn send(&mut self, cx: &mut Cluster, task: TaskId, worker: WorkerId) {
        let TaskId { app, stage: id, partition, attempt } = task;
        self.count_attempt(cx, task, worker);
        cx.counters.launched += 1;
        let Some(state) = cx.workers.get_mut(worker) else { return };
        if state.told_last.replace((app, id)) != Some((app, id)) {
            self.tell_stage(cx, id, worker);
        }
        let launch = self.launch_of(cx, id, partition, attempt, worker);
        cx.launches_for(worker, app, self.options.executor).tasks.extend(launch);
    }

    /// Adds to the launches for a worker what it was not told of a stage: its code, and where its inputs are.
    fn tell_stage(&mut self, cx: &mut Cluster, id: StageId, worker: WorkerId) {
        self.workers.insert(worker);
        let Some(stage) = self.stages.get_mut(&id) else { return };
        if stage.code_told.insert(worker) {
            let code = stage.code.clone();
            cx.launches_for(worker, self.app, self.options.executor).stages.push(code);
        }
        let inputs: Vec<StageId> = stage.inputs.iter().map(|input| input.stage).collect();
        for input in inputs {
            let Some(parent) = self.stages.get_mut(&input) else { continue };
            if parent.table_told.insert(worker) {
                let table = parent.table(cx);
                cx.launches_for(worker, self.app, self.options.executor).inputs.push(table);
            }
        }
    }

    fn launch_of(
        &self,
        cx: &Cluster,
        id: StageId,
        partition: u32,
        attempt: u32,
        worker: WorkerId,
    ) -> Option<TaskLaunch> {
        let stage = self.stages.get(&id)?;
        let spec = self.graph.get(id)?;
        let task = spec.tasks.get(partition as usize)?;
        let inputs = spec.inputs.iter().zip(&stage.inputs);
        let reads =
            inputs.map(|(input, shape)| input.ranges(partition, shape.maps, shape.reducers)).collect();
        let place = |cached: &firesteel_common::graph::CachedPartition| {
            let holders = self.datasets.get(&cached.dataset)?.holders.get(&cached.partition)?;
            let holder = holders.get(&worker).or_else(|| holders.first())?;
            let address = cx.workers.get(*holder)?.address.clone();
            Some(CachedPlace {
                dataset: cached.dataset,
                partition: cached.partition,
                worker: *holder,
                address,
            })
        };
        Some(TaskLaunch {
            task: self.task_id(id, partition, attempt),
            payload: task.payload.clone(),
            reads,
            cached: task.cached.iter().filter_map(place).collect(),
        })
    }
}

impl Stage {
    /// Where its outputs are now.
    fn table(&mut self, cx: &Cluster) -> Arc<InputTable> {
        if let Some(table) = &self.table {
            return table.clone();
        }
        let places = (0..self.tasks.len() as u32).map(|partition| self.place_of(cx, partition)).collect();
        self.table.insert(Arc::new(InputTable { stage: self.id, places })).clone()
    }

    /// Where one of its outputs is.
    pub fn place_of(&self, cx: &Cluster, partition: u32) -> Option<MapPlace> {
        let output = self.tasks.get(partition as usize)?.output?;
        let address = cx.workers.get(output.worker)?.address.clone();
        Some(MapPlace { worker: output.worker, address, attempt: output.attempt })
    }
}
