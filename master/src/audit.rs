//! The audit log: who did what, and who was refused, as JSON lines. Each line holds the SHA-256 of the one
//! before it, over all files, so a line that was changed or taken away later is noticed.
//!
//! A thread of its own writes; nobody waits for it. Refusals are bounded for each source: whoever knocks a
//! thousand times a second gets a count, not a full disk, and hides nobody else.

mod budget;
mod chain;
mod files;
#[cfg(test)]
mod tests;

pub use chain::{AuditReport, verify_audit};

use crate::clock::wall_ms;
use budget::Budget;
use chain::Entry;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use files::{CURRENT, FILE_BYTES, Files, KEPT};
use firesteel_common::Error;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Entries that may wait for the writer.
const QUEUE: usize = 8192;
/// How often the writer looks at what waits for the disk, syncs, and counts refusals anew.
const LOOK: Duration = Duration::from_secs(1);
/// The longest text of an entry, in characters.
const TEXT_MAX: usize = 200;

/// The audit log of a run directory.
pub(crate) struct Audit {
    run_dir: PathBuf,
    lines: Sender<Message>,
    budget: Arc<Mutex<Budget>>,
    refused_total: AtomicU64,
    writer: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Entry(Entry),
    /// Answers when all before it is written, as far as the disk takes it.
    Flush(Sender<()>),
    Stop,
}

impl Audit {
    /// Opens the log, or makes it, and goes on behind its last whole line.
    ///
    /// # Errors
    /// `IO` if it cannot be used.
    pub(crate) fn start(run_dir: &Path) -> Result<Self, Error> {
        let mut files = Files::open(run_dir, FILE_BYTES, KEPT)?;
        let (lines, queue) = bounded(QUEUE);
        let budget = Arc::<Mutex<Budget>>::default();
        let counted = budget.clone();
        let writer = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || write_entries(&mut files, &queue, &counted))
            .map_err(|cause| Error::io("starting the thread of the audit log", &cause))?;
        let (writer, refused_total) = (Mutex::new(Some(writer)), AtomicU64::new(0));
        Ok(Self { run_dir: run_dir.to_owned(), lines, budget, refused_total, writer })
    }

    /// Somebody did something.
    pub(crate) fn allowed(&self, principal: &str, source: &str, action: &str, object: &str) {
        self.write(entry(principal, source, action, object, "allowed"));
    }

    /// Somebody was refused.
    pub(crate) fn refused(&self, principal: &str, source: &str, action: &str, object: &str, why: &str) {
        self.refused_total.fetch_add(1, Ordering::Relaxed);
        if self.budget.lock().take(source, 1) {
            self.write(entry(principal, source, action, object, why));
        }
    }

    /// A source was refused so many times, at a listener of a worker.
    pub(crate) fn refused_elsewhere(&self, source: &str, at: &str, why: &str, count: u64) {
        self.refused_total.fetch_add(count, Ordering::Relaxed);
        if self.budget.lock().take(source, count) {
            let why = if count == 1 { why.to_owned() } else { format!("{why} ({count} times)") };
            self.write(entry("", source, "hello", at, &why));
        }
    }

    /// How many were refused since the master started.
    pub(crate) fn refused_total(&self) -> u64 {
        self.refused_total.load(Ordering::Relaxed)
    }

    fn write(&self, entry: Entry) {
        if self.lines.try_send(Message::Entry(entry)).is_err() {
            tracing::error!("the audit log cannot keep up; a line is lost");
        }
    }

    /// The last lines, the newest last.
    ///
    /// # Errors
    /// `IO` if the log cannot be read.
    pub(crate) fn tail(&self, limit: usize) -> Result<String, Error> {
        let (done, written) = bounded(1);
        // Without a writer there is nothing to wait for.
        if self.lines.send(Message::Flush(done)).is_ok() {
            written.recv().ok();
        }
        let mut kept = VecDeque::with_capacity(limit.min(1024));
        let newest = files::rotated(&self.run_dir)?.into_iter().max();
        for name in newest.map(files::name).into_iter().chain([CURRENT.to_owned()]) {
            let path = self.run_dir.join(name);
            let failed = |cause| Error::io(format_args!("reading {}", path.display()), &cause);
            for line in BufReader::new(File::open(&path).map_err(failed)?).lines() {
                if kept.len() >= limit {
                    kept.pop_front();
                }
                kept.push_back(line.map_err(failed)?);
            }
        }
        Ok(kept.into_iter().map(|line| line + "\n").collect())
    }

    /// Writes what waits, and ends the writer.
    pub(crate) fn stop(&self) {
        self.lines.send(Message::Stop).ok();
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("the thread of the audit log panicked");
        }
    }
}

fn entry(principal: &str, source: &str, action: &str, object: &str, decision: &str) -> Entry {
    let cut = |text: &str| text.chars().take(TEXT_MAX).collect();
    Entry {
        at_ms: wall_ms(),
        principal: principal.to_owned(),
        source: cut(source),
        action: cut(action),
        object: cut(object),
        decision: cut(decision),
    }
}

fn not_listed((source, count): (String, u64)) -> Entry {
    entry("", &source, "refusals", &count.to_string(), "not listed one by one")
}

fn write_entries(files: &mut Files, queue: &Receiver<Message>, budget: &Mutex<Budget>) {
    loop {
        let message = match queue.recv_timeout(LOOK) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Message::Stop),
        };
        let counts = match message {
            Some(Message::Stop) => budget.lock().rest(),
            _ => budget.lock().end_span(wall_ms()),
        };
        counts.into_iter().for_each(|count| files.keep(not_listed(count)));
        match message {
            Some(Message::Entry(entry)) => {
                files.keep(entry);
                files.write_waiting();
            }
            Some(Message::Flush(done)) => {
                files.write_waiting();
                done.send(()).ok();
            }
            Some(Message::Stop) => {
                files.write_waiting();
                files.sync();
                let lost = files.unwritten();
                if lost > 0 {
                    tracing::error!(lost, "entries of the audit log are lost: the disk cannot be written");
                }
                return;
            }
            None => {
                files.write_waiting();
                files.sync();
            }
        }
    }
}
