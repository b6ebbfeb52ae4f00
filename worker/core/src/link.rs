//! The worker's end of its conversation with the master: registration, heartbeats, and what is kept while
//! nobody listens.
//!
//! A message in flight when a connection breaks is lost. What the master can see again in a registration
//! (attempts, outputs, drivers) needs nothing more; what it cannot (a failed fetch whose reader waits) is
//! said again after each registration.

use crate::app::result_of;
use crate::core::WorkerCore;
use crate::event::WorkerEffect;
use firesteel_common::Payload;
use firesteel_common::block::StoredBlock;
use firesteel_common::id::{AppAttemptId, Epoch, TaskId, WorkerId};
use firesteel_common::protocol::worker::{FromWorker, Registration, ToMaster};
use firesteel_common::task::{ResultValue, TaskOutcome, TaskReport};
use firesteel_common::time::{Micros, Timestamp};
use std::collections::{BTreeSet, VecDeque};

/// How many bytes of output are kept while there is no connection; the oldest are dropped beyond that.
const OUTPUT_KEPT_MAX: usize = 1024 * 1024;

/// What is known of the master and kept for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Link {
    pub(crate) worker: Option<WorkerId>,
    pub(crate) epoch: Epoch,
    /// Whether the master has answered the registration of the present connection.
    pub(crate) registered: bool,
    pub(crate) heartbeat: Micros,
    pub(crate) last_heartbeat: Timestamp,
    /// Reports of the time without a registered connection. Bounded: no attempt or driver starts without one,
    /// so there is at most one report for each that ran; output is bounded by [`OUTPUT_KEPT_MAX`].
    pub(crate) kept: VecDeque<ToMaster>,
    /// Bytes of output in `kept`.
    pub(crate) output_kept: usize,
    /// Results that were sent lately. With a master that dies, or a connection that breaks, the newest of
    /// them may be lost; they are said again after each registration. (Map outputs are found by themselves.)
    pub(crate) recent: VecDeque<(Timestamp, TaskReport)>,
    /// Bytes of values in `recent`.
    recent_bytes: usize,
}

/// How long results that were sent are remembered: longer than a connection stands on which nobody listens.
const RECENT_KEPT: Micros = Micros::from_millis(30_000);
/// How many bytes of them, and how many.
const RECENT_BYTES_MAX: usize = 8 * 1024 * 1024;
const RECENT_MAX: usize = 4_096;

impl Link {
    /// Remembers the results among reports that are being sent.
    pub(crate) fn remember(&mut self, now: Timestamp, reports: &[TaskReport]) {
        for report in reports.iter().filter(|report| matches!(report.outcome, TaskOutcome::Result(_))) {
            self.recent_bytes += value_bytes(report);
            // What is stored is said in the registration itself.
            self.recent.push_back((now, TaskReport { stored: Vec::new(), ..report.clone() }));
        }
        while let Some((at, _)) = self.recent.front()
            && (self.recent_bytes > RECENT_BYTES_MAX
                || self.recent.len() > RECENT_MAX
                || now - *at > RECENT_KEPT)
        {
            if let Some((_, report)) = self.recent.pop_front() {
                self.recent_bytes = self.recent_bytes.saturating_sub(value_bytes(&report));
            }
        }
    }

    /// An application attempt is over.
    pub(crate) fn forget_results(&mut self, app: AppAttemptId) {
        self.recent.retain(|(_, report)| report.task.app != app);
        self.recent_bytes = self.recent.iter().map(|(_, report)| value_bytes(report)).sum();
    }
}

fn value_bytes(report: &TaskReport) -> usize {
    let added: usize = report.accumulators.iter().map(|update| update.value.len()).sum();
    match &report.outcome {
        TaskOutcome::Result(ResultValue::Inline(value)) => value.len() + added,
        _ => added,
    }
}

impl WorkerCore {
    /// A connection stands: say everything that the master must know.
    pub(crate) fn master_connected(&mut self, out: &mut Vec<WorkerEffect>) {
        self.link.registered = false;
        let registration = self.registration();
        out.push(WorkerEffect::Send(FromWorker {
            epoch: Epoch(0),
            incarnation: self.options.incarnation,
            message: ToMaster::Register(registration),
        }));
    }

    /// The connection is gone: what runs goes on, reports are kept.
    pub(crate) fn master_lost(&mut self, out: &mut Vec<WorkerEffect>) {
        self.link.registered = false;
        self.forsaken(out);
    }

    fn registration(&self) -> Registration {
        let unsaid: BTreeSet<TaskId> = self.link.kept.iter().flat_map(attempts_of).collect();
        let mut running: Vec<TaskId> = Vec::new();
        let mut outputs = Vec::new();
        let mut cached = Vec::new();
        for app in self.apps.values() {
            running.extend(app.running.iter());
            running.extend(app.queued.iter().map(|launch| launch.task));
            // An output whose attempt still runs, as far as the master knows, is not one yet: its report will
            // say so, and what the attempt has added to accumulators.
            let is_reported = |task: &TaskId| !app.running.contains(task) && !unsaid.contains(task);
            let finished = app.outputs.iter().filter(|(task, _)| is_reported(task));
            outputs.extend(finished.map(|(task, status)| (*task, status.clone())));
            let partitions = app.blocks.iter().filter(|(block, _)| result_of(block).is_none());
            cached.extend(partitions.map(|(block, held)| StoredBlock { block: *block, level: held.level }));
        }
        running.extend(unsaid);
        running.extend(self.link.recent.iter().map(|(_, report)| report.task));
        running.sort_unstable();
        running.dedup();
        Registration {
            worker: self.link.worker,
            host: self.options.host.clone(),
            address: self.options.address.clone(),
            slots: self.options.slots,
            drivers_max: self.options.drivers_max,
            memory: self.options.memory,
            sandbox: self.options.sandbox.clone(),
            drivers: self.drivers.keys().copied().collect(),
            running,
            outputs,
            cached,
            apps: self.apps.keys().copied().collect(),
        }
    }

    /// The master has answered: everything sent from now on carries its epoch, beginning with what was kept.
    pub(crate) fn registered(
        &mut self,
        now: Timestamp,
        worker: WorkerId,
        epoch: Epoch,
        heartbeat_ms: u64,
        out: &mut Vec<WorkerEffect>,
    ) {
        self.link.worker = Some(worker);
        self.link.epoch = epoch;
        self.link.registered = true;
        self.link.heartbeat = Micros::from_millis(heartbeat_ms);
        self.link.last_heartbeat = now;
        self.link.output_kept = 0;
        let recent = self.link.recent.iter();
        let again: Vec<TaskReport> = recent.map(|(_, report)| here(report.clone(), worker)).collect();
        if !again.is_empty() {
            self.say(ToMaster::TasksFinished(again), out);
        }
        for message in std::mem::take(&mut self.link.kept) {
            if let ToMaster::TasksFinished(reports) = &message {
                self.link.remember(now, reports);
            }
            self.say(message, out);
        }
        self.name_executors(out);
        self.repeat_fetch_failures(out);
        self.drain_again(out);
    }

    /// Sends a message, or keeps it until the master has answered a registration.
    pub(crate) fn say(&mut self, message: ToMaster, out: &mut Vec<WorkerEffect>) {
        if self.link.registered {
            let (epoch, incarnation) = (self.link.epoch, self.options.incarnation);
            out.push(WorkerEffect::Send(FromWorker { epoch, incarnation, message }));
        } else {
            self.link.kept.push_back(message);
        }
    }

    /// Passes on what a driver or an executor has printed.
    pub(crate) fn output(
        &mut self,
        app: AppAttemptId,
        source: String,
        bytes: Payload,
        out: &mut Vec<WorkerEffect>,
    ) {
        let source = match self.link.worker {
            Some(worker) if source == "executor" => format!("executor on {worker}"),
            _ => source,
        };
        let len = bytes.len();
        self.say(ToMaster::Output { app, source, bytes }, out);
        if self.link.registered {
            return;
        }
        self.link.output_kept += len;
        while self.link.output_kept > OUTPUT_KEPT_MAX {
            let oldest = self.link.kept.iter().position(|kept| matches!(kept, ToMaster::Output { .. }));
            let Some(ToMaster::Output { bytes, .. }) = oldest.and_then(|at| self.link.kept.remove(at)) else {
                break;
            };
            self.link.output_kept = self.link.output_kept.saturating_sub(bytes.len());
        }
    }

    /// Says that the worker lives, when it is time.
    pub(crate) fn heartbeat(&mut self, now: Timestamp, out: &mut Vec<WorkerEffect>) {
        if self.link.registered && now - self.link.last_heartbeat >= self.link.heartbeat {
            self.link.last_heartbeat = now;
            self.say(ToMaster::Heartbeat, out);
        }
    }
}

/// A report as it is said under the present id of the worker, which holds the value if it is large.
fn here(mut report: TaskReport, id: WorkerId) -> TaskReport {
    if let TaskOutcome::Result(ResultValue::Block { worker, .. }) = &mut report.outcome {
        *worker = id;
    }
    report
}

/// The attempts that a kept message will say the end of.
fn attempts_of(message: &ToMaster) -> Vec<TaskId> {
    match message {
        ToMaster::TasksFinished(reports) => reports.iter().map(|report| report.task).collect(),
        ToMaster::ExecutorLost { tasks, .. } => tasks.clone(),
        _ => Vec::new(),
    }
}
