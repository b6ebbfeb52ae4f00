//! The event logs: `events/<app>.jsonl`, written by a thread of their own in the order of the effects.
//!
//! Not synced: after a crash of the machine a log may lack its last lines, and nothing but readers of history
//! minds. A reader is told what was written before it asked. Lines that find the disk full wait for room, up
//! to a bound. What lies in the directory is not trusted: a line that is too long or no event is passed over
//! and counted.

use crate::files::events_path;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use firesteel_common::event::LoggedEvent;
use firesteel_common::id::AppId;
use firesteel_common::{Error, ErrorCode};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Lines that may wait for the disk; then the master waits too, since an event is never left out.
const QUEUE: usize = 65_536;
/// Lines that are written together at most.
const BATCH: usize = 4096;
/// Readers whose place is remembered.
const CURSORS: usize = 1024;
/// Logs that somebody waits for, before those that nobody waits for any more are looked for and left out.
const WATCHED: usize = 1024;
/// The longest line, in bytes.
const LINE_MAX: usize = 1024 * 1024;
/// Bytes of lines that wait for a disk that cannot be written.
const WAITING_MAX: usize = 64 * 1024 * 1024;
/// How often such a disk is tried.
const RETRY: Duration = Duration::from_secs(1);
/// What a reader gets for a line that is passed over, so that lines keep their numbers.
const PASSED_OVER: &[u8] = b"{}\n";

enum Job {
    Write(LoggedEvent),
    /// The log of an application goes.
    Remove(AppId),
    /// Answers when everything before it is in its file.
    Flush(Sender<()>),
    Stop,
}

/// The event logs of a run directory. Cloning shares them.
#[derive(Clone)]
pub(crate) struct EventLogs {
    run_dir: PathBuf,
    jobs: Sender<Job>,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
    /// Where the line lies that a reader will ask for next.
    cursors: Arc<Mutex<BTreeMap<(AppId, u64), u64>>>,
    counts: Arc<Counts>,
    watched: Watched,
}

/// Told, by application, when there are further lines; made by the first who waits.
type Watched = Arc<Mutex<BTreeMap<AppId, Arc<Notify>>>>;

/// What could not be written or read.
#[derive(Default)]
struct Counts {
    lost: AtomicU64,
    passed_over: AtomicU64,
}

impl EventLogs {
    /// Starts the writer.
    ///
    /// # Errors
    /// `IO` if no thread can be had.
    pub(crate) fn start(run_dir: &Path) -> Result<Self, Error> {
        let (jobs, queue) = bounded(QUEUE);
        let counts = Arc::<Counts>::default();
        let watched = Watched::default();
        let mut files = Files::new(run_dir, counts.clone(), watched.clone());
        let writer = std::thread::Builder::new()
            .name("event-logs".to_owned())
            .spawn(move || files.write_jobs(&queue))
            .map_err(|cause| Error::io("starting the thread of the event logs", &cause))?;
        let writer = Arc::new(Mutex::new(Some(writer)));
        Ok(Self { run_dir: run_dir.to_owned(), jobs, writer, cursors: Arc::default(), counts, watched })
    }

    /// Writes a line, some time soon.
    pub(crate) fn write(&self, event: LoggedEvent) {
        if self.jobs.send(Job::Write(event)).is_err() {
            tracing::error!("the thread of the event logs is gone");
        }
    }

    /// Events that were too long, or found no room on the disk for too long.
    pub(crate) fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }

    /// Lines that a reader was not given, since they are no events. (One that is read again counts again.)
    pub(crate) fn passed_over(&self) -> u64 {
        self.counts.passed_over.load(Ordering::Relaxed)
    }

    /// Removes the log of an application, some time soon.
    pub(crate) fn remove(&self, app: AppId) {
        if self.jobs.send(Job::Remove(app)).is_err() {
            tracing::error!("the thread of the event logs is gone");
        }
    }

    /// Ready when lines are written to an application's log from now on.
    pub(crate) fn watch(&self, app: AppId) -> OwnedNotified {
        let mut watched = self.watched.lock();
        if watched.len() >= WATCHED {
            watched.retain(|_, more| Arc::strong_count(more) > 1);
        }
        Arc::clone(watched.entry(app).or_default()).notified_owned()
    }

    /// The lines of an application's log from the `from`-th on (counted from 0), as many whole ones as have
    /// about `max` bytes, and one that is longer. Blocks on the disk.
    ///
    /// # Errors
    /// `IO` if the file cannot be read.
    pub(crate) fn read(&self, app: AppId, from: u64, max: usize) -> Result<Vec<u8>, Error> {
        self.flush();
        let path = events_path(&self.run_dir, app);
        let file = match File::open(&path) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            opened => opened,
        };
        let known = self.cursors.lock().remove(&(app, from));
        let read = file.and_then(|file| read_lines(file, from, known, max, &self.counts.passed_over));
        let (lines, next) =
            read.map_err(|cause| Error::io(format_args!("reading {}", path.display()), &cause))?;
        if let Some((line, offset)) = next {
            self.remember(app, line, offset);
        }
        Ok(lines)
    }

    fn flush(&self) {
        let (done, wait) = bounded(1);
        if self.jobs.send(Job::Flush(done)).is_ok() && wait.recv().is_err() {
            tracing::error!("the thread of the event logs is gone");
        }
    }

    fn remember(&self, app: AppId, line: u64, offset: u64) {
        let mut cursors = self.cursors.lock();
        if cursors.len() >= CURSORS {
            cursors.clear();
        }
        cursors.insert((app, line), offset);
    }

    /// Writes what is waiting and ends the writer.
    pub(crate) fn stop(&self) {
        let Some(writer) = self.writer.lock().take() else { return };
        if self.jobs.send(Job::Stop).is_err() || writer.join().is_err() {
            tracing::error!("the thread of the event logs is gone");
        }
    }
}

/// The number of a line, and where it begins in its file.
type Place = (u64, u64);

/// Whole lines from a line on; the number of the line behind them and its offset, unless the log ends before
/// the line that was asked for.
fn read_lines(
    mut file: File,
    from: u64,
    known: Option<u64>,
    max: usize,
    passed_over: &AtomicU64,
) -> std::io::Result<(Vec<u8>, Option<Place>)> {
    let mut offset = known.unwrap_or(0);
    file.seek(SeekFrom::Start(offset))?;
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let mut skip = if known.is_some() { 0 } else { from };
    let (mut lines, mut line, mut count) = (Vec::new(), Vec::new(), 0);
    while lines.len() < max {
        let Some(read) = read_line(&mut reader, &mut line)? else { break };
        offset += read;
        if skip > 0 {
            skip -= 1;
            continue;
        }
        count += 1;
        if serde_json::from_slice::<LoggedEvent>(&line).is_ok() {
            lines.extend_from_slice(&line);
        } else {
            passed_over.fetch_add(1, Ordering::Relaxed);
            lines.extend_from_slice(PASSED_OVER);
        }
    }
    Ok((lines, (skip == 0).then_some((from + count, offset))))
}

/// Reads a whole line, of which no more is kept than a line may have; gives its length in the file, or `None`
/// if it is not whole.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<Option<u64>> {
    line.clear();
    let mut length = 0;
    loop {
        let piece = reader.fill_buf()?;
        if piece.is_empty() {
            return Ok(None);
        }
        let end = piece.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let taken = end.unwrap_or(piece.len());
        let room = (LINE_MAX + 1).saturating_sub(line.len());
        line.extend_from_slice(&piece[..taken.min(room)]);
        reader.consume(taken);
        length += taken as u64;
        if end.is_some() {
            if length as usize > LINE_MAX {
                line.clear();
            }
            return Ok(Some(length));
        }
    }
}

/// The writer's side.
struct Files {
    run_dir: PathBuf,
    counts: Arc<Counts>,
    watched: Watched,
    /// Whole lines that are not in their files yet.
    waiting: BTreeMap<AppId, Vec<u8>>,
    /// Since the last attempt at writing failed.
    stuck: bool,
}

impl Files {
    fn new(run_dir: &Path, counts: Arc<Counts>, watched: Watched) -> Self {
        Self { run_dir: run_dir.to_owned(), counts, watched, waiting: BTreeMap::new(), stuck: false }
    }

    fn write_jobs(&mut self, jobs: &Receiver<Job>) {
        let mut stop = false;
        while !stop {
            let first = match jobs.recv_timeout(RETRY) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut flushed = Vec::new();
            for job in first.into_iter().chain(jobs.try_iter().take(BATCH)) {
                match job {
                    Job::Write(event) => self.keep(&event),
                    Job::Remove(app) => self.remove(app),
                    Job::Flush(done) => flushed.push(done),
                    Job::Stop => stop = true,
                }
            }
            self.write_waiting();
            for done in flushed {
                // Nobody waits any more if the request was given up.
                let _ = done.send(());
            }
        }
        let lost: usize = self.waiting.values().map(|text| lines_in(text)).sum();
        if lost > 0 {
            tracing::error!(lost, "lines of event logs are lost, since the disk cannot be written");
        }
    }

    /// Keeps a line until it is written, unless too much waits already.
    fn keep(&mut self, event: &LoggedEvent) {
        let line = match serde_json::to_vec(event) {
            Ok(line) if line.len() < LINE_MAX => line,
            Ok(line) => return self.lose(event.app.app, &format!("it has {} bytes", line.len())),
            Err(error) => return self.lose(event.app.app, &error.to_string()),
        };
        if self.stuck && self.waiting.values().map(Vec::len).sum::<usize>() >= WAITING_MAX {
            return self.lose(event.app.app, "too much waits for the disk");
        }
        let text = self.waiting.entry(event.app.app).or_default();
        text.extend_from_slice(&line);
        text.push(b'\n');
    }

    fn remove(&mut self, app: AppId) {
        self.waiting.remove(&app);
        match std::fs::remove_file(events_path(&self.run_dir, app)) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%cause, %app, "an event log could not be removed; the next start tries again");
            }
            _ => {}
        }
    }

    fn lose(&self, app: AppId, why: &str) {
        if self.counts.lost.fetch_add(1, Ordering::Relaxed).is_power_of_two() {
            tracing::error!(%app, why, "an event is not in its log");
        }
    }

    fn write_waiting(&mut self) {
        while let Some((app, text)) = self.waiting.pop_first() {
            if let Err(error) = append(&events_path(&self.run_dir, app), &text) {
                if !self.stuck {
                    tracing::error!(%error, %app, "event logs wait for the disk");
                }
                self.stuck = true;
                self.waiting.insert(app, text);
                return;
            }
            if let Some(more) = self.watched.lock().remove(&app) {
                more.notify_waiters();
            }
        }
        self.stuck = false;
    }
}

fn lines_in(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'\n').count()
}

/// Adds whole lines to a file, all or none.
fn append(path: &Path, text: &[u8]) -> Result<(), Error> {
    let failed = |cause| Error::io(format_args!("writing {}", path.display()), &cause);
    let mut options = OpenOptions::new();
    let mut file = options.create(true).read(true).append(true).mode(0o600).open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let written = end_line(&mut file, length).and_then(|()| file.write_all(text));
    written.map_err(|cause| {
        if let Err(cause) = file.set_len(length) {
            tracing::error!(%cause, path = %path.display(), "half a line stays in an event log");
        }
        failed(cause)
    })
}

/// A line that a crash has cut must not swallow the next one.
fn end_line(file: &mut File, length: u64) -> std::io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    let mut last = [0];
    file.read_exact_at(&mut last, length - 1)?;
    if last == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

/// What is said of a log that nobody can read any more.
pub(crate) fn reader_gone() -> Error {
    Error::new(ErrorCode::Internal, "the thread that read a file is gone")
}

#[cfg(test)]
mod tests {
    use super::*;
    use firesteel_common::event::AppEvent;
    use firesteel_common::id::{AppAttemptId, StageId};
    use firesteel_common::time::Timestamp;

    #[test]
    fn a_reader_sees_what_was_written_and_follows_by_lines() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("events")).unwrap();
        let logs = EventLogs::start(dir.path()).unwrap();
        let app = AppAttemptId { app: AppId(7), attempt: 1 };
        let write = |stage| {
            let event = AppEvent::StageFinished { stage: StageId(stage) };
            logs.write(LoggedEvent { at: Timestamp(u64::from(stage)), app, event });
        };
        (0..3).for_each(write);
        let stages = |from| {
            let lines = logs.read(AppId(7), from, 1 << 20).unwrap();
            let events = serde_json::Deserializer::from_slice(&lines).into_iter::<LoggedEvent>();
            events.map(|event| event.unwrap().at.0).collect::<Vec<_>>()
        };
        assert_eq!(stages(0), [0, 1, 2]);
        assert!(stages(3).is_empty());
        write(3);
        assert_eq!(stages(3), [3]);
        assert_eq!(stages(2), [2, 3]);
        // Whoever asks beyond the end gets those lines when they are there, and no others.
        assert!(stages(6).is_empty() && stages(u64::MAX).is_empty());
        (4..8).for_each(write);
        assert_eq!(stages(6), [6, 7]);
        assert!(stages(u64::MAX).is_empty());
        let two = logs.read(AppId(7), 0, 100).unwrap();
        assert_eq!(two.iter().filter(|byte| **byte == b'\n').count(), 2, "whole lines beyond the bound");
        assert_eq!(logs.read(AppId(8), 0, 1 << 20).unwrap(), b"");
        logs.stop();
    }
    #[test]
    fn a_line_that_is_no_event_or_too_long_is_passed_over_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("events")).unwrap();
        let app = AppAttemptId { app: AppId(7), attempt: 1 };
        let path = events_path(dir.path(), app.app);
        let long = format!("{{\"at\":1,\"x\":\"{}\"}}", "y".repeat(2 * LINE_MAX));
        let unknown = r#"{"at":1,"app":{"app":7,"attempt":1},"event":"java.lang.Runtime","exec":"id"}"#;
        std::fs::write(&path, format!("{unknown}\n\u{0}\u{1}\n{long}\n{{\"torn")).unwrap();
        let logs = EventLogs::start(dir.path()).unwrap();
        let event = AppEvent::StageFinished { stage: StageId(3) };
        logs.write(LoggedEvent { at: Timestamp(5), app, event });
        let lines = String::from_utf8(logs.read(app.app, 0, 1 << 20).unwrap()).unwrap();
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!((&lines[..4], lines.len()), (&["{}"; 4][..], 5), "{lines:?}");
        assert!(lines[4].contains("stage_finished"));
        assert_eq!((logs.passed_over(), logs.lost()), (4, 0));
        logs.stop();
    }

    #[test]
    fn lines_wait_for_a_disk_that_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let app = AppAttemptId { app: AppId(7), attempt: 1 };
        // There is no directory `events` yet.
        let counts = Arc::<Counts>::default();
        let mut files = Files::new(dir.path(), counts.clone(), Watched::default());
        let stage = |stage| {
            let event = AppEvent::StageFinished { stage: StageId(stage) };
            LoggedEvent { at: Timestamp(5), app, event }
        };
        files.keep(&stage(1));
        files.write_waiting();
        files.keep(&stage(2));
        files.write_waiting();
        assert!(files.stuck);
        std::fs::create_dir(dir.path().join("events")).unwrap();
        files.write_waiting();
        let text = std::fs::read_to_string(events_path(dir.path(), app.app)).unwrap();
        assert_eq!((text.lines().count(), files.stuck), (2, false));
        // A line that is longer than a line may be is not written at all.
        let event = AppEvent::JobStarted { job: firesteel_common::id::JobId(0), name: "n".repeat(LINE_MAX) };
        files.keep(&LoggedEvent { event, ..stage(3) });
        assert_eq!((files.waiting.len(), counts.lost.load(Ordering::Relaxed)), (0, 1));
    }
}
