//! Output files: written where nobody looks, made visible by one rename each.
//!
//! An attempt writes `DIR/_temporary/<application attempt>/<name>.<attempt>`. The driver, which hears of
//! exactly one successful attempt for each partition, renames those files into place, removes the rest, and
//! writes `_SUCCESS`. A driver that dies between the first rename and the last has left a list of what it
//! moves, from which the next attempt knows those files for its own; one that dies after the last, and before
//! its outcome is durable, has left its application's mark and the names in `_SUCCESS`.

use firesteel_common::id::{AppAttemptId, TaskId};
use firesteel_common::protocol::codec;
use firesteel_common::{Error, ErrorCode, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

const TEMPORARY: &str = "_temporary";
/// The file that says that an output is complete. Its lines are the mark of the application that has written
/// the output, and the names of its files; it is empty if the application has no mark.
const SUCCESS: &str = "_SUCCESS";
/// Beside the files of an application attempt: the names of those that it commits.
const COMMITTING: &str = "_committing";
/// How often the removal of what lost is tried: a task that lost may be writing, for a moment.
const REMOVALS_MAX: usize = 3;

/// Where a job may write.
const WHERE: &str = "jobs write only below the directories that worker.data_write names on each worker (by \
    default ~/firesteel-output, if it is there)";

fn not_writable(path: &Path, cause: &std::io::Error) -> Error {
    let error = Error::io(path.display(), cause);
    match error.code {
        ErrorCode::DiskFull => error,
        _ => Error { code: ErrorCode::OutputNotWritable, ..error }.with_help(WHERE),
    }
}

fn temporary(dir: &Path, app: AppAttemptId) -> PathBuf {
    dir.join(TEMPORARY).join(app.to_string())
}

/// A name that stays in its directory.
fn checked(name: &str) -> Result<&str> {
    let plain = !name.is_empty() && !name.starts_with(['.', '_']) && !name.contains(['/', '\0', '\n']);
    let wrong =
        || Error::new(ErrorCode::OutputNotWritable, format!("'{name}' is not the name of an output file"));
    plain.then_some(name).ok_or_else(wrong)
}

/// Who writes outputs.
#[derive(Clone, Debug)]
pub struct Writer {
    /// The application attempt.
    pub app: AppAttemptId,
    /// The application's mark, by which its next attempt knows what this one has committed; empty if there is
    /// no next attempt.
    pub mark: String,
}

impl Writer {
    /// Makes an output directory ready. What earlier attempts of the same application left unfinished is
    /// removed, also half a commit; what a later one has begun is not, as its driver has taken over from this
    /// one. An output that an earlier attempt has completed stays as it is until this one commits.
    ///
    /// # Errors
    /// `OUTPUT_EXISTS` if there is anything else in it, `CONFLICT` if a later attempt writes it,
    /// `OUTPUT_NOT_WRITABLE`.
    pub fn prepare(&self, dir: &str) -> Result<()> {
        let dir = Path::new(dir);
        if !dir.is_absolute() {
            let error =
                Error::new(ErrorCode::OutputNotWritable, format!("{} is not absolute", dir.display()));
            return Err(error.with_help("give an absolute path: jobs run in a directory of their own"));
        }
        match dir.read_dir() {
            Ok(_) => {
                let begun = self.begun(dir).map_err(|cause| not_writable(dir, &cause))?;
                let begun = begun.ok_or_else(|| exists(dir))?;
                if let Some(later) = begun.attempts.iter().find(|attempt| **attempt > self.app.attempt) {
                    return Err(taken_over(dir, self.app, AppAttemptId { attempt: *later, ..self.app }));
                }
                if !begun.complete {
                    // The lists go last: whoever finds this half done must find them.
                    for name in begun.visible {
                        let path = dir.join(name);
                        fs::remove_file(&path).map_err(|cause| not_writable(&path, &cause))?;
                    }
                }
                for attempt in begun.attempts {
                    remove(&temporary(dir, AppAttemptId { attempt, ..self.app }))?;
                }
            }
            Err(cause) if cause.kind() == ErrorKind::NotFound => {}
            Err(_) => return Err(exists(dir)),
        }
        fs::create_dir_all(temporary(dir, self.app)).map_err(|cause| not_writable(dir, &cause))
    }

    /// Makes the files of the winning attempts visible. It may be repeated. Of what is unfinished it removes
    /// its own only: another attempt of the application may be writing.
    ///
    /// # Errors
    /// `OUTPUT_NOT_WRITABLE`.
    pub fn commit(&self, dir: &str, winners: &[(String, u32)]) -> Result<()> {
        let dir = Path::new(dir);
        let from = temporary(dir, self.app);
        let names: BTreeSet<&str> = winners.iter().map(|(name, _)| checked(name)).collect::<Result<_>>()?;
        let success = dir.join(SUCCESS);
        // What an earlier attempt has completed, and this one does not write again.
        let earlier = self.completed(dir).unwrap_or_default();
        let stale: Vec<&str> =
            earlier.iter().map(String::as_str).filter(|name| !names.contains(name)).collect();
        let touched: Vec<&str> = names.iter().chain(&stale).copied().collect();
        let list = from.join(COMMITTING);
        match fs::write(&list, codec::encode(&touched)?) {
            // It was committed before.
            Err(cause) if cause.kind() == ErrorKind::NotFound => {}
            Err(cause) => return Err(not_writable(&list, &cause)),
            // From here to the end the output is not complete.
            Ok(()) if !earlier.is_empty() => {
                fs::remove_file(&success).map_err(|cause| not_writable(&success, &cause))?;
            }
            Ok(()) => {}
        }
        for (name, attempt) in winners {
            let target = dir.join(name);
            match fs::rename(from.join(format!("{name}.{attempt}")), &target) {
                Err(cause) if cause.kind() == ErrorKind::NotFound && target.exists() => {}
                Err(cause) => return Err(not_writable(&target, &cause)),
                Ok(()) => {}
            }
        }
        for name in stale {
            let path = dir.join(name);
            fs::remove_file(&path).map_err(|cause| not_writable(&path, &cause))?;
        }
        self.complete(&success, &names).map_err(|cause| not_writable(&success, &cause))?;
        // The output is complete. A task that lost may still begin a file, which must not fail the job:
        // nobody looks below `_temporary`.
        let _ = (0..REMOVALS_MAX).find(|_| remove(&from).is_ok());
        let _ = fs::remove_dir(dir.join(TEMPORARY));
        Ok(())
    }

    /// Says that an output is complete.
    fn complete(&self, success: &Path, names: &BTreeSet<&str>) -> std::io::Result<()> {
        let mut text = String::new();
        if !self.mark.is_empty() {
            std::iter::once(self.mark.as_str()).chain(names.iter().copied()).for_each(|line| {
                text.push_str(line);
                text.push('\n');
            });
        }
        fs::write(success, text)
    }

    /// Removes what this attempt has prepared and not committed.
    pub fn abandon(&self, dir: &str) {
        let dir = Path::new(dir);
        // Nothing depends on it: what is left is taken over by the application's next attempt, or told to the
        // user.
        let _ = fs::remove_dir_all(temporary(dir, self.app));
        let _ = fs::remove_dir(dir.join(TEMPORARY));
        let _ = fs::remove_dir(dir);
    }

    /// The files of an output that this application has completed.
    fn completed(&self, dir: &Path) -> Option<Vec<String>> {
        let text = fs::read_to_string(dir.join(SUCCESS)).ok()?;
        let mut lines = text.lines();
        let ours = !self.mark.is_empty() && lines.next() == Some(&self.mark);
        ours.then(|| lines.map(str::to_owned).collect())
    }

    /// What attempts of this application have begun or completed in a directory; `None` if it holds anything
    /// else.
    fn begun(&self, dir: &Path) -> std::io::Result<Option<Begun>> {
        let completed = self.completed(dir);
        let temporary = dir.join(TEMPORARY);
        let is_begun = temporary.is_dir();
        // An empty directory might be anybody's; Spark refuses it too.
        if !is_begun && completed.is_none() {
            return Ok(None);
        }
        let prefix = format!("{}.", self.app.app);
        let mut begun = Begun { complete: completed.is_some(), ..Begun::default() };
        let mut known = completed.unwrap_or_default();
        for entry in is_begun.then(|| temporary.read_dir()).transpose()?.into_iter().flatten() {
            let entry = entry?;
            let name = entry.file_name();
            let Some(attempt) = name.to_str().and_then(|name| name.strip_prefix(&prefix)?.parse().ok())
            else {
                return Ok(None);
            };
            begun.attempts.push(attempt);
            // No list, or half a list: nothing was moved yet.
            let list = fs::read(entry.path().join(COMMITTING)).unwrap_or_default();
            known.extend(codec::decode::<Vec<String>>(&list).unwrap_or_default());
        }
        known.sort_unstable();
        for entry in dir.read_dir()? {
            match entry?.file_name().into_string() {
                Ok(name) if name == TEMPORARY || (begun.complete && name == SUCCESS) => {}
                Ok(name) if known.binary_search(&name).is_ok() && checked(&name).is_ok() => {
                    begun.visible.push(name);
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(begun))
    }
}

fn exists(dir: &Path) -> Error {
    Error::new(ErrorCode::OutputExists, format!("{} exists already", dir.display()))
        .with_help("remove it, or name another output directory")
}

fn taken_over(dir: &Path, app: AppAttemptId, later: AppAttemptId) -> Error {
    let what = format!("{} is being written by {later}, which has taken over from {app}", dir.display());
    Error::new(ErrorCode::Conflict, what).with_help("see what the later attempt says")
}

/// Removes a directory, if it is there.
fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => Err(not_writable(dir, &cause)),
        _ => Ok(()),
    }
}

/// What attempts of an application have begun in a directory.
#[derive(Default)]
struct Begun {
    /// Their numbers.
    attempts: Vec<u32>,
    /// The files that they have moved into place.
    visible: Vec<String>,
    /// Whether these are a complete output, not that of a commit that did not come to its end.
    complete: bool,
}

/// The file of a task attempt.
pub struct TaskOutput {
    path: PathBuf,
    sink: Sink,
    finished: bool,
}

enum Sink {
    Plain(File),
    Gzip(GzEncoder<File>),
}

impl TaskOutput {
    /// Begins it. One whose name ends in `.gz` is packed.
    ///
    /// # Errors
    /// `OUTPUT_NOT_WRITABLE` if the driver has not made the directory ready, or it cannot be written.
    pub fn create(dir: &str, name: &str, task: TaskId) -> Result<Self> {
        let packed = name.ends_with(".gz");
        let name = format!("{}.{}", checked(name)?, task.attempt);
        let path = temporary(Path::new(dir), task.app).join(name);
        let file = File::create(&path).map_err(|cause| not_writable(&path, &cause))?;
        let sink =
            if packed { Sink::Gzip(GzEncoder::new(file, Compression::default())) } else { Sink::Plain(file) };
        Ok(Self { path, sink, finished: false })
    }

    /// Appends to it.
    ///
    /// # Errors
    /// `OUTPUT_NOT_WRITABLE`, `DISK_FULL`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = match &mut self.sink {
            Sink::Plain(file) => file.write_all(bytes),
            Sink::Gzip(packer) => packer.write_all(bytes),
        };
        written.map_err(|cause| not_writable(&self.path, &cause))
    }

    /// Ends it.
    ///
    /// # Errors
    /// `OUTPUT_NOT_WRITABLE`, `DISK_FULL`.
    pub fn finish(mut self) -> Result<()> {
        let ended = match &mut self.sink {
            Sink::Plain(file) => file.flush(),
            Sink::Gzip(packer) => packer.try_finish(),
        };
        ended.map_err(|cause| not_writable(&self.path, &cause))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for TaskOutput {
    fn drop(&mut self) {
        if !self.finished {
            // Half a file is of no use; whoever commits would not find it anyway.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use firesteel_common::id::{AppId, StageId};

    fn app(app: u64, attempt: u32) -> AppAttemptId {
        AppAttemptId { app: AppId(app), attempt }
    }

    fn writer(number: u64, attempt: u32) -> Writer {
        Writer { app: app(number, attempt), mark: String::new() }
    }

    fn task(attempt: u32) -> TaskId {
        TaskId { app: app(1, 1), stage: StageId(0), partition: 0, attempt }
    }

    fn files(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn only_the_winning_attempts_are_seen() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("a/out");
        let dir = out.to_str().unwrap();
        writer(1, 1).prepare(dir).unwrap();
        for (attempt, text) in [(0, "zero"), (1, "one")] {
            let mut file = TaskOutput::create(dir, "part-00000", task(attempt)).unwrap();
            file.write(text.as_bytes()).unwrap();
            file.finish().unwrap();
        }
        drop(TaskOutput::create(dir, "part-00000", task(2)).unwrap());
        assert_eq!(files(&temporary(&out, app(1, 1))), ["part-00000.0", "part-00000.1"]);
        writer(1, 1).commit(dir, &[("part-00000".to_owned(), 1)]).unwrap();
        assert_eq!(files(&out), ["_SUCCESS", "part-00000"]);
        assert_eq!(fs::read(out.join("part-00000")).unwrap(), b"one");
        assert_eq!(writer(1, 1).prepare(dir).unwrap_err().code, ErrorCode::OutputExists);
        assert!(TaskOutput::create(dir, "../escape", task(0)).is_err());
    }

    #[test]
    fn unfinished_output_is_taken_over_by_the_same_application_only() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("out");
        let dir = out.to_str().unwrap();
        writer(1, 1).prepare(dir).unwrap();
        TaskOutput::create(dir, "part-00000", task(0)).unwrap().finish().unwrap();
        assert_eq!(writer(2, 1).prepare(dir).unwrap_err().code, ErrorCode::OutputExists);
        writer(1, 2).prepare(dir).unwrap();
        assert_eq!(files(&out.join(TEMPORARY)), ["app-1.2"]);
        writer(1, 2).abandon(dir);
        assert!(!out.exists());
        fs::create_dir(&out).unwrap();
        assert_eq!(writer(1, 1).prepare(dir).unwrap_err().code, ErrorCode::OutputExists);
    }

    #[test]
    fn half_a_commit_is_taken_over_and_a_whole_one_is_not() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("out");
        let dir = out.to_str().unwrap();
        let winners = [("part-00000".to_owned(), 0), ("part-00001".to_owned(), 0)];
        writer(1, 1).prepare(dir).unwrap();
        TaskOutput::create(dir, "part-00000", task(0)).unwrap().finish().unwrap();
        // The second file is missing, so the commit ends after its first rename, as if its driver had died.
        assert_eq!(writer(1, 1).commit(dir, &winners).unwrap_err().code, ErrorCode::OutputNotWritable);
        assert_eq!(files(&out), [TEMPORARY, "part-00000"]);
        assert_eq!(writer(2, 1).prepare(dir).unwrap_err().code, ErrorCode::OutputExists);
        fs::write(out.join("part-00007"), "another's").unwrap();
        assert_eq!(writer(1, 2).prepare(dir).unwrap_err().code, ErrorCode::OutputExists);
        fs::remove_file(out.join("part-00007")).unwrap();
        writer(1, 2).prepare(dir).unwrap();
        assert_eq!(files(&out), [TEMPORARY]);
        for name in ["part-00000", "part-00001"] {
            let task = TaskId { app: app(1, 2), ..task(0) };
            TaskOutput::create(dir, name, task).unwrap().finish().unwrap();
        }
        writer(1, 2).commit(dir, &winners).unwrap();
        writer(1, 2).commit(dir, &winners).unwrap();
        assert_eq!(files(&out), ["_SUCCESS", "part-00000", "part-00001"]);
        assert_eq!(writer(1, 3).prepare(dir).unwrap_err().code, ErrorCode::OutputExists);
    }

    #[test]
    fn a_task_that_lost_and_writes_on_does_not_fail_a_commit() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("out");
        let dir = out.to_str().unwrap();
        for round in 0..50 {
            writer(1, 1).prepare(dir).unwrap();
            TaskOutput::create(dir, "part-00000", task(0)).unwrap().finish().unwrap();
            let begun = std::sync::Barrier::new(2);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    begun.wait();
                    for attempt in 1..200 {
                        let Ok(mut file) = TaskOutput::create(dir, "part-00000", task(attempt)) else {
                            break;
                        };
                        let _ = file.write(b"lost").and_then(|()| file.finish());
                    }
                });
                begun.wait();
                writer(1, 1).commit(dir, &[("part-00000".to_owned(), 0)]).unwrap();
            });
            assert_eq!(fs::read(out.join("part-00000")).unwrap(), b"", "round {round}");
            fs::remove_dir_all(&out).unwrap();
        }
    }

    #[test]
    fn an_attempt_that_was_replaced_does_not_touch_its_successor() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("out");
        let dir = out.to_str().unwrap();
        writer(1, 1).prepare(dir).unwrap();
        writer(1, 2).prepare(dir).unwrap();
        let refused = writer(1, 1).prepare(dir).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Conflict);
        assert!(refused.message.contains("app-1.2"), "{refused}");
        assert_eq!(files(&out.join(TEMPORARY)), ["app-1.2"]);
        // Its driver may be past `prepare` when it is replaced.
        fs::create_dir(temporary(&out, app(1, 1))).unwrap();
        writer(1, 1).commit(dir, &[]).unwrap();
        assert_eq!(files(&out.join(TEMPORARY)), ["app-1.2"]);
        writer(1, 1).abandon(dir);
        writer(1, 2).commit(dir, &[]).unwrap();
        assert_eq!(files(&out), ["_SUCCESS"]);
    }

    /// An attempt of the application with a mark that writes files of these names.
    fn attempt(attempt: u32, dir: &str, names: &[&str]) -> (Writer, Vec<(String, u32)>) {
        let writer = Writer { app: app(1, attempt), mark: "mark of app-1".to_owned() };
        writer.prepare(dir).unwrap();
        for name in names {
            let task = TaskId { app: writer.app, ..task(0) };
            let mut file = TaskOutput::create(dir, name, task).unwrap();
            file.write(format!("{name} by {attempt}").as_bytes()).and_then(|()| file.finish()).unwrap();
        }
        (writer, names.iter().map(|name| ((*name).to_owned(), 0)).collect())
    }

    #[test]
    fn a_whole_commit_is_taken_over_by_the_same_application_and_stays_until_the_next() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("out");
        let dir = out.to_str().unwrap();
        let (first, winners) = attempt(1, dir, &["part-00000", "part-00001"]);
        first.commit(dir, &winners).unwrap();
        // Its driver died before its outcome was durable. Others are refused, whatever their number is.
        for mark in ["", "mark of app-2"] {
            let other = Writer { app: app(1, 2), mark: mark.to_owned() };
            assert_eq!(other.prepare(dir).unwrap_err().code, ErrorCode::OutputExists, "{mark}");
        }
        fs::write(out.join("part-00007"), "another's").unwrap();
        let second = Writer { app: app(1, 2), ..first.clone() };
        assert_eq!(second.prepare(dir).unwrap_err().code, ErrorCode::OutputExists);
        fs::remove_file(out.join("part-00007")).unwrap();
        // One that is given up leaves it as it was.
        attempt(2, dir, &["part-00000"]).0.abandon(dir);
        assert_eq!(files(&out), ["_SUCCESS", "part-00000", "part-00001"]);
        let (third, winners) = attempt(3, dir, &["part-00001", "part-00002"]);
        assert_eq!(files(&out), ["_SUCCESS", TEMPORARY, "part-00000", "part-00001"]);
        third.commit(dir, &winners).unwrap();
        third.commit(dir, &winners).unwrap();
        assert_eq!(files(&out), ["_SUCCESS", "part-00001", "part-00002"]);
        assert_eq!(fs::read(out.join("part-00001")).unwrap(), b"part-00001 by 3");
    }

    #[test]
    fn half_a_commit_over_a_whole_one_is_taken_over_too() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("out");
        let dir = out.to_str().unwrap();
        let (first, winners) = attempt(1, dir, &["part-00000", "part-00001", "part-00002"]);
        first.commit(dir, &winners).unwrap();
        let (second, mut winners) = attempt(2, dir, &["part-00000"]);
        winners.push(("part-00009".to_owned(), 0));
        assert_eq!(second.commit(dir, &winners).unwrap_err().code, ErrorCode::OutputNotWritable);
        assert_eq!(files(&out), [TEMPORARY, "part-00000", "part-00001", "part-00002"], "not complete");
        let (third, winners) = attempt(3, dir, &["part-00000"]);
        assert_eq!(files(&out), [TEMPORARY]);
        third.commit(dir, &winners).unwrap();
        assert_eq!(files(&out), ["_SUCCESS", "part-00000"]);
        assert_eq!(fs::read(out.join("part-00000")).unwrap(), b"part-00000 by 3");
    }
}
