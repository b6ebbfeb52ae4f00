//! Every decision of the master, as a pure state machine: facts go in, effects come out.
//!
//! Here is which task runs where and when, what is lost with what, what must be made again, and who hears of
//! it. What is *not* here: clocks, sockets, threads, files, chance. Time comes in with every fact, so a run
//! can be repeated from its facts alone.
//!
//! | module | decides |
//! | --- | --- |
//! | `drivers` | where drivers run, and how applications end |
//! | `liveness` | which workers there are |
//! | `drain` | how workers leave |
//! | `jobs`, `plan` | which stages must be computed now |
//! | `placement`, `task_set` | which task runs where, next |
//! | `queue` | whose driver starts next |
//! | `pools` | whose turn it is |
//! | `limits` | what an application may take, and for how long |
//! | `reports` | what becomes of attempts |
//! | `speculation` | which slow attempts get a rival |
//! | `exclusion` | which workers are left out after failures |
//! | `map_output`, `recovery` | what is lost, and what is made again |
//! | `adopt` | which attempts go on when the master starts anew |
//! | `release` | what may be forgotten |
#![warn(missing_docs)]

mod adopt;
mod app;
pub mod bench;
mod cluster;
mod drain;
mod drivers;
mod dump;
pub mod event;
mod exclusion;
pub mod invariants;
mod job;
mod jobs;
mod limits;
mod liveness;
mod map_output;
mod placement;
mod plan;
mod pools;
pub mod queries;
mod queue;
mod recovery;
mod release;
mod reports;
mod speculation;
mod stage;
mod task_set;
#[cfg(test)]
mod tests;
mod worker;

use app::{App, Phase};
use cluster::{Cluster, Settings};
pub use event::{AppSubmission, Effect, Event, LinkId};
use firesteel_common::config::SchedulerConfig;
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::id::{AppId, Epoch, JobId};
use firesteel_common::time::Timestamp;
pub use queries::{AppView, Counters, ExecutorView, WorkerView};
use std::collections::BTreeMap;

/// A fault that the simulator plants in order to prove that it finds faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// Accepts messages of old incarnations, epochs and attempts.
    Fencing,
    /// Lets a second outcome or result through.
    Commit,
    /// Does not recompute a lost output of a parent stage.
    Recompute,
    /// Never frees anything.
    Release,
    /// Drops a failed task instead of repeating it.
    Retry,
}

/// Everything the master decides.
pub struct Scheduler {
    epoch: Epoch,
    /// Applications without a durable outcome whose driver does not wait for a place. Ids count submissions,
    /// so this is their order, too.
    apps: BTreeMap<AppId, App>,
    /// Those that wait for a place for their driver.
    queue: queue::Queue,
    cluster: Cluster,
    last_tick: Option<Timestamp>,
    /// Since when there is no worker.
    no_workers_since: Option<Timestamp>,
    /// Until when recovered applications start nothing.
    held_until: Option<Timestamp>,
}

impl Scheduler {
    /// A scheduler that knows nothing yet; [`Event::Recovered`] is to be its first event.
    pub fn new(config: SchedulerConfig, epoch: Epoch) -> Self {
        Self {
            epoch,
            apps: BTreeMap::new(),
            queue: queue::Queue::default(),
            cluster: Cluster::new(
                Settings::new(&config),
                worker::Workers::new(epoch),
                pools::Pools::new(&config),
            ),
            last_tick: None,
            no_workers_since: None,
            held_until: None,
        }
    }

    /// Applies one fact and returns what must be done about it, in order.
    pub fn step(&mut self, now: Timestamp, event: Event) -> Vec<Effect> {
        self.cluster.now = now.max(self.cluster.now);
        let is_tick = matches!(event, Event::Tick);
        match event {
            Event::FromWorker { link, message } => self.hear_worker(link, message),
            Event::FromDriver { app, message } => self.hear_driver(app, message),
            Event::SubmitApp(submission) => self.submit_app(submission),
            Event::Recovered(submissions) => self.recover(submissions),
            Event::AttemptJournaled(attempt) => self.attempt_journaled(attempt),
            Event::OutcomeJournaled(app) => self.outcome_journaled(app),
            Event::KillApp { app, reason } => self.kill_app(app, &reason),
            Event::DrainWorker(worker) => self.want_drained(worker),
            Event::WorkerLinkClosed(link) => self.worker_link_closed(link),
            Event::DriverLinkClosed(app) => self.driver_link_closed(app),
            Event::Tick => self.tick(),
        }
        self.place_drivers();
        self.place();
        if is_tick {
            self.speculate();
        }
        self.cluster.take_effects()
    }

    /// Plants a fault; only for proving that the simulator finds it.
    pub fn plant(&mut self, bug: PlantedBug) {
        self.cluster.planted = Some(bug);
    }

    /// Everything that happens because time has passed.
    fn tick(&mut self) {
        let now = self.cluster.now;
        let gap = now - self.last_tick.replace(now).unwrap_or(now);
        if gap > self.cluster.settings.pause() {
            return self.forgive_pause(gap);
        }
        self.expire_workers();
        self.expire_drivers();
        self.expire_limits();
        self.expire_exclusions();
        self.advance_drains();
        self.expire_waits_for_workers();
        if self.held_until.is_some_and(|until| until < now) {
            self.held_until = None;
            self.apps.values_mut().for_each(|app| app.run.let_go(&mut self.cluster));
        }
        for app in self.apps.values_mut() {
            if matches!(&app.phase, Phase::Running(driver) if driver.connected) {
                app.run.tell_progress(&mut self.cluster);
            }
        }
    }

    /// Work that waits while there is no worker at all does not wait for ever.
    fn expire_waits_for_workers(&mut self) {
        let now = self.cluster.now;
        if self.cluster.workers.count > 0 {
            self.no_workers_since = None;
            return;
        }
        let since = *self.no_workers_since.get_or_insert(now);
        let timeout = self.cluster.settings.no_workers_timeout;
        if now - since <= timeout {
            return;
        }
        let error = || {
            let message = format!("there has been no worker for {} ms", (now - since).0 / 1_000);
            Error::new(ErrorCode::NoWorkers, message).with_help("start workers, then submit it again")
        };
        for app in self.apps.values_mut() {
            let waits = |job: &&job::Job| !job.targets.is_empty() && now - job.submitted > timeout;
            let jobs: Vec<JobId> = app.run.jobs.values().filter(waits).map(|job| job.id).collect();
            for job in jobs {
                if app.run.needed_now(std::iter::once(job)).is_empty() {
                    continue;
                }
                app.run.fail_job(&mut self.cluster, job, error());
            }
        }
        self.expire_queue(timeout, &error());
    }
}
