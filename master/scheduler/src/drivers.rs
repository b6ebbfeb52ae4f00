//! Applications and their drivers: they wait for a place, start, attach, end. The first outcome of an
//! application is its outcome; the journal makes it durable before anybody hears of it.

use crate::app::{App, Driver, Phase, Run};
use crate::cluster::Cluster;
use crate::event::{AppSubmission, Effect};
use crate::{PlantedBug, Scheduler};
use firesteel_common::Payload;
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::event::{AppEvent, EVENT_LOG_VERSION};
use firesteel_common::graph::StageSpec;
use firesteel_common::id::{AppAttemptId, AppId, JobId, StageId, WorkerId};
use firesteel_common::job::JobSpec;
use firesteel_common::protocol::driver::{FromDriver, ToDriver};
use firesteel_common::protocol::worker::ToWorker;
use firesteel_common::sandbox::Ending;
use firesteel_common::time::{Micros, Timestamp};
use std::collections::BTreeSet;

/// Attempts at tasks count from this much for every epoch, in applications that an earlier epoch has begun:
/// no attempt is mistaken for one that the earlier master has started.
const ATTEMPTS_PER_EPOCH: u32 = 1_000;

/// Tells a driver to stop, and its worker to see to it.
fn stop_driver(cx: &mut Cluster, attempt: AppAttemptId, worker: Option<WorkerId>, reason: String) {
    cx.tell_driver(attempt, ToDriver::Kill { reason });
    if let Some(worker) = worker.filter(|worker| cx.workers.get(*worker).is_some()) {
        cx.tell_worker(worker, ToWorker::KillDriver(attempt));
    }
}

impl Scheduler {
    pub(crate) fn submit_app(&mut self, submission: AppSubmission) {
        let now = self.cluster.now;
        let phase = match submission.program {
            Some(_) => Phase::Queued { since: now },
            None => Phase::Expected { until: now + self.cluster.settings.client_grace },
        };
        self.add_app(submission, phase, false);
        self.cluster.driver_room = true;
    }

    pub(crate) fn recover(&mut self, submissions: Vec<AppSubmission>) {
        let (now, settings) = (self.cluster.now, self.cluster.settings);
        self.held_until = Some(now + settings.reconnect).filter(|_| !submissions.is_empty());
        for submission in submissions {
            let is_client = submission.program.is_none();
            let until = now + if is_client { settings.client_grace } else { settings.recovery_grace };
            self.add_app(submission, Phase::Expected { until }, true);
        }
    }

    fn add_app(&mut self, submission: AppSubmission, phase: Phase, recovered: bool) {
        let AppSubmission { app, attempt, submitted_ms, program, options } = submission;
        let id = AppAttemptId { app, attempt };
        let epoch = self.epoch.0 as u32;
        let first_attempt = if recovered { epoch.wrapping_mul(ATTEMPTS_PER_EPOCH) } else { 0 };
        let run = Run::new(id, options, recovered, first_attempt);
        let since = self.cluster.now;
        if self.apps.contains_key(&app) || self.queue.apps.contains_key(&app) {
            return;
        }
        let waits = matches!(phase, Phase::Queued { .. });
        let app = App { id: app, submitted_ms, program, phase, since, losses: 0, run };
        if waits { self.enqueue(app) } else { self.insert_app(app) }
    }

    /// The run of an application attempt that may still ask for something.
    pub(crate) fn run_of(&mut self, app: AppAttemptId) -> Option<(&mut Run, &mut Cluster)> {
        let state = self.apps.get_mut(&app.app).filter(|state| state.run.app == app)?;
        Some((&mut state.run, &mut self.cluster))
    }

    /// The number of a further attempt is durable: it waits for a place like all others.
    pub(crate) fn attempt_journaled(&mut self, attempt: AppAttemptId) {
        let is_it = |app: &App| app.run.app == attempt && matches!(app.phase, Phase::Journaling);
        if self.apps.get(&attempt.app).is_some_and(is_it)
            && let Some(app) = self.remove_app(attempt.app)
        {
            self.enqueue(app);
        }
    }

    /// A driver said something.
    pub(crate) fn hear_driver(&mut self, id: AppAttemptId, message: FromDriver) {
        if self.queue.apps.contains_key(&id.app) {
            return self.fence_driver(id);
        }
        let Some(app) = self.apps.get_mut(&id.app) else { return self.answer_ended(id, message) };
        let planted = self.cluster.is_planted(PlantedBug::Fencing);
        let may_talk = matches!(app.phase, Phase::Running(_) | Phase::Expected { .. } | Phase::Ending { .. });
        if (app.run.app != id && !planted) || !may_talk {
            return self.fence_driver(id);
        }
        if matches!(app.phase, Phase::Ending { .. }) {
            return self.hear_ending_driver(id, message);
        }
        let is_connected = matches!(&app.phase, Phase::Running(driver) if driver.connected);
        if !is_connected && !matches!(message, FromDriver::Attach { .. } | FromDriver::AttachPart { .. }) {
            // What it wants cannot be kept in step with workers that come and go before the graph is known.
            let reason = "a driver attaches before it asks for anything".to_owned();
            self.cluster.counters.fenced += 1;
            return self.cluster.tell_driver(id, ToDriver::Kill { reason });
        }
        let (run, cx) = (&mut app.run, &mut self.cluster);
        match message {
            FromDriver::Attach { stages, jobs } => self.attach(id.app, stages, jobs),
            // Gathered before it comes here.
            FromDriver::AttachPart { .. } => {}
            FromDriver::Submit(job) => run.submit(cx, job),
            FromDriver::Extend { job, stages, targets, open } => run.extend(cx, job, stages, targets, open),
            FromDriver::Release { stages, datasets } => run.release(cx, &stages, &datasets),
            FromDriver::Cancel { job, reason } => run.cancel(cx, |other| other.id == job, &reason),
            FromDriver::CancelGroup { group, reason } => {
                run.cancel(cx, |job| !group.is_empty() && job.group == group, &reason);
            }
            FromDriver::Finish(outcome) => self.end_app(id.app, outcome, None),
        }
    }

    fn fence_driver(&mut self, id: AppAttemptId) {
        let reason = "another attempt at this driver has taken its place".to_owned();
        self.cluster.counters.fenced += 1;
        self.cluster.tell_driver(id, ToDriver::Kill { reason });
    }

    /// The application has its outcome already, but it is not durable yet.
    fn hear_ending_driver(&mut self, id: AppAttemptId, message: FromDriver) {
        match message {
            FromDriver::Attach { .. } => self.tell_attached(id),
            FromDriver::Finish(outcome) => {
                if let Some(Phase::Ending { finished, .. }) =
                    self.apps.get_mut(&id.app).map(|app| &mut app.phase)
                {
                    *finished = true;
                }
                if self.cluster.is_planted(PlantedBug::Commit) {
                    self.cluster.effects.push(Effect::JournalOutcome { app: id.app, outcome });
                }
            }
            _ => {}
        }
    }

    /// The application has a durable outcome, or never was. A driver that has missed the news and says again
    /// that it has finished may go; one that wants more is stopped.
    fn answer_ended(&mut self, id: AppAttemptId, message: FromDriver) {
        let answer = match message {
            FromDriver::Finish(_) => ToDriver::Committed,
            FromDriver::Attach { jobs, .. } if jobs.is_empty() => return self.tell_attached(id),
            FromDriver::Release { .. } | FromDriver::AttachPart { .. } => return,
            _ => ToDriver::Kill { reason: format!("{} has ended", id.app) },
        };
        self.cluster.tell_driver(id, answer);
    }

    fn tell_attached(&mut self, id: AppAttemptId) {
        let slots = self.slots();
        self.cluster.tell_driver(id, ToDriver::Attached { slots });
    }

    /// A driver is attached, for the first time or again: the graph and the jobs are what it says.
    fn attach(&mut self, id: AppId, stages: Vec<StageSpec>, jobs: Vec<JobSpec>) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        let attempt = app.run.app;
        let known = std::mem::replace(&mut app.phase, Phase::Journaling);
        let mut driver = match known {
            Phase::Running(driver) => driver,
            _ => Driver::default(),
        };
        if !driver.attached && (app.program.is_none() || app.run.recovered) {
            let worker = driver.worker;
            self.cluster.log(attempt, AppEvent::AppStarted { version: EVENT_LOG_VERSION, worker });
        }
        driver.attached = true;
        driver.connected = true;
        driver.deadline = None;
        app.phase = Phase::Running(driver);
        self.tell_attached(attempt);
        let Some(app) = self.apps.get_mut(&id) else { return };
        let (run, cx) = (&mut app.run, &mut self.cluster);
        run.listening = true;
        run.addresses_told.clear();
        let listed: BTreeSet<StageId> = stages.iter().map(|stage| stage.id).collect();
        if let Err(error) = run.add_stages(cx, stages) {
            return self.end_app(id, Err(error), Some("its graph is not valid"));
        }
        run.attached = true;
        run.settle_found(cx);
        let wanted: BTreeSet<JobId> = jobs.iter().map(|job| job.id).collect();
        run.failed.retain(|job, _| wanted.contains(job));
        let unlisted: Vec<JobId> = run.jobs.keys().copied().filter(|job| !wanted.contains(job)).collect();
        for job in unlisted {
            let error = Error::new(ErrorCode::Killed, "its driver does not want it any more");
            run.fail_job(cx, job, error);
        }
        for job in jobs {
            run.reattach_job(cx, job);
        }
        run.settle_unsure(cx);
        let unlisted: Vec<StageId> =
            run.stages.keys().copied().filter(|stage| !listed.contains(stage)).collect();
        run.release(cx, &unlisted, &[]);
        run.adopt_attempts(cx);
    }

    pub(crate) fn driver_link_closed(&mut self, id: AppAttemptId) {
        let (now, settings) = (self.cluster.now, self.cluster.settings);
        let Some(app) = self.apps.get_mut(&id.app).filter(|app| app.run.app == id) else { return };
        let Phase::Running(driver) = &mut app.phase else { return };
        driver.connected = false;
        app.run.listening = false;
        // A worker says when its driver's process ends; nobody says it of a client's.
        let patience = if driver.worker.is_some() { settings.client_grace } else { settings.reconnect };
        driver.deadline = Some(now + patience);
        if let Some(reason) = driver.exited.take() {
            self.driver_died(id.app, &reason);
        }
    }

    /// A driver's process ended. While its connection stands, its last words may still come over it.
    pub(crate) fn driver_exited(&mut self, worker: WorkerId, id: AppAttemptId, reason: Ending) {
        if let Some(state) = self.cluster.workers.get_mut(worker) {
            state.drivers.remove(&id);
            self.cluster.driver_room = true;
        }
        let deadline = self.cluster.now + self.cluster.settings.reconnect;
        let Some(app) = self.apps.get_mut(&id.app).filter(|app| app.run.app == id) else { return };
        match &mut app.phase {
            Phase::Running(driver) if driver.worker.is_some_and(|known| known != worker) => {}
            Phase::Running(driver) if driver.connected => {
                driver.exited = Some(reason);
                driver.deadline = Some(deadline);
            }
            // An earlier master may have stopped it in favour of an attempt that it did not live to journal.
            Phase::Running(Driver { attached: false, .. }) | Phase::Expected { .. }
                if app.run.recovered && app.program.is_some() =>
            {
                self.next_attempt(id.app);
            }
            Phase::Running(_) | Phase::Expected { .. } => self.driver_died(id.app, &reason),
            Phase::Queued { .. } | Phase::Journaling | Phase::Ending { .. } => {}
        }
    }

    fn driver_died(&mut self, app: AppId, reason: &Ending) {
        if self.may_be_supervised(app) {
            return self.supervise(app, reason);
        }
        let message = format!("the driver of {app} ended without an outcome: {reason}");
        let error = Error::new(reason.code(), message).with_help("see what it printed");
        self.end_app(app, Err(error), Some("its process or its connection is gone"));
    }

    /// Whether a driver that died is started again.
    fn may_be_supervised(&self, app: AppId) -> bool {
        self.apps.get(&app).is_some_and(|app| {
            app.run.options.supervise
                && app.program.is_some()
                && app.losses < self.cluster.settings.driver_attempts_max
        })
    }

    /// Starts the driver of a supervised application again.
    fn supervise(&mut self, id: AppId, reason: &Ending) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        app.losses += 1;
        let attempt = app.run.app;
        let worker = match &app.phase {
            Phase::Running(driver) => driver.worker,
            _ => None,
        };
        stop_driver(&mut self.cluster, attempt, worker, format!("it died: {reason}"));
        self.next_attempt(id);
    }

    /// The worker of a driver is lost, and the driver with it: another attempt is made.
    pub(crate) fn driver_worker_lost(&mut self, id: AppAttemptId, worker: WorkerId) {
        let Some(app) = self.apps.get_mut(&id.app).filter(|app| app.run.app == id) else { return };
        if !matches!(&app.phase, Phase::Running(driver) if driver.worker == Some(worker)) {
            return;
        }
        app.losses += 1;
        if app.losses > self.cluster.settings.driver_attempts_max {
            let message = format!("the driver of {} was lost {} times with its worker", id.app, app.losses);
            let error = Error::new(ErrorCode::ProcessDied, message).with_help("look why workers are lost");
            return self.end_app(id.app, Err(error), Some("its worker is lost"));
        }
        self.cluster.tell_driver(id, ToDriver::Kill { reason: format!("{worker} is lost") });
        self.next_attempt(id.app);
    }

    /// Gives up the current attempt at a driver, and asks for another one to be made durable.
    fn next_attempt(&mut self, id: AppId) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        let cx = &mut self.cluster;
        app.run.stop_all(cx, "its driver is started again");
        app.run.end(cx, None);
        let attempt = AppAttemptId { app: id, attempt: app.run.app.attempt + 1 };
        app.run = Run::new(attempt, app.run.options.clone(), false, 0);
        app.phase = Phase::Journaling;
        cx.effects.push(Effect::JournalAttempt(attempt));
    }

    pub(crate) fn kill_app(&mut self, app: AppId, reason: &str) {
        let error = Error::new(ErrorCode::Killed, format!("{app} was killed: {reason}"));
        self.end_app(app, Err(error), Some(reason));
    }

    /// An application has its outcome, if it has none yet. With a `kill` its driver is stopped.
    pub(crate) fn end_app(&mut self, id: AppId, outcome: Result<Payload, Error>, kill: Option<&str>) {
        self.stop_waiting(id);
        let Some(app) = self.apps.get_mut(&id) else { return };
        let ending = Phase::Ending { error: outcome.as_ref().err().cloned(), finished: kill.is_none() };
        let driver = match std::mem::replace(&mut app.phase, ending) {
            earlier @ Phase::Ending { .. } => {
                app.phase = earlier;
                return;
            }
            Phase::Running(driver) => driver,
            Phase::Queued { .. } | Phase::Expected { .. } | Phase::Journaling => Driver::default(),
        };
        let cx = &mut self.cluster;
        let attempt = app.run.app;
        app.run.stop_all(cx, kill.unwrap_or("its driver has finished"));
        if let Some(reason) = kill {
            stop_driver(cx, attempt, driver.worker, reason.to_owned());
        }
        cx.effects.push(Effect::JournalOutcome { app: id, outcome });
    }

    /// The outcome of an application is durable: it is told, and all of the application is forgotten.
    pub(crate) fn outcome_journaled(&mut self, id: AppId) {
        if !self.apps.get(&id).is_some_and(|app| matches!(app.phase, Phase::Ending { .. })) {
            return;
        }
        let Some(mut app) = self.remove_app(id) else { return };
        let Phase::Ending { error, finished } = app.phase else { return };
        let attempt = app.run.app;
        let answer = match &error {
            Some(error) if !finished => ToDriver::Kill { reason: error.message.clone() },
            _ => ToDriver::Committed,
        };
        self.cluster.log(attempt, AppEvent::AppEnded { error });
        self.cluster.tell_driver(attempt, answer);
        app.run.end(&mut self.cluster, None);
        self.cluster.driver_room = true;
    }

    /// Ends what has waited too long: for a driver to attach, for its connection to come back.
    pub(crate) fn expire_drivers(&mut self) {
        let now = self.cluster.now;
        let ids: Vec<AppId> = self.apps.keys().copied().collect();
        for id in ids {
            let Some(app) = self.apps.get(&id) else { continue };
            match &app.phase {
                Phase::Expected { until } if *until < now => match app.program {
                    Some(_) => self.next_attempt(id),
                    None => self.driver_died(id, &"it did not attach".into()),
                },
                Phase::Running(driver) if driver.deadline.is_some_and(|deadline| deadline < now) => {
                    let worker = driver.worker.map(|worker| self.cluster.workers.get(worker));
                    let heard = |w: &crate::worker::Worker| {
                        w.link.is_some() && driver.deadline.is_some_and(|at| w.last_seen >= at)
                    };
                    match (worker, driver.exited.clone()) {
                        (_, Some(reason)) => self.driver_died(id, &reason),
                        (Some(Some(worker)), None) if !heard(worker) => {}
                        (None, None) if app.program.is_some() => self.next_attempt(id),
                        _ => self.driver_died(id, &"its connection closed and did not come back".into()),
                    }
                }
                _ => {}
            }
        }
    }

    /// Moves all deadlines of drivers into the future.
    pub(crate) fn shift_deadlines(&mut self, pause: Micros) {
        let shift = |at: &mut Timestamp| *at = *at + pause;
        self.queue.shift(shift);
        for app in self.apps.values_mut() {
            match &mut app.phase {
                Phase::Queued { since } => shift(since),
                Phase::Expected { until } => shift(until),
                Phase::Running(driver) => driver.deadline.iter_mut().for_each(shift),
                Phase::Journaling | Phase::Ending { .. } => {}
            }
            shift(&mut app.since);
            let deadlines = std::mem::take(&mut app.run.deadlines);
            app.run.deadlines = deadlines.into_iter().map(|(at, task)| (at + pause, task)).collect();
            app.run.jobs.values_mut().for_each(|job| shift(&mut job.submitted));
        }
        self.no_workers_since.iter_mut().chain(&mut self.held_until).for_each(shift);
    }

    /// What a worker says about the drivers it runs; see [`Scheduler::reconcile`].
    pub(crate) fn reconcile_drivers(
        &mut self,
        worker: WorkerId,
        held: &[AppAttemptId],
        over: &mut BTreeSet<AppAttemptId>,
    ) {
        let now = self.cluster.now;
        let places = self
            .cluster
            .workers
            .get_mut(worker)
            .map(|state| std::mem::replace(&mut state.drivers, held.iter().copied().collect()));
        for id in held {
            let Some(app) = self.apps.get_mut(&id.app).filter(|app| app.run.app == *id) else {
                self.cluster.tell_worker(worker, ToWorker::KillDriver(*id));
                over.insert(*id);
                continue;
            };
            match &mut app.phase {
                Phase::Expected { .. } => {
                    let deadline = Some(now + self.cluster.settings.client_grace);
                    app.phase =
                        Phase::Running(Driver { worker: Some(worker), deadline, ..Driver::default() });
                    app.run.workers.insert(worker);
                }
                Phase::Running(driver) if driver.worker.is_none_or(|known| known == worker) => {
                    driver.worker = Some(worker);
                    app.run.workers.insert(worker);
                }
                _ => self.cluster.tell_worker(worker, ToWorker::KillDriver(*id)),
            }
        }
        for id in places.unwrap_or_default() {
            if !held.contains(&id) {
                self.driver_not_held(worker, id);
            }
        }
    }

    /// A driver that was started on a worker is not there. If it never attached, the order to start it may
    /// have been lost with the connection.
    fn driver_not_held(&mut self, worker: WorkerId, id: AppAttemptId) {
        let Some(app) = self.apps.get(&id.app).filter(|app| app.run.app == id) else { return };
        match (&app.phase, app.program.clone()) {
            (Phase::Running(driver), Some(program)) if !driver.attached => {
                if let Some(state) = self.cluster.workers.get_mut(worker) {
                    state.drivers.insert(id);
                }
                let launch = app.launch(program);
                self.cluster.tell_worker(worker, ToWorker::StartDriver(launch));
            }
            (Phase::Running(_), _) => self.driver_exited(worker, id, "its worker does not run it".into()),
            _ => {}
        }
    }
}
