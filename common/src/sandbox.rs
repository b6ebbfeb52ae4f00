//! What keeps the processes that run user code apart from everything else, as far as it is in force on a
//! worker. Putting it in force is the worker's work; here are only the words for it.

use crate::error::ErrorCode;
use serde::{Deserialize, Serialize};

/// How much of the sandbox must be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SandboxMode {
    /// What the machine can do; what it cannot do is said.
    #[default]
    BestEffort,
    /// All of it, or no process that runs user code is started.
    Require,
    /// Nothing, for debugging; it is said loudly.
    Off,
}

/// How a worker begins to say that a child was ended because it used more memory than it may.
const MEMORY_LIMIT: &str = "memory limit";

/// How a worker says that a child was ended because it used more memory than `limit` bytes.
pub fn memory_exceeded(limit: u64) -> String {
    format!("{MEMORY_LIMIT} {limit} exceeded")
}

/// The code of the error of an application whose process ended for `reason`, a worker's words. Only for
/// showing: what is done about it does not depend on it.
pub fn code_of_end(reason: &str) -> ErrorCode {
    match reason.split_once(MEMORY_LIMIT) {
        Some((_, rest)) if rest.contains("exceeded") => ErrorCode::OutOfMemory,
        _ => ErrorCode::ProcessDied,
    }
}

/// What is in force on a worker for the processes that run user code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// What was asked for.
    pub mode: SandboxMode,
    /// The ABI version of Landlock that restricts files, ports and signals; `None` if it does not.
    pub landlock: Option<u32>,
    /// Whether system calls are filtered.
    pub seccomp: bool,
    /// Which version of cgroups bounds memory and processes (1 or 2); `None` if none does.
    pub cgroup: Option<u32>,
    /// Whether resource limits are set.
    pub rlimits: bool,
    /// The user they run as, if it is not the worker's own.
    pub user: Option<u32>,
    /// What is not in force, and why, in words.
    pub missing: Vec<String>,
}
