//! Rivals of slow attempts: where most tasks of a stage are complete and one takes much longer than they did,
//! a second attempt at it runs on another worker. The first success of the two counts and stops the other;
//! nothing that the other leaves behind is used, and what becomes of it counts against nobody.
//!
//! Rivals only take slots that no pending task could take. (The rule for what is slow is Spark's.)

use crate::Scheduler;
use crate::app::{Phase, Run};
use crate::cluster::Cluster;
use crate::stage::{Attempt, Stage, TaskState};
use firesteel_common::event::{AppEvent, LossReason};
use firesteel_common::id::{StageId, TaskId, WorkerId};
use firesteel_common::options::Speculation;
use firesteel_common::time::Micros;

impl Scheduler {
    /// Looks for slow attempts, and starts rivals of them; after the placement, since pending tasks go first.
    pub(crate) fn speculate(&mut self) {
        for app in self.apps.values_mut() {
            let is_running = matches!(app.phase, Phase::Running(_));
            if is_running && app.run.options.speculation.enabled && !app.run.held {
                app.run.rival_slow_attempts(&mut self.cluster);
            }
        }
    }
}

impl Run {
    fn rival_slow_attempts(&mut self, cx: &mut Cluster) {
        if cx.now < self.speculates_at {
            return;
        }
        self.speculates_at = cx.now + Micros::from_millis(self.options.speculation.interval_ms);
        let rules = self.options.speculation;
        let computed = self.stages.values_mut().filter(|stage| stage.open && stage.running > 0);
        let slow: Vec<(StageId, Vec<u32>)> =
            computed.map(|stage| (stage.id, stage.slow_tasks(&rules, cx.now))).collect();
        for (id, partitions) in slow {
            for partition in partitions {
                if !self.may_take_slot() || cx.placement.free_workers().next().is_none() {
                    return;
                }
                if let Some(worker) = self.place_of_rival(cx, id, partition) {
                    self.launch_rival(cx, id, partition, worker);
                }
            }
        }
    }

    /// The worker with most free slots that does not run the task already.
    fn place_of_rival(&self, cx: &Cluster, id: StageId, partition: u32) -> Option<WorkerId> {
        let task = self.stages.get(&id)?.tasks.get(partition as usize)?;
        let may = |worker: &WorkerId| {
            let is_elsewhere = task.attempts().all(|attempt| attempt.worker != *worker);
            let state = cx.workers.get(*worker).filter(|state| state.used < state.slots);
            is_elsewhere
                && state.is_some_and(|state| self.may_run_on(state) && self.admits(id, partition, state))
        };
        cx.placement.free_workers().find(may)
    }

    /// Notes how long a successful attempt took.
    pub fn note_duration(&mut self, stage: StageId, took: Option<Micros>) {
        if self.options.speculation.enabled
            && let Some(stage) = self.stages.get_mut(&stage)
        {
            stage.durations.extend(took.map(|took| took.0));
        }
    }

    /// An attempt has succeeded: the other one at its task, if there is one, is not needed.
    pub fn stop_rivals(&mut self, cx: &mut Cluster, winner: TaskId) {
        let task = self.stages.get(&winner.stage).and_then(|s| s.tasks.get(winner.partition as usize));
        let Some(number) = task.and_then(|task| task.attempts().next()).map(|attempt| attempt.number) else {
            return;
        };
        let loser = TaskId { attempt: number, ..winner };
        if let Some(worker) = self.stop_attempt(cx, loser) {
            cx.log(self.app, AppEvent::TaskLost { task: loser, reason: LossReason::Superseded });
            cx.tell_kills(vec![(worker, loser)]);
        }
    }
}

impl Stage {
    /// The tasks whose only attempt takes much longer than most of the others did.
    fn slow_tasks(&mut self, rules: &Speculation, now: firesteel_common::time::Timestamp) -> Vec<u32> {
        // Which of two attempts has left a cached partition could not be told apart from its content.
        if !self.ordered && !self.datasets.is_empty() {
            return Vec::new();
        }
        let running = self.tasks.iter().filter(|task| task.is_running()).count();
        let Some(limit) = self.slow_after(rules, running) else { return Vec::new() };
        let is_slow = |attempt: &Attempt| attempt.waits == 0 && (now - attempt.since).0 > limit;
        let tasks = (0u32..).zip(&self.tasks);
        let slow = tasks.filter(|(_, task)| {
            task.copy.is_none() && matches!(&task.state, TaskState::Running(first) if is_slow(first))
        });
        slow.map(|(partition, _)| partition).collect()
    }

    /// How long an attempt may run before it counts as slow, in microseconds; `None` while that cannot be
    /// said.
    fn slow_after(&mut self, rules: &Speculation, running: usize) -> Option<u64> {
        let done = self.durations.len();
        let all = (done + running + self.pending as usize) as u64;
        let least = (all * u64::from(rules.quantile_permille) / 1_000).max(1);
        let shortest = Micros::from_millis(rules.min_runtime_ms).0;
        if done as u64 >= least {
            let (_, median, _) = self.durations.select_nth_unstable(done / 2);
            let times = u128::from(*median) * u128::from(rules.multiplier_permille) / 1_000;
            return Some(u64::try_from(times).unwrap_or(u64::MAX).max(shortest));
        }
        let alone = rules.threshold_ms > 0 && self.pending == 0;
        alone.then(|| Micros::from_millis(rules.threshold_ms).0.max(shortest))
    }
}
