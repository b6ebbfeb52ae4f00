//! What a driver or an executor does first, before any code of a user: ties its life to its parent's and
//! gives up what it does not need. Its parent has already given it a process group, an empty environment and
//! no descriptors but its own.

use crate::sandbox;
use firesteel_common::{Error, ErrorCode, Result};
use rustix::process::{Resource, Rlimit, Signal, getppid, getrlimit, setrlimit};
use std::os::fd::{AsFd, OwnedFd};

/// The environment variable that names the process id of the parent.
pub const PARENT_VARIABLE: &str = "FIRESTEEL_PARENT";

/// Confines this process. To be called first thing on its main thread. `false` if that was all that it was
/// started for.
///
/// # Errors
/// If the parent is gone already, or the kernel refuses.
pub fn child() -> Result<bool> {
    let parent = std::env::var(PARENT_VARIABLE).ok().and_then(|pid| pid.parse().ok());
    die_with(parent, Signal::KILL)?;
    rustix::thread::set_no_new_privs(true).map_err(|cause| refused("no_new_privs", cause))?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(|cause| refused("the limit of core files", cause))?;
    if let Some(wanted) = sandbox::from_environment()? {
        let found = sandbox::enter(&wanted)?;
        if wanted.probe {
            return sandbox::probe::answer(&found).map(|()| false);
        }
        // Becoming another user has undone it.
        die_with(parent, Signal::KILL)?;
    }
    raise_descriptors().map(|()| true)
}

/// Asks for `signal` when the parent dies, and checks that it has not died before that was said.
///
/// # Errors
/// `UNREACHABLE` if it has.
pub fn die_with(parent: Option<u32>, signal: Signal) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(signal))
        .map_err(|cause| refused("the signal of the parent's death", cause))?;
    let now = getppid().map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs());
    match parent {
        Some(parent) if parent != now => {
            Err(Error::new(ErrorCode::Unreachable, format!("the parent process {parent} is gone")))
        }
        _ => Ok(()),
    }
}

/// Raises the number of descriptors to what is allowed.
///
/// # Errors
/// If the kernel refuses.
pub fn raise_descriptors() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: maximum, maximum };
    setrlimit(Resource::Nofile, limit).map_err(|cause| refused("the limit of descriptors", cause))
}

/// Takes the descriptor that this process was given as its standard input, and leaves nothing readable there.
///
/// # Errors
/// If it cannot be copied.
pub fn take_stdin() -> Result<OwnedFd> {
    let failed = |cause: std::io::Error| Error::io("taking the standard input", &cause);
    let taken = std::io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    let null = std::fs::File::open("/dev/null").map_err(failed)?;
    rustix::stdio::dup2_stdin(null).map_err(|cause| failed(cause.into()))?;
    Ok(taken)
}

fn refused(what: &str, cause: rustix::io::Errno) -> Error {
    Error::io(format!("setting {what}"), &cause.into())
}
