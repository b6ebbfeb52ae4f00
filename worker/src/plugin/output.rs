//! Output files: written where nobody looks, made visible by one rename each.
//!
//! An attempt writes `DIR/_temporary/<application attempt>/<name>.<attempt>`. The driver, which hears of
//! exactly one successful attempt for each partition, renames those files into place, removes the rest, and
//! writes `_SUCCESS`. A driver that dies between the first rename and the last has left a list of what it
//! moves, from which the next attempt knows those files for its own.

use firesteel_common::id::{AppAttemptId, TaskId};
use firesteel_common::protocol::codec;
use firesteel_common::{Error, ErrorCode, Result};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

const TEMPORARY: &str = "_temporary";
/// The file that says that an output is complete.
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
    let plain = !name.is_empty() && !name.starts_with(['.', '_']) && !name.contains(['/', '\0']);
    let wrong =
        || Error::new(ErrorCode::OutputNotWritable, format!("'{name}' is not the name of an output file"));
    plain.then_some(name).ok_or_else(wrong)
}

/// Makes an output directory ready for an application attempt. What earlier attempts of the same application
/// left unfinished is removed, also half a commit; what a later one has begun is not, as its driver has taken
/// over from this one. An output with `_SUCCESS` is complete, and stays.
///
/// # Errors
/// `OUTPUT_EXISTS` if there is anything else in it, `CONFLICT` if a later attempt writes it,
/// `OUTPUT_NOT_WRITABLE`.
pub fn prepare(dir: &str, app: AppAttemptId) -> Result<()> {
    let dir = Path::new(dir);
    if !dir.is_absolute() {
        let error = Error::new(ErrorCode::OutputNotWritable, format!("{} is not absolute", dir.display()));
        return Err(error.with_help("give an absolute path: jobs run in a directory of their own"));
    }
    match dir.read_dir() {
        Ok(_) => {
            let begun = attempts(dir, app).map_err(|cause| not_writable(dir, &cause))?;
            let begun = begun.ok_or_else(|| exists(dir))?;
            if let Some(later) = begun.attempts.iter().find(|attempt| **attempt > app.attempt) {
                return Err(taken_over(dir, app, AppAttemptId { attempt: *later, ..app }));
            }
            // The lists go last: whoever finds this half done must find them.
            for name in begun.visible {
                let path = dir.join(name);
                fs::remove_file(&path).map_err(|cause| not_writable(&path, &cause))?;
            }
            for attempt in begun.attempts {
                remove(&temporary(dir, AppAttemptId { attempt, ..app }))?;
            }
        }
        Err(cause) if cause.kind() == ErrorKind::NotFound => {}
        Err(_) => return Err(exists(dir)),
    }
    fs::create_dir_all(temporary(dir, app)).map_err(|cause| not_writable(dir, &cause))
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
    /// The files that they have moved into place, of a commit that did not come to its end.
    visible: Vec<String>,
}

/// What attempts of this application have begun in a directory; `None` if it holds anything else.
fn attempts(dir: &Path, app: AppAttemptId) -> std::io::Result<Option<Begun>> {
    // An empty directory might be anybody's; Spark refuses it too.
    if !dir.join(TEMPORARY).is_dir() {
        return Ok(None);
    }
    let prefix = format!("{}.", app.app);
    let mut begun = Begun::default();
    let mut moved = Vec::new();
    for entry in dir.join(TEMPORARY).read_dir()? {
        let entry = entry?;
        let attempt = entry.file_name().to_str().and_then(|name| name.strip_prefix(&prefix)?.parse().ok());
        let Some(attempt) = attempt else { return Ok(None) };
        begun.attempts.push(attempt);
        // No list, or half a list: nothing was moved yet.
        let list = fs::read(entry.path().join(COMMITTING)).unwrap_or_default();
        moved.extend(codec::decode::<Vec<String>>(&list).unwrap_or_default());
    }
    moved.sort_unstable();
    for entry in dir.read_dir()? {
        match entry?.file_name().into_string() {
            Ok(name) if name == TEMPORARY => {}
            Ok(name) if moved.binary_search(&name).is_ok() && checked(&name).is_ok() => {
                begun.visible.push(name)
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(begun))
}

/// The file of a task attempt.
pub struct TaskOutput {
    path: PathBuf,
    file: File,
    finished: bool,
}

impl TaskOutput {
    /// Begins it.
    ///
    /// # Errors
    /// `OUTPUT_NOT_WRITABLE` if the driver has not made the directory ready, or it cannot be written.
    pub fn create(dir: &str, name: &str, task: TaskId) -> Result<Self> {
        let name = format!("{}.{}", checked(name)?, task.attempt);
        let path = temporary(Path::new(dir), task.app).join(name);
        let file = File::create(&path).map_err(|cause| not_writable(&path, &cause))?;
        Ok(Self { path, file, finished: false })
    }

    /// Appends to it.
    ///
    /// # Errors
    /// `OUTPUT_NOT_WRITABLE`, `DISK_FULL`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|cause| not_writable(&self.path, &cause))
    }

    /// Ends it.
    ///
    /// # Errors
    /// `OUTPUT_NOT_WRITABLE`, `DISK_FULL`.
    pub fn finish(mut self) -> Result<()> {
        self.file.flush().map_err(|cause| not_writable(&self.path, &cause))?;
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

/// Makes the files of the winning attempts visible. It may be repeated. Of what is unfinished it removes its
/// own only: another attempt of the application may be writing.
///
/// # Errors
/// `OUTPUT_NOT_WRITABLE`.
pub fn commit(dir: &str, app: AppAttemptId, winners: &[(String, u32)]) -> Result<()> {
    let dir = Path::new(dir);
    let from = temporary(dir, app);
    let names: Vec<&str> = winners.iter().map(|(name, _)| checked(name)).collect::<Result<_>>()?;
    let list = from.join(COMMITTING);
    match fs::write(&list, codec::encode(&names)?) {
        // It was committed before.
        Err(cause) if cause.kind() == ErrorKind::NotFound => {}
        Err(cause) => return Err(not_writable(&list, &cause)),
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
    let success = dir.join(SUCCESS);
    fs::write(&success, []).map_err(|cause| not_writable(&success, &cause))?;
    // The output is complete. A task that lost may still begin a file, which must not fail the job: nobody
    // looks below `_temporary`.
    let _ = (0..REMOVALS_MAX).find(|_| remove(&from).is_ok());
    let _ = fs::remove_dir(dir.join(TEMPORARY));
    Ok(())
}

/// Removes what an application attempt has prepared and not committed.
pub fn abandon(dir: &str, app: AppAttemptId) {
    let dir = Path::new(dir);
    // Nothing depends on it: what is left is taken over by the application's next attempt, or told to the
    // user.
    let _ = fs::remove_dir_all(temporary(dir, app));
    let _ = fs::remove_dir(dir.join(TEMPORARY));
    let _ = fs::remove_dir(dir);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use firesteel_common::id::{AppId, StageId};

    fn app(app: u64, attempt: u32) -> AppAttemptId {
        AppAttemptId { app: AppId(app), attempt }
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
        prepare(dir, app(1, 1)).unwrap();
        for (attempt, text) in [(0, "zero"), (1, "one")] {
            let mut file = TaskOutput::create(dir, "part-00000", task(attempt)).unwrap();
            file.write(text.as_bytes()).unwrap();
            file.finish().unwrap();
        }
        drop(TaskOutput::create(dir, "part-00000", task(2)).unwrap());
        assert_eq!(files(&temporary(&out, app(1, 1))), ["part-00000.0", "part-00000.1"]);
        commit(dir, app(1, 1), &[("part-00000".to_owned(), 1)]).unwrap();
        assert_eq!(files(&out), ["_SUCCESS", "part-00000"]);
        assert_eq!(fs::read(out.join("part-00000")).unwrap(), b"one");
        assert_eq!(prepare(dir, app(1, 1)).unwrap_err().code, ErrorCode::OutputExists);
        assert!(TaskOutput::create(dir, "../escape", task(0)).is_err());
    }

    #[test]
    fn unfinished_output_is_taken_over_by_the_same_application_only() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("out");
        let dir = out.to_str().unwrap();
        prepare(dir, app(1, 1)).unwrap();
        TaskOutput::create(dir, "part-00000", task(0)).unwrap().finish().unwrap();
        assert_eq!(prepare(dir, app(2, 1)).unwrap_err().code, ErrorCode::OutputExists);
        prepare(dir, app(1, 2)).unwrap();
        assert_eq!(files(&out.join(TEMPORARY)), ["app-1.2"]);
        abandon(dir, app(1, 2));
        assert!(!out.exists());
        fs::create_dir(&out).unwrap();
        assert_eq!(prepare(dir, app(1, 1)).unwrap_err().code, ErrorCode::OutputExists);
    }

    #[test]
    fn half_a_commit_is_taken_over_and_a_whole_one_is_not() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("out");
        let dir = out.to_str().unwrap();
        let winners = [("part-00000".to_owned(), 0), ("part-00001".to_owned(), 0)];
        prepare(dir, app(1, 1)).unwrap();
        TaskOutput::create(dir, "part-00000", task(0)).unwrap().finish().unwrap();
        // The second file is missing, so the commit ends after its first rename, as if its driver had died.
        assert_eq!(commit(dir, app(1, 1), &winners).unwrap_err().code, ErrorCode::OutputNotWritable);
        assert_eq!(files(&out), [TEMPORARY, "part-00000"]);
        assert_eq!(prepare(dir, app(2, 1)).unwrap_err().code, ErrorCode::OutputExists);
        fs::write(out.join("part-00007"), "another's").unwrap();
        assert_eq!(prepare(dir, app(1, 2)).unwrap_err().code, ErrorCode::OutputExists);
        fs::remove_file(out.join("part-00007")).unwrap();
        prepare(dir, app(1, 2)).unwrap();
        assert_eq!(files(&out), [TEMPORARY]);
        for name in ["part-00000", "part-00001"] {
            let task = TaskId { app: app(1, 2), ..task(0) };
            TaskOutput::create(dir, name, task).unwrap().finish().unwrap();
        }
        commit(dir, app(1, 2), &winners).unwrap();
        commit(dir, app(1, 2), &winners).unwrap();
        assert_eq!(files(&out), ["_SUCCESS", "part-00000", "part-00001"]);
        assert_eq!(prepare(dir, app(1, 3)).unwrap_err().code, ErrorCode::OutputExists);
    }

    #[test]
    fn a_task_that_lost_and_writes_on_does_not_fail_a_commit() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("out");
        let dir = out.to_str().unwrap();
        for round in 0..50 {
            prepare(dir, app(1, 1)).unwrap();
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
                commit(dir, app(1, 1), &[("part-00000".to_owned(), 0)]).unwrap();
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
        prepare(dir, app(1, 1)).unwrap();
        prepare(dir, app(1, 2)).unwrap();
        let refused = prepare(dir, app(1, 1)).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Conflict);
        assert!(refused.message.contains("app-1.2"), "{refused}");
        assert_eq!(files(&out.join(TEMPORARY)), ["app-1.2"]);
        // Its driver may be past `prepare` when it is replaced.
        fs::create_dir(temporary(&out, app(1, 1))).unwrap();
        commit(dir, app(1, 1), &[]).unwrap();
        assert_eq!(files(&out.join(TEMPORARY)), ["app-1.2"]);
        abandon(dir, app(1, 1));
        commit(dir, app(1, 2), &[]).unwrap();
        assert_eq!(files(&out), ["_SUCCESS"]);
    }
}
