//! Applications that wait for a place for their driver. However many they are, what happens to one, or to
//! those that run, costs the same: they are found by number, by whose turn it is, and by their time limit,
//! and nothing that happens regularly looks at all of them.
//!
//! The oldest one is next. In `fair` mode it is the oldest of the pool that has the fewest drivers for its
//! weight; so no pool waits for more than its share, whatever others submit.

use crate::Scheduler;
use crate::app::{App, Driver, Phase};
use firesteel_common::error::Error;
use firesteel_common::event::{AppEvent, EVENT_LOG_VERSION};
use firesteel_common::id::AppId;
use firesteel_common::protocol::worker::ToWorker;
use firesteel_common::time::{Micros, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Whose turn it is among pools: drivers for the weight, then the oldest application.
type Turn = (u64, AppId, String);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub apps: BTreeMap<AppId, App>,
    pools: BTreeMap<String, Pool>,
    turns: BTreeSet<Turn>,
    /// Until when applications with a time limit must have ended.
    limits: BTreeSet<(Timestamp, AppId)>,
}

#[derive(Debug, Default)]
struct Pool {
    waiting: BTreeSet<AppId>,
    /// Applications of it whose driver has a place.
    placed: u32,
}

fn limit_of(app: &App) -> Option<(Timestamp, AppId)> {
    let limit = app.run.options.timeout_ms;
    (limit > 0).then(|| (app.since + Micros::from_millis(limit), app.id))
}

impl Queue {
    /// Changes what is known of a pool, and keeps its turn right. `weight` is `None` where turns do not
    /// depend on pools.
    fn change(&mut self, name: &str, weight: Option<u32>, change: impl FnOnce(&mut Pool)) {
        let turn = |pool: &Pool| {
            let first = pool.waiting.first().copied()?;
            let share = weight.map_or(0, |weight| (u64::from(pool.placed) << 24) / u64::from(weight.max(1)));
            Some((share, first, name.to_owned()))
        };
        let pool = self.pools.entry(name.to_owned()).or_default();
        let before = turn(pool);
        change(pool);
        let after = turn(pool);
        let is_over = pool.waiting.is_empty() && pool.placed == 0;
        if before != after {
            if let Some(before) = before {
                self.turns.remove(&before);
            }
            self.turns.extend(after);
        }
        if is_over {
            self.pools.remove(name);
        }
    }

    /// All deadlines move.
    pub fn shift(&mut self, shift: impl Fn(&mut Timestamp)) {
        for app in self.apps.values_mut() {
            shift(&mut app.since);
            if let Phase::Queued { since } = &mut app.phase {
                shift(since);
            }
        }
        self.limits = self.apps.values().filter_map(limit_of).collect();
    }

    /// The applications whose time is over.
    pub fn over_limit(&self, now: Timestamp) -> Vec<AppId> {
        self.limits.range(..(now, AppId(0))).map(|(_, app)| *app).collect()
    }
}

impl Scheduler {
    fn weight(&self, pool: &str) -> Option<u32> {
        self.cluster.pools.fair.then(|| self.cluster.pools.weight(pool))
    }

    /// An application waits for a place for its driver from now on.
    pub(crate) fn enqueue(&mut self, mut app: App) {
        app.phase = Phase::Queued { since: self.cluster.now };
        let (id, pool) = (app.id, app.run.options.pool.clone());
        self.queue.limits.extend(limit_of(&app));
        self.queue.apps.insert(id, app);
        let weight = self.weight(&pool);
        self.queue.change(&pool, weight, |pool| pool.waiting.extend([id]));
        self.cluster.driver_room = true;
    }

    /// Takes an application out of the queue, if it is there.
    fn dequeue(&mut self, id: AppId) -> Option<App> {
        let app = self.queue.apps.remove(&id)?;
        if let Some(limit) = limit_of(&app) {
            self.queue.limits.remove(&limit);
        }
        let weight = self.weight(&app.run.options.pool);
        self.queue.change(&app.run.options.pool, weight, |pool| {
            pool.waiting.remove(&id);
        });
        Some(app)
    }

    /// An application that does not wait is known from now on.
    pub(crate) fn insert_app(&mut self, app: App) {
        let (pool, places) = (app.run.options.pool.clone(), u32::from(app.program.is_some()));
        let weight = self.weight(&pool);
        self.apps.insert(app.id, app);
        self.queue.change(&pool, weight, |pool| pool.placed += places);
    }

    /// Forgets an application that does not wait.
    pub(crate) fn remove_app(&mut self, id: AppId) -> Option<App> {
        let app = self.apps.remove(&id)?;
        let places = u32::from(app.program.is_some());
        let weight = self.weight(&app.run.options.pool);
        let give_back = |pool: &mut Pool| pool.placed = pool.placed.saturating_sub(places);
        self.queue.change(&app.run.options.pool, weight, give_back);
        Some(app)
    }

    /// If an application waits, it does not any more.
    pub(crate) fn stop_waiting(&mut self, id: AppId) {
        if let Some(app) = self.dequeue(id) {
            self.insert_app(app);
        }
    }

    /// Starts waiting drivers where there is room, on the worker with the fewest.
    pub(crate) fn place_drivers(&mut self) {
        if !std::mem::take(&mut self.cluster.driver_room) {
            return;
        }
        while let Some((_, id, _)) = self.queue.turns.first() {
            let id = *id;
            let has_room =
                |w: &&crate::worker::Worker| w.takes_work() && (w.drivers.len() as u32) < w.drivers_max;
            let fewest = self.cluster.workers.iter().filter(has_room).min_by_key(|w| (w.drivers.len(), w.id));
            let Some(worker) = fewest.map(|worker| worker.id) else { return };
            let Some(mut app) = self.dequeue(id) else { return };
            let attempt = app.run.app;
            if let Some(program) = app.program.clone() {
                if let Some(state) = self.cluster.workers.get_mut(worker) {
                    state.drivers.insert(attempt);
                }
                app.run.workers.insert(worker);
                let started = AppEvent::AppStarted { version: EVENT_LOG_VERSION, worker: Some(worker) };
                self.cluster.log(attempt, started);
                let launch = app.launch(program);
                self.cluster.tell_worker(worker, ToWorker::StartDriver(launch));
            }
            app.phase = Phase::Running(Driver { worker: Some(worker), ..Driver::default() });
            self.insert_app(app);
        }
    }

    /// Ends those that have waited for a driver place for too long while there is no worker.
    pub(crate) fn expire_queue(&mut self, timeout: Micros, error: &Error) {
        let now = self.cluster.now;
        let is_over = |app: &App| matches!(app.phase, Phase::Queued { since } if now - since > timeout);
        let over = self.queue.apps.values().filter(|app| is_over(app));
        let over: Vec<AppId> = over.map(|app| app.id).collect();
        for app in over {
            self.end_app(app, Err(error.clone()), Some("there is no worker"));
        }
    }

    /// What must hold of the queue.
    ///
    /// # Errors
    /// What does not.
    pub(crate) fn check_queue(&self) -> Result<(), String> {
        let queue = &self.queue;
        let in_pools: BTreeSet<AppId> =
            queue.pools.values().flat_map(|pool| &pool.waiting).copied().collect();
        if !in_pools.iter().eq(queue.apps.keys()) {
            return Err("the queue and its pools hold different applications".to_owned());
        }
        let placed: u32 = queue.pools.values().map(|pool| pool.placed).sum();
        let live = self.apps.values().filter(|app| app.program.is_some()).count() as u32;
        if placed != live {
            return Err(format!("pools count {placed} drivers, but there are {live}"));
        }
        let waiting = queue.pools.values().filter(|pool| !pool.waiting.is_empty()).count();
        if waiting != queue.turns.len() {
            return Err("a pool has no turn, or two".to_owned());
        }
        let both = self.apps.keys().find(|app| queue.apps.contains_key(app));
        let astray =
            self.apps.values().find(|app| matches!(app.phase, Phase::Queued { .. })).map(|app| &app.id);
        match both.or(astray) {
            Some(app) => Err(format!("{app} waits and does not")),
            None => Ok(()),
        }
    }
}
