//! The run directory: where a cluster keeps its secret, its token, its state file and its journal, and where
//! commands find it.
//!
//! The master fills it. Here it is only chosen, made with mode 0700, and read.

use crate::failure::{Failure, Outcome};
use firesteel_common::error::{Error, ErrorCode};
use firesteel_master::{MasterState, read_state};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The file of the token that every request carries.
pub const TOKEN_FILE: &str = "token";
/// The file of the cluster secret.
pub const SECRET_FILE: &str = "secret";

/// Whether the process that wrote this is there.
fn is_alive(state: &MasterState) -> bool {
    i32::try_from(state.pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// The directory of `firesteel master` when none is given.
pub fn default_dir() -> Outcome<PathBuf> {
    base().map(|(base, in_home)| if in_home { base.join("run") } else { base })
}

/// The directory of `firesteel local` when none is given; the cluster in it is gone when it ends.
pub fn default_local_dir() -> Outcome<PathBuf> {
    base().map(
        |(base, in_home)| if in_home { base.join("local") } else { base.with_file_name("firesteel-local") },
    )
}

fn base() -> Outcome<(PathBuf, bool)> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(runtime) = absolute("XDG_RUNTIME_DIR") {
        return Ok((runtime.join("firesteel"), false));
    }
    absolute("HOME").map(|home| (home.join(".firesteel"), true)).ok_or_else(|| {
        Failure::usage("neither XDG_RUNTIME_DIR nor HOME is set, so there is no place for the run directory")
            .with_help("give one with --run-dir DIR")
    })
}

/// Makes the directory, readable for nobody else.
pub fn create(dir: &Path) -> Outcome<PathBuf> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .and_then(|()| std::fs::canonicalize(dir))
        .map_err(|cause| Failure::io(format!("making the run directory {}", dir.display()), &cause))
}

/// The directory to look into: the given one, or the one of the two usual ones where a master lives.
pub fn find(given: Option<&Path>) -> Outcome<PathBuf> {
    if let Some(dir) = given {
        return Ok(dir.to_owned());
    }
    let usual = default_dir()?;
    let local = default_local_dir()?;
    let lives = |dir: &Path| read_state(dir).is_ok_and(|state| is_alive(&state));
    Ok(if !lives(&usual) && lives(&local) { local } else { usual })
}

/// The state of a master that lives.
pub fn live_state(dir: &Path) -> Outcome<MasterState> {
    const HELP: &str =
        "start a cluster with `firesteel local`, or say where one is with --master or --run-dir";
    let state = read_state(dir).map_err(|error| match error.code {
        ErrorCode::Unreachable => error.with_help(HELP),
        _ => error,
    })?;
    if is_alive(&state) {
        return Ok(state);
    }
    let message = format!("the master of {} (process {}) does not run any more", dir.display(), state.pid);
    Err(Error::new(ErrorCode::Unreachable, message).with_help(HELP).into())
}
