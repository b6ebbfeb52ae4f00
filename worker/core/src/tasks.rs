//! Attempts: launched, told of new places, stopped, reported.

use crate::app::{Executor, Unanswered, is_of, output_block};
use crate::core::WorkerCore;
use crate::event::WorkerEffect;
use crate::executors::report;
use firesteel_common::event::FetchCause;
use firesteel_common::id::{AppAttemptId, StageId, TaskId};
use firesteel_common::protocol::executor::ToExecutor;
use firesteel_common::protocol::worker::{InputTable, MapPlace, TaskLaunches, ToMaster};
use firesteel_common::task::{ResultValue, TaskOutcome, TaskReport};
use firesteel_common::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

impl WorkerCore {
    /// Queues attempts for the executor of their application, and remembers what was said of their stages.
    pub(crate) fn launch_tasks(&mut self, launches: TaskLaunches, out: &mut Vec<WorkerEffect>) {
        let id = launches.app;
        let app = self.apps.entry(id).or_default();
        app.limits = launches.limits;
        for code in launches.stages {
            app.stages.entry(code.stage).or_insert(code);
        }
        for table in launches.inputs {
            // A table that is sent again is newer.
            app.told_inputs.remove(&table.stage);
            app.inputs.insert(table.stage, table);
        }
        for launch in launches.tasks {
            if is_of(id, &launch.task) && !app.knows(&launch.task) {
                app.queued.push(launch);
            }
        }
        self.advance_executor(id, out);
    }

    /// Takes over new places of map outputs, for readers that wait and for executors to come.
    pub(crate) fn inputs_changed(
        &mut self,
        id: AppAttemptId,
        stage: StageId,
        places: Vec<(u32, MapPlace)>,
        out: &mut Vec<WorkerEffect>,
    ) {
        let lives = self.executor_lives(id);
        let Some(app) = self.apps.get_mut(&id) else {
            return;
        };
        if let Some(table) = app.inputs.get_mut(&stage) {
            update(Arc::make_mut(table), &places);
        }
        app.unanswered.retain(|(_, of, map), _| *of != stage || !places.iter().any(|(at, _)| at == map));
        if lives {
            out.push(WorkerEffect::SendExecutor {
                app: id,
                message: ToExecutor::InputsChanged { stage, places },
            });
        }
    }

    /// Stops attempts: those that wait are reported at once, those that run when the executor says so.
    /// Those that still run at `until` cost their executor its life.
    pub(crate) fn kill_tasks(&mut self, tasks: Vec<TaskId>, until: Timestamp, out: &mut Vec<WorkerEffect>) {
        let mut running: BTreeMap<AppAttemptId, Vec<TaskId>> = BTreeMap::new();
        for task in tasks {
            let Some(app) = self.apps.get_mut(&task.app) else {
                continue;
            };
            if let Some(at) = app.queued.iter().position(|launch| launch.task == task) {
                app.queued.remove(at);
                self.finished.push(report(task, TaskOutcome::Killed));
            } else if app.running.contains(&task) {
                app.stopping.entry(task).or_insert(until);
                running.entry(task.app).or_default().push(task);
            }
        }
        for (app, tasks) in running {
            out.push(WorkerEffect::SendExecutor { app, message: ToExecutor::Kill(tasks) });
        }
    }

    /// Stops executors with an attempt that was told to stop and did not.
    pub(crate) fn stop_deaf_executors(&mut self, now: Timestamp, out: &mut Vec<WorkerEffect>) {
        for (id, app) in &mut self.apps {
            let is_deaf = app.stopping.values().any(|until| *until < now);
            if is_deaf && app.executor == Executor::Ready && !app.stopped {
                app.stopped = true;
                out.push(WorkerEffect::StopExecutor(*id));
            }
        }
    }

    /// Takes the reports of attempts that were running; others are nobody's.
    pub(crate) fn tasks_finished(
        &mut self,
        id: AppAttemptId,
        reports: Vec<TaskReport>,
        out: &mut Vec<WorkerEffect>,
    ) {
        if self.leaving.contains(&id) {
            return;
        }
        let Some(app) = self.apps.get_mut(&id) else {
            return;
        };
        let mut orphans = Vec::new();
        for mut report in reports {
            if !app.running.remove(&report.task) {
                continue;
            }
            app.stopping.remove(&report.task);
            app.unanswered.retain(|(reader, ..), _| *reader != report.task);
            match &mut report.outcome {
                TaskOutcome::Failed(_) | TaskOutcome::Killed => {
                    orphans.extend(app.take_blocks_of(&report.task))
                }
                TaskOutcome::Result(ResultValue::Block { worker, .. }) => {
                    // The executor knows the id of its birth; the worker may have got another since.
                    *worker = self.link.worker.unwrap_or(*worker);
                }
                TaskOutcome::Result(ResultValue::Inline(_)) | TaskOutcome::MapOutput(_) => {}
            }
            self.finished.push(report);
        }
        if !orphans.is_empty() {
            out.push(WorkerEffect::FreeBlocks(orphans));
        }
    }

    /// Sends the reports of this step in one message.
    pub(crate) fn send_finished(&mut self, now: Timestamp, out: &mut Vec<WorkerEffect>) {
        let reports = std::mem::take(&mut self.finished);
        if !reports.is_empty() {
            if self.link.registered {
                self.link.remember(now, &reports);
            }
            self.say(ToMaster::TasksFinished(reports), out);
        }
    }

    /// A reader found an input gone and waits. It is said now if anybody listens, and again after each
    /// registration until it is answered or the reader ends.
    pub(crate) fn fetch_failed(
        &mut self,
        id: AppAttemptId,
        task: TaskId,
        (stage, map): (StageId, u32),
        (place, cause): (Option<MapPlace>, FetchCause),
        out: &mut Vec<WorkerEffect>,
    ) {
        let Some(app) = self.apps.get_mut(&id) else {
            return;
        };
        if !app.running.contains(&task) {
            return;
        }
        app.unanswered.insert((task, stage, map), Unanswered { place: place.clone(), cause });
        if self.link.registered {
            self.say(ToMaster::FetchFailed { task, stage, map, place, cause }, out);
        }
    }

    /// Says again what nobody has answered: it may have been lost with a connection.
    pub(crate) fn repeat_fetch_failures(&mut self, out: &mut Vec<WorkerEffect>) {
        let mut messages = Vec::new();
        for app in self.apps.values() {
            for ((task, stage, map), Unanswered { place, cause }) in &app.unanswered {
                let (task, stage, map, place, cause) = (*task, *stage, *map, place.clone(), *cause);
                messages.push(ToMaster::FetchFailed { task, stage, map, place, cause });
            }
        }
        for message in messages {
            self.say(message, out);
        }
    }

    /// The output of a map task is here; the report of its attempt follows.
    pub(crate) fn map_output(
        &mut self,
        id: AppAttemptId,
        task: TaskId,
        status: firesteel_common::block::MapStatus,
        out: &mut Vec<WorkerEffect>,
    ) {
        match self.apps.get_mut(&id) {
            Some(app) if !self.leaving.contains(&id) && app.running.contains(&task) => {
                app.outputs.insert(task, status);
            }
            _ => out.push(WorkerEffect::FreeBlocks(vec![output_block(&task)])),
        }
    }
}

fn update(table: &mut InputTable, places: &[(u32, MapPlace)]) {
    for (map, place) in places {
        // A place beyond the table is of another stage's shape: nobody can ask for it.
        if let Some(slot) = table.places.get_mut(*map as usize) {
            *slot = Some(place.clone());
        }
    }
}
