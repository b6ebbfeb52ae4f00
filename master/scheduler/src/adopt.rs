//! Attempts that run on when the master starts anew. Workers report them; once the driver has said what it
//! wants, those that are still wanted go on as attempts of this master, and the others are stopped. Nothing
//! that runs is run again for the master's sake.
//!
//! What workers say of such attempts before that is kept, and heard then.

use crate::app::Run;
use crate::cluster::Cluster;
use crate::map_output::FetchFailure;
use crate::stage::{Attempt, TaskState};
use firesteel_common::event::AppEvent;
use firesteel_common::id::{TaskId, WorkerId};
use firesteel_common::task::TaskReport;
use std::collections::{BTreeMap, BTreeSet};

/// How many failed fetches of found attempts are kept; what is beyond is said again by its worker when it
/// registers.
const KEPT_MAX: usize = 10_000;

/// Attempts that workers have reported as running, which an earlier master has started.
#[derive(Debug, Default)]
pub(crate) struct Found {
    running: BTreeMap<TaskId, WorkerId>,
    /// Those of them that have ended since.
    reports: BTreeMap<TaskId, (WorkerId, TaskReport)>,
    /// What readers among them could not get.
    misses: Vec<(WorkerId, FetchFailure)>,
}

impl Found {
    /// A worker registers anew, or is lost (`gone`): what it says of its running attempts from now on counts.
    pub fn forget_worker(&mut self, worker: WorkerId, gone: bool) {
        let reports = &mut self.reports;
        reports.retain(|_, (of, _)| !gone || *of != worker);
        self.running.retain(|task, of| *of != worker || reports.contains_key(task));
        self.misses.retain(|(of, _)| *of != worker);
    }

    /// Keeps a report of a found attempt; gives back one of any other.
    pub fn keep_report(&mut self, worker: WorkerId, report: TaskReport) -> Option<TaskReport> {
        if self.running.get(&report.task) != Some(&worker) {
            return Some(report);
        }
        self.reports.entry(report.task).or_insert((worker, report));
        None
    }

    /// Keeps a failed fetch of a found attempt; gives back one of any other.
    pub fn keep_miss(&mut self, worker: WorkerId, miss: FetchFailure) -> Option<FetchFailure> {
        if self.running.get(&miss.task) != Some(&worker) {
            return Some(miss);
        }
        if self.misses.len() < KEPT_MAX {
            self.misses.push((worker, miss));
        }
        None
    }

    /// These have died with their executor.
    pub fn died(&mut self, worker: WorkerId, tasks: &[TaskId]) {
        for task in tasks {
            if self.running.get(task) == Some(&worker) && !self.reports.contains_key(task) {
                self.running.remove(task);
            }
        }
    }
}

impl Run {
    /// A worker runs an attempt that is not known. Says whether it may turn out to be wanted.
    pub fn attempt_found(&mut self, worker: WorkerId, task: TaskId) -> bool {
        let may = self.recovered && task.attempt < self.first_attempt;
        if may {
            self.found_attempts.running.insert(task, worker);
        }
        may
    }

    /// Goes on with found attempts that are wanted, if it is known by now what is, and stops the others.
    pub fn adopt_attempts(&mut self, cx: &mut Cluster) {
        if self.held || !self.attached || self.found_attempts.running.is_empty() {
            return;
        }
        let Found { running, reports, misses } = std::mem::take(&mut self.found_attempts);
        let mut workers = BTreeSet::new();
        let mut unwanted = Vec::new();
        for (task, worker) in running {
            if self.adopt_attempt(cx, worker, task) {
                workers.insert(worker);
            } else if !reports.contains_key(&task) {
                unwanted.push((worker, task));
            }
        }
        cx.tell_kills(unwanted);
        for worker in workers {
            self.tell_tables_again(cx, worker);
        }
        for (worker, report) in reports.into_values() {
            self.task_reported(cx, worker, report);
        }
        for (worker, miss) in misses {
            self.fetch_failed(cx, worker, miss);
        }
    }

    /// Makes a found attempt the one that runs at its task, if the task is to be run and nothing that it may
    /// have read has changed; or a second one beside it, where there may be two.
    fn adopt_attempt(&mut self, cx: &mut Cluster, worker: WorkerId, task: TaskId) -> bool {
        let since = cx.now;
        let may_copy = self.options.speculation.enabled;
        if cx.workers.get(worker).is_none() {
            return false;
        }
        let Some(stage) = self.stages.get_mut(&task.stage) else { return false };
        let Some(state) = stage.tasks.get_mut(task.partition as usize) else { return false };
        if state.is_rolled_back {
            return false;
        }
        let attempt = Attempt { number: task.attempt, worker, waits: 0, since };
        match &state.state {
            TaskState::Pending => {
                state.state = TaskState::Running(attempt);
                stage.pending -= 1;
                if stage.pending == 0 {
                    cx.placement.withdraw(stage);
                }
            }
            TaskState::Running(first) if may_copy && state.copy.is_none() && first.worker != worker => {
                state.copy = Some(Box::new(attempt));
            }
            TaskState::Running(_) | TaskState::Idle => return false,
        }
        self.workers.insert(worker);
        self.count_attempt(cx, task, worker);
        cx.touch(worker);
        cx.log(self.app, AppEvent::TaskAdopted { task, worker });
        true
    }
}
