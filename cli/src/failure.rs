//! How a command ends: its exit code, and the error that is printed.

use firesteel_common::error::{Error, ErrorCode};

/// The exit codes. They are documented in `firesteel --help` and in the README, and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The application failed, or was killed.
    ApplicationFailed = 1,
    /// A wrong command line, or a wrong setting.
    Usage = 2,
    /// No master, or it does not answer.
    Unreachable = 3,
    /// The master refused what was asked for.
    Refused = 4,
    /// This machine failed: a file, a process, a socket.
    Machine = 5,
    /// The plugin has no such entry point.
    EntryNotFound = 101,
    /// The application ran longer than it may.
    TimedOut = 124,
    /// Stopped with Ctrl-C.
    Interrupted = 130,
}

/// Why a command ended badly.
#[derive(Debug)]
pub struct Failure {
    /// What the shell is told.
    pub exit: Exit,
    /// What the user is told.
    pub error: Error,
}

/// The result of a command, or of a step of it.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// A wrong command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, error: Error::new(ErrorCode::BadRequest, message) }
    }

    /// Something of this machine that failed while `doing` something.
    pub fn io(doing: impl std::fmt::Display, cause: &std::io::Error) -> Self {
        Self { exit: Exit::Machine, error: Error::io(doing, cause) }
    }

    /// An answer of the master that says no.
    pub fn refused(error: Error) -> Self {
        let exit = match error.code {
            ErrorCode::EntryNotFound => Exit::EntryNotFound,
            _ => Exit::Refused,
        };
        Self { exit, error }
    }

    /// The end of an application that did not succeed.
    pub fn application(error: Error) -> Self {
        let exit = match error.code {
            ErrorCode::EntryNotFound => Exit::EntryNotFound,
            ErrorCode::TimedOut => Exit::TimedOut,
            _ => Exit::ApplicationFailed,
        };
        Self { exit, error }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn with_help(self, help: impl Into<String>) -> Self {
        Self { error: self.error.with_help(help), ..self }
    }
}

impl From<Error> for Failure {
    /// An error of a room that runs in this process.
    fn from(error: Error) -> Self {
        let exit = match error.code {
            ErrorCode::EntryNotFound => Exit::EntryNotFound,
            ErrorCode::ConfigInvalid | ErrorCode::BadArgument => Exit::Usage,
            ErrorCode::Unreachable => Exit::Unreachable,
            ErrorCode::Unauthenticated | ErrorCode::VersionMismatch | ErrorCode::Conflict => Exit::Refused,
            _ => Exit::Machine,
        };
        Self { exit, error }
    }
}
