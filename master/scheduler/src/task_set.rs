//! The pending tasks of one stage, found by the worker that would take them. Entries are left behind when a
//! task goes elsewhere, and dropped when they are met: the state of the task decides.

use crate::worker::HostId;
use firesteel_common::id::WorkerId;
use firesteel_common::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};

/// Where a pending task had better run.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// These workers, because they hold something that it reads.
    pub workers: Vec<WorkerId>,
    /// Any worker of these hosts.
    pub hosts: Vec<HostId>,
}

impl Places {
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty() && self.hosts.is_empty()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct TaskSet {
    /// Tasks without preference.
    anywhere: VecDeque<u32>,
    /// Tasks with a preference, in order; for when they have waited long enough.
    constrained: VecDeque<u32>,
    by_worker: BTreeMap<WorkerId, VecDeque<u32>>,
    by_host: BTreeMap<HostId, VecDeque<u32>>,
    /// Tasks that became pending since workers were last looked for.
    pub fresh: Vec<u32>,
    /// From when on preferences are only wishes; `None` while no pending task has one.
    pub relax_at: Option<Timestamp>,
    /// When a task was last taken by a worker that it preferred.
    pub taken_near: Timestamp,
}

impl TaskSet {
    pub fn push(&mut self, task: u32, places: &Places) {
        self.fresh.push(task);
        if places.is_empty() {
            self.anywhere.push_back(task);
            return;
        }
        self.constrained.push_back(task);
        for worker in &places.workers {
            self.by_worker.entry(*worker).or_default().push_back(task);
        }
        for host in &places.hosts {
            self.by_host.entry(*host).or_default().push_back(task);
        }
    }

    pub fn is_relaxed(&self, now: Timestamp) -> bool {
        self.relax_at.is_some_and(|at| at <= now)
    }

    /// Takes the task that a worker had better run, of those that are `pending` and that it `admits`.
    pub fn pop(
        &mut self,
        worker: WorkerId,
        host: HostId,
        now: Timestamp,
        pending: impl Fn(u32) -> bool,
        admits: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        if !self.by_worker.is_empty()
            && let Some(queue) = self.by_worker.get_mut(&worker)
        {
            if let Some(task) = pop_pending(queue, &pending, &admits) {
                self.taken_near = now;
                return Some(task);
            }
            if queue.is_empty() {
                self.by_worker.remove(&worker);
            }
        }
        if !self.by_host.is_empty()
            && let Some(queue) = self.by_host.get_mut(&host)
        {
            if let Some(task) = pop_pending(queue, &pending, &admits) {
                self.taken_near = now;
                return Some(task);
            }
            if queue.is_empty() {
                self.by_host.remove(&host);
            }
        }
        if let Some(task) = pop_pending(&mut self.anywhere, &pending, &admits) {
            return Some(task);
        }
        if self.is_relaxed(now) { pop_pending(&mut self.constrained, &pending, &admits) } else { None }
    }

    /// A task that is `pending`, one without a preference if there is one.
    pub fn first_pending(&mut self, pending: impl Fn(u32) -> bool) -> Option<u32> {
        for queue in [&mut self.anywhere, &mut self.constrained] {
            while let Some(task) = queue.front() {
                if pending(*task) {
                    return Some(*task);
                }
                queue.pop_front();
            }
        }
        None
    }

    /// All tasks, some of which may not be pending any more.
    pub fn queued(&self) -> impl Iterator<Item = u32> {
        self.anywhere.iter().chain(&self.constrained).copied()
    }

    /// Forgets a worker; returns the tasks that preferred it.
    pub fn remove_worker(&mut self, worker: WorkerId) -> Vec<u32> {
        self.by_worker.remove(&worker).map(Vec::from).unwrap_or_default()
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

fn pop_pending(
    queue: &mut VecDeque<u32>,
    pending: impl Fn(u32) -> bool,
    admits: impl Fn(u32) -> bool,
) -> Option<u32> {
    let mut passed = Vec::new();
    let mut found = None;
    while let Some(task) = queue.pop_front() {
        match (pending(task), admits(task)) {
            (false, _) => {}
            (true, false) => passed.push(task),
            (true, true) => {
                found = Some(task);
                break;
            }
        }
    }
    passed.into_iter().rev().for_each(|task| queue.push_front(task));
    found
}
