//! What bounds a child from inside: its cgroups, which it joins by itself before it can have children, and
//! resource limits.

use firesteel_common::{Error, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::PathBuf;

/// Open descriptors at most.
const DESCRIPTORS_MAX: u64 = 65_536;
/// Processes and threads of the user at most, where no cgroup counts those of one child.
const PROCESSES_MAX: u64 = 8_192;
/// The longest file that may be written, in bytes.
const FILE_LEN_MAX: u64 = 1 << 40;
/// Address space for stacks, code and reserves that is not counted as memory, in bytes.
const DATA_SLACK: u64 = 1 << 30;
/// What the kernel adds when it looks for a process to kill for lack of memory: a child before its worker.
const OOM_SCORE: &str = "500";

/// Joins cgroups by their lists of processes.
pub fn join(lists: &[PathBuf]) -> Result<()> {
    for list in lists {
        std::fs::write(list, "0")
            .map_err(|cause| Error::io(format!("joining {}", list.display()), &cause))?;
    }
    Ok(())
}

/// Sets the limits. `memory` is the bound in bytes, or 0.
pub fn set(memory: u64) -> Result<()> {
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    lower(Resource::Core, 0)?;
    lower(Resource::Nofile, DESCRIPTORS_MAX)?;
    lower(Resource::Nproc, PROCESSES_MAX)?;
    lower(Resource::Fsize, FILE_LEN_MAX)?;
    if memory > 0 {
        // Stacks and reserves count here too, hence the slack; the watchdog looks at what is really used.
        lower(Resource::Data, memory.saturating_mul(2).saturating_add(DATA_SLACK))?;
    }
    Ok(())
}

fn lower(resource: Resource, to: u64) -> Result<()> {
    let maximum = getrlimit(resource).maximum.map_or(to, |maximum| maximum.min(to));
    let limit = Rlimit { current: Some(maximum), maximum: Some(maximum) };
    setrlimit(resource, limit).map_err(|cause| Error::io(format!("{resource:?}"), &cause.into()))
}
