//! What survives a crash of the master: a thread that writes records to redb, many in one transaction, and
//! says so only after they are on disk.
//!
//! Whoever hands in a record gives a callback with it; the callback runs on the journal's thread once the
//! record is durable (or could not be made so). Nothing here decides anything but what only one writer can:
//! which id a submission gets, whether its idempotency key was used before, whether the plugin that it names
//! is there and may go, and whether the name of a token is free.

mod answers;
mod file;
mod health;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use store::Recovered;

use crate::tokens::StoredToken;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use firesteel_common::http::{PluginInfo, SubmitRequest};
use firesteel_common::id::{AppAttemptId, AppId, PluginHash};
use firesteel_common::{Error, ErrorCode, Payload};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use store::Store;

/// Records that may wait for the writer; half of them for requests of clients, so that the scheduler's own
/// find room when a crowd submits.
const QUEUE: usize = 8192;
/// Records of one transaction at most.
const GROUP_MAX: usize = 1024;
/// Bytes of results in one transaction at most (the last record may exceed it).
const GROUP_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A result of up to this many bytes lies in the journal; a longer one in a file of its own.
pub(crate) const INLINE_RESULT_MAX: usize = 16 * 1024 * 1024;

/// Called once a record is durable, or cannot be.
pub(crate) type Ack<T> = Box<dyn FnOnce(Result<T, Error>) + Send>;

/// Something to be made durable.
pub(crate) enum Record {
    /// An application is accepted; or found, if its idempotency key is known.
    Submit(Box<Submission>, Ack<Submitted>),
    /// A plugin's file is in its place.
    Plugin(PluginInfo, Ack<()>),
    /// A plugin is not needed any more.
    PluginRemoved(PluginHash, Ack<()>),
    /// A further driver attempt may be started.
    Attempt(AppAttemptId, Ack<()>),
    /// An application ended; the first outcome stays.
    Outcome(Outcome, Ack<StoredOutcome>),
    /// Somebody wants an application to end.
    Kill(AppId, String, Ack<()>),
    /// Ended applications are kept no longer; answered with those that went.
    Forget(Vec<AppId>, Ack<Vec<AppId>>),
    /// A token was made.
    Token(StoredToken, Ack<()>),
    /// The token of this name counts no longer.
    TokenRevoked(String, Ack<()>),
    /// Nothing; its answer says whether the journal can be written.
    Probe(Ack<()>),
}

/// A submission as the daemon has checked it.
#[derive(Clone, Debug)]
pub(crate) struct Submission {
    /// What was asked for, with the entry point's full name and the application's name filled in.
    pub request: SubmitRequest,
    /// The name of the token that it was sent with; empty for the cluster's own.
    pub owner: String,
    /// SHA-256 of what was asked for, as it was asked.
    pub fingerprint: [u8; 32],
    /// When, in milliseconds since 1970.
    pub submitted_ms: u64,
    /// Why a new application cannot be accepted now; a known key is answered nevertheless.
    pub refusal: Option<Error>,
}

/// The answer to a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Submitted {
    /// The application.
    pub app: AppId,
    /// Its highest journaled driver attempt.
    pub attempt: u32,
    /// Whether it is new.
    pub fresh: bool,
}

/// How an application ended.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The application.
    pub app: AppId,
    /// Its result or its error.
    pub outcome: Result<Payload, Error>,
    /// When, in milliseconds since 1970.
    pub ended_ms: u64,
}

/// How an application ended, without its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredOutcome {
    /// When, in milliseconds since 1970.
    pub ended_ms: u64,
    /// Why it failed.
    pub error: Option<Error>,
    /// Bytes of its result, if it succeeded.
    pub result_bytes: Option<u64>,
}

/// The journal of a run directory. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Journal {
    queue: Sender<Record>,
    store: Arc<Store>,
    writer: Arc<Mutex<Option<Writer>>>,
}

/// The writer's thread; it ends when its sender is dropped and nothing waits.
type Writer = (Sender<()>, JoinHandle<()>);

impl Journal {
    /// Opens the journal of a run directory, or makes it, and says what it holds. The epoch is one higher
    /// than at the last opening.
    ///
    /// # Errors
    /// `VERSION_MISMATCH` for a journal of another format; `IO` if it cannot be read or is in use.
    pub(crate) fn open(run_dir: &Path) -> Result<(Self, Recovered), Error> {
        // A damaged file is refused by redb, or makes it panic.
        let opened = answers::survive(|| Store::open(run_dir));
        let (store, recovered) = opened.unwrap_or_else(|| Err(damaged(run_dir)))?;
        let store = Arc::new(store);
        let (queue, records) = bounded(QUEUE);
        let (stop, stopped) = bounded(1);
        let writer_store = Arc::clone(&store);
        let writer = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write_records(&writer_store, &records, &stopped))
            .map_err(|cause| Error::io("starting the journal's thread", &cause))?;
        Ok((Self { queue, store, writer: Arc::new(Mutex::new(Some((stop, writer)))) }, recovered))
    }

    /// Hands in a record of a client.
    ///
    /// # Errors
    /// `QUEUE_FULL` when too much waits for the disk.
    pub(crate) fn try_write(&self, record: Record) -> Result<(), Error> {
        if self.queue.len() >= QUEUE / 2 {
            return Err(Error::new(ErrorCode::QueueFull, "too many requests wait for the master's disk")
                .with_help("try again in a moment"));
        }
        self.queue.try_send(record).map_err(|_| stopping())
    }

    /// Hands in a record of the scheduler.
    ///
    /// # Errors
    /// The record, when there is no room at the moment.
    pub(crate) fn try_write_own(&self, record: Record) -> Result<(), Box<Record>> {
        self.queue.try_send(record).map_err(|refused| match refused {
            TrySendError::Full(record) | TrySendError::Disconnected(record) => Box::new(record),
        })
    }

    /// What the last transaction said (the code of a failure), and whether that was just now. Otherwise a
    /// [`Record::Probe`] tells.
    pub(crate) fn health(&self) -> (Result<(), ErrorCode>, bool) {
        self.store.health.last()
    }

    /// A probe was not answered in time.
    pub(crate) fn note_silence(&self) {
        self.store.health.note(Err(ErrorCode::TimedOut));
    }

    /// The result of an application, if it lies in the journal.
    ///
    /// # Errors
    /// `IO` if it cannot be read.
    pub(crate) fn inline_result(&self, app: AppId) -> Result<Option<Vec<u8>>, Error> {
        self.store.inline_result(app)
    }

    /// What was submitted as an application.
    ///
    /// # Errors
    /// `IO` if it cannot be read.
    pub(crate) fn submission(&self, app: AppId) -> Result<Option<SubmitRequest>, Error> {
        self.store.submission(app)
    }

    /// Writes what is waiting, and ends the writer. What is handed in later is dropped.
    pub(crate) fn stop(&self) {
        let Some((stop, writer)) = self.writer.lock().take() else { return };
        drop(stop);
        if writer.join().is_err() {
            tracing::error!("the journal's thread panicked");
        }
    }
}

fn damaged(run_dir: &Path) -> Error {
    let what = format!("the journal in {} is damaged and cannot be read", run_dir.display());
    Error::new(ErrorCode::Io, what)
        .with_help("put back a copy of journal.redb, or move it away to start with an empty journal")
}

/// What a record is answered with when the master ends.
fn stopping() -> Error {
    Error::new(ErrorCode::Unreachable, "the master is stopping").with_help("try again when it runs")
}

/// The writer: takes what is waiting, commits it in one transaction, and answers.
fn write_records(store: &Store, records: &Receiver<Record>, stopped: &Receiver<()>) {
    loop {
        let first = crossbeam::channel::select_biased! {
            recv(records) -> record => record.ok(),
            recv(stopped) -> _ => None,
        };
        let Some(first) = first else { return };
        let mut bytes = first.bytes();
        let mut group = vec![first];
        while group.len() < GROUP_MAX && bytes < GROUP_BYTES_MAX {
            let Ok(record) = records.try_recv() else { break };
            bytes += record.bytes();
            group.push(record);
        }
        store.commit(group);
    }
}

impl Record {
    /// Roughly how much it adds to a transaction.
    fn bytes(&self) -> usize {
        match self {
            Record::Outcome(Outcome { outcome: Ok(result), .. }, _) => result.len().min(INLINE_RESULT_MAX),
            _ => 0,
        }
    }
}
