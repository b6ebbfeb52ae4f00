//! Runs with one kind of fault only, of which more is demanded than of a run with everything: that it costs
//! nothing. A master that starts anew goes on with what runs and keeps what is done; a worker that leaves
//! takes nothing with it; a master that was stopped for seconds gives nobody up.

use super::checkers::is_map;
use super::clock::Rng;
use super::faults::Kind;
use super::world::World;
use firesteel_common::event::{AppEvent, LoggedEvent, LossReason, StartCause};
use firesteel_common::id::{AppAttemptId, StageId, TaskId};
use std::collections::BTreeSet;

/// What happens in such a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// The master crashes and starts again.
    Restarts,
    /// Workers leave, one after the other, asked by a signal or over HTTP.
    Leaves,
    /// The master is stopped for 3 to 12 seconds, and goes on.
    Pauses,
}

/// The scenarios, by the name that a command line takes.
pub const SCENARIOS: [(&str, Scenario); 3] =
    [("restarts", Scenario::Restarts), ("leaves", Scenario::Leaves), ("pauses", Scenario::Pauses)];

type Partition = (AppAttemptId, StageId, u32);

/// What a master that starts anew must not have run again.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    running: BTreeSet<Partition>,
    done: BTreeSet<Partition>,
}

impl Scenario {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Restarts => Kind::MasterCrash,
            Self::Leaves => Kind::Leave,
            Self::Pauses => Kind::MasterPause,
        }
    }

    /// When it happens, in microseconds.
    pub(crate) fn times(self, rng: &mut Rng) -> Vec<u64> {
        let gap = match self {
            Self::Restarts => 1_500_000,
            Self::Leaves => 2_500_000,
            Self::Pauses => 14_000_000,
        };
        let first = rng.between(150_000, 900_000);
        (0..rng.between(1, 3)).map(|n| first + n * gap + rng.below(200_000)).collect()
    }
}

fn partition(task: &TaskId) -> Partition {
    (task.app, task.stage, task.partition)
}

impl World {
    /// The master is about to crash: what runs now, and what is done, is to be kept.
    pub(crate) fn note_kept(&mut self) {
        if self.options.scenario != Some(Scenario::Restarts) {
            return;
        }
        let mut kept = Kept { done: self.outcomes.done().collect(), ..Kept::default() };
        for host in &self.hosts {
            for executor in host.process.iter().flat_map(|process| process.executors.values()) {
                kept.running.extend(executor.attempts.keys().map(partition));
            }
        }
        // What nobody wants any more, or wants to be the same as before, may rightly be run again.
        let plain = |of: &Partition| {
            let client = self.journal.apps.get(&of.0.app).and_then(|app| self.clients.get(app.client));
            client.is_some_and(|client| !client.program.unordered && client.program.cancelled.is_empty())
        };
        kept.running.retain(plain);
        kept.done.retain(|of| plain(of) && is_map(self, of.0, of.1));
        self.kept = kept;
    }

    /// A line of the event log, in a run with one kind of fault: what it must not say there.
    pub(crate) fn costs(&mut self, event: &LoggedEvent) -> Option<String> {
        match (self.options.scenario?, &event.event) {
            (Scenario::Restarts, AppEvent::TaskStarted { task, .. }) => {
                let runs = self.kept.running.contains(&partition(task));
                let done = self.kept.done.contains(&partition(task));
                (runs || done).then(|| {
                    let what = if done { "was done" } else { "ran on" };
                    format!("rerun: {task} starts, although an attempt at it {what} when the master crashed")
                })
            }
            // One that failed by itself is rightly tried again.
            (Scenario::Restarts, AppEvent::TaskFinished { task, .. } | AppEvent::TaskFailed { task, .. }) => {
                self.kept.running.remove(&partition(task));
                None
            }
            (Scenario::Leaves, AppEvent::TaskStarted { task, cause, .. }) => {
                let again = matches!(cause, StartCause::Recompute | StartCause::Lost | StartCause::RollBack);
                again.then(|| format!("rerun: {task} starts ({cause:?}), although workers left in order"))
            }
            (Scenario::Pauses, AppEvent::WorkerLost { worker, .. }) => {
                Some(format!("lost: {worker} was given up, although only the master was stopped"))
            }
            (Scenario::Pauses, AppEvent::TaskLost { task, reason }) => {
                let harmless = matches!(reason, LossReason::Cancelled | LossReason::Superseded);
                let harmless = harmless || *reason == LossReason::RolledBack;
                (!harmless)
                    .then(|| format!("lost: {task} ({reason:?}), although only the master was stopped"))
            }
            _ => None,
        }
    }

    /// Whether everything is there, so that one worker can leave.
    pub(crate) fn can_spare_one(&self) -> bool {
        let Some(up) = &self.master.up else { return false };
        let workers = up.scheduler.workers();
        let staying = workers.iter().filter(|worker| worker.alive && !worker.draining).count();
        staying == self.hosts.len() && workers.len() == staying
    }
}
