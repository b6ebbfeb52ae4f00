//! The sandbox of a process that runs user code, put on by that process itself before it loads anything:
//! what needs privileges first, then the loss of privileges, then Landlock and the filter of system calls.
//! What bounds it from outside (cgroups, the watchdog of memory) is in `cgroup.rs` and `watch.rs`, on the
//! worker's side. Nothing here knows what the process is for.

pub mod cage;
mod calls;
pub mod cgroup;
mod files;
mod filter;
mod identity;
mod limits;
mod mounts;
pub mod probe;
mod secrets;
mod sys;
pub mod watch;

use firesteel_common::sandbox::{Sandbox, SandboxMode};
use firesteel_common::{Error, ErrorCode, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The environment variable that says how a child confines itself; no secrets are in it.
pub const VARIABLE: &str = "FIRESTEEL_SANDBOX";

/// How a child confines itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Confinement {
    /// How much must be there.
    pub mode: SandboxMode,
    /// The run directory of the cluster, which it does not get to see.
    pub hidden: PathBuf,
    /// Single files that it does not get to see (keys).
    pub hidden_files: Vec<PathBuf>,
    /// What it sees of the run directory nevertheless, read-only: its plugin.
    pub shown: Vec<PathBuf>,
    /// Its own directory, and others in the run directory that it may write.
    pub own: Vec<PathBuf>,
    /// What it may read.
    pub read: Vec<PathBuf>,
    /// What it may write beside its own.
    pub write: Vec<PathBuf>,
    /// Whether it may listen and connect at will.
    pub network: bool,
    /// Whether it may connect, though not listen: a driver dials the master and the workers' data servers,
    /// whose ports are not known before.
    pub dials: bool,
    /// Its bound of memory in bytes; 0 for none.
    pub memory: u64,
    /// The user to become, if it is started as root.
    pub user: Option<u32>,
    /// The files of cgroups that it writes itself into.
    pub cgroups: Vec<PathBuf>,
    /// The version of those cgroups.
    pub cgroup: Option<u32>,
    /// Whether it only says what is in force, and ends.
    pub probe: bool,
}

impl Confinement {
    /// Whether it may connect to others.
    fn may_dial(&self) -> bool {
        self.network || self.dials
    }

    /// Whether others may connect to it. A driver needs nobody who does, whatever its tasks need.
    fn may_listen(&self) -> bool {
        self.network && !self.dials
    }
}

/// What was asked for in the environment; `None` if nothing was.
///
/// # Errors
/// If it cannot be understood: then nothing of a user may run.
pub fn from_environment() -> Result<Option<Confinement>> {
    let Ok(text) = std::env::var(VARIABLE) else { return Ok(None) };
    let understood = serde_json::from_str(&text);
    understood.map(Some).map_err(|cause| Error::new(ErrorCode::Internal, format!("{VARIABLE}: {cause}")))
}

/// Confines this process, which must have one thread only. Says what is in force.
///
/// # Errors
/// In `require` mode, if something is missing; and if a step fails half-way.
pub fn enter(wanted: &Confinement) -> Result<Sandbox> {
    let mut found = Sandbox { mode: wanted.mode, ..Sandbox::default() };
    if wanted.mode == SandboxMode::Off {
        found.missing.push("all of it: worker.sandbox is off".to_owned());
        return Ok(found);
    }
    let joined = limits::join(&wanted.cgroups);
    match (&joined, wanted.cgroup) {
        (Ok(()), Some(version)) => found.cgroup = Some(version),
        (Ok(()), None) => found.missing.push(
            "cgroup: none can be had, or worker.cgroups is false; a watchdog bounds memory, and the user's \
             limit processes (root has none)"
                .to_owned(),
        ),
        (Err(error), _) => found.missing.push(format!("cgroup: {error}")),
    }
    found.rlimits = note(&mut found, "resource limits", limits::set(wanted.memory)).is_some();
    let secrets = secrets::places(wanted);
    let covered = note(&mut found, "mount namespace", mounts::hide(wanted, &secrets)).is_some();
    found.user = identity::change(wanted.user, &mut found.missing)?;
    rustix::thread::set_no_new_privs(true)
        .map_err(|cause| Error::io("setting no_new_privs", &cause.into()))?;
    let left: &[PathBuf] = if covered { &[] } else { &secrets };
    found.landlock = note(&mut found, "landlock", files::restrict(wanted, left)).flatten();
    match found.landlock {
        Some(version) if version < 6 => {
            let what = if version < 4 { "ports, signals" } else { "signals" };
            found.missing.push(format!("landlock: version {version} of the kernel does not cover {what}"));
        }
        _ => {}
    }
    let filter =
        filter::Wanted { dials: wanted.may_dial(), listens: wanted.may_listen(), guards_files: !covered };
    found.seccomp = note(&mut found, "seccomp", filter::apply(filter)).is_some();
    if wanted.mode == SandboxMode::Require && !found.missing.is_empty() {
        return Err(incomplete(&found));
    }
    Ok(found)
}

/// Why nothing of a user is run.
pub fn incomplete(found: &Sandbox) -> Error {
    let message = format!("the sandbox is not complete: {}", found.missing.join("; "));
    Error::new(ErrorCode::Unsupported, message)
        .with_help("provide what is missing, or set worker.sandbox = \"best-effort\"")
}

fn note<T>(found: &mut Sandbox, what: &str, done: Result<T>) -> Option<T> {
    done.inspect_err(|error| found.missing.push(format!("{what}: {}", error.message))).ok()
}
