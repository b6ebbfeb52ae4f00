//! What keeps the processes that run user code apart from everything else, as far as it is in force on a
//! worker. Putting it in force is the worker's work; here are only the words for it.

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
