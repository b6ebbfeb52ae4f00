//! The audit log: who did what, and who was refused, as JSON lines in `audit.jsonl`. Each line holds the
//! SHA-256 of the one before it, so a line that was changed or taken away later is noticed.
//!
//! A thread of its own writes; nobody waits for it. Refusals are bounded: whoever knocks a thousand times a
//! second gets a count, not a full disk.

use crate::clock::wall_ms;
use crate::files::create_private;
use crossbeam::channel::{Receiver, Sender, bounded};
use firesteel_common::Error;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

/// Lines that may wait for the disk.
const QUEUE: usize = 8192;
/// Refusals that are written one by one within [`REFUSALS_SPAN_MS`]; the rest is counted.
const REFUSALS_MAX: u32 = 100;
const REFUSALS_SPAN_MS: u64 = 10_000;
/// What stands before the first line.
const BEGIN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One line, without its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who; empty if it is not known.
    pub principal: String,
    /// Where it came from, `address:port`.
    pub source: String,
    /// What was done or tried, such as `submit`.
    pub action: String,
    /// With what, such as an application.
    pub object: String,
    /// `allowed`, or why not.
    pub decision: String,
}

#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    entry: Entry,
    /// Of the line before.
    previous: String,
    /// Of this entry and `previous`.
    hash: String,
}

/// The audit log of a run directory.
pub(crate) struct Audit {
    path: PathBuf,
    lines: Sender<Message>,
    refusals: Mutex<Refusals>,
    refused_total: AtomicU64,
    writer: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Entry(Entry),
    /// Answers when all before it is written.
    Flush(Sender<()>),
    Stop,
}

#[derive(Default)]
struct Refusals {
    since_ms: u64,
    count: u32,
}

impl Audit {
    /// Opens the log, or makes it, and goes on behind its last whole line.
    ///
    /// # Errors
    /// `IO` if it cannot be used.
    pub(crate) fn start(run_dir: &Path) -> Result<Self, Error> {
        let path = run_dir.join("audit.jsonl");
        if !path.exists() {
            create_private(&path)?;
        }
        let failed = |cause| Error::io(format_args!("opening {}", path.display()), &cause);
        let last = last_hash(&path).map_err(failed)?;
        let file = OpenOptions::new().append(true).open(&path).map_err(failed)?;
        let (lines, queue) = bounded(QUEUE);
        let writer = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || write_lines(file, last, &queue))
            .map_err(|cause| Error::io("starting the thread of the audit log", &cause))?;
        let writer = Mutex::new(Some(writer));
        Ok(Self { path, lines, refusals: Mutex::default(), refused_total: AtomicU64::new(0), writer })
    }

    /// Somebody did something.
    pub(crate) fn allowed(&self, principal: &str, source: &str, action: &str, object: &str) {
        self.write(entry(principal, source, action, object, "allowed"));
    }

    /// Somebody was refused.
    pub(crate) fn refused(&self, principal: &str, source: &str, action: &str, object: &str, why: &str) {
        self.refused_total.fetch_add(1, Ordering::Relaxed);
        let now = wall_ms();
        let mut refusals = self.refusals.lock();
        if now.saturating_sub(refusals.since_ms) >= REFUSALS_SPAN_MS {
            let left_out = refusals.count.saturating_sub(REFUSALS_MAX);
            *refusals = Refusals { since_ms: now, count: 0 };
            if left_out > 0 {
                self.write(entry("", "", "refusals", &left_out.to_string(), "not listed one by one"));
            }
        }
        refusals.count += 1;
        if refusals.count <= REFUSALS_MAX {
            self.write(entry(principal, source, action, object, why));
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
        let failed = |cause| Error::io(format_args!("reading {}", self.path.display()), &cause);
        let mut kept = std::collections::VecDeque::with_capacity(limit.min(1024));
        for line in BufReader::new(File::open(&self.path).map_err(failed)?).lines() {
            if kept.len() >= limit {
                kept.pop_front();
            }
            kept.push_back(line.map_err(failed)?);
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
    Entry {
        at_ms: wall_ms(),
        principal: principal.to_owned(),
        source: source.to_owned(),
        action: action.to_owned(),
        object: object.chars().take(200).collect(),
        decision: decision.to_owned(),
    }
}

fn write_lines(mut file: impl Write, mut previous: String, queue: &Receiver<Message>) {
    // A line of which only a part was written must not swallow the next one.
    let mut before = "";
    for message in queue {
        let entry = match message {
            Message::Entry(entry) => entry,
            Message::Flush(done) => {
                done.send(()).ok();
                continue;
            }
            Message::Stop => return,
        };
        let hash = hash_of(&previous, &entry);
        let line = Line { entry, previous: previous.clone(), hash: hash.clone() };
        let written = serde_json::to_string(&line)
            .map_err(std::io::Error::other)
            .and_then(|text| file.write_all(format!("{before}{text}\n").as_bytes()));
        match written {
            Ok(()) => (previous, before) = (hash, ""),
            Err(cause) => {
                before = "\n";
                tracing::error!("the audit log cannot be written: {cause}");
            }
        }
    }
}

fn hash_of(previous: &str, entry: &Entry) -> String {
    let json = serde_json::to_string(entry).unwrap_or_default();
    let digest = Sha256::new().chain_update(previous).chain_update(json).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash that the next line follows. A torn last line is left as it is: the chain goes on after it.
fn last_hash(path: &Path) -> std::io::Result<String> {
    let mut last = BEGIN.to_owned();
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    let mut is_torn = false;
    while reader.read_until(b'\n', &mut line)? > 0 {
        is_torn = !line.ends_with(b"\n");
        if let Ok(line) = serde_json::from_slice::<Line>(&line) {
            last = line.hash;
        }
        line.clear();
    }
    if is_torn {
        OpenOptions::new().append(true).open(path)?.write_all(b"\n")?;
    }
    Ok(last)
}

/// Whether every line follows the one before it; the number of the first that does not, from 1. Lines that
/// are no entries (a torn one after a crash) are passed over.
#[cfg(test)]
fn verify(text: &str) -> Result<usize, usize> {
    let mut previous = BEGIN.to_owned();
    let mut count = 0;
    for (at, line) in (1..).zip(text.lines()) {
        let Ok(line) = serde_json::from_str::<Line>(line) else { continue };
        if line.previous != previous || line.hash != hash_of(&previous, &line.entry) {
            return Err(at);
        }
        previous = line.hash;
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_chained_over_restarts_and_a_change_is_found() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..2 {
            let audit = Audit::start(dir.path()).unwrap();
            audit.allowed("ann", "127.0.0.1:1", "submit", &format!("app-{round}"));
            audit.refused("", "127.0.0.1:2", "GET", "/x", "UNAUTHENTICATED");
            assert_eq!(audit.tail(1).unwrap().lines().count(), 1);
            audit.stop();
        }
        let path = dir.path().join("audit.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(verify(&text), Ok(4));
        assert_eq!(verify(&text.replace("app-0", "app-9")), Err(1));
        let without = text.lines().filter(|line| !line.contains("app-1")).collect::<Vec<_>>().join("\n");
        assert_eq!(verify(&without), Err(3));
        // A line that a crash has torn.
        std::fs::write(&path, format!("{text}{{\"at_ms\":1")).unwrap();
        let audit = Audit::start(dir.path()).unwrap();
        audit.allowed("ann", "", "kill", "app-1");
        audit.stop();
        assert_eq!(verify(&std::fs::read_to_string(&path).unwrap()), Ok(5));
    }

    /// A disk with room for so many bytes, then full, then with room again.
    struct Disk<'a> {
        room: usize,
        held: &'a mut Vec<u8>,
    }

    impl Write for Disk<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.room == 0 {
                self.room = usize::MAX;
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(self.room);
            self.room -= taken;
            self.held.extend(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn half_a_line_on_a_full_disk_costs_no_other_line() {
        let (lines, queue) = bounded(8);
        for number in 0..3 {
            lines
                .send(Message::Entry(entry("ann", "", "kill", &format!("app-{number}"), "allowed")))
                .unwrap();
        }
        lines.send(Message::Stop).unwrap();
        let mut held = Vec::new();
        write_lines(Disk { room: 300, held: &mut held }, BEGIN.to_owned(), &queue);
        let text = String::from_utf8(held).unwrap();
        assert_eq!((verify(&text), text.contains("app-2")), (Ok(2), true), "{text}");
    }

    #[test]
    fn a_flood_of_refusals_is_counted_and_not_listed() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::start(dir.path()).unwrap();
        for _ in 0..10 * REFUSALS_MAX {
            audit.refused("", "127.0.0.1:2", "GET", "/", "UNAUTHENTICATED");
        }
        assert_eq!(audit.tail(10_000).unwrap().lines().count(), REFUSALS_MAX as usize);
        audit.stop();
    }
}
