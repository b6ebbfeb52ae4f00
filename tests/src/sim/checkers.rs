//! What is demanded of a run: the right outcome for every application, exactly once, and nothing left at the
//! end.

use super::trace::say;
use super::world::World;
use firesteel_common::error::ErrorCode;
use firesteel_common::event::{AppEvent, LoggedEvent, StartCause};
use firesteel_common::id::{AppAttemptId, AppId, StageId, TaskId};
use firesteel_common::protocol::codec;
use std::collections::BTreeSet;
use std::fmt::Write;

/// What still keeps a run from its end, in words; `None` if nothing does.
pub(crate) struct End(pub(crate) Option<String>);

/// What the event log has said of tasks, to see that the work of one attempt at each is used.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    /// Attempts that were started or adopted, and are not over.
    running: BTreeSet<TaskId>,
    /// Partitions whose work is used.
    done: BTreeSet<(AppAttemptId, StageId, u32)>,
}

impl Outcomes {
    /// The partitions whose work is used.
    pub(crate) fn done(&self) -> impl Iterator<Item = (AppAttemptId, StageId, u32)> {
        self.done.iter().copied()
    }

    /// A master that starts knows nothing of what ran.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    fn check(&mut self, event: &LoggedEvent) -> Option<String> {
        let partition = |task: &TaskId| (task.app, task.stage, task.partition);
        match &event.event {
            AppEvent::TaskStarted { task, cause, .. } => {
                let rivals = self.running.iter().filter(|other| partition(other) == partition(task)).count();
                let most = usize::from(*cause == StartCause::Speculation);
                if rivals != most {
                    return Some(format!("duplicated: {task} starts ({cause:?}) beside {rivals} attempts"));
                }
                // A rival beside an attempt whose work is done already would have been seen above.
                self.done.remove(&partition(task));
                self.running.insert(*task);
            }
            AppEvent::TaskAdopted { task, .. } => {
                self.done.remove(&partition(task));
                self.running.insert(*task);
            }
            AppEvent::TaskFinished { task, .. }
                if !self.running.remove(task) || !self.done.insert(partition(task)) =>
            {
                return Some(format!("duplicated: the work of {task} is used, and another's was"));
            }
            AppEvent::TaskFailed { task, .. } | AppEvent::TaskLost { task, .. } => {
                self.running.remove(task);
            }
            _ => {}
        }
        None
    }
}

/// Whether a stage of an application writes map outputs.
pub(crate) fn is_map(world: &World, app: AppAttemptId, stage: StageId) -> bool {
    let client = world.journal.apps.get(&app.app).and_then(|record| world.clients.get(record.client));
    let stage = client.and_then(|client| client.program.stages.get(&stage));
    stage.is_some_and(|stage| super::workload::reducers_of(stage) > 0)
}

impl World {
    /// An outcome has become durable: it must be the right one, of the last attempt.
    pub(crate) fn check_outcome(&mut self, app: AppId) {
        let Some(record) = self.journal.apps.get(&app) else { return };
        let Some(client) = self.clients.get(record.client) else { return };
        let program = &client.program;
        let wrong = match &record.outcome {
            None => None,
            Some(Ok(payload)) => match codec::decode::<(u64, u32)>(payload) {
                Ok((digest, _)) if digest != program.digest => Some("gave a wrong answer".to_owned()),
                Ok((_, attempt)) if attempt != record.ended_in => {
                    Some(format!("ended by attempt {attempt}, although {} had begun", record.ended_in))
                }
                Ok(_) => None,
                Err(error) => Some(format!("gave an answer that is not one: {error}")),
            },
            Some(Err(error)) => {
                let allowed = client.driver_crashed
                    || match error.code {
                        ErrorCode::Killed => client.killed,
                        ErrorCode::TaskRetriesExhausted => program.poison,
                        ErrorCode::NotDeterministic | ErrorCode::StageRetriesExhausted => program.unordered,
                        ErrorCode::WorkersExcluded => client.failures_seen || program.poison,
                        // A large result went with its worker before the driver could fetch it.
                        ErrorCode::BlockMissing => program.large,
                        _ => false,
                    };
                (!allowed).then(|| format!("failed, although nothing was done to it: {error}"))
            }
        };
        if let Some(wrong) = wrong {
            self.fail(format!("wrong: {app} {wrong}"));
        }
    }

    /// A line of the event log: it must name things that exist.
    pub(crate) fn check_log(&mut self, event: &LoggedEvent) {
        if !self.journal.apps.contains_key(&event.app.app) {
            self.fail(format!("wrong: the event log names {}, which nobody has submitted", event.app));
        }
        if let Some(wrong) = self.outcomes.check(event).or_else(|| self.costs(event)) {
            self.fail(wrong);
        }
    }

    /// Whether everything has come to its end and nothing remains.
    pub(crate) fn end(&self) -> End {
        End(self.unfinished().or_else(|| self.left_at_master()).or_else(|| self.left_at_workers()))
    }

    fn unfinished(&self) -> Option<String> {
        for client in &self.clients {
            let Some(app) = client.app else {
                return Some(format!("lost: client {} was never answered", client.number));
            };
            if !client.done {
                return Some(format!("hung: {app} has no outcome"));
            }
        }
        let driver = self.drivers.values().next()?;
        Some(format!("left: a driver of {} still runs", driver.app))
    }

    fn left_at_master(&self) -> Option<String> {
        let Some(up) = &self.master.up else { return Some("hung: the master is down".to_owned()) };
        if !up.scheduler.apps().is_empty() {
            return Some("left: the scheduler still has an application".to_owned());
        }
        let kept = self.journal.apps.keys().find(|app| !up.scheduler.is_empty_of(**app));
        if let Some(app) = kept {
            return Some(format!("left: the scheduler still keeps something of {app}"));
        }
        let alive = up.scheduler.workers().iter().filter(|worker| worker.alive).count();
        let all = self.hosts.len();
        (alive != all).then(|| format!("lost: the scheduler has {alive} of {all} workers"))
    }

    fn left_at_workers(&self) -> Option<String> {
        for host in &self.hosts {
            let number = host.number;
            let Some(process) = &host.process else {
                return Some(format!("left: host-{number} has no worker"));
            };
            if let Some(app) = process.core.apps().next() {
                return Some(format!("left: the worker of host-{number} still keeps something of {app}"));
            }
            if let Some(app) = process.core.drivers().next() {
                return Some(format!("left: host-{number} still has a driver of {app}"));
            }
            if let Some(block) = process.blocks.keys().next() {
                return Some(format!("left: host-{number} still stores {block}"));
            }
            if let Some(app) = process.executors.keys().chain(&process.ending).next() {
                return Some(format!("left: host-{number} still has an executor of {app}"));
            }
        }
        None
    }

    /// The state of everything, as text.
    pub(crate) fn dump(&self) -> String {
        let mut text = String::new();
        if let Some(up) = &self.master.up {
            text.push_str(&up.scheduler.dump());
        }
        for host in &self.hosts {
            if let Some(process) = &host.process {
                // Writing to a string does not fail.
                let _ = write!(text, "\nhost-{}: {}", host.number, process.core.dump());
            }
        }
        text
    }

    /// A message of a connection that its host has replaced arrives only now: counted as a reordering.
    pub(crate) fn note_late(&mut self, host: usize, conn: u64) {
        let now =
            self.hosts.get(host).and_then(|host| host.process.as_ref()).and_then(|process| process.conn);
        if now.is_some_and(|now| now != conn) {
            say!(self, "a message of link-{conn} arrives after that link was replaced");
            self.plan.count(super::faults::Kind::Reorder);
        }
    }
}
