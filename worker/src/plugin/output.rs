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
    Gzip(Box<GzEncoder<File>>),
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
        let sink = if packed {
            Sink::Gzip(Box::new(GzEncoder::new(file, Compression::default())))
        } else {
            Sink::Plain(file)
        };
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
mod tests;
