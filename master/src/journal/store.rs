//! The journal's tables, and how a group of records becomes one transaction. With `file.rs`, the only file
//! here that names redb.
//!
//! Every commit saves what redb needs after a crash, so a start takes the same time whether the master was
//! stopped or killed: it reads the file once, and compares every checksum in it.
//!
//! redb refuses everything after a failed write until the file is opened anew, so the store does that itself:
//! when a disk that was full has room again, the next transaction succeeds.

mod forget;
mod lookup;

use super::answers::{Applied, Deferred, defer, not_open, panicked, refuse, survive};
use super::file::{self, other_version};
use super::health::Health;
use super::{INLINE_RESULT_MAX, Outcome, Record, StoredOutcome, Submission, Submitted};
use crate::board::no_such_plugin;
use crate::files::{replace_file, result_path};
use crate::tokens::{StoredToken, name_taken};
use firesteel_common::http::{PluginInfo, SubmitRequest};
use firesteel_common::id::{AppAttemptId, AppId, Epoch, PluginHash};
use firesteel_common::{Error, ErrorCode};
use parking_lot::RwLock;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// The version of the tables below; a journal of another one is refused.
pub(super) const FORMAT: u64 = 1;

/// `format`, `epoch`, `next_app`.
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// Application → JSON [`StoredSubmission`].
const SUBMISSIONS: TableDefinition<u64, &[u8]> = TableDefinition::new("submissions");
/// Application → its highest driver attempt, when it is not 1.
const ATTEMPTS: TableDefinition<u64, u32> = TableDefinition::new("attempts");
/// Idempotency key → application and fingerprint of the request.
const KEYS: TableDefinition<&str, (u64, &[u8; 32])> = TableDefinition::new("idempotency_keys");
/// Plugin hash → JSON [`PluginInfo`]; the bytes lie in `plugins/<hash>`.
const PLUGINS: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("plugins");
/// Application → JSON [`StoredOutcome`].
const OUTCOMES: TableDefinition<u64, &[u8]> = TableDefinition::new("outcomes");
/// Application → its result, unless it lies in `results/<app>`.
const RESULTS: TableDefinition<u64, &[u8]> = TableDefinition::new("results");
/// Application → why somebody wants its end.
const KILLS: TableDefinition<u64, &str> = TableDefinition::new("kills");

/// Name → JSON [`StoredToken`].
const TOKENS: TableDefinition<&str, &[u8]> = TableDefinition::new("tokens");

#[derive(Serialize, Deserialize)]
struct StoredSubmission {
    request: SubmitRequest,
    #[serde(default)]
    owner: String,
    submitted_ms: u64,
}

/// What the journal held when it was opened.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// The epoch that begins.
    pub epoch: Epoch,
    /// Every accepted application, by id.
    pub apps: Vec<RecoveredApp>,
    /// Every plugin.
    pub plugins: Vec<PluginInfo>,
    /// Every token but the cluster's own.
    pub tokens: Vec<StoredToken>,
}

/// An accepted application.
#[derive(Debug)]
pub(crate) struct RecoveredApp {
    /// Its id.
    pub app: AppId,
    /// What was asked for.
    pub request: SubmitRequest,
    /// Who asked; empty for the cluster's own token.
    pub owner: String,
    /// When, in milliseconds since 1970.
    pub submitted_ms: u64,
    /// Its highest driver attempt.
    pub attempt: u32,
    /// How it ended.
    pub outcome: Option<StoredOutcome>,
    /// Why somebody wants its end.
    pub kill: Option<String>,
}

pub(super) struct Store {
    run_dir: PathBuf,
    /// `None` while a failed one could not be opened anew.
    database: RwLock<Option<Database>>,
    pub(super) health: Health,
    #[cfg(test)]
    panics: std::sync::atomic::AtomicBool,
}

impl Store {
    pub(super) fn open(run_dir: &Path) -> Result<(Self, Recovered), Error> {
        let database = file::open(run_dir)?;
        let recovered = recover(&database)?;
        let database = RwLock::new(Some(database));
        Ok((
            Self {
                run_dir: run_dir.to_owned(),
                database,
                health: Health::default(),
                #[cfg(test)]
                panics: Default::default(),
            },
            recovered,
        ))
    }

    /// Makes a group of records durable and answers each, whatever happens to the database meanwhile.
    pub(super) fn commit(&self, group: Vec<Record>) {
        let mut group = VecDeque::from(group);
        let mut deferred = Vec::with_capacity(group.len());
        let committed =
            survive(|| self.transact(&mut group, &mut deferred)).unwrap_or_else(|| Err(panicked()));
        // Nobody asks again for what was never answered.
        deferred.extend(group.into_iter().map(refuse));
        if let Err(error) = &committed {
            tracing::error!(%error, "the journal cannot be written");
            let failed = self.database.write().take();
            survive(move || drop(failed));
        }
        self.health.note(committed.as_ref().copied().map_err(|error| error.code));
        for answer in deferred {
            survive(|| answer(committed.clone()));
        }
    }

    fn transact(&self, group: &mut VecDeque<Record>, deferred: &mut Vec<Deferred>) -> Result<(), Error> {
        let txn = self.begin()?;
        #[cfg(test)]
        assert!(!self.panics.swap(false, std::sync::atomic::Ordering::Relaxed), "on purpose");
        self.commit_group(txn, group, deferred)
    }

    /// Begins a transaction; opens the database again first if its last one failed.
    fn begin(&self) -> Result<WriteTransaction, Error> {
        if self.database.read().is_none() {
            *self.database.write() = Some(file::open(&self.run_dir)?);
        }
        let database = self.database.read();
        let Some(database) = database.as_ref() else { return Err(not_open()) };
        database.begin_write().map_err(|cause| storage_error("writing the journal", cause.into()))
    }

    fn commit_group(
        &self,
        mut txn: WriteTransaction,
        group: &mut VecDeque<Record>,
        deferred: &mut Vec<Deferred>,
    ) -> Result<(), Error> {
        let failed = |cause| storage_error("writing the journal", cause);
        txn.set_quick_repair(true);
        let mut broken = None;
        while let Some(record) = group.pop_front() {
            let applied = self.apply(&txn, record, deferred);
            broken = broken.or(applied.err());
        }
        match broken {
            Some(cause) => Err(failed(cause)),
            None => txn.commit().map_err(|cause| failed(cause.into())),
        }
    }

    fn apply(
        &self,
        txn: &WriteTransaction,
        record: Record,
        deferred: &mut Vec<Deferred>,
    ) -> Result<(), redb::Error> {
        match record {
            Record::Submit(submission, ack) => defer(ack, || submit(txn, &submission), deferred),
            Record::Plugin(info, ack) => defer(ack, || plugin(txn, &info), deferred),
            Record::PluginRemoved(hash, ack) => defer(ack, || remove_plugin(txn, hash), deferred),
            Record::Attempt(app, ack) => defer(ack, || attempt(txn, app), deferred),
            Record::Outcome(outcome, ack) => defer(ack, || self.outcome(txn, &outcome), deferred),
            Record::Kill(app, reason, ack) => defer(ack, || kill(txn, app, &reason), deferred),
            Record::Forget(apps, ack) => defer(ack, || forget::forget(txn, &apps), deferred),
            Record::Token(token, ack) => defer(ack, || keep_token(txn, &token), deferred),
            Record::TokenRevoked(name, ack) => defer(ack, || forget_token(txn, &name), deferred),
            Record::Probe(ack) => defer(ack, || probe(txn), deferred),
        }
    }

    fn outcome(&self, txn: &WriteTransaction, ended: &Outcome) -> Applied<StoredOutcome> {
        let mut outcomes = txn.open_table(OUTCOMES)?;
        if let Some(stored) = outcomes.get(ended.app.0)? {
            return Ok(from_json(stored.value()));
        }
        let result = ended.outcome.as_ref().ok();
        if let Some(result) = result {
            if result.len() > INLINE_RESULT_MAX {
                if let Err(error) = replace_file(&result_path(&self.run_dir, ended.app), result) {
                    return Ok(Err(error));
                }
            } else {
                txn.open_table(RESULTS)?.insert(ended.app.0, &**result)?;
            }
        }
        let stored = StoredOutcome {
            ended_ms: ended.ended_ms,
            error: ended.outcome.as_ref().err().cloned(),
            result_bytes: result.map(|result| result.len() as u64),
        };
        match to_json(&stored) {
            Ok(json) => outcomes.insert(ended.app.0, json.as_slice())?,
            Err(error) => return Ok(Err(error)),
        };
        Ok(Ok(stored))
    }
}

fn submit(txn: &WriteTransaction, submission: &Submission) -> Applied<Submitted> {
    let mut keys = txn.open_table(KEYS)?;
    let key = key_of(&submission.request, &submission.owner);
    let key = key.as_deref();
    if let Some(key) = key
        && let Some(known) = keys.get(key)?
    {
        let (app, fingerprint) = known.value();
        if *fingerprint != submission.fingerprint {
            return Ok(Err(conflict(key, AppId(app))));
        }
        let attempt = txn.open_table(ATTEMPTS)?.get(app)?.map_or(1, |attempt| attempt.value());
        return Ok(Ok(Submitted { app: AppId(app), attempt, fresh: false }));
    }
    if let Some(refusal) = &submission.refusal {
        return Ok(Err(refusal.clone()));
    }
    if let Some(hash) = submission.request.plugin
        && txn.open_table(PLUGINS)?.get(&hash.0)?.is_none()
    {
        return Ok(Err(no_such_plugin(hash)));
    }
    let stored = StoredSubmission {
        request: submission.request.clone(),
        owner: submission.owner.clone(),
        submitted_ms: submission.submitted_ms,
    };
    let json = match to_json(&stored) {
        Ok(json) => json,
        Err(error) => return Ok(Err(error)),
    };
    let mut meta = txn.open_table(META)?;
    let app = meta.get("next_app")?.map_or(1, |next| next.value());
    meta.insert("next_app", app + 1)?;
    txn.open_table(SUBMISSIONS)?.insert(app, json.as_slice())?;
    if let Some(key) = key {
        keys.insert(key, (app, &submission.fingerprint))?;
    }
    Ok(Ok(Submitted { app: AppId(app), attempt: 1, fresh: true }))
}

/// The idempotency key of a request as it is kept: everybody has keys of their own.
fn key_of(request: &SubmitRequest, owner: &str) -> Option<String> {
    request.idempotency_key.as_deref().map(|key| match owner {
        "" => key.to_owned(),
        owner => format!("{owner}\n{key}"),
    })
}

fn conflict(key: &str, app: AppId) -> Error {
    Error::new(
        ErrorCode::Conflict,
        format!("the idempotency key '{key}' belongs to {app}, which is another one"),
    )
    .with_help("send the same request for the same application, or another key for another one")
}

fn plugin(txn: &WriteTransaction, info: &PluginInfo) -> Applied<()> {
    let mut plugins = txn.open_table(PLUGINS)?;
    match to_json(info) {
        Ok(json) => plugins.insert(&info.hash.0, json.as_slice())?,
        Err(error) => return Ok(Err(error)),
    };
    Ok(Ok(()))
}

/// Forgets a plugin that no application needs any more.
fn remove_plugin(txn: &WriteTransaction, hash: PluginHash) -> Applied<()> {
    let mut plugins = txn.open_table(PLUGINS)?;
    if plugins.get(&hash.0)?.is_none() {
        return Ok(Err(no_such_plugin(hash)));
    }
    let outcomes = txn.open_table(OUTCOMES)?;
    for entry in txn.open_table(SUBMISSIONS)?.iter()? {
        let (app, json) = entry?;
        if outcomes.get(app.value())?.is_some() {
            continue;
        }
        match from_json::<StoredSubmission>(json.value()) {
            Ok(stored) if stored.request.plugin != Some(hash) => {}
            Ok(_) => {
                let what = format!("{} needs the plugin {hash}", AppId(app.value()));
                return Ok(Err(
                    Error::new(ErrorCode::Conflict, what).with_help("wait for its end, or kill it")
                ));
            }
            Err(error) => return Ok(Err(error)),
        }
    }
    plugins.remove(&hash.0)?;
    Ok(Ok(()))
}

fn attempt(txn: &WriteTransaction, app: AppAttemptId) -> Applied<()> {
    let mut attempts = txn.open_table(ATTEMPTS)?;
    let highest = attempts.get(app.app.0)?.map_or(1, |attempt| attempt.value());
    if app.attempt > highest {
        attempts.insert(app.app.0, app.attempt)?;
    }
    Ok(Ok(()))
}

fn kill(txn: &WriteTransaction, app: AppId, reason: &str) -> Applied<()> {
    txn.open_table(KILLS)?.insert(app.0, reason)?;
    Ok(Ok(()))
}

fn keep_token(txn: &WriteTransaction, token: &StoredToken) -> Applied<()> {
    let mut tokens = txn.open_table(TOKENS)?;
    if tokens.get(token.name.as_str())?.is_some() {
        return Ok(Err(name_taken(&token.name)));
    }
    match to_json(token) {
        Ok(json) => tokens.insert(token.name.as_str(), json.as_slice())?,
        Err(error) => return Ok(Err(error)),
    };
    Ok(Ok(()))
}

fn forget_token(txn: &WriteTransaction, name: &str) -> Applied<()> {
    txn.open_table(TOKENS)?.remove(name)?;
    Ok(Ok(()))
}

/// Writes something that nobody reads.
fn probe(txn: &WriteTransaction) -> Applied<()> {
    let mut meta = txn.open_table(META)?;
    let count = meta.get("probes")?.map_or(0, |count| count.value());
    meta.insert("probes", count.wrapping_add(1))?;
    Ok(Ok(()))
}

/// Checks the version, begins an epoch, and reads everything.
fn recover(database: &Database) -> Result<Recovered, Error> {
    let failed = |cause| storage_error("reading the journal", cause);
    let found = begin_epoch(database).map_err(failed)?;
    let epoch = found.map_err(|found| other_version(Path::new("the journal"), found))?;
    let mut recovered = Recovered { epoch, ..Recovered::default() };
    read_tables(database, &mut recovered).map_err(failed)??;
    Ok(recovered)
}

/// The epoch that begins; or, as the inner error, the format of a journal that is not ours.
fn begin_epoch(database: &Database) -> Result<Result<Epoch, u64>, redb::Error> {
    let txn = database.begin_write()?;
    let epoch = {
        let mut meta = txn.open_table(META)?;
        let format = meta.get("format")?.map(|format| format.value());
        if let Some(found) = format.filter(|format| *format != FORMAT) {
            return Ok(Err(found));
        }
        let epoch = meta.get("epoch")?.map_or(0, |epoch| epoch.value()) + 1;
        meta.insert("format", FORMAT)?;
        meta.insert("epoch", epoch)?;
        epoch
    };
    txn.open_table(SUBMISSIONS)?;
    txn.open_table(ATTEMPTS)?;
    txn.open_table(KEYS)?;
    txn.open_table(PLUGINS)?;
    txn.open_table(OUTCOMES)?;
    txn.open_table(RESULTS)?;
    txn.open_table(KILLS)?;
    txn.open_table(TOKENS)?;
    txn.commit()?;
    Ok(Ok(Epoch(epoch)))
}

fn read_tables(database: &Database, recovered: &mut Recovered) -> Result<Result<(), Error>, redb::Error> {
    let txn = database.begin_read()?;
    let (attempts, outcomes) = (txn.open_table(ATTEMPTS)?, txn.open_table(OUTCOMES)?);
    let kills = txn.open_table(KILLS)?;
    for entry in txn.open_table(SUBMISSIONS)?.iter()? {
        let (app, json) = entry?;
        let app = AppId(app.value());
        let stored: StoredSubmission = match from_json(json.value()) {
            Ok(stored) => stored,
            Err(error) => return Ok(Err(error.context(app))),
        };
        let outcome = match outcomes.get(app.0)?.map(|json| from_json(json.value())).transpose() {
            Ok(outcome) => outcome,
            Err(error) => return Ok(Err(error.context(app))),
        };
        recovered.apps.push(RecoveredApp {
            app,
            request: stored.request,
            owner: stored.owner,
            submitted_ms: stored.submitted_ms,
            attempt: attempts.get(app.0)?.map_or(1, |attempt| attempt.value()),
            outcome,
            kill: kills.get(app.0)?.map(|reason| reason.value().to_owned()),
        });
    }
    for entry in txn.open_table(PLUGINS)?.iter()? {
        match from_json(entry?.1.value()) {
            Ok(info) => recovered.plugins.push(info),
            Err(error) => return Ok(Err(error)),
        }
    }
    for entry in txn.open_table(TOKENS)?.iter()? {
        match from_json(entry?.1.value()) {
            Ok(token) => recovered.tokens.push(token),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(()))
}

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value)
        .map_err(|cause| Error::new(ErrorCode::Codec, format!("encoding a record of the journal: {cause}")))
}

fn from_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(json)
        .map_err(|cause| Error::new(ErrorCode::Codec, format!("reading a record of the journal: {cause}")))
}

pub(super) fn storage_error(doing: impl std::fmt::Display, cause: redb::Error) -> Error {
    let error = match cause {
        redb::Error::Io(cause) => Error::io(doing, &cause),
        cause => Error::new(ErrorCode::Io, format!("{doing}: {cause}")),
    };
    match error.code {
        ErrorCode::DiskFull => error.with_help("make room where the run directory lies"),
        _ => error,
    }
}

/// Makes a journal that another version has written.
#[cfg(test)]
pub(super) fn write_format(run_dir: &Path, format: u64) {
    let txn = file::open(run_dir).unwrap().begin_write().unwrap();
    txn.open_table(META).unwrap().insert("format", format).unwrap();
    txn.commit().unwrap();
}

#[cfg(test)]
impl Store {
    /// A store over another file than that of a run directory.
    pub(super) fn over(database: Database, run_dir: &Path) -> Result<(Self, Recovered), Error> {
        let recovered = recover(&database)?;
        let (health, panics) = Default::default();
        let database = RwLock::new(Some(database));
        Ok((Self { run_dir: run_dir.to_owned(), database, health, panics }, recovered))
    }

    /// As after a failed transaction.
    pub(super) fn fail(&self) {
        *self.database.write() = None;
    }

    /// As if the next transaction met a fault of the database's own code.
    pub(super) fn panic_next(&self) {
        self.panics.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}
