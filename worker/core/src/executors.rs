//! Executors: one for each application with tasks here, started for its first launch, started again for the
//! next launch after it died, and told again all that a new one does not know.

use crate::app::{App, Executor};
use crate::core::WorkerCore;
use crate::event::WorkerEffect;
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::graph::TaskCode;
use firesteel_common::id::{AppAttemptId, PluginHash, TaskId};
use firesteel_common::protocol::executor::{ExecutorSetup, ToExecutor};
use firesteel_common::protocol::worker::{TaskLaunch, TaskLaunches, ToMaster};
use firesteel_common::sandbox::Ending;
use firesteel_common::task::{TaskMetrics, TaskOutcome, TaskReport};

impl WorkerCore {
    /// Brings the executor of an application nearer to taking what is queued for it.
    pub(crate) fn advance_executor(&mut self, id: AppAttemptId, out: &mut Vec<WorkerEffect>) {
        let Some(app) = self.apps.get(&id) else {
            return;
        };
        if app.queued.is_empty() {
            return;
        }
        match app.executor {
            Executor::Ready => self.forward(id, out),
            Executor::Starting | Executor::Fetching(_) => {}
            Executor::Absent => match plugin_of(app) {
                Some(plugin) => match self.ensure_plugin(plugin, out) {
                    Some(path) => self.start_executor(id, Some((plugin, path)), out),
                    None => self.set_executor(id, Executor::Fetching(plugin)),
                },
                None => self.start_executor(id, None, out),
            },
        }
    }

    fn set_executor(&mut self, id: AppAttemptId, executor: Executor) {
        if let Some(app) = self.apps.get_mut(&id) {
            app.executor = executor;
        }
    }

    /// Starts an executor, now or when its predecessor of the same name has ended.
    fn start_executor(
        &mut self,
        id: AppAttemptId,
        plugin: Option<(PluginHash, String)>,
        out: &mut Vec<WorkerEffect>,
    ) {
        let Some(app) = self.apps.get_mut(&id) else {
            return;
        };
        app.executor = Executor::Starting;
        app.plugin = plugin.as_ref().map(|(hash, _)| *hash);
        app.told_stages.clear();
        app.told_inputs.clear();
        if self.leaving.contains(&id) {
            return;
        }
        let setup = ExecutorSetup {
            app: id,
            worker: self.link.worker.unwrap_or_default(),
            plugin,
            slots: self.options.slots,
            limits: app.limits,
            memory: self.options.memory,
            fetch_over_tcp: self.options.fetch_over_tcp,
            faults: self.options.faults.clone(),
        };
        out.push(WorkerEffect::StartExecutor(setup));
    }

    /// The process of an executor runs.
    pub(crate) fn executor_started(&mut self, id: AppAttemptId, pid: u32, out: &mut Vec<WorkerEffect>) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        if matches!(app.executor, Executor::Starting | Executor::Ready) {
            app.pid = pid;
            if self.link.registered {
                self.say(ToMaster::ExecutorStarted { app: id, pid }, out);
            }
        }
    }

    /// Says which executors run.
    pub(crate) fn name_executors(&mut self, out: &mut Vec<WorkerEffect>) {
        let running = self.apps.iter().filter(|(_, app)| app.pid > 0).map(|(id, app)| (*id, app.pid));
        for (app, pid) in running.collect::<Vec<_>>() {
            self.say(ToMaster::ExecutorStarted { app, pid }, out);
        }
    }

    /// Starts the executors that wait for a plugin, or fails what is queued for them.
    pub(crate) fn executors_got_plugin(
        &mut self,
        plugin: PluginHash,
        failure: Option<&Error>,
        out: &mut Vec<WorkerEffect>,
    ) {
        let waiting: Vec<AppAttemptId> = self
            .apps
            .iter()
            .filter(|(_, app)| app.executor == Executor::Fetching(plugin))
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            self.set_executor(id, Executor::Absent);
            match failure {
                None => self.advance_executor(id, out),
                Some(error) => self.fail_queued(id, error),
            }
        }
    }

    fn fail_queued(&mut self, id: AppAttemptId, error: &Error) {
        let Some(app) = self.apps.get_mut(&id) else {
            return;
        };
        for launch in std::mem::take(&mut app.queued) {
            self.finished.push(report(launch.task, TaskOutcome::Failed(error.clone())));
        }
    }

    /// An executor takes tasks now.
    pub(crate) fn executor_ready(&mut self, id: AppAttemptId, out: &mut Vec<WorkerEffect>) {
        if self.leaving.contains(&id) {
            return;
        }
        match self.apps.get_mut(&id) {
            Some(app) if app.executor == Executor::Starting => {
                app.executor = Executor::Ready;
                self.forward(id, out);
            }
            _ => {}
        }
    }

    /// Gives the queued attempts to a ready executor, with what it does not know of their stages.
    fn forward(&mut self, id: AppAttemptId, out: &mut Vec<WorkerEffect>) {
        let Some(app) = self.apps.get_mut(&id) else {
            return;
        };
        let (mut tasks, mut refused) = (Vec::new(), Vec::new());
        for launch in std::mem::take(&mut app.queued) {
            match refusal(app, &launch) {
                None => tasks.push(launch),
                Some(error) => refused.push((launch.task, error)),
            }
        }
        let mut message =
            TaskLaunches { app: id, limits: app.limits, stages: Vec::new(), inputs: Vec::new(), tasks };
        for launch in &message.tasks {
            app.running.insert(launch.task);
            let Some(code) = app.stages.get(&launch.task.stage) else {
                continue;
            };
            if app.told_stages.insert(code.stage) {
                message.stages.push(code.clone());
            }
            for input in &code.inputs {
                if let Some(table) = app.inputs.get(input)
                    && app.told_inputs.insert(*input)
                {
                    message.inputs.push(table.clone());
                }
            }
        }
        if !message.tasks.is_empty() {
            out.push(WorkerEffect::SendExecutor { app: id, message: ToExecutor::Launch(message) });
        }
        for (task, error) in refused {
            self.finished.push(report(task, TaskOutcome::Failed(error)));
        }
    }

    /// An executor process has ended: its attempts are lost, and its memory is free again.
    pub(crate) fn executor_exited(&mut self, id: AppAttemptId, reason: Ending, out: &mut Vec<WorkerEffect>) {
        if self.leaving.remove(&id) {
            // A successor that was asked for meanwhile can be started now.
            if self.apps.get(&id).is_some_and(|app| app.executor == Executor::Starting) {
                self.set_executor(id, Executor::Absent);
                self.advance_executor(id, out);
            }
            return;
        }
        let Some(app) = self.apps.get_mut(&id) else {
            return;
        };
        if !matches!(app.executor, Executor::Starting | Executor::Ready) {
            return;
        }
        app.executor = Executor::Absent;
        app.pid = 0;
        app.plugin = None;
        app.told_stages.clear();
        app.told_inputs.clear();
        app.unanswered.clear();
        app.stopping.clear();
        let stopped = std::mem::take(&mut app.stopped);
        self.granted = self.granted.saturating_sub(std::mem::take(&mut app.granted));
        self.tickets.retain(|_, ticket| ticket.app != id);
        let mut tasks: Vec<TaskId> = std::mem::take(&mut app.running).into_iter().collect();
        // What an attempt has left without reporting its end is nobody's.
        let orphans = tasks.iter().flat_map(|task| app.take_blocks_of(task)).collect::<Vec<_>>();
        tasks.extend(std::mem::take(&mut app.queued).into_iter().map(|launch| launch.task));
        if !orphans.is_empty() {
            out.push(WorkerEffect::FreeBlocks(orphans));
        }
        let reason =
            if stopped { format!("stopped because a task did not end ({reason})").into() } else { reason };
        self.say(ToMaster::ExecutorLost { app: id, reason, tasks, stopped }, out);
    }

    /// The application attempt is over: nothing of it stays.
    pub(crate) fn end_app(&mut self, id: AppAttemptId, out: &mut Vec<WorkerEffect>) {
        if let Some(app) = self.apps.remove(&id) {
            self.granted = self.granted.saturating_sub(app.granted);
            self.tickets.retain(|_, ticket| ticket.app != id);
            let lives = matches!(app.executor, Executor::Starting | Executor::Ready);
            if lives && self.leaving.insert(id) {
                out.push(WorkerEffect::StopExecutor(id));
            }
        }
        self.link.forget_results(id);
        out.push(WorkerEffect::FreeApp(id));
    }

    /// Whether the executor of an application is there and not told to leave.
    pub(crate) fn executor_lives(&self, id: AppAttemptId) -> bool {
        !self.leaving.contains(&id) && self.apps.get(&id).is_some_and(|app| app.executor == Executor::Ready)
    }
}

/// The plugin that an executor for the queued attempts must load; `None` if they are all SQL.
fn plugin_of(app: &App) -> Option<PluginHash> {
    let codes = app.queued.iter().filter_map(|launch| app.stages.get(&launch.task.stage));
    codes.chain(app.stages.values()).find_map(|code| match code.code {
        TaskCode::Plugin(plugin) => Some(plugin),
        TaskCode::Sql => None,
    })
}

/// Why an executor cannot be given this attempt.
fn refusal(app: &App, launch: &TaskLaunch) -> Option<Error> {
    let Some(code) = app.stages.get(&launch.task.stage) else {
        let message = format!("{} was launched without the code of its stage", launch.task);
        return Some(Error::new(ErrorCode::Internal, message));
    };
    match code.code {
        TaskCode::Plugin(plugin) if app.plugin != Some(plugin) => Some(
            Error::new(
                ErrorCode::Unsupported,
                format!("{} needs another plugin than its executor has", launch.task),
            )
            .with_help("use one plugin in an application"),
        ),
        _ => None,
    }
}

/// The report of an attempt that did not run here.
pub(crate) fn report(task: TaskId, outcome: TaskOutcome) -> TaskReport {
    let metrics = TaskMetrics::default();
    TaskReport { task, outcome, metrics, accumulators: Vec::new(), stored: Vec::new() }
}
