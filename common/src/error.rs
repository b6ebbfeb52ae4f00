//! The one error that crosses processes: a stable code, what happened, and what to do about it.
//!
//! Rooms have typed errors of their own; at a border they become this one. Errors that drive recovery (a
//! failed fetch, a lost executor) are *not* errors of this kind: they are typed events in
//! [`crate::protocol`].

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use std::fmt;

/// The result of whatever can fail with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $class:ident;)*) => {
        /// Every code that a user can see. Codes are never renamed and never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl ErrorCode {
            /// All codes, in the order of their declaration.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$name),*];

            /// The code as it is printed.
            pub fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$name => $text),* }
            }

            /// Who can do something about it.
            pub fn class(self) -> ErrorClass {
                match self { $(ErrorCode::$name => ErrorClass::$class),* }
            }
        }
    };
}

error_codes! {
    /// A request that cannot be understood.
    BadRequest = "BAD_REQUEST", User;
    /// An argument of an entry point that is missing, unknown or of the wrong type.
    BadArgument = "BAD_ARGUMENT", User;
    /// A token that is missing or wrong.
    Unauthenticated = "UNAUTHENTICATED", User;
    /// A token that is right, but does not allow what is asked for.
    PermissionDenied = "PERMISSION_DENIED", User;
    /// Something that is asked for by name and does not exist.
    NotFound = "NOT_FOUND", User;
    /// A request that contradicts what was said before (an idempotency key with another content).
    Conflict = "CONFLICT", User;
    /// A request that is larger than is allowed.
    TooLarge = "TOO_LARGE", User;
    /// Bytes that are not a plugin.
    PluginInvalid = "PLUGIN_INVALID", User;
    /// A plugin of another ABI version.
    PluginAbi = "PLUGIN_ABI", User;
    /// A plugin that does not have this entry point.
    EntryNotFound = "ENTRY_NOT_FOUND", User;
    /// An input path that does not exist or cannot be read.
    InputNotReadable = "INPUT_NOT_READABLE", User;
    /// An output directory that exists already.
    OutputExists = "OUTPUT_EXISTS", User;
    /// An output that cannot be written.
    OutputNotWritable = "OUTPUT_NOT_WRITABLE", User;
    /// The job's own code returned an error.
    JobFailed = "JOB_FAILED", User;
    /// The job's own code panicked.
    Panicked = "PANICKED", User;
    /// A process that ran the job's code died.
    ProcessDied = "PROCESS_DIED", User;
    /// A SQL text that is not understood, or names something that is not there.
    SqlInvalid = "SQL_INVALID", User;
    /// A query that failed while it ran.
    SqlFailed = "SQL_FAILED", User;
    /// A feature that this version does not have; the message names it.
    Unsupported = "UNSUPPORTED", User;
    /// A task that failed as often as it may.
    TaskRetriesExhausted = "TASK_RETRIES_EXHAUSTED", User;
    /// A stage that was recomputed as often as it may.
    StageRetriesExhausted = "STAGE_RETRIES_EXHAUSTED", Retryable;
    /// A stage that promised the same bytes and wrote others.
    NotDeterministic = "NOT_DETERMINISTIC", User;
    /// More memory was needed than there is.
    OutOfMemory = "OUT_OF_MEMORY", User;
    /// A disk is full.
    DiskFull = "DISK_FULL", Retryable;
    /// No worker is there to run anything.
    NoWorkers = "NO_WORKERS", Retryable;
    /// It ran longer than it may.
    TimedOut = "TIMED_OUT", User;
    /// It was killed on request.
    Killed = "KILLED", User;
    /// A process of another version.
    VersionMismatch = "VERSION_MISMATCH", User;
    /// A peer that could not be reached or stopped answering.
    Unreachable = "UNREACHABLE", Retryable;
    /// A stored block that is damaged.
    BlockCorrupt = "BLOCK_CORRUPT", Retryable;
    /// A stored block that is gone.
    BlockMissing = "BLOCK_MISSING", Retryable;
    /// A graph that breaks a rule of the waist.
    GraphInvalid = "GRAPH_INVALID", Bug;
    /// A value that could not be encoded or decoded.
    Codec = "CODEC", Bug;
    /// A setting that is unknown or has a wrong value.
    ConfigInvalid = "CONFIG_INVALID", User;
    /// A failure of the machine: a file, a socket, a process that could not be made.
    Io = "IO", Retryable;
    /// A broken promise of Firesteel itself.
    Internal = "INTERNAL", Bug;
    /// More is waiting than may wait; the message says what.
    QueueFull = "QUEUE_FULL", Retryable;
    /// Something that is asked of an application before its end.
    NotFinished = "NOT_FINISHED", Retryable;
    /// A task for which failures have left out every worker.
    WorkersExcluded = "WORKERS_EXCLUDED", User;
}

/// Who can do something about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorClass {
    /// Trying again may help.
    Retryable,
    /// The request, the job or the set-up must change.
    User,
    /// Firesteel must change.
    Bug,
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error with its code, its cause and its remedy.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Error {
    /// The stable code.
    pub code: ErrorCode,
    /// What happened, lowercase, without a full stop; causes follow after colons.
    pub message: String,
    /// What to do about it; empty if there is nothing to say.
    pub help: String,
    /// A backtrace or the tail of a log, for whoever looks closer; mostly empty.
    pub detail: String,
}

impl Error {
    /// An error with its code and message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: String::new(), detail: String::new() }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: help.into(), ..self }
    }

    /// Adds what one wants to see when looking closer.
    #[must_use]
    pub fn with_detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// Puts what was being done before the message.
    #[must_use]
    pub fn context(self, doing: impl fmt::Display) -> Self {
        Self { message: format!("{doing}: {}", self.message), ..self }
    }

    /// An I/O error met while `doing` something. A full disk gets its own code.
    pub fn io(doing: impl fmt::Display, cause: &std::io::Error) -> Self {
        let code = match cause.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorCode::DiskFull,
            _ => ErrorCode::Io,
        };
        Self::new(code, format!("{doing}: {cause}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.code, self.message)?;
        if !self.help.is_empty() {
            write!(f, " ({})", self.help)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)?;
        if !self.detail.is_empty() {
            write!(f, "\n{}", self.detail)?;
        }
        Ok(())
    }
}

/// The name among `known` that is nearest to `wanted`, if one is near enough to be what was meant.
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (edit_distance(wanted, name), name))
        .filter(|(distance, name)| *distance <= name.len().max(wanted.len()) / 3 + 1)
        .min()
        .map(|(_, name)| name)
}

/// The Levenshtein distance of two names, in bytes.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
