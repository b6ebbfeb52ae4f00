//! What the daemon answers from: how every application and plugin is, kept in memory and changed by effects.
//!
//! It decides nothing. The journal is the truth of what is durable, the scheduler of what is to be done; this
//! is where both are looked up without asking either.

use crate::journal::{Recovered, StoredOutcome};
use crate::retention::Keep;
use firesteel_common::error::Error;
use firesteel_common::http::{AppState, AppStatus, DeployMode, PluginInfo, SubmitRequest};
use firesteel_common::id::{AppAttemptId, AppId, PluginHash};
use firesteel_common::options::AppOptions;
use firesteel_common::{ErrorCode, event::AppEvent};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// How everything is.
#[derive(Default)]
pub(crate) struct Board {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    apps: BTreeMap<AppId, App>,
    plugins: BTreeMap<PluginHash, PluginInfo>,
    /// When a plugin was uploaded or named last, in milliseconds since 1970.
    used: BTreeMap<PluginHash, u64>,
    /// Ended applications, the earliest ended first.
    ended: BTreeSet<(u64, AppId)>,
    /// Applications that wait for a driver.
    waiting: usize,
}

struct App {
    status: AppStatus,
    kind: AppKind,
    plugin: Option<PluginHash>,
    /// The highest attempt that may have a driver.
    attempt: u32,
    /// Made by the first who waits for a change.
    changed: Option<Arc<Notify>>,
}

/// What kind of application it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AppKind {
    /// A SQL text (its result is an Arrow stream) or an entry point (its result is JSON).
    pub sql: bool,
    /// Where its driver runs.
    pub deploy_mode: DeployMode,
}

impl AppKind {
    /// The kind of a submission.
    pub(crate) fn of(request: &SubmitRequest) -> Self {
        Self { sql: request.sql.is_some(), deploy_mode: request.deploy_mode }
    }
}

/// How an application is, and what to wait on until that changes.
pub(crate) struct Watched {
    /// How it is.
    pub status: AppStatus,
    /// Ready at its next change; `None` if there will be none.
    pub changed: Option<OwnedNotified>,
}

impl Board {
    /// What the journal held.
    pub(crate) fn new(recovered: &Recovered) -> Self {
        let board = Self::default();
        for plugin in &recovered.plugins {
            board.add_plugin(plugin.clone(), 0);
        }
        for app in &recovered.apps {
            board.add_app(app.app, &app.request, &app.owner, app.submitted_ms, app.attempt);
            if let Some(outcome) = &app.outcome {
                board.end_app(app.app, outcome);
            }
        }
        board
    }

    /// An application was accepted.
    pub(crate) fn add_app(
        &self,
        app: AppId,
        request: &SubmitRequest,
        owner: &str,
        submitted_ms: u64,
        attempt: u32,
    ) {
        let status = AppStatus {
            app,
            name: request.name.clone(),
            state: AppState::Waiting,
            attempt: 0,
            driver: None,
            submitted_ms,
            ended_ms: None,
            error: None,
            result_bytes: None,
            owner: owner.to_owned(),
            pool: AppOptions::from_conf(&request.conf).unwrap_or_default().pool,
            tags: request.tags.clone(),
        };
        let plugin = request.plugin;
        let entry = App { status, kind: AppKind::of(request), plugin, attempt, changed: None };
        let mut inner = self.inner.lock();
        inner.use_plugin(plugin, submitted_ms);
        if inner.apps.insert(app, entry).is_none() {
            inner.waiting += 1;
        }
    }

    /// A line of the event log, as far as it says how an application is.
    pub(crate) fn event(&self, app: AppAttemptId, event: &AppEvent) {
        if let AppEvent::AppStarted { worker, .. } = event {
            self.change(app.app, |entry| {
                entry.attempt = entry.attempt.max(app.attempt);
                entry.status.attempt = app.attempt;
                entry.status.driver = *worker;
                entry.status.state = AppState::Running;
            });
        }
    }

    /// A driver is connected, so its application runs; unless a later attempt is wanted already, whose driver
    /// is the one to wait for.
    pub(crate) fn driver_attached(&self, app: AppAttemptId) {
        self.change(app.app, |entry| {
            if app.attempt == entry.attempt {
                entry.status.attempt = app.attempt;
                entry.status.state = AppState::Running;
            }
        });
    }

    /// A further driver is wanted; the application waits again.
    pub(crate) fn attempt_wanted(&self, app: AppAttemptId) {
        self.change(app.app, |entry| {
            entry.attempt = entry.attempt.max(app.attempt);
            entry.status.driver = None;
            entry.status.state = AppState::Waiting;
        });
    }

    /// An application's outcome is durable.
    pub(crate) fn end_app(&self, app: AppId, outcome: &StoredOutcome) {
        let ended = self.change(app, |entry| {
            entry.status.state = match &outcome.error {
                None => AppState::Succeeded,
                Some(error) if error.code == ErrorCode::Killed => AppState::Killed,
                Some(_) => AppState::Failed,
            };
            entry.status.ended_ms = Some(outcome.ended_ms);
            entry.status.error = outcome.error.clone();
            entry.status.result_bytes = outcome.result_bytes;
            entry.plugin
        });
        if let Some(plugin) = ended {
            let mut inner = self.inner.lock();
            inner.ended.insert((outcome.ended_ms, app));
            inner.use_plugin(plugin, outcome.ended_ms);
        }
    }

    /// Changes an application that has not ended, and tells who waits.
    fn change<T>(&self, app: AppId, change: impl FnOnce(&mut App) -> T) -> Option<T> {
        let mut inner = self.inner.lock();
        let entry = inner.apps.get_mut(&app).filter(|entry| !entry.status.state.is_final())?;
        let was_waiting = entry.status.state == AppState::Waiting;
        let changed = change(entry);
        let is_waiting = entry.status.state == AppState::Waiting;
        if let Some(waiters) = entry.changed.take() {
            waiters.notify_waiters();
        }
        inner.waiting = inner.waiting + usize::from(is_waiting) - usize::from(was_waiting);
        Some(changed)
    }

    /// Ended applications that are kept no longer, the earliest ended first, at most `limit`.
    pub(crate) fn outdated(&self, keep: &Keep, now_ms: u64, limit: usize) -> Vec<AppId> {
        let inner = self.inner.lock();
        let surplus = keep.surplus(inner.ended.len());
        let ended = inner.ended.iter().enumerate().take(limit);
        let over = ended
            .take_while(|(at, (ended_ms, _))| keep.is_over(*at < surplus, now_ms.saturating_sub(*ended_ms)));
        over.map(|(_, (_, app))| *app).collect()
    }

    /// Every ended application, at most `limit`.
    pub(crate) fn ended(&self, limit: usize) -> Vec<AppId> {
        self.inner.lock().ended.iter().take(limit).map(|(_, app)| *app).collect()
    }

    /// An ended application is forgotten.
    pub(crate) fn forget(&self, app: AppId) {
        let mut inner = self.inner.lock();
        if let Some(gone) = inner.apps.remove(&app) {
            inner.ended.remove(&(gone.status.ended_ms.unwrap_or_default(), app));
        }
    }

    /// Plugins that no application needs and nobody has named since `since_ms`.
    pub(crate) fn unused_plugins(&self, since_ms: u64) -> Vec<PluginHash> {
        let inner = self.inner.lock();
        let old = |hash: &&PluginHash| inner.used.get(hash).is_none_or(|used| *used < since_ms);
        let mut unused: Vec<PluginHash> = inner.plugins.keys().filter(old).copied().collect();
        if !unused.is_empty() {
            let open = inner.apps.values().filter(|app| !app.status.state.is_final());
            let needed: BTreeSet<PluginHash> = open.filter_map(|app| app.plugin).collect();
            unused.retain(|hash| !needed.contains(hash));
        }
        unused
    }

    /// A plugin is of use to somebody.
    pub(crate) fn use_plugin(&self, hash: PluginHash, at_ms: u64) {
        self.inner.lock().use_plugin(Some(hash), at_ms);
    }

    /// How an application is.
    pub(crate) fn app(&self, app: AppId) -> Option<AppStatus> {
        self.inner.lock().apps.get(&app).map(|entry| entry.status.clone())
    }

    /// Whether it is an application that has not ended.
    pub(crate) fn runs(&self, app: AppId) -> bool {
        self.inner.lock().apps.get(&app).is_some_and(|entry| !entry.status.state.is_final())
    }

    /// What kind of application it is.
    pub(crate) fn kind(&self, app: AppId) -> Option<AppKind> {
        self.inner.lock().apps.get(&app).map(|entry| entry.kind)
    }

    /// How an application is, and its next change.
    pub(crate) fn watch(&self, app: AppId) -> Option<Watched> {
        let mut inner = self.inner.lock();
        let entry = inner.apps.get_mut(&app)?;
        let status = entry.status.clone();
        let changed = (!status.state.is_final()).then(|| {
            let changed = entry.changed.get_or_insert_with(|| Arc::new(Notify::new()));
            Arc::clone(changed).notified_owned()
        });
        Some(Watched { status, changed })
    }

    /// Whether a driver of this attempt may connect. One whose application has ended may too: it may not have
    /// heard yet that its outcome is durable.
    pub(crate) fn admits_driver(&self, app: AppAttemptId) -> bool {
        let inner = self.inner.lock();
        inner.apps.get(&app.app).is_some_and(|entry| (1..=entry.attempt).contains(&app.attempt))
    }

    /// The applications that are `wanted`, the newest first, from the `offset`-th, at most `limit`; and how
    /// many there are in all.
    pub(crate) fn apps(
        &self,
        wanted: impl Fn(&AppStatus) -> bool,
        offset: usize,
        limit: usize,
    ) -> (Vec<AppStatus>, usize) {
        let inner = self.inner.lock();
        let (mut page, mut total) = (Vec::new(), 0);
        for status in inner.apps.values().rev().map(|entry| &entry.status).filter(|status| wanted(status)) {
            if total >= offset && page.len() < limit {
                page.push(status.clone());
            }
            total += 1;
        }
        (page, total)
    }

    /// How many applications wait for a driver.
    pub(crate) fn waiting(&self) -> usize {
        self.inner.lock().waiting
    }

    /// How many applications are in which state.
    pub(crate) fn states(&self) -> Vec<(AppState, usize)> {
        let mut counts = AppState::ALL.map(|state| (state, 0));
        for app in self.inner.lock().apps.values() {
            counts
                .iter_mut()
                .filter(|(state, _)| *state == app.status.state)
                .for_each(|(_, count)| *count += 1);
        }
        counts.to_vec()
    }

    /// A plugin is durable.
    pub(crate) fn add_plugin(&self, plugin: PluginInfo, at_ms: u64) {
        let mut inner = self.inner.lock();
        inner.use_plugin(Some(plugin.hash), at_ms);
        inner.plugins.insert(plugin.hash, plugin);
    }

    /// A plugin is gone.
    pub(crate) fn remove_plugin(&self, hash: PluginHash) {
        let mut inner = self.inner.lock();
        inner.plugins.remove(&hash);
        inner.used.remove(&hash);
    }

    /// A plugin.
    pub(crate) fn plugin(&self, hash: PluginHash) -> Option<PluginInfo> {
        self.inner.lock().plugins.get(&hash).cloned()
    }

    /// Every plugin, by hash.
    pub(crate) fn plugins(&self) -> Vec<PluginInfo> {
        self.inner.lock().plugins.values().cloned().collect()
    }

    /// How many plugins there are.
    pub(crate) fn plugin_count(&self) -> usize {
        self.inner.lock().plugins.len()
    }

    /// Bytes of all plugins.
    pub(crate) fn plugin_bytes(&self) -> u64 {
        self.inner.lock().plugins.values().map(|plugin| plugin.bytes).sum()
    }
}

impl Inner {
    fn use_plugin(&mut self, plugin: Option<PluginHash>, at_ms: u64) {
        if let Some(hash) = plugin {
            let used = self.used.entry(hash).or_default();
            *used = at_ms.max(*used);
        }
    }
}

/// What is said of an application that is not there.
pub(crate) fn no_such_app(app: AppId) -> Error {
    Error::new(ErrorCode::NotFound, format!("there is no application {app}"))
        .with_help("`firesteel apps` shows the applications")
}

/// What is said of a plugin that is not there.
pub(crate) fn no_such_plugin(hash: PluginHash) -> Error {
    Error::new(ErrorCode::NotFound, format!("there is no plugin {hash}"))
        .with_help("upload it first with POST /api/firesteel/v1/plugins")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_driver_of_the_highest_attempt_makes_its_application_run() {
        let board = Board::default();
        let attempt = |attempt| AppAttemptId { app: AppId(1), attempt };
        board.add_app(AppId(1), &serde_json::from_str("{}").unwrap(), "", 5, 1);
        board.driver_attached(attempt(1));
        let seen = || board.app(AppId(1)).map(|app| (app.state, app.attempt)).unwrap();
        assert_eq!((seen(), board.waiting()), ((AppState::Running, 1), 0));
        board.attempt_wanted(attempt(2));
        board.driver_attached(attempt(1));
        assert_eq!((seen(), board.waiting()), ((AppState::Waiting, 1), 1));
        board.driver_attached(attempt(2));
        board.driver_attached(attempt(1));
        assert_eq!((seen(), board.waiting()), ((AppState::Running, 2), 0));
    }
}
