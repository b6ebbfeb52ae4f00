//! The event logs: `events/<app>.jsonl`, written by a thread of their own in the order of the effects.
//!
//! Not synced: after a crash of the machine a log may lack its last lines, and nothing but readers of history
//! minds. A reader is told what was written before it asked.

use crate::files::events_path;
use crossbeam::channel::{Receiver, Sender, bounded};
use firesteel_common::event::LoggedEvent;
use firesteel_common::id::AppId;
use firesteel_common::{Error, ErrorCode};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Lines that may wait for the disk; then the master waits too, since an event is never left out.
const QUEUE: usize = 65_536;
/// Lines that are written together at most.
const BATCH: usize = 4096;
/// The most bytes of one answer (whole lines; one longer line is given whole).
const ANSWER_MAX: usize = 8 * 1024 * 1024;
/// Readers whose place is remembered.
const CURSORS: usize = 1024;

enum Job {
    Write(LoggedEvent),
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
}

impl EventLogs {
    /// Starts the writer.
    ///
    /// # Errors
    /// `IO` if no thread can be had.
    pub(crate) fn start(run_dir: &Path) -> Result<Self, Error> {
        let (jobs, queue) = bounded(QUEUE);
        let dir = run_dir.to_owned();
        let writer = std::thread::Builder::new()
            .name("event-logs".to_owned())
            .spawn(move || write_jobs(&dir, &queue))
            .map_err(|cause| Error::io("starting the thread of the event logs", &cause))?;
        let writer = Arc::new(Mutex::new(Some(writer)));
        Ok(Self { run_dir: run_dir.to_owned(), jobs, writer, cursors: Arc::default() })
    }

    /// Writes a line, some time soon.
    pub(crate) fn write(&self, event: LoggedEvent) {
        if self.jobs.send(Job::Write(event)).is_err() {
            tracing::error!("the thread of the event logs is gone");
        }
    }

    /// The lines of an application's log from the `from`-th on (counted from 0), as far as they fit an
    /// answer. Blocks on the disk.
    ///
    /// # Errors
    /// `IO` if the file cannot be read.
    pub(crate) fn read(&self, app: AppId, from: u64) -> Result<Vec<u8>, Error> {
        self.flush();
        let path = events_path(&self.run_dir, app);
        let file = match File::open(&path) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            opened => opened,
        };
        let known = self.cursors.lock().remove(&(app, from));
        let read = file.and_then(|file| read_lines(file, from, known));
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
fn read_lines(mut file: File, from: u64, known: Option<u64>) -> std::io::Result<(Vec<u8>, Option<Place>)> {
    let mut offset = known.unwrap_or(0);
    file.seek(SeekFrom::Start(offset))?;
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let mut skip = if known.is_some() { 0 } else { from };
    let (mut lines, mut count) = (Vec::new(), 0);
    while lines.len() < ANSWER_MAX {
        let start = lines.len();
        let read = reader.by_ref().read_until(b'\n', &mut lines)?;
        if read == 0 || lines.last() != Some(&b'\n') {
            lines.truncate(start);
            break;
        }
        offset += read as u64;
        if skip > 0 {
            skip -= 1;
            lines.clear();
        } else {
            count += 1;
        }
    }
    Ok((lines, (skip == 0).then_some((from + count, offset))))
}

fn write_jobs(run_dir: &Path, jobs: &Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut texts: BTreeMap<AppId, Vec<u8>> = BTreeMap::new();
        let mut flushed = Vec::new();
        let mut stop = false;
        for job in std::iter::once(first).chain(jobs.try_iter().take(BATCH)) {
            match job {
                Job::Write(event) => add_line(texts.entry(event.app.app).or_default(), &event),
                Job::Flush(done) => flushed.push(done),
                Job::Stop => stop = true,
            }
        }
        for (app, text) in texts {
            if let Err(error) = append(&events_path(run_dir, app), &text) {
                tracing::error!(%error, %app, "lines of an event log are lost");
            }
        }
        for done in flushed {
            // Nobody waits any more if the request was given up.
            let _ = done.send(());
        }
        if stop {
            return;
        }
    }
}

fn add_line(text: &mut Vec<u8>, event: &LoggedEvent) {
    match serde_json::to_vec(event) {
        Ok(line) => {
            text.extend_from_slice(&line);
            text.push(b'\n');
        }
        Err(error) => tracing::error!(%error, "an event cannot be written as JSON"),
    }
}

fn append(path: &Path, text: &[u8]) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(text));
    written.map_err(|cause| Error::io(format_args!("writing {}", path.display()), &cause))
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
            let lines = logs.read(AppId(7), from).unwrap();
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
        assert_eq!(logs.read(AppId(8), 0).unwrap(), b"");
        logs.stop();
    }
}
